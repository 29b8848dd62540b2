"""Somebody else decides a rollout: a flag of another system, or a function of the application's own.

Theory. Asking an outsider may block (most clients of flags do, their async methods too) and may hang. So threads of this room
ask, and calls read the answers that are remembered. An awaited call waits beside the loop for the first answer about who asks;
a call that cannot wait (a stream that is made inside a running loop) takes the last one, and asks for the next.

Rules.
- An outsider's failure is never the caller's: the rollout decides itself, and that is counted and logged.
- An answer is fresh for `fresh_for`, and may stand in for a fresh one for `KEPT_S` while that is under way.
- Nobody waits longer than `wait`; after one wait in vain nobody waits at all until the outsider answers again.
- Where an outsider asks Podium on its own way to an answer, Podium decides itself: there is no circle.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypedDict

from podium.engine.rollout.choice import Asker
from podium.engine.slips import load_duration
from podium.errors import RequestError
from podium.routing.rollout import Arm, Told
from podium.routing.spec import quote

Decider = Callable[[Asker], "Arm | bool | float | None"]
"""Says for who asks: an arm (True: the candidate), a percentage, or None: the rollout shall decide itself. It may block."""

KEPT_S = 60.0
"""How long an answer may stand in for a fresh one that is under way."""
MOST_ANSWERS = 10_000
MOST_WAITING = 1_000
"""Questions that wait for a thread; beyond that none is put, and the rollout decides itself."""
_THREADS = 4
_IDLE_S = 5.0
"""After how long without a question a thread ends."""
_NEVER = float("-inf")
_log = logging.getLogger("podium.rollouts")
_asking = threading.local()


class _Answer:
    """What was said about one asker, and whether the next answer is under way."""

    __slots__ = ("at", "heard", "outdated", "told")

    def __init__(self) -> None:
        self.told: Told | None = None
        self.at = _NEVER
        self.outdated = False
        """Whether the outsider has changed its mind since."""
        self.heard: list[Callable[[], object]] | None = None
        """Who waits for the answer that is under way; None: none is."""


class Deciding:
    """Asks an outsider about one rollout, and remembers the answers. Thread-safe; it begins with the first question."""

    def __init__(
        self,
        rollout: str,
        decider: Decider,
        *,
        whose: str,
        fresh_s: float,
        wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rollout = rollout
        self.whose = whose
        self._decider = decider
        self._fresh_s = fresh_s
        self._wait_s = wait_s
        self._clock = clock
        self._over = False
        self._counts = {"asked": 0, "failed": 0, "late": 0, "turned_away": 0}
        self.begin_anew()

    def begin_anew(self) -> None:
        """After a fork, in the child: threads and what they were asked are the parent's."""
        self._lock = threading.Lock()
        self._answers: dict[Asker, _Answer] = {}
        self._questions: queue.SimpleQueue[Asker] = queue.SimpleQueue()
        self._threads = self._idle = 0
        self._is_late = self._has_failed = False

    # --- asking ---------------------------------------------------------------------------------------------------------

    async def hear(self, asker: Asker) -> None:
        """Wait beside the loop until there is a fresh answer, or there is to be none soon."""
        loop = asyncio.get_running_loop()
        heard = asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop may have ended before the answer came
                loop.call_soon_threadsafe(heard.set)

        if self._ask(asker, tell):
            try:
                async with asyncio.timeout(self._wait_s):
                    await heard.wait()
            except TimeoutError:
                self._was_late()

    def told(self, asker: Asker) -> Told | None:
        """Return what the outsider says; None: nothing that is known, or that the rollout shall decide itself.

        Inside a running loop nothing is waited for, elsewhere `wait` at most.
        """
        if getattr(_asking, "now", False):
            return None
        answer = self._answers.get(asker)
        if answer is None or not self._is_fresh(answer):
            heard = threading.Event()
            if self._ask(asker, heard.set) and not _in_a_loop() and not heard.wait(self._wait_s):
                self._was_late()
            answer = self._answers.get(asker)
        return self._last(answer)

    def last_told(self, asker: Asker, before: Told | None) -> Told | None:
        """Return what the outsider says to a call that goes on, and was told `before`: the last answer, however old.

        Nothing is waited for: where the answer is old, the next one is asked for.
        """
        self._ask(asker, None)
        answer = self._answers.get(asker)
        return before if answer is None or answer.at == _NEVER else answer.told

    def refresh(self) -> None:
        """Ask anew about all who asked of late: the outsider has changed its mind."""
        with self._lock:
            now = self._clock()
            known = [
                (asker, answer)
                for asker, answer in self._answers.items()
                if now - answer.at <= KEPT_S or answer.heard is not None
            ]
            for _, answer in known:
                answer.outdated = True
        for asker, _ in known[-MOST_WAITING:]:
            self._ask(asker, None, even_if_late=True)

    def _is_fresh(self, answer: _Answer) -> bool:
        return not answer.outdated and self._clock() - answer.at <= self._fresh_s

    def _last(self, answer: _Answer | None) -> Told | None:
        kept_s = max(KEPT_S, self._fresh_s)
        return answer.told if answer is not None and self._clock() - answer.at <= kept_s else None

    def _ask(self, asker: Asker, tell: Callable[[], object] | None, *, even_if_late: bool = False) -> bool:
        """Put a question where there is no fresh answer. Return whether it is worth waiting for: `tell` is called then."""
        if getattr(_asking, "now", False):
            return False
        with self._lock:
            answer = self._answers.get(asker)
            if self._over or (answer is not None and self._is_fresh(answer)):
                return False
            if answer is None:
                answer = self._answers[asker] = _Answer()
                while len(self._answers) > MOST_ANSWERS:
                    del self._answers[next(iter(self._answers))]
            if answer.heard is None:
                if self._questions.qsize() >= MOST_WAITING:
                    self._counts["turned_away"] += 1
                    return False
                answer.heard = []
                self._put(asker)
            if tell is None or (self._is_late and not even_if_late):
                return False
            answer.heard.append(tell)
            return True

    def _put(self, asker: Asker) -> None:
        self._questions.put(asker)
        if not self._idle and self._threads < _THREADS:
            self._threads += 1
            threading.Thread(target=self._serve, args=(self._questions,), name="podium-deciders", daemon=True).start()

    def _serve(self, questions: queue.SimpleQueue[Asker]) -> None:
        """Take questions until there are none for a while, so that a thread outlives nobody."""
        while True:
            with self._lock:
                self._idle += 1
            asker: Asker | None = None
            with suppress(queue.Empty):
                asker = questions.get(timeout=_IDLE_S)
            with self._lock:
                self._idle -= 1
                if asker is None and (self._over or questions.empty()):
                    self._threads -= 1
                    return
            if asker is not None:
                self._answer(asker)

    # --- answers --------------------------------------------------------------------------------------------------------

    def _answer(self, asker: Asker) -> None:
        """Ask the outsider; in one of the threads."""
        told, failure = None, None
        with self._lock:
            if (answer := self._answers.get(asker)) is not None:
                answer.outdated = False
        _asking.now = True
        try:
            told = _load_told(self._decider(asker), self.whose)
        except Exception as error:  # noqa: BLE001  an outsider's failure must not fail a request: it is counted and logged
            failure = error
        finally:
            _asking.now = False
        with self._lock:
            self._counts["asked"] += 1
            self._note(failure)
            answer = self._answers.pop(asker, None) or _Answer()
            answer.told, answer.at = told, self._clock()
            heard, answer.heard = answer.heard, None
            self._answers[asker] = answer
        for tell in heard or ():
            tell()
        if answer.outdated:  # it has changed its mind while it was asked
            self._ask(asker, None)

    def _note(self, failure: Exception | None) -> None:
        if failure is not None:
            self._counts["failed"] += 1
            if not self._has_failed:
                words = "%s, which decides the rollout %s, failed: %s. The rollout decides itself until it answers."
                _log.warning(words, self.whose, self.rollout, _words(failure))
        elif self._has_failed or self._is_late:
            _log.warning("%s, which decides the rollout %s, answers again.", self.whose, self.rollout)
        self._has_failed, self._is_late = failure is not None, False

    def _was_late(self) -> None:
        with self._lock:
            self._counts["late"] += 1
            first, self._is_late = not self._is_late, True
        if first:
            words = "%s, which decides the rollout %s, did not answer within %g s. %s"
            held = f"The last answers hold for {KEPT_S:g} s, then the rollout decides itself."
            _log.warning(words, self.whose, self.rollout, self._wait_s, held)

    # --- its end --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ask no more; the threads end with their answers."""
        self._over = True

    def statistics(self) -> dict[str, Any]:
        """How often the outsider was asked, failed or was late, and how many questions were not put; and who it is."""
        with self._lock:
            return {"whose": self.whose, **self._counts}


class HowAsked(TypedDict, total=False):
    """How a decider is asked."""

    whose: str
    fresh_for: float | str
    wait: float | str


class Deciders:
    """Who decides which rollouts of a `Models`."""

    def __init__(self) -> None:
        self._of: dict[str, Deciding] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    def set(
        self,
        name: str,
        decider: Decider,
        *,
        climbs: bool = False,
        whose: str = "the decider",
        fresh_for: float | str = "1s",
        wait: float | str = "250ms",
    ) -> Deciding:
        """Let a function decide a rollout; `climbs`: it has a ramp or a guard.

        Raises `RequestError` for one that climbs, for what is no function, and for times that are none.
        """
        if climbs:  # a guard's rollback must reach everybody
            words = f"Rollout {quote(name)} has a ramp or a guard, which moves its percentage; nobody else can decide it."
            raise RequestError(words, param="rollout", hint="Take `ramp` and `guard` out of the config, or leave it to them.")
        if not callable(decider):
            raise RequestError("The decider is no function.", param="decider", hint="Give one that takes who asks.")
        fresh_s, wait_s = load_duration("fresh_for", fresh_for), load_duration("wait", wait)
        self.remove(name)
        self._of[name] = Deciding(name, decider, whose=whose, fresh_s=fresh_s, wait_s=wait_s)
        return self._of[name]

    def remove(self, name: str) -> None:
        """Let a rollout decide itself again."""
        if (deciding := self._of.pop(name, None)) is not None:
            deciding.close()

    async def hear(self, name: str, asker: Asker) -> None:
        """Wait beside the loop for what is said in a rollout, where somebody decides it; see `Deciding.hear`."""
        if (deciding := self._of.get(name)) is not None:
            await deciding.hear(asker)

    def told(self, name: str, asker: Asker) -> Told | None:
        """Return what is said in a rollout; see `Deciding.told`."""
        deciding = self._of.get(name)
        return None if deciding is None else deciding.told(asker)

    def last_told(self, name: str, asker: Asker, before: Told | None) -> Told | None:
        """Return what is said to a call that goes on; see `Deciding.last_told`."""
        deciding = self._of.get(name)
        return None if deciding is None else deciding.last_told(asker, before)

    def begin_anew(self) -> None:
        """After a fork, in the child."""
        for deciding in self._of.values():
            deciding.begin_anew()

    def statistics(self) -> dict[str, Any]:
        """How those who decide fare, by rollout, where there are any."""
        return {"deciders": {name: deciding.statistics() for name, deciding in self._of.items()}} if self._of else {}


def _load_told(said: object, whose: str) -> Told | None:
    """Read what an outsider said. Raises `RequestError` for what is neither an arm nor a percentage."""
    if said is None:
        return None
    if isinstance(said, bool):
        return Told(arm="candidate" if said else "legacy", whose=whose)
    if isinstance(said, (int, float)):
        return Told(percent=float(said), whose=whose)
    if said == "legacy" or said == "candidate":
        return Told(arm=said, whose=whose)
    shown = quote(said) if isinstance(said, str) else f"a {type(said).__name__}"
    raise RequestError(f"It said {shown}.", param="told", hint="An arm is legacy or candidate, a share a number from 0 to 100.")


def _words(failure: Exception) -> str:
    """Say what failed; of a foreign error its kind, for its words may hold anything."""
    return str(failure) if isinstance(failure, RequestError) else type(failure).__name__


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
