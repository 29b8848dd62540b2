"""The decorator that lets a function of an existing system answer, or the candidate, as a rollout says.

Theory. The function is the legacy side and says what a call looks like: its arguments, and whether it blocks or is awaited. The
candidate is called in the same way, so that a call site changes by one line.

Rules.
- The legacy side is called as it always was, and nothing of Podium's may fail it: not an argument that means something else
  to it than to Podium, nor one that names nobody.
- A shadow asks the candidate what the function answered, and never the function: it may do anything.
- What a candidate could not do in its place (a spec cannot answer piece by piece, nor be asked with arguments that Podium does
  not know) is told when the decorator is put on, not when the first user is drawn.
"""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from podium.engine.functions import is_async
from podium.engine.language_model import fresh_id
from podium.engine.rollout.choice import Choice
from podium.engine.rollout.gradual import ArmModel, awaited
from podium.engine.text import Ask, load_metadata
from podium.errors import RequestError
from podium.routing.rollout import Rollout
from podium.routing.spec import quote
from podium.types import Result

if TYPE_CHECKING:
    from podium.engine.models import Models

F = TypeVar("F", bound=Callable[..., Any])
_log = logging.getLogger("podium.rollouts")


def migration(models: Models, rollout: str, candidate: Any, user: str) -> Callable[[F], F]:
    """Make the decorator of `Models.migrate`.

    The function that it is put on is the legacy side. `candidate` is a function that takes the same arguments (an async one
    only for an async function), or a spec: then `generate_text` is asked with the function's arguments (`prompt`, `messages`,
    `system`, ...), and the answer's text is returned; by default the rollout's own candidate. Who asks is the argument
    named `user` (text, a number or a UUID); `metadata`, where it is an argument, may name team, conversation and tags.
    """
    declared = models.rollouts.declared(rollout)
    if candidate is not None and not callable(candidate) and not isinstance(candidate, str):
        raise RequestError("`candidate` is neither a function nor a spec.", param="candidate", hint="Give one of them.")
    if isinstance(candidate, str):
        models.rollouts.check(candidate)
    if candidate is None and not declared.candidate:
        raise RequestError(f"Rollout {quote(rollout)} has no candidate.", param="candidate", hint="Give `candidate=`.")

    def decorate(legacy: F) -> F:
        bridge = _Bridge(models, declared, legacy, candidate, user)

        @functools.wraps(legacy)
        def blocking(*given: Any, **named: Any) -> Any:
            return bridge.call(given, named)

        @functools.wraps(legacy)
        async def waiting(*given: Any, **named: Any) -> Any:
            await bridge.ready(given, named)
            return await awaited(bridge.call(given, named))

        wrapped: Any = waiting if bridge.is_async else blocking
        return wrapped  # type: ignore[no-any-return]

    return decorate


class _Bridge:
    """One function that is moved over."""

    def __init__(self, models: Models, rollout: Rollout, legacy: Callable[..., Any], candidate: Any, user: str) -> None:
        self._models = models
        self._rollout = rollout.name
        self._legacy = legacy
        self._candidate = candidate
        self._user = user
        self._signature = inspect.signature(legacy)
        self._is_told = False
        self.is_async = is_async(legacy)
        self._check_user(rollout.unit)
        if not callable(candidate):
            self._check_arguments(list(self._signature.parameters.values()))
        elif is_async(candidate) and not self.is_async:
            words = f"{_title(candidate)} is async and {_title(legacy)}, which it is to stand in for, is not."
            raise RequestError(words, param="candidate", hint="Make both async, or give a blocking one.")

    def _check_arguments(self, parameters: Sequence[inspect.Parameter]) -> None:
        """See that a spec can be asked with what the function is called with."""
        names = [each.name for each in parameters]
        if inspect.isgeneratorfunction(self._legacy) or inspect.isasyncgenfunction(self._legacy):
            raise RequestError(
                f"{_title(self._legacy)} gives its answer piece by piece, and a spec is asked for a whole text.",
                param="candidate",
                hint="Give `candidate=`, a function that gives pieces too, as of `models.stream_text(...)`.",
            )
        known = (*Ask.__annotations__, self._user)
        strange = [name for name in names if name not in known]
        if strange or not {"prompt", "messages"} & set(names):
            took = f"takes {', '.join(map(quote, names))}" if names else "takes nothing"
            raise RequestError(
                f"{_title(self._legacy)} {took}, which is not what `generate_text` is asked with.",
                param="candidate",
                hint="Give `candidate=`, a function that takes the same arguments and asks Podium.",
            )

    def _check_user(self, unit: str) -> None:
        """See that users can be told apart, where the rollout draws for them."""
        parameters = self._signature.parameters
        takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        if unit == "user" and self._user not in parameters and not takes_any:
            raise RequestError(
                f"{_title(self._legacy)} has no argument {quote(self._user)}, by which a rollout would tell users apart.",
                param="user",
                hint=f'Say which it is: `models.migrate("{self._rollout}", user="...")`, or add one.',
            )

    def _arguments(self, given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any] | None:
        """The function's arguments by their names; None: these are none that it takes."""
        try:
            bound = self._signature.bind(*given, **named)
        except TypeError:
            return None
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        for name, parameter in self._signature.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                arguments.update(arguments.pop(name))
        return arguments

    def _caller(self, arguments: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Who asks, and the metadata of the call."""
        return self._user_id(arguments), _facts(arguments.get("metadata"))

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
        ask: Any = {name: value for name, value in arguments.items() if name in Ask.__annotations__ and value is not None}
        if callable(function):
            return self._heard(choice, partial(function, *given, **named), ask)
        spec = self._candidate or choice.spec
        model = ArmModel(self._models, spec, choice.replace(spec=spec, shadowed=False), None, user_id=choice.asker.user_id)
        if self.is_async:
            return _text_of(model.generate(**ask))
        return self._models.sync.stand_in(model, **ask).text

    def _heard(self, choice: Choice, function: partial[Any], ask: Mapping[str, Any]) -> Any:
        """Call a function of the caller's own, and let ramp and shadow hear how it answered; not where it gives a generator."""
        timing = self._models.rollouts.ramps.hearing.timing(choice)
        if inspect.isgeneratorfunction(function.func) or inspect.isasyncgenfunction(function.func):
            return function()
        began = time.perf_counter()
        if not self.is_async:
            with timing:
                answer = function()
            self._answered(choice, ask, answer, began)
            return answer

        async def heard() -> Any:
            with timing:
                answer = await awaited(function())
            self._answered(choice, ask, answer, began)
            return answer

        return heard()

    def _answered(self, choice: Choice, ask: Mapping[str, Any], answer: Any, began: float) -> None:
        """Let what a function answered be judged, and the candidate be asked too, where it is a spec."""
        self._models.rollouts.ramps.after_function(choice, ask, answer)
        shadows = self._models._shadows_of(self._rollout)
        if shadows is not None and choice.arm == "legacy" and not callable(self._candidate):
            choice = choice.replace(other=self._candidate or choice.other)
            shadows.after_function(choice, fresh_id(), None, ask, answer, time.perf_counter() - began)

    def _user_id(self, arguments: Mapping[str, Any]) -> str | None:
        """Who asks. What is no id would be drawn for anew in each process, so it draws nothing, and that is logged."""
        user = arguments.get(self._user)
        if user is None or isinstance(user, str):
            return user
        if isinstance(user, int | UUID) and not isinstance(user, bool):
            return str(user)
        if not self._is_told:
            self._is_told = True
            words = "%s was called with a %s as `%s`, which is no id: rollout %s draws nothing for it, which gives legacy. "
            words += "Let `user=` name an argument that is text, a number or a UUID."
            _log.warning(words, _title(self._legacy), type(user).__name__, self._user, self._rollout)
        return None


def _facts(metadata: Any) -> dict[str, Any]:
    """What a rollout looks at. Here it is an argument of somebody else's function, which may mean anything."""
    try:
        return load_metadata(metadata or {})
    except RequestError:
        return {}


async def _text_of(answer: Awaitable[Result]) -> str:
    return (await answer).text


def _title(function: Callable[..., Any]) -> str:
    return quote(getattr(function, "__qualname__", type(function).__name__))
