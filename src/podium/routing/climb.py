"""One climb of a candidate through its ramp: where it stands, and what comes next.

Theory. A climb is a value. What comes next is a function of it, of its rollout, of the evidence and of the clock, so whoever
holds the store may work it out, and two who do come to the same. Its course (ramp and guard) is frozen when it begins: workers
whose configs differ still add up the same sums.

Rules.
- Where a limit comes from legacy (`Guard.measures`), legacy is measured first, and nobody is moved meanwhile. Then the
  percentage follows the steps; it begins with the first that moves nobody back.
- A climb and its rollout move together. A percentage or an arm that was set by hand ends the climb: the evidence is about
  something else. A rollout that was switched off pauses it.
- A verdict to roll back sets 0 %: test users keep the candidate, as with any 0 %. It holds while a climb is paused, too.
- On its last step a climb watches on, as long as somebody is left at legacy to compare with.
"""

from __future__ import annotations

from typing import Literal

from podium.errors import RequestError
from podium.routing.guard import Baseline, Evidence, Guard, Metric, Ramp, freeze
from podium.routing.rollout import Rollout, Stage, share
from podium.routing.spec import quote
from podium.routing.verdict import Verdict, judge
from podium.types import Value

Status = Literal["measuring", "climbing", "watching", "paused", "done", "rolled_back", "stopped"]

LIVE: frozenset[Status] = frozenset({"measuring", "climbing", "watching", "paused"})
"""Where a climb still hears and judges."""

MEASURING = -1
"""The step before the first."""

_SOURCES: dict[Metric, str] = {
    "latency": "legacy's latency is not known: no answer of it had one (`performance_tracking: false` keeps none)",
    "cost": "legacy's cost is not known: it is a function of your own, or its price is",
}


class Course(Value, frozen=True, kw_only=True):
    """How a candidate climbs, and what it is held to."""

    ramp: Ramp = Ramp()
    guard: Guard = Guard()
    judge: str | None = None
    """The spec that scores answers, where quality is guarded."""
    sample: float = 0.05
    """The share of the answers that it scores."""


class Measured(Value, frozen=True, kw_only=True):
    """What legacy's answers showed before step 1, one a unit."""

    answers: int = 0
    latencies_s: tuple[float, ...] = ()
    costs_usd: tuple[float, ...] = ()


class Climb(Value, frozen=True, kw_only=True):
    """One run through a ramp."""

    rollout: str
    number: int
    """Counts the climbs of a rollout from 1."""
    course: Course
    status: Status
    step: int
    """Counted from 0; -1 while legacy is measured."""
    began_at: float
    step_began_at: float
    climbing_at: float | None = None
    """When the first step began."""
    baseline: Baseline = Baseline()
    reason: str = ""
    """Why it stands as it does, in a sentence."""

    @property
    def is_live(self) -> bool:
        """Whether it still hears and judges."""
        return self.status in LIVE

    @property
    def stage(self) -> Stage:
        """What its rollout says while this climb holds it."""
        return Stage(climb=self.number, step=self.step)


class Move(Value, frozen=True, kw_only=True):
    """What comes next: the climb and its rollout, and the verdict that says so, where one does."""

    climb: Climb
    rollout: Rollout
    verdict: Verdict | None = None

    @property
    def why(self) -> str:
        """What is put on record."""
        return self.climb.reason if self.verdict is None else self.verdict.words


def begin(rollout: Rollout, course: Course, number: int, at: float) -> Move:
    """Return a climb's beginning. Raises `RequestError` where the rollout is switched off, or at its last step already."""
    if not rollout.enabled:
        raise _refused(rollout, "is disabled", f"Enable it first: `podium rollout enable {rollout.name}`.")
    first = _first_step(rollout, course.ramp)
    climb = Climb(
        rollout=rollout.name,
        number=number,
        course=course,
        status="measuring",
        step=MEASURING,
        began_at=at,
        step_began_at=at,
        reason=f"Measuring legacy, for the limit on {' and '.join(course.guard.measures)}.",
    )
    if course.guard.measures:
        return _moved(climb, rollout)
    return _step(climb, rollout, first, at, Baseline(latency_s=course.guard.latency_limit_s))


def advance(climb: Climb, rollout: Rollout, evidence: Evidence, measured: Measured, at: float) -> Move:
    """Return what comes next for a live climb; where that is nothing, the same climb and rollout."""
    if rollout.stage != climb.stage:
        reason = f"Stopped: the rollout was changed by hand, to {rollout.percent:g} % (`podium rollout history` says by whom)."
        return Move(climb=climb.replace(status="stopped", reason=reason), rollout=rollout)
    if not rollout.enabled:
        if climb.status == "paused":
            return Move(climb=climb, rollout=rollout)
        reason = "Paused: the rollout was disabled. Enable it, then resume the ramp."
        return Move(climb=climb.replace(status="paused", reason=reason), rollout=rollout)
    if climb.step == MEASURING:
        return Move(climb=climb, rollout=rollout) if climb.status == "paused" else _measure(climb, rollout, measured, at)
    return _judged(climb, rollout, evidence, at)


def verdict_on(climb: Climb, rollout: Rollout, evidence: Evidence, at: float) -> Verdict | None:
    """Return what the evidence says of a climb now; None while it has not reached its first step."""
    if climb.climbing_at is None:
        return None
    return judge(
        climb.course.guard,
        climb.course.ramp,
        evidence,
        step=climb.step,
        ramp_began_at=climb.climbing_at,
        step_began_at=climb.step_began_at,
        at=at,
        share=share(rollout),
    )


def pause(climb: Climb, rollout: Rollout, who: str, why: str | None) -> Move:
    """Return a climb that waits for its `resume`. Raises `RequestError` where it does not climb."""
    _need(climb, ("measuring", "climbing", "watching"), "be paused")
    return Move(climb=climb.replace(status="paused", reason=_told("Paused", who, why)), rollout=rollout)


def resume(climb: Climb, rollout: Rollout, who: str, why: str | None, at: float) -> Move:
    """Return a climb that goes on from where it was paused; dwell and longest count anew.

    Raises `RequestError` where it is not paused, and where its rollout is switched off.
    """
    _need(climb, ("paused",), "be resumed")
    if not rollout.enabled:
        raise _refused(rollout, "is disabled", f"Enable it first: `podium rollout enable {rollout.name}`.")
    status = _status_at(climb, climb.step, rollout.percent)
    return Move(climb=climb.replace(status=status, step_began_at=at, reason=_told("Resumed", who, why)), rollout=rollout)


def stop(climb: Climb, rollout: Rollout, who: str, why: str | None) -> Move:
    """Return a climb that is over, its rollout where it is. Raises `RequestError` where it is over already."""
    _need(climb, tuple(LIVE), "be stopped")
    reason = _told("Stopped", who, why) + f" The rollout stays at {rollout.percent:g} %."
    return Move(climb=climb.replace(status="stopped", reason=reason), rollout=rollout.replace(stage=None))


# --- steps ---------------------------------------------------------------------------------------------------------------


def _measure(climb: Climb, rollout: Rollout, measured: Measured, at: float) -> Move:
    """Freeze legacy's limits once enough is known, and take the first step."""
    guard, ramp = climb.course.guard, climb.course.ramp
    if measured.answers < ramp.samples:
        if at - climb.step_began_at < ramp.longest_s:
            return Move(climb=climb, rollout=rollout)
        seen = f"legacy gave {measured.answers:,} of the {ramp.samples:,} answers that its limits are frozen from"
        return _paused(climb, rollout, f"{seen}; wait for more traffic, and resume")
    known = {"latency": bool(measured.latencies_s), "cost": bool(measured.costs_usd)}
    for metric in guard.measures:
        if not known[metric]:
            return _paused(climb, rollout, f"{_SOURCES[metric]}; take `{metric}` out of the guard, and start again")
    frozen = freeze(measured.latencies_s, measured.costs_usd, latency_share=guard.latency_share)
    limit = frozen.latency_s if guard.latency_limit_s is None else guard.latency_limit_s
    return _step(climb, rollout, _first_step(rollout, ramp), at, frozen.replace(latency_s=limit))


def _judged(climb: Climb, rollout: Rollout, evidence: Evidence, at: float) -> Move:
    verdict = verdict_on(climb, rollout, evidence, at)
    assert verdict is not None
    same = Move(climb=climb, rollout=rollout, verdict=verdict)
    if verdict.action == "roll_back":
        over = climb.replace(status="rolled_back", reason=verdict.reason)
        return Move(climb=over, rollout=rollout.replace(percent=0.0, stage=None), verdict=verdict)
    if climb.status == "paused" or verdict.action == "hold":
        return same
    if verdict.action == "pause":
        return Move(climb=climb.replace(status="paused", reason=verdict.reason), rollout=rollout, verdict=verdict)
    return _step(climb.replace(reason=verdict.reason), rollout, climb.step + 1, at, climb.baseline).replace(verdict=verdict)


def _step(climb: Climb, rollout: Rollout, step: int, at: float, baseline: Baseline) -> Move:
    percent = climb.course.ramp.percent_at(step)
    reason = climb.reason
    if climb.step == MEASURING:
        reason = f"Began at {percent:g} %."
    there = climb.replace(
        status=_status_at(climb, step, percent),
        step=step,
        step_began_at=at,
        climbing_at=at if climb.climbing_at is None else climb.climbing_at,
        baseline=baseline,
        reason=reason,
    )
    return _moved(there, rollout.replace(percent=percent))


def _moved(climb: Climb, rollout: Rollout) -> Move:
    return Move(climb=climb, rollout=rollout.replace(stage=climb.stage))


def _paused(climb: Climb, rollout: Rollout, reason: str) -> Move:
    return Move(climb=climb.replace(status="paused", reason=f"Paused: {reason}."), rollout=rollout)


def _status_at(climb: Climb, step: int, percent: float) -> Status:
    if step == MEASURING:
        return "measuring"
    if not climb.course.ramp.is_last(step):
        return "climbing"
    return "watching" if percent < 100 else "done"


def _first_step(rollout: Rollout, ramp: Ramp) -> int:
    """The first step that moves nobody back. Raises `RequestError` where there is none."""
    for step in range(len(ramp.steps)):
        if ramp.percent_at(step) > rollout.percent or (ramp.percent_at(step) == rollout.percent and not ramp.is_last(step)):
            return step
    top = ramp.percent_at(len(ramp.steps) - 1)
    hint = f"Set a lower percentage first: `podium rollout set {rollout.name} 0`."
    raise _refused(rollout, f"is at {rollout.percent:g} %, and its ramp ends at {top:g} %", hint)


def _told(what: str, who: str, why: str | None) -> str:
    return f"{what} by {who}{f': {why}' if why else ''}."


def _need(climb: Climb, statuses: tuple[Status, ...], what: str) -> None:
    if climb.status not in statuses:
        raise RequestError(
            f"The ramp of {quote(climb.rollout)} is {climb.status.replace('_', ' ')} and cannot {what}.",
            param="rollout",
            code="ramp_status",
            hint=f"See `podium rollout show {climb.rollout}`.",
        )


def _refused(rollout: Rollout, what: str, hint: str) -> RequestError:
    return RequestError(f"Rollout {quote(rollout.name)} {what}.", param="rollout", code="ramp_status", hint=hint)
