"""Where the rollouts of one process stand that has no data folder: in memory, and with their history until it ends.

Rules. What it says and refuses is what the store on disk does (`podium.coordination.rollouts`). Thread-safe; after a fork the
child has what its parent had.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping

from podium.coordination.rollouts import KEEP_COUNTS_MIN, Action, Change, Counted, States, restored, taken_back
from podium.routing.rollout import Rollout


class MemoryRollouts:
    """Rollouts of one process, which end with it."""

    def __init__(self) -> None:
        self._begin_anew()
        self._states: States = {}
        self._history: list[Change] = []
        self._counts: dict[Counted, int] = {}
        here = weakref.WeakMethod(self._begin_anew)
        os.register_at_fork(after_in_child=lambda: (begin := here()) and begin())

    def _begin_anew(self) -> None:
        """After a fork, in the child: no thread that may have held the lock is there any more."""
        self._lock = threading.Lock()

    def open(self, seeds: Mapping[str, Rollout], *, who: str, known: Mapping[str, Rollout] | None = None) -> States:
        """Begin the rollouts that are not known."""
        with self._lock:
            for name, rollout in seeds.items():
                if name not in self._states:
                    self._note(rollout, None, "seed", who, None)
            return self._states

    def _note(
        self, after: Rollout, before: Rollout | None, action: Action, who: str, why: str | None, undoes: int | None = None
    ) -> Change:
        number, at = len(self._history) + 1, time.time()
        change = Change(
            id=number, name=after.name, action=action, at=at, who=who, why=why, before=before, after=after, undoes=undoes
        )
        self._history.append(change)
        self._states = {**self._states, after.name: after}
        return change

    def change(
        self, name: str, action: Action, make: Callable[[Rollout], Rollout], *, who: str, why: str | None
    ) -> tuple[Rollout, States]:
        """Change one rollout."""
        with self._lock:
            before = self._states[name]
            after = make(before)
            if after != before:
                self._note(after, before, action, who, why)
            return after, self._states

    def undo(self, name: str, *, who: str, why: str | None) -> tuple[Change, States]:
        """Take back the last change."""
        with self._lock:
            last = taken_back((each for each in reversed(self._history) if each.name == name), name)
            now = self._states[name]
            return self._note(restored(last, now), now, "undo", who, why, last.id), self._states

    def history(self, name: str | None, most: int) -> list[Change]:
        """Return the last changes."""
        with self._lock:
            return [each for each in reversed(self._history) if name is None or each.name == name][:most]

    def add_counts(self, counts: Mapping[Counted, int]) -> None:
        """Add what was chosen."""
        with self._lock:
            oldest = time.time() // 60 - KEEP_COUNTS_MIN
            self._counts = {place: count for place, count in self._counts.items() if place[1] >= oldest}
            for place, count in counts.items():
                self._counts[place] = self._counts.get(place, 0) + count

    def counts(self, name: str, since_min: int) -> dict[str, int]:
        """Return how often each arm was chosen."""
        summed: dict[str, int] = {}
        with self._lock:
            for (rollout, minute, arm), count in self._counts.items():
                if rollout == name and minute >= since_min:
                    summed[arm] = summed.get(arm, 0) + count
        return summed
