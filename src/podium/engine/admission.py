"""A request's way in: its user's turn, and what limits allow it to use.

Theory. Nearly every request may be sent as it comes: a slot is free, the books are open, and the leases at hand cover what it
may use. So all of it is tried in plain calls first (`at_once`); only what has to be opened, leased or waited for is awaited
(`patiently`), no longer than the request's own time.

Rules.
- What was reserved is settled or given back once, and so is the slot, whatever happens to the request.
- A shadow has a limit of its own in place of all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from podium.engine.endpoint import Endpoint
from podium.engine.estimate import Measured, can_tighten, measure, usual_pico
from podium.engine.estimate import estimate as estimate_of
from podium.engine.slots import QUEUE_WAIT_S, Slots
from podium.errors import CostTooHigh
from podium.observe.record import RequestFacts
from podium.routing.snapshot import Plan, Snapshot
from podium.routing.spending import Purse
from podium.types import Loss, Request, Target

if TYPE_CHECKING:
    from podium.coordination.limits import Spending
    from podium.engine.attempt import Call
    from podium.engine.books import Books
    from podium.routing.limits import Limit
    from podium.routing.spending import Estimate


class Admission:
    """Lets one request in, and holds what it took until it is over."""

    __slots__ = (
        "_books",
        "_budget",
        "_facts",
        "_holds_slot",
        "_limited",
        "_plan",
        "_slots",
        "_snapshot",
        "_spending",
        "is_opening",
        "losses",
        "max_tokens",
        "measured",
        "purse",
    )

    def __init__(
        self, books: Books, snapshot: Snapshot, plan: Plan, facts: RequestFacts, slots: Slots | None, budget: Limit | None
    ) -> None:
        self._books = books
        self._snapshot = snapshot
        self._plan = plan
        self._facts = facts
        self._slots = slots
        """The user's; None: as many as they like."""
        self._budget = budget
        """A shadow's own limit."""
        self._limited = False
        """Whether any limit may concern the request, known from its beginning on."""
        self._holds_slot = False
        self._spending: Spending | None = None
        self.purse: Purse | None = None
        """What its attempts may cost; None: no limit of money concerns it."""
        self.measured: Measured | None = None
        """What the request holds, where that had to be known."""
        self.losses: tuple[Loss, ...] = ()
        """What limits changed in the request."""
        self.max_tokens: int | None = None
        """What limits set in the request; None: it is as the caller made it."""
        self.is_opening = False
        """Whether it waits for the books to be opened, which is done once."""

    # --- in -------------------------------------------------------------------------------------------------------------

    def at_once(self, request: Request, endpoints: Sequence[Endpoint]) -> Request | None:
        """Let a request in that has to wait for nothing, and return it as it may be sent; None: go on with `patiently`.

        Raises `LimitError` where a limit says no.
        """
        books, plan, facts, budget = self._books, self._plan, self._facts, self._budget
        limited = budget is not None or plan.max_cost_usd is not None or books.limited(facts.user_id, facts.team)
        self._limited = limited
        if self._slots is not None:
            if not self._slots.try_acquire():
                return None
            self._holds_slot = True
        if not books.is_open(limits=limited):
            return None
        if limited or books.prices_come_first:
            for endpoint in endpoints:
                if endpoint.price is None:
                    return None
            self.measured = measure(request)
        if not limited:
            return request
        if budget is not None:
            return None
        return self._take(request, endpoints)

    def _take(self, request: Request, endpoints: Sequence[Endpoint]) -> Request | None:
        """Reserve out of the leases at hand; None where they do not do, or the request must be made cheaper."""
        limits, plan, facts = self._books.limits, self._plan, self._facts
        known = limits.know(facts.user_id, facts.team)
        if plan.max_cost_usd is None and not known.tokens:
            purse = None if known.money is None else self._usual_purse(request, endpoints)
            if purse is not None or known.money is None:
                usual = limits.take(known, purse, facts.started_at)
                if usual is None:
                    return None
                self._spending, self.purse = usual, purse
                return request
        spending = limits.at_once(
            user_id=facts.user_id,
            team=facts.team,
            estimate=self._estimate(request),
            at=facts.started_at,
            max_cost_usd=plan.max_cost_usd,
        )
        return None if spending is None else self._admit(request, spending)

    def _usual_purse(self, request: Request, endpoints: Sequence[Endpoint]) -> Purse | None:
        """What a usual request can cost, as `estimate` finds it too, with one leg an endpoint; None for any other."""
        strategy, measured = self._plan.strategy, self.measured
        several = len(endpoints) > 1
        if measured is None or strategy.escalate_to is not None or (several and strategy.name == "first"):
            return None
        total = 0
        highest: dict[Target, int] | None = {} if several else None
        for endpoint in endpoints:
            found = self._books.find_price(endpoint)
            if found is None:
                return None
            cost = usual_pico(request, measured, endpoint.profile, found, endpoint.provider.dialect)
            if cost is None:
                return None
            total += cost
            if highest is not None:
                highest[endpoint.target] = cost
        return Purse(total, highest)

    async def patiently(self, request: Request, endpoints: Sequence[Endpoint], until: float) -> Request:
        """Let a request in that `at_once` did not, and return it as it may be sent. `until` is on the loop's clock.

        Raises `LimitError` where a limit says no, `StoreError` where that cannot be known, and `TimeoutError`.
        """
        async with asyncio.timeout_at(until):
            if self._slots is not None and not self._holds_slot:
                await self._slots.acquire()
                self._holds_slot = True
            await self._open(endpoints)
            if self._is_priced and self.measured is None:
                self.measured = measure(request)
            return self._admit(request, await self._reserve(request)) if self._limited else request

    @property
    def _is_priced(self) -> bool:
        """Whether prices must be known before anything is sent."""
        return self._limited or self._books.prices_come_first

    async def _open(self, endpoints: Sequence[Endpoint]) -> None:
        books = self._books
        self.is_opening = True
        if not books.is_open(limits=self._limited):
            await asyncio.to_thread(books.open, limits=self._limited)
        if self._is_priced:
            for endpoint in endpoints:
                if endpoint.price is None:
                    await asyncio.to_thread(books.find_price, endpoint)
        self.is_opening = False

    async def _reserve(self, request: Request) -> Spending:
        """Reserve: where the leases at hand do not do, lease more, wait, or make the request cheaper."""
        plan, facts, budget, limits = self._plan, self._facts, self._budget, self._books.limits
        estimate = self._estimate(request)
        tighten = None
        if estimate is not None and can_tighten(plan, self._snapshot):
            tighten = partial(self._make_estimate, request, exact=True)
        if budget is not None and estimate is not None:
            return await limits.reserve_whole(
                budget, estimate=estimate, at=facts.started_at, max_cost_usd=plan.max_cost_usd, tighten=tighten
            )
        return await limits.reserve(
            user_id=facts.user_id,
            team=facts.team,
            estimate=estimate,
            at=facts.started_at,
            max_cost_usd=plan.max_cost_usd,
            tighten=tighten,
            wait_s=QUEUE_WAIT_S,
        )

    def _estimate(self, request: Request) -> Estimate | None:
        """The most that the request can use; None where no limit asks for that."""
        facts, limits = self._facts, self._books.limits
        if self._budget is None and not limits.concerns(facts.user_id, facts.team, self._plan.max_cost_usd):
            return None
        return self._make_estimate(request)

    def _make_estimate(self, request: Request, *, exact: bool = False) -> Estimate:
        return estimate_of(
            request,
            self._plan,
            self._snapshot,
            self._books.pricing,
            measured=self.measured,
            at=self._facts.started_at,
            exact=exact,
        )

    def _admit(self, request: Request, spending: Spending) -> Request:
        self._spending, self.purse, decision = spending, spending.purse, spending.decision
        if decision is None:
            return request
        if decision.losses and request.strict:
            self.forgo()
            raise CostTooHigh(decision.losses[0].reason, hint="Raise the limit, ask for less, or leave `strict` out.")
        self.losses, self.max_tokens = decision.losses, decision.max_tokens
        if decision.max_tokens is None:
            return request
        return request.replace(sampling=request.sampling.replace(max_tokens=decision.max_tokens))

    # --- out ------------------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Give the user's slot back."""
        if self._holds_slot and self._slots is not None:
            self._holds_slot = False
            self._slots.release()

    def forgo(self) -> None:
        """Give back what was reserved: nothing will be sent."""
        if self._spending is not None:
            self._spending.release()
            self._spending = self.purse = None

    def withdraw(self) -> None:
        """Give everything back: the caller has left."""
        self.leave()
        self.forgo()

    def settle(self, calls: Sequence[Call]) -> None:
        """Give back what was reserved and not used."""
        spending = self._spending
        if spending is None:
            return
        for call in calls:
            if call.sent:
                break
        else:
            self.forgo()
            return
        if spending.counts_tokens:
            spending.settle(tokens=sum(call.usage.total for call in calls if call.sent and call.usage is not None))
        else:
            spending.settle()
