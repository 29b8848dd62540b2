"""Rollouts at work: which arm a call takes, how they stand, and who changed that.

Theory. The state is an immutable table in memory, swapped whole: a call reads it and waits for nothing. A thread watches the
store, and swaps the table within a tenth of a second of any process's change; so a rollback is everywhere before a second
is over. A config without rollouts has neither thread nor file.

Rules.
- The config says which rollouts there are, the store how they stand. A change goes to the store first, then to memory.
- A store that is lost leaves the last known state for `max_stale`; then every rollout gives legacy, but one at 100 %, whose
  legacy may be gone, goes on. Where it never answered, its copy says what was last known; without one: legacy. All that is
  logged, and said in the call's reasons.
- What is chosen is counted in memory, and added to the store's counts once a second.
- Where somebody else decides a rollout (`decide_by`), the kill switch, the test users and a lost store stand above them.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from podium.engine.ramp.ramps import Ramps
from podium.engine.rollout.changes import adding, check_words, me, removing, setting
from podium.engine.rollout.choice import Asker, Choice, Known, choice, without_candidate
from podium.engine.rollout.counts import Counts
from podium.engine.rollout.deciders import Decider, Deciders, Deciding, HowAsked
from podium.engine.rollout.listeners import Listeners
from podium.engine.rollout.usage import RolloutUsage, ShadowUsage, rollout_usage, shadow_usage
from podium.engine.slips import load_duration
from podium.errors import RequestError, StoreError
from podium.routing.rollout import SETTLED, Rollout, unheard
from podium.routing.snapshot import Snapshot
from podium.routing.spec import quote
from podium.routing.spelling import nearest

if TYPE_CHECKING:
    from podium.coordination.rollouts import Action, Change, States, Store
    from podium.engine.rollout.watch import Watching

POLL_S = 0.1
"""How often the store is looked at."""
FIRST_WAIT_S = 0.25
"""How long the first call may wait for the store; a call that is awaited waits beside the loop."""
_FORK_WAIT_S = 1.0
_FILE = "rollouts.sqlite3"
_log = logging.getLogger("podium.rollouts")


class Rollouts:
    """The rollouts of a `Models`: `models.rollouts`. Thread-safe; what changes something blocks for as long as the store takes.

    Methods raise `RequestError` for a rollout that there is not, and `StoreError` where the store does not answer.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        check: Callable[[str], object] | None = None,
        poll_s: float = POLL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seeds = snapshot.rollouts
        self.shadows = snapshot.shadows
        self._max_stale_s = snapshot.max_stale_s
        self.poll_s = poll_s
        self.check = check or (lambda spec: None)
        """Raises `SpecError` for a spec that means nothing."""
        self._clock = clock
        self._folder = snapshot.data_dir
        self._opened: Store | None = None
        self._empty = Known(dict(self.seeds), is_known=False)
        self.counts = Counts()
        self.deciders = Deciders()
        """Who decides from outside; see `decide_by`."""
        self.listeners = Listeners()
        """Who wants to hear of changes, and of a store that is lost."""
        self._cut_off = False
        self._held = self._quiet = True
        self.ramps = Ramps(self, snapshot, None if self._folder is None else Path(self._folder) / _FILE)
        """Rollouts that step by themselves, and are rolled back by themselves."""
        self._start()

    def _start(self) -> None:
        self._lock = threading.RLock()
        """Held while the store is used, but by the watching: for changes, never for choices."""
        self._known: Known | None = None
        self._seen_at = float("inf") if self._folder is None else 0.0
        self._trouble: StoreError | None = None
        self._is_told = False
        """Whether it was logged that the last known state is too old."""
        self._watching: Watching | None = None
        self.counts.forget()

    # --- forks: no connection lives through one, for SQLite in the child would take the parent's locks for its own ------

    def hold_still(self) -> None:
        """Before a fork: let go of the store."""
        self.ramps.hold_still()
        self._held = self._lock.acquire(timeout=_FORK_WAIT_S)
        self._quiet = self._held and (self._watching is None or self._watching.stop(_FORK_WAIT_S))

    def go_on(self) -> None:
        """After a fork, in the parent."""
        if self._held:  # then the watching was told to end, in time for the fork or not
            if self._watching is not None:
                self._watching = self._watch(opened=self._known is not None)
            self._lock.release()
        self.ramps.go_on()

    def begin_anew(self) -> None:
        """After a fork, in the child. Where its parent was busy with the store, it has none, and gives legacy."""
        self._cut_off = self._cut_off or not self._quiet
        memory = self._known if self._folder is None else None
        self.ramps.begin_anew()
        self._start()
        self._known = memory
        self.deciders.begin_anew()

    def _watch(self, *, opened: bool = False) -> Watching:
        from podium.engine.rollout.watch import Watching

        return Watching(self, Path(self._folder or "") / _FILE, opened=opened)

    @property
    def _store(self) -> Store:
        """The store, as an object; nothing is opened. What it takes is imported only where there are rollouts."""
        if self._opened is None:
            from podium.coordination.rollouts import SqliteRollouts
            from podium.coordination.rollouts_memory import MemoryRollouts

            self._opened = MemoryRollouts() if self._folder is None else SqliteRollouts(Path(self._folder) / _FILE)
        return self._opened

    # --- choosing -------------------------------------------------------------------------------------------------------

    @property
    def exist(self) -> bool:
        """Whether the config declares any."""
        return bool(self.seeds)

    async def ready(self) -> None:
        """Wait beside the loop until the state is known, or is not to be known soon."""
        if self._known is None and self.seeds:
            await asyncio.to_thread(self._begin)

    async def hear(self, asker: Asker, *, spec: str | None = None, name: str | None = None) -> None:
        """Wait beside the loop, where somebody else decides the rollout of a spec or of that name, for what they say."""
        if name is None:
            rollout = (self._known or self._empty).by_match.get(spec or "")
            name = "" if rollout is None else rollout.name
        await self.deciders.hear(name, asker)

    def declared(self, name: str) -> Rollout:
        """Return a rollout as it is known in memory, without waiting; before it is known, as the config declares it."""
        known = self._known or self._empty
        rollout = known.states.get(name)
        if rollout is None:
            raise self._unknown(name)
        return rollout

    def decide_by(self, name: str, decider: Decider, **how: Unpack[HowAsked]) -> Deciding:
        """Let somebody else decide a rollout in this process: a function that is given who asks (an `Asker`), which may block.

        It says an arm (True: the candidate), a percentage, or None: the rollout decides itself, as it does when the function
        raises or takes longer than `wait` (250 ms). An answer holds for `fresh_for` (1 s), so a change of mind takes as long.
        `whose` says in the reasons who it is. Raises `RequestError` for a rollout that there is not, or that has a ramp.
        """
        self.declared(name)
        return self.deciders.set(name, decider, climbs=self.ramps.course(name) is not None, **how)

    def decide_itself(self, name: str) -> None:
        """Let a rollout decide itself again. Raises `RequestError` for a rollout that there is not."""
        self.declared(name)
        self.deciders.remove(name)

    def choose(self, spec: str | None, asker: Asker, *, count: bool = True) -> Choice | None:
        """Return the arm that a call takes; None where no rollout decides for its spec."""
        known = self._known or self._begin()
        rollout = known.by_match.get(spec) if spec is not None else None
        return None if rollout is None else self._choose(known, rollout, asker, count)

    def choose_in(self, name: str, asker: Asker, *, count: bool = True) -> Choice:
        """Return the arm that a call takes in one rollout. Raises `RequestError` where there is none of that name."""
        known = self._known or self._begin()
        rollout = known.states.get(name)
        if rollout is None:
            raise self._unknown(name)
        return self._choose(known, rollout, asker, count)

    def _choose(self, known: Known, rollout: Rollout, asker: Asker, count: bool) -> Choice:
        told = self.deciders.told(rollout.name, asker)
        made = choice(known, rollout, asker, self._age_s(), self._max_stale_s, told)
        if made.by == "bucket" and made.arm == "candidate" and self.ramps.hearing.is_down(rollout, asks=count):
            hearing = self.ramps.hearing
            made = without_candidate(made, rollout, hearing.divert(made) if count else hearing.wait_s(rollout.name))
        if count and made.stage is not None:
            self.ramps.wake()
        if count and self.counts.add(rollout.name, made.arm) and self._folder is None:
            self.counts.flush(self._store)
        return made

    def _age_s(self) -> float:
        """How long ago the store was last seen; below 0: that is no matter."""
        return self._clock() - self._seen_at

    def still(self, made: Choice) -> bool:
        """Whether a call that took the candidate would take it now: asked again before each retry."""
        known = self._known
        rollout = None if known is None else known.states.get(made.rollout)
        if known is None or rollout is None:
            return made.arm == "legacy"
        told = self.deciders.last_told(rollout.name, made.asker, made.told)
        return choice(known, rollout, made.asker, self._age_s(), self._max_stale_s, told).arm == made.arm

    # --- watching -------------------------------------------------------------------------------------------------------

    def _begin(self) -> Known:
        """Find out how the rollouts stand, for the first time."""
        if not self.seeds:
            return self._empty
        with self._lock:
            if self._known is None and self._folder is None:
                self._known = Known(self._store.open(self.seeds, who=me()))
            waits = self._known is None and self._watching is None and not self._cut_off
            if waits:
                self._watching = self._watch()
            watching = self._watching
        if waits and watching is not None:
            watching.ready.wait(FIRST_WAIT_S)
        return self._known or self._empty

    def last_known(self) -> States:
        """How the rollouts stood when they were last seen."""
        return {} if self._known is None else dict(self._known.states)

    def saw(self, states: States | None) -> None:
        """Take what the watching thread found: a new state, or that nothing has changed."""
        if states is not None:
            self._take(Known({name: states[name] for name in self.seeds if name in states}))
        self._seen_at = self._clock()
        if self._trouble is not None:
            self._trouble = None
            self._is_told = False
            _log.warning("The store of rollouts answers again.")
            self.listeners.tell("found")

    def _take(self, known: Known) -> None:
        before, self._known = self._known, known
        if before is None:
            self._tell_differences(known)
        else:
            changed = [name for name, rollout in known.states.items() if before.states.get(name) != rollout]
            if changed:
                self.listeners.tell("changed", changed)

    def _tell_differences(self, known: Known) -> None:
        """Say where the config was changed after a rollout began: nobody would see why that does nothing."""
        for name, rollout in known.states.items():
            if keys := sorted(SETTLED & set(unheard(rollout, rollout, self.seeds[name]))):
                words = (
                    "The config says %s of rollout %s otherwise than when it began, which changes nothing: name a new rollout."
                )
                _log.warning(words, " and ".join(map(quote, keys)), quote(name))

    def missed(self, error: StoreError, copy: States) -> None:
        """Take that the store did not answer, and what its copy says, for a process that never saw it."""
        if self._known is None and self.seeds.keys() <= copy.keys():
            self._seen_at = self._clock()
            self._known = Known({name: copy[name] for name in self.seeds})
        known, first = self._known is not None, self._trouble is None
        self._trouble = error
        if first:
            held = f"The last known state holds for {self._max_stale_s:g} s, then legacy (a rollout at 100 % its candidate)."
            _log.warning("%s %s", error.message, held if known else "Until it answers, every rollout gives legacy.")
            self.listeners.tell("lost", why=str(error))
        if known and not self._is_told and self._age_s() > self._max_stale_s:
            self._is_told = True
            _log.error(
                "The store of rollouts is lost for longer than `max_stale` (%g s): every rollout gives legacy now, but one at "
                "100 %% its candidate. %s",
                self._max_stale_s,
                error,
            )

    def close(self) -> None:
        """End the watching. It blocks for a moment."""
        self.ramps.close()
        with self._lock:
            watching, self._watching = self._watching, None
        if watching is not None:
            watching.stop()
        with self._lock:
            if self._folder is not None:
                self._known = None

    @property
    def is_stale(self) -> bool:
        """Whether the store does not answer, so that the last known state counts, or none."""
        return self._trouble is not None

    def statistics(self) -> dict[str, Any]:
        """How the store fares: whether it is lost, why, and for how long."""
        trouble = self._trouble
        facts: dict[str, Any] = {"lost": trouble is not None}
        if trouble is not None:
            facts |= {"why": str(trouble), "for_s": self._age_s() if self._known else None}
        return facts | self.deciders.statistics() | self.ramps.statistics()

    # --- how they stand -------------------------------------------------------------------------------------------------

    def list(self) -> builtins.list[Rollout]:
        """Return all rollouts of the config, as they stand now."""
        return list(self._whole().states.values())

    def show(self, name: str) -> Rollout:
        """Return one rollout as it stands now."""
        rollout = self._whole().states.get(name)
        if rollout is None:
            raise self._unknown(name)
        return rollout

    def _whole(self) -> Known:
        known = self._known or self._begin()
        if not known.is_known and self.seeds:
            watching = self._watching
            if watching is not None:
                watching.wait()
            known = self._known or known
        if not known.is_known and self.seeds:
            raise self._trouble or StoreError("The store of rollouts has not answered yet.", hint="Ask again in a moment.")
        return known

    def _unknown(self, name: str) -> RequestError:
        near = nearest(name, self.seeds, most=1)
        known = f"There are: {', '.join(self.seeds)}." if self.seeds else "Declare it under `rollouts:` in the config."
        hint = f"Did you mean {quote(near[0])}?" if near else known
        return RequestError(f"There is no rollout {quote(name)}.", param="rollout", code="unknown_rollout", hint=hint)

    def history(self, name: str | None = None, *, most: int = 100) -> builtins.list[Change]:
        """Return the last changes, of one rollout or of all, the latest first."""
        _ = self._whole() if name is None else self.show(name)
        if not self.seeds:
            return []
        with self._lock:
            return self._store.history(name, most)

    def usage(self, name: str, window: float | str = "24h") -> RolloutUsage:
        """Return what really happened in a window (milliseconds, or `"24h"`), in all processes that share the store."""
        return rollout_usage(self.show(name), *self._counted(name, window))

    def _counted(self, name: str, window: float | str) -> tuple[float, dict[str, int]]:
        window_s = load_duration("window", window)
        with self._lock:
            self.counts.flush(self._store)
            return window_s, self._store.counts(name, int((time.time() - window_s) // 60))

    def shadow(self, name: str, window: float | str = "24h") -> ShadowUsage:
        """Return what became of a rollout's shadows in a window, in all processes that share the store."""
        self.show(name)
        return shadow_usage(name, *self._counted(name, window))

    def usage_percent(self, name: str, window: float | str = "24h") -> float:
        """Return how many percent of the calls really took the candidate in a window, and log it beside what was set."""
        found = self.usage(name, window)
        _log.info(
            "Orchestrator usage: %.1f%% of %d calls in %s (rollout %s is set to %g%%%s)",
            found.percent,
            found.legacy + found.candidate,
            window,
            name,
            found.set_percent,
            "" if found.enabled else " and disabled",
        )
        return found.percent

    # --- changes --------------------------------------------------------------------------------------------------------

    def set(
        self,
        name: str,
        *,
        percent: float | str | None = None,
        candidate: str | None = None,
        legacy: str | None = None,
        why: str | None = None,
        who: str | None = None,
    ) -> Rollout:
        """Set what is given: the percentage, or an arm's spec; it holds in every process within a second.

        Raises `RequestError` for a percentage that is none, `SpecError` for a spec that means nothing.
        """
        make = setting(name, self.check, percent=percent, candidate=candidate, legacy=legacy)
        return self._change(name, "set", make, who, why)

    def enable(self, name: str, *, why: str | None = None, who: str | None = None) -> Rollout:
        """Switch a rollout on."""
        return self._change(name, "enable", lambda rollout: rollout.replace(enabled=True), who, why)

    def disable(self, name: str, *, why: str | None = None, who: str | None = None) -> Rollout:
        """Switch a rollout off: everybody gets legacy, test users too, in every process within a second."""
        return self._change(name, "disable", lambda rollout: rollout.replace(enabled=False), who, why)

    def add_user(self, name: str, user_id: str, *, why: str | None = None, who: str | None = None) -> Rollout:
        """Let a user take the candidate at any percentage."""
        return self._change(name, "add_user", adding(user_id), who, why)

    def remove_user(self, name: str, user_id: str, *, why: str | None = None, who: str | None = None) -> Rollout:
        """Let a user be one of all again. Raises `RequestError` where they are no test user."""
        return self._change(name, "remove_user", removing(name, user_id), who, why)

    def undo(self, name: str, *, why: str | None = None, who: str | None = None) -> Change:
        """Take back the last change that is not taken back; asked again, the one before it. Returns the change that it made.

        Raises `RequestError` where there is none.
        """
        self.show(name)
        check_words(who, why)
        with self._lock:
            self._mend()
            change, states = self._store.undo(name, who=who or me(), why=why)
        self._changed(states)
        return change

    def _change(
        self, name: str, action: Action, make: Callable[[Rollout], Rollout], who: str | None, why: str | None
    ) -> Rollout:
        self.show(name)
        check_words(who, why)
        with self._lock:
            self._mend()
            rollout, states = self._store.change(name, action, make, who=who or me(), why=why)
        self._changed(states)
        return rollout

    def look_now(self) -> None:
        """Let this process see what was changed in the store before the call returns."""
        if (watching := self._watching) is not None:
            watching.look_now()

    def _mend(self) -> None:
        """Make a store again that is gone: a rollback must not wait for somebody to start anew."""
        if self._folder is not None:
            self._store.open(self.seeds, who=me(), known=self.last_known())

    def _changed(self, states: Mapping[str, Rollout]) -> None:
        """Let this process see its own change before the call returns."""
        self.look_now()
        if self._folder is None:
            self._take(Known(dict(states)))
