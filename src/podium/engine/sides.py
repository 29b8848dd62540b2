"""The sides of a comparison, made of what was asked: a result, a function's answer, or a failure; and the log of what differs.

Rules.
- A function may give a text, an object with a `text`, a `Response` or a `Result`; anything else is a failure, `no_answer`.
- What differs is logged with ids and figures, and without any text of questions or answers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from podium.routing.compare import Comparison, Side, SideName
from podium.types import Attempt, Choice, Finish, Refusal, Response, Result, Text, Usage

_LOG = logging.getLogger("podium")

Outcome = tuple[Side, Response | None]
"""A side, and its answer as judges read it; None where it failed."""


def of_result(name: SideName, spec: str | None, result: Result) -> Outcome:
    """Make a side of what Podium answered."""
    counts = _tokens([attempt.usage for attempt in result.attempts])
    side = _side(name, spec, result.response, result.duration_s)
    side = side.replace(target=str(result.target), request_id=result.request_id, cost_usd=result.cost_usd)
    if counts is not None:
        side = side.replace(input_tokens=counts[0], output_tokens=counts[1])
    return side, result.response


def of_answer(name: SideName, spec: str | None, answer: Any, duration_s: float, *, request_id: str | None = None) -> Outcome:
    """Make a side of what a function returned."""
    if isinstance(answer, Result):
        side, response = of_result(name, spec, answer)
        return side.replace(duration_s=duration_s), response
    if isinstance(answer, Response):
        return _side(name, spec, answer, duration_s), answer
    text = answer if isinstance(answer, str) else getattr(answer, "text", None)
    if not isinstance(text, str):
        kind = type(answer).__name__
        words = f"It gave {kind}, which is no text and has no `text`."
        return of_failure(name, spec, "no_answer", words, duration_s, request_id=request_id)
    response = Response(choices=(Choice(parts=(Text(text=text),), finish=Finish(reason="stop")),))
    return _side(name, spec, response, duration_s).replace(finish_reason=None), response


def of_failure(
    name: SideName,
    spec: str | None,
    code: str,
    words: str,
    duration_s: float,
    *,
    attempts: Iterable[Attempt] = (),
    request_id: str | None = None,
) -> Outcome:
    """Make a side that failed."""
    attempts = tuple(attempts)
    counts = _tokens([attempt.usage for attempt in attempts]) or (None, None)
    costs = [attempt.cost_usd for attempt in attempts]
    priced = [cost for cost in costs if cost is not None]
    side = Side(
        side=name,
        spec=spec,
        duration_s=duration_s,
        cost_usd=sum(priced, Decimal(0)) if priced and len(priced) == len(costs) else None,
        request_id=request_id,
        error_code=code,
        error=words,
        input_tokens=counts[0],
        output_tokens=counts[1],
    )
    return side, None


def of_recording(
    spec: str | None,
    response: Response | None,
    *,
    target: str,
    duration_s: float,
    tokens: tuple[int | None, int | None],
    cost_usd: Decimal | None,
    request_id: str,
    error_code: str,
) -> Outcome:
    """Make the old side of what is on record; without an answer it failed with a code."""
    if response is None:
        side, _ = of_failure("old", spec, error_code, f"It ended with {error_code}.", duration_s, request_id=request_id)
    else:
        side = _side("old", spec, response, duration_s).replace(request_id=request_id)
    facts = {"target": target, "input_tokens": tokens[0], "output_tokens": tokens[1], "cost_usd": cost_usd}
    return side.replace(recorded=True, **facts), response


def _side(name: SideName, spec: str | None, response: Response, duration_s: float) -> Side:
    counts = _tokens([response.usage]) or (None, None)
    return Side(
        side=name,
        spec=spec,
        text="".join(part.text for part in response.parts if isinstance(part, Text | Refusal)),
        tool_calls=response.tool_calls,
        finish_reason=response.finish_reason,
        duration_s=duration_s,
        input_tokens=counts[0],
        output_tokens=counts[1],
    )


def _tokens(usages: Iterable[Usage | None]) -> tuple[int, int] | None:
    known = [usage for usage in usages if usage is not None]
    return (sum(usage.total_input for usage in known), sum(usage.total_output for usage in known)) if known else None


def log(comparison: Comparison, *, of: str = "") -> None:
    """Log that two answers differ, or cannot be compared; `of` says what was compared, where that is no call of `compare`."""
    if comparison.same is True or not _LOG.isEnabledFor(logging.INFO):
        return
    words = " | ".join(_words(side) for side in (comparison.new, comparison.old))
    whose = f" ({of})" if of else ""
    if comparison.same is None:
        _LOG.info("Not compared%s: %s", whose, words)
        return
    alike = comparison.similarity or 0.0
    _LOG.info("Difference detected%s: %s | judge %s, similarity %.2f", whose, words, comparison.judge, alike)


def _words(side: Side) -> str:
    who = f"{side.side} {side.spec or 'default'}"
    how = f"failed ({side.error_code})" if side.error_code else f"answered by {side.target}" if side.target else "answered"
    return f"{who} {how} in {side.duration_s:.2f} s{f', request {side.request_id}' if side.request_id else ''}"
