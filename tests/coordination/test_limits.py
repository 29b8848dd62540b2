"""Limits as a request meets them: a user's, a team's, and its plan's `max_cost`, all at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from podium.coordination import Coordinator, Limits
from podium.errors import BudgetExceeded, CostTooHigh, RateLimited
from podium.routing.limits import PICO
from podium.routing.snapshot import Allowance, Snapshot, Team, User
from podium.routing.spending import Estimate, Leg
from podium.types import Target

AT = time.time() // 60 * 60
GPT = Target(provider="openai", model="gpt-4o")
CENT = PICO // 100


def estimate(*, input_tokens: int = 1000, max_output: int = 4000, asked: int | None = None, priced: bool = True) -> Estimate:
    """A cent for 1,000 tokens in, and a cent for 1,000 tokens out."""
    leg = Leg(
        target=GPT,
        input_tokens=input_tokens,
        max_output=asked if asked is not None else max_output,
        cost=(lambda read, written: (read + written) * CENT // 1000) if priced else None,
        why=None if priced else "it has no price.",
    )
    return Estimate(legs=(leg,), asked_output=asked)


def snapshot(allowance: Allowance, *, team: Allowance | None = None, unpriced: str = "refuse") -> Snapshot:
    return Snapshot(
        users={
            "jane": User(id="jane", allowance=allowance, team="search" if team else None),
            "joe": User(id="joe", team="search" if team else None),
        },
        teams={"search": Team(name="search", allowance=team)} if team else {},
        unpriced=unpriced,  # type: ignore[arg-type]
    )


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    coordinator = Coordinator.open(None)
    yield coordinator
    coordinator.close()


async def test_a_request_that_no_limit_concerns_reserves_nothing(coordinator: Coordinator) -> None:
    limits = Limits(coordinator, snapshot(Allowance(cost_day_usd=Decimal(1))))
    assert not limits.concerns("joe", None, None)
    spending = await limits.reserve(user_id="joe", estimate=None, at=AT)
    assert spending.purse is None
    assert spending.reserved_pico == 0
    spending.settle(tokens=5)
    await limits.reserve(user_id=None, estimate=None, at=AT)
    assert limits.statistics()["accounts"] == 0


async def test_a_users_day_is_spent_by_what_requests_cost_and_not_by_what_they_could_have(coordinator: Coordinator) -> None:
    limits = Limits(coordinator, snapshot(Allowance(cost_day_usd=Decimal("0.10"))))
    for number in range(5):
        spending = await limits.reserve(user_id="jane", estimate=estimate(asked=1000), at=AT)
        assert spending.reserved_pico == 2 * CENT
        assert spending.purse is not None
        assert spending.purse.launch(number, GPT) == 2 * CENT
        spending.purse.settle(number, CENT)
        spending.settle(tokens=1000)
    assert limits.statistics()["refused"]["cost_usd"] == 0
    held = [await limits.reserve(user_id="jane", estimate=estimate(asked=1000), at=AT) for _ in range(2)]
    with pytest.raises(BudgetExceeded) as caught:
        await limits.reserve(user_id="jane", estimate=estimate(input_tokens=2000, asked=10), at=AT)
    assert (caught.value.spent, caught.value.reserved) == (Decimal("0.05"), Decimal("0.04"))
    for each in held:
        each.release()


EVERYTHING = Allowance(
    cost_day_usd=Decimal(5), cost_month_usd=Decimal(50), requests_per_minute=100, tokens_per_minute=90_000, max_concurrent=9
)


@pytest.mark.parametrize("asked", [None, 300])
@pytest.mark.parametrize(
    "allowance", [EVERYTHING, Allowance(tokens_per_minute=90_000), Allowance(max_concurrent=9), Allowance()]
)
@pytest.mark.parametrize("max_cost", [None, Decimal("0.5")])
async def test_what_is_reserved_at_once_is_what_a_request_that_waits_reserves(
    coordinator: Coordinator, allowance: Allowance, asked: int | None, max_cost: Decimal | None
) -> None:
    limits = Limits(coordinator, snapshot(allowance))
    what: dict[str, Any] = {"user_id": "jane", "estimate": estimate(asked=asked), "at": AT, "max_cost_usd": max_cost}
    waited = await limits.reserve(**what)
    at_once = limits.at_once(**what)
    assert at_once is not None
    assert (at_once.reserved_pico, at_once.max_tokens, at_once.losses) == (waited.reserved_pico, waited.max_tokens, ())
    assert (at_once.purse is None) == (waited.purse is None)
    if at_once.reservation is not None and waited.reservation is not None:
        assert at_once.reservation.amounts() == waited.reservation.amounts()
    else:
        assert at_once.reservation is waited.reservation is None


async def test_at_once_reserves_nothing_where_more_has_to_be_leased_or_the_request_made_cheaper(
    coordinator: Coordinator,
) -> None:
    limits = Limits(coordinator, snapshot(Allowance(cost_day_usd=Decimal("0.10"), max_concurrent=2)))
    assert limits.at_once(user_id="jane", estimate=estimate(asked=1000), at=AT) is None  # nothing is leased yet
    held = [await limits.reserve(user_id="jane", estimate=estimate(asked=1000), at=AT) for _ in range(2)]
    used = {account.limit.kind: account.used for account in coordinator.accounts.values()}
    assert used == {"cost_usd": 4 * CENT, "concurrent": 2}
    assert limits.at_once(user_id="jane", estimate=estimate(asked=1000), at=AT) is None  # two run already
    assert {account.limit.kind: account.used for account in coordinator.accounts.values()} == used
    held.pop().release()
    assert limits.at_once(user_id="jane", estimate=estimate(asked=1000), at=AT, max_cost_usd=Decimal("0.015")) is None
    assert {account.limit.kind: account.used for account in coordinator.accounts.values()} == {
        "cost_usd": 2 * CENT,
        "concurrent": 1,
    }
    with pytest.raises(CostTooHigh) as caught:
        limits.at_once(user_id="jane", estimate=estimate(priced=False), at=AT)
    assert caught.value.code == "cost_unknown"
    held.pop().release()


async def test_an_answer_is_shortened_to_what_is_left_of_the_day(coordinator: Coordinator) -> None:
    limits = Limits(coordinator, snapshot(Allowance(cost_day_usd=Decimal("0.03"))))
    spending = await limits.reserve(user_id="jane", estimate=estimate(asked=4000), at=AT)
    assert spending.max_tokens == 2000
    assert spending.reserved_pico == 3 * CENT
    assert spending.losses[0].setting == "sampling.max_tokens"
    assert "cost of user jane in a day" in spending.losses[0].reason


async def test_a_plans_max_cost_holds_without_any_limit_of_a_user(coordinator: Coordinator) -> None:
    limits = Limits(coordinator, Snapshot())
    spending = await limits.reserve(user_id=None, estimate=estimate(), at=AT, max_cost_usd=Decimal("0.02"))
    assert spending.max_tokens == 1000
    assert spending.purse is not None
    assert spending.purse.total == 2 * CENT
    with pytest.raises(CostTooHigh) as caught:
        await limits.reserve(user_id=None, estimate=estimate(), at=AT, max_cost_usd=Decimal("0.01"))
    assert caught.value.limit == "max_cost"


async def test_the_smaller_of_max_cost_and_what_is_left_counts(coordinator: Coordinator) -> None:
    limits = Limits(coordinator, snapshot(Allowance(cost_day_usd=Decimal("0.04"))))
    first = await limits.reserve(user_id="jane", estimate=estimate(), at=AT, max_cost_usd=Decimal("0.015"))
    assert first.max_tokens == 500
    second = await limits.reserve(user_id="jane", estimate=estimate(), at=AT, max_cost_usd=Decimal("0.04"))
    assert second.max_tokens == 1500


async def test_a_closer_estimate_is_made_only_where_the_first_would_refuse_or_shorten(coordinator: Coordinator) -> None:
    limits = Limits(coordinator, snapshot(Allowance(cost_day_usd=Decimal("0.05"))))
    made = []

    def tighten() -> Estimate:
        made.append(1)
        return estimate(input_tokens=250, asked=1000)

    loose = estimate(input_tokens=1000, asked=1000)
    first = await limits.reserve(user_id="jane", estimate=loose, at=AT, tighten=tighten)
    second = await limits.reserve(user_id="jane", estimate=loose, at=AT, tighten=tighten)
    assert (first.reserved_pico, second.reserved_pico, made) == (2 * CENT, 2 * CENT, [])
    first.release()
    third = await limits.reserve(user_id="jane", estimate=estimate(input_tokens=9000, asked=1000), at=AT, tighten=tighten)
    assert (third.reserved_pico, third.max_tokens, made) == (CENT // 4 * 5, None, [1])


async def test_a_price_must_be_known_under_a_cost_limit_unless_the_config_says_otherwise(
    coordinator: Coordinator,
) -> None:
    allowance = Allowance(cost_day_usd=Decimal(1))
    limits = Limits(coordinator, snapshot(allowance))
    with pytest.raises(CostTooHigh, match=r"openai/gpt-4o.*has no price"):
        await limits.reserve(user_id="jane", estimate=estimate(priced=False), at=AT)
    limits.swap(snapshot(allowance, unpriced="allow"))
    spending = await limits.reserve(user_id="jane", estimate=estimate(priced=False), at=AT)
    assert spending.reserved_pico == 0


async def test_a_team_and_a_user_are_both_charged_and_a_team_binds_all_its_users(coordinator: Coordinator) -> None:
    limits = Limits(
        coordinator, snapshot(Allowance(max_concurrent=5), team=Allowance(max_concurrent=2, cost_month_usd=Decimal(1)))
    )
    held = [await limits.reserve(user_id=user, estimate=estimate(asked=10), at=AT) for user in ("jane", "joe")]
    with pytest.raises(RateLimited, match="team search"):
        await limits.reserve(user_id="jane", estimate=estimate(asked=10), at=AT)
    held[1].settle()
    held[0].settle()
    with pytest.raises(CostTooHigh) as caught:
        await limits.reserve(user_id="joe", estimate=estimate(input_tokens=10**6, asked=10), at=AT)
    assert caught.value.limit == "cost of team search in a month"


async def test_a_free_model_is_asked_whatever_is_spent(coordinator: Coordinator) -> None:
    limits = Limits(coordinator, snapshot(Allowance(cost_day_usd=Decimal("0.02"))))
    spending = await limits.reserve(user_id="jane", estimate=estimate(asked=1000), at=AT)
    assert spending.purse is not None
    spending.purse.launch(1, GPT)
    spending.purse.settle(1, 5 * CENT)
    spending.settle()
    free = Estimate(legs=(Leg(target=GPT, input_tokens=10, max_output=10, cost=lambda read, written: 0),))
    (await limits.reserve(user_id="jane", estimate=free, at=AT)).settle()
    with pytest.raises(BudgetExceeded):
        await limits.reserve(user_id="jane", estimate=estimate(asked=16), at=AT)


async def test_tokens_of_a_minute_count_what_was_really_read_and_written(coordinator: Coordinator) -> None:
    limits = Limits(coordinator, snapshot(Allowance(tokens_per_minute=10_000)))
    for _ in range(4):
        spending = await limits.reserve(user_id="jane", estimate=estimate(), at=AT)
        spending.settle(tokens=1500)
    with pytest.raises(RateLimited) as caught:
        await limits.reserve(user_id="jane", estimate=estimate(), at=AT)
    assert (caught.value.spent, caught.value.asked) == (6000, 5000)
    assert caught.value.retry_after_s == 60
    (await limits.reserve(user_id="jane", estimate=estimate(), at=AT + 60)).release()


async def test_a_swap_of_the_config_changes_limits_and_keeps_what_was_used(coordinator: Coordinator) -> None:
    limits = Limits(coordinator, snapshot(Allowance(requests_per_minute=5)))
    for _ in range(3):
        (await limits.reserve(user_id="jane", estimate=None, at=AT)).settle()
    limits.swap(snapshot(Allowance(requests_per_minute=3)))
    with pytest.raises(RateLimited) as caught:
        await limits.reserve(user_id="jane", estimate=None, at=AT)
    assert (caught.value.amount, caught.value.spent) == (3, 3)


async def test_a_swap_of_the_config_holds_for_what_is_reserved_at_once(coordinator: Coordinator) -> None:
    """What is known of a user is known of one snapshot: a lower limit, a higher one, and none."""
    limits = Limits(coordinator, snapshot(Allowance(requests_per_minute=5)))
    what: dict[str, Any] = {"user_id": "jane", "estimate": None, "at": AT}
    (await limits.reserve(**what)).settle()
    for _ in range(2):
        spending = limits.at_once(**what)
        assert spending is not None
        spending.settle()
    limits.swap(snapshot(Allowance(requests_per_minute=3)))
    assert limits.at_once(**what) is None
    with pytest.raises(RateLimited):
        await limits.reserve(**what)
    limits.swap(snapshot(Allowance(requests_per_minute=4)))
    (await limits.reserve(**what)).settle()
    assert limits.at_once(**what) is None
    limits.swap(snapshot(Allowance()))
    free = limits.at_once(**what)
    assert free is not None
    assert free.reservation is None


async def test_whoever_may_wait_for_a_slot_gets_it_when_another_ends(coordinator: Coordinator) -> None:
    limits = Limits(coordinator, snapshot(Allowance(max_concurrent=1)))
    first = await limits.reserve(user_id="jane", estimate=None, at=AT)
    asyncio.get_running_loop().call_later(0.05, first.settle)
    (await limits.reserve(user_id="jane", estimate=None, at=AT, wait_s=5)).settle()
