"""The strategy `consensus`, case by case."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from podium.errors import AuthFailed, InsufficientAnswers, NoQuorum, Overloaded, PodiumError, Throttled, TimedOut
from podium.routing.snapshot import Strategy
from podium.routing.strategies.gather import Gather
from podium.routing.strategies.machine import Deliver
from podium.types import Choice, Consensus, Considered, Finish, Output, Response, Target, Text
from routing.strategies.virtual import Act, Script, World, answer, play

A, B, C, D = (Target(provider=name, model="m") for name in ("a", "b", "c", "d"))


def says(text: str, end_s: float = 1.0) -> Act:
    return Act(first_s=0.1, end_s=end_s, response=answer(text))


def fails(error: PodiumError, end_s: float = 0.2) -> Act:
    return Act(first_s=inf, end_s=end_s, error=error)


def run(
    script: Script,
    *,
    targets: tuple[Target, ...] | None = None,
    skipped: tuple[Considered, ...] = (),
    output: Output | None = None,
    deadline: float = 600.0,
    not_before: dict[Target, float] | None = None,
    abandon_at: float = inf,
    **settings: Any,
) -> World:
    strategy = Strategy(name="consensus", **settings)
    escalation = {strategy.escalate_to} - {None}
    asked = targets or tuple(target for target in script if target not in escalation)
    world = World(Gather(asked, strategy, skipped=skipped, output=output), deadline=deadline, not_before=not_before)
    play(world, script, abandon_at=abandon_at)
    assert world.violations == []
    return world


def delivered(world: World) -> Deliver:
    assert world.delivered is not None
    return world.delivered


def failed(world: World) -> tuple[PodiumError | None, Consensus]:
    assert world.failure is not None
    assert world.failure.consensus is not None
    return world.failure.error, world.failure.consensus


def test_all_targets_are_asked_at_once_and_the_majority_is_delivered() -> None:
    world = run({A: [says("Lyon", 0.5)], B: [says("Paris.", 1.0)], C: [says("paris", 1.5)]})
    assert [(launch.target, launch.at) for launch in world.launches] == [(A, 0.0), (B, 0.0), (C, 0.0)]
    end = delivered(world)
    assert (end.attempt, end.response.text) == (2, "Paris."), "the first declared target of the winning cluster, as it came"
    found = end.consensus
    assert (found.judge, found.agreement, found.quorum, found.quorum_met) == ("exact", 2 / 3, 2, True)
    assert [(each.key, each.votes, each.targets) for each in found.clusters] == [("paris", 2, (B, C)), ("lyon", 1, (A,))]
    assert [(each.target, each.text, each.key) for each in found.dissent] == [(A, "Lyon", "lyon")]
    assert (found.n_configured, found.n_ok, found.errors, found.stopped_early) == (3, 3, (), False)


def test_the_stragglers_are_cancelled_once_they_can_change_nothing() -> None:
    world = run({A: [says("yes", 0.5)], B: [says("Yes", 1.0)], C: [says("no", 50.0)]})
    assert (world.now, world.endings[3]) == (1.0, "lost")
    found = delivered(world).consensus
    assert (found.stopped_early, found.quorum_met, found.agreement, found.n_ok) == (True, True, 2 / 3, 2)


def test_a_straggler_that_could_still_overtake_or_tie_is_waited_for() -> None:
    script = {A: [says("x", 9.0)], B: [says("y", 0.5)], C: [says("z", 9.5)]}
    assert run(script, quorum=1, min_answers=1).now == 9.5


def test_a_tie_goes_to_the_target_that_was_declared_first() -> None:
    script = {A: [says("x", 4.0)], B: [says("y", 1.0)], C: [says("y", 2.0)], D: [says("x", 3.0)]}
    found = delivered(run(script))
    assert (found.response.text, found.consensus.quorum, found.consensus.quorum_met) == ("x", 3, False)


def test_a_target_that_failed_counts_against_the_agreement() -> None:
    found = delivered(run({A: [says("yes")], B: [says("yes")], C: [fails(AuthFailed("The key is wrong."))]})).consensus
    assert (found.agreement, found.entropy_agreement, found.n_ok) == (2 / 3, 1.0, 2)
    assert found.errors == (Considered(name="c/m", why="The key is wrong"),)


def test_a_skipped_target_counts_as_configured() -> None:
    skipped = (Considered(name="d/m", why="it is disabled"), Considered(name="e/m", why="it has no key"))
    found = delivered(run({A: [says("yes")], B: [says("yes")]}, skipped=skipped)).consensus
    assert (found.n_configured, found.quorum, found.quorum_met, found.agreement) == (4, 3, False, 0.5)
    assert found.errors == skipped


def test_a_target_may_be_asked_several_times_and_each_answer_is_a_vote() -> None:
    script = {A: [says("yes", 3.0), says("no", 2.0), says("yes", 1.0)]}
    found = delivered(run(script, targets=(A, A, A))).consensus
    assert (found.n_configured, [each.votes for each in found.clusters]) == (3, [2, 1])


def test_a_retryable_error_is_retried_while_others_run() -> None:
    world = run({A: [says("yes", 5.0)], B: [fails(Overloaded("busy")), says("yes")], C: [says("no")]})
    assert (len(world.launches), world.launches[3].target) == (4, B)
    assert world.launches[3].at == pytest.approx(0.575)
    assert delivered(world).consensus.n_ok == 3


def test_a_target_that_asked_to_be_left_alone_is_asked_when_its_time_comes() -> None:
    world = run({A: [says("yes")], B: [says("yes")], C: [says("no")]}, not_before={B: 3.0})
    assert [(launch.target, launch.at) for launch in world.launches] == [(A, 0.0), (C, 0.0), (B, 3.0)]


def test_a_target_that_is_not_free_before_the_deadline_gives_no_answer() -> None:
    world = run({A: [says("yes")], B: [says("yes")], C: [says("no")]}, not_before={C: 900.0})
    assert "left alone" in delivered(world).consensus.errors[0].why


def test_nobody_free_before_the_deadline_is_an_error_that_says_when() -> None:
    error, _ = failed(run({A: [says("yes")], B: [says("yes")]}, not_before={A: 900.0, B: 950.0}))
    assert isinstance(error, Throttled)
    assert error.retry_after_s == 900.0


def test_too_few_answers_are_an_error_that_names_the_failures() -> None:
    error, found = failed(run({A: [says("yes")], B: [fails(AuthFailed("The key is wrong."), 2.0)]}))
    assert isinstance(error, InsufficientAnswers)
    assert "b/m: The key is wrong" in error.message
    assert (found.sufficient, found.n_ok) == (False, 1)


def test_too_few_answers_are_known_as_soon_as_they_are_certain() -> None:
    world = run({A: [says("yes", 50.0)], B: [fails(AuthFailed("no"))]})
    assert (world.now, world.endings) == (0.2, {2: "errored", 1: "lost"})
    assert isinstance(failed(world)[0], InsufficientAnswers)


def test_too_few_answers_are_delivered_and_flagged_where_best_is_enough() -> None:
    found = delivered(run({A: [fails(AuthFailed("no"))], B: [says("yes", 50.0)]}, on_insufficient="best"))
    assert (found.response.text, found.consensus.sufficient, found.consensus.quorum_met) == ("yes", False, False)


def test_no_answer_at_all_is_the_failure_of_all_targets() -> None:
    error, found = failed(run({A: [fails(AuthFailed("no"))], B: [fails(AuthFailed("no"))]}, on_insufficient="best"))
    assert error is None
    assert [each.name for each in found.errors] == ["a/m", "b/m"]


def test_disagreement_is_a_flagged_plurality_by_default() -> None:
    found = delivered(run({A: [says("x")], B: [says("y")], C: [says("z")]}))
    assert (found.response.text, found.consensus.quorum_met, found.consensus.entropy_agreement) == ("x", False, 0.0)


def test_disagreement_may_be_an_error() -> None:
    error, found = failed(run({A: [says("x")], B: [says("y")]}, on_disagree="error"))
    assert isinstance(error, NoQuorum)
    assert len(found.clusters) == 2


def test_disagreement_is_escalated_where_there_is_somebody_to_ask() -> None:
    world = run({A: [says("x")], B: [says("y")], D: [says("z", 2.0)]}, escalate_to=D)
    assert [(launch.target, launch.role, launch.at) for launch in world.launches][2:] == [(D, "escalation", 1.0)]
    found = delivered(world)
    assert (found.attempt, found.response.text, found.consensus.escalated_to) == (3, "z", D)
    assert (found.consensus.quorum_met, found.consensus.agreement, found.consensus.n_configured) == (False, 0.5, 2)


def test_agreement_is_not_escalated() -> None:
    world = run({A: [says("x")], B: [says("x")], D: [says("z")]}, escalate_to=D)
    assert len(world.launches) == 2
    assert delivered(world).consensus.escalated_to is None


def test_nobody_is_asked_beside_the_escalation() -> None:
    skipped = (Considered(name="e/m", why="it is disabled"),)
    script = {A: [says("x")], B: [says("x")], C: [says("y")], D: [says("z", 9.0)]}
    world = run(script, skipped=skipped, not_before={C: 3.0}, quorum=4, escalate_to=D)
    assert [launch.target for launch in world.launches] == [A, B, D]
    assert (delivered(world).response.text, delivered(world).consensus.stopped_early) == ("z", True)


@pytest.mark.parametrize("settings", [{"on_disagree": "error"}, {"escalate_to": D}])
def test_where_best_is_enough_too_few_answers_are_no_disagreement(settings: dict[str, Any]) -> None:
    script = {A: [says("x")], B: [fails(AuthFailed("no"))], D: [says("z")]}
    assert delivered(run(script, targets=(A, B), on_insufficient="best", **settings)).response.text == "x"


def test_an_escalation_that_fails_leaves_the_plurality() -> None:
    world = run({A: [says("x")], B: [says("y")], D: [fails(AuthFailed("The key is wrong."))]}, escalate_to=D)
    found = delivered(world)
    assert (found.response.text, found.consensus.quorum_met, found.consensus.escalated_to) == ("x", False, None)
    assert found.consensus.errors == (Considered(name="d/m", why="The key is wrong"),)


def test_an_escalation_without_an_answer_leaves_the_plurality() -> None:
    found = delivered(run({A: [says("x")], B: [says("y")], D: [says("  ")]}, escalate_to=D))
    assert found.response.text == "x"
    assert found.consensus.errors == (Considered(name="d/m", why="its answer was empty"),)


def test_an_escalation_is_retried() -> None:
    world = run({A: [says("x")], B: [says("y")], D: [fails(Overloaded("busy")), says("z")]}, escalate_to=D)
    assert [launch.role for launch in world.launches] == ["answer", "answer", "escalation", "escalation"]
    assert delivered(world).response.text == "z"


def test_a_caller_who_leaves_cancels_all() -> None:
    world = run({A: [says("x", 5.0)], B: [says("y", 5.0)]}, abandon_at=1.0)
    assert (world.ended, world.endings) == ("abandoned", {1: "cancelled", 2: "cancelled"})


def test_the_end_of_the_time_judges_what_came() -> None:
    world = run({A: [says("x")], B: [says("y")], C: [says("x", 50.0)]}, deadline=10.0)
    found = delivered(world).consensus
    assert (found.n_ok, found.quorum_met, found.stopped_early) == (2, False, False)
    assert found.errors[0].name == "c/m"
    assert world.endings[3] == "failed"


def test_the_end_of_the_time_with_too_few_answers_is_an_error() -> None:
    error, _ = failed(run({A: [says("x")], B: [says("y", 50.0)]}, deadline=10.0))
    assert isinstance(error, TimedOut)
    assert "1 of at least 2 answers" in error.message
    assert "b/m" in error.message


def test_the_end_of_the_time_during_an_escalation_leaves_the_plurality() -> None:
    world = run({A: [says("x")], B: [says("y")], D: [says("z", 50.0)]}, deadline=10.0, escalate_to=D)
    assert delivered(world).response.text == "x"
    assert delivered(world).consensus.escalated_to is None


def test_the_end_of_the_time_with_disagreement_asks_nobody_more() -> None:
    world = run({A: [says("x")], B: [says("y")], C: [says("z", 50.0)], D: [says("w")]}, deadline=10.0, escalate_to=D)
    assert (delivered(world).response.text, len(world.launches)) == ("x", 3)


def test_auto_reads_json_objects_as_json_and_anything_else_as_text() -> None:
    one, other = '{"a": 1, "b": [2]}', '```json\n{"b":[2.0],"a":1}\n```'
    both = delivered(run({A: [says(one)], B: [says(other)]})).consensus
    assert (both.judge, both.agreement) == ("json", 1.0)
    mixed = delivered(run({A: [says(one)], B: [says(other)], C: [says("I do not know.")]})).consensus
    assert (mixed.judge, len(mixed.clusters)) == ("exact", 3)


def test_auto_does_not_stop_early_while_one_text_could_change_the_judge() -> None:
    one, other = '{"a": 1, "b": 2}', '{"b": 2, "a": 1}'
    world = run({A: [says(one, 0.5)], B: [says(other, 1.0)], C: [says("no", 5.0)]})
    assert world.now == 5.0
    assert delivered(world).consensus.quorum_met is False


def test_structured_output_is_read_as_json_and_an_answer_that_is_none_does_not_vote() -> None:
    output = Output(kind="json_schema", schema={"type": "object", "required": ["a"]})
    script = {A: [says('{"a": 1}', 0.5)], B: [says("a is 1", 0.6)], C: [says("{}", 0.7)], D: [says('{"a": 1.0}', 0.8)]}
    found = delivered(run(script, output=output)).consensus
    assert (found.judge, found.n_ok, found.agreement) == ("json", 2, 0.5)
    assert [each.why for each in found.errors] == [
        "its answer is not JSON",
        "its answer does not satisfy the schema: the document lacks `a`",
    ]


def test_a_refusal_is_no_vote() -> None:
    stopped = Response(choices=(Choice(parts=(Text(text="I"),), finish=Finish(reason="content_filter")),))
    refused = Act(first_s=0.1, end_s=0.5, response=stopped)
    found = delivered(run({A: [refused], B: [refused], C: [says("yes")]}, min_answers=1)).consensus
    assert (found.n_ok, found.agreement, found.quorum_met) == (1, 1 / 3, False)


def test_numbers_within_a_tolerance_agree() -> None:
    script = {A: [says('{"price": 11}')], B: [says('{"price": 10.1}')], C: [says('{"price": 10.0, "note": "x"}')]}
    found = delivered(run(script, judge="json", fields={"price": 0.1}))
    assert found.response.text == '{"price": 10.1}'
    assert [each.targets for each in found.consensus.clusters] == [(B, C), (A,)]


def test_auto_takes_json_that_is_no_object_for_text() -> None:
    found = delivered(run({A: [says("[1, 2]")], B: [says("[1,2]")]})).consensus
    assert (found.judge, len(found.clusters)) == ("exact", 2)
