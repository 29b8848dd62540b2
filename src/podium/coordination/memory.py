"""Leases for one process alone: the store where nothing is to be written.

Theory. With one holder everything that remains can be leased at once; what is kept here is what was spent in each window by
accounts that were closed meanwhile.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence

from podium.coordination.store import Answer, Attached, Counts, Entry


class MemoryLeases:
    """A store within the process. See `podium.coordination.store.Store`."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._spent: dict[tuple[str, int], tuple[int, int]] = {}
        """What is spent in a window, and when it ends."""
        self._bell = threading.Event()
        self._slots: dict[int, memoryview] = {}
        self._next_slot = 0
        self._attached = False

    def attach(self, *, create: bool) -> Attached:
        """Begin."""
        fresh, self._attached = not self._attached, True
        return Attached(fresh_file=fresh, fresh_slots=fresh)

    def exchange(self, entries: Sequence[Entry]) -> list[Answer]:
        """Keep, lease and give back, all at once."""
        self.counts.exchanges += 1
        return [self._serve(entry) for entry in entries]

    def _serve(self, entry: Entry) -> Answer:
        place = (entry.limit.key, entry.starts_us)
        spent, _ = self._spent.get(place, (0, 0))
        if entry.spent is not None:
            if entry.limit.kind != "concurrent":
                self._spent[place] = (spent + entry.spent, entry.ends_us)
            return Answer()
        granted = max(0, entry.limit.amount - spent - entry.keep) if entry.need > 0 else 0
        self.counts.leases += granted > 0
        return Answer(granted=granted, spent=spent)

    def recalled(self) -> list[tuple[str, int]]:
        """Nobody else is there to need anything."""
        return []

    def tend(self, now_s: float) -> None:
        """Drop what is past."""
        for place in [place for place, (_, ends_us) in self._spent.items() if ends_us < now_s * 1e6 - 60e6]:
            del self._spent[place]

    def wait(self, timeout_s: float) -> None:
        """Sleep until `wake`, or for so long."""
        self._bell.wait(timeout_s)
        self._bell.clear()

    def wake(self) -> None:
        """End a `wait`."""
        self._bell.set()

    def words(self, slot: int) -> memoryview:
        """Return the two words of a slot."""
        return self._slots[slot]

    def take_slot(self) -> int:
        """Return a free slot."""
        self._next_slot += 1
        self._slots[self._next_slot] = memoryview(array("q", (0, 0)))
        return self._next_slot

    def free_slot(self, slot: int) -> None:
        """Give a slot back."""
        self._slots.pop(slot, None)

    def close(self, *, clean: bool) -> None:
        """End."""

    def forget(self) -> None:
        """In a forked child: begin anew, without what the parent spent."""
        self.counts = Counts()
        self._spent.clear()
        self._slots.clear()
        self._bell = threading.Event()  # the parent's may be held by a thread that is not here
        self._attached = False
