"""What the journal records: attempts as they start and settle, entries as they end, payloads.

Theory. An attempt is announced before its first byte goes upstream (`Started`) and told whole when it is over (`Settled`); its
request ends with an `Ended`. Nearly every request ends with the attempt that it is counted at, and that attempt's `Settled`
says so itself. Each record stands on its own: a `Settled` repeats what its `Started` said, so that a lost or spoiled neighbour
takes no fact of another record away. What many records have in common they carry packed (`podium.ledger.facts`).

Rules.
- An attempt is (request_id, requested_at, attempt), an entry (request_id, requested_at): an id that a caller uses twice
  names two requests.
- Instants are seconds since the epoch; money is int pico-USD (1 USD = 10**12), rounded half even once an attempt
  (`pico_usd`); a cost of None is unknown, never free.
- `start` and `settle` make records of plain facts; `Started` and `Settled` are as they are on disk.
- Records are arrays on disk. A new field goes to the end of its record, with a default; anything else is a new version of
  the segments (`frames.VERSION`), which an older drainer leaves alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Literal

import msgspec
from msgspec.structs import replace

from podium.ledger.facts import (
    AttemptOutcome,
    Caller,
    Ending,
    Labels,
    Route,
    load_caller,
    load_ending,
    load_labels,
    load_route,
    pack,
)
from podium.ledger.more import Reported, dump_more, load_more
from podium.types import Usage

PICO = 10**12
"""Pico-USD in one USD."""
MOST_PICO = 2**63 - 1
"""The largest amount that one attempt can carry: 9.2 million USD."""

_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)


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


class Started(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=6):
    """An attempt is about to be sent."""

    request_id: str
    attempt: int
    """Counts the attempts of a request from 1."""
    requested_at: float
    """When the request came: the same in all records of a request."""
    started_at: float
    route: bytes
    """A packed `Route`."""
    caller: bytes
    """A packed `Caller`."""
    labels: bytes
    """Packed `Labels`."""
    reserved_pico: int | None = None
    """The most that it can cost: what an attempt is counted at whose end nobody knows."""
    conversation: str | None = None


class Settled(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=7):
    """An attempt is over, and perhaps its request with it, which then is counted where this attempt was sent."""

    started_at: float
    request_id: str
    attempt: int
    requested_at: float
    route: bytes
    """A packed `Route`."""
    caller: bytes
    """A packed `Caller`."""
    labels: bytes
    """Packed `Labels`."""
    ending: bytes
    """A packed `Ending`."""
    duration_s: float = 0.0
    request_duration_s: float | None = None
    """The request's; None: it did not end with this attempt."""
    first_content_s: float | None = None
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost_pico: int | None = None
    """None: unknown."""
    reserved_pico: int | None = None
    upstream_id: str | None = None
    conversation: str | None = None
    more: str | None = None
    """A `More` as JSON; None: there is nothing of it."""

    @property
    def usage(self) -> Usage | None:
        """What was used; None where that is not known."""
        if not load_ending(self.ending).metered:
            return None
        more = load_more(self.more)
        rest = more.usage or Reported()
        return Usage(
            input=self.input,
            output=self.output,
            cache_read=self.cache_read,
            cache_write=self.cache_write,
            reasoning=self.reasoning,
            **more.tokens,
            reported_cost_usd=rest.reported_cost_usd,
            extra=rest.extra,
        )

    @property
    def entry(self) -> Ended:
        """The end of the request that ended with this attempt, as a record of its own."""
        ending = load_ending(self.ending)
        return end(
            load_route(self.route),
            load_caller(self.caller),
            load_labels(self.labels),
            request_id=self.request_id,
            requested_at=self.requested_at,
            outcome=ending.request_outcome or "ok",
            duration_s=self.request_duration_s or 0.0,
            conversation=self.conversation,
            winner=self.attempt if ending.answered else None,
            attempts=ending.attempts,
        )

    def alone(self) -> Settled:
        """Return it without its request's end."""
        ending = replace(load_ending(self.ending), request_outcome=None, answered=False, attempts=1)
        return replace(self, request_duration_s=None, ending=pack(ending))


class RequestEnd(msgspec.Struct, frozen=True, gc=False):
    """How a request ended with one of its attempts."""

    outcome: str | None
    """`ok`, or the code of the error that it ended with."""
    duration_s: float | None
    answered: bool
    """Whether the attempt answered it."""
    attempts: int
    """How many it had."""


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


Record = Started | Settled | Ended | Payload

Late = Callable[[], Record]
"""Makes a record when it is written, of facts that no longer change: with several at once, all that it takes is at hand."""

_NO_USAGE = Usage()
NO_REQUEST = RequestEnd(None, None, answered=False, attempts=1)
"""It did not end with this attempt."""


def start(
    *,
    request_id: str,
    attempt: int,
    requested_at: float,
    started_at: float,
    provider: str,
    model: str,
    role: str = "answer",
    upstream_model: str | None = None,
    dialect: str | None = None,
    spec: str | None = None,
    rule: str | None = None,
    strategy: str | None = None,
    tier: str | None = None,
    experiment: str | None = None,
    rollout: str | None = None,
    arm: str | None = None,
    user_id: str | None = None,
    team: str | None = None,
    conversation: str | None = None,
    tags: tuple[str, ...] = (),
    streamed: bool = False,
    reserved_pico: int | None = None,
) -> Started:
    """Return the record of an attempt that is about to be sent; times in seconds since the epoch, money in pico-USD."""
    route = Route(
        provider, model, role, upstream_model, dialect, spec, rule, strategy, tier, experiment, rollout, arm, streamed
    )  # fmt: skip
    return Started(
        request_id,
        attempt,
        requested_at,
        started_at,
        pack(route),
        pack(Caller(user_id, team)),
        pack(Labels(tags)),
        reserved_pico,
        conversation,
    )


def settle(
    started: Started,
    *,
    outcome: AttemptOutcome,
    duration_s: float = 0.0,
    first_content_s: float | None = None,
    error_code: str | None = None,
    usage: Usage | None = None,
    cost_pico: int | None = None,
    price_version: str | None = None,
    price_source: str | None = None,
    estimated: bool = False,
    finish_reason: str | None = None,
    upstream_id: str | None = None,
    losses: int = 0,
    context: Mapping[str, str] | None = None,
    request: RequestEnd | None = None,
) -> Settled:
    """Return the record of an attempt that is over; `request`: its request ended with it.

    `estimated`: `usage` is Podium's estimate. `context`: see `Ending`.
    """
    over = request or NO_REQUEST
    ending = Ending(
        outcome, error_code, finish_reason, price_version, price_source, tuple(context.items()) if context else (),
        usage is not None, estimated, over.outcome, over.answered, over.attempts,
    )  # fmt: skip
    return conclude(started, ending, duration_s, over.duration_s, first_content_s, usage, cost_pico, upstream_id, losses)


def conclude(
    started: Started,
    ending: Ending,
    duration_s: float,
    request_duration_s: float | None,
    first_content_s: float | None,
    usage: Usage | None,
    cost_pico: int | None,
    upstream_id: str | None,
    losses: int,
) -> Settled:
    """Return what `settle` returns, for one who has an `Ending` at hand."""
    used = _NO_USAGE if usage is None else usage
    return Settled(
        started.started_at,
        started.request_id,
        started.attempt,
        started.requested_at,
        started.route,
        started.caller,
        started.labels,
        pack(ending),
        duration_s,
        request_duration_s,
        first_content_s,
        used.input,
        used.output,
        used.cache_read,
        used.cache_write,
        used.reasoning,
        cost_pico,
        started.reserved_pico,
        upstream_id,
        started.conversation,
        dump_more(usage, losses),
    )


def end(
    route: Route,
    caller: Caller,
    labels: Labels,
    *,
    request_id: str,
    requested_at: float,
    outcome: str,
    duration_s: float,
    conversation: str | None,
    winner: int | None,
    attempts: int,
) -> Ended:
    """Return the record of a request that is over, counted where an attempt of it was sent."""
    return Ended(
        request_id=request_id,
        requested_at=requested_at,
        outcome=outcome,
        duration_s=duration_s,
        spec=route.spec,
        rule=route.rule,
        strategy=route.strategy,
        tier=route.tier,
        experiment=route.experiment,
        user_id=caller.user_id,
        team=caller.team,
        conversation=conversation,
        tags=labels.tags,
        winner=winner,
        attempts=attempts,
        provider=route.provider,
        model=route.model,
        rollout=route.rollout,
        arm=route.arm,
    )
