"""Asks two sides the same question at once, and compares what they say.

Theory. A migration asks one thing: is the new way no worse than the old one? So both are asked with the very same words at the
same time, and nothing that one of them does keeps the other from being measured: a side that fails is a result.

Rules.
- A spec is taken as written (no automatic tier): the sides are what the caller says they are. A `LanguageModel` asks as it was
  bound.
- Anything else that answers is the library's legacy side: a function, sync (on a thread) or async, or an object with such a
  `generate`; it is called with the keywords of the comparison (`prompt=...`) and gives a text, an object with a `text`, or a
  `Result`. Only what a call may raise (`Exception`) is a result; what ends a program goes through.
- A call that is wrong in itself (an unknown setting or spec, a function that does not take the keywords) is an error, for it
  says nothing about either side.
- What differs is logged with ids and figures, and without any text of questions or answers.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from podium.engine.language_model import LanguageModel, fresh_id
from podium.engine.slips import wrong
from podium.engine.text import load_request
from podium.errors import PodiumError, RequestError
from podium.routing.compare import Comparison, JudgeChoice, Side, SideName
from podium.routing.compare import compare as compare_answers
from podium.types import Attempt, Choice, Finish, Refusal, Response, Result, Text, Usage

if TYPE_CHECKING:
    from podium.engine.models import Models

_LOG = logging.getLogger("podium")
_LEGACY_TIME_S = 600.0
"""How long a function may take where no `timeout` is given."""

Asked = str | LanguageModel | Callable[..., Any] | None
"""A side: a spec (None: the default), a `LanguageModel`, or what answers in the legacy system."""
Outcome = tuple[Side, Response | None]


async def compare(
    models: Models,
    *,
    new: Asked,
    old: Asked,
    ask: Mapping[str, Any],
    user_id: str | None = None,
    timeout: float | str | None = None,
    time_s: float | None = None,
    judge: JudgeChoice = "auto",
    answer_pattern: str | None = None,
    fields: Mapping[str, float] | None = None,
) -> Comparison:
    """Ask both sides at once and compare their answers; see `Models.compare`.

    `time_s` is the `timeout` in seconds, for functions.
    """
    if judge not in ("auto", "exact", "json"):
        raise RequestError(f"There is no judge {judge!r}.", param="judge", hint="The judges are auto, exact and json.")
    request = load_request("", ask, stream=False)
    both: tuple[tuple[SideName, Asked], ...] = (("new", new), ("old", old))
    sides = [
        _Asking(models, name, side, user_id=user_id, ask=ask, timeout=timeout, time_s=time_s or _LEGACY_TIME_S)
        for name, side in both
    ]
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
    _log(comparison)
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
                return self._of_result(await self._model.generate(timeout=self._timeout, **self._ask))
            answer = await self._call()
        except PodiumError as error:
            return self._failed(error.code, str(error), began, error.attempts)
        return self._of_answer(answer, time.perf_counter() - began, began)

    async def _call(self) -> Any:
        """Call the function; what it raises becomes a `PodiumError`."""
        assert self._function is not None
        task = asyncio.ensure_future(_called(self._function, self._ask))
        try:
            done, _ = await asyncio.wait([task], timeout=self._time_s)
        finally:
            task.cancel()
        if not done:
            raise PodiumError(f"It had not answered after {self._time_s:g} s.", code="timed_out")
        if task.cancelled():
            raise PodiumError("It was cancelled from within.", code="cancelled")
        error = task.exception()
        if error is None:
            return task.result()
        if isinstance(error, PodiumError) or not isinstance(error, Exception):
            raise error
        raise PodiumError(f"{type(error).__name__}: {error}", code="function_failed") from error

    def _of_answer(self, answer: Any, duration_s: float, began: float) -> Outcome:
        """Read what a function returned."""
        if isinstance(answer, Result):
            side, response = self._of_result(answer)
            return side.replace(duration_s=duration_s), response
        if isinstance(answer, Response):
            return self._side(answer, duration_s), answer
        text = answer if isinstance(answer, str) else getattr(answer, "text", None)
        if not isinstance(text, str):
            kind = type(answer).__name__
            return self._failed("no_answer", f"It gave {kind}, which is no text and has no `text`.", began)
        response = Response(choices=(Choice(parts=(Text(text=text),), finish=Finish(reason="stop")),))
        return self._side(response, duration_s).replace(finish_reason=None), response

    def _of_result(self, result: Result) -> Outcome:
        counts = _tokens([attempt.usage for attempt in result.attempts])
        side = self._side(result.response, result.duration_s)
        side = side.replace(target=str(result.target), request_id=result.request_id, cost_usd=result.cost_usd)
        if counts is not None:
            side = side.replace(input_tokens=counts[0], output_tokens=counts[1])
        return side, result.response

    def _side(self, response: Response, duration_s: float) -> Side:
        counts = _tokens([response.usage]) or (None, None)
        return Side(
            side=self._name,
            spec=self._spec,
            text="".join(part.text for part in response.parts if isinstance(part, Text | Refusal)),
            tool_calls=response.tool_calls,
            finish_reason=response.finish_reason,
            duration_s=duration_s,
            input_tokens=counts[0],
            output_tokens=counts[1],
        )

    def _failed(self, code: str, words: str, began: float, attempts: Iterable[Attempt] = ()) -> Outcome:
        attempts = tuple(attempts)
        counts = _tokens([attempt.usage for attempt in attempts]) or (None, None)
        costs = [attempt.cost_usd for attempt in attempts]
        priced = [cost for cost in costs if cost is not None]
        side = Side(
            side=self._name,
            spec=self._spec,
            duration_s=time.perf_counter() - began,
            cost_usd=sum(priced, Decimal(0)) if priced and len(priced) == len(costs) else None,
            request_id=self._request_id,
            error_code=code,
            error=words,
            input_tokens=counts[0],
            output_tokens=counts[1],
        )
        return side, None


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


async def _called(function: Callable[..., Any], ask: Mapping[str, Any]) -> Any:
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        return await function(**ask)
    answer = await asyncio.to_thread(function, **ask)
    return await answer if inspect.isawaitable(answer) else answer


def _tokens(usages: Iterable[Usage | None]) -> tuple[int, int] | None:
    known = [usage for usage in usages if usage is not None]
    return (sum(usage.total_input for usage in known), sum(usage.total_output for usage in known)) if known else None


def _log(comparison: Comparison) -> None:
    if comparison.same is True or not _LOG.isEnabledFor(logging.INFO):
        return
    words = " | ".join(_log_side(side) for side in (comparison.new, comparison.old))
    if comparison.same is None:
        _LOG.info("Not compared: %s", words)
    else:
        _LOG.info("Difference detected: %s | judge %s, similarity %.2f", words, comparison.judge, comparison.similarity or 0.0)


def _log_side(side: Side) -> str:
    who = f"{side.side} {side.spec or 'default'}"
    how = f"failed ({side.error_code})" if side.error_code else f"answered by {side.target}" if side.target else "answered"
    return f"{who} {how} in {side.duration_s:.2f} s{f', request {side.request_id}' if side.request_id else ''}"
