"""Blocking twins of the async methods.

Theory. Async is the one colour; this room only waits for it. One background thread runs one loop for a `Models`, and each
blocking call hands a coroutine over and waits.

Rules. The thread is a daemon, started at the first call. It ends with `close()`, with its `Models`, or with the interpreter,
and closes its connections then. After a fork the child starts its own, for a thread does not survive one; a fork waits until
the step that runs has ended. An interrupt (Ctrl-C) while waiting cancels the call upstream. It must not be called from a
running event loop, where it would block the loop: that is an error that says so.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from podium.engine.stream import TextStream
from podium.errors import RequestError
from podium.types import Event, Loss, Reasons, Result

if TYPE_CHECKING:
    from podium.engine.language_model import LanguageModel
    from podium.engine.models import Models
    from podium.routing.compare import Comparison

T = TypeVar("T")

_FORK_WAIT_S = 2.0
"""What a fork waits for a step of the loop to end."""
_LONGEST_END_S = 2.0
"""What an interpreter that exits waits for its connections to be closed."""


class _Background:
    """A loop in a thread of its own."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.calls = 0
        """Blocking calls that use it now; changed under the lock of its `SyncModels`."""
        self.thread = threading.Thread(target=self._serve, name="podium-sync", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to its end in the background; an interrupt cancels it."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Cancel what runs, and end the loop and the thread."""
        asyncio.run_coroutine_threadsafe(self._wind_up(cancel=True), self.loop)
        self.thread.join()

    def fade(self) -> None:
        """End once nothing runs any more; whoever calls waits only where nothing runs now."""
        if self.pid != os.getpid() or not self.thread.is_alive():
            return
        idle = not asyncio.all_tasks(self.loop)
        asyncio.run_coroutine_threadsafe(self._wind_up(cancel=False), self.loop)
        if idle and threading.current_thread() is not self.thread:
            self.thread.join(_LONGEST_END_S)

    async def _wind_up(self, *, cancel: bool) -> None:
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks if cancel else ():
                task.cancel()
            await asyncio.wait(tasks)
        await self.loop.shutdown_asyncgens()
        self.loop.stop()


class SyncModels:
    """The blocking side of a `Models`: `models.sync.generate_text(...)`."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._lock = threading.Lock()
        self._background: _Background | None = None
        self._goes_on = threading.Event()

    def _run(self, work: Coroutine[Any, Any, T], *, in_a_loop: bool = False) -> T:
        """Run to its end in the background; `in_a_loop`: also where that blocks the loop that it is called from."""
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is not None and (not in_a_loop or (self._background is not None and here is self._background.loop)):
            work.close()
            raise RequestError(
                "`models.sync` was called inside a running event loop, which it would block.",
                hint="Use `await models.generate_text(...)` there.",
            )
        lock = self._lock
        with lock:
            background = self._begun()
            background.calls += 1
        try:
            return background.run(work)
        finally:
            with lock:
                background.calls -= 1

    def _begun(self) -> _Background:
        if self._background is None:
            self._background = _Background()
            weakref.finalize(self, _Background.fade, self._background)
        return self._background

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the background loop, begun where there is none."""
        with self._lock:
            return self._begun().loop

    def rest(self) -> None:
        """End the background thread and its connections where no blocking call and no stream uses them. It blocks briefly."""
        with self._lock:
            background = self._background
            if background is None or background.calls or asyncio.all_tasks(background.loop):
                return
            self._background = None
        background.stop()

    def generate_text(self, spec: str | None = None, **ask: Any) -> Result:
        """Ask, and block until the whole answer is there; takes and raises what `Models.generate_text` does."""
        return self._run(self._models.generate_text(spec, **ask))

    def stream_text(self, spec: str | None = None, **ask: Any) -> SyncTextStream:
        """Ask, and return a blocking stream; takes and raises what `Models.stream_text` does."""
        return SyncTextStream(self, self._models.stream_text(spec, **ask))

    def compare(self, **ask: Any) -> Comparison:
        """Ask two sides at once and block until both have answered; takes and raises what `Models.compare` does."""
        return self._run(self._models.compare(**ask))

    def generate(self, model: LanguageModel, **ask: Any) -> Result:
        """Ask a `LanguageModel`, and block until the whole answer is there."""
        return self._run(model.generate(**ask))

    def stand_in(self, model: LanguageModel, **ask: Any) -> Result:
        """Ask in place of a function that blocks: where that is called inside a running loop, it blocked it before too."""
        return self._run(model.generate(**ask), in_a_loop=True)

    def stream(self, model: LanguageModel, **ask: Any) -> SyncTextStream:
        """Ask a `LanguageModel`, and return a blocking stream."""
        return SyncTextStream(self, model.stream(**ask))

    def hold_still(self) -> None:
        """Before a fork: let the loop stand between two steps, where it holds no lock, such as that of an import."""
        background = self._background
        if background is None or threading.current_thread() is background.thread:
            return
        stands, goes_on = threading.Event(), self._goes_on

        def stand() -> None:
            stands.set()
            goes_on.wait(_FORK_WAIT_S)

        goes_on.clear()
        with suppress(RuntimeError):  # it was stopped just now
            background.loop.call_soon_threadsafe(stand)
            stands.wait(_FORK_WAIT_S)

    def go_on(self) -> None:
        """After a fork, in the parent."""
        self._goes_on.set()

    def forget(self) -> None:
        """Begin anew in a process that was forked off: the thread is its parent's."""
        self._lock = threading.Lock()
        self._background = None
        self._goes_on = threading.Event()

    def close(self) -> None:
        """Cancel what runs, close the connections and end the background thread."""
        with self._lock:
            background, self._background = self._background, None
        if background is not None:
            background.run(self._models.close())
            background.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


class SyncTextStream:
    """A stream whose reader blocks: iterate it for events, or `text` for strings. A `break` ends it, as `close()` does."""

    def __init__(self, sync: SyncModels, stream: TextStream) -> None:
        self._sync = sync
        self._stream = stream

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self._stream.request_id

    @property
    def reasons(self) -> Reasons:
        """Why these targets are asked."""
        return self._stream.reasons

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Settings that the answering target could not honour."""
        return self._stream.losses

    def __iter__(self) -> Iterator[Event]:
        return self._read(aiter(self._stream))

    @property
    def text(self) -> Iterator[str]:
        """The answer's text, in pieces as they come."""
        return self._read(self._stream.text)

    def _read(self, source: AsyncIterator[T]) -> Iterator[T]:
        while (item := self._sync._run(_next(source))) is not None:
            yield item

    def result(self) -> Result:
        """Read what is left, and return the whole result."""
        return self._sync._run(self._stream.result())

    def close(self) -> None:
        """End it: an answer that is still coming is cancelled upstream."""
        self._sync._run(self._stream.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


async def _next(source: AsyncIterator[T]) -> T | None:
    return await anext(source, None)
