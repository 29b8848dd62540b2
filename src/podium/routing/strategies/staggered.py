"""The strategies with one winner: `first`, `fallback`, `race`.

Theory. All three start targets in order, one after another, and differ in when the next one starts: never (`first`), after an
error of the one before (`fallback`), or at once (`race`). A race whose next target starts after a delay, if no answer has begun
by then, is a hedged race (Dean & Barroso, "The Tail at Scale"; gRPC A6): the same machine with `delay_s`. The first content
decides: that attempt is the answer, and all others are cancelled.

Rules.
- A target that asked to be left alone (`View.not_before`) is passed over while another is free; the rest keep their order.
  Where no other is left, it is waited for if its time comes before the deadline.
- An error moves on where it says so (`moves_on`), or where its code is in `fallback_on`. One that does not (an invalid request,
  a refusal: another target would say the same) keeps all targets that were not yet asked from being asked; what runs goes on.
- A target is retried after a retryable error, at most `retries` times in a row, and only where no other target runs or may
  start before the retry could.
- An answer that ends without content is an answer.
- After the commit, an error ends the request: answers are never spliced.
- A request over one target fails with its last error, and so does a fallback that may not move on; else all targets failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from podium.errors import PodiumError
from podium.routing.strategies.machine import (
    Abandoned,
    Action,
    Cancel,
    Commit,
    Done,
    Errored,
    Fail,
    FirstContent,
    Launch,
    Rejected,
    Signal,
    View,
    Wake,
    Woke,
)
from podium.routing.strategies.waits import free_at, retry_at, timed_out, too_late
from podium.types import Outcome, Target

Mode = Literal["first", "fallback", "race"]


class Staggered:
    """A request that is answered by the first of its targets that begins to answer.

    `targets` are the usable ones in order (`first` asks only the first of them), `retries` those of a target, `fallback_on` the
    error codes after which a fallback moves on (None: those whose error says so), `delay_s` the seconds between the launches
    of a race (0: all at once).
    """

    __slots__ = (
        "_began_at",
        "_committed",
        "_delay_s",
        "_ended",
        "_error",
        "_fallback_on",
        "_launched",
        "_left",
        "_mode",
        "_repeated",
        "_retries",
        "_retry",
        "_retry_at",
        "_running",
        "_tried",
        "_wake",
    )

    def __init__(
        self,
        targets: Sequence[Target],
        mode: Mode = "first",
        *,
        retries: int = 2,
        fallback_on: tuple[str, ...] | None = None,
        delay_s: float = 0.0,
    ) -> None:
        self._left = list(targets[:1] if mode == "first" else targets)
        self._mode = mode
        self._retries = retries
        self._fallback_on = fallback_on
        self._delay_s = delay_s
        self._running: dict[int, Target] = {}
        self._committed = 0
        self._launched = 0
        self._tried = 0
        self._repeated = 0
        self._retry: Target | None = None
        self._retry_at = 0.0
        self._wake = 0
        self._error: PodiumError | None = None
        self._began_at = 0.0
        self._ended = False

    def begin(self, view: View) -> list[Action]:
        """Return the first actions."""
        self._began_at = view.now
        return self._go_on(view)

    def handle(self, signal: Signal, view: View) -> list[Action]:
        """Take a signal and return what to do about it."""
        if self._ended:
            return []
        if isinstance(signal, FirstContent):
            return self._commit(signal.attempt)
        if isinstance(signal, Done):
            actions = self._commit(signal.attempt)
            self._ended = signal.attempt == self._committed
            return actions
        if isinstance(signal, Errored | Rejected):
            return self._failed(signal.attempt, signal.error, view)
        if isinstance(signal, Woke):
            return self._go_on(view) if signal.id == self._wake and not self._committed else []
        self._ended = True
        if isinstance(signal, Abandoned):
            return self._cancel_all("cancelled")
        return self._expired(view)

    def _commit(self, attempt: int) -> list[Action]:
        if self._committed or attempt not in self._running:
            return []
        self._committed = attempt
        actions: list[Action] = [Commit(attempt=attempt)]
        if len(self._running) > 1:
            winner = self._running.pop(attempt)
            actions += self._cancel_all("lost")
            self._running[attempt] = winner
        return actions

    def _cancel_all(self, outcome: Outcome) -> list[Action]:
        actions: list[Action] = [Cancel(attempt=attempt, outcome=outcome) for attempt in self._running]
        self._running.clear()
        return actions

    def _failed(self, attempt: int, error: PodiumError, view: View) -> list[Action]:
        target = self._running.pop(attempt, None)
        if target is None:
            return []
        self._error = error
        if self._committed:
            self._ended = True
            return [Fail(error=error)]
        if not self._moves_on(error):
            self._left.clear()
        # Only the target that failed last is a candidate: with another running, or one left to ask, no retry is spent.
        if target != self._retry:
            self._retry, self._repeated = target, 0
        can_retry = error.retryable and self._repeated < self._retries
        self._retry_at = retry_at(target, error, self._repeated, view) if can_retry else view.deadline
        return self._go_on(view)

    def _moves_on(self, error: PodiumError) -> bool:
        return error.moves_on if self._fallback_on is None else bool({error.code, type(error).code} & set(self._fallback_on))

    def _go_on(self, view: View) -> list[Action]:
        """Launch what may start now; where nothing runs then, wait for what may start in time, else end."""
        actions = self._launch_free(view)
        if actions or self._running:
            return actions
        soonest = view.deadline
        if self._retry is not None:
            soonest = max(self._retry_at, free_at(self._retry, view))
            if soonest <= view.now < view.deadline:
                self._repeated += 1
                return [self._launch(self._retry)]
        if self._left:
            soonest = min(soonest, min(free_at(target, view) for target in self._left))
        return [self._wake_at(soonest)] if soonest < view.deadline else [self._end(view)]

    def _launch_free(self, view: View) -> list[Action]:
        """Launch the first target that is free, in a race without delays every one."""
        left = self._left
        if not left:
            return []
        one = self._mode != "race" or self._delay_s > 0.0
        actions: list[Action] = []
        if one and not view.not_before:
            self._tried += 1
            actions.append(self._launch(left.pop(0)))
        else:
            kept = []
            for target in left:
                if (one and actions) or free_at(target, view) > view.now:
                    kept.append(target)
                else:
                    self._tried += 1
                    actions.append(self._launch(target))
            self._left = left = kept
        if left and actions and self._mode == "race" and self._delay_s > 0.0:
            actions.append(self._wake_at(view.now + self._delay_s))
        return actions

    def _launch(self, target: Target) -> Launch:
        self._launched += 1
        self._running[self._launched] = target
        return Launch(attempt=self._launched, target=target)

    def _wake_at(self, at: float) -> Wake:
        self._wake += 1
        return Wake(id=self._wake, at=at)

    def _end(self, view: View) -> Fail:
        """Fail with the one error there is, or with all of them."""
        self._ended = True
        error = self._error
        if error is None:
            return Fail(error=too_late(self._left, view) if self._left else None)
        stopped = self._mode == "fallback" and not self._moves_on(error)
        return Fail(error=error if stopped or self._tried == 1 else None)

    def _expired(self, view: View) -> list[Action]:
        names = ", ".join(map(str, self._running.values()))
        if self._committed:
            state = f"the answer of {names} was not whole"
        elif names:
            state = f"no answer had begun ({names})"
        else:
            state = "no target could be asked again yet"
        if self._error is not None and not self._committed:
            state += f", after this error: {self._error.message.rstrip('.')}"
        return [*self._cancel_all("failed"), Fail(error=timed_out(state, self._began_at, view))]
