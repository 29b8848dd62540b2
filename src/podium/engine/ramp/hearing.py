"""What a ramp hears of governed calls: who was drawn for which arm, and how the call ended.

Theory. A call pays for it with one append to a list, when it ends; what becomes of the list is a thread's business. The same
news feeds a breaker for each arm of the process's own: an outage is felt here before the store has heard of it.

Rules.
- Only what the bucket decided is heard: test users and rules are no sample, and what a breaker sent to legacy is none either.
- A call *failed* where its caller got an error from the arm, be it one about a bad request: those that are the caller's own
  doing fail at both arms, and cancel out in pairs; one that only the candidate refuses is what a guard is there for. No news
  is: a `Models` that was closed, a call that Podium's own limits stopped before anything was sent, and one
  that ended because its rollout was taken back.
- A caller who left tells how long they waited, and no more: beyond the limit on latency the call was slow, below it nobody
  knows.
- Its latency is what its caller waited for: the whole answer, or where it is streamed the first content. A call that failed has
  none, and neither has a user with `performance_tracking: false`.
- A climb is heard wherever its rollout is at work, whatever this process's config says of ramps: its course is frozen.
- Its cost is that of all its attempts; unknown where one's is.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, NamedTuple, Self

from podium.engine.rollout.choice import Choice
from podium.errors import LimitError, ModelsClosed, PodiumError, RequestError, StoreError, StreamLeft
from podium.routing.climb import Course
from podium.routing.health import Breaker, BreakerState
from podium.routing.rollout import Arm, Rollout, Stage

MOST_WAITING = 200_000
"""News that may wait for the store; beyond that the oldest is dropped, and counted."""
_LEFT = frozenset({"cancelled", "stream_left"})
_NO_NEWS = frozenset({"models_closed", "rolled_back"})

Hears = Callable[[str, float | None, Sequence[Decimal | None]], None]
"""Takes the outcome of a request, how long its caller waited, and what each of its attempts cost."""


class News(NamedTuple):
    """How a call ended for a unit that was drawn by its bucket."""

    rollout: str
    stage: Stage
    arm: Arm
    unit_id: str
    at: float
    failed: bool | None
    """None: the unit was drawn for a candidate that is down, and sent to legacy; or its caller left; or a judge has found
    something."""
    latency_s: float | None = None
    cost_usd: Decimal | None = None
    quality: float | None = None
    """What a judge found later; then it is all that is known."""


class Hearing:
    """Collects news, and breaks the circuit of a candidate that is down. Thread-safe, for a deque is."""

    def __init__(self, courses: Mapping[str, Course], told: Callable[[str, str, float], object]) -> None:
        self._told = told
        """Told what a breaker did: the rollout, the change, and for how long."""
        self._breakers: dict[tuple[str, Arm], Breaker] = {
            (name, arm): Breaker() for name in courses for arm in ("candidate", "legacy")
        }
        self.news: deque[News] = deque()
        self.heard = self.dropped = self.diverted = 0

    def hears(self, choice: Choice | None) -> Hears | None:
        """Return what takes the end of a call, where it matters to a ramp."""
        if choice is None or choice.by != "bucket":
            return None
        if choice.stage is None and (choice.rollout, choice.arm) not in self._breakers:
            return None
        made = choice

        def hear(outcome: str, waited_s: float | None, costs_usd: Sequence[Decimal | None]) -> None:
            if outcome in _LEFT:
                if waited_s is not None:
                    self.take_left(made, waited_s)
            elif outcome not in _NO_NEWS:
                known = [cost for cost in costs_usd if cost is not None]
                whole = sum(known, Decimal(0)) if len(known) == len(costs_usd) else None
                self.take(made, outcome != "ok", waited_s, whole)

        return hear

    def timing(self, choice: Choice) -> Timing:
        """Return a context manager around a function that answers for an arm."""
        return Timing(self, choice)

    def take(self, choice: Choice, failed: bool, latency_s: float | None = None, cost_usd: Decimal | None = None) -> None:
        """Take how a call ended."""
        if choice.by != "bucket" or choice.unit_id is None:
            return
        self._keep(choice, failed, latency_s=None if failed else latency_s, cost_usd=cost_usd)
        breaker = self._breakers.get((choice.rollout, choice.arm))
        if breaker is None:
            return
        now = time.monotonic()
        if choice.arm == "legacy":
            breaker.allows(now)  # nobody is kept from legacy: once its breaker has waited, any call's end is the probe
        changed = breaker.note(failed, now, random.random())
        if changed is not None and choice.arm == "candidate":
            self._told(choice.rollout, changed, breaker.wait_s(now))

    def take_left(self, choice: Choice, waited_s: float) -> None:
        """Take that a caller left, after so long."""
        if choice.by == "bucket":
            self._keep(choice, None, latency_s=waited_s)

    def take_quality(self, choice: Choice, quality: float) -> None:
        """Take what a judge found of an answer, 0 to 1."""
        self._keep(choice, None, quality=quality)

    def _keep(self, choice: Choice, failed: bool | None, **found: Any) -> None:
        """Keep news for the store."""
        if choice.stage is None or choice.unit_id is None:
            return
        if len(self.news) >= MOST_WAITING:
            self.news.popleft()
            self.dropped += 1
        self.heard += 1
        self.news.append(News(choice.rollout, choice.stage, choice.arm, choice.unit_id, time.time(), failed, **found))

    def divert(self, choice: Choice) -> float:
        """Take that a unit drawn for the candidate is sent to legacy; returns for how long the candidate is not asked."""
        self.diverted += 1
        self._keep(choice, None)
        return self.wait_s(choice.rollout)

    def is_down(self, rollout: Rollout, *, asks: bool) -> bool:
        """Whether a candidate is down while legacy is not; `asks`: a call follows, which may be the one that probes.

        At 100 % legacy may be gone, so nothing is sent there.
        """
        breaker = self._breakers.get((rollout.name, "candidate"))
        if breaker is None or breaker.state == "closed" or rollout.percent >= 100:
            return False
        if self._breakers[rollout.name, "legacy"].state != "closed":
            return False
        now = time.monotonic()
        return not (breaker.allows(now) if asks else breaker.would_allow(now))

    def wait_s(self, name: str) -> float:
        """For how long a candidate is not asked."""
        return self._breakers[name, "candidate"].wait_s(time.monotonic())

    def breakers(self) -> dict[str, BreakerState]:
        """How the breaker of each rollout's candidate is."""
        return {name: breaker.state for (name, arm), breaker in self._breakers.items() if arm == "candidate"}

    def statistics(self) -> dict[str, Any]:
        """What was heard, and how the breakers are."""
        return {
            "heard": self.heard,
            "waiting": len(self.news),
            "dropped": self.dropped,
            "diverted": self.diverted,
            "breakers": self.breakers(),
        }


class Timing:
    """Hears how a function of the caller's own answered for an arm."""

    __slots__ = ("_begun_at", "_choice", "_hearing")

    def __init__(self, hearing: Hearing, choice: Choice) -> None:
        self._hearing = hearing
        self._choice = choice
        self._begun_at = 0.0

    def __enter__(self) -> Self:
        self._begun_at = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        waited_s = time.perf_counter() - self._begun_at
        if isinstance(error, asyncio.CancelledError | StreamLeft):
            self._hearing.take_left(self._choice, waited_s)
        elif error is None or (isinstance(error, Exception) and not _is_no_news(error)):
            self._hearing.take(self._choice, error is not None, waited_s)


def _is_no_news(error: Exception) -> bool:
    if isinstance(error, LimitError | RequestError | ModelsClosed | StoreError):
        return True
    return isinstance(error, PodiumError) and error.code in _NO_NEWS
