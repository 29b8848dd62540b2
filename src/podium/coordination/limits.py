"""Limits as a request meets them: what it needs of each, what its answer may cost, and what it has used in the end.

Theory. A user's and a team's allowances are limits; a plan's `max_cost` is one for the request alone. All of them are reserved
at once, or none. Where money is short, first the prompt is counted more closely, then the answer is made shorter; only then
the request is refused.

Rules.
- A request that no limit concerns costs nothing here.
- What is free is never refused for want of money.
- A shadow has a limit of its own in place of all these (`reserve_whole`), and no shorter answer: it would be another one.
- The rate of tokens reserves `UNSAID_OUTPUT` for an answer of which the caller did not say how long it may be; what it really
  had counts in the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec

from podium.coordination.accounts import Asked, Reservation, Standing
from podium.coordination.coordinator import Coordinator
from podium.errors import BudgetExceeded, CostTooHigh, LimitError
from podium.routing.limits import Amounts, Kind, Limit, limits_of, pico_down
from podium.routing.snapshot import Snapshot
from podium.routing.spending import Decision, Estimate, Purse, check_bounded, decide, max_cost, purse_for
from podium.types import Loss

UNSAID_OUTPUT = 4096
_MOST_KNOWN = 4096
_ROUNDS = 4
"""How often a request may be made cheaper, while others use up what there is."""


class Spending(msgspec.Struct, gc=False):
    """What a request may use: made by `Limits.reserve`, ended by `settle` or `release`."""

    reservation: Reservation | None
    purse: Purse | None
    """What its attempts may cost; None: no cost limit concerns it."""
    decision: Decision | None = None
    """What was decided for it, where that took a closer look."""
    counts_tokens: bool = True
    """Whether `settle` needs to know how many there were."""
    charge: Callable[[Amounts], object] | None = None
    """Counts a cost where nothing was reserved for one: a provider may charge for what has no price."""

    @property
    def max_tokens(self) -> int | None:
        """To be set in the request; None: it stays as it is."""
        return None if self.decision is None else self.decision.max_tokens

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What was changed in the request."""
        return () if self.decision is None else self.decision.losses

    @property
    def reserved_pico(self) -> int:
        """How much money is reserved."""
        return 0 if self.purse is None else self.purse.total

    def settle(self, *, tokens: int | None = None) -> None:
        """End: attempts were made, and read and wrote so many tokens in all (None: nobody knows). The purse has their cost."""
        if self.charge is not None and self.purse is not None and self.purse.owed:
            self.charge({"cost_usd": self.purse.owed})
            self.charge = None
        if self.reservation is None:
            return
        actual: dict[Kind, int] = {} if self.purse is None else {"cost_usd": self.purse.owed}
        if tokens is not None:
            actual["tokens"] = tokens
        self.reservation.settle(actual)

    def release(self) -> None:
        """End: nothing was sent."""
        if self.reservation is not None:
            self.reservation.release()


class Known(msgspec.Struct, frozen=True):
    """The limits of a user and a team, and what follows from them alone."""

    limits: tuple[Limit, ...]
    money: str | None
    """The title of the first that is one of money."""
    tokens: bool
    """Whether any is one of tokens."""
    all: Standing
    unpaid: Standing
    """All that are not of money: for what is free."""


class Limits:
    """The limits of a snapshot, kept by a coordinator. Thread-safe."""

    def __init__(self, coordinator: Coordinator, snapshot: Snapshot) -> None:
        self.coordinator = coordinator
        self._snapshot = snapshot
        self._known: dict[tuple[str | None, str | None], Known] = {}
        """By user and team; forgotten with the snapshot that says them, and where callers name too many teams."""

    def swap(self, snapshot: Snapshot) -> None:
        """Keep to the limits of another snapshot from now on; what was used counts on."""
        self._snapshot = snapshot
        self._known = {}
        self.coordinator.on_lost = snapshot.on_lost

    def of(self, user_id: str | None, team: str | None) -> tuple[Limit, ...]:
        """Return the limits of a user and a team; `team` defaults to the user's own."""
        return self.know(user_id, team).limits

    def know(self, user_id: str | None, team: str | None) -> Known:
        """Return the limits of a user and a team, with what follows from them."""
        kept = self._known  # taken first: what follows from a config that is swapped meanwhile goes with it
        known = kept.get((user_id, team))
        if known is None:
            if len(kept) >= _MOST_KNOWN:
                kept = self._known = {}
            known = kept[user_id, team] = self._make(user_id, team)
        return known

    def _make(self, user_id: str | None, team: str | None) -> Known:
        user = self._snapshot.users.get(user_id) if user_id is not None else None
        name = team if team is not None else user.team if user is not None else None
        group = self._snapshot.teams.get(name) if name is not None else None
        own = limits_of(user.allowance, "user", user.id) if user is not None else ()
        limits = own + (limits_of(group.allowance, "team", group.name) if group is not None else ())
        return Known(
            limits,
            next((limit.title for limit in limits if limit.kind == "cost_usd"), None),
            any(limit.kind == "tokens" for limit in limits),
            Standing(limits),
            Standing([limit for limit in limits if limit.kind != "cost_usd"]),
        )

    def concerns(self, user_id: str | None, team: str | None, max_cost_usd: Decimal | None) -> bool:
        """Whether an estimate is needed: some limit of money or tokens holds."""
        known = self.know(user_id, team)
        return max_cost_usd is not None or known.money is not None or known.tokens

    def at_once(
        self,
        *,
        user_id: str | None,
        team: str | None = None,
        estimate: Estimate | None,
        at: float,
        max_cost_usd: Decimal | None = None,
    ) -> Spending | None:
        """Reserve what a request may use, as nearly every request can: as it was asked, and out of the leases at hand.

        None where that cannot be, and nothing is reserved then; `reserve` knows what else there is. Arguments and errors are
        those of `reserve`.
        """
        known = self.know(user_id, team)
        if estimate is None or not self.concerns(user_id, team, max_cost_usd):
            return self.take(known, None, at) if known.limits else Spending(None, None)
        costly = max_cost_usd is not None or known.money is not None
        if costly:
            check_bounded(estimate, self._snapshot.unpriced, limit=known.money or "max_cost")
        decision = decide(estimate, None)
        if max_cost_usd is not None and decision.pico > pico_down(max_cost_usd):
            return None
        return self.take(known, purse_for(estimate, decision) if costly else None, at, estimate, decision)

    def take(
        self,
        known: Known,
        purse: Purse | None,
        at: float,
        estimate: Estimate | None = None,
        decision: Decision | None = None,
    ) -> Spending | None:
        """Reserve all that a purse holds, and what is decided of an estimate, out of the leases at hand; None: they do not do.

        Without an estimate no limit of tokens may be among the known ones.
        """
        cost = 0 if purse is None else purse.total
        tokens = _tokens(estimate, decision) if known.tokens and estimate is not None and decision is not None else 0
        amounts: Amounts = {"cost_usd": cost, "tokens": tokens, "requests": 1, "concurrent": 1}
        reservation = self.coordinator.take_of(known.all if cost else known.unpaid, amounts, at)
        if reservation is None:
            return None
        charge = None if cost or purse is None else _charging(self.coordinator, known.limits, at)
        return Spending(reservation, purse, decision, known.tokens, charge)

    async def reserve(
        self,
        *,
        user_id: str | None,
        team: str | None = None,
        estimate: Estimate | None,
        at: float,
        max_cost_usd: Decimal | None = None,
        tighten: Callable[[], Estimate] | None = None,
        wait_s: float = 0.0,
    ) -> Spending:
        """Reserve what a request may use of all limits.

        `estimate` may be None where `concerns` says no. `at` is the time in epoch seconds. `tighten` makes a closer estimate,
        if one can be had; it is called on a thread, where the first one would refuse. `wait_s` is how long to wait where too
        many run at once. Raises `CostTooHigh`, `BudgetExceeded`, `RateLimited`, and `StoreError` where limits are not known.
        """
        limits, money = (known := self.know(user_id, team)).limits, known.money
        if estimate is None or not self.concerns(user_id, team, max_cost_usd):
            plain = await self.coordinator.reserve(_ask(limits, 0, 0), at, wait_s=wait_s) if limits else None
            return Spending(plain, None)
        costly = max_cost_usd is not None or money is not None
        if costly:
            check_bounded(estimate, self._snapshot.unpriced, limit=money or "max_cost")
        bid = _Bid(self.coordinator, limits, at, wait_s, max_cost(max_cost_usd), costly=costly)
        return await _settle_on(bid, estimate, tighten)

    async def reserve_whole(
        self,
        limit: Limit,
        *,
        estimate: Estimate,
        at: float,
        max_cost_usd: Decimal | None = None,
        tighten: Callable[[], Estimate] | None = None,
    ) -> Spending:
        """Reserve what a request may cost of one limit of money alone, all or nothing: no answer is made shorter for it.

        Raises what `reserve` raises.
        """
        check_bounded(estimate, self._snapshot.unpriced, limit=limit.title)
        bid = _Bid(self.coordinator, (limit,), at, 0.0, max_cost(max_cost_usd), costly=True, shortens=False)
        return await _settle_on(bid, estimate, tighten)

    def statistics(self) -> dict[str, Any]:
        """What happened so far in this process."""
        return self.coordinator.statistics()


async def _settle_on(bid: _Bid, estimate: Estimate, tighten: Callable[[], Estimate] | None) -> Spending:
    """Reserve by the first estimate, or by a closer one where that is too much."""
    if tighten is not None:
        if (spending := await bid.make(estimate, final=False)) is not None:
            return spending
        estimate = await asyncio.to_thread(tighten)
    spending = await bid.make(estimate, final=True)
    assert spending is not None
    return spending


class _Bid:
    """A request's attempt to reserve what it needs."""

    def __init__(
        self,
        coordinator: Coordinator,
        limits: tuple[Limit, ...],
        at: float,
        wait_s: float,
        allowed: int | None,
        *,
        costly: bool,
        shortens: bool = True,
    ) -> None:
        self._coordinator = coordinator
        self._limits = limits
        self._at = at
        self._wait_s = wait_s
        self._allowed = allowed
        self._costly = costly
        self._shortens = shortens

    async def make(self, estimate: Estimate, *, final: bool) -> Spending | None:
        """Reserve what this estimate asks for, with a shorter answer where money is short.

        None, unless `final`: a closer estimate might do without. Raises `LimitError` and `StoreError`.
        """
        room, of = self._allowed, "max_cost"
        refused: BudgetExceeded | None = None
        for _ in range(_ROUNDS):
            decision = self._decide(estimate, room, of, refused, final)
            if decision is None:
                return None
            try:
                reservation = await self._coordinator.reserve(self._ask(estimate, decision), self._at, wait_s=self._wait_s)
            except BudgetExceeded as error:
                if not final:
                    return None
                if not self._shortens:
                    raise
                refused, of = error, error.limit or of
                left = max(0, self._left(error))
                room = left if room is None else min(left, room)
            except LimitError as error:
                if not final and any(limit.title == error.limit and limit.kind == "tokens" for limit in self._limits):
                    return None
                raise
            else:
                purse = purse_for(estimate, decision) if self._costly else None
                charge = None if decision.pico or purse is None else _charging(self._coordinator, self._limits, self._at)
                return Spending(reservation, purse, decision, charge=charge)
        assert refused is not None
        raise refused

    def _decide(
        self, estimate: Estimate, room: int | None, of: str, refused: BudgetExceeded | None, final: bool
    ) -> Decision | None:
        try:
            decision = decide(estimate, room, of=of)
        except CostTooHigh:
            if not final:
                return None
            if refused is not None:  # its facts say more: who spent the money, and when there is new
                decide(estimate, pico_down(Decimal(refused.amount or 0)), of=of)  # unless that would never be enough
                raise refused from None
            raise
        return decision if final or not decision.losses else None

    @staticmethod
    def _left(error: BudgetExceeded) -> int:
        """What a limit of money had left when it refused."""
        amount, spent, reserved = (Decimal(value or 0) for value in (error.amount, error.spent, error.reserved))
        return pico_down(amount - spent - reserved)

    def _ask(self, estimate: Estimate, decision: Decision) -> Asked:
        return _ask(self._limits, decision.pico, _tokens(estimate, decision))


def _charging(coordinator: Coordinator, limits: Sequence[Limit], at: float) -> Callable[[Amounts], object] | None:
    """What counts a cost that nothing was reserved for; None where no limit is of money."""
    money = [limit for limit in limits if limit.kind == "cost_usd"]
    return partial(coordinator.charge, money, at=at) if money else None


def _tokens(estimate: Estimate, decision: Decision) -> int:
    """What is reserved of a rate of tokens."""
    longest = decision.max_tokens
    if longest is None and estimate.asked_output is None:
        longest = UNSAID_OUTPUT
    return estimate.tokens(longest)


def _ask(limits: tuple[Limit, ...], pico: int, tokens: int) -> Asked:
    asked = []
    for limit in limits:
        kind = limit.kind
        if kind != "cost_usd":
            asked.append((limit, tokens if kind == "tokens" else 1))
        elif pico:
            asked.append((limit, pico))
    return asked
