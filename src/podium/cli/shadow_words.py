"""What became of a rollout's shadows, in words for `podium rollout show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium.cli import console
from podium.cli.usage_table import money

if TYPE_CHECKING:
    from podium.engine.rollout.usage import ShadowUsage
    from podium.routing.snapshot import Shadow

REASONS = {
    "budget": "would not fit the budget",
    "busy": "too many at once",
    "closed": "the process ended first",
    "cost_unknown": "no price",
    "disabled": "rollout disabled, or its store lost",
    "down": "candidate is down",
    "no_target": "nobody to ask",
    "own_key": "user's own key",
    "provider_state": "refers to what a provider keeps",
    "provider_tools": "a provider would execute something",
    "store_lost": "store lost",
    "untracked": "user is not tracked",
}


def shadow_lines(shadow: Shadow | None, usage: ShadowUsage, window: str) -> list[tuple[str, str]]:
    """Return titles and texts; none where a rollout has no shadows, and had none."""
    if shadow is None and not usage.drawn:
        return []
    told = ["none" if shadow is None else f"{shadow.sample:g} % of answered calls, up to {_plain(shadow)} a day"]
    told.append(
        f"{usage.sent:,} sent in the last {window}{f' for {money(usage.spent_usd)}' if usage.sent else ''}{_came(usage)}"
    )
    if usage.similarity_mean is not None:
        told.append(f"on average {100 * usage.similarity_mean:.0f} % of the words are in both answers")
    if usage.answer_mean_s is not None and usage.shadow_mean_s is not None:
        told.append(f"answers took {usage.answer_mean_s:.2f} s, their shadows {usage.shadow_mean_s:.2f} s on average")
    if usage.skipped:
        reasons = ", ".join(f"{count:,} ({REASONS.get(reason, reason)})" for reason, count in usage.skipped.items())
        told.append(f"skipped: {reasons}")
    if usage.unpriced:
        told.append(f"{console.plural(usage.unpriced, 'upstream call')} had no known price and are in no sum")
    return [("shadow" if not place else "", text) for place, text in enumerate(told)]


def _came(usage: ShadowUsage) -> str:
    """What came of those that were sent."""
    compared = usage.same + usage.different
    found = [f"{usage.same:,} of {compared:,} the same ({100 * usage.same / compared:.1f} %)"] if compared else []
    rest = (("not comparable", usage.not_compared), ("failed", usage.failed), ("cut off", usage.cut_off))
    found += [f"{count:,} {what}" for what, count in rest if count]
    return f": {', '.join(found)}" if found else ""


def _plain(shadow: Shadow) -> str:
    """Write a budget: whole dollars, cents, or all of it."""
    amount = shadow.budget_usd_per_day
    if amount == amount.to_integral_value():
        return f"${amount:,.0f}"
    return f"${amount:,.2f}" if amount == round(amount, 2) else f"${amount.normalize():f}"
