"""How a request ended: the error of one that nobody answered or let in, its outcome in a word, and what it cost in all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal

from podium.engine.attempt import Call
from podium.errors import AllTargetsFailed, PodiumError, TimedOut
from podium.types import Attempt, Reasons


def all_failed(calls: Sequence[Call], reasons: Reasons, attempts: tuple[Attempt, ...]) -> PodiumError:
    """Make the error of a request whose calls all failed: the last call's own, where only one target was asked."""
    errors = [(call.target, call.error) for call in calls if call.error is not None]
    if len({call.target for call in calls}) == 1 and calls[-1].error is not None:
        return calls[-1].error
    told = [str(error) if str(target) in error.message else f"{target}: {error}" for target, error in errors]
    return AllTargetsFailed(
        f"No target of {reasons.spec or 'the default'} answered.\n  " + "\n  ".join(told),
        attempts=attempts,
        skipped=reasons.skipped,
        retryable=any(error.retryable for _, error in errors),
        retry_after_s=min((error.retry_after_s for _, error in errors if error.retry_after_s), default=None),
    )


def waited_too_long(time_s: float, user_id: str | None, *, opening: bool) -> TimedOut:
    """Make the error of a request whose time was over before it could be sent; `opening`: while the books were being opened."""
    given = f"The request was given {time_s:.3g} s, and"
    if opening:
        return TimedOut(
            f"{given} they were over while the ledger and the prices were opened, as once a process; nothing was sent.",
            hint="Ask again, or give it a longer `timeout`.",
        )
    whose = "other requests" if user_id is None else f"other requests of user {user_id}"
    return TimedOut(
        f"{given} waited all of them for {whose} to end; nothing was sent.",
        hint="Ask again later, give it a longer `timeout`, or raise `max_concurrent`.",
    )


def total_cost(attempts: Sequence[Attempt]) -> Decimal | None:
    """What all attempts of a request cost together; unknown where any of them is."""
    costs = [attempt.cost_usd for attempt in attempts]
    return None if None in costs else sum((cost for cost in costs if cost is not None), Decimal(0))


def code_of(error: BaseException) -> str:
    """The outcome of a request that ended with an error: its code, `cancelled`, or `defect`."""
    if isinstance(error, PodiumError):
        return error.code
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "defect"


def first_content_s(winner: Call | None, begun_at: float) -> float | None:
    """From the call to the answer's first content; None where there was none."""
    if winner is None or winner.first_content_s is None:
        return None
    return winner.launched_at - begun_at + winner.first_content_s
