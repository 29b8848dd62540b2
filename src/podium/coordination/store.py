"""What a store of leases must do: the port behind which SQLite stands, and later Postgres or Valkey.

Theory. The store keeps, for each window of a limit (a bucket), what is spent for good and who holds how much of the rest. All
it does is one kind of exchange, atomic and repeatable: a holder says for some buckets how much it keeps, how much more it
needs, and which it is done with; the store answers what it leased, and, where it could not, who could give some back.

Rules.
- A store blocks; it is called from one thread at a time, never the event loop's.
- An exchange that fails with `StoreError` has changed nothing.
- The sum of what is spent and what is leased never exceeds the limit, unless more was used than reserved.
- What a dead process used, and what it had reserved for requests under way (they may have been served), is spent; its slots of
  limits of concurrency, and what it had not used, come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from podium.routing.limits import Limit


@dataclass(slots=True)
class Entry:
    """One bucket in an exchange: what its holder keeps, needs, or is done with."""

    limit: Limit
    starts_us: int
    ends_us: int
    """Microseconds; the far future where the window never ends."""
    slot: int
    """Where the holder's slate says how much it used."""
    keep: int
    """What the holder keeps of its lease: all of it, or only what it used."""
    need: int = 0
    """How much more it needs."""
    spent: int | None = None
    """What it used for good, where it gives up its lease whole."""


@dataclass(slots=True)
class Answer:
    """What an exchange gave for one entry. Where `granted` is less than was needed, the rest says why."""

    granted: int = 0
    spent: int = 0
    """Used for good, by all others."""
    reserved: int = 0
    """Held by requests under way, of all others."""
    recallable: int = 0
    """What the others hold and do not use; they have been asked to give it back."""


@dataclass(slots=True)
class Counts:
    """What a store has done, for the statistics."""

    exchanges: int = 0
    leases: int = 0
    recalls_sent: int = 0
    reaped: int = 0
    waits_for_lock: int = 0


@dataclass(slots=True, frozen=True)
class Attached:
    """What an `attach` found."""

    fresh_file: bool
    """Whether this is another store than before: it knows nothing of what this process holds."""
    fresh_slots: bool
    """Whether slots must be taken anew."""


class Store(Protocol):
    """Keeps leases for several processes."""

    counts: Counts

    def attach(self, *, create: bool) -> Attached:
        """Begin, or begin again after it was lost. Raises `StoreError`."""
        ...

    def exchange(self, entries: Sequence[Entry]) -> list[Answer]:
        """Keep, lease and give back, all at once; an answer an entry. Raises `StoreError`."""
        ...

    def recalled(self) -> list[tuple[str, int]]:
        """Return the (key, start) of the buckets of which other processes need what this one does not use."""
        ...

    def tend(self, now_s: float) -> None:
        """Say that this holder lives, take back what dead ones hold, and drop what is long past. Raises `StoreError`."""
        ...

    def wait(self, timeout_s: float) -> None:
        """Sleep until another process, or `wake`, rings; or for so long."""
        ...

    def wake(self) -> None:
        """End a `wait`, from any thread."""
        ...

    def words(self, slot: int) -> memoryview:
        """Return the two words of a slot: `used` and `spent`."""
        ...

    def take_slot(self) -> int:
        """Return a free slot."""
        ...

    def free_slot(self, slot: int) -> None:
        """Give a slot back."""
        ...

    def close(self, *, clean: bool) -> None:
        """End; `clean` where every lease has been given back."""
        ...

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's."""
        ...
