"""The figures of a report: what the page shows, and holds as JSON for whoever wants to compute with them.

Rules. Every figure can be recomputed from the file of results: times and costs are those of answers, medians and percentiles
as in `compare_summary.percentile`. Sums of money are exact, as texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from podium.cli.compared import Compared
from podium.routing.compare import Side, SideName
from podium.routing.compare_summary import Summary, dollars, percentile
from podium.types import Value


class Distribution(Value, frozen=True, kw_only=True):
    """How values lie."""

    n: int
    least: float | None
    p50: float | None
    p95: float | None
    most: float | None
    mean: float | None


class Failure(Value, frozen=True, kw_only=True):
    """How often sides failed in one way."""

    kind: str
    old: int
    new: int
    example: str
    """What one of them said."""


class Figures(Value, frozen=True, kw_only=True):
    """What the page is made of, but for the texts."""

    summary: Summary
    old_s: tuple[float, ...]
    """Times of answers."""
    new_s: tuple[float, ...]
    old_usd: tuple[float, ...]
    """What a thousand such answers would cost, for each whose cost is known: one alone costs too little to be read."""
    new_usd: tuple[float, ...]
    failures: tuple[Failure, ...]


def make_figures(compared: Sequence[Compared], summary: Summary) -> Figures:
    """Gather the figures."""
    old, new = sides(compared, "old"), sides(compared, "new")
    return Figures(
        summary=summary,
        old_s=tuple(side.duration_s for side in old if side.ok),
        new_s=tuple(side.duration_s for side in new if side.ok),
        old_usd=tuple(float(side.cost_usd * 1000) for side in old if side.ok and side.cost_usd is not None),
        new_usd=tuple(float(side.cost_usd * 1000) for side in new if side.ok and side.cost_usd is not None),
        failures=_failures(old, new),
    )


def sides(compared: Sequence[Compared], name: SideName) -> list[Side]:
    """Return one side of all comparisons."""
    return [getattr(each.comparison, name) for each in compared]


def usd(amount: Decimal | float | None) -> str:
    """Write an amount for a reader; `-` where it is not known."""
    return "-" if amount is None else dollars(Decimal(str(amount)))


def distribution(values: Sequence[float]) -> Distribution:
    """Say how values lie."""
    return Distribution(
        n=len(values),
        least=min(values, default=None),
        p50=percentile(values, 0.5),
        p95=percentile(values, 0.95),
        most=max(values, default=None),
        mean=sum(values) / len(values) if values else None,
    )


def _failures(old: Sequence[Side], new: Sequence[Side]) -> tuple[Failure, ...]:
    by_old, by_new = (Counter(side.error_code or "error" for side in each if not side.ok) for each in (old, new))
    words = {side.error_code or "error": side.error or "" for side in (*new, *old) if not side.ok}
    kinds = sorted(words, key=lambda kind: (-by_old[kind] - by_new[kind], kind))
    return tuple(Failure(kind=kind, old=by_old[kind], new=by_new[kind], example=words[kind]) for kind in kinds)


def to_document(figures: Figures, old: str, new: str) -> dict[str, Any]:
    """Return the figures as plain values, for JSON."""
    summary = figures.summary
    plain = summary.to_dict()
    return {
        "n": summary.n,
        "verdict": summary.verdict,
        "headline": summary.headline,
        "facts": list(summary.facts),
        "old": _side(plain["old"], old, figures.old_s, figures.old_usd),
        "new": _side(plain["new"], new, figures.new_s, figures.new_usd),
        "same": summary.same,
        "different": summary.different,
        "incomparable": summary.incomparable,
        "agreement": summary.agreement,
        "similarity": summary.similarity,
        "categories": plain["categories"],
        "failures": [{"kind": each.kind, "old": each.old, "new": each.new} for each in figures.failures],
        "pairs": {
            "old_p50_s": summary.old_s,
            "new_p50_s": summary.new_s,
            "priced": summary.priced,
            "old_usd": _exact(summary.old_usd),
            "new_usd": _exact(summary.new_usd),
        },
    }


def _side(totals: dict[str, Any], spec: str, times: Sequence[float], costs: Sequence[float]) -> dict[str, Any]:
    named = ("answered", "failed", "right", "checked", "input_tokens", "output_tokens", "cost_usd", "unpriced")
    return {
        "spec": spec,
        **{name: totals[name] for name in named},
        "duration_s": distribution(times).to_dict(),
        "cost_of_1000_usd": distribution(costs).to_dict(),
    }


def _exact(amount: Decimal) -> str:
    return f"{amount:f}"
