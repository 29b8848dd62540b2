"""Costs, by property: exact against fractions, monotone, additive, and never above the highest."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from podium.catalog.price_import import parse, read
from podium.catalog.price_rates import Price
from podium.catalog.price_sheet import (
    RATE_NAMES,
    Period,
    Row,
    Sheet,
    Tier,
    Variant,
    canonical,
    dump_sheet,
    load_heading,
    load_row,
    refusal,
)
from podium.catalog.pricing import PriceBook, RowLayer, highest_cost, price_version
from podium.types import Usage

COUNTS = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "input_audio", "output_audio")
RATE_OF = dict(zip(COUNTS, RATE_NAMES, strict=False))
PARENT = {
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "reasoning": "output",
    "input_audio": "input",
    "output_audio": "output",
}
INPUTS = ("input", "cache_read", "cache_write", "cache_write_1h", "input_audio")
OUTPUTS = ("output", "reasoning", "output_audio")
START, END = datetime(2024, 1, 1, tzinfo=UTC).timestamp(), datetime(2028, 1, 1, tzinfo=UTC).timestamp()

rates = st.decimals(min_value=0, max_value=100, places=9, allow_nan=False, allow_infinity=False).map(canonical)
counts = st.integers(min_value=0, max_value=10**9) | st.integers(min_value=0, max_value=300_000)
usages = st.builds(Usage, **dict.fromkeys(COUNTS, counts))
times = st.floats(min_value=START, max_value=END)
days = st.dates(min_value=datetime(2024, 1, 1).date(), max_value=datetime(2027, 12, 31).date()).map(str)
clock_times = st.times().map(lambda each: each.isoformat("microseconds" if each.microsecond else "seconds"))


def _some_rates(draw: st.DrawFn, *, whole: bool) -> dict[str, Any]:
    said = draw(st.dictionaries(st.sampled_from(RATE_NAMES), rates, max_size=6))
    if whole:
        said |= {"input_per_million": draw(rates), "output_per_million": draw(rates)}
    return dict(said)


@st.composite
def tiers(draw: st.DrawFn) -> tuple[Tier, ...]:
    thresholds = sorted(draw(st.sets(st.integers(min_value=0, max_value=300_000), max_size=3)))
    return tuple(Tier(above=above, **_some_rates(draw, whole=False)) for above in thresholds)


@st.composite
def flat_rows(draw: st.DrawFn) -> Row:
    return Row(**_some_rates(draw, whole=True))


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Rows with tiers, dated and daily periods, and variants."""

    def span(kind: type[Period], first: bool = False, **more: Any) -> Any:
        since = None if first else draw(st.none() | days)
        daily = None if first else draw(st.none() | st.tuples(clock_times, clock_times))
        said = _some_rates(draw, whole=kind is Period)
        steps = draw(tiers())
        if kind is Variant:
            steps = tuple(without(tier, set(RATE_NAMES) - said.keys()) for tier in steps)
        return kind(since=since, daily=daily, tiers=steps, **said, **more)

    periods = tuple(span(Period, first=number == 0) for number in range(draw(st.integers(min_value=2, max_value=4))))
    variants = tuple(
        span(Variant, when={"service_tier": draw(st.sampled_from(["priority", "flex"]))})
        for _ in range(draw(st.integers(min_value=0, max_value=2)))
    )
    top = dict(msgspec.structs.asdict(periods[0]))
    kept = {name: top[name] for name in (*RATE_NAMES, "tiers")}
    return Row(periods=periods if draw(st.booleans()) else (), variants=variants, **kept)


def expected(row_rates: dict[str, Decimal], steps: tuple[Tier, ...], usage: Usage) -> Fraction:
    """The cost by the plain rules, in fractions: an independent reading of what a tiered price means."""
    now = dict(row_rates)
    for tier in sorted(steps, key=lambda each: each.above):
        if usage.total_input > tier.above:
            now |= tier.rates()
    total = Fraction(now.get("per_request", Decimal(0)))
    for name in COUNTS:
        source = name
        while RATE_OF[source] not in now:
            source = PARENT[source]
        total += getattr(usage, name) * Fraction(now[RATE_OF[source]]) / 10**6
    return total


@given(flat_rows(), tiers(), usages)
def test_a_cost_is_exact_for_any_usage_and_tiered_price(row: Row, steps: tuple[Tier, ...], usage: Usage) -> None:
    price = Price(msgspec.structs.replace(row, tiers=steps))
    cost = price.cost(usage)
    assert cost is not None
    assert Fraction(cost) == expected(row.rates(), steps, usage)


@given(rows(), usages, times, st.sampled_from([None, {"service_tier": "priority"}, {"service_tier": "flex"}]))
def test_a_cost_is_that_of_the_period_and_variants_that_hold(
    row: Row, usage: Usage, at: float, context: dict[str, str] | None
) -> None:
    spans = row.spans()
    holding = next((span for span in reversed(spans) if holds(span, at)), spans[0])
    charged: dict[str, Any] = {"base": holding.rates(), "tiers": list(holding.tiers)}
    for variant in reversed(row.variants):
        if context and context["service_tier"] == variant.when["service_tier"] and holds(variant, at):
            own = variant.rates()
            charged = {
                "base": charged["base"] | own,
                "tiers": [*(without(tier, set(own)) for tier in charged["tiers"]), *variant.tiers],
            }
    cost = Price(row).cost(usage, at, context)
    assert cost is not None
    assert Fraction(cost) == expected(charged["base"], tuple(charged["tiers"]), usage)


def without(tier: Tier, names: set[str]) -> Tier:
    kept: dict[str, Any] = {name: rate for name, rate in tier.rates().items() if name not in names}
    return Tier(above=tier.above, **kept)


def holds(span: Period, at: float) -> bool:
    moment = datetime.fromtimestamp(at, UTC)
    if span.since is not None and moment.date().isoformat() < span.since:
        return False
    if span.daily is None:
        return True
    now = moment.hour * 3600 + moment.minute * 60 + moment.second + Fraction(at) % 1
    begin, end = (seconds(each) for each in span.daily)
    return begin <= now < end if begin <= end else now >= begin or now < end


def seconds(written: str) -> Fraction:
    hours, minutes, rest = written.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + Fraction(Decimal(rest))


@given(flat_rows(), usages, st.integers(min_value=2, max_value=40))
def test_a_cost_does_not_depend_on_the_precision_of_the_context(row: Row, usage: Usage, digits: int) -> None:
    cost = Price(row).cost(usage)
    with localcontext(prec=digits):
        assert Price(row).cost(usage) == cost


@given(flat_rows(), usages, usages)
def test_flat_costs_add_up(row: Row, one: Usage, other: Usage) -> None:
    price = Price(row)
    both = Usage(**{name: getattr(one, name) + getattr(other, name) for name in COUNTS})
    costs = [price.cost(each) for each in (one, other, both, Usage())]
    first, second, together, fee = (Fraction(cost) for cost in costs if cost is not None)
    assert together + fee == first + second


@given(rows(), usages, st.sampled_from(COUNTS), st.integers(min_value=1, max_value=10**6), times)
def test_more_tokens_never_cost_less_where_higher_tiers_are_not_cheaper(
    row: Row, usage: Usage, more: str, tokens: int, at: float
) -> None:
    price = Price(rising(row))
    less = price.cost(usage, at)
    greater = price.cost(usage.replace(**{more: getattr(usage, more) + tokens}), at)
    assert less is not None
    assert greater is not None
    assert less <= greater


def rising(row: Row) -> Row:
    """The row without tiers that are cheaper than what is below them."""

    def sorted_out(span: Any) -> Any:
        now: dict[str, Decimal] = span.rates()
        kept = []
        for tier in span.tiers:
            after = now | tier.rates()
            if all(effective(after, name) >= effective(now, name) for name in COUNTS) and after.get(
                "per_request", 0
            ) >= now.get("per_request", 0):
                kept.append(tier)
                now = after
        return msgspec.structs.replace(span, tiers=tuple(kept))

    top: Row = sorted_out(row)
    return msgspec.structs.replace(top, periods=tuple(map(sorted_out, row.periods)))


def effective(said: dict[str, Decimal], name: str) -> Decimal:
    while RATE_OF[name] not in said:
        name = PARENT[name]
    return said[RATE_OF[name]]


@given(rows(), usages, times, st.sampled_from([None, {"service_tier": "priority"}]), st.floats(min_value=0, max_value=86_400))
def test_the_highest_cost_is_at_least_what_any_split_of_the_tokens_costs_whenever_within_a_day(
    row: Row, usage: Usage, at: float, context: dict[str, str] | None, later: float
) -> None:
    book = PriceBook([RowLayer({"a/b": row})])
    found = book.find("a", "b")
    assert found is not None
    highest = highest_cost(found, usage.total_input, usage.total_output, at, context)
    cost = found.price.cost(usage, at + later, context)
    assert highest is not None
    assert cost is not None
    assert highest >= cost


@given(rows(), usages, times, st.sampled_from([None, {"service_tier": "priority"}]))
def test_the_highest_cost_in_pico_dollars_is_the_highest_cost_rounded_up(
    row: Row, usage: Usage, at: float, context: dict[str, str] | None
) -> None:
    price = Price(row)
    highest = price.highest(usage.total_input, usage.total_output, at, context)
    pico = price.highest_pico(usage.total_input, usage.total_output, at, context)
    assert pico == (None if highest is None else math.ceil(Fraction(highest) * 10**12))


@given(rows(), usages, times)
def test_the_highest_cost_holds_for_fewer_tokens_than_foreseen(row: Row, usage: Usage, at: float) -> None:
    price = Price(row)
    highest = price.highest(usage.total_input, usage.total_output, at)
    fewer = usage.replace(input=usage.input // 3, output=usage.output // 2, cache_read=0, reasoning=usage.reasoning // 7)
    cost = price.cost(fewer, at)
    assert highest is not None
    assert cost is not None
    assert highest >= cost


@given(rows(), usages, times)
def test_pico_usd_are_the_exact_cost_rounded_once_half_to_even(row: Row, usage: Usage, at: float) -> None:
    price = Price(row)
    cost, pico = price.cost(usage, at), price.cost_pico(usage, at)
    assert cost is not None
    assert pico == round(Fraction(cost) * 10**12)


@given(st.dictionaries(st.sampled_from(["openai/a", "openai/b", "x/y"]), rows(), max_size=3))
def test_a_sheet_comes_back_exactly_from_its_file(said: dict[str, Row]) -> None:
    heading = load_heading(dump_sheet(Sheet(models=said)))
    assert {name: load_row(raw) for name, raw in heading.models.items()} == said
    assert list(heading.models) == list(said)


@given(rows(), usages, times)
def test_a_price_from_the_file_costs_what_the_price_written_to_it_does(row: Row, usage: Usage, at: float) -> None:
    document = dump_sheet(Sheet(models={"openai/a": row}))
    back = read(parse(document), "file", None).rows.get("openai/a")
    assert refusal("openai/a", row) is None
    assert back is not None
    assert Price(back).cost(usage, at) == Price(row).cost(usage, at)
    assert price_version(back) == price_version(row)


@given(rates)
def test_a_canonical_number_is_equal_and_written_one_way(rate: Decimal) -> None:
    assert canonical(rate) == rate
    assert str(canonical(rate + Decimal("0.000000000000"))) == str(canonical(rate))
