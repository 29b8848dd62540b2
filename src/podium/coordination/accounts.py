"""What a process holds of its limits, in memory: accounts, and the reservations made from them.

Theory. An account is this process's part of one limit in one window: `held` is its lease, `used` what it spent or reserved of
it. A reservation takes from several accounts at once, or from none. It is settled with what was really used. The limits of one
user are reserved together again and again; their `Standing` keeps the accounts that were found for them last.

Rules.
- Everything here is done under the coordinator's lock; a reservation and its settling take no system call.
- `used` is written to the slate whenever it changes, before anything that depends on it happens.
- `held` is changed by the leasing thread alone.
- An account that is given back, of a past window or of the process that this one was forked from says no to everything from
  then on, so whoever still knows it looks for another.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, get_args

import msgspec

from podium.coordination.slate import cap
from podium.routing.limits import MOST, Amounts, Kind, Limit, Window

if TYPE_CHECKING:
    from podium.coordination.store import Store

Asked = Sequence[tuple[Limit, int]]
"""Limits, each once, and how much of each is needed: at least 1, and the same of all limits of a kind."""


_NOTHING: Amounts = MappingProxyType(dict.fromkeys(get_args(Kind), 0))


class Account:
    """This process's part of a limit in one window."""

    __slots__ = (
        "ends_at",
        "held",
        "kind",
        "limit",
        "off",
        "slot",
        "spent",
        "starts_at",
        "touched",
        "used",
        "words",
    )

    def __init__(self, limit: Limit, window: Window) -> None:
        self.limit = limit
        self.kind: Kind = limit.kind
        self.starts_at = window.starts_at
        self.ends_at = window.ends_at
        self.held = 0
        self.used = 0
        self.spent = 0
        """What was used for good; the rest is reserved."""
        self.off = False
        """Whether only the leasing thread may take from it: its lease is being given back, or was."""
        self.touched = 0
        """The tick at which something was last taken from it."""
        self.slot: int | None = None
        self.detach()

    @property
    def reserved(self) -> int:
        """What reservations hold that are not settled; 0: there is none."""
        return self.used - self.spent

    @property
    def free(self) -> int:
        """What may be taken without asking anybody; negative where more was used than is held."""
        return self.held - self.used

    def attach(self, store: Store) -> None:
        """Write to the store's slate from now on. Raises `StoreError` where it has no room."""
        if self.slot is None:
            slot = store.take_slot()
            self.words = store.words(slot)
            self.slot = slot
            self.words[0] = cap(self.used)
            self.words[1] = cap(self.spent)

    def detach(self) -> None:
        """Write to memory of its own: there is no slate (any more)."""
        self.slot = None
        self.words = memoryview(array("q", (cap(self.used), cap(self.spent))))


class Standing:
    """Limits that are reserved together, each once, and the accounts that they had last; used under the lock."""

    __slots__ = ("accounts", "limits")

    def __init__(self, limits: Sequence[Limit]) -> None:
        self.limits = limits
        self.accounts: Sequence[Account] | None = None
        """None: they were not looked for yet."""

    def take(self, amounts: Amounts, at: float, tick: int, *, beyond: bool = False) -> Sequence[Account] | None:
        """Take so much of each kind, and return of what; None, and nothing is taken, where the accounts do not cover it.

        `beyond` takes more than is leased, never more than the limits allow: so it fits into a word.
        """
        accounts = self.accounts
        if accounts is None:
            return None
        for account in accounts:
            if (amounts[account.kind] > account.held - account.used or account.off or at >= account.ends_at) and not beyond:
                return None
        for account in accounts:
            account.words[0] = account.used = account.used + amounts[account.kind]
            account.touched = tick
        return accounts


class Desk(Protocol):
    """Where reservations come from and go back to."""

    lock: RLock

    @property
    def pending(self) -> Sequence[object]:
        """Who waits for what others have."""
        ...

    def freed(self, overdrawn: Sequence[Account]) -> None:
        """Something was settled; of `overdrawn`, more was used than is leased."""
        ...


class Reservation(msgspec.Struct, eq=False, gc=False):
    """What a request may use, until it is settled or released; the second time is nothing."""

    _desk: Desk
    _accounts: Sequence[Account]
    """What it was taken from; none any more, once it is over."""
    _amounts: Amounts
    """How much of each kind."""

    def settle(self, actual: Amounts) -> None:
        """End, with what was used of each kind.

        What is not said was used as it was reserved; requests at once end with it. More than was reserved counts in full.
        """
        desk, amounts = self._desk, self._amounts
        overdrawn: tuple[Account, ...] = ()
        lock = desk.lock
        lock.acquire()  # not `with`: that takes twice as long, and each request comes by here
        try:
            accounts, self._accounts = self._accounts, ()
            for account in accounts:
                kind, words, spent = account.kind, account.words, 0
                reserved = amounts[kind]
                used = account.used - reserved
                if kind != "concurrent" and (spent := actual.get(kind, reserved)) > 0:
                    used += spent
                account.used = used
                words[0] = used if used <= MOST else MOST  # without a call of `cap`, for the same reason
                if spent > 0:
                    account.spent = total = account.spent + spent
                    words[1] = total if total <= MOST else MOST
                if used > account.held:
                    overdrawn = (*overdrawn, account)
        finally:
            lock.release()
        if overdrawn or desk.pending:
            desk.freed(overdrawn)

    def release(self) -> None:
        """End as if it had never been: nothing was sent."""
        self.settle(_NOTHING)

    @property
    def open(self) -> bool:
        """Whether it is neither settled nor released."""
        return bool(self._accounts)

    def amounts(self) -> list[tuple[Limit, int]]:
        """What is reserved."""
        return [(account.limit, self._amounts[account.kind]) for account in self._accounts]
