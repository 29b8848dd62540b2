"""Ramps at work: rollouts that step by themselves, guarded: `models.rollouts.ramps`.

Theory. A person begins a climb; from then on the evidence steps on, pauses or rolls back. Every process hears its own calls
(`hearing`), files them and may come to lead (`work`), in a thread that begins with the first news (`watch`).
Here is what people do and see.

Rules. A ramp needs a data folder: climbs live in the store of the rollouts. Methods block for as long as the store takes, and
raise `RequestError` for a rollout that there is not or that has no ramp, and `StoreError`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.engine.ramp.hearing import Hearing
from podium.engine.rollout.changes import me
from podium.engine.rollout.choice import Choice
from podium.errors import RequestError
from podium.routing.climb import Climb, Course, Measured, Move, advance, begin, pause, resume, stop, verdict_on
from podium.routing.guard import Drawn
from podium.routing.rollout import Rollout
from podium.routing.snapshot import Snapshot
from podium.routing.spec import quote
from podium.routing.verdict import Verdict
from podium.types import Value

if TYPE_CHECKING:
    from podium.coordination.ramps import Picture, Point, SqliteRamps
    from podium.engine.models import Models
    from podium.engine.ramp.judging import Judging
    from podium.engine.ramp.watch import RampWatch
    from podium.engine.rollout.rollouts import Rollouts

BEAT_S = 1.0
"""How often what was heard is filed and judged."""
_FORK_WAIT_S = 1.0
_log = logging.getLogger("podium.rollouts")


class RampState(Value, frozen=True, kw_only=True):
    """How a ramp stands, and why."""

    rollout: Rollout
    climb: Climb
    verdict: Verdict | None = None
    """What the evidence says now; None before the first step."""
    drawn: Drawn | None = None
    """How many units were seen at this step."""
    measured: Measured = Measured()
    """What legacy has shown, while it is measured."""
    trace: tuple[Point, ...] = ()
    """The evidence over time."""
    led_by: str | None = None
    """Which process judges: host, process id, and a word of its own."""


class Ramps:
    """The ramps of a `Models`: `models.rollouts.ramps`. Thread-safe."""

    def __init__(self, rollouts: Rollouts, snapshot: Snapshot, path: Path | None, *, beat_s: float = BEAT_S) -> None:
        self._rollouts = rollouts
        self._courses = snapshot.courses
        self._path = path
        self.beat_s = beat_s
        self.judging: Judging | None = None
        """What lets answers be judged; None: no guard watches quality."""
        self.on_breaker: Callable[[], object] | None = None
        """Called when a breaker opens or closes: it must be cheap."""
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self.hearing = Hearing(self._courses, self._tell)
        self._watch: RampWatch | None = None

    def _tell(self, name: str, changed: str, wait_s: float) -> None:
        """Log what a breaker did, and let it be seen."""
        if self.on_breaker is not None:
            self.on_breaker()
        if changed == "closed":
            _log.warning("The candidate of rollout %s answers again, and gets its share.", name)
            return
        what = "is down" if changed == "opened" else "is still down"
        words = "The candidate of rollout %s %s: its share takes legacy for %.0f s, then one call tries it again."
        _log.warning(words, name, what, wait_s)

    # --- forks and the end ----------------------------------------------------------------------------------------------

    def hold_still(self) -> None:
        """Before a fork: let go of the store."""
        if self._watch is not None:
            self._watch.stop(_FORK_WAIT_S)

    def go_on(self) -> None:
        """After a fork, in the parent."""
        if self._watch is not None:
            self._watch = None
            self.wake()

    def begin_anew(self) -> None:
        """After a fork, in the child: what its parent heard is not its own."""
        self._begin()

    def judge_with(self, models: Models) -> None:
        """Let answers be judged by these models, where a guard watches quality."""
        if any(course.judge is not None for course in self._courses.values()):
            from podium.engine.ramp.judging import Judging

            self.judging = Judging(models)

    def wake(self) -> None:
        """Begin the work, where there is any."""
        if self._watch is not None or self._path is None:
            return
        from podium.engine.ramp.watch import RampWatch

        with self._lock:
            if self._watch is None:
                self._watch = RampWatch(self, self._path, self.beat_s)

    def after_function(self, choice: Choice, ask: Mapping[str, Any], answer: Any) -> None:
        """Let what a function answered be judged, where a guard watches quality."""
        if self.judging is not None:
            self.judging.after_function(choice, ask, answer)

    def close(self) -> None:
        """File what was heard last, and end the work. It blocks for a moment."""
        with self._lock:
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()

    def statistics(self) -> dict[str, Any]:
        """What this process has heard, whether it judges, and which candidates are down."""
        if not self._courses and not self.hearing.heard:
            return {}
        watch = self._watch
        failures = 0 if watch is None else watch.failures
        facts: dict[str, Any] = {"leads": watch is not None and watch.work.leads, "failures": failures}
        if self.judging is not None:
            facts["quality"] = self.judging.statistics()
        return {"ramps": {**self.hearing.statistics(), **facts}}

    # --- what people do -------------------------------------------------------------------------------------------------

    def start(self, name: str, *, why: str | None = None, who: str | None = None) -> RampState:
        """Begin a climb: measure legacy first where a limit comes from it, else take the first step.

        Raises `RequestError` where a climb is under way, or the rollout is disabled or at its ramp's end.
        """
        course = self._course(name)

        def make(rollout: Rollout, last: Climb | None) -> Move:
            if last is not None and last.is_live and last.stage == rollout.stage:
                raise RequestError(
                    f"The ramp of {quote(name)} is {last.status} already.",
                    param="rollout",
                    code="ramp_status",
                    hint=f"Stop it first: `podium rollout ramp {name} stop`.",
                )
            return begin(rollout, course, 1 if last is None else last.number + 1, time.time())

        ramps = self._open(name)
        ramps.begin(name, make, who=who or me(), why=why)
        return self._now(name)

    def pause(self, name: str, *, why: str | None = None, who: str | None = None) -> RampState:
        """Stay at this percentage; the guard still rolls back. Raises `RequestError` where nothing climbs."""
        who = who or me()
        return self._change(name, lambda found: pause(found.climb, found.rollout, who, why), who, why)

    def resume(self, name: str, *, why: str | None = None, who: str | None = None) -> RampState:
        """Go on from where it was paused, with dwell and longest anew. Raises `RequestError` where it is not paused."""
        who = who or me()
        return self._change(name, lambda found: resume(found.climb, found.rollout, who, why, time.time()), who, why)

    def stop(self, name: str, *, why: str | None = None, who: str | None = None) -> RampState:
        """End the climb where it is: the percentage stays, and nothing guards it any more.

        Raises `RequestError` where it is over.
        """
        who = who or me()
        return self._change(name, lambda found: stop(found.climb, found.rollout, who, why), who, why)

    def state(self, name: str) -> RampState | None:
        """Return how a ramp stands, with its evidence and that over time; None where none was begun."""
        self._rollouts.show(name)
        if self._path is None:
            return None
        ramps = self._ramps()
        picture = ramps.picture(name)
        if picture is None:
            return None
        leader, now = ramps.leader(), time.time()
        climb = _as_it_is(picture, now)
        drawn = next((each for each in picture.evidence.drawn if each.step == climb.step), None)
        return RampState(
            rollout=picture.rollout,
            climb=climb,
            verdict=verdict_on(climb, picture.rollout, picture.evidence, now),
            drawn=drawn,
            measured=picture.measured,
            trace=tuple(ramps.trace(climb)),
            led_by=leader[0] if leader is not None and leader[1] > now else None,
        )

    def course(self, name: str) -> Course | None:
        """Return the ramp and guard that the config gives a rollout."""
        return self._courses.get(name)

    def _course(self, name: str) -> Course:
        self._rollouts.show(name)
        course = self._courses.get(name)
        if course is None:
            raise RequestError(
                f"Rollout {quote(name)} has no ramp.",
                param="rollout",
                code="no_ramp",
                hint=f"Write `ramp: {{}}` and `guard: {{}}` under `rollouts: {name}:` in the config.",
            )
        return course

    def _ramps(self) -> SqliteRamps:
        from podium.coordination.ramps import SqliteRamps
        from podium.coordination.rollouts import SqliteRollouts

        assert self._path is not None
        return SqliteRamps(SqliteRollouts(self._path))

    def _open(self, name: str) -> SqliteRamps:
        if self._path is None:
            raise RequestError(
                f"The ramp of {quote(name)} has no data folder to keep its evidence in.",
                param="rollout",
                code="no_data_dir",
                hint="Set `data_dir`.",
            )
        return self._ramps()

    def _change(self, name: str, make: Callable[[Picture], Move], who: str, why: str | None) -> RampState:
        self._rollouts.show(name)
        if self._path is None:
            self._course(name)
        ramps = self._open(name)
        try:
            ramps.change(name, make, who=who, why=why)
        except LookupError:
            self._course(name)
            raise RequestError(
                f"The ramp of {quote(name)} was never started.",
                param="rollout",
                code="ramp_status",
                hint=f"Start it: `podium rollout ramp {name} start`.",
            ) from None
        return self._now(name)

    def _now(self, name: str) -> RampState:
        self._rollouts.look_now()
        state = self.state(name)
        assert state is not None
        return state


def _as_it_is(picture: Picture, at: float) -> Climb:
    """The climb, ended where its rollout was changed by hand and nobody that serves has seen that yet."""
    climb, rollout = picture.climb, picture.rollout
    if not climb.is_live or climb.stage == rollout.stage:
        return climb
    return advance(climb, rollout, picture.evidence, picture.measured, at).climb
