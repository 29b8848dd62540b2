"""What a rollout chooses for one call: from its state as this process knows it, and who asks.

Theory. `podium.routing.rollout.decide` decides from a state that is known. Here is what else a process must think of: that it
knows none yet, or that what it knows is old.

Rules. Nothing here waits or changes anything. What was never known gives legacy, and so does what is too old, but a rollout at
100 %: its legacy may be gone. The reasons say so.
"""

from __future__ import annotations

from collections.abc import Mapping

from podium.routing.rollout import Arm, Decision, Grounds, Rollout, Stage, Told, decide
from podium.routing.spec import quote
from podium.types import Value

LOST_AFTER_S = 2.0
"""A store that was last seen so long ago is lost."""


class Asker(Value, frozen=True, kw_only=True, gc=False):
    """Who asks, as far as rollouts look at it."""

    user_id: str | None = None
    team: str | None = None
    conversation: str | None = None
    tags: tuple[str, ...] = ()


class Choice(Value, frozen=True, kw_only=True, gc=False):
    """What a rollout chose for a call."""

    rollout: str
    arm: Arm
    spec: str | None
    """The arm's spec, to be taken as written; None: the arm is what the call means without the rollout."""
    why: str
    """One sentence."""
    asker: Asker = Asker()
    by: Grounds = "bucket"
    """What decided."""
    stage: Stage | None = None
    """Where the ramp was."""
    unit_id: str | None = None
    """Whom it was drawn for."""
    told: Told | None = None
    """What somebody else said."""
    other: str | None = None
    """The other arm's spec, to be taken as written; None: what the call means without the rollout, or says itself."""
    shadowed: bool = True
    """Whether the other arm can be asked by a spec: not where it is a function."""


class Known:
    """A state of all rollouts."""

    __slots__ = ("by_match", "is_known", "states", "testers", "titles")

    def __init__(self, states: Mapping[str, Rollout], *, is_known: bool = True) -> None:
        self.states = states
        self.by_match = {spec: rollout for rollout in states.values() for spec in rollout.match}
        self.is_known = is_known
        self.testers = {name: frozenset(rollout.test_users) for name, rollout in states.items()}
        """There may be many, and each call looks."""
        self.titles = {name: f"Rollout {quote(name)}" for name in states}


def choice(known: Known, rollout: Rollout, asker: Asker, age_s: float, max_stale_s: float, told: Told | None = None) -> Choice:
    """Return the arm that a call takes; `age_s` is how long ago the store was last seen, `told` what somebody else decided."""
    unit_id = asker.user_id if rollout.unit == "user" else _unit_id(rollout, asker)
    decision, note = None, ""
    if age_s > LOST_AFTER_S or not known.is_known:
        decision, note = _doubt(known, rollout, age_s, max_stale_s)
    if decision is None:
        decision = decide(
            rollout,
            user_id=asker.user_id,
            team=asker.team,
            tags=asker.tags,
            unit_id=unit_id,
            told=told,
            testers=known.testers[rollout.name],
        )
    return Choice(
        rollout=rollout.name,
        arm=decision.arm,
        spec=rollout.legacy if decision.arm == "legacy" else rollout.candidate or None,
        why=f"{known.titles[rollout.name]} chose the {decision.arm} arm: {decision.reason}{note}.",
        asker=asker,
        by=decision.by,
        stage=rollout.stage,
        unit_id=unit_id,
        told=told,
        other=rollout.candidate or None if decision.arm == "legacy" else rollout.legacy,
    )


def without_candidate(made: Choice, rollout: Rollout, wait_s: float) -> Choice:
    """Return the choice of legacy for a call whose candidate is down."""
    why = f"the candidate is down, and is tried again in {wait_s:.0f} s"
    return made.replace(
        arm="legacy",
        spec=rollout.legacy,
        by="breaker",
        why=f"Rollout {quote(rollout.name)} chose the legacy arm: {why}.",
    )


def _unit_id(rollout: Rollout, asker: Asker) -> str | None:
    """Whom it is drawn for, where that is not the user."""
    if rollout.unit == "team":
        return asker.team
    return asker.conversation if rollout.unit == "conversation" else None


def _doubt(known: Known, rollout: Rollout, age_s: float, max_stale_s: float) -> tuple[Decision | None, str]:
    """What is decided by how little is known, or None; and what is to be said of the store."""
    if not known.is_known:
        why = "the store of rollouts has not answered yet, and how this one stands was never known"
        return Decision(arm="legacy", reason=why, by="disabled"), ""
    if age_s > max_stale_s and rollout.percent < 100:
        why = f"the store of rollouts is lost for {age_s:.0f} s, longer than the {max_stale_s:g} s of `max_stale`"
        return Decision(arm="legacy", reason=why, by="disabled"), ""
    return None, f" (as last known: the store of rollouts is lost for {age_s:.0f} s)"
