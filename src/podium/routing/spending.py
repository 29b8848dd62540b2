"""What one request may cost at most: the bound over all its legs, the output that money allows, and what is left for retries.

Theory. A leg is a target of the plan, with the most tokens that can go in and come out. What a request can cost is the sum over
*all* its legs, each asked once: a race and a consensus ask all of them, a fallback may, one after another, and each failure may
be charged. That sum is reserved before anything is sent. A retry is not counted in advance; it is paid out of what is reserved
(`Purse`): it may run if what was spent, what still runs and the retry together stay within it. An attempt that failed without a
charge leaves its share to its retry; one that may have been charged does not. So the sum is a guarantee, and no request
reserves three times what it needs.

Rules.
- Money is pico-USD in whole numbers; costs of legs are rounded up, so that what is reserved covers what is settled.
- Without enough money for the output that was asked for, `max_tokens` is lowered to what the money allows, and that is a
  `Loss`; where even the least answer is too dear, it is `CostTooHigh`.
- A leg that has no price, or whose input cannot be bounded, is refused under a cost limit, or counts as nothing (`unpriced`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from podium.errors import CostTooHigh
from podium.routing.limits import dollars, pico_down, usd
from podium.types import Loss, Target, Value

LEAST_OUTPUT = 16
"""Tokens below which an answer is not worth asking for (https://platform.openai.com/docs/api-reference/responses/create takes
no fewer)."""

Cost = Callable[[int, int], int]
"""The most pico-USD for so many tokens in and out; grows with both."""


class Leg(Value, frozen=True, kw_only=True):
    """One target of a plan."""

    target: Target
    input_tokens: int
    """At most so many go in."""
    max_output: int
    """At most so many come out, of each answer."""
    answers: int = 1
    """How many answers are drawn."""
    cost: Cost | None = None
    """None: it has no bound, and `why` says why."""
    why: str | None = None
    clampable: bool = True
    """Whether the target takes a smaller `max_tokens`."""

    def highest(self, max_tokens: int | None = None) -> int:
        """The most that it can cost, with so many tokens of output at most; 0 for one without a bound."""
        return 0 if self.cost is None else self.cost(self.input_tokens, self.output(max_tokens) * self.answers)

    def output(self, max_tokens: int | None) -> int:
        """The most tokens of one answer."""
        return self.max_output if max_tokens is None or not self.clampable else min(self.max_output, max_tokens)


class Estimate(Value, frozen=True, kw_only=True):
    """The most that a request can use, leg by leg. `total` and `tokens` are its sums."""

    legs: tuple[Leg, ...]
    asked_output: int | None = None
    """The caller's own `max_tokens`."""
    least_output: int = LEAST_OUTPUT
    """What an answer needs at least: more where the model is told to reason first."""
    explicit: bool = False
    """Whether `max_tokens` has to be sent, since without it some leg's output would have no bound."""

    def total(self, max_tokens: int | None = None) -> int:
        """The most pico-USD that all legs together cost."""
        legs = self.legs
        return legs[0].highest(max_tokens) if len(legs) == 1 else sum([leg.highest(max_tokens) for leg in legs])

    def tokens(self, max_tokens: int | None = None) -> int:
        """The most tokens that all legs together read and write."""
        return sum([leg.input_tokens + leg.output(max_tokens) * leg.answers for leg in self.legs])

    @property
    def most_output(self) -> int:
        """The most tokens of one answer of any leg."""
        return max((leg.max_output for leg in self.legs), default=0)


class Decision(Value, frozen=True, kw_only=True):
    """What a request may cost, and with which `max_tokens`."""

    pico: int
    """To be reserved."""
    max_tokens: int | None = None
    """To be set in the request; None: as it is."""
    losses: tuple[Loss, ...] = ()


def decide(estimate: Estimate, allowed: int | None, *, of: str = "max_cost") -> Decision:
    """Decide what a request may cost, given the most that is allowed (pico-USD; None: anything).

    `of` names what allows it. Raises `CostTooHigh` where not even the least answer is.
    """
    total = estimate.total()
    if allowed is None or total <= allowed:
        return Decision(pico=total, max_tokens=estimate.most_output if estimate.explicit else None)
    least = min(estimate.least_output, estimate.most_output)
    if estimate.total(least) > allowed:
        raise _too_high(estimate, allowed, estimate.total(least), of)
    # The cost grows with the output, so the most that is allowed is found by halving; `low` is allowed, `high` is not.
    low, high = least, estimate.most_output
    while high - low > 1:
        middle = (low + high) // 2
        if estimate.total(middle) <= allowed:
            low = middle
        else:
            high = middle
    asked = f"{estimate.asked_output} were asked" if estimate.asked_output is not None else "none was asked for"
    loss = Loss(
        setting="sampling.max_tokens",
        reason=f"Lowered to {low} tokens ({asked}): more could cost over {dollars(allowed)} ({of}).",
    )
    return Decision(pico=estimate.total(low), max_tokens=low, losses=(loss,))


def _too_high(estimate: Estimate, allowed: int, least: int, of: str) -> CostTooHigh:
    legs = ", ".join(f"{leg.target} {dollars(leg.highest(estimate.least_output))}" for leg in estimate.legs)
    return CostTooHigh(
        f"This request could cost {dollars(least)} even with an answer of {estimate.least_output} tokens ({legs}), and "
        f"{of} allows {dollars(allowed)}.",
        hint="Shorten the prompt, ask fewer or cheaper models, or raise the limit.",
        limit=of,
        amount=usd(allowed),
        asked=usd(least),
    )


def check_bounded(estimate: Estimate, unpriced: Literal["allow", "refuse"], *, limit: str) -> None:
    """Refuse a request with a leg that has no bound, where a cost limit holds; `limit` names it. Raises `CostTooHigh`."""
    if unpriced == "allow":
        return
    for leg in estimate.legs:
        if leg.cost is None:
            raise CostTooHigh(
                f"What {leg.target} can cost at most is not known, and {limit} holds: {leg.why}",
                code="cost_unknown",
                hint="Or let such requests pass, with `unpriced: allow`.",
                limit=limit,
            )


def max_cost(amount: Decimal | None) -> int | None:
    """Return a plan's `max_cost` as pico-USD."""
    return None if amount is None else pico_down(amount)


class Purse(msgspec.Struct, gc=False):
    """What a request has reserved, as its attempts use it up.

    `launch` before each attempt, `settle` after it. What is owed never exceeds `total`, as long as no attempt costs more than
    its leg's bound.
    """

    total: int
    """What is reserved, in pico-USD."""
    highest: dict[Target, int] | None = None
    """The most that an attempt of each target can cost, where there are several; None: that of any is the total."""
    owed: int = 0
    """What attempts have cost (at most, where that is not known), and what those that still run can cost."""
    running: dict[int, int] = {}
    """What each attempt that runs can cost."""
    all_known: bool = True
    """Whether no cost is at most so much."""

    def launch(self, attempt: int, target: Target) -> int | None:
        """Set aside what an attempt can cost, and return it; None where that is more than is left, and it must not run."""
        highest = self.total if self.highest is None else self.highest.get(target, self.total)
        owed = self.owed + highest
        if owed > self.total:
            return None
        self.owed = owed
        self.running[attempt] = highest
        return highest

    def settle(self, attempt: int, cost: int | None, *, billable: bool = True) -> int | None:
        """End an attempt, and return what it cost; one that may have been charged, nobody knows how much, costs its bound."""
        highest = self.running.pop(attempt, 0)
        if cost is None:
            cost = highest if billable else 0
            self.all_known = self.all_known and not billable
        self.owed += cost - highest
        return cost

    @property
    def spent(self) -> int:
        """What attempts that are over have cost; at most, where a cost is not known."""
        return self.owed - sum(self.running.values())

    @property
    def exact(self) -> bool:
        """Whether what was spent is known to the last pico-dollar."""
        return self.all_known and not self.running

    def refusal(self, target: Target) -> CostTooHigh:
        """Make the error for an attempt that must not run."""
        highest = self.total if self.highest is None else self.highest.get(target, self.total)
        return CostTooHigh(
            f"Asking {target} again could cost {dollars(highest)}; of the {dollars(self.total)} reserved for "
            f"this request, {dollars(self.owed)} may be spent already.",
            hint="Ask again, with a higher max_cost, or a lower max_tokens.",
            limit="max_cost",
            amount=usd(self.total),
            spent=usd(self.spent),
            reserved=usd(self.owed - self.spent),
            asked=usd(highest),
        )


def purse_for(estimate: Estimate, decision: Decision) -> Purse:
    """Return the purse of what was decided for an estimate."""
    legs = estimate.legs
    if len(legs) == 1:
        return Purse(decision.pico)
    highest: dict[Target, int] = {}
    for leg in legs:
        highest[leg.target] = max(leg.highest(decision.max_tokens), highest.get(leg.target, 0))
    return Purse(decision.pico, highest)


def strategy_targets(name: str, targets: Sequence[Target], escalate_to: Target | None) -> tuple[Target, ...]:
    """Return the targets that a strategy may ask, each as often as it asks it without a retry."""
    if name == "first":
        return tuple(targets[:1])
    escalation = (escalate_to,) if name == "consensus" and escalate_to is not None else ()
    return (*targets, *escalation)
