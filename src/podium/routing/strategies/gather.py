"""The strategy `consensus`: ask all targets, judge their answers, deliver one.

Theory. Several models are asked the same, and the answer that most of them give is taken (self-consistency, arXiv 2203.11171);
it is worth as much as their errors are independent. What would take longer or cost more without changing
the answer is not done: once the answers still out can change nothing, their attempts are cancelled.

Rules.
- All targets are launched at once. One that asked to be left alone is launched when its time comes, if that is before the
  deadline. A retryable error is retried at the same target, `retries` times, also while others run: every voice counts.
- It ends when nothing is out, or when what is out can change neither the winner, nor its quorum, nor whether enough came.
- Fewer than `min_answers`: an error, or with `on_insufficient: best` the top answer there is, with `sufficient` false.
- No quorum: `escalate` asks `escalate_to` and delivers its answer, `plurality` delivers the top answer with `quorum_met` false,
  `error` fails. Where the escalation fails too, or no time is left for it, it is the plurality.
- Where the whole time is over, what came is judged as if nothing else were out.
- The answer delivered is that of the first declared target in the winning cluster, as it came.
"""

from __future__ import annotations

from collections.abc import Sequence

from podium.errors import InsufficientAnswers, NoQuorum, PodiumError
from podium.routing.snapshot import Strategy
from podium.routing.strategies.judges import NO_RULES, NoVote, read
from podium.routing.strategies.machine import (
    Abandoned,
    Action,
    Cancel,
    Deliver,
    Done,
    Errored,
    Expired,
    Fail,
    Launch,
    Rejected,
    Signal,
    View,
    Wake,
    Woke,
)
from podium.routing.strategies.panel import Panel, Verdict
from podium.routing.strategies.waits import free_at, retry_at, timed_out, too_late
from podium.types import Considered, Outcome, Output, Response, Target


class Gather:
    """A request that all targets answer, and a judge.

    `skipped` are the plan's targets that cannot be asked: they count as configured. `output` is the form that the request
    asked for.

    Raises `ConfigError` where the strategy's answer pattern is no regular expression.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        strategy: Strategy,
        *,
        skipped: Sequence[Considered] = (),
        output: Output | None = None,
    ) -> None:
        self._targets = list(targets)
        self._strategy = strategy
        self._panel = Panel(targets, strategy, skipped=skipped, output=output)
        self._running: dict[int, int] = {}
        """From attempt to place."""
        self._waiting: dict[int, int] = {}
        """From wake to place."""
        self._answered: dict[int, int] = {}
        """From place to the attempt that answered."""
        self._retried = [0] * (len(self._targets) + 1)
        self._launched = 0
        self._woken = 0
        self._errors: list[PodiumError] = []
        self._verdict: Verdict | None = None
        """What was found before the escalation."""
        self._stopped_early = False
        self._began_at = 0.0
        self._ended = False

    def begin(self, view: View) -> list[Action]:
        """Return the first actions."""
        self._began_at = view.now
        actions: list[Action] = []
        for place in range(len(self._targets)):
            actions += self._ask(place, free_at(self._targets[place], view), view)
        return actions + self._go_on(view)

    def handle(self, signal: Signal, view: View) -> list[Action]:
        """Take a signal and return what to do about it."""
        if self._ended:
            return []
        if isinstance(signal, Done):
            return self._done(signal.attempt, signal.response, view)
        if isinstance(signal, Errored | Rejected):
            return self._failed(signal.attempt, signal.error, view)
        if isinstance(signal, Woke):
            place = self._waiting.pop(signal.id, None)
            if place is None:
                return []
            # Another request may have been told to stay away meanwhile.
            actions = self._ask(place, free_at(self._targets[place], view), view)
            return actions or self._go_on(view)
        if isinstance(signal, Abandoned):
            self._ended = True
            return self._cancel_all("cancelled")
        return self._expired(view) if isinstance(signal, Expired) else []

    def _ask(self, place: int, at: float, view: View) -> list[Action]:
        """Launch a place, wait until it may be launched, or note that this would be too late."""
        target = self._targets[place]
        if at <= view.now:
            self._launched += 1
            self._running[self._launched] = place
            role = "answer" if place < self._panel.n_targets else "escalation"
            return [Launch(attempt=self._launched, target=target, role=role)]
        if at < view.deadline:
            self._woken += 1
            self._waiting[self._woken] = place
            return [Wake(id=self._woken, at=at)]
        self._note(place, too_late((target,), view))
        return []

    def _note(self, place: int, error: PodiumError) -> None:
        self._errors.append(error)
        self._panel.add_failure(place, self._targets[place], error.message.rstrip("."))

    def _cancel_all(self, outcome: Outcome) -> list[Action]:
        actions: list[Action] = [Cancel(attempt=attempt, outcome=outcome) for attempt in self._running]
        self._running.clear()
        self._waiting.clear()
        return actions

    def _done(self, attempt: int, response: Response, view: View) -> list[Action]:
        place = self._running.pop(attempt, None)
        if place is None:
            return []
        if self._verdict is not None:
            return self._escalated(attempt, place, response)
        self._answered[place] = attempt
        self._panel.add(place, response)
        return self._go_on(view)

    def _failed(self, attempt: int, error: PodiumError, view: View) -> list[Action]:
        place = self._running.pop(attempt, None)
        if place is None:
            return []
        retried = self._retried[place]
        if error.retryable and retried < self._strategy.retries:
            at = retry_at(self._targets[place], error, retried, view)
            if at < view.deadline:
                self._retried[place] += 1
                return self._ask(place, at, view)
        self._note(place, error)
        return self._go_on(view)

    def _go_on(self, view: View) -> list[Action]:
        """End as soon as nothing that is out can change what will be said."""
        out = {*self._running.values(), *self._waiting.values()}
        if self._verdict is not None:
            return [] if out else self._deliver(self._verdict)
        hopeless = self._strategy.on_insufficient == "error" and self._panel.hopeless(out)
        if not hopeless and not self._panel.certain(out):
            return []
        self._stopped_early = bool(out)
        return self._cancel_all("lost") + self._conclude(view, may_escalate=True)

    def _conclude(self, view: View, *, may_escalate: bool) -> list[Action]:
        """Judge the answers, and deliver one, ask one target more, or fail."""
        strategy = self._strategy
        verdict = self._panel.verdict()
        sufficient = len(verdict.votes) >= strategy.min_answers
        if not verdict.votes or (not sufficient and strategy.on_insufficient == "error"):
            return [self._fail(self._insufficient(verdict), verdict)]
        if verdict.quorum_met or not sufficient:
            return self._deliver(verdict)
        if strategy.on_disagree == "error":
            return [self._fail(self._no_quorum(verdict), verdict)]
        if strategy.escalate_to is None or strategy.on_disagree == "plurality" or not may_escalate:
            return self._deliver(verdict)
        self._verdict = verdict
        self._targets.append(strategy.escalate_to)
        actions = self._ask(self._panel.n_targets, free_at(strategy.escalate_to, view), view)
        return actions or self._deliver(verdict)

    def _deliver(self, verdict: Verdict) -> list[Action]:
        self._ended = True
        place = verdict.clusters[0][0]
        consensus = self._panel.consensus(verdict, stopped_early=self._stopped_early)
        return [Deliver(attempt=self._answered[place], response=self._panel.responses[place], consensus=consensus)]

    def _escalated(self, attempt: int, place: int, response: Response) -> list[Action]:
        """Deliver what the escalation answered, or, where that is no answer, the plurality."""
        assert self._verdict is not None
        target = self._targets[place]
        try:
            read("exact", response, NO_RULES)
        except NoVote as reason:
            self._panel.add_failure(place, target, str(reason))
            return self._deliver(self._verdict)
        self._ended = True
        consensus = self._panel.consensus(self._verdict, stopped_early=self._stopped_early, escalated_to=target)
        return [Deliver(attempt=attempt, response=response, consensus=consensus)]

    def _fail(self, error: PodiumError | None, verdict: Verdict) -> Fail:
        self._ended = True
        return Fail(error=error, consensus=self._panel.consensus(verdict, stopped_early=self._stopped_early))

    def _expired(self, view: View) -> list[Action]:
        out = sorted({*self._running.values(), *self._waiting.values()})
        for place in out:
            self._panel.add_failure(place, self._targets[place], "it gave no answer in the time of the request")
        actions = self._cancel_all("failed")
        if self._verdict is not None:
            return actions + self._deliver(self._verdict)
        verdict = self._panel.verdict()
        if len(verdict.votes) >= self._strategy.min_answers or (verdict.votes and self._strategy.on_insufficient == "best"):
            return actions + self._conclude(view, may_escalate=False)
        names = ", ".join(str(self._targets[place]) for place in out)
        state = f"{len(verdict.votes)} of at least {self._strategy.min_answers} answers had come (without {names})"
        return [*actions, self._fail(timed_out(state, self._began_at, view), verdict)]

    def _insufficient(self, verdict: Verdict) -> PodiumError | None:
        """Return the error for too few answers: None, which means that all attempts failed, where not one came."""
        if not self._panel.responses and not self._stopped_early:
            return None if self._launched or not self._errors else self._errors[0]
        return InsufficientAnswers(
            f"Of {self._panel.n_configured} targets, at least {max(1, self._strategy.min_answers)} had to answer, and "
            f"{len(verdict.votes)} did: {self._panel.list_errors(verdict)}.",
            hint="Set `on_insufficient: best` or a lower `min_answers`, or add targets to the consensus.",
        )

    def _no_quorum(self, verdict: Verdict) -> NoQuorum:
        return NoQuorum(
            f"Of {self._panel.n_configured} targets, {self._panel.quorum} had to give the same answer, and at most "
            f"{len(verdict.clusters[0])} did; {len(verdict.votes)} answered, in {len(verdict.clusters)} ways.",
            hint="Set `on_disagree` to `plurality` or `escalate`, or a lower `quorum`, or judge fewer `fields`.",
        )
