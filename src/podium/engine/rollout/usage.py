"""What really happened in a rollout, as its store counts it: which arms were chosen, and what became of its shadows.

Theory. Counts are sums per minute, to which all processes add. Those of shadows have names that begin with `shadow:`; durations
and money are counted too, in microseconds and pico-USD.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from podium.ledger.records import usd
from podium.routing.rollout import Rollout
from podium.types import Value

_OURS = "shadow:"
_SKIPPED = "skipped_"


class RolloutUsage(Value, frozen=True, kw_only=True):
    """What really happened in a window, beside what was set."""

    name: str
    window_s: float
    legacy: int
    """Calls that took the legacy arm."""
    candidate: int
    percent: float
    """Of the calls, how many took the candidate; 0 without a call."""
    set_percent: float
    """What the rollout says now."""
    enabled: bool


class ShadowUsage(Value, frozen=True, kw_only=True):
    """What became of the shadows of a rollout in a window. Each that was drawn was sent or skipped, or still runs."""

    name: str
    window_s: float
    sent: int = 0
    """Asked of the other arm: `same`, `different`, `not_compared`, `failed` and `cut_off` together."""
    same: int = 0
    """Answered as the caller's answer, by the judges that consensus has."""
    different: int = 0
    not_compared: int = 0
    """Answered, but an answer could not be read."""
    failed: int = 0
    cut_off: int = 0
    """Cancelled while they ran: by the end of their `Models`, or for a caller who needed their slot."""
    similarity_mean: float | None = None
    """How alike the answers were, 0 to 1, by the words that both have; None: there were no two answers."""
    skipped: dict[str, int] = {}
    """Not sent, by reason; the most frequent first."""
    spent_usd: Decimal = Decimal(0)
    unpriced: int = 0
    """Upstream calls whose cost is not known, and in no sum."""
    answer_mean_s: float | None = None
    """How long the callers' answers took that a shadow was compared with; None: there were none."""
    shadow_mean_s: float | None = None

    @property
    def drawn(self) -> int:
        """How many were to be shadows."""
        return self.sent + sum(self.skipped.values())


def rollout_usage(rollout: Rollout, window_s: float, counts: Mapping[str, int]) -> RolloutUsage:
    """Make the usage of all that was counted in a window."""
    legacy, candidate = counts.get("legacy", 0), counts.get("candidate", 0)
    return RolloutUsage(
        name=rollout.name,
        window_s=window_s,
        legacy=legacy,
        candidate=candidate,
        percent=100 * candidate / (legacy + candidate) if candidate else 0.0,
        set_percent=rollout.percent,
        enabled=rollout.enabled,
    )


def shadow_usage(name: str, window_s: float, counts: Mapping[str, int]) -> ShadowUsage:
    """Make the usage of all that was counted in a window."""
    ours = {what.removeprefix(_OURS): count for what, count in counts.items() if what.startswith(_OURS)}
    skipped = {what.removeprefix(_SKIPPED): count for what, count in ours.items() if what.startswith(_SKIPPED)}
    timed, likened = ours.get("timed", 0), ours.get("likened", 0)
    return ShadowUsage(
        name=name,
        window_s=window_s,
        **{what: ours.get(what, 0) for what in ("sent", "same", "different", "not_compared", "failed", "cut_off", "unpriced")},
        similarity_mean=ours.get("alike_ppm", 0) / likened / 1e6 if likened else None,
        skipped=dict(sorted(skipped.items(), key=lambda each: (-each[1], each[0]))),
        spent_usd=usd(ours.get("spent_pico", 0)),
        answer_mean_s=ours.get("answer_us", 0) / timed / 1e6 if timed else None,
        shadow_mean_s=ours.get("shadow_us", 0) / timed / 1e6 if timed else None,
    )
