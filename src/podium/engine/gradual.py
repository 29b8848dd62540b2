"""The guide's wrapper: one call site that answers by the legacy system or by Podium, as a rollout says.

Theory. A system that moves over has a function that makes models (`getLanguageModel` in the guide), or functions that ask
them. `Gradual` stands before the first kind, `migration` before the second; both ask the rollout and call one side.

Rules.
- The legacy side is called as it always was: with its own names, its own arguments, and nothing of Podium's around it. What it
  returns or raises reaches the caller as it is; an async function's awaitable too.
- The candidate's spec is the rollout's where its `match` names what was asked for, else what was asked for. Both are
  taken as written, and so is a legacy side that is a spec.
- An arm is chosen when a model is made, and kept by that model: its calls end as they began.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from podium.engine.language_model import LanguageModel
from podium.engine.rollout_choice import Choice
from podium.engine.stream import TextStream
from podium.engine.text import Ask, check_caller
from podium.errors import PodiumError, RequestError
from podium.routing.spec import quote
from podium.types import Result

if TYPE_CHECKING:
    from podium.engine.models import Models

F = TypeVar("F", bound=Callable[..., Any])

Legacy = Callable[[str], Any] | str
"""What makes the legacy system's models by their names, sync or async; or a spec."""


class ArmModel(LanguageModel):
    """A `LanguageModel` whose arm is chosen: each of its calls takes it, and is put on record with it."""

    __slots__ = ("choice",)

    def __init__(self, models: Models, spec: str | None, choice: Choice, **caller: Any) -> None:
        super().__init__(models, spec, **caller)
        self.choice = choice

    async def generate(self, *, timeout: float | str | None = None, **ask: Unpack[Ask]) -> Result:
        """Ask, and wait for the whole answer; see `Models.generate_text`."""
        result: Result = await self._run(timeout, ask, stream=False)[0].wait()
        return result

    def stream(self, *, timeout: float | str | None = None, **ask: Unpack[Ask]) -> TextStream:
        """Ask, and return the answer as it comes; see `Models.stream_text`."""
        run, plan = self._run(timeout, ask, stream=True)
        return TextStream(run, plan.reasons)

    def _run(self, timeout: float | str | None, ask: Any, *, stream: bool) -> Any:
        caller = (self.spec, self.user_id, self.experiment, self._next_id(), False)
        return self.models._run(*caller, timeout, ask, stream=stream, choice=self.choice)


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
        choice = self._models._choose_in(self.rollout, user_id, metadata)
        return self._made(spec, choice, user_id=user_id, experiment=experiment, request_id=request_id)

    def _made(
        self, spec: str, choice: Choice, *, user_id: str | None, experiment: str | None, request_id: str | None = None
    ) -> Any:
        """Return the model of the arm that was chosen."""
        models, legacy, name = self._models, self._legacy, self.legacy_name(spec)
        if choice.arm == "legacy" and not isinstance(legacy, str):
            return legacy(name)
        rollout = models.rollouts.declared(self.rollout)
        candidate = (rollout.candidate if spec in rollout.match else None) or spec
        if choice.arm == "legacy":
            choice = choice.replace(spec=name, other=candidate)
        else:
            choice = choice.replace(spec=candidate, other=name, shadowed=isinstance(legacy, str))
        try:
            models._plan(models._state, spec, user_id, experiment, False, None, choice)  # so that a bad spec is told here
        except PodiumError:
            models.rollouts.ramps.hearing.take(choice, failed=True)
            raise
        return ArmModel(models, spec, choice, user_id=user_id, experiment=experiment, request_id=request_id)

    async def get_model(self, spec: str, **caller: Any) -> Any:
        """Return a model as `model` does, awaited where the legacy system's function is async (the guide's `getModel`)."""
        await self._models._ready(caller.get("user_id"), caller.get("metadata"), rollout=self.rollout)
        return await _awaited(self.model(spec, **caller))

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
        models, metadata = self._models, ask.get("metadata")
        await models._ready(user_id, metadata, rollout=self.rollout)
        choice = models._choose_in(self.rollout, user_id, metadata)
        if choice.arm == "legacy" and callable(self._legacy):
            theirs = {name: value for name, value in ask.items() if name != "metadata"}
            with models.rollouts.ramps.hearing.timing(choice):
                return await self._ask_legacy(spec, theirs)
        model = self._made(spec, choice, user_id=user_id, experiment=experiment, request_id=request_id)
        return await model.generate(timeout=timeout, **ask)

    async def _ask_legacy(self, spec: str, theirs: Mapping[str, Any]) -> Any:
        """Ask a model of the legacy system's."""
        make = self._legacy
        assert callable(make)
        model = await _awaited(make(self.legacy_name(spec)))
        if self._generate is not None:
            return await _awaited(self._generate(model=model, **theirs))
        generate = getattr(model, "generate", None)
        if not callable(generate):
            raise RequestError(
                f"The legacy system's model for {quote(spec)} is a {type(model).__name__}, which has no method `generate`.",
                param="generate",
                hint=f"Say how it is asked: `models.gradual({self.rollout!r}, ..., generate=your_function)`.",
            )
        return await _awaited(generate(**theirs))

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

    def usage_percent(self, window: float | str = "24h") -> float:
        """Return how many percent of the calls really took the candidate; see `Rollouts.usage_percent`."""
        return self._models.rollouts.usage_percent(self.rollout, window)


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def migration(models: Models, rollout: str, candidate: Any, user: str) -> Callable[[F], F]:
    """Make the decorator of `Models.migrate`.

    The function that it is put on is the legacy side. `candidate` is a function that takes the same arguments (an async one
    only for an async function), or a spec: then `generate_text` is asked with the function's arguments (`prompt`, `messages`,
    `system`, ...), and the answer's text is returned; by default the rollout's own candidate. Who asks is the argument
    named `user`; `metadata`, where it is an argument, may name team, conversation and tags.
    """
    declared = models.rollouts.declared(rollout)
    if candidate is not None and not callable(candidate) and not isinstance(candidate, str):
        raise RequestError("`candidate` is neither a function nor a spec.", param="candidate", hint="Give one of them.")
    if candidate is None and not declared.candidate:
        raise RequestError(f"Rollout {quote(rollout)} has no candidate.", param="candidate", hint="Give `candidate=`.")

    def decorate(legacy: F) -> F:
        bridge = _Bridge(models, rollout, legacy, candidate, user)

        @functools.wraps(legacy)
        def blocking(*given: Any, **named: Any) -> Any:
            return bridge.call(given, named)

        @functools.wraps(legacy)
        async def waiting(*given: Any, **named: Any) -> Any:
            await bridge.ready(given, named)
            return await _awaited(bridge.call(given, named))

        wrapped: Any = waiting if bridge.is_async else blocking
        return wrapped  # type: ignore[no-any-return]

    return decorate


class _Bridge:
    """One function that is moved over."""

    def __init__(self, models: Models, rollout: str, legacy: Callable[..., Any], candidate: Any, user: str) -> None:
        self._models = models
        self._rollout = rollout
        self._legacy = legacy
        self._candidate = candidate
        self._user = user
        self._signature = inspect.signature(legacy)
        self.is_async = inspect.iscoroutinefunction(legacy)
        if callable(candidate):
            if inspect.iscoroutinefunction(candidate) and not self.is_async:
                words = f"{_title(candidate)} is async and {_title(legacy)}, which it is to stand in for, is not."
                raise RequestError(words, param="candidate", hint="Make both async, or give a blocking one.")
        else:
            self._check_arguments(list(self._signature.parameters.values()))

    def _check_arguments(self, parameters: Sequence[inspect.Parameter]) -> None:
        """See that a spec can be asked with what the function is called with."""
        names = [each.name for each in parameters]
        known = (*Ask.__annotations__, self._user, "metadata")
        strange = [name for name in names if name not in known]
        if strange or not {"prompt", "messages"} & set(names):
            took = f"takes {', '.join(map(quote, names))}" if names else "takes nothing"
            raise RequestError(
                f"{_title(self._legacy)} {took}, which is not what `generate_text` is asked with.",
                param="candidate",
                hint="Give `candidate=`, a function that takes the same arguments and asks Podium.",
            )

    def _arguments(self, given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any] | None:
        """The function's arguments by their names; None: these are none that it takes."""
        try:
            bound = self._signature.bind(*given, **named)
        except TypeError:
            return None
        bound.apply_defaults()
        return bound.arguments

    def _caller(self, arguments: dict[str, Any]) -> tuple[str | None, Any]:
        """Who asks, and the metadata of the call."""
        user_id = arguments.get(self._user)
        return None if user_id is None else str(user_id), arguments.get("metadata")

    async def ready(self, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Wait beside the loop for what the choice needs."""
        if (arguments := self._arguments(given, named)) is not None:
            await self._models._ready(*self._caller(arguments), rollout=self._rollout)

    def call(self, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call the side that the rollout chooses."""
        arguments = self._arguments(given, named)
        if arguments is None:  # the function itself says best what is wrong with its arguments
            return self._legacy(*given, **named)
        choice = self._models._choose_in(self._rollout, *self._caller(arguments))
        function = self._legacy if choice.arm == "legacy" else self._candidate
        if callable(function):
            return self._heard(choice, function, given, named)
        spec = self._candidate or choice.spec
        ask: Any = {name: value for name, value in arguments.items() if name in Ask.__annotations__ and value is not None}
        model = ArmModel(self._models, spec, choice.replace(spec=spec, shadowed=False), user_id=choice.asker.user_id)
        if self.is_async:
            return _text_of(model.generate(**ask))
        return self._models.sync.generate(model, **ask).text

    def _heard(self, choice: Choice, function: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call a function of the caller's own, and let a ramp hear how it answered; not where it gives a generator."""
        timing = self._models.rollouts.ramps.hearing.timing(choice)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            return function(*given, **named)
        if not self.is_async:
            with timing:
                return function(*given, **named)

        async def heard() -> Any:
            with timing:
                return await _awaited(function(*given, **named))

        return heard()


async def _text_of(answer: Awaitable[Result]) -> str:
    return (await answer).text


def _title(function: Callable[..., Any]) -> str:
    return quote(getattr(function, "__qualname__", type(function).__name__))
