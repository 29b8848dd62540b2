"""The guide's wrapper: one call site that answers by the legacy system or by Podium, as a rollout says.

Theory. A system that moves over has a function that makes models (`getLanguageModel` in the guide), or functions that ask
them. `Gradual` stands before the first kind, `migration` before the second; both ask the rollout and call a side.

Rules.
- The legacy side is called as it always was: with its own names, its own arguments, and nothing of Podium's around it. What it
  returns or raises reaches the caller as it is; an async function's awaitable too.
- The candidate's spec is the rollout's; where its `match` names specs and not what was asked for, what was asked for. Both are
  taken as written, and so is a legacy side that is a spec.
- An arm is chosen and counted when a model is made. Calls end as they began, but a rollback reaches models made before it too:
  at its next call one that took the candidate goes to legacy where that is a spec; where it is a function, whose models it
  cannot become, it raises.
- A shadow of what a legacy function answered asks the candidate. The other way round the legacy side is asked in the background
  only by `Gradual.generate_text`: it was given for that.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from podium.engine.functions import called
from podium.engine.language_model import LanguageModel, fresh_id
from podium.engine.rollout.choice import Choice
from podium.engine.stream import TextStream
from podium.engine.text import Ask, check_caller, load_metadata
from podium.errors import LimitError, PodiumError, RequestError
from podium.routing.spec import quote
from podium.types import Reasons, Result

if TYPE_CHECKING:
    from podium.engine.models import Models

Legacy = Callable[[str], Any] | str
"""What makes the legacy system's models by their names, sync or async; or a spec."""


class ArmModel(LanguageModel):
    """A `LanguageModel` whose arm is chosen: each of its calls takes it, and is put on record with it.

    Raises `LimitError` at a call when its rollout was taken back, and legacy is a function.
    """

    __slots__ = ("choice", "legacy")

    def __init__(self, models: Models, spec: str | None, choice: Choice, legacy: str | None, **caller: Any) -> None:
        super().__init__(models, spec, **caller)
        self.choice = choice
        self.legacy = legacy
        """The spec of the legacy side; None: it is a function."""

    async def generate(self, *, timeout: float | str | None = None, **ask: Unpack[Ask]) -> Result:
        """Ask, and wait for the whole answer; see `Models.generate_text`."""
        result: Result = await self._run(timeout, ask, stream=False)[0].wait()
        return result

    def stream(self, *, timeout: float | str | None = None, **ask: Unpack[Ask]) -> TextStream:
        """Ask, and return the answer as it comes; see `Models.stream_text`."""
        run, plan = self._run(timeout, ask, stream=True)
        return TextStream(run, plan.reasons)

    def explain(self) -> Reasons:
        """Say what this model means now and why, without a request."""
        models, choice = self.models, self._choice_now()
        return models._plan(models._state, self.spec, self.user_id, self.experiment, False, None, choice)[0].reasons

    def _run(self, timeout: float | str | None, ask: Any, *, stream: bool) -> Any:
        caller = (self.spec, self.user_id, self.experiment, self._next_id(), False)
        return self.models._run(*caller, timeout, ask, stream=stream, choice=self._choice_now())

    def _choice_now(self) -> Choice:
        """The arm of the next call: the one that was chosen, unless its rollout was taken back."""
        made, rollouts = self.choice, self.models.rollouts
        if made.arm == "legacy" or rollouts.still(made):
            return made
        if self.legacy is None:
            raise LimitError(
                f"This model took the candidate arm of rollout {quote(made.rollout)}, which was taken back since it was made.",
                code="rolled_back",
                status=503,
                hint="Make a model for each request: `gradual.model(...)` returns one of the legacy system now.",
            )
        now = rollouts.choose_in(made.rollout, made.asker, count=False)
        return made if now.arm == made.arm else now.replace(spec=self.legacy, other=made.spec)


async def awaited(value: Any) -> Any:
    """Return a value, awaited where it can be."""
    return await value if inspect.isawaitable(value) else value


async def _here(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Call a function as its caller would."""
    return await awaited(function(*given, **named))


class Gradual:
    """Answers by the legacy system or by Podium, as a rollout says; made by `Models.gradual`.

    `legacy` makes the legacy system's models by their names, sync or async, or is a spec; without it the rollout's own
    `legacy` counts. `legacy_names` says what Podium's specs are called there; a spec that is not in it loses its provider
    (`openai/gpt-4` is `gpt-4` there), and `tier:` and `user:` specs must be in it. `generate` asks a model of the
    legacy system: `generate(model=..., prompt=...)`, sync or async; by default its method `generate` is called.
    """

    def __init__(
        self,
        models: Models,
        rollout: str,
        *,
        legacy: Legacy | None = None,
        legacy_names: Mapping[str, str] | None = None,
        generate: Callable[..., Any] | None = None,
    ) -> None:
        self._models = models
        self.rollout = rollout
        self._given = legacy
        if legacy is not None and not callable(legacy) and not isinstance(legacy, str):
            raise RequestError("`legacy` is neither a function nor a spec.", param="legacy", hint="Give one of them.")
        models.rollouts.declared(rollout)
        if isinstance(legacy, str):
            models.rollouts.check(legacy)
        _ = self._legacy
        self._names = dict(legacy_names or {})
        self._generate = generate

    @property
    def _legacy(self) -> Legacy:
        """The legacy side: what was given, else what the rollout says now."""
        legacy = self._given or self._models.rollouts.declared(self.rollout).legacy
        if legacy is None:
            raise RequestError(
                f"Rollout {quote(self.rollout)} has no legacy side.",
                param="legacy",
                hint="Give `legacy=`, the function that makes your models today, or set `legacy` in the config.",
            )
        return legacy

    def model(
        self,
        spec: str,
        *,
        user_id: str | None = None,
        experiment: str | None = None,
        request_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return a model: a `LanguageModel`, or what the legacy system's function returns (of an async one: an awaitable).

        `metadata` may name team, conversation and tags, as rollouts look at them. Raises `RequestError` for a spec that
        `legacy_names` lacks, whichever arm is chosen, and what the chosen side raises.
        """
        check_caller(user_id, experiment, request_id, False)
        self.legacy_name(spec)
        choice = self._models._choose_in(self.rollout, user_id, load_metadata(metadata or {}))
        return self._made(spec, choice, user_id=user_id, experiment=experiment, request_id=request_id)

    def _made(
        self, spec: str, choice: Choice, *, user_id: str | None, experiment: str | None, request_id: str | None = None
    ) -> Any:
        """Return the model of the arm that was chosen."""
        models, legacy, name = self._models, self._legacy, self.legacy_name(spec)
        if choice.arm == "legacy" and not isinstance(legacy, str):
            return legacy(name)
        candidate = self._candidate(spec)
        if choice.arm == "legacy":
            choice = choice.replace(spec=name, other=candidate)
        else:
            choice = choice.replace(spec=candidate, other=name, shadowed=isinstance(legacy, str))
        try:
            models._plan(models._state, spec, user_id, experiment, False, None, choice)  # so that a bad spec is told here
        except PodiumError:
            models.rollouts.ramps.hearing.take(choice, failed=True)
            raise
        side = name if isinstance(legacy, str) else None
        return ArmModel(models, spec, choice, side, user_id=user_id, experiment=experiment, request_id=request_id)

    async def get_model(self, spec: str, **caller: Any) -> Any:
        """Return a model as `model` does, awaited where the legacy system's function is async (the guide's `getModel`)."""
        await self._models._ready(caller.get("user_id"), caller.get("metadata"), rollout=self.rollout)
        return await awaited(self.model(spec, **caller))

    async def generate_text(
        self,
        spec: str,
        *,
        user_id: str | None = None,
        experiment: str | None = None,
        request_id: str | None = None,
        timeout: float | str | None = None,
        **ask: Unpack[Ask],
    ) -> Any:
        """Ask, and wait for the answer: a `Result`, or what the legacy system's `generate` returns.

        The legacy side is given what was asked (`prompt`, `messages`, ...) without `timeout` and `metadata`: they are Podium's.
        """
        check_caller(user_id, experiment, request_id, False)
        self.legacy_name(spec)
        models, metadata = self._models, load_metadata(ask.get("metadata") or {})
        await models._ready(user_id, metadata, rollout=self.rollout)
        choice = models._choose_in(self.rollout, user_id, metadata)
        theirs = {name: value for name, value in ask.items() if name != "metadata"}
        shadows, legacy = models._shadows_of(self.rollout), self._legacy
        if choice.arm == "legacy" and callable(legacy):
            began = time.perf_counter()
            with models.rollouts.ramps.hearing.timing(choice):
                answer = await self._ask_legacy(legacy, spec, theirs)
            models.rollouts.ramps.after_function(choice, ask, answer)
            if shadows is not None:
                choice = choice.replace(other=self._candidate(spec))
                shadows.after_function(choice, request_id or fresh_id(), spec, ask, answer, time.perf_counter() - began)
            return answer
        model = self._made(spec, choice, user_id=user_id, experiment=experiment, request_id=request_id)
        result = await model.generate(timeout=timeout, **ask)
        if shadows is not None and callable(legacy):
            shadows.after_candidate(choice, spec, ask, result, partial(self._ask_legacy, legacy, spec, theirs, call=called))
        return result

    def _candidate(self, spec: str) -> str:
        """The candidate's spec: the rollout's; where its `match` names specs and not this one, what was asked for."""
        rollout = self._models.rollouts.declared(self.rollout)
        return (rollout.candidate if spec in rollout.match or not rollout.match else None) or spec

    async def _ask_legacy(
        self, make: Callable[[str], Any], spec: str, theirs: Mapping[str, Any], call: Callable[..., Awaitable[Any]] = _here
    ) -> Any:
        """Ask a model of the legacy system's; `call` says where its functions run."""
        model = await call(make, self.legacy_name(spec))
        if self._generate is not None:
            return await call(self._generate, model=model, **theirs)
        generate = getattr(model, "generate", None)
        if not callable(generate):
            raise RequestError(
                f"The legacy system's model for {quote(spec)} is a {type(model).__name__}, which has no method `generate`.",
                param="generate",
                hint=f"Say how it is asked: `models.gradual({self.rollout!r}, ..., generate=your_function)`.",
            )
        return await call(generate, **theirs)

    def legacy_name(self, spec: str) -> str:
        """Return what the legacy system calls a spec. Raises `RequestError` where only `legacy_names` could say that."""
        if not spec:
            raise RequestError("`gradual` needs a spec.", param="spec", hint="Write `openai/gpt-4`.")
        if (name := self._names.get(spec)) is not None:
            return name
        if isinstance(legacy := self._legacy, str):
            return legacy
        if spec.startswith(("tier:", "user:")):
            raise RequestError(
                f"The legacy system has no name for {quote(spec)}.",
                param="spec",
                hint=f'Say which: `models.gradual({self.rollout!r}, ..., legacy_names={{"{spec}": "gpt-4o"}})`.',
            )
        provider, slash, rest = spec.partition("/")
        return rest if slash and rest else provider

    def explain(self, user_id: str | None = None, *, metadata: Mapping[str, Any] | None = None) -> str:
        """Say which arm a user's call would take, and why; nothing is called, and nothing counted."""
        check_caller(user_id, None, None, False)
        asker = self._models._asker(self._models._state, user_id, metadata or {})
        return self._models.rollouts.choose_in(self.rollout, asker, count=False).why

    def usage_percent(self, window: float | str = "24h") -> float:
        """Return how many percent of the calls really took the candidate; see `Rollouts.usage_percent`."""
        return self._models.rollouts.usage_percent(self.rollout, window)
