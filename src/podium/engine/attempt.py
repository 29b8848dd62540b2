"""One upstream call at work: from the launch to its end.

Theory. A call dumps the request in its target's dialect, sends it, and turns what comes back into events. It tells its run
what happened through three functions (`on_events`, `on_done`, `on_error`) and decides nothing.

Rules.
- Every call that is performed ends exactly once: with `on_done`, with `on_error`, or, cancelled, with silence.
- Four timeouts: connect (the transport's), first event, first content, stall. One timer watches the last three: it looks at
  what is due when it fires, and is not set again for each chunk. They hold where the answer is streamed; an answer that comes
  whole is bounded by the request's own time.
- Leaving, by an error or a cancellation, closes the upstream connection.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from email.utils import formatdate
from typing import TYPE_CHECKING, Protocol

from podium.engine.endpoint import Endpoint
from podium.errors import PodiumError, ProtocolBroken, ProviderError, TimedOut
from podium.types import (
    Attempt,
    Event,
    Failed,
    Fold,
    Loss,
    Outcome,
    PartDelta,
    PartStart,
    Reasoning,
    Refusal,
    Request,
    Response,
    Target,
    Text,
    Usage,
    Value,
)
from podium.wire.codec import restore_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium.engine.slots import Slots, Spare
    from podium.engine.transport import Reply, Transport
    from podium.wire.codec import Reader


class Patience(Value, frozen=True, kw_only=True):
    """How long one attempt may be silent, in seconds. The defaults are SCIENCE's."""

    first_event_s: float = 60.0
    first_content_s: float = 60.0
    stall_s: float = 60.0
    whole_s: float | None = None
    """The whole attempt; None: only the request's own time bounds it."""


REASONING_FIRST_CONTENT_S = 600.0
"""A model that thinks may say nothing for ten minutes."""


class Listener(Protocol):
    """Who is told what happens to a call."""

    def on_events(self, call: Call, events: list[Event], content: bool) -> None:
        """Some events came; `content` at the first that bear content."""
        ...

    def on_done(self, call: Call, response: Response) -> None:
        """The answer is whole."""
        ...

    def on_error(self, call: Call, error: PodiumError, *, sent: bool) -> None:
        """The call failed; `sent` is whether anything went upstream."""
        ...

    def on_cut(self, call: Call) -> None:
        """Its task was cancelled by somebody else: the loop is being taken down."""
        ...

    def on_defect(self, call: Call, error: BaseException) -> None:
        """Podium itself failed; the caller gets the exception as it is."""
        ...

    async def room(self, call: Call) -> None:
        """Wait until the caller has taken what is there (back-pressure)."""
        ...


class Call:
    """One upstream call."""

    __slots__ = (
        "_aliases",
        "_content_due",
        "_content_s",
        "_due",
        "_ended_at",
        "_first_content_at",
        "_fold",
        "_listener",
        "_loop",
        "_patience",
        "_reader",
        "_reasoning",
        "_reasoning_counts",
        "_timeout",
        "_timer",
        "context",
        "cost_usd",
        "error",
        "estimated",
        "launched_at",
        "losses",
        "number",
        "outcome",
        "pending",
        "response",
        "role",
        "sent",
        "settled",
        "target",
        "task",
        "usage",
    )

    def __init__(
        self, listener: Listener, number: int, target: Target, role: str, patience: Patience, *, reasoning_counts: bool
    ) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._patience = patience
        self._reasoning_counts = reasoning_counts
        self._reader: Reader | None = None
        self.launched_at = self._loop.time()
        self._first_content_at: float | None = None
        self._ended_at: float | None = None
        self._fold = Fold()
        self._reasoning: set[tuple[int, int]] = set()
        self._due = 0.0
        self._content_s = 0.0
        self._content_due = 0.0
        self._timeout: TimedOut | None = None
        self._aliases: dict[str, str] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.number = number
        self.target = target
        self.role = role
        self.outcome: Outcome | None = None
        self.error: PodiumError | None = None
        self.losses: tuple[Loss, ...] = ()
        self.pending: list[Event] = []
        """Events that no caller has taken, as long as this call is not the answer."""
        self.response: Response | None = None
        self.usage: Usage | None = None
        self.estimated = False
        self.context: dict[str, str] | None = None
        """What chose among the price's variants."""
        self.cost_usd: Decimal | None = None
        self.sent = False
        """Whether anything may have gone upstream."""
        self.settled = False
        """Whether its end is on record."""
        self.task: asyncio.Task[None] | None = None

    # --- its life -------------------------------------------------------------------------------------------------------

    async def perform(
        self,
        endpoint: Endpoint,
        transport: Transport,
        request: Request,
        *,
        streamed: bool,
        slots: Slots | Spare | None,
        group: str,
        before_sending: Callable[[], None],
    ) -> None:
        """Do it all; tells the listener, and raises nothing but a cancellation."""
        try:
            if slots is not None:
                await slots.acquire(group)
            try:
                before_sending()
                self.sent = True
                if self._patience.whole_s is not None:
                    async with asyncio.timeout(self._patience.whole_s):
                        await self._exchange(endpoint, transport, request, streamed)
                else:
                    await self._exchange(endpoint, transport, request, streamed)
            finally:
                if slots is not None:
                    slots.release()
        except asyncio.CancelledError:
            if self._timeout is None or self.outcome is not None:
                if self._ended_at is None:
                    self._end("cancelled")
                    self._listener.on_cut(self)
                raise
            self._fail(self._timeout, endpoint)
        except TimeoutError:
            self._fail(_timed_out(self.target, "whole answer", self._patience.whole_s or 0.0, "timed_out"), endpoint)
        except PodiumError as error:
            self._fail(error, endpoint)
        except Exception as error:  # noqa: BLE001  a defect of Podium's own: it reaches the caller whole, never a log only
            self._end("failed")
            self._listener.on_defect(self, error)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            del self._listener  # it has this call: together they would wait for the garbage collector

    async def _exchange(self, endpoint: Endpoint, transport: Transport, request: Request, streamed: bool) -> None:
        dumped = endpoint.codec.dump_request(request, endpoint.profile)
        if dumped.losses:
            self.losses = tuple(loss.replace(target=str(self.target)) for loss in dumped.losses)
        self._aliases = dumped.aliases
        headers = {**endpoint.headers, **dumped.headers} if dumped.headers else endpoint.headers
        if streamed:
            self._watch(request)
        reply = await transport.post(endpoint.url(dumped.path), headers, dumped.body)
        try:
            if reply.status != 200:
                await self._refused(endpoint, reply)
            content_type = reply.headers.get("content-type", "").lower()
            if content_type.startswith("text/html"):
                raise ProtocolBroken(
                    f"{self.target} answered with a web page.",
                    retryable=False,
                    hint="Check that the provider's base_url is the address of its API.",
                )
            if streamed and not content_type.startswith("application/json"):
                await self._read_stream(endpoint, reply)
            else:
                self._take(list(endpoint.codec.load_response(await reply.read())))
        finally:
            reply.close()
        response = self._fold.response()
        if self._timeout is not None:
            raise self._timeout
        self.response = response
        self._end(None)
        self._listener.on_done(self, response)

    async def _refused(self, endpoint: Endpoint, reply: Reply) -> None:
        if 300 <= reply.status < 400:
            raise ProtocolBroken(
                f"{self.target} answered with a redirect (HTTP {reply.status}).", retryable=False, hint="Mend its base_url."
            )
        body = await reply.read()
        if reply.status < 300:
            raise ProtocolBroken(
                f"{self.target} answered with HTTP {reply.status} and not with 200.",
                status=reply.status,
                hint="Check that the provider's base_url is the address of its API.",
            )
        headers = {name.lower(): value for name, value in reply.headers.items()}
        headers.setdefault("date", formatdate(usegmt=True))  # a Retry-After that is a date counts from it
        raise endpoint.codec.load_error(reply.status, headers, body)

    async def _read_stream(self, endpoint: Endpoint, reply: Reply) -> None:
        reader = self._reader = endpoint.codec.reader()
        async for data in reply.chunks():
            self._due = self._loop.time() + self._patience.stall_s
            if events := reader.feed(data):
                self._take(events)
                await self._listener.room(self)
        if events := reader.close():
            self._take(events)

    def _take(self, events: list[Event]) -> None:
        """Fold the events and pass them on; a `Failed` among them is raised after those before it."""
        if self._aliases:
            events = [restore_names(event, self._aliases) for event in events]
        content = False
        failed: Failed | None = None
        good = events
        for index, event in enumerate(events):
            if isinstance(event, Failed):
                failed = event
                good = events[:index]
                break
            self._fold.feed(event)
            if self._first_content_at is None and self._bears_content(event):
                self._first_content_at = self._loop.time()
                content = True
        if good:
            self._listener.on_events(self, good, content)
        if failed is not None:
            raise failed.error

    def _bears_content(self, event: Event) -> bool:
        if isinstance(event, PartDelta):
            return bool(event.text) and (event.choice, event.index) not in self._reasoning
        if not isinstance(event, PartStart):
            return False
        part = event.part
        if isinstance(part, Reasoning) and not self._reasoning_counts:
            self._reasoning.add((event.choice, event.index))
            return False
        return bool(part.text) if isinstance(part, (Text, Reasoning, Refusal)) else True

    # --- its end --------------------------------------------------------------------------------------------------------

    def _end(self, outcome: Outcome | None) -> None:
        self._ended_at = self._loop.time()
        if outcome is not None and self.outcome is None:
            self.outcome = outcome

    def _fail(self, error: PodiumError, endpoint: Endpoint) -> None:
        if isinstance(error, ProviderError):
            error.target = str(self.target)
            error.body = endpoint.scrub(error.body)
        message = str(endpoint.scrub(error.message))
        error.message = message if str(self.target) in message else f"{self.target}: {message}"
        error.args = (error.message,)
        self.error = error
        self._end("failed" if self.sent else "rejected")
        self._listener.on_error(self, error, sent=self.sent)

    def refuse(self, error: PodiumError) -> None:
        """End it before anything was sent."""
        self.error = error
        self._end("rejected")

    def cancel(self, outcome: Outcome) -> None:
        """Stop, upstream too; `failed`: the request's time is over. Nothing more is said of this call."""
        if self.outcome is None:
            if outcome == "failed":
                self.error = _timed_out(self.target, "whole answer", self._loop.time() - self.launched_at, "timed_out")
            self._end(outcome)
        if self.task is not None:
            self.task.cancel()

    @property
    def first_content_s(self) -> float | None:
        """Seconds from the launch to the first content."""
        return None if self._first_content_at is None else self._first_content_at - self.launched_at

    @property
    def seen_bytes(self) -> int:
        """How many bytes of an answer's text have come."""
        return self._fold.written

    @property
    def said_usage(self) -> Usage | None:
        """What the provider has said of its counts, be it only of what went in; None: nothing."""
        if self.response is not None:
            return self.response.usage
        return None if self._reader is None else self._reader.usage

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._ended_at is None

    def record(self, begun_at: float) -> Attempt:
        """What there is to say of this call, counted from the request's beginning."""
        ended_at = self._ended_at if self._ended_at is not None else self._loop.time()
        response = self.response
        return Attempt(
            number=self.number,
            target=self.target,
            outcome=self.outcome or "cancelled",
            role=self.role,
            started_s=self.launched_at - begun_at,
            first_content_s=self.first_content_s,
            duration_s=ended_at - self.launched_at,
            usage=self.usage,
            estimated=self.estimated,
            cost_usd=self.cost_usd,
            error_code=None if self.error is None else self.error.code,
            error=None if self.error is None else str(self.error),
            upstream_id=response.id or None if response is not None else None,
            losses=self.losses,
        )

    # --- its timeouts ---------------------------------------------------------------------------------------------------

    def _watch(self, request: Request) -> None:
        now = self._loop.time()
        self._due = now + self._patience.first_event_s
        self._content_s = self._patience.first_content_s
        if request.thinking is not None and request.thinking.effort != "none":
            self._content_s = max(self._content_s, REASONING_FIRST_CONTENT_S)
        self._content_due = now + self._content_s
        self._look_again(now, min(self._due, self._content_due))

    def _look_again(self, now: float, due: float) -> None:
        # The next event may set a nearer due than today's, so the timer never sleeps longer than a stall may last.
        self._timer = self._loop.call_at(min(due, now + self._patience.stall_s), self._look)

    def _look(self) -> None:
        now = self._loop.time()
        waits_for_content = self._first_content_at is None
        due = min(self._due, self._content_due) if waits_for_content else self._due
        if due > now:
            self._look_again(now, due)
            return
        if waits_for_content and self._content_due <= now:
            what, after_s, code = "first content", self._content_s, "first_content_timeout"
        elif self._fold.begun:
            what, after_s, code = "next event", self._patience.stall_s, "stalled"
        else:
            what, after_s, code = "first event", self._patience.first_event_s, "first_event_timeout"
        self._timeout = _timed_out(self.target, what, after_s, code)
        if self.task is not None:
            self.task.cancel()


def _timed_out(target: Target, what: str, after_s: float, code: str) -> TimedOut:
    return TimedOut(
        f"{target} did not give its {what} within {after_s:.3g} s.",
        code=code,
        hint="Ask again, another target, or allow more time.",
    )
