"""Which machine a plan becomes."""

from __future__ import annotations

import pytest

from podium.errors import ConfigError, Refused
from podium.routing.snapshot import Plan, Strategy
from podium.routing.strategies.build import build
from podium.routing.strategies.machine import Deliver, Done, Errored, Launch, View
from podium.types import Considered, Output, Reasons, Target
from routing.strategies.virtual import answer

A, B = TARGETS = tuple(Target(provider=name, model="m") for name in "ab")
VIEW = View(now=0.0, deadline=10.0)


def plan(strategy: Strategy) -> Plan:
    skipped = (Considered(name="c/m", why="it is disabled"),)
    reasons = Reasons(spec="tier:t", rule="tier", steps=(), strategy=strategy.name, targets=TARGETS, skipped=skipped)
    return Plan(strategy=strategy, targets=TARGETS, reasons=reasons)


@pytest.mark.parametrize(("strategy", "count"), [("first", 1), ("fallback", 1), ("race", 2), ("consensus", 2)])
def test_each_strategy_launches_its_first_targets(strategy: str, count: int) -> None:
    launches = [Launch(attempt=1, target=A), Launch(attempt=2, target=B)][:count]
    assert build(plan(Strategy(name=strategy))).begin(VIEW) == launches  # type: ignore[arg-type]


def test_a_fallback_gets_the_errors_after_which_it_moves_on() -> None:
    machine = build(plan(Strategy(name="fallback", fallback_on=("refused",))))
    machine.begin(VIEW)
    assert machine.handle(Errored(1, Refused("no")), VIEW) == [Launch(attempt=2, target=B)]


def test_a_consensus_gets_the_skipped_targets_and_the_form_of_the_output() -> None:
    machine = build(plan(Strategy(name="consensus", min_answers=1)), Output(kind="json"))
    machine.begin(VIEW)
    machine.handle(Done(1, answer("[1]")), VIEW)
    (end,) = machine.handle(Done(2, answer("[1.0]")), VIEW)
    assert isinstance(end, Deliver)
    assert (end.consensus.judge, end.consensus.n_configured, end.consensus.agreement) == ("json", 3, 2 / 3)


def test_an_answer_pattern_that_is_no_regular_expression_is_a_fault_of_the_config() -> None:
    with pytest.raises(ConfigError):
        build(plan(Strategy(name="consensus", answer_pattern="(")))
