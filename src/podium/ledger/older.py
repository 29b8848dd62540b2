"""Records as segments of the versions 1 to 3 have them, made into those of today.

Theory. After an update a drainer finds segments of the release before: their requests must not be lost. In those versions an
attempt's facts stand in the record itself, one by one, and a `Settled` has its `Started` in it.

Rules. Nothing here changes any more: the fields are those that were written.
"""

from __future__ import annotations

from typing import Any

import msgspec

from podium.ledger import records
from podium.ledger.facts import AttemptOutcome
from podium.ledger.records import Ended, Payload, Record, RequestEnd, settle, start
from podium.types import Usage


class _Started(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False, tag=1):
    request_id: str
    attempt: int
    requested_at: float
    started_at: float
    provider: str
    model: str
    role: str = "answer"
    upstream_model: str | None = None
    dialect: str | None = None
    spec: str | None = None
    tier: str | None = None
    experiment: str | None = None
    rollout: str | None = None
    arm: str | None = None
    user_id: str | None = None
    team: str | None = None
    conversation: str | None = None
    tags: tuple[str, ...] = ()
    streamed: bool = False
    reserved_pico: int | None = None

    def today(self, **more: Any) -> records.Started:
        return start(**{name: getattr(self, name) for name in self.__struct_fields__}, **more)


class _Settled(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False, tag=2):
    started: _Started
    outcome: AttemptOutcome
    duration_s: float = 0.0
    first_content_s: float | None = None
    error_code: str | None = None
    usage: Usage | None = None
    cost_pico: int | None = None
    price_version: str | None = None
    price_source: str | None = None
    estimated: bool = False
    finish_reason: str | None = None
    upstream_id: str | None = None
    losses: int = 0
    context: dict[str, str] | None = None

    def today(self, started: records.Started | None = None, **more: Any) -> records.Settled:
        facts = {name: getattr(self, name) for name in self.__struct_fields__ if name != "started"}
        return settle(started or self.started.today(), **facts, **more)


class _Closed(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False, tag=5):
    settled: _Settled
    outcome: str
    duration_s: float = 0.0
    rule: str | None = None
    strategy: str | None = None
    answered: bool = False
    attempts: int = 1

    def today(self) -> records.Settled:
        return self.settled.today(
            self.settled.started.today(rule=self.rule, strategy=self.strategy),
            request=RequestEnd(self.outcome, self.duration_s, self.answered, self.attempts),
        )


_decode = msgspec.msgpack.Decoder(list[_Started | _Settled | Ended | Payload | _Closed]).decode


def load(payload: bytes) -> list[Record]:
    """Return the records of a payload of these versions. Raises `msgspec.DecodeError`."""
    return [each if isinstance(each, Ended | Payload) else each.today() for each in _decode(payload)]
