"""Functions of a caller's own, as sides of a comparison: called beside the loop, in limited time, and what they raise is read.

Rules. An async function runs in the loop, any other on a thread, which cannot be ended: it is only waited for no longer. What a
call may raise (`Exception`) becomes a `PodiumError`; what ends a program goes through.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from podium.errors import PodiumError

LONGEST_S = 600.0
"""How long a function may take where nobody says."""


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling something gives what has to be awaited, as far as that can be seen."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


async def called(function: Callable[..., Any], /, *given: Any, **named: Any) -> Any:
    """Call a function, sync or async, and return what it gives."""
    if is_async(function):
        return await function(*given, **named)
    answer = await asyncio.to_thread(function, *given, **named)
    return await answer if inspect.isawaitable(answer) else answer


async def answer_of(work: Coroutine[Any, Any, Any], time_s: float = LONGEST_S) -> Any:
    """Wait for an answer. Raises `PodiumError` for what it raises, and where it takes longer."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait([task], timeout=time_s)
    finally:
        task.cancel()
    if not done:
        raise PodiumError(f"It had not answered after {time_s:g} s.", code="timed_out")
    if task.cancelled():
        raise PodiumError("It was cancelled from within.", code="cancelled")
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, PodiumError) or not isinstance(error, Exception):
        raise error
    raise PodiumError(f"{type(error).__name__}: {error}", code="function_failed") from error
