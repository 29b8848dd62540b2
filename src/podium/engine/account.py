"""The account of one request: what is put on record of it, attempt by attempt.

Theory. A run tells its account three things: an attempt is about to be sent, an attempt is over, the request is over. From each
the account makes the facts once, and gives them to the ledger and to the observers.

Rules.
- `launched` is called, and then `hand_over`, before a byte leaves. `settled` is called once an attempt, `ended` once a request.
- What ends with its request goes to the journal together with the request's end, in one write; a crash in front of it leaves
  an attempt that is `unknown`, at its reserved cost.
- What an attempt cost is worked out here, once. What the provider itself says that it cost (unless that
  is 0) comes before any price list.
- An attempt that was cancelled, or broke after it may have been charged, is estimated (`podium.engine.charges`) and marked so.
  One that was refused, or never sent, costs 0.
- An unpriced model costs None, never 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from podium.engine.admission import Admission
from podium.engine.charges import context_of, estimated, may_be_charged
from podium.engine.endpoint import Endpoint
from podium.engine.estimate import highest_pico, measure, usual_pico
from podium.errors import LimitError
from podium.ledger import Ended, Ledger, Settled, Started, pico_usd
from podium.ledger.facts import Caller, Ending, Labels, Route, pack
from podium.ledger.records import NO_REQUEST, RequestEnd, conclude
from podium.observe.record import AttemptRecord, Cause, RequestFacts, RequestRecord, cause_of, server_of
from podium.routing.snapshot import Plan, Snapshot
from podium.types import Attempt, Request, Target

if TYPE_CHECKING:
    from podium.engine.attempt import Call
    from podium.engine.books import Books
    from podium.engine.ramp.hearing import Hears
    from podium.engine.slots import Slots
    from podium.routing.limits import Limit


_PROVIDER = "provider"
"""The source of a cost that the provider itself has said."""


class _Launch(msgspec.Struct, frozen=True, gc=False):
    """An attempt that was launched."""

    started: Started
    endpoint: Endpoint
    streamed: bool


class Account:
    """What is put on record of one request."""

    __slots__ = (
        "_asked",
        "_books",
        "_caller",
        "_closing",
        "_facts",
        "_hears",
        "_holds",
        "_labels",
        "_launches",
        "_ledger",
        "_plan",
        "_recorded",
        "_request",
        "_watch",
        "admission",
        "is_under_way",
    )

    def __init__(
        self,
        books: Books,
        snapshot: Snapshot,
        plan: Plan,
        request: Request,
        request_id: str,
        holds: Callable[[], bool] | None = None,
        hears: Hears | None = None,
        slots: Slots | None = None,
        budget: Limit | None = None,
    ) -> None:
        user = snapshot.users.get(plan.user_id) if plan.user_id is not None else None
        metadata = request.metadata
        self._books = books
        self._plan = plan
        self._request = request
        self._launches: dict[int, _Launch] = {}
        self._asked: list[Target] = []
        self._closing: list[tuple[Call, AttemptRecord]] = []
        """Attempts that end with the request, and are put on record with it."""
        self._holds = holds
        """Says whether the rollout would still choose this request's arm; None: nothing did, or it cannot change."""
        self.is_under_way = False
        """Whether the first launches are behind it: each that comes now repeats, replaces or hedges one."""
        self._hears = hears
        """Takes the end of a request that a ramp looks at."""
        self._ledger: Ledger | None = None
        """What has the last record."""
        self._recorded = 0
        """Its number there."""
        self._facts = RequestFacts(
            request_id=request_id,
            started_at=time.time(),
            spec=plan.reasons.spec,
            rule=plan.reasons.rule,
            strategy=plan.strategy.name,
            tier=plan.tier,
            experiment=plan.experiment,
            rollout=plan.rollout,
            arm=plan.arm,
            user_id=plan.user_id,
            team=metadata.get("team") or (user.team if user is not None else None),
            conversation=metadata.get("conversation"),
            tags=tuple(metadata.get("tags") or ()),
            streamed=request.stream,
            timed=snapshot.track_performance and (user is None or user.performance_tracking is not False),
        )
        self._caller = pack(Caller(plan.user_id, self._facts.team))
        self._labels = pack(Labels(self._facts.tags))
        self.admission = Admission(books, snapshot, plan, self._facts, slots, budget)
        self._watch = books.observers.begin(self._facts)

    def _set_aside(self, call: Call, endpoint: Endpoint, at: float) -> int | None:
        """The most that an attempt can cost. Raises `CostTooHigh` where that is more than is left of what was reserved."""
        purse = self.admission.purse
        if purse is not None:
            reserved = purse.launch(call.number, call.target)
            if reserved is None:
                raise purse.refusal(call.target)
            return reserved if self._books.track_cost else None
        found = None if endpoint.price is None else endpoint.price[1]
        measured = self.admission.measured
        if measured is None or found is None or not self._books.track_cost:
            return None
        request, facts, dialect = self._request, endpoint.profile, endpoint.provider.dialect
        usual = usual_pico(request, measured, facts, found, dialect)
        return highest_pico(request, measured, facts, found, dialect, at) if usual is None else usual

    def launched(self, call: Call, endpoint: Endpoint, *, streamed: bool) -> None:
        """Put an attempt on record that is about to be sent.

        Raises `StoreError` where it must be and cannot, `CostTooHigh` for a retry that could cost more than was reserved, and
        `LimitError` for one that follows the first launches after its rollout was taken back.
        """
        self._books.warm(endpoint)
        now = time.time()
        reserved_pico = None
        try:
            if self.is_under_way:
                self._check_arm(call)
            reserved_pico = self._set_aside(call, endpoint, now)
        finally:  # an attempt that is refused is told of too
            started = self._start(call, endpoint, now, streamed, reserved_pico)
            self._launches[call.number] = _Launch(started, endpoint, streamed)
        ledger = self._books.ledger
        if ledger is not None:
            self._ledger, self._recorded = ledger, ledger.started(started)
            if ledger.keeps_payloads:
                self._recorded = ledger.payload(started, "request", msgspec.json.encode(self._request))

    def hand_over(self) -> None:
        """See to it that what is on record so far outlives the process: before bytes leave, and before the caller is told."""
        if self._ledger is not None:
            self._ledger.hand_over(self._recorded)

    def _check_arm(self, call: Call) -> None:
        """Refuse to ask further for an arm that was taken back; a judge only reads what was answered before."""
        if self._holds is not None and call.role != "judge" and not self._holds():
            raise LimitError(
                f"{call.target} is not asked any more: rollout {self._facts.rollout} was taken back while this request ran.",
                code="rolled_back",
                status=503,
                hint="Ask again: the request then takes the legacy arm.",
            )

    def _start(self, call: Call, endpoint: Endpoint, now: float, streamed: bool, reserved_pico: int | None) -> Started:
        """What the ledger is told of an attempt before it is sent."""
        facts, target = self._facts, call.target
        route = Route(
            target.provider, target.model, call.role, endpoint.upstream, endpoint.codec.name, facts.spec, facts.rule,
            facts.strategy, facts.tier, facts.experiment, facts.rollout, facts.arm, streamed,
        )  # fmt: skip
        return Started(
            facts.request_id,
            call.number,
            facts.started_at,
            now,
            pack(route),
            self._caller,
            self._labels,
            reserved_pico,
            facts.conversation,
        )

    def settled(self, call: Call, begun_at: float, *, closing: bool = False) -> None:
        """Put on record how an attempt ended, and work out what it cost; `closing`: `ended` follows, and writes it."""
        launch = self._launches[call.number]
        started, endpoint = launch.started, launch.endpoint
        purse = self.admission.purse
        self._meter(call)
        if self._books.track_cost or purse is not None:
            call.cost_usd = self._cost(call, endpoint, started.started_at)
        cost_pico = pico_usd(call.cost_usd)
        if purse is not None:
            purse.settle(call.number, cost_pico, billable=cost_pico is None and may_be_charged(call))
        if not self._books.track_cost:  # only the limit had to know
            call.cost_usd = cost_pico = None
        attempt = call.record(begun_at)
        told = self._observation(call, attempt, launch, self._rate(call, endpoint), cost_pico)
        ledger = self._books.ledger
        if ledger is not None:
            if closing:
                self._closing.append((call, told))
            else:
                self._ledger, self._recorded = ledger, ledger.settled(self._settled(call, told))
            if ledger.keeps_payloads and call.response is not None:
                self._recorded = ledger.payload(started, "response", msgspec.json.encode(call.response))
        self._watch.observe(told)
        self._asked.append(call.target)

    def _observation(
        self,
        call: Call,
        attempt: Attempt,
        launch: _Launch,
        rate: tuple[str | None, str | None],
        cost_pico: int | None,
    ) -> AttemptRecord:
        """What observers are told of an attempt."""
        started, endpoint = launch.started, launch.endpoint
        host, port = server_of(endpoint.provider.base_url)
        response = call.response
        return AttemptRecord(
            request=self._facts,
            attempt=call.number,
            provider=call.target.provider,
            model=call.target.model,
            outcome=attempt.outcome,
            started_at=started.started_at,
            duration_s=attempt.duration_s,
            first_content_s=attempt.first_content_s,
            cause=self._cause_of(call),
            role=call.role,
            kind=endpoint.provider.kind,
            upstream_model=endpoint.upstream,
            response_model=None if response is None else response.model,
            dialect=endpoint.codec.name,
            server_address=host,
            server_port=port,
            streamed=launch.streamed,
            error_code=attempt.error_code,
            usage=call.usage,
            estimated=call.estimated,
            cost_pico=cost_pico,
            reserved_pico=started.reserved_pico,
            price_version=rate[0],
            price_source=rate[1],
            finish_reason=None if response is None else response.finish_reason,
            upstream_id=attempt.upstream_id,
            losses=len(attempt.losses),
        )

    def _cause_of(self, call: Call) -> Cause:
        if self._facts.is_shadow:
            return "shadow"
        return cause_of(call.number, call.target, self._asked, role=call.role, strategy=self._plan.strategy.name)

    def ended(
        self, outcome: str, duration_s: float, calls: list[Call], winner: Call | None, first_content_s: float | None = None
    ) -> None:
        """Put on record how the request ended: `ok`, `cancelled`, or the code of its error.

        `first_content_s` is from the call to the answer's first content.
        """
        self.admission.settle(calls)
        counted = winner or (calls[0] if calls else None)
        facts = self._facts
        if counted is None and facts.is_shadow:
            return  # it was never sent, and nobody asked for it: a count, and no request
        response = None if winner is None else winner.response
        ledger = self._books.ledger
        if ledger is not None:
            self._close(ledger, outcome, duration_s, len(calls), winner, counted)
        self._watch.observe(
            RequestRecord(
                request=facts,
                outcome=outcome,
                duration_s=duration_s,
                first_content_s=first_content_s,
                provider=None if counted is None else counted.target.provider,
                model=None if counted is None else counted.target.model,
                kind="" if counted is None else self._launches[counted.number].endpoint.provider.kind,
                winner=None if winner is None else winner.number,
                attempts=len(calls),
                response_model=None if response is None else response.model,
                upstream_id=None if response is None else response.id or None,
                finish_reason=None if response is None else response.finish_reason,
            )
        )
        if self._hears is not None and calls:  # what was never sent is no arm's doing
            waited_s = duration_s if first_content_s is None else first_content_s
            self._hears(outcome, waited_s if facts.timed else None, [call.cost_usd for call in calls])

    def _close(
        self, ledger: Ledger, outcome: str, duration_s: float, attempts: int, winner: Call | None, counted: Call | None
    ) -> None:
        """Tell the ledger how the request ended, with the attempts that ended with it."""
        self._ledger = ledger
        closing = self._closing
        if len(closing) == 1 and closing[0][0] is counted:
            call, told = closing[0]
            over = RequestEnd(outcome, duration_s, answered=winner is not None, attempts=attempts)
            self._recorded = ledger.settled(partial(self._settled, call, told, over))
            return
        facts = self._facts
        self._recorded = ledger.close_request(
            [self._settled(*each) for each in closing],
            Ended(
                request_id=facts.request_id,
                requested_at=facts.started_at,
                outcome=outcome,
                duration_s=duration_s,
                spec=facts.spec,
                rule=facts.rule,
                strategy=facts.strategy,
                tier=facts.tier,
                experiment=facts.experiment,
                rollout=facts.rollout,
                arm=facts.arm,
                user_id=facts.user_id,
                team=facts.team,
                conversation=facts.conversation,
                tags=facts.tags,
                winner=None if winner is None else winner.number,
                attempts=attempts,
                provider=None if counted is None else counted.target.provider,
                model=None if counted is None else counted.target.model,
            ),
        )

    def _settled(self, call: Call, told: AttemptRecord, request: RequestEnd = NO_REQUEST) -> Settled:
        """What the ledger is told of an attempt that is over, and of its request, where that ended with it."""
        ending = Ending(
            told.outcome, told.error_code, told.finish_reason, told.price_version, told.price_source,
            tuple(call.context.items()) if call.context else (), told.usage is not None, told.estimated,
            request.outcome, request.answered, request.attempts,
        )  # fmt: skip
        return conclude(
            self._launches[call.number].started,
            ending,
            told.duration_s,
            request.duration_s,
            told.first_content_s,
            told.usage,
            told.cost_pico,
            told.upstream_id,
            told.losses,
        )

    def _meter(self, call: Call) -> None:
        """Settle what a call used."""
        if call.response is not None and call.response.usage is not None:
            call.usage = call.response.usage
        elif may_be_charged(call):
            call.usage = estimated(call, self.admission.measured or measure(self._request), self._most_output())
            call.estimated = True

    def _most_output(self) -> int | None:
        """How many tokens all answers of a call may have; None: as many as the model gives."""
        sampling = self._request.sampling
        lowered = self.admission.max_tokens
        most = sampling.max_tokens if lowered is None else lowered
        return None if most is None else most * max(1, sampling.n or 1)

    def _cost(self, call: Call, endpoint: Endpoint, at: float) -> Decimal | None:
        """What a call cost; None where its price is not known."""
        if call.usage is None:
            return Decimal(0)
        if call.usage.reported_cost_usd:  # some report 0 for what they do charge
            return call.usage.reported_cost_usd
        price = self._books.find_price(endpoint)
        call.context = context_of(self._request, endpoint.provider.dialect, call.response)  # also for a price that comes later
        return None if price is None else price.price.cost(call.usage, at, call.context)

    def _rate(self, call: Call, endpoint: Endpoint) -> tuple[str | None, str | None]:
        """The version and source of the price that a call's cost is by."""
        if self._books.track_cost and call.usage is not None and call.usage.reported_cost_usd:
            return None, _PROVIDER
        price = self._books.price(endpoint)
        return (None, None) if price is None else (price.version, price.source)
