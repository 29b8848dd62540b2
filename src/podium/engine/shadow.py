"""Shadows at work: after an answer, the other arm is asked the same in the background, and the two answers are compared.

Theory. What a caller gets is over and done with when its shadow begins. So the shadow is a request of its own on the loop of
background work (`Aside`): with its own id, its own entry and its own money, and whatever happens to it is a count.

Rules.
- Only answered calls are shadowed, with the request as it was written: not streamed, no automatic tier, no rollout again.
- Each that was drawn is either skipped, for one reason, or sent; each that was sent has failed, was cut off, or was compared:
  the same, different, or not comparable. These add up over processes, through the store of rollouts.
- It takes a provider's slot only while nobody else needs it, and is cut off when somebody does.
- What it can cost at most is reserved before it is sent, out of the rollout's own budget; what does not fit is skipped. It
  takes nothing from the limits and slots of the user, whose own keys never pay for it.
- A rollout at 0 % is shadowed; one that is disabled, or whose state cannot be known, is not.
- Nothing is executed: tool calls are compared, and never made.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from podium.engine.account import Account
from podium.engine.around import Around
from podium.engine.functions import answer_of
from podium.engine.rollout.choice import Choice
from podium.engine.runner import Run
from podium.engine.sides import Outcome, log, of_answer, of_failure, of_result
from podium.engine.slots import Spare
from podium.engine.text import load_request
from podium.errors import (
    AllTargetsFailed,
    BudgetExceeded,
    CostTooHigh,
    LimitError,
    PodiumError,
    RequestError,
    StoreError,
)
from podium.ledger import pico_usd
from podium.routing.compare import SideName
from podium.routing.compare import compare as compare_answers
from podium.routing.rollout import Arm
from podium.routing.shadow import Unfit, brings_a_key, budget, drawn, entered_as, other, unfit
from podium.routing.snapshot import Plan
from podium.routing.spec import quote
from podium.types import Request, Result

if TYPE_CHECKING:
    from podium.engine.models import Models

Skipped = (
    Unfit
    | Literal["disabled", "down", "no_target", "own_key", "untracked", "budget", "cost_unknown", "store_lost", "busy", "closed"]
)
"""Why a shadow was not sent."""
_SIDES: dict[Arm, SideName] = {"candidate": "new", "legacy": "old"}
_SHORT_S = 1.0
"""How long nobody asks again for money that was not there: each time asks the other processes too."""
_US = _PPM = 1_000_000
_log = logging.getLogger("podium.rollouts")


Legacy = Callable[[], Coroutine[Any, Any, Any]]
"""Asks a function of the legacy system."""


class Asked(NamedTuple):
    """A call that was answered, as its caller wrote it."""

    choice: Choice
    spec: str | None
    user_id: str | None
    experiment: str | None
    request_id: str
    timeout: float | str | None
    request: Request

    def answered_by(self, result: Result) -> Outcome:
        """The caller's side of the comparison."""
        return of_result(_SIDES[self.choice.arm], self.choice.spec or self.spec, result)


class _Made(NamedTuple):
    """A request to the other arm, and the slots that it holds."""

    run: Run
    spares: list[Spare]


class Shadows:
    """What shadows the calls of a `Models`, where its config says so."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._shadows = models.snapshot.shadows
        self._short_until: dict[str, float] = {}
        self._running: tuple[asyncio.AbstractEventLoop | None, Counter[str]] = (None, Counter())

    # --- in the caller's loop or thread ---------------------------------------------------------------------------------

    def _draws(self, choice: Choice, request_id: str) -> bool:
        shadow = self._shadows.get(choice.rollout)
        return shadow is not None and choice.shadowed and drawn(choice.rollout, shadow, request_id)

    def after(
        self,
        choice: Choice | None,
        request_id: str,
        spec: str | None,
        user_id: str | None,
        experiment: str | None,
        timeout: float | str | None,
        request: Request,
    ) -> Callable[[Run], object] | None:
        """Return what is to be called when a governed call was answered; None: it is not shadowed."""
        if choice is None or not self._draws(choice, request_id):
            return None
        call = Asked(choice, spec, user_id, experiment, request_id, timeout, request)
        return lambda run: self._begin(call, lambda: call.answered_by(run.result()))

    def after_function(
        self, choice: Choice, request_id: str, spec: str | None, ask: Mapping[str, Any], answer: Any, duration_s: float
    ) -> None:
        """Shadow a call that a function of the legacy system has answered; `ask` is what it was asked with."""
        call = self._load(choice, request_id, spec, ask)
        if call is not None:
            self._begin(call, partial(of_answer, "old", "legacy", answer, duration_s, request_id=request_id))

    def after_candidate(self, choice: Choice, spec: str, ask: Mapping[str, Any], result: Result, legacy: Legacy) -> None:
        """Shadow a call that the candidate has answered with a function of the legacy system, `legacy`."""
        call = self._load(choice, result.request_id, spec, ask)
        if call is not None:
            self._begin(call, partial(call.answered_by, result), legacy)

    def _load(self, choice: Choice, request_id: str, spec: str | None, ask: Mapping[str, Any]) -> Asked | None:
        """Read what a function was asked with, where it is to be shadowed and can be."""
        if not self._draws(choice, request_id):
            return None
        try:
            request = load_request(spec or "", {name: value for name, value in ask.items() if name != "metadata"}, stream=False)
        except RequestError as error:
            _log.info("Rollout %s: a call of its legacy function cannot be shadowed: %s", choice.rollout, error.message)
            self._skip(choice.rollout, "no_target")
            return None
        return Asked(choice, spec, choice.asker.user_id, None, request_id, None, request)

    def _begin(self, asked: Asked, answered: Callable[[], Outcome], legacy: Legacy | None = None) -> None:
        """Begin a shadow in the background; `legacy`: ask that function rather than a spec."""
        name = asked.choice.rollout
        reason = unfit(asked.request)
        if reason is not None:
            self._skip(name, reason)
            return
        skip = partial(self._skip, name, "closed")
        work = (self._perform, asked, answered, legacy)
        if not self._models._aside.begin(*work, name=f"shadow of {asked.request_id}", dropped=skip):
            self._skip(name, "busy")

    # --- in the background loop -----------------------------------------------------------------------------------------

    async def _perform(self, asked: Asked, answered: Callable[[], Outcome], legacy: Legacy | None) -> None:
        name = asked.choice.rollout
        running = self._here()
        if running[name] >= self._shadows[name].max_concurrent:
            self._skip(name, "busy")
            return
        running[name] += 1
        try:
            made = self._hindrance(asked) or legacy or self._make(asked)
            if isinstance(made, str):
                self._skip(name, made)
            elif isinstance(made, _Made):
                try:
                    await self._ask(asked, made.run, answered)
                finally:
                    for spare in made.spares:
                        spare.release()
            else:
                await self._ask_legacy(asked, made, answered)
        finally:
            running[name] -= 1

    def _here(self) -> Counter[str]:
        """How many shadows of each rollout run in this loop: a process that was forked off has a loop of its own."""
        loop = asyncio.get_running_loop()
        if self._running[0] is not loop:
            self._running = (loop, Counter())
        return self._running[1]

    def _stands(self, name: str) -> bool:
        """Whether the rollout is known to be enabled."""
        rollouts = self._models.rollouts
        rollout = rollouts.last_known().get(name)
        return rollout is not None and rollout.enabled and not rollouts.is_stale

    def _hindrance(self, asked: Asked) -> Skipped | None:
        if not self._stands(asked.choice.rollout):
            return "disabled"
        if asked.choice.arm == "legacy" and self._is_down(asked.choice.rollout):
            return "down"
        if time.monotonic() < self._short_until.get(asked.choice.rollout, 0.0):
            return "budget"
        return "untracked" if self._is_untracked(asked.user_id) else None

    def _is_down(self, name: str) -> bool:
        """Whether a breaker keeps callers away from the candidate just now: shadows would only be in its way."""
        rollouts = self._models.rollouts
        return rollouts.ramps.hearing.is_down(rollouts.last_known()[name], asks=False)

    def _is_untracked(self, user_id: str | None) -> bool:
        user = self._models.snapshot.users.get(user_id or "")
        return user is not None and user.performance_tracking is False

    def _make(self, asked: Asked) -> _Made | Skipped:
        """Make the request to the other arm, or say why not."""
        choice, models = asked.choice, self._models
        state, arm = models._state, other(choice.arm)
        why = f"Rollout {quote(choice.rollout)} asks its {arm} arm too: a shadow of request {asked.request_id}."
        mine = choice.replace(arm=arm, spec=choice.other, why=why)
        try:
            plan, _ = models._plan(state, asked.spec, asked.user_id, asked.experiment, False, None, mine)
        except PodiumError as error:
            _log.info("Rollout %s: its %s arm cannot be asked for a shadow: %s", choice.rollout, arm, error.message)
            return "no_target"
        user = state.snapshot.users.get(plan.user_id or "")
        if brings_a_key(user, [target.provider for target in plan.targets]):
            return "own_key"
        if self._is_untracked(plan.user_id):
            return "untracked"
        around = Around(models._shared, state, plan)
        run = self._run(asked, around, plan, arm)
        spares = around.take_spares([target.provider for target in plan.targets], run.abandon)
        return "busy" if spares is None else _Made(run, spares)

    def _run(self, asked: Asked, around: Around, plan: Plan, arm: Arm) -> Run:
        models, name, request_id = self._models, asked.choice.rollout, f"{asked.request_id}.shadow"
        state = models._state
        entered = plan.replace(user_id=None, arm=entered_as(arm))
        request = asked.request.replace(stream=False)
        limit = budget(name, self._shadows[name])
        nobodys = request.replace(metadata={})
        holds = partial(self._stands, name)
        return Run(
            around,
            plan,
            request,
            request_id=request_id,
            time_s=models._time_s(plan, asked.timeout, state.snapshot),
            bounded=asked.timeout is not None or plan.timeout_s is not None,
            patience=models._patience,
            account=Account(models._books, state.snapshot, entered, nobodys, request_id, holds, budget=limit),
        )

    async def _ask(self, asked: Asked, run: Run, answered: Callable[[], Outcome]) -> None:
        """Ask the other arm, and count what came of it."""
        name, arm = asked.choice.rollout, other(asked.choice.arm)
        side, spec = _SIDES[arm], asked.choice.other or asked.spec
        began = time.perf_counter()
        try:
            theirs = of_result(side, spec, await run.wait())
        except asyncio.CancelledError:
            cancelled = _is_cancelled()
            if _is_sent(run):
                self._sent(name, run, cut_off=1)
            else:
                self._skip(name, "closed" if cancelled else "busy")
            if cancelled:
                raise
            return  # it gave way
        except PodiumError as error:
            if not _is_sent(run) and isinstance(error, LimitError | StoreError | AllTargetsFailed):
                self._skip(name, why := _why(error))
                if why == "budget":
                    self._short_until[name] = time.monotonic() + _SHORT_S
                return
            facts = (side, spec, error.code, str(error), time.perf_counter() - began)
            theirs = of_failure(*facts, attempts=run.attempts(), request_id=run.request_id)
        await self._compare(asked, run, theirs, answered())

    async def _ask_legacy(self, asked: Asked, legacy: Legacy, answered: Callable[[], Outcome]) -> None:
        """Ask a function of the legacy system, and count what came of it; what it costs is not Podium's to know."""
        began = time.perf_counter()
        try:
            theirs = of_answer("old", "legacy", await answer_of(legacy()), time.perf_counter() - began)
        except asyncio.CancelledError:
            self._sent(asked.choice.rollout, None, cut_off=1)
            raise
        except PodiumError as error:
            theirs = of_failure("old", "legacy", error.code, str(error), time.perf_counter() - began)
        await self._compare(asked, None, theirs, answered())

    async def _compare(self, asked: Asked, run: Run | None, theirs: Outcome, ours: Outcome) -> None:
        name = asked.choice.rollout
        new, old = (theirs, ours) if theirs[0].side == "new" else (ours, theirs)
        try:
            comparison = await asyncio.to_thread(compare_answers, new, old, output=asked.request.output, detailed=False)
        except asyncio.CancelledError:
            self._sent(name, run, cut_off=1)
            raise
        log(comparison, of=f"shadow of rollout {name}")
        if theirs[1] is None:
            self._sent(name, run, failed=1)
            return
        verdict = {True: "same", False: "different", None: "not_compared"}[comparison.same]
        took = {"timed": 1, "answer_us": round(ours[0].duration_s * _US), "shadow_us": round(theirs[0].duration_s * _US)}
        alike = {} if comparison.similarity is None else {"likened": 1, "alike_ppm": round(comparison.similarity * _PPM)}
        self._sent(name, run, **{verdict: 1}, **took, **alike)

    # --- counting -------------------------------------------------------------------------------------------------------

    def _sent(self, name: str, run: Run | None, **counts: int) -> None:
        """Count a shadow that was sent, with what it cost; no run: a function was asked."""
        attempts = () if run is None else run.attempts()
        costs = [attempt.cost_usd for attempt in attempts if attempt.outcome != "rejected"]
        spent = sum(pico_usd(cost) or 0 for cost in costs)
        unpriced = sum(cost is None for cost in costs)
        self._count(name, {"sent": 1, "spent_pico": spent, "unpriced": unpriced, **counts})

    def _skip(self, name: str, reason: Skipped) -> None:
        self._count(name, {f"skipped_{reason}": 1})

    def _count(self, name: str, counts: Mapping[str, int]) -> None:
        for what, amount in counts.items():
            if amount:
                self._models.rollouts.counts.add(name, f"shadow:{what}", amount)


def _is_sent(run: Run) -> bool:
    """Whether some attempt went out."""
    return any(attempt.outcome != "rejected" for attempt in run.attempts())


def _is_cancelled() -> bool:
    """Whether this task was cancelled, and not only what it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _why(error: PodiumError) -> Skipped:
    """Why a shadow was not let through."""
    if isinstance(error, StoreError):
        return "store_lost"
    if isinstance(error, BudgetExceeded | CostTooHigh):
        return "cost_unknown" if error.code == "cost_unknown" else "budget"
    return "busy"
