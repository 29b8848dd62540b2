"""What a request may cost at most, the output that money allows, and what its attempts use up."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from podium.errors import CostTooHigh
from podium.routing.limits import PICO
from podium.routing.spending import (
    LEAST_OUTPUT,
    Decision,
    Estimate,
    Leg,
    Purse,
    check_bounded,
    decide,
    max_cost,
    purse_for,
    strategy_targets,
)
from routing.samples import target, targets


def leg(
    name: str = "openai/gpt-4o",
    *,
    input_rate: int = 2,
    output_rate: int = 10,
    input_tokens: int = 1000,
    max_output: int = 4096,
    answers: int = 1,
    fee: int = 0,
    clampable: bool = True,
) -> Leg:
    """A leg whose tokens cost whole micro-dollars."""

    def cost(read: int, written: int) -> int:
        return (fee + read * input_rate + written * output_rate) * 1_000_000

    return Leg(
        target=target(name), input_tokens=input_tokens, max_output=max_output, answers=answers, cost=cost, clampable=clampable
    )


LEGS = st.builds(
    leg,
    name=st.sampled_from(("openai/gpt-4o", "anthropic/claude-sonnet-4-5", "groq/llama-3.3-70b")),
    input_rate=st.integers(0, 100),
    output_rate=st.integers(0, 500),
    input_tokens=st.integers(0, 200_000),
    max_output=st.integers(1, 128_000),
    answers=st.integers(1, 4),
    fee=st.integers(0, 10_000),
    clampable=st.booleans(),
)
ESTIMATES = st.builds(
    Estimate, legs=st.lists(LEGS, min_size=1, max_size=5).map(tuple), asked_output=st.none() | st.integers(1, 128_000)
)
MONEY = st.integers(0, 100 * PICO)


def test_the_bound_is_the_sum_over_all_legs() -> None:
    each = leg()
    estimate = Estimate(legs=(each, each, leg(max_output=100)))
    assert each.highest() == (1000 * 2 + 4096 * 10) * 1_000_000
    assert estimate.total() == 2 * each.highest() + (1000 * 2 + 100 * 10) * 1_000_000
    assert estimate.tokens() == 3000 + 4096 * 2 + 100


def test_several_answers_multiply_the_output() -> None:
    assert leg(answers=3, max_output=100).highest() == (2000 + 3 * 100 * 10) * 1_000_000


def test_enough_money_changes_nothing() -> None:
    estimate = Estimate(legs=(leg(),))
    for allowed in (None, estimate.total()):
        assert decide(estimate, allowed) == Decision(pico=estimate.total())


def test_an_output_without_a_bound_of_its_own_is_sent_with_one() -> None:
    estimate = Estimate(legs=(leg(max_output=8192),), explicit=True)
    assert decide(estimate, None).max_tokens == 8192


def test_too_little_money_shortens_the_answer_and_says_so() -> None:
    estimate = Estimate(legs=(leg(),), asked_output=4096)
    decision = decide(estimate, 22_000 * 1_000_000, of="max_cost")
    assert decision.max_tokens == 2000
    assert decision.pico == 22_000 * 1_000_000
    (loss,) = decision.losses
    assert loss.setting == "sampling.max_tokens"
    assert loss.reason == "Lowered to 2000 tokens (4096 were asked): more could cost over $0.022 (max_cost)."


@given(ESTIMATES, MONEY)
def test_what_is_decided_never_costs_more_than_is_allowed_and_is_the_longest_answer_that_does_not(
    estimate: Estimate, allowed: int
) -> None:
    try:
        decision = decide(estimate, allowed)
    except CostTooHigh:
        assert estimate.total(min(LEAST_OUTPUT, estimate.most_output)) > allowed
        return
    assert decision.pico == estimate.total(decision.max_tokens) <= allowed
    if decision.max_tokens is not None:
        assert decision.max_tokens < estimate.most_output
        assert estimate.total(decision.max_tokens + 1) > allowed
        assert decision.losses


def test_a_request_whose_least_answer_is_too_dear_is_refused_with_its_legs() -> None:
    estimate = Estimate(legs=(leg(input_tokens=1_000_000), leg("groq/llama-3.3-70b")))
    with pytest.raises(CostTooHigh) as caught:
        decide(estimate, PICO, of="cost of user jane in a day")
    error = caught.value
    assert (error.amount, error.limit) == (Decimal(1), "cost of user jane in a day")
    assert error.asked == Decimal("2.00232")
    assert "openai/gpt-4o $2.00016" in str(error)
    assert "16 tokens" in str(error)


def test_an_answer_is_not_shortened_below_what_the_model_is_told_to_reason() -> None:
    estimate = Estimate(legs=(leg(input_tokens=0),), asked_output=4096, least_output=2064)
    assert decide(estimate, 20_640 * 1_000_000).max_tokens == 2064
    with pytest.raises(CostTooHigh):
        decide(estimate, 20_640 * 1_000_000 - 1)


def test_a_leg_that_takes_no_max_tokens_is_counted_at_its_most() -> None:
    fixed = leg("openai/o1-preview", clampable=False, input_tokens=0, max_output=1000)
    estimate = Estimate(legs=(fixed, leg(input_tokens=0)))
    decision = decide(estimate, 15_000 * 1_000_000)
    assert decision.max_tokens == 500
    assert decision.pico == (1000 + 500) * 10 * 1_000_000


def test_a_leg_without_a_price_is_refused_under_a_cost_limit_or_counts_as_nothing() -> None:
    unknown = Leg(target=target("acme/foo"), input_tokens=10, max_output=10, why="it has no price. Give it one.")
    estimate = Estimate(legs=(leg(), unknown))
    with pytest.raises(
        CostTooHigh, match=r"acme/foo .* and max_cost holds: it has no price\. Give it one\..*unpriced: allow"
    ) as caught:
        check_bounded(estimate, "refuse", limit="max_cost")
    assert caught.value.code == "cost_unknown"
    check_bounded(estimate, "allow", limit="max_cost")
    check_bounded(Estimate(legs=(leg(),)), "refuse", limit="max_cost")
    assert estimate.total() == leg().highest()


def test_a_maximum_of_money_is_never_rounded_up() -> None:
    assert max_cost(Decimal("0.0000000000019")) == 1
    assert max_cost(None) is None


A, B = targets("openai/gpt-4o", "groq/llama-3.3-70b")


def purse(*legs: Leg) -> Purse:
    estimate = Estimate(legs=legs)
    return purse_for(estimate, decide(estimate, None))


def test_a_fallback_pays_all_its_legs_even_where_each_failure_is_charged() -> None:
    mine = purse(leg(str(A)), leg(str(B)))
    assert mine.launch(1, A)
    assert mine.settle(1, None) == leg().highest()
    assert mine.launch(2, B)
    mine.settle(2, leg().highest())
    assert mine.spent == mine.total == mine.owed
    assert not mine.exact


def test_a_retry_is_paid_by_a_failure_that_was_not_charged() -> None:
    mine = purse(leg(str(A)))
    assert mine.launch(1, A)
    assert mine.settle(1, None, billable=False) == 0
    assert mine.launch(2, A)
    mine.settle(2, 5)
    assert (mine.spent, mine.exact) == (5, True)


def test_a_retry_after_a_failure_that_may_have_been_charged_is_refused() -> None:
    mine = purse(leg(str(A)))
    mine.launch(1, A)
    mine.settle(1, None, billable=True)
    assert mine.launch(2, A) is None
    error = mine.refusal(A)
    assert error.spent == error.amount == error.asked == Decimal("0.04296")


@given(
    legs=st.lists(LEGS, min_size=1, max_size=4),
    steps=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1), st.booleans(), st.booleans()), max_size=20),
)
def test_whatever_attempts_do_a_request_never_spends_more_than_it_reserved(
    legs: list[Leg], steps: list[tuple[int, float, bool, bool]]
) -> None:
    mine = purse(*legs)
    running: dict[int, int] = {}
    for number, (place, share, known, billable) in enumerate(steps):
        highest = mine.launch(number, legs[place % len(legs)].target)
        if highest is not None:
            running[number] = highest
        assert mine.owed <= mine.total
        if running and share > 0.5:
            attempt, most = running.popitem()
            mine.settle(attempt, int(most * (share - 0.5) * 2) if known else None, billable=billable)
        assert 0 <= mine.spent <= mine.owed <= mine.total


@given(st.lists(LEGS, min_size=1, max_size=4))
def test_every_leg_can_be_asked_once(legs: list[Leg]) -> None:
    assume(len({each.target for each in legs}) == len(legs))
    mine = purse(*legs)
    for number, each in enumerate(legs):
        assert mine.launch(number, each.target) is not None


def test_each_strategy_is_counted_with_all_that_it_may_ask() -> None:
    listed = (A, B)
    assert strategy_targets("first", listed, None) == (A,)
    assert strategy_targets("fallback", listed, A) == listed
    assert strategy_targets("race", listed, None) == listed
    assert strategy_targets("consensus", listed, A) == (A, B, A)
