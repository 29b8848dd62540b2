"""Asks two sides the same question at once, and compares what they say.

Theory. A migration asks one thing: is the new way no worse than the old one? So both are asked with the very same words at the
same time, and nothing that one of them does keeps the other from being measured: a side that fails is a result.

Rules.
- A spec is taken as written (no automatic tier): the sides are what the caller says they are. A `LanguageModel` asks as it was
  bound.
- Anything else that answers is the library's legacy side: a function, sync (on a thread) or async, or an object with such a
  `generate`; it is called with the keywords of the comparison (`prompt=...`) and gives a text, an object with a `text`, or a
  `Result`.
- A call that is wrong in itself (an unknown setting or spec, a function that does not take the keywords) is an error, for it
  says nothing about either side.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from podium.engine.functions import LONGEST_S, answer_of, called
from podium.engine.language_model import LanguageModel, fresh_id
from podium.engine.sides import Outcome, log, of_answer, of_failure, of_result
from podium.engine.slips import load_duration, wrong
from podium.engine.text import load_request
from podium.errors import PodiumError, RequestError
from podium.routing.compare import Comparison, JudgeChoice, SideName, load_judge
from podium.routing.compare import compare as compare_answers

if TYPE_CHECKING:
    from podium.engine.models import Models

Asked = str | LanguageModel | Callable[..., Any] | None
"""A side: a spec (None: the default), a `LanguageModel`, or what answers in the legacy system."""


async def compare(
    models: Models,
    *,
    new: Asked,
    old: Asked,
    ask: Mapping[str, Any],
    user_id: str | None = None,
    timeout: float | str | None = None,
    judge: JudgeChoice = "auto",
    answer_pattern: str | None = None,
    fields: Mapping[str, float] | None = None,
) -> Comparison:
    """Ask both sides at once and compare their answers; see `Models.compare`."""
    judge = load_judge(judge)
    time_s = LONGEST_S if timeout is None else load_duration("timeout", timeout)
    request = load_request("", ask, stream=False)
    both: tuple[tuple[SideName, Asked], ...] = (("new", new), ("old", old))
    sides = [_Asking(models, name, side, user_id=user_id, ask=ask, timeout=timeout, time_s=time_s) for name, side in both]
    tasks = [asyncio.create_task(side.run()) for side in sides]
    try:
        new_outcome, old_outcome = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    comparison = await asyncio.to_thread(
        compare_answers,
        new_outcome,
        old_outcome,
        judge=judge,
        answer_pattern=answer_pattern,
        fields=dict(fields) if fields is not None else None,
        output=request.output,
    )
    log(comparison)
    return comparison


class _Asking:
    """One side at work."""

    def __init__(
        self,
        models: Models,
        name: SideName,
        asked: Asked,
        *,
        user_id: str | None,
        ask: Mapping[str, Any],
        timeout: float | str | None,
        time_s: float,
    ) -> None:
        self._name = name
        self._ask = ask
        self._timeout = timeout
        self._time_s = time_s
        self._request_id: str | None = None
        self._model: LanguageModel | None = None
        self._function: Callable[..., Any] | None = None
        if asked is None or isinstance(asked, str):
            # Without a target that can be asked the side fails; a spec that means nothing is an error.
            self._request_id = fresh_id()
            self._model = models.model(asked, user_id=user_id, request_id=self._request_id, pin=True)
            self._spec = asked
        elif isinstance(asked, LanguageModel):
            self._model, self._spec = asked, asked.spec
        else:
            self._function = _load_function(name, asked, ask)
            self._spec = getattr(asked, "__qualname__", None) or type(asked).__qualname__

    async def run(self) -> Outcome:
        """Ask, and return what came of it."""
        began = time.perf_counter()
        try:
            if self._model is not None:
                return of_result(self._name, self._spec, await self._model.generate(timeout=self._timeout, **self._ask))
            assert self._function is not None
            answer = await answer_of(called(self._function, **self._ask), self._time_s)
        except PodiumError as error:
            return self._failed(error, began)
        return of_answer(self._name, self._spec, answer, time.perf_counter() - began)

    def _failed(self, error: PodiumError, began: float) -> Outcome:
        took_s = time.perf_counter() - began
        asked = (self._name, self._spec, error.code, str(error), took_s)
        return of_failure(*asked, attempts=error.attempts, request_id=self._request_id)


def _load_function(name: str, asked: Any, ask: Mapping[str, Any]) -> Callable[..., Any]:
    """Return what is to be called. Raises `RequestError` where it cannot be, or not with these keywords."""
    function: Any = asked if callable(asked) else getattr(asked, "generate", None)
    if not callable(function):
        raise wrong(name, asked, "a spec, what `models.model(spec)` returns, or a function that answers")
    with suppress(ValueError):  # something built in, without a signature
        try:
            inspect.signature(function).bind(**ask)
        except TypeError as error:
            keywords = ", ".join(f"{each}=..." for each in ask)
            raise RequestError(
                f"`{name}` cannot be called with ({keywords}): {error}.",
                param=name,
                hint="It is called with the keywords of the comparison; wrap it: `old=lambda prompt: legacy.ask(prompt)`.",
            ) from None
    found: Callable[..., Any] = function
    return found
