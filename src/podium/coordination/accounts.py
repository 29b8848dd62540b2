"""What a process holds of its limits, in memory: accounts, and the reservations made from them.

Theory. An account is this process's part of one limit in one window: `held` is its lease, `used` what it spent or reserved of
it. A reservation takes from several accounts at once, or from none. It is settled with what was really used.

Rules.
- Everything here is done under the coordinator's lock; a reservation and its settling take no system call.
- `used` is written to the slate whenever it changes, before anything that depends on it happens.
- `held` is changed by the leasing thread alone.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from threading import RLock
from typing import TYPE_CHECKING, Protocol

from podium.coordination.slate import cap
from podium.routing.limits import MOST, Amounts, Limit, Window

if TYPE_CHECKING:
    from podium.coordination.store import Store

Asked = Sequence[tuple[Limit, int]]
"""Limits, each once, and how much of each is needed."""


class Account:
    """This process's part of a limit in one window."""

    __slots__ = (
        "_at",
        "_words",
        "ends_at",
        "held",
        "limit",
        "off",
        "opened",
        "reserved",
        "slot",
        "starts_at",
        "touched",
        "used",
    )

    def __init__(self, limit: Limit, window: Window) -> None:
        self.limit = limit
        self.starts_at = window.starts_at
        self.ends_at = window.ends_at
        self.held = 0
        self.used = 0
        self.reserved = 0
        self.opened = 0
        """Reservations that are not settled."""
        self.off = False
        """Whether only the leasing thread may take from it: its lease is being given back."""
        self.touched = 0
        """The tick at which something was last taken from it."""
        self.slot: int | None = None
        self.detach()

    @property
    def free(self) -> int:
        """What may be taken without asking anybody; negative where more was used than is held."""
        return self.held - self.used

    def take(self, amount: int) -> None:
        """Reserve."""
        self.used = used = self.used + amount
        self.reserved = reserved = self.reserved + amount
        self.opened += 1
        words, at = self._words, self._at  # without a call of `cap`: each request comes by here
        words[at] = used if used <= MOST else MOST
        words[at + 1] = reserved if reserved <= MOST else MOST

    def settle(self, reserved: int, actual: int) -> None:
        """Turn what was reserved into what was used."""
        self.used = used = self.used + actual - reserved
        self.reserved = left = self.reserved - reserved
        self.opened -= 1
        words, at = self._words, self._at
        words[at] = used if used <= MOST else MOST
        words[at + 1] = left if left <= MOST else MOST

    def attach(self, store: Store) -> None:
        """Write to the store's slate from now on. Raises `StoreError` where it has no room."""
        if self.slot is None:
            slot = store.take_slot()
            self._words, self._at = store.words(slot)
            self.slot = slot
            self._words[self._at] = cap(self.used)
            self._words[self._at + 1] = cap(self.reserved)

    def detach(self) -> None:
        """Write to memory of its own: there is no slate (any more)."""
        self.slot = None
        self._words = memoryview(array("q", (cap(self.used), cap(self.reserved))))
        self._at = 0


class Desk(Protocol):
    """Where reservations come from and go back to."""

    lock: RLock

    def freed(self, overdrawn: Sequence[Account]) -> None:
        """Something was settled; of `overdrawn`, more was used than is leased."""
        ...


class Reservation:
    """What a request may use, until it is settled or released; the second time is nothing."""

    __slots__ = ("_desk", "_parts")

    def __init__(self, desk: Desk, parts: Sequence[tuple[Account, int]]) -> None:
        self._desk = desk
        self._parts = parts

    def settle(self, actual: Amounts) -> None:
        """End, with what was used of each kind.

        What is not said was used as it was reserved; requests at once end with it. More than was reserved counts in full.
        """
        overdrawn: list[Account] = []
        with self._desk.lock:
            parts, self._parts = self._parts, ()
            for account, amount in parts:
                kind = account.limit.kind
                used = 0 if kind == "concurrent" else actual.get(kind, amount)
                account.settle(amount, used if used > 0 else 0)
                if account.used > account.held:
                    overdrawn.append(account)
        self._desk.freed(overdrawn)

    def release(self) -> None:
        """End as if it had never been: nothing was sent."""
        with self._desk.lock:
            parts, self._parts = self._parts, ()
            for account, amount in parts:
                account.settle(amount, 0)
        self._desk.freed(())

    @property
    def open(self) -> bool:
        """Whether it is neither settled nor released."""
        return bool(self._parts)

    def amounts(self) -> list[tuple[Limit, int]]:
        """What is reserved."""
        return [(account.limit, amount) for account, amount in self._parts]
