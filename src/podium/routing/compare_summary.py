"""What many comparisons come to: figures of each side, agreement by category, and a verdict in words.

Theory. Both sides answered the same questions, so they are compared pair by pair: who was faster, who alone was right, who
alone failed. Under "no difference" each such pair is a fair coin, which gives an exact p-value without any assumption on
latencies (the sign test; for right answers it is McNemar's exact test). Costs are no sample: they are what was paid, and are
compared as sums.

Rules.
- What is right comes before what is cheap or fast: a side that is right more often, or fails less often, beyond chance
  (p < `ALPHA`) is the better one.
- Else the cheaper and faster one is; where one is cheaper and the other faster, it is a trade. Less than `NOTABLE` is no
  difference.
- Where answers differ and nobody said what is right, the verdict says so: being different is not being worse.
- Unknown is not zero: costs are compared over the pairs in which both are known. Latencies are of answers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from math import floor
from typing import Literal

from podium.routing.compare import Comparison, SideName
from podium.types import Value

ALPHA = 0.05
NOTABLE = 0.05

Verdict = Literal["new", "old", "trade", "equal", "none"]


class Observation(Value, frozen=True, kw_only=True):
    """One comparison among many."""

    comparison: Comparison
    category: str = ""
    right_new: bool | None = None
    """None: nobody said what is right."""
    right_old: bool | None = None


class Totals(Value, frozen=True, kw_only=True):
    """One side's figures."""

    side: SideName
    answered: int
    failed: int
    right: int
    checked: int
    """Answers of which it is known whether they are right."""
    p50_s: float | None
    p95_s: float | None
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    unpriced: int
    """Answers whose cost is not known."""


class Category(Value, frozen=True, kw_only=True):
    """How far the sides agree on questions of one kind."""

    name: str
    same: int
    different: int
    incomparable: int


class Odds(Value, frozen=True, kw_only=True):
    """Of the pairs in which the sides differ in something: how many for each, and how likely that is by chance."""

    new: int
    old: int
    p: float
    """Two-sided, exact."""

    @property
    def leader(self) -> SideName | None:
        """Who is ahead beyond chance."""
        if self.p >= ALPHA:
            return None
        return "new" if self.new > self.old else "old"


class Summary(Value, frozen=True, kw_only=True):
    """What many comparisons come to."""

    n: int
    same: int
    different: int
    incomparable: int
    agreement: float | None
    """Same over same and different."""
    similarity: float | None
    """The median."""
    new: Totals
    old: Totals
    categories: tuple[Category, ...]
    right: Odds
    """Which alone was right."""
    failed: Odds
    """Which alone failed."""
    faster: Odds
    """Which was faster, where both answered."""
    new_s: float | None
    """The median of new, where both answered."""
    old_s: float | None
    latency_ratio: float | None
    """New over old."""
    priced: int
    """Pairs in which both costs are known."""
    new_usd: Decimal
    """What the new side cost in these."""
    old_usd: Decimal
    cost_ratio: float | None
    """New over old."""
    verdict: Verdict
    headline: str
    facts: tuple[str, ...]

    @property
    def reliable(self) -> SideName | None:
        """Who fails less often, beyond chance."""
        worse = self.failed.leader
        return None if worse is None else "old" if worse == "new" else "new"

    @property
    def cheaper(self) -> SideName | None:
        """Who is notably cheaper."""
        return _leader(self.cost_ratio)

    @property
    def quicker(self) -> SideName | None:
        """Who is notably faster, and beyond chance."""
        return self.faster.leader if _leader(self.latency_ratio) == self.faster.leader else None


def summarise(observations: Sequence[Observation]) -> Summary:
    """Sum up comparisons."""
    pairs = [each.comparison for each in observations]
    both = [pair for pair in pairs if pair.new.ok and pair.old.ok]
    new, old = _totals("new", observations), _totals("old", observations)
    same, different = sum(pair.same is True for pair in pairs), sum(pair.same is False for pair in pairs)
    checked = [each for each in observations if each.right_new is not None and each.right_old is not None]
    priced = [pair for pair in both if pair.new.cost_usd is not None and pair.old.cost_usd is not None]
    new_usd = sum((pair.new.cost_usd or Decimal(0) for pair in priced), Decimal(0))
    old_usd = sum((pair.old.cost_usd or Decimal(0) for pair in priced), Decimal(0))
    new_s, old_s = (
        percentile([pair.new.duration_s for pair in both], 0.5),
        percentile([pair.old.duration_s for pair in both], 0.5),
    )
    summary = Summary(
        n=len(pairs),
        same=same,
        different=different,
        incomparable=len(pairs) - same - different,
        agreement=same / (same + different) if same + different else None,
        similarity=percentile([pair.similarity for pair in pairs if pair.similarity is not None], 0.5),
        new=new,
        old=old,
        categories=_categories(observations),
        right=_odds(
            sum(bool(each.right_new and not each.right_old) for each in checked),
            sum(bool(each.right_old and not each.right_new) for each in checked),
        ),
        failed=_odds(
            sum(not pair.new.ok and pair.old.ok for pair in pairs), sum(not pair.old.ok and pair.new.ok for pair in pairs)
        ),
        faster=_odds(
            sum(pair.new.duration_s < pair.old.duration_s for pair in both),
            sum(pair.old.duration_s < pair.new.duration_s for pair in both),
        ),
        new_s=new_s,
        old_s=old_s,
        latency_ratio=new_s / old_s if new_s is not None and old_s else None,
        priced=len(priced),
        new_usd=new_usd,
        old_usd=old_usd,
        cost_ratio=float(new_usd / old_usd) if old_usd else None,
        verdict="none",
        headline="",
        facts=(),
    )
    verdict, headline = _decide(summary)
    return summary.replace(verdict=verdict, headline=headline, facts=_facts(summary))


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value below which a share of the values lies, between two of them by proportion (Hyndman and Fan's type 7)."""
    if not values:
        return None
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    below = floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def sign_test(one: int, other: int) -> float:
    """Return how likely a division at least as uneven is by chance: two-sided, exact (Dixon and Mood, 1946)."""
    n, least = one + other, min(one, other)
    ways = below = 1
    for k in range(least):  # each binomial coefficient out of the one before: computed anew, ten thousand pairs take seconds
        ways = ways * (n - k) // (k + 1)
        below += ways
    tail: float = 2 * below / 2**n
    return min(1.0, tail)


def _odds(new: int, old: int) -> Odds:
    return Odds(new=new, old=old, p=sign_test(new, old))


def _totals(side: SideName, observations: Sequence[Observation]) -> Totals:
    sides = [getattr(each.comparison, side) for each in observations]
    rights = [each.right_new if side == "new" else each.right_old for each in observations]
    answers = [each for each in sides if each.ok]
    times = [each.duration_s for each in answers]
    return Totals(
        side=side,
        answered=len(answers),
        failed=len(sides) - len(answers),
        right=sum(right is True for right in rights),
        checked=sum(right is not None for right in rights),
        p50_s=percentile(times, 0.5),
        p95_s=percentile(times, 0.95),
        input_tokens=sum(each.input_tokens or 0 for each in sides),
        output_tokens=sum(each.output_tokens or 0 for each in sides),
        cost_usd=sum((each.cost_usd for each in sides if each.cost_usd is not None), Decimal(0)),
        unpriced=sum(each.cost_usd is None for each in answers),
    )


def _categories(observations: Sequence[Observation]) -> tuple[Category, ...]:
    names = dict.fromkeys(each.category for each in observations)
    found = []
    for name in names:
        sames = [each.comparison.same for each in observations if each.category == name]
        found.append(Category(name=name, same=sames.count(True), different=sames.count(False), incomparable=sames.count(None)))
    return tuple(found)


def leading(categories: Sequence[Category], most: int) -> list[Category]:
    """Return at most so many categories in their order: the largest, and in the place of the last what the others sum up to."""
    if len(categories) <= most:
        return list(categories)
    by_size = sorted(categories, key=lambda each: -(each.same + each.different + each.incomparable))
    kept, rest = by_size[: most - 1], by_size[most - 1 :]
    others = Category(
        name=f"({len(rest):,} others)",
        same=sum(each.same for each in rest),
        different=sum(each.different for each in rest),
        incomparable=sum(each.incomparable for each in rest),
    )
    return [*(each for each in categories if each in kept), others]


# --- words ---------------------------------------------------------------------------------------------------------------


def _decide(summary: Summary) -> tuple[Verdict, str]:
    """Say which side is better, by what is right first."""
    if not summary.new.answered and not summary.old.answered:
        return "none", "Nothing to compare: neither side answered."
    right, reliable = summary.right.leader, summary.reliable
    if right is not None or reliable is not None:
        if right is not None and reliable is not None and right != reliable:
            return "trade", f"A trade: {right} is right more often, {reliable} fails less often."
        better: SideName = right or reliable or "new"
        merits = [word for word, side in (("right more often", right), ("fails less often", reliable)) if side]
        return better, f"{better.capitalize()} is better: it {' and '.join(_verb(word) for word in merits)}."
    cheaper, faster = summary.cheaper, summary.quicker
    doubt = _doubt(summary)
    if cheaper is None and faster is None:
        return "equal", f"No difference in cost or speed that counts; {doubt}."
    if cheaper is not None and faster is not None and cheaper != faster:
        return "trade", f"A trade: {cheaper} is cheaper, {faster} is faster; {doubt}."
    side: SideName = cheaper or faster or "new"
    merits = [word for word, who in (("cheaper", cheaper), ("faster", faster)) if who]
    return side, f"{side.capitalize()} is {' and '.join(merits)}; {doubt}."


def _verb(word: str) -> str:
    return f"is {word}" if word.startswith("right") else word


def _doubt(summary: Summary) -> str:
    """What can be said of the answers where no side's are better beyond chance."""
    new, old = summary.new, summary.old
    if new.checked and new.right == old.right:
        return f"both are right {_times(new.right)} of {new.checked}"
    if new.checked:
        return f"new is right {_times(new.right)} of {new.checked}, old {old.right}, which may be chance"
    if summary.different:
        return f"{summary.different} of {summary.n} answers differ, and which are better is yours to read"
    return "the answers are the same"


def _times(count: int) -> str:
    return f"{count} time{'' if count == 1 else 's'}"


def _leader(ratio: float | None) -> SideName | None:
    if ratio is None or abs(ratio - 1) < NOTABLE:
        return None
    return "new" if ratio < 1 else "old"


def _facts(summary: Summary) -> tuple[str, ...]:
    new, old = summary.new, summary.old
    facts = []
    if summary.agreement is not None:
        judged = summary.same + summary.different
        facts.append(f"Same answer: {summary.same} of {judged} ({summary.agreement:.0%}).")
    if new.checked:
        p = f", {_chance(summary.right.p)}" if summary.right.new + summary.right.old else ""
        facts.append(f"Right: new {new.right} of {new.checked}, old {old.right} of {old.checked}{p}.")
    if summary.new_s is not None and summary.old_s is not None:
        where = "" if new.failed + old.failed == 0 else " where both answered"
        facts.append(
            f"Time at the median{where}: new {_seconds(summary.new_s)}, old {_seconds(summary.old_s)}; new was faster "
            f"{_times(summary.faster.new)}, old {summary.faster.old} ({_chance(summary.faster.p)})."
        )
    if summary.cost_ratio is not None:
        change = summary.cost_ratio - 1
        words = "as much" if abs(change) < 0.005 else f"{abs(change):.0%} {'more' if change > 0 else 'less'}"
        where = "" if summary.priced == summary.n else f" (over {summary.priced} pairs)"
        facts.append(f"Cost{where}: new {dollars(summary.new_usd)}, old {dollars(summary.old_usd)}; new costs {words}.")
    elif new.unpriced or old.unpriced:
        facts.append("Cost: not known for some answers, so not compared.")
    facts.append(f"Failed: new {new.failed}, old {old.failed} of {summary.n}.")
    return tuple(facts)


def dollars(amount: Decimal) -> str:
    """Write an amount with three significant digits: `$0.00123`, `$12.30`."""
    if amount >= 10:
        return f"${amount:,.2f}"
    places = max(2, 2 - amount.adjusted()) if amount else 2
    return f"${amount:.{places}f}"


def _seconds(duration_s: float) -> str:
    return f"{duration_s * 1000:.0f} ms" if duration_s < 0.9995 else f"{duration_s:.2f} s"


def _chance(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
