"""What holds for every strategy, whatever the targets, the caller and the clock do."""

from __future__ import annotations

from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from podium.errors import (
    AuthFailed,
    BudgetExceeded,
    ContextTooLong,
    InvalidRequest,
    Overloaded,
    PodiumError,
    ProtocolBroken,
    RateLimited,
    Refused,
    Throttled,
    Unreachable,
)
from podium.routing.snapshot import Plan, Strategy
from podium.routing.strategies.build import build
from podium.routing.strategies.gather import Gather
from podium.routing.strategies.machine import Abandoned, Done, Errored, Expired, FirstContent, Machine, Rejected, Woke
from podium.routing.strategies.panel import Panel
from podium.routing.strategies.staggered import Staggered
from podium.routing.strategies.waits import delay_s
from podium.types import Considered, Reasons, Target
from routing.strategies.virtual import Act, Launched, World, answer, play

TARGETS = tuple(Target(provider=name, model="m") for name in "abcd")
NUMBERS = ['{"a": 1}', '{"a":1.0}', '{"a": 2}', '{"a": 3}', '{"a": 4}']
TEXTS = ["yes", "no", "maybe", *NUMBERS, "[1]", "", " "]
FIELDS: dict[str, float] = {"a": 1.0}

moving = st.sampled_from([AuthFailed, ContextTooLong, Overloaded, Unreachable, ProtocolBroken]).map(lambda kind: kind("no"))
ending = st.sampled_from([InvalidRequest, Refused]).map(lambda kind: kind("no"))
throttled = st.floats(0.1, 40.0).map(lambda wait: Throttled("slow down", retry_after_s=wait))
errors: st.SearchStrategy[PodiumError] = moving | ending | throttled
rejections = st.sampled_from([RateLimited("busy", retry_after_s=1.0), RateLimited("busy"), BudgetExceeded("spent")])
seconds = st.floats(0.01, 8.0)
answers = st.sampled_from(TEXTS).map(answer)


@st.composite
def good_acts(draw: st.DrawFn) -> Act:
    first = draw(seconds)
    return Act(first_s=first, end_s=first + draw(seconds), response=draw(answers))


def acts_of(
    first_s: st.SearchStrategy[float], end_s: st.SearchStrategy[float], error: st.SearchStrategy[PodiumError]
) -> st.SearchStrategy[Act]:
    return st.tuples(first_s, end_s, error).map(lambda drawn: Act(drawn[0], drawn[1], error=drawn[2]))


never = st.just(inf)
failing_acts = acts_of(never, seconds, errors)
empty_acts = st.tuples(seconds, answers).map(lambda drawn: Act(inf, drawn[0], response=drawn[1]))
breaking_acts = acts_of(seconds, seconds, errors)
hanging_acts = (seconds | never).map(lambda first: Act(first, inf))
rejected_acts = rejections.map(lambda error: Act(end_s=0.0, error=error, rejected=True))
acts = st.one_of(good_acts(), failing_acts, empty_acts, breaking_acts, hanging_acts, rejected_acts)
finite_acts = st.one_of(good_acts(), failing_acts)
scripts = st.fixed_dictionaries({target: st.lists(acts, min_size=1, max_size=3) for target in TARGETS})
finite_scripts = st.fixed_dictionaries({target: st.lists(finite_acts, min_size=1, max_size=3) for target in TARGETS})
targets = st.integers(1, 4).flatmap(lambda count: st.permutations(TARGETS).map(lambda order: tuple(order[:count])))
blocks = st.dictionaries(st.sampled_from(TARGETS), st.floats(0.0, 30.0), max_size=4)

consensus = st.builds(
    Strategy,
    name=st.just("consensus"),
    retries=st.integers(0, 2),
    judge=st.sampled_from(["auto", "exact", "json"]),
    fields=st.sampled_from([None, {"a": 0.0}, FIELDS]),
    min_answers=st.integers(1, 3),
    quorum=st.none() | st.integers(1, 4),
    on_insufficient=st.sampled_from(["error", "best"]),
    on_disagree=st.sampled_from([None, "escalate", "plurality", "error"]),
    escalate_to=st.none() | st.sampled_from(TARGETS),
)
staggered = st.builds(
    Strategy,
    name=st.sampled_from(["first", "fallback", "race"]),
    retries=st.integers(0, 3),
    fallback_on=st.sampled_from([None, None, ("refused", "overloaded"), ()]),
)


def plan(strategy: Strategy, of: tuple[Target, ...], skipped: int = 0) -> Plan:
    names = tuple(Considered(name=f"skipped{index}/m", why="it is disabled") for index in range(skipped))
    reasons = Reasons(spec="tier:t", rule="tier", steps=(), strategy=strategy.name, targets=of, skipped=names)
    return Plan(strategy=strategy, targets=of, reasons=reasons)


@given(
    strategy=staggered | consensus,
    of=targets,
    script=scripts,
    not_before=blocks,
    deadline=st.floats(0.5, 60.0),
    abandon_at=st.just(inf) | st.floats(0.0, 30.0),
    skipped=st.integers(0, 2),
    chance=st.randoms(use_true_random=False),
)
@settings(max_examples=400, deadline=None)
def test_every_request_ends_and_keeps_the_contract(
    strategy: Strategy,
    of: tuple[Target, ...],
    script: dict[Target, list[Act]],
    not_before: dict[Target, float],
    deadline: float,
    abandon_at: float,
    skipped: int,
    chance: Random,
) -> None:
    machine = build(plan(strategy, of, skipped), None)
    world = World(machine, deadline=deadline, not_before=not_before, draw=chance.random)
    play(world, script, abandon_at=abandon_at)
    assert world.violations == []
    assert world.ended is not None
    assert world.running == {}
    assert set(world.endings) == {launch.attempt for launch in world.launches}, "every launched attempt ends"
    assert world.now <= deadline
    assert (world.delivered is None) or (world.committed is None), "at most one of Commit and Deliver"
    if strategy.name == "consensus":
        consistent(world, strategy, len(of) + skipped)
    else:
        assert world.delivered is None
    later = list(world.launches)
    for signal in (Woke(1), Abandoned(), Expired(), FirstContent(1)):
        assert machine.handle(signal, world.view()) == [], "nothing moves after the end"
    assert world.launches == later


def consistent(world: World, strategy: Strategy, n: int) -> None:
    """What a consensus says of itself adds up."""
    end = world.delivered or world.failure
    if end is None or end.consensus is None:
        return
    found = end.consensus
    votes = found.clusters[0].votes if found.clusters else 0
    assert found.agreement == votes / n
    assert found.quorum_met == (found.clusters != () and votes >= found.quorum)
    assert found.n_configured == n
    assert sum(each.votes for each in found.clusters) == found.n_ok <= n
    assert len(found.dissent) == found.n_ok - votes
    assert 0.0 <= found.entropy_agreement <= 1.0
    assert found.sufficient == (found.n_ok >= strategy.min_answers)
    assert [each.votes for each in found.clusters] == sorted((each.votes for each in found.clusters), reverse=True)
    if world.delivered is not None:
        assert found.sufficient or strategy.on_insufficient == "best"
        target = world.launches[world.delivered.attempt - 1].target
        assert target == found.escalated_to or target in found.clusters[0].targets


@given(of=targets, script=scripts, data=st.data(), draw=st.floats(0.0, 0.999))
@settings(deadline=None)
def test_a_race_with_one_good_target_always_succeeds(
    of: tuple[Target, ...], script: dict[Target, list[Act]], data: st.DataObject, draw: float
) -> None:
    good = data.draw(st.sampled_from(of))
    fine = data.draw(good_acts())
    # The others may fail, hang or answer nothing, but do not begin an answer and break it: that would be the answer.
    quiet = {target: [act._replace(first_s=inf) for act in each] for target, each in script.items()}
    world = World(Staggered(of, "race"), deadline=60.0, draw=lambda: draw)
    play(world, {**quiet, good: [fine]})
    assert world.violations == []
    assert world.ended == "done"
    assert world.committed is not None
    winner = world.launches[world.committed - 1].target
    assert winner == good or world.now <= fine.first_s


@given(of=targets, data=st.data(), wait=st.floats(0.1, 30.0), draw=st.floats(0.0, 0.999))
@settings(deadline=None)
def test_a_race_with_one_good_target_succeeds_even_if_that_one_asked_to_be_left_alone(
    of: tuple[Target, ...], data: st.DataObject, wait: float, draw: float
) -> None:
    good = data.draw(st.sampled_from(of))
    failing = st.lists(acts_of(never, seconds, moving | throttled), min_size=1, max_size=3)
    script = {target: data.draw(failing) for target in of}
    world = World(Staggered(of, "race"), deadline=600.0, not_before={good: wait}, draw=lambda: draw)
    play(world, {**script, good: [data.draw(good_acts())]})
    assert (world.violations, world.ended) == ([], "done")


@given(of=targets, script=scripts, not_before=blocks, draw=st.floats(0.0, 0.999), deadline=st.floats(0.5, 90.0))
@settings(max_examples=300, deadline=None)
def test_a_fallback_tries_in_order_and_one_at_a_time(
    of: tuple[Target, ...], script: dict[Target, list[Act]], not_before: dict[Target, float], draw: float, deadline: float
) -> None:
    world = World(Staggered(of, "fallback"), deadline=deadline, not_before=not_before, draw=lambda: draw)
    play(world, script)
    assert world.violations == []
    assert world.most_running <= 1
    left = list(of)
    for launch in world.launches:
        if launch.target in left:
            free = [target for target in left if target not in launch.blocked]
            assert launch.target == free[0], "the first of those that may be asked"
            left.remove(launch.target)
    if not not_before and not any(isinstance(error, Throttled) for error in world.errors.values()):
        firsts = list(dict.fromkeys(launch.target for launch in world.launches))
        assert firsts == list(of[: len(firsts)])
    stop = next((a for a, e in world.errors.items() if not e.moves_on), None)
    if stop is not None:
        assert {launch.target for launch in world.launches[stop:]} <= {world.launches[stop - 1].target}, "nobody else is asked"


@given(
    mode=st.sampled_from(["first", "fallback", "race"]),
    of=targets,
    script=scripts,
    not_before=blocks,
    retries=st.integers(0, 4),
    draw=st.floats(0.0, 0.999),
)
@settings(max_examples=300, deadline=None)
def test_retries_are_few_late_enough_and_only_where_nobody_else_can_be_asked(
    mode: Any,
    of: tuple[Target, ...],
    script: dict[Target, list[Act]],
    not_before: dict[Target, float],
    retries: int,
    draw: float,
) -> None:
    world = World(Staggered(of, mode, retries=retries), deadline=120.0, not_before=not_before, draw=lambda: draw)
    ended_at: dict[int, float] = {}
    send = world.send

    def note(signal: Any) -> Any:
        if isinstance(signal, Errored | Rejected):
            ended_at[signal.attempt] = world.now
        return send(signal)

    world.send = note  # type: ignore[method-assign]
    play(world, script)
    asked: dict[Target, list[Launched]] = {}
    for launch in world.launches:
        before = asked.setdefault(launch.target, [])
        if before:
            last = before[-1]
            error = world.errors[last.attempt]
            assert error.retryable
            wait = launch.at - ended_at[last.attempt]
            assert wait >= max(delay_s(len(before) - 1, draw), error.retry_after_s or 0.0) - 1e-9
            running = [each for each in world.launches[: launch.attempt - 1] if ended_at.get(each.attempt, inf) > launch.at]
            assert running == [], "no other target runs"
            left = set(of) - set(asked)
            assert mode == "first" or any(not e.moves_on for e in world.errors.values()) or left <= launch.blocked
        before.append(launch)
        assert len(before) <= retries + 1


class Patient(Gather):
    """A consensus that waits for all: it stops nothing early."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._panel.__class__ = PatientPanel


class PatientPanel(Panel):
    def certain(self, out: Any) -> bool:
        return not out

    def hopeless(self, out: Any) -> bool:
        return False


@given(
    strategy=consensus,
    of=st.lists(st.sampled_from(TARGETS), min_size=1, max_size=6).map(tuple),
    script=finite_scripts,
    skipped=st.integers(0, 1),
)
@settings(max_examples=400, deadline=None)
def test_stopping_early_changes_neither_the_winner_nor_its_quorum(
    strategy: Strategy, of: tuple[Target, ...], script: dict[Target, list[Act]], skipped: int
) -> None:
    names = plan(strategy, of, skipped).reasons.skipped
    # A target's n-th act must not depend on what was asked before it: each target does the same each time.
    steady = {target: each[:1] for target, each in script.items()}
    early = play(World(Gather(of, strategy, skipped=names)), steady)
    late = play(World(Patient(of, strategy, skipped=names)), steady)
    assert early.violations == late.violations == []
    assert early.now <= late.now
    assert len(early.launches) <= len(late.launches)
    assert early.ended == late.ended
    if early.delivered is None or late.delivered is None:
        assert early.failure is not None
        assert late.failure is not None
        assert (early.failure.error is None) <= (late.failure.error is None)
        if late.failure.error is not None:
            assert type(early.failure.error) is type(late.failure.error)
        return
    one, other = early.delivered.consensus, late.delivered.consensus
    assert (one.quorum_met, one.escalated_to, one.sufficient) == (other.quorum_met, other.escalated_to, other.sufficient)
    winner = early.launches[early.delivered.attempt - 1].target
    assert winner == one.escalated_to or winner in other.clusters[0].targets


@given(
    strategy=consensus.map(lambda each: each.replace(escalate_to=None)),
    texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=6) | st.lists(st.sampled_from(NUMBERS), min_size=3, max_size=6),
    data=st.data(),
)
@settings(max_examples=400, deadline=None)
def test_what_a_panel_calls_certain_no_further_answer_or_failure_changes(
    strategy: Strategy, texts: list[str], data: st.DataObject
) -> None:
    of = tuple(Target(provider=str(place), model="m") for place in range(len(texts)))
    panel = Panel(of, strategy)
    order = data.draw(st.permutations(range(len(texts))))
    fixed: tuple[int, bool, bool] | None = None
    for done, place in enumerate(order):
        if data.draw(st.booleans()):
            panel.add(place, answer(texts[place]))
        else:
            panel.add_failure(place, of[place], "it failed")
        verdict = panel.verdict()
        enough = len(verdict.votes) >= strategy.min_answers
        if fixed is not None:
            assert fixed[0] in verdict.clusters[0]
            assert fixed[1:] == (verdict.quorum_met, enough)
        elif panel.certain(order[done + 1 :]) and order[done + 1 :]:
            fixed = (verdict.clusters[0][0], verdict.quorum_met, enough)


class AnyOrder(RuleBasedStateMachine):
    """Signals in any order that the contract allows, at any instant."""

    @initialize(
        strategy=staggered | consensus, of=targets, not_before=blocks, deadline=st.floats(1.0, 60.0), hedged=st.booleans()
    )
    def begin(
        self, strategy: Strategy, of: tuple[Target, ...], not_before: dict[Target, float], deadline: float, hedged: bool
    ) -> None:
        machine: Machine = build(plan(strategy, of), None)
        if hedged and strategy.name == "race":
            machine = Staggered(of, "race", retries=strategy.retries, delay_s=0.5)
        self.world = World(machine, deadline=deadline, not_before=not_before)
        self.spoken: set[int] = set()
        self.world.begin()

    def alive(self) -> bool:
        return self.world.ended is None

    def running(self) -> bool:
        return self.alive() and bool(self.world.running)

    def pass_time(self, share: float) -> None:
        """Move on, though not past the next wake or the deadline."""
        end = min([self.world.deadline, *self.world.wakes.values()])
        self.world.now += max(0.0, end - self.world.now) * share

    @precondition(running)
    @rule(data=st.data(), share=st.floats(0.0, 0.9))
    def begin_answer(self, data: st.DataObject, share: float) -> None:
        silent = [attempt for attempt in self.world.running if attempt not in self.spoken]
        if silent:
            self.pass_time(share)
            attempt = data.draw(st.sampled_from(silent))
            self.spoken.add(attempt)
            self.world.send(FirstContent(attempt))

    @precondition(running)
    @rule(data=st.data(), response=answers, share=st.floats(0.0, 0.9))
    def end_answer(self, data: st.DataObject, response: Any, share: float) -> None:
        self.pass_time(share)
        self.world.send(Done(data.draw(st.sampled_from(sorted(self.world.running))), response))

    @precondition(running)
    @rule(data=st.data(), error=errors, share=st.floats(0.0, 0.9))
    def fail(self, data: st.DataObject, error: PodiumError, share: float) -> None:
        self.pass_time(share)
        self.world.send(Errored(data.draw(st.sampled_from(sorted(self.world.running))), error))

    @precondition(running)
    @rule(data=st.data(), error=rejections)
    def reject(self, data: st.DataObject, error: PodiumError) -> None:
        silent = [attempt for attempt in self.world.running if attempt not in self.spoken]
        if silent:
            self.world.send(Rejected(data.draw(st.sampled_from(silent)), error))

    @precondition(lambda self: self.alive() and self.world.wakes)
    @rule()
    def wake(self) -> None:
        id = min(self.world.wakes, key=lambda each: self.world.wakes[each])
        if self.world.wakes[id] < self.world.deadline:
            self.world.now = max(self.world.now, self.world.wakes[id])
            self.world.send(Woke(id))

    @precondition(alive)
    @rule(who=st.sampled_from(TARGETS), wait=st.floats(0.1, 20.0))
    def be_throttled_elsewhere(self, who: Target, wait: float) -> None:
        """Another request was told to leave a target alone."""
        self.world.not_before[who] = self.world.now + wait

    @precondition(alive)
    @rule(chance=st.integers(0, 9))
    def leave(self, chance: int) -> None:
        if chance == 0:
            self.world.send(Abandoned())

    @precondition(alive)
    @rule(chance=st.integers(0, 9))
    def expire(self, chance: int) -> None:
        if chance == 0:
            self.world.now = self.world.deadline
            self.world.send(Expired())

    @precondition(lambda self: not self.alive())
    @rule(attempt=st.integers(1, 6))
    def stay_ended(self, attempt: int) -> None:
        for signal in (
            FirstContent(attempt),
            Done(attempt, answer("late")),
            Errored(attempt, Overloaded("late")),
            Woke(attempt),
        ):
            assert self.world.machine.handle(signal, self.world.view()) == []

    @invariant()
    def the_contract_holds(self) -> None:
        if hasattr(self, "world"):
            assert self.world.violations == []

    def teardown(self) -> None:
        if hasattr(self, "world") and self.world.ended is None:
            self.world.now = self.world.deadline
            self.world.send(Expired())
            assert self.world.violations == []
            assert set(self.world.endings) == {launch.attempt for launch in self.world.launches}


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=200, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("name", ["first", "fallback", "race", "consensus"])
def test_thousands_of_seeded_requests_keep_the_contract_and_the_race_is_the_surest(name: Any) -> None:
    """Three targets that fail two times in ten, each on its own: a race fails only where all three do."""
    chance = Random(7)
    of = TARGETS[:3]
    requests, ended = 4_000, dict.fromkeys(("done", "delivered", "failed"), 0)
    for _ in range(requests):
        script = {
            target: [
                Act(inf, 0.2, error=AuthFailed("no"))
                if chance.random() < 0.2
                else Act(chance.lognormvariate(-1.0, 1.0), 30.0, response=answer(chance.choice(["yes", "no"])))
            ]
            for target in of
        }
        world = play(World(build(plan(Strategy(name=name, retries=0), of)), draw=chance.random), script)
        assert world.violations == []
        assert world.ended is not None
        ended[world.ended] += 1
    expected = {"first": 0.2, "fallback": 0.008, "race": 0.008, "consensus": 0.104}[name]
    assert ended["failed"] / requests == pytest.approx(expected, abs=0.015)
