"""What the journal records: attempts as they start and settle, entries as they end, payloads.

Theory. An attempt is announced before its first byte goes upstream (`Started`) and told whole when it is over (`Settled`); its
request ends with an `Ended`. Nearly every request ends with the attempt that it is counted at, and says both at once
(`Closed`). Each record stands on its own: a `Settled` carries its `Started`, so that a lost or spoiled neighbour takes no fact
of another record away.

Rules.
- An attempt is (request_id, requested_at, attempt), an entry (request_id, requested_at): an id that a caller uses twice
  names two requests.
- Instants are seconds since the epoch; money is int pico-USD (1 USD = 10**12), rounded half even once an attempt
  (`pico_usd`); a cost of None is unknown, never free.
- Records are arrays on disk. A new field goes to the end of its record, with a default; anything else is a new version of
  the segments (`frames.VERSION`), which an older drainer leaves alone.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Literal

import msgspec

from podium.types import Outcome, Usage

PICO = 10**12
"""Pico-USD in one USD."""
MOST_PICO = 2**63 - 1
"""The largest amount that one attempt can carry: 9.2 million USD."""

_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)

AttemptOutcome = Outcome | Literal["unknown"]
"""How an attempt ended; `unknown` where its process died before it could say."""


def pico_usd(amount_usd: Decimal | None) -> int | None:
    """Return an amount in pico-USD, rounded half even; None stays None, and what no int64 can hold is None too."""
    if amount_usd is None or not amount_usd.is_finite():
        return None
    # Scaled before it is made an int: an amount of 10**999999 would take all memory.
    if amount_usd.adjusted() > 12:
        return None
    pico = int(_EXACT.to_integral_value(_EXACT.multiply(amount_usd, Decimal(PICO))))
    return pico if abs(pico) <= MOST_PICO else None


def usd(pico: int) -> Decimal:
    """Return an amount in USD, exactly."""
    return Decimal(pico).scaleb(-12, Context(prec=max(28, len(str(pico)) + 1)))


class Started(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False, tag=1):
    """An attempt is about to be sent."""

    request_id: str
    attempt: int
    """Counts the attempts of a request from 1."""
    requested_at: float
    """When the request came: the same in all records of a request."""
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
    """The most that it can cost: what an attempt is counted at whose end nobody knows."""


class Settled(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False, tag=2):
    """An attempt is over."""

    started: Started
    outcome: AttemptOutcome
    duration_s: float = 0.0
    first_content_s: float | None = None
    error_code: str | None = None
    usage: Usage | None = None
    cost_pico: int | None = None
    """None: unknown."""
    price_version: str | None = None
    price_source: str | None = None
    estimated: bool = False
    """Whether `usage` is Podium's estimate, the provider having given none."""
    finish_reason: str | None = None
    upstream_id: str | None = None
    losses: int = 0
    context: dict[str, str] | None = None
    """What chose among the price's variants: the service that answered (`{"service_tier": "flex"}`); None: nothing did."""


class Ended(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False, tag=3):
    """A request is over: its entry."""

    request_id: str
    requested_at: float
    outcome: str
    """`ok`, or the code of the error that it ended with."""
    duration_s: float = 0.0
    spec: str | None = None
    rule: str | None = None
    strategy: str | None = None
    tier: str | None = None
    experiment: str | None = None
    user_id: str | None = None
    team: str | None = None
    conversation: str | None = None
    tags: tuple[str, ...] = ()
    winner: int | None = None
    """The attempt that answered."""
    attempts: int = 0
    provider: str | None = None
    """Of the attempt that answered, else of the first one: where this request is counted, so that sums over providers,
    models and arms add up. None: nothing was sent."""
    model: str | None = None
    rollout: str | None = None
    arm: str | None = None


class Closed(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False, tag=5):
    """An attempt is over, and with it its request, which is counted where this attempt was sent."""

    settled: Settled
    outcome: str
    """The request's: `ok`, or the code of the error that it ended with."""
    duration_s: float = 0.0
    """The request's."""
    rule: str | None = None
    strategy: str | None = None
    answered: bool = False
    """Whether this attempt answered the request."""
    attempts: int = 1

    @property
    def entry(self) -> Ended:
        """The request's end as a record of its own."""
        of = self.settled.started
        return Ended(
            request_id=of.request_id,
            requested_at=of.requested_at,
            outcome=self.outcome,
            duration_s=self.duration_s,
            spec=of.spec,
            rule=self.rule,
            strategy=self.strategy,
            tier=of.tier,
            experiment=of.experiment,
            user_id=of.user_id,
            team=of.team,
            conversation=of.conversation,
            tags=of.tags,
            winner=of.attempt if self.answered else None,
            attempts=self.attempts,
            provider=of.provider,
            model=of.model,
            rollout=of.rollout,
            arm=of.arm,
        )


class Payload(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False, tag=4):
    """What was sent in an attempt, or what came back."""

    request_id: str
    requested_at: float
    attempt: int
    kind: Literal["request", "response"]
    at: float
    sha256: bytes
    """Of the whole body."""
    size: int
    """Of the whole body, in bytes."""
    body: bytes | None = None
    """None where payloads are hashed; cut where it is longer than the limit."""


Record = Started | Settled | Ended | Payload | Closed
