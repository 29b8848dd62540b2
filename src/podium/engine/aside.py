"""Work beside the calls: what is done after an answer is delivered, and never in its way.

Theory. A caller's loop may end with the caller's own work (`asyncio.run`), so what is to go on after an answer runs on the loop
that `models.sync` uses: one thread, one loop a `Models`. Whoever begins something here hands over a function and its arguments
and goes on; the coroutine is made there, and nothing of it is awaited.

Rules.
- So much runs at once and so much more waits; what comes beyond that is refused, and counted. Nobody ever waits to begin.
- What raises is counted and logged. What is cut off by the end is counted, and told: a `dropped` is called for what never ran.
- `close` lets what runs and waits go on for a moment, then cancels and drops the rest. A later beginning begins anew.
- It inherits nothing from its caller: no context variables, so no span, and no cancellation.
- A process that ends without `close` ends what runs here, in the middle and without a word.
- A process that is forked off has nothing of its parent's.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from podium.errors import PodiumError

if TYPE_CHECKING:
    from podium.engine.sync import SyncModels

MOST_RUNNING = 16
MOST_WAITING = 256
CLOSE_WAIT_S = 5.0
"""How long `close` lets work go on."""
_log = logging.getLogger("podium.aside")


class _Work(NamedTuple):
    """Something that waits to be begun."""

    function: Callable[..., Coroutine[Any, Any, object]]
    arguments: tuple[Any, ...]
    name: str
    dropped: Callable[[], object] | None


class Aside:
    """The background work of a `Models`. Safe to use from any thread and loop."""

    def __init__(
        self,
        sync: SyncModels,
        *,
        most_running: int = MOST_RUNNING,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._sync = sync
        self._most_running = most_running
        self._most_waiting = most_waiting
        self.begin_anew()

    def begin_anew(self) -> None:
        """Begin with nothing: at the start, and after a fork in the child."""
        self._lock = threading.Lock()
        self._waiting: deque[_Work] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._counts: Counter[str] = Counter()

    def begin(
        self,
        function: Callable[..., Coroutine[Any, Any, object]],
        *arguments: Any,
        name: str,
        dropped: Callable[[], object] | None = None,
    ) -> bool:
        """Let a coroutine function run in the background, and return whether it will.

        False where too much waits already, or where the `Models` closes. `name` names the work in logs. `dropped` is called
        where it was to run and never does: the `Models` was closed first.
        """
        with self._lock:
            if self._closing or len(self._waiting) >= self._most_waiting:
                self._counts["refused"] += 1
                return False
            self._loop = loop = self._sync.loop()
            self._waiting.append(_Work(function, arguments, name, dropped))
            try:
                loop.call_soon_threadsafe(self._fill, context=contextvars.Context())
            except RuntimeError:  # `models.sync` was closed just now
                self._waiting.pop()
                self._counts["refused"] += 1
                return False
        return True

    # --- in the background loop -----------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Begin what waits, as far as there is room."""
        loop = asyncio.get_running_loop()
        with self._lock:
            while self._waiting and len(self._tasks) < self._most_running:
                work = self._waiting.popleft()
                task = loop.create_task(self._perform(work), name=work.name, context=contextvars.Context())
                self._tasks.add(task)
                task.add_done_callback(self._ended)
                self._counts["begun"] += 1

    async def _perform(self, work: _Work) -> None:
        try:
            await work.function(*work.arguments)
        except Exception as error:  # noqa: BLE001  nobody awaits this work: whatever it raises is counted and logged here
            if isinstance(error, RuntimeError) and _interpreter_ends():
                raise asyncio.CancelledError from None
            self._counts["failed"] += 1
            told = None if isinstance(error, PodiumError) else error
            _log.warning("Background work failed (%s): %s", work.name, str(error) or type(error).__name__, exc_info=told)
        else:
            self._counts["done"] += 1

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self._counts["cancelled"] += 1
        self._fill()

    # --- its end --------------------------------------------------------------------------------------------------------

    async def close(self, wait_s: float = CLOSE_WAIT_S) -> None:
        """Let what runs and waits go on for so long; then cancel the one and drop the other."""
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is None or loop.is_closed():
                return
            self._closing = True
        try:
            if loop is asyncio.get_running_loop():
                await self._drain(wait_s)
            else:
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._drain(wait_s), loop))
                await asyncio.to_thread(self._sync.rest)
        finally:
            self._closing = False

    async def _drain(self, wait_s: float) -> None:
        """Wait in the background loop for all that is there."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while (tasks := self._here(loop)) and (left := until - loop.time()) > 0:
            await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        with self._lock:
            dropped = list(self._waiting)
            self._waiting.clear()
            self._counts["dropped"] += len(dropped)
        for work in dropped:
            if work.dropped is not None:
                work.dropped()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
            _log.warning("Background work was cut off by the end: %d cancelled, %d not begun.", len(tasks), len(dropped))

    def _here(self, loop: asyncio.AbstractEventLoop) -> set[asyncio.Task[None]]:
        """What runs in this loop; what waits is begun first, where there is room."""
        self._fill()
        own = asyncio.current_task()
        return {task for task in list(self._tasks) if task.get_loop() is loop and task is not own}

    def statistics(self) -> dict[str, int]:
        """What runs and waits now, and what came of the rest so far, in this process."""
        names = ("begun", "done", "failed", "cancelled", "dropped", "refused")
        return {
            "running": len(self._tasks),
            "waiting": len(self._waiting),
            **{name: self._counts[name] for name in names},
        }


def _interpreter_ends() -> bool:
    """Whether the interpreter is ending: it gives no more threads then, and what needs one fails for that."""
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(int)
    except RuntimeError:
        return True
    return False
