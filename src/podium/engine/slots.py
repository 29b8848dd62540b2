"""How many requests may run at once, for a provider or a user.

Theory. A bounded, fair queue: whoever finds a free slot takes it; the others wait in the order of their coming, one turn a
group, so that one busy user cannot keep the others of a provider waiting. A full queue and too long a wait are typed errors.

Rules. Slots are shared by all loops and threads of the process: counters are held under a lock, and a waiter is woken in its
own loop. The limit may change while requests wait; None is no limit.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable

from podium.errors import RateLimited

QUEUE_SIZE = 100
QUEUE_WAIT_S = 10.0


class Slots:
    """Counts what runs, and lets the rest wait."""

    def __init__(self, name: str, limit: int | None = None, *, size: int = QUEUE_SIZE, wait_s: float = QUEUE_WAIT_S) -> None:
        self.name = name
        self.limit = limit
        self.running = 0
        self._size = size
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._spare: dict[Spare, Callable[[], object]] = {}
        """Who has a slot and gives way, with what makes them."""

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(len(group) for group in self._waiting.values())

    def set_limit(self, limit: int | None) -> None:
        """Change the limit; waiters that fit now are let in."""
        with self._lock:
            self.limit = limit
            self._let_in()

    def try_acquire(self) -> bool:
        """Take a slot, where one is free that nobody waits for; return whether it was."""
        lock = self._lock
        lock.acquire()  # not `with`: that takes twice as long, and each request comes by here
        try:
            limit = self.limit
            if limit is not None and (self.running >= limit or self._waiting):
                return False
            self.running += 1
            return True
        finally:
            lock.release()

    async def acquire(self, group: str = "") -> None:
        """Take a slot, waiting for one if need be.

        Raises `RateLimited` when the queue is full, or the wait too long.
        """
        with self._lock:
            if self.has_spare:
                self.running += 1
                return
            if self.waiting >= self._size:
                raise RateLimited(
                    f"{self.name} runs {self.running} requests (max_concurrent {self.limit}) and {self.waiting} more wait.",
                    code="queue_full",
                    hint="Ask again later, or raise max_concurrent.",
                )
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(group, deque()).append(turn)
            give_way = self._spare.popitem()[1] if self._spare else None
        if give_way is not None:
            give_way()
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except TimeoutError:
            if not self._leave(group, turn):
                return
            raise RateLimited(
                f"No slot of {self.name} came free within {self._wait_s:g} s (max_concurrent {self.limit}).",
                code="queue_timeout",
                hint="Ask again later, or raise max_concurrent.",
            ) from None
        except asyncio.CancelledError:
            if not self._leave(group, turn):
                self.release()
            raise

    def _leave(self, group: str, turn: asyncio.Future[None]) -> bool:
        """Stop waiting; False where the slot has been given in the meantime."""
        with self._lock:
            waiters = self._waiting.get(group)
            if waiters is None or turn not in waiters:
                return False
            waiters.remove(turn)
            if not waiters:
                del self._waiting[group]
            turn.cancel()
            return True

    def release(self) -> None:
        """Give a slot back."""
        lock = self._lock
        lock.acquire()  # as above
        try:
            self.running -= 1
            if self._waiting:
                self._let_in()
        finally:
            lock.release()

    def take_spare(self, whose: Spare, give_way: Callable[[], object]) -> bool:
        """Take a slot for something that nobody waits for, where one is free; `give_way` is called once somebody needs it."""
        with self._lock:
            if not self.has_spare:
                return False
            self.running += 1
            self._spare[whose] = give_way
            return True

    @property
    def has_spare(self) -> bool:
        """Whether a slot is free that nobody waits for."""
        return self.limit is None or (self.running < self.limit and not self._waiting)

    def release_spare(self, whose: Spare) -> None:
        """Give back what `take_spare` took."""
        with self._lock:
            self._spare.pop(whose, None)
        self.release()

    def _let_in(self) -> None:
        while self._waiting and (self.limit is None or self.running < self.limit):
            group, waiters = self._waiting.popitem(last=False)
            turn = waiters.popleft()
            if waiters:
                self._waiting[group] = waiters  # to the end: one turn a group
            try:
                turn.get_loop().call_soon_threadsafe(_wake, turn)
            except RuntimeError:  # its loop is closed: whoever waited there is gone
                continue
            self.running += 1


class Spare:
    """A slot for something that nobody waits for: it never queues, and makes room for whoever would have to."""

    __slots__ = ("_give_way", "_held", "_slots")

    def __init__(self, slots: Slots, give_way: Callable[[], object]) -> None:
        self._slots = slots
        self._give_way = give_way
        self._held = False

    def take(self) -> bool:
        """Take it, where one is free; return whether it is held."""
        self._held = self._held or self._slots.take_spare(self, self._give_way)
        return self._held

    async def acquire(self, group: str = "") -> None:
        """Take it. Raises `RateLimited` where none is free."""
        if not self.take():
            raise RateLimited(
                f"{self._slots.name} has no slot to spare (max_concurrent {self._slots.limit}).",
                code="no_spare_slot",
                retryable=False,
                hint="Nobody waits for this; raise max_concurrent to have more of it.",
            )

    def release(self) -> None:
        """Give it back, if it is held."""
        if self._held:
            self._held = False
            self._slots.release_spare(self)


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
