"""The leasing thread: exchanges with the store what a process's accounts need, hold too much of, or are done with.

Theory. It sleeps until its bell rings: a reservation waits, another process wants something back, or a second is over. Then it
gathers all that is to be exchanged into one transaction, takes over the answers, and resolves what waits.

Rules.
- Only here `held` changes. Whatever is being given back is set aside first, so that nobody takes it meanwhile.
- An exchange that fails changes nothing; the next one says the same again.
- What waits is served in the order of its coming.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from podium.coordination.accounts import Account
from podium.coordination.store import Answer, Entry, Store
from podium.errors import PodiumError, StoreError
from podium.routing.limits import MOST

if TYPE_CHECKING:
    from podium.coordination.coordinator import Coordinator

TICK_S = 1.0
RETRY_S = 0.25
IDLE_TICKS = 5
"""Ticks after which an account that nobody uses is closed."""
_LOOK_S = 0.02
"""How often what waits is looked at again, should no bell ring."""


class Leasing:
    """The thread, and what waits for it."""

    def __init__(self, coordinator: Coordinator, store: Store) -> None:
        self._coordinator = coordinator
        self._store = store
        self._thread = threading.Thread(target=self._run, name="podium-leasing", daemon=True)
        self._stopping = False
        self._attached_once = False
        self._next_tick = 0.0
        self.started = threading.Event()
        """Set when the store was first tried."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Have it look at once; from any thread."""
        self._store.wake()

    def stop(self, wait_s: float) -> None:
        """End it, and wait until it has given everything back."""
        self._stopping = True
        self._store.wake()
        self._thread.join(wait_s)

    # --- its life -------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._guard(self._attach)
        self.started.set()
        while not self._stopping:
            lost = self._coordinator.lost is not None
            until_tick = max(0.0, self._next_tick - time.monotonic())
            until_look = min(_LOOK_S, until_tick) if self._coordinator.pending else until_tick
            self._store.wait(RETRY_S if lost else until_look)
            if not self._stopping:
                self._guard(self._attach if lost else self._turn)
        self._leave()

    def _guard(self, act: Callable[[], None]) -> None:
        try:
            act()
        except StoreError as error:
            self._lose(error)
        except Exception as error:  # noqa: BLE001  a defect: whoever waits is told, and all others that limits are lost
            self._lose(StoreError(f"Limits failed: {error!r}.", code="coordination_lost", hint="This is a defect of Podium."))

    def _attach(self) -> None:
        """Open the store, and say again what this process holds of it."""
        coordinator = self._coordinator
        attached = self._store.attach(create=not self._attached_once)
        self._attached_once = True
        with coordinator.lock:
            accounts = [*coordinator.accounts.values(), *coordinator.past]
            for account in accounts:
                if attached.fresh_slots:
                    account.detach()
                if attached.fresh_file:
                    account.held = 0
        self._exchange(dict.fromkeys(accounts, 0))
        coordinator.lost = None

    def _lose(self, error: StoreError) -> None:
        """What waits is decided without the store."""
        coordinator = self._coordinator
        with coordinator.lock:
            coordinator.count_lost(error)
            self._gather()
            asks, coordinator.pending = coordinator.pending, []
            for ask in asks:
                try:
                    ask.resolve(coordinator.decide_lost(ask.asked, ask.at, error))
                except PodiumError as refused:
                    ask.refuse(refused)

    def _leave(self) -> None:
        coordinator = self._coordinator
        with coordinator.lock:
            self._gather()
            for ask in coordinator.pending:
                ask.refuse(StoreError("Limits were closed while this request waited for them.", hint="Ask again."))
            coordinator.pending = []
            accounts = [each for each in (*coordinator.accounts.values(), *coordinator.past) if each.slot is not None]
            for account in accounts:
                account.off = True
            entries = [_entry(account, spent=account.used) for account in accounts]
        clean = coordinator.lost is None
        try:
            if clean and entries:
                self._store.exchange(entries)
        except StoreError as error:  # the next process to come finds what is left
            clean = False
            coordinator.count_lost(error)
        with coordinator.lock:
            for account in accounts:
                account.detach()
        self._store.close(clean=clean)

    # --- one turn -------------------------------------------------------------------------------------------------------

    def _gather(self) -> None:
        """Take over what was asked since; under the lock."""
        coordinator = self._coordinator
        asked, coordinator.asks = coordinator.asks, []
        coordinator.pending = [ask for ask in (*coordinator.pending, *asked) if not ask.abandoned]

    def _turn(self) -> None:
        coordinator = self._coordinator
        idle: list[Account] = []
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + TICK_S
            self._store.tend(time.time())
            coordinator.tick += 1
            idle = self._set_idle_aside()
        recalled = self._store.recalled()
        with coordinator.lock:
            self._gather()
            for key, starts_us in recalled:
                self._set_aside(key, starts_us)
            self._satisfy()
            wanted = self._wanted()
        answers = self._exchange(wanted, idle, always=bool(recalled))
        if coordinator.pending:
            with coordinator.lock:
                self._satisfy()
                self._refuse(answers)

    def _set_idle_aside(self) -> list[Account]:
        """Let nobody take any more from the accounts that nobody uses."""
        coordinator = self._coordinator
        with coordinator.lock:
            since = coordinator.tick - IDLE_TICKS
            idle = [each for each in coordinator.accounts.values() if not each.reserved and each.touched <= since]
            idle += [account for account in coordinator.past if not account.reserved]
            for account in idle:
                account.off = True
            coordinator.dirty.update(idle)
        return idle

    def _set_aside(self, key: str, starts_us: int) -> None:
        """Let nobody take any more from a bucket that another process needs; under the lock."""
        coordinator = self._coordinator
        for account in (coordinator.accounts.get(key), *coordinator.past):
            if account is not None and account.limit.key == key and _us(account.starts_at) == starts_us:
                account.off = True
                coordinator.dirty.add(account)

    def _satisfy(self) -> None:
        """Give those that wait what the leases at hand cover; under the lock."""
        coordinator = self._coordinator
        left = []
        for ask in coordinator.pending:
            if ask.abandoned:
                continue
            if (reservation := coordinator.take(ask.asked, ask.at)) is not None:
                ask.resolve(reservation)
            else:
                left.append(ask)
        coordinator.pending = left

    def _wanted(self) -> dict[Account, int]:
        """How much of each account those that wait want; under the lock."""
        coordinator = self._coordinator
        wanted: dict[Account, int] = {}
        for ask in coordinator.pending:
            for limit, amount in ask.asked:
                account = coordinator.account(limit, ask.at)
                wanted[account] = wanted.get(account, 0) + amount
        return wanted

    def _exchange(
        self, wanted: dict[Account, int], idle: Sequence[Account] = (), *, always: bool = False
    ) -> dict[Account, tuple[Entry, Answer]]:
        """Exchange what is wanted, what is to be given back, and what was used beyond a lease. Raises `StoreError`."""
        coordinator = self._coordinator
        done = {account for account in idle if account not in wanted}
        with coordinator.lock:
            entries: dict[Account, Entry] = {}
            for account in {**wanted, **dict.fromkeys(coordinator.dirty, 0)}:
                account.attach(self._store)
                if account in done and not account.reserved:
                    entries[account] = _entry(account, spent=account.used)
                    continue
                entry = entries[account] = _entry(account)
                # Whoever has to give back is served next time: else it would outrun those that asked it.
                entry.need = 0 if account.off else max(0, wanted.get(account, 0) + account.used - entry.keep)
        if not entries and not always:
            return {}
        answers = dict(zip(entries, self._store.exchange(list(entries.values())), strict=True))
        with coordinator.lock:
            for account, entry in entries.items():
                if entry.spent is not None:
                    self._drop(account)
                    if account.used > entry.spent:  # it was charged meanwhile
                        more = {account.kind: account.used - entry.spent}
                        coordinator.charge([account.limit], more, account.starts_at)
                else:
                    self._take_over(account, entry, answers[account])
        return {account: (entries[account], answer) for account, answer in answers.items()}

    def _take_over(self, account: Account, entry: Entry, answer: Answer) -> None:
        account.held = entry.keep + answer.granted
        if account.limit.amount == entry.limit.amount:  # else it was changed meanwhile, and is exchanged again
            account.off = False
            if account.used <= account.held:
                self._coordinator.dirty.discard(account)

    def _drop(self, account: Account) -> None:
        coordinator = self._coordinator
        account.off = True
        if coordinator.accounts.get(account.limit.key) is account:
            del coordinator.accounts[account.limit.key]
        else:
            coordinator.past.remove(account)
        coordinator.dirty.discard(account)
        if account.slot is not None:
            self._store.free_slot(account.slot)
        account.detach()

    def _refuse(self, answers: dict[Account, tuple[Entry, Answer]]) -> None:
        """Refuse those for which there is too little, even with what others do not use; under the lock."""
        coordinator = self._coordinator
        now = time.monotonic()
        left = []
        for ask in coordinator.pending:
            error = None
            for limit, amount in ask.asked:
                account = coordinator.account(limit, ask.at)
                entry, answer = answers.get(account, (None, None))
                if entry is None or answer is None or amount <= account.free or answer.granted >= entry.need:
                    continue
                there = max(0, account.free) + answer.recallable
                patient = limit.kind == "concurrent" and now < ask.patient_until
                if (amount > there or now >= ask.deadline) and not patient:
                    coordinator.counts["recalls_unanswered"] += amount <= there
                    error = coordinator.refusal(account, amount, ask.at, spent=answer.spent, reserved=answer.reserved)
                    break
            if error is not None:
                ask.refuse(error)
            else:
                left.append(ask)
        coordinator.pending = left


def _entry(account: Account, *, spent: int | None = None) -> Entry:
    keep = account.used if account.off else max(account.held, account.used)
    return Entry(
        limit=account.limit,
        starts_us=_us(account.starts_at),
        ends_us=MOST if math.isinf(account.ends_at) else _us(account.ends_at),
        slot=account.slot or 0,
        keep=keep,
        spent=spent,
    )


def _us(at: float) -> int:
    return int(at * 1_000_000)
