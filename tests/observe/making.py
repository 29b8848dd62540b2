"""Records to observe."""

from __future__ import annotations

from typing import Any

from podium.observe.record import AttemptRecord, RequestFacts, RequestRecord
from podium.types import Usage

AT = 1_700_000_000.0


def facts(**changes: Any) -> RequestFacts:
    return RequestFacts(request_id="r1", started_at=AT, spec="tier:fast", tier="fast", strategy="fallback").replace(**changes)


def attempt(request: RequestFacts | None = None, **changes: Any) -> AttemptRecord:
    record = AttemptRecord(
        request=request or facts(),
        attempt=1,
        provider="openai",
        model="gpt-4o",
        kind="openai",
        outcome="won",
        started_at=AT,
        duration_s=1.0,
        usage=Usage(input=100, output=20),
        cost_pico=450_000_000,
        server_address="api.openai.com",
        server_port=443,
    )
    return record.replace(**changes)


def ended(request: RequestFacts | None = None, **changes: Any) -> RequestRecord:
    record = RequestRecord(
        request=request or facts(),
        outcome="ok",
        duration_s=1.5,
        provider="openai",
        model="gpt-4o",
        kind="openai",
        winner=1,
        attempts=1,
    )
    return record.replace(**changes)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, now: float = AT) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
