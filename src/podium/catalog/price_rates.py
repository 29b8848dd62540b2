"""What a request costs: a row's rates, compiled to whole numbers.

Theory. Every rate is a decimal, so all rates of a price are whole multiples of one small power of ten; a cost is then a sum
of products of whole numbers, exact whatever the counts, and becomes a `Decimal` (or pico-USD) at its end. What a row leaves
out is filled in once, when it is compiled: a cache read or write, or audio, that has no rate of its own is input like any
other; reasoning and spoken output are output; what is written for an hour costs what is written for five minutes.

Rules.
- The counts of `Usage` are disjoint, so that each is charged by one rate.
- A tier is chosen by the whole input, caches and audio included, and holds for every token of the request.
- The last period that is active counts, else the first. Time is counted in microseconds, as the ledger keeps it: what is
  priced again later is priced by the same period. Days begin at midnight UTC; a daily period's end is not within it, and
  one whose end is before its beginning spans midnight.
- Variants go by what is known of the request (`{"service_tier": "priority"}`); of several that fit, the first that names a
  rate sets it.
- Tokens, or searches, for which there is no rate make the cost None: unknown, never nothing.
- Searches that the provider made are counted where it counts them: in `extra` (Anthropic's `server_tool_use`).

These are the rules of https://github.com/pydantic/genai-prices, whose data most prices are from; where its sums differ, a
test lists why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from podium.catalog.price_sheet import RATE_NAMES, Period, Row, Tier, Variant, is_token_rate
from podium.types import Usage

Context = Mapping[str, str]
"""What is known of a request beyond its counts, by which variants are chosen: `service_tier`, `speed`."""

DAY_S = 86_400
_MOST_SEARCHES = 1 << 30
"""No answer made more; a larger number is none."""
_MOST_CONTEXTS = 64
_PICO = 12
_MILLION = 6
_TOKEN_RATES = tuple(name for name in RATE_NAMES if is_token_rate(name))
_PARENTS = {
    "cached_input_per_million": "input_per_million",
    "cache_write_per_million": "input_per_million",
    "cache_write_1h_per_million": "cache_write_per_million",
    "reasoning_per_million": "output_per_million",
    "input_audio_per_million": "input_per_million",
    "output_audio_per_million": "output_per_million",
}
_INPUTS = (0, 2, 3, 4, 6)
_OUTPUTS = (1, 5, 7)


def _counts(usage: Usage) -> tuple[int, ...]:
    """The counts in the order of `_TOKEN_RATES`."""
    return (
        usage.input,
        usage.output,
        usage.cache_read,
        usage.cache_write,
        usage.cache_write_1h,
        usage.reasoning,
        usage.input_audio,
        usage.output_audio,
    )


def web_searches(usage: Usage) -> int:
    """Count the web searches that Anthropic says it made (https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool)."""
    made: Any = usage.extra.get("anthropic", {}).get("server_tool_use")
    count: Any = made.get("web_search_requests") if isinstance(made, dict) else None
    return int(count) if type(count) in (int, float) and 0 < count < _MOST_SEARCHES else 0


class _Step:
    """The rates between two thresholds, as whole multiples of the price's unit."""

    __slots__ = ("above", "dearest_input", "dearest_output", "fee", "rates", "search")

    def __init__(self, above: int, rates: Mapping[str, Decimal], scale: int) -> None:
        self.above = above
        filled = dict(rates)
        for name, parent in _PARENTS.items():
            if name not in filled and parent in filled:
                filled[name] = filled[parent]
        self.rates = tuple(_whole(filled[name], scale - _MILLION) if name in filled else None for name in _TOKEN_RATES)
        self.fee = _whole(filled["per_request"], scale) if "per_request" in filled else 0
        self.search = _whole(filled["per_web_search"], scale) if "per_web_search" in filled else None
        self.dearest_input = self._dearest(_INPUTS)
        self.dearest_output = self._dearest(_OUTPUTS)

    def _dearest(self, among: tuple[int, ...]) -> int | None:
        """The highest of some rates; None where the plain one is not known."""
        return None if self.rates[among[0]] is None else max(rate for i in among if (rate := self.rates[i]) is not None)

    def highest(self, input_tokens: int, output_tokens: int, searches: int) -> int | None:
        """What so many tokens and searches cost at the dearest rates, in the price's unit; None where one is not known."""
        read, write, search = self.dearest_input, self.dearest_output, self.search
        if (read is None and input_tokens) or (write is None and output_tokens) or (search is None and searches):
            return None
        return self.fee + input_tokens * (read or 0) + output_tokens * (write or 0) + searches * (search or 0)


def _whole(rate: Decimal, scale: int) -> int:
    """A rate times ten to the power of `scale`, which makes it whole."""
    _, digits, exponent = rate.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError(f"{rate} is no rate")
    number = int("".join(map(str, digits)) or "0")
    shift = exponent + scale
    power: int = 10 ** abs(shift)
    return number * power if shift >= 0 else number // power


def _decimals(rate: Decimal, name: str) -> int:
    exponent = rate.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"{rate} is no rate")
    return -exponent + (_MILLION if is_token_rate(name) else 0)


Charges = tuple[tuple[int, Mapping[str, Decimal]], ...]
"""(threshold, the rates that change there), in ascending order; the first threshold is -1: from no token on."""


def _charges(rates: Mapping[str, Decimal], tiers: Iterable[Tier]) -> Charges:
    return ((-1, rates), *sorted(((tier.above, tier.rates()) for tier in tiers), key=lambda tier: tier[0]))


def _replaced(charges: Charges, variant: Charges) -> Charges:
    """A variant's rates in place of the others': a rate that it names is its own at every threshold."""
    own = {name for _, rates in variant for name in rates}
    thresholds = sorted({above for above, _ in (*charges, *variant)})
    kept = {above: {name: rate for name, rate in rates.items() if name not in own} for above, rates in charges}
    added = dict(variant)
    return tuple((above, {**kept.get(above, {}), **added.get(above, {})}) for above in thresholds)


def _steps(charges: Charges, scale: int) -> tuple[_Step, ...]:
    steps, current = [], dict[str, Decimal]()
    for above, rates in charges:
        current |= rates
        steps.append(_Step(above, current, scale))
    return tuple(steps)


class _Span:
    """When a period or variant is active, and what it charges."""

    __slots__ = ("begins_at", "charges", "daily", "when")

    def __init__(self, period: Period) -> None:
        self.charges = _charges(period.rates(), period.tiers)
        self.begins_at = None if period.since is None else _midnight(period.since)
        self.daily = None if period.daily is None else (_second(period.daily[0]), _second(period.daily[1]))
        self.when = period.when if isinstance(period, Variant) else {}

    def active(self, at: float) -> bool:
        if self.begins_at is not None and at < self.begins_at:
            return False
        if self.daily is None:
            return True
        begin, end = self.daily
        now = at % DAY_S
        return begin <= now < end if begin <= end else (now >= begin or now < end)

    def fits(self, context: Context) -> bool:
        return all(context.get(key) == value for key, value in self.when.items())

    @property
    def timeless(self) -> bool:
        return self.begins_at is None and self.daily is None


def _midnight(day: str) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * DAY_S


def _second(time: str) -> float:
    hours, minutes, *seconds = time.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + (float(seconds[0]) if seconds else 0)


class Price:
    """What one model costs: `cost(usage)` in exact USD."""

    __slots__ = ("_cache", "_clock", "_fitting", "_only", "_scale", "_spans", "_variants", "row", "steady")

    def __init__(self, row: Row, clock: Callable[[], float] | None = None) -> None:
        """Compile a row. `clock` gives epoch seconds where a price depends on time and the caller says none."""
        self.row = row
        self._clock = clock
        self._spans = tuple(_Span(span) for span in row.spans())
        self._variants = tuple(_Span(span) for span in row.variants)
        self._scale = max(
            (
                _decimals(rate, name)
                for span in (*self._spans, *self._variants)
                for _, rates in span.charges
                for name, rate in rates.items()
            ),
            default=0,
        )
        self._scale = max(self._scale, 0)
        self._cache: dict[tuple[int, tuple[int, ...]], tuple[_Step, ...]] = {}
        self._fitting: dict[tuple[tuple[str, str], ...], tuple[int, ...]] = {}
        self._only = (self._compiled(0, ()),) if len(self._spans) == 1 else None
        """The rates of a price that no time changes."""
        self.steady = self._steady()
        """What `highest_pico` says without a context, where neither time nor size of a request changes it, as nearly always.

        It is `nothing` for what is free, and None where the rates change, or do not say all.
        """

    def _steady(self) -> Callable[[int, int], int] | None:
        if self._only is None or len(self._only[0]) > 1 or self._scale > _PICO:
            return None
        (step,) = self._only[0]
        unit: int = 10 ** (_PICO - self._scale)
        if step.dearest_input is None or step.dearest_output is None:
            return None
        fee, read, write = step.fee * unit, step.dearest_input * unit, step.dearest_output * unit
        if not (fee or read or write):
            return nothing

        def steady(input_tokens: int, output_tokens: int) -> int:
            return fee + input_tokens * read + output_tokens * write

        return steady

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={rate}" for name, rate in self._spans[0].charges[0][1].items())
        more = [f"{len(self._spans)} periods"] if len(self._spans) > 1 else []
        more += [f"{len(self._variants)} variants"] if self._variants else []
        return f"Price({', '.join([said, *more])})"

    def cost(self, usage: Usage, at: float | None = None, context: Context | None = None) -> Decimal | None:
        """Return the exact USD that a usage costs; None where it has tokens that this price says nothing of.

        `at` is the request's time in epoch seconds (default: now), `context` what chooses a variant. Raises `ValueError` for a
        price that depends on time and has no clock, where `at` is not said.
        """
        total = self._total(usage, at, context)
        return None if total is None else _decimal(total, self._scale)

    def cost_pico(self, usage: Usage, at: float | None = None, context: Context | None = None) -> int | None:
        """Return the cost in pico-USD, rounded once, half to even; None and errors as for `cost`."""
        total = self._total(usage, at, context)
        if total is None:
            return None
        unit: int = 10 ** abs(self._scale - _PICO)
        if self._scale <= _PICO:
            return total * unit
        quotient, rest = divmod(total, unit)
        return quotient + (rest * 2 > unit or (rest * 2 == unit and quotient % 2 == 1))

    def _total(self, usage: Usage, at: float | None, context: Context | None) -> int | None:
        """The cost in units of ten to the power of `-scale` USD."""
        steps = self._active(at, context)
        step = steps[0]
        if len(steps) > 1:
            read = usage.total_input
            for each in steps:
                if read > each.above:
                    step = each
        total = step.fee
        for count, rate in zip(_counts(usage), step.rates, strict=True):
            if count:
                if rate is None:
                    return None
                total += count * rate
        if usage.extra and (searches := web_searches(usage)):
            if step.search is None:
                return None
            total += searches * step.search
        return total

    def highest(
        self,
        input_tokens: int,
        output_tokens: int,
        at: float | None = None,
        context: Context | None = None,
        *,
        searches: int = 0,
    ) -> Decimal | None:
        """Return the most USD that a request can cost that begins at `at` and ends within a day.

        It has at most so many tokens in and out, and so many web searches. No cache is counted on; the dearest way of reading
        and writing, every tier that the input may reach and every period that may begin meanwhile are. None where the price
        says nothing of such tokens or of searches.
        """
        worst = self._worst(input_tokens, output_tokens, at, context, searches)
        return None if worst is None else _decimal(worst, self._scale)

    def highest_pico(
        self, input_tokens: int, output_tokens: int, at: float | None = None, context: Context | None = None
    ) -> int | None:
        """Return what `highest` says in pico-USD, rounded up."""
        if self.steady is not None and not (context and self._variants):
            return self.steady(input_tokens, output_tokens)
        worst = self._worst(input_tokens, output_tokens, at, context, 0)
        if worst is None:
            return None
        unit: int = 10 ** abs(self._scale - _PICO)
        return worst * unit if self._scale <= _PICO else -(-worst // unit)

    def _worst(
        self, input_tokens: int, output_tokens: int, at: float | None, context: Context | None, searches: int
    ) -> int | None:
        """The most that such a request costs, in units of ten to the power of `-scale` USD."""
        worst = 0
        for steps in self._possible(at, context):
            for number, step in enumerate(steps):
                if number and input_tokens <= step.above:
                    break
                top = steps[number + 1].above if number + 1 < len(steps) else input_tokens
                cost = step.highest(min(input_tokens, top), output_tokens, searches)
                if cost is None:
                    return None
                worst = max(worst, cost)
        return worst

    # --- time -----------------------------------------------------------------------------------------------------------

    def _now(self, at: float | None) -> float:
        if at is None:
            if self._clock is None:
                raise ValueError("This price depends on the time: say `at`, in seconds since the epoch.")
            at = self._clock()
        return round(at, 6)

    def period(self, at: float | None = None) -> int:
        """Return the number, from 0, of the period that holds at a time (default: now). Errors as for `cost`."""
        if len(self._spans) == 1:
            return 0
        now = self._now(at)
        return next((i for i in range(len(self._spans) - 1, -1, -1) if self._spans[i].active(now)), 0)

    def _active(self, at: float | None, context: Context | None) -> tuple[_Step, ...]:
        number = self.period(at)
        variants: tuple[int, ...] = ()
        if context and self._variants:
            fitting = self._fit(context)
            variants = tuple(i for i in fitting if self._variants[i].timeless or self._variants[i].active(self._now(at)))
        return self._compiled(number, variants)

    def _fit(self, context: Context) -> tuple[int, ...]:
        """The numbers of the variants that a context fits; kept, for few contexts are ever seen."""
        key = tuple(context.items())
        fitting = self._fitting.get(key)
        if fitting is None:
            if len(self._fitting) >= _MOST_CONTEXTS:
                self._fitting.clear()
            fitting = tuple(i for i, variant in enumerate(self._variants) if variant.fits(context))
            self._fitting[key] = fitting
        return fitting

    def _compiled(self, number: int, variants: tuple[int, ...]) -> tuple[_Step, ...]:
        """The rates of a period with some variants in place; made once."""
        steps = self._cache.get((number, variants))
        if steps is None:
            charges = self._spans[number].charges
            for i in reversed(variants):  # the first that names a rate sets it
                charges = _replaced(charges, self._variants[i].charges)
            self._cache[number, variants] = steps = _steps(charges, self._scale)
        return steps

    def _possible(self, at: float | None, context: Context | None) -> Sequence[tuple[_Step, ...]]:
        """The rates of every period and set of variants that may hold within a day of `at`."""
        if self._only is not None and not (context and self._variants):
            return self._only
        numbers: list[int] = [0]
        choices: list[tuple[int, ...]] = [()]
        fitting = self._fit(context) if context else ()
        if len(self._spans) > 1:
            now = self._now(at)
            soon = [i for i, span in enumerate(self._spans) if span.begins_at is None or span.begins_at <= now + DAY_S]
            # What a later period without daily hours has replaced for good cannot come back.
            settled = max((i for i in soon if self._spans[i].daily is None and self._spans[i].active(now)), default=0)
            numbers = [i for i in soon if i >= settled]
        if fitting:
            timeless = tuple(i for i in fitting if self._variants[i].timeless)
            timed = [i for i in fitting if i not in timeless]
            choices += [timeless] if not timed else _choices(timeless, timed)  # beside none: it may be served as any other
        return [self._compiled(number, choice) for number in numbers for choice in choices]


def nothing(input_tokens: int, output_tokens: int) -> int:
    """Return what so many tokens cost that are free, in pico-USD."""
    return 0


def _choices(always: tuple[int, ...], perhaps: list[int]) -> list[tuple[int, ...]]:
    """Every set of variants that may be active at once, few as they are."""
    sets: list[tuple[int, ...]] = [always]
    for i in perhaps:
        sets += [tuple(sorted((*chosen, i))) for chosen in sets]
    return sets


def _decimal(total: int, scale: int) -> Decimal:
    """`total` times ten to the power of `-scale`, exactly, whatever the context's precision is."""
    while scale > 0 and total % 10 == 0 and total:
        total //= 10
        scale -= 1
    return Decimal(f"{total}E-{scale}") if scale and total else Decimal(total)
