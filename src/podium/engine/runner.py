"""The runner: performs what a strategy decides, for one request.

Theory. A `Run` owns one request from its plan to its end. The strategy's machine decides; the run launches calls, cancels
them, sets timers, and hands the committed call's events to the caller. All decisions happen at once, inside the callback
that brings the news, so there is no task but the calls' own. The caller awaits `wait()`, or takes events with `next_events()`.

Rules.
- Only here do signals and actions meet. Every call launched is settled exactly once, whatever ends the run.
- A run that is left (`abandon`) cancels what it launched. That is safe to call at any time, and twice.
- The request's own time is one timer; when it fires the machine must end.
- The events of a call that is not the answer are kept with it until it is, or is not.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from podium.engine.account import Account
from podium.engine.attempt import Call, Patience
from podium.engine.endpoint import Endpoint
from podium.engine.outcome import all_failed, code_of, first_content_s, total_cost, waited_too_long
from podium.engine.slots import Slots, Spare
from podium.engine.transport import Transport
from podium.errors import LimitError, ModelsClosed, PodiumError, StoreError, StreamLeft
from podium.routing.snapshot import Plan
from podium.routing.strategies.build import build
from podium.routing.strategies.machine import (
    Abandoned,
    Action,
    Cancel,
    Commit,
    Deliver,
    Done,
    Errored,
    Expired,
    Fail,
    FirstContent,
    Launch,
    Machine,
    Rejected,
    Signal,
    View,
    Wake,
    Woke,
)
from podium.types import Attempt, Consensus, Event, Loss, Request, Response, Result, Target

_ROOM = 512
"""Events that may wait for a slow caller before the upstream is read no further."""


class Surroundings(Protocol):
    """What a run needs from the engine around it."""

    transport: Transport
    runs: set[Run]
    """The requests that have begun and not ended; closing the engine ends them."""

    def endpoint(self, target: Target) -> Endpoint:
        """Where a target is reached."""
        ...

    def provider_slots(self, provider: str) -> Slots | Spare | None:
        """The provider's slots, if it has a limit."""
        ...

    def not_before(self) -> Mapping[Target, float]:
        """Targets that asked to be left alone, and until when on the loop's clock."""
        ...

    def leave_alone(self, target: Target, seconds: float) -> None:
        """Note that a target asked to be left alone."""
        ...

    def adopt(self, task: asyncio.Task[None]) -> None:
        """Keep a task from being collected before it ends, and wait for it when the engine closes."""
        ...


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Run:
    """One request at work."""

    def __init__(
        self,
        around: Surroundings,
        plan: Plan,
        request: Request,
        *,
        request_id: str,
        time_s: float,
        bounded: bool,
        patience: Patience,
        account: Account,
        afterwards: Callable[[Run], object] | None = None,
    ) -> None:
        self._around = around
        self._plan = plan
        self._request = request
        self._time_s = time_s
        self._patience = patience
        self._bounded = bounded
        """Whether the call or its plan sets the whole time; else each provider's own timeout bounds its attempts."""
        self._streams = request.stream
        """Whether the caller takes events."""
        # Early signs of life matter where there is somebody else to ask, or a caller who reads along.
        self._upstream_streams = request.stream or (plan.strategy.name != "first" and len(plan.targets) > 1)
        self._machine: Machine = build(plan, request.output)
        self._calls: dict[int, Call] = {}
        self._ready: deque[list[Event]] = deque()
        self._waiting = 0
        self._ended = False
        self._error: BaseException | None = None
        self._committed: Call | None = None
        self._winner: Call | None = None
        self._response: Response | None = None
        self._consensus: Consensus | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._news: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._begun_at = self._ended_at = self._deadline = 0.0
        self._loop: Any = None  # the caller's, from the beginning on
        self._account = account
        self._admission = account.admission
        self._afterwards = afterwards
        self.left = False
        """Whether the caller left before the end."""
        self.request_id = request_id

    # --- the caller's side ----------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Take what limits allow, and launch what comes first. Raises `LimitError`, `StoreError`; `TimedOut` in the queue."""
        self._loop = asyncio.get_running_loop()
        self._begun_at = self._loop.time()
        self._around.runs.add(self)
        self._deadline = self._begun_at + self._time_s
        try:
            await self._enter()
        except BaseException as error:
            if self._ended:  # left while it waited
                self._admission.withdraw()
            elif isinstance(error, PodiumError):
                self._end(error)
            self._account.hand_over()
            raise
        if self._ended:
            self._admission.withdraw()
            return
        self._timers.append(self._loop.call_at(self._deadline, self._signal, Expired()))
        self._perform(self._machine.begin(self._view()))
        self._account.is_under_way = True

    async def _enter(self) -> None:
        endpoints = [self._around.endpoint(target) for target in self._plan.targets]
        admitted = self._admission.at_once(self._request, endpoints)
        if admitted is None:
            try:
                admitted = await self._admission.patiently(self._request, endpoints, self._deadline)
            except TimeoutError:
                raise waited_too_long(self._time_s, self._plan.user_id, opening=self._admission.is_opening) from None
        self._request = admitted

    async def wait(self) -> Result:
        """Begin, and wait for the end. Raises the error that the request ended with; a cancellation abandons it."""
        try:
            await self.begin()
            while not self._ended:
                await self._wait_for_news()
        except BaseException:
            self.abandon()
            raise
        return self.result()

    async def next_events(self) -> list[Event] | None:
        """The next events of the answer, or None after its last.

        Raises the error that the request ended with, and `StreamLeft` where the caller has left it.
        """
        while True:
            if self._ready:
                events = self._ready.popleft()
                self._waiting -= len(events)
                if self._waiting < _ROOM // 2:
                    self._drain()
                return events
            if self.left:
                raise StreamLeft("This stream was left before its end.", hint="Read a stream before you close it.")
            if self._ended:
                self._account.hand_over()
                if self._error is None:
                    return None
                raise self._error
            await self._wait_for_news()

    async def _wait_for_news(self) -> None:
        self._news = self._loop.create_future()
        try:
            await self._news
        finally:
            self._news = None

    def result(self) -> Result:
        """The result of a run that has ended. Raises the error that it ended with."""
        self._account.hand_over()
        if self._error is not None:
            raise self._error
        if self._response is None or self._winner is None:
            raise RuntimeError("the run has not ended")
        attempts = self.attempts()
        return Result(
            request_id=self.request_id,
            response=self._response,
            target=self._winner.target,
            reasons=self._plan.reasons,
            attempts=attempts,
            losses=self.losses,
            consensus=self._consensus,
            cost_usd=total_cost(attempts),
            duration_s=self._ended_at - self._begun_at,
            metadata=self._request.metadata,
        )

    def attempts(self) -> tuple[Attempt, ...]:
        """What was tried so far, in the order of launch."""
        return tuple(call.record(self._begun_at) for call in self._calls.values())

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What the answering call could not honour; known from its first event on."""
        call = self._winner or self._committed
        return self._admission.losses + (() if call is None else call.losses)

    @property
    def ended(self) -> bool:
        """Whether the request is over."""
        return self._ended

    def abandon(self) -> None:
        """The caller leaves: cancel everything that runs. Safe at any time and from any thread."""
        loop = self._loop
        if self._ended and not self._ready:
            return
        if loop is None:
            self._ended = self.left = True
        elif loop is _running_loop():
            self._leave()
        else:
            try:
                loop.call_soon_threadsafe(self._leave)
            except RuntimeError:  # its loop is closed, and what ran there has ended with it
                self._end_without_loop()

    def _leave(self) -> None:
        if not self._ended:
            self.left = True
            self._stop(asyncio.CancelledError())
        self._ready.clear()
        self._drain()

    def close(self) -> None:
        """The engine closes: cancel everything that runs, and tell the caller so. Call it in the run's own loop."""
        if not self._ended:
            self._stop(ModelsClosed("The Models was closed while this request ran.", hint="Close it after the last request."))
            self._drain()

    def _stop(self, error: BaseException) -> None:
        self._signal(Abandoned())
        self._end(error)

    def _end_without_loop(self) -> None:
        self._ended = self.left = True
        self._around.runs.discard(self)
        self._admission.leave()
        for call in self._calls.values():
            call.outcome = call.outcome or "cancelled"
            self._settle(call, closing=True)
        self._account.ended("cancelled", self._loop.time() - self._begun_at, list(self._calls.values()), None)

    @property
    def here(self) -> bool:
        """Whether this is the loop that it runs in."""
        return self._loop is _running_loop()

    async def settled(self) -> None:
        """Wait until every call that was launched has ended, upstream connections included."""
        tasks = [call.task for call in self._calls.values() if call.task is not None and not call.task.done()]
        if tasks:
            await asyncio.wait(tasks)

    def _drain(self) -> None:
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None

    # --- the machine's side ---------------------------------------------------------------------------------------------

    def _view(self) -> View:
        return View(now=self._loop.time(), deadline=self._deadline, draw=random.random(), not_before=self._around.not_before())

    def _signal(self, signal: Signal) -> None:
        if not self._ended:
            self._perform(self._machine.handle(signal, self._view()))

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Launch():
                    self._launch(action)
                case Commit():
                    self._commit(self._calls[action.attempt])
                case Cancel():
                    self._cancel(action)
                case Wake():
                    self._timers.append(self._loop.call_at(action.at, self._signal, Woke(action.id)))
                case Deliver():
                    self._deliver(action)
                case Fail():
                    self._consensus = action.consensus
                    self._end(error=action.error or all_failed(list(self._calls.values()), self._plan.reasons, self.attempts()))

    def _cancel(self, action: Cancel) -> None:
        call = self._calls.get(action.attempt)
        if call is not None:  # None: its launch failed, and that defect is on its way to the caller
            call.cancel(action.outcome)
            self._settle(call)

    def _launch(self, action: Launch) -> None:
        around = self._around
        endpoint = around.endpoint(action.target)
        call = Call(
            self, action.attempt, action.target, action.role, self._patience_for(endpoint), reasoning_counts=self._streams
        )
        try:
            self._account.launched(call, endpoint, streamed=self._upstream_streams)
        except (StoreError, LimitError) as error:
            # Told in a moment: the machine is still saying what it wants.
            self._loop.call_soon(self._refuse, call, error)
            self._calls[action.attempt] = call
            return
        self._calls[action.attempt] = call
        request = self._request.replace(model=endpoint.upstream, stream=self._upstream_streams)
        call.task = self._loop.create_task(
            call.perform(
                endpoint,
                around.transport,
                request,
                streamed=self._upstream_streams,
                slots=around.provider_slots(action.target.provider),
                group=self._plan.user_id or "",
                before_sending=self._account.hand_over,
            )
        )
        around.adopt(call.task)

    def _refuse(self, call: Call, error: PodiumError) -> None:
        if call.outcome is None:
            call.refuse(error)
            self.on_error(call, error, sent=False)

    def _settle(self, call: Call, *, closing: bool = False) -> None:
        if not call.settled:
            call.settled = True
            self._account.settled(call, self._begun_at, closing=closing)

    def _patience_for(self, endpoint: Endpoint) -> Patience:
        """The patience for the next attempt: a fallback keeps time for the targets that come after it."""
        patience = self._patience
        changes: dict[str, Any] = {}
        if self._plan.strategy.name == "fallback":
            asked = {call.target for call in self._calls.values()}
            left = sum(target not in asked for target in self._plan.targets)
            if left > 1:
                share = (self._deadline - self._loop.time()) / left
                changes["first_event_s"] = min(patience.first_event_s, share)
        if not self._bounded and endpoint.provider.timeout_s is not None:
            changes["whole_s"] = endpoint.provider.timeout_s
        return patience.replace(**changes) if changes else patience

    def _commit(self, call: Call) -> None:
        self._committed = call
        self._hand_over(call)

    def _deliver(self, action: Deliver) -> None:
        call = self._calls[action.attempt]
        self._consensus = action.consensus
        self._hand_over(call)
        self._win(call, action.response)

    def _win(self, call: Call, response: Response) -> None:
        call.outcome = "won"
        self._winner = call
        self._response = response
        self._end(error=None)

    def _hand_over(self, call: Call) -> None:
        if self._streams and call.pending:
            self._pass_on(call.pending)
        call.pending = []

    def _pass_on(self, events: list[Event]) -> None:
        self._ready.append(events)
        self._waiting += len(events)
        self._tell()

    def _end(self, error: BaseException | None) -> None:
        """End the run. Nothing may run on: what the machine forgot would be a leak, so it is cancelled here too."""
        self._ended = True
        self._error = error
        self._around.runs.discard(self)
        self._ended_at = self._loop.time()
        for timer in self._timers:
            timer.cancel()
        self._admission.leave()
        try:
            self._put_on_record("ok" if error is None else code_of(error))
        finally:  # a defect there is the caller's to hear (`on_defect`), and never something to wait for
            self._tell()
        if isinstance(error, PodiumError):
            error.attempts = self.attempts()
        if error is None and self._afterwards is not None:
            self._loop.call_soon(self._afterwards, self)  # after the caller, who was told just now

    def _put_on_record(self, outcome: str) -> None:
        calls = list(self._calls.values())
        for call in calls:
            if call.running:
                call.cancel("cancelled")
            if call is not self._winner and call.outcome is None:
                call.outcome = "answered"
            self._settle(call, closing=True)
        first_s = first_content_s(self._winner, self._begun_at) if self._streams else None
        self._account.ended(outcome, self._ended_at - self._begun_at, calls, self._winner, first_s)

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # --- the calls' side ------------------------------------------------------------------------------------------------

    def on_events(self, call: Call, events: list[Event], content: bool) -> None:
        """Take a call's events: pass them on, or keep them with the call."""
        if self._ended:
            return
        if self._streams:
            if call is self._committed:
                self._pass_on(events)
            else:
                call.pending += events
        if content and self._committed is None:
            self._signal(FirstContent(call.number))

    def on_done(self, call: Call, response: Response) -> None:
        """A call's answer is whole."""
        self._signal(Done(call.number, response))
        if call is self._committed and not self._ended:
            self._win(call, response)

    def on_error(self, call: Call, error: PodiumError, *, sent: bool) -> None:
        """A call failed."""
        self._settle(call)
        if error.retry_after_s is not None and sent:
            self._around.leave_alone(call.target, error.retry_after_s)
        self._signal(Errored(call.number, error) if sent else Rejected(call.number, error))

    def on_cut(self, call: Call) -> None:
        """The loop is being taken down; without its call the request would wait for nothing."""
        self.close()

    def on_defect(self, call: Call, error: BaseException) -> None:
        """Podium failed: the caller gets the exception as it is."""
        if not self._ended:
            self._end(error=error)
        elif self._error is None:
            self._error = error

    async def room(self, call: Call) -> None:
        """Wait until a slow caller has taken what is there."""
        if call is self._committed and self._waiting >= _ROOM and self._streams and not self._ended:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)
