"""A streamed answer, as a caller holds it.

Theory. A `TextStream` begins when it is first read or entered, gives events (or text), and ends with a `Result`. Whoever leaves
early leaves for good: the upstream connection is closed.

Rules.
- `async with`, `break`, cancellation and `close()` all end it. A `break` is seen because only the `for` loop holds the
  iterator: when the loop drops it, the run is abandoned. So a stream can be read once; after a `break` it is over.
- An error ends it as an exception, never as an event.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from podium.engine.runner import Run
from podium.errors import StreamLeft
from podium.types import Event, Loss, PartDelta, PartStart, Reasons, Result, Text


class TextStream:
    """An answer that comes piece by piece; made by `Models.stream_text`.

    Iterate it for events, or `text` for strings; `await result()` reads what is left and gives the whole. Raises what the
    request fails with, from whatever reads it.
    """

    def __init__(self, run: Run, reasons: Reasons) -> None:
        self._run = run
        self._begun = False
        self._iterated = False
        self.reasons = reasons
        """Why these targets are asked."""

    @property
    def request_id(self) -> str:
        """The request's id, in results and, later, in the ledger."""
        return self._run.request_id

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Settings that the answering target could not honour; known once it answers."""
        return self._run.losses

    def __aiter__(self) -> EventIterator:
        if self._iterated:
            raise StreamLeft("A stream can be read only once.", hint="Call `stream_text` again, or keep what you read.")
        self._iterated = True
        return EventIterator(self)

    @property
    def text(self) -> TextIterator:
        """The answer's text, in pieces as they come."""
        return TextIterator(aiter(self))

    async def _next(self) -> list[Event] | None:
        if not self._begun:
            self._begun = True
            await self._run.begin()
        return await self._run.next_events()

    async def result(self) -> Result:
        """Read what is left, and return the whole result."""
        if self._run.left:
            raise StreamLeft("This stream was left before its end.", hint="Read it to the end for a result.")
        self._iterated = True
        try:
            while await self._next() is not None:
                pass
        except BaseException:
            self.abandon()
            raise
        return self._run.result()

    def abandon(self) -> None:
        """End it now, without waiting for the connection to close; safe at any time and from any thread."""
        self._begun = True
        self._run.abandon()

    async def close(self) -> None:
        """End it: an answer that is still coming is cancelled upstream."""
        self.abandon()
        await self._run.settled()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class EventIterator(AsyncIterator[Event]):
    """The events of a stream; dropping it ends the stream."""

    __slots__ = ("_at", "_events", "_stream")

    def __init__(self, stream: TextStream) -> None:
        self._stream = stream
        self._events: list[Event] = []
        self._at = 0

    async def __anext__(self) -> Event:
        while self._at >= len(self._events):
            try:
                events = await self._stream._next()
            except BaseException:
                self._stream.abandon()
                raise
            if events is None:
                raise StopAsyncIteration
            self._events, self._at = events, 0
        event = self._events[self._at]
        self._at += 1
        return event

    def __del__(self) -> None:
        self._stream.abandon()


class TextIterator(AsyncIterator[str]):
    """The text of a stream's first choice; dropping it ends the stream."""

    __slots__ = ("_events", "_texts")

    def __init__(self, events: EventIterator) -> None:
        self._events = events
        self._texts: set[int] = set()

    async def __anext__(self) -> str:
        while True:
            match await anext(self._events):
                case PartDelta(choice=0, index=index, text=text) if text and index in self._texts:
                    return text
                case PartStart(choice=0, index=index, part=Text(text=text)):
                    self._texts.add(index)
                    if text:
                        return text
                case _:
                    continue
