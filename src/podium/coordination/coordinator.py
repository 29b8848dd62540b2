"""The coordinator: decides in memory what may be used, and leases more on a thread of its own.

Theory. A reservation that the leases at hand cover is made at once, under a lock and without a system call. Any other waits
for the leasing thread, which serves all that wait in one exchange with the store. Where the store has too little left, the
other processes are asked for what they hold and do not use: their slates say at once how much that is, so a refusal is either
certain then, or comes after they have given it back. So a refusal leaves less unused than the request asked for.

Rules.
- A process that is asked gives back all that it does not use of that limit, and leases anew when it needs to.
- What is not touched for some seconds is given back.
- A dead process's part returns when its lock is free: at once where a limit is short, else within about a second.
- A store that fails is lost: leases at hand are used up, then `on_lost` decides (`refuse` where money is short, else
  `continue`, which still holds each process to the limit on its own). It is tried again four times a second; then what was
  used meanwhile counts.
- After a fork the child is a process of its own, without leases.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from podium.coordination.accounts import Account, Asked, Reservation, Standing
from podium.coordination.ask import Ask
from podium.coordination.leasing import Leasing
from podium.coordination.memory import MemoryLeases
from podium.coordination.sqlite import LOCK_WAIT_S, SqliteLeases
from podium.coordination.store import Store
from podium.errors import LimitError, StoreError
from podium.routing.limits import Amounts, Kind, Limit, refusal, window

OnLost = Literal["refuse", "continue"]
ANSWER_WAIT_S = 5.0
"""How long the leasing thread may take: a file that hangs (a dead network mount) is lost too."""
_OPEN_WAIT_S = 10.0
_CLOSE_WAIT_S = 5.0


class Coordinator:
    """Limits across processes; made by `open`. Safe to use from several threads and event loops."""

    def __init__(self, store: Store, *, on_lost: OnLost | None = None) -> None:
        self.store = store
        self.on_lost = on_lost
        self.lock = threading.RLock()
        self.accounts: dict[str, Account] = {}
        """Those of the windows that run, by the limit's key."""
        self.past: list[Account] = []
        """Those of windows that are over, until their last reservation is settled."""
        self.dirty: set[Account] = set()
        """Those that the leasing thread has to exchange: set aside, or used beyond their lease."""
        self.asks: list[Ask] = []
        """Reservations that wait for the leasing thread to look at them, newest last."""
        self.pending: list[Ask] = []
        """Those that it has looked at, and that wait for what others have."""
        self.tick = 0
        self.lost: StoreError | None = None
        """Why nothing can be leased just now."""
        self.counts: Counter[str] = Counter()
        self._leasing: Leasing | None = None
        self._closed = False

    @classmethod
    def open(
        cls, path: str | os.PathLike[str] | None, *, on_lost: OnLost | None = None, lock_wait_s: float = LOCK_WAIT_S
    ) -> Coordinator:
        """Open the coordination file, made where there is none, and start the leasing thread.

        Without a path limits hold within this process, and are forgotten with it. A file that cannot be used now is lost from
        the start, and tried again. Raises `StoreError` for a file of another kind.
        """
        store: Store = MemoryLeases() if path is None else SqliteLeases(Path(path), lock_wait_s=lock_wait_s)
        self = cls(store, on_lost=on_lost)
        self._start().started.wait(_OPEN_WAIT_S)
        if self.lost is not None and self.lost.code != "coordination_lost":
            self.close()
            raise self.lost
        here = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forked(here))
        return self

    def _start(self) -> Leasing:
        with self.lock:
            if self._leasing is None:
                self._leasing = Leasing(self, self.store)
                self._leasing.start()
            return self._leasing

    # --- reserving ------------------------------------------------------------------------------------------------------

    def try_reserve(self, asked: Asked, at: float) -> Reservation | None:
        """Reserve out of the leases at hand; None where they do not cover it.

        `at` is the time in epoch seconds.
        """
        with self.lock:
            return self.take(asked, at)

    def take(self, asked: Asked, at: float) -> Reservation | None:
        """`try_reserve`, under the lock."""
        return self.take_of(Standing([limit for limit, _ in asked]), _amounts(asked), at)

    def take_of(self, standing: Standing, amounts: Amounts, at: float) -> Reservation | None:
        """`try_reserve` for limits that are reserved again and again, with so much of each kind; from any thread."""
        lock = self.lock
        lock.acquire()  # not `with`: that takes twice as long, and each request comes by here
        try:
            accounts = standing.take(amounts, at, self.tick)
            if accounts is None:
                standing.accounts = [self.account(limit, at) for limit in standing.limits]
                accounts = standing.take(amounts, at, self.tick)
        finally:
            lock.release()
        return None if accounts is None else Reservation(self, accounts, amounts)

    def charge(self, limits: Sequence[Limit], amounts: Amounts, at: float) -> None:
        """Count what was used and never reserved, since nobody knew that it would be."""
        with self.lock:  # to the end: nothing is reserved that would keep an account from being given back
            accounts = [self.account(limit, at) for limit in limits]
            Reservation(self, accounts, dict.fromkeys(amounts, 0)).settle(amounts)

    def account(self, limit: Limit, at: float) -> Account:
        """Return the account of a limit at a time, made where there is none; under the lock. Time is never turned back."""
        account = self.accounts.get(limit.key)
        if account is not None and at < account.ends_at:
            if account.limit.amount != limit.amount:
                account.off = True  # what it holds was leased under another amount
                self.dirty.add(account)
            account.limit = limit
            return account
        if account is not None:
            self.past.append(account)
        self.accounts[limit.key] = account = Account(limit, window(limit, at))
        account.touched = self.tick
        return account

    async def reserve(self, asked: Asked, at: float, *, wait_s: float = 0.0) -> Reservation:
        """Reserve, leasing more where the leases at hand do not cover it.

        `at` is the time in epoch seconds; `wait_s` is how long to wait for others to end where too many run at once. Raises
        `LimitError` where a limit is reached, and `StoreError` where that cannot be known and `on_lost` refuses.
        """
        reservation = self.try_reserve(asked, at)
        if reservation is not None:
            return reservation
        if self._closed:
            raise StoreError("Limits are closed.", hint="Open them again, or keep the engine open while requests run.")
        if self.lost is not None:
            return self.decide_lost(asked, at, self.lost)
        leasing = self._start()
        ask = Ask(asked, at, wait_s)
        with self.lock:
            self.asks.append(ask)
        leasing.wake()
        try:
            async with asyncio.timeout(ANSWER_WAIT_S + wait_s):
                return await ask.future
        except TimeoutError:
            if (late := self._leave(ask)) is not None:
                return late
        except asyncio.CancelledError:
            if (late := self._leave(ask)) is not None:
                late.release()
            raise
        lost = StoreError(f"The leasing thread gave no answer within {ANSWER_WAIT_S:g} s.", code="coordination_lost")
        with self.lock:
            self.count_lost(lost)
        return self.decide_lost(asked, at, lost)

    def _leave(self, ask: Ask) -> Reservation | None:
        """Wait no longer; what has been given all the same."""
        with self.lock:
            ask.abandoned = True
            return ask.reservation

    def decide_lost(self, asked: Asked, at: float, lost: StoreError) -> Reservation:
        """Decide on a reservation that the leases at hand do not cover while the store is lost.

        Raises `LimitError` where this process alone would exceed a limit, else `StoreError` where `on_lost` refuses.
        """
        with self.lock:
            if (reservation := self.take(asked, at)) is not None:
                return reservation
            amounts = _amounts(asked)
            standing = Standing([limit for limit, _ in asked])
            standing.accounts = accounts = [self.account(limit, at) for limit in standing.limits]
            for account in accounts:
                if account.used + amounts[account.kind] > account.limit.amount:
                    raise self.refusal(account, amounts[account.kind], at)
            short = [account.limit for account in accounts if amounts[account.kind] > account.free]
            on_lost = self.on_lost or ("refuse" if any(limit.kind == "cost_usd" for limit in short) else "continue")
            self.counts["lost_refused" if on_lost == "refuse" else "lost_continued"] += 1
            if on_lost == "refuse":
                raise StoreError(
                    f"Whether the limit ({short[0].title if short else 'of the request'}) is reached cannot be known: "
                    f"{lost.message}",
                    code="coordination_lost",
                    hint=f"{lost.hint or ''} Or let requests pass meanwhile, with `on_lost: continue`.".strip(),
                )
            standing.take(amounts, at, self.tick, beyond=True)
            self.dirty.update(account for account in accounts if account.used > account.held)
            return Reservation(self, accounts, amounts)

    def refusal(self, account: Account, amount: int, at: float, *, spent: int = 0, reserved: int = 0) -> LimitError:
        """Make the error of a limit that is reached; under the lock. `spent` and `reserved` are the other processes'."""
        self.counts[f"refused_{account.limit.kind}"] += 1
        return refusal(
            account.limit,
            amount,
            spent=spent + account.used - account.reserved,
            reserved=reserved + account.reserved,
            at=at,
            resets_at=account.ends_at,
        )

    def freed(self, overdrawn: Sequence[Account]) -> None:
        """Something was settled that matters: whoever waits may have it, or what was used beyond a lease has to be leased."""
        if overdrawn:
            with self.lock:
                self.dirty.update(overdrawn)
                self.counts["overruns"] += len(overdrawn)
        if self._leasing is not None:
            self._leasing.wake()

    # --- the rest -------------------------------------------------------------------------------------------------------

    def statistics(self) -> dict[str, Any]:
        """What happened so far in this process, and whether the store can be used."""
        with self.lock:
            stored, counts = self.store.counts, self.counts
            return {
                "accounts": len(self.accounts) + len(self.past),
                "waiting": len(self.asks) + len(self.pending),
                "refused": {kind: counts[f"refused_{kind}"] for kind in ("cost_usd", "requests", "tokens", "concurrent")},
                "overruns": counts["overruns"],
                "recalls_unanswered": counts["recalls_unanswered"],
                "exchanges": stored.exchanges,
                "leases": stored.leases,
                "recalls": stored.recalls_sent,
                "dead_processes": stored.reaped,
                "lock_waits": stored.waits_for_lock,
                "lost": {
                    "now": None if self.lost is None else str(self.lost),
                    "times": counts["lost_times"],
                    "refused": counts["lost_refused"],
                    "continued": counts["lost_continued"],
                },
            }

    def close(self) -> None:
        """Give back what is leased and end. Blocks for as long as the store takes; what is reserved counts as used."""
        self._closed = True
        leasing = self._leasing
        if leasing is not None:
            leasing.stop(_CLOSE_WAIT_S)
            self._leasing = None

    def become_child(self) -> None:
        """After a fork, in the child: nothing here is this process's."""
        self.lock = threading.RLock()
        for account in [*self.accounts.values(), *self.past]:
            account.off = True  # whoever still knows it has nothing of its lease
            account.detach()  # never write to the parent's slate
        self.accounts = {}
        self.past = []
        self.dirty = set()
        self.asks, self.pending = [], []
        self.lost = None
        self.counts = Counter()
        self._leasing = None
        self.store.forget()

    def count_lost(self, lost: StoreError) -> None:
        """Note that the store is lost."""
        if self.lost is None:
            self.counts["lost_times"] += 1
        self.lost = lost


def _amounts(asked: Asked) -> dict[Kind, int]:
    return {limit.kind: amount for limit, amount in asked}


def _forked(here: weakref.ref[Coordinator]) -> None:
    coordinator = here()
    if coordinator is not None:
        coordinator.become_child()
