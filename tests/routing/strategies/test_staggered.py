"""The strategies `first`, `fallback` and `race`, case by case."""

from __future__ import annotations

from math import inf

import pytest

from podium.errors import (
    AuthFailed,
    BudgetExceeded,
    InvalidRequest,
    Overloaded,
    PodiumError,
    ProtocolBroken,
    RateLimited,
    Refused,
    Throttled,
    TimedOut,
    Unreachable,
)
from podium.routing.strategies.machine import Cancel, Commit, Done, Errored, FirstContent, Launch, View, Wake, Woke
from podium.routing.strategies.staggered import Mode, Staggered
from podium.types import Target
from routing.strategies.virtual import YES, Act, Script, World, play

A, B, C = (Target(provider=name, model="m") for name in ("a", "b", "c"))
GOOD = Act(first_s=0.1, end_s=1.0)


def fails(error: PodiumError, end_s: float = 0.2, first_s: float = inf) -> Act:
    return Act(first_s=first_s, end_s=end_s, error=error)


def run(
    mode: Mode,
    script: Script,
    *,
    deadline: float = 600.0,
    not_before: dict[Target, float] | None = None,
    draw: float = 0.5,
    abandon_at: float = inf,
    retries: int = 2,
    fallback_on: tuple[str, ...] | None = None,
    delay_s: float = 0.0,
) -> World:
    machine = Staggered(tuple(script), mode, retries=retries, fallback_on=fallback_on, delay_s=delay_s)
    world = World(machine, deadline=deadline, not_before=not_before, draw=lambda: draw)
    play(world, script, abandon_at=abandon_at)
    assert world.violations == []
    return world


def asked(world: World) -> list[Target]:
    return [launch.target for launch in world.launches]


def error_of(world: World) -> PodiumError | None:
    assert world.failure is not None
    return world.failure.error


def test_first_asks_only_the_first_target() -> None:
    overloaded = AuthFailed("no")
    world = run("first", {A: [fails(overloaded)], B: [GOOD]})
    assert asked(world) == [A]
    assert error_of(world) is overloaded


def test_first_retries_its_target_after_half_a_second_and_then_a_second() -> None:
    world = run("first", {A: [fails(Overloaded("busy")), fails(Overloaded("busy")), GOOD]}, draw=1.0)
    assert [launch.at for launch in world.launches] == pytest.approx([0.0, 0.7, 1.9])
    assert world.ended == "done"


def test_a_retry_waits_at_least_half_of_its_delay() -> None:
    world = run("first", {A: [fails(Overloaded("busy")), GOOD]}, draw=0.0)
    assert [launch.at for launch in world.launches] == pytest.approx([0.0, 0.45])


def test_the_error_of_the_last_retry_is_the_error_of_first() -> None:
    last = Unreachable("gone")
    world = run("first", {A: [fails(Overloaded("1")), fails(Overloaded("2")), fails(last)]})
    assert len(world.launches) == 3
    assert error_of(world) is last


def test_no_retry_is_made_where_the_strategy_allows_none() -> None:
    assert asked(run("first", {A: [fails(Overloaded("busy"))]}, retries=0)) == [A]


def test_an_error_that_is_not_retryable_ends_first_at_once() -> None:
    error = InvalidRequest("no")
    world = run("first", {A: [fails(error)]})
    assert (asked(world), error_of(world)) == ([A], error)


def test_a_retry_waits_as_long_as_the_provider_asked() -> None:
    world = run("first", {A: [fails(Throttled("slow down", retry_after_s=7.0)), GOOD]})
    assert [launch.at for launch in world.launches] == pytest.approx([0.0, 7.2])


def test_a_retry_that_could_not_begin_in_time_keeps_the_error_and_its_retry_after() -> None:
    error = Throttled("slow down", retry_after_s=30.0)
    world = run("first", {A: [fails(error)]}, deadline=20.0)
    assert error_of(world) is error
    assert error.retry_after_s == 30.0
    assert world.now == pytest.approx(0.2)


def test_a_retry_waits_for_a_target_that_another_request_was_told_to_leave_alone() -> None:
    world = World(Staggered((A,), "first"), draw=lambda: 1.0)
    world.begin()
    world.send(Errored(1, Overloaded("busy")))
    assert world.wakes == {1: 0.5}
    world.now, world.not_before[A] = 0.5, 4.0
    assert world.send(Woke(1)) == [Wake(id=2, at=4.0)]
    world.now = 4.0
    assert world.send(Woke(2)) == [Launch(attempt=2, target=A)]
    assert world.violations == []


def test_an_attempt_that_a_limit_rejected_is_retried_like_any_other() -> None:
    rejected = Act(end_s=0.0, error=RateLimited("busy", retry_after_s=2.0), rejected=True)
    world = run("first", {A: [rejected, GOOD]})
    assert [launch.at for launch in world.launches] == pytest.approx([0.0, 2.0])
    assert world.endings == {1: "rejected", 2: "done"}


def test_first_waits_for_a_target_that_asked_to_be_left_alone() -> None:
    world = run("first", {A: [GOOD]}, not_before={A: 5.0})
    assert [launch.at for launch in world.launches] == [5.0]


def test_a_target_that_may_not_be_asked_in_time_is_an_error_that_says_when() -> None:
    error = error_of(run("first", {A: [GOOD]}, not_before={A: 30.0}, deadline=10.0))
    assert isinstance(error, Throttled)
    assert error.retry_after_s == 30.0
    assert "a/m" in error.message
    assert error.hint is not None
    assert "30.0 s" in error.hint


def test_fallback_moves_on_in_order_without_retrying() -> None:
    world = run("fallback", {A: [fails(Overloaded("busy"))], B: [fails(AuthFailed("no key"))], C: [GOOD]})
    assert asked(world) == [A, B, C]
    assert [launch.at for launch in world.launches] == pytest.approx([0.0, 0.2, 0.4])
    assert (world.ended, world.committed, world.most_running) == ("done", 3, 1)


@pytest.mark.parametrize("error", [InvalidRequest("no"), Refused("no"), BudgetExceeded("spent")])
def test_fallback_ends_with_an_error_that_another_target_would_repeat(error: PodiumError) -> None:
    world = run("fallback", {A: [fails(Overloaded("busy"))], B: [fails(error)], C: [GOOD]})
    assert asked(world) == [A, B]
    assert error_of(world) is error


def test_fallback_on_replaces_the_errors_that_move_on() -> None:
    assert asked(run("fallback", {A: [fails(Refused("no"))], B: [GOOD]}, fallback_on=("refused",))) == [A, B]
    refused = run("fallback", {A: [fails(AuthFailed("no"))], B: [GOOD]}, fallback_on=("refused",))
    assert asked(refused) == [A]


def test_a_retryable_error_that_is_not_in_fallback_on_is_retried_at_its_own_target() -> None:
    world = run("fallback", {A: [fails(Overloaded("busy")), GOOD], B: [GOOD]}, fallback_on=("throttled",))
    assert (asked(world), world.ended) == ([A, A], "done")


def test_fallback_retries_its_last_target_only() -> None:
    world = run("fallback", {A: [fails(Overloaded("busy"))], B: [fails(Overloaded("busy"))]})
    assert asked(world) == [A, B, B, B]
    assert error_of(world) is None, "several targets were tried: the error is made of all of them"


def test_a_fallback_over_one_target_fails_with_its_error() -> None:
    error = AuthFailed("no")
    assert error_of(run("fallback", {A: [fails(error)]})) is error


def test_fallback_passes_over_targets_that_are_not_free_and_comes_back_to_them() -> None:
    world = run("fallback", {A: [GOOD], B: [fails(AuthFailed("no"))], C: [fails(AuthFailed("no"))]}, not_before={A: 5.0})
    assert [(launch.target, launch.at) for launch in world.launches] == [
        (B, 0.0),
        (C, pytest.approx(0.2)),
        (A, pytest.approx(5.0)),
    ]


def test_a_retry_goes_before_a_target_that_is_free_only_later() -> None:
    world = run("fallback", {A: [GOOD], B: [fails(Overloaded("busy")), GOOD]}, not_before={A: 50.0})
    assert asked(world) == [B, B]
    assert world.now < 3.0


def test_a_target_that_is_not_free_before_the_deadline_is_none_that_is_left() -> None:
    error = AuthFailed("no")
    world = run("fallback", {A: [GOOD], B: [fails(error)]}, not_before={A: 50.0}, deadline=20.0)
    assert (asked(world), error_of(world)) == ([B], error)


def test_a_race_launches_all_and_cancels_the_losers_at_the_first_content() -> None:
    machine = Staggered((A, B, C), "race")
    world = World(machine)
    assert world.begin() == [Launch(attempt=n, target=t) for n, t in ((1, A), (2, B), (3, C))]
    assert world.send(FirstContent(2)) == [Commit(attempt=2), Cancel(attempt=1), Cancel(attempt=3)]
    assert world.send(Done(2, YES)) == []
    assert (world.endings, world.violations) == ({1: "lost", 3: "lost", 2: "done"}, [])


def test_a_race_goes_on_while_one_target_runs_whatever_the_others_say() -> None:
    slow = Act(first_s=20.0, end_s=21.0)
    world = run("race", {A: [fails(InvalidRequest("no"))], B: [fails(Refused("no"))], C: [slow]})
    assert (world.ended, world.committed, asked(world)) == ("done", 3, [A, B, C])


def test_a_race_that_all_lose_fails_with_all_their_errors() -> None:
    world = run("race", {A: [fails(AuthFailed("no"))], B: [fails(AuthFailed("no"))]})
    assert error_of(world) is None


def test_the_last_of_a_race_is_retried() -> None:
    world = run("race", {A: [fails(Overloaded("busy"), 0.1)], B: [fails(Overloaded("busy"), 0.2), GOOD]})
    assert (asked(world), world.ended) == ([A, B, B], "done")


def test_a_race_over_one_target_fails_with_its_error() -> None:
    error = AuthFailed("no")
    assert error_of(run("race", {A: [fails(error)]})) is error


def test_a_race_leaves_out_a_target_that_is_not_free() -> None:
    world = run("race", {A: [GOOD], B: [Act(first_s=3.0, end_s=4.0)], C: [GOOD]}, not_before={A: 1.0, C: 1.0})
    assert asked(world) == [B]


def test_a_race_asks_who_was_left_out_once_all_others_failed() -> None:
    world = run("race", {A: [GOOD], B: [fails(AuthFailed("no"))]}, not_before={A: 1.0})
    assert [(launch.target, launch.at) for launch in world.launches] == [(B, 0.0), (A, 1.0)]
    assert world.ended == "done"


def test_a_race_in_which_nobody_is_free_waits_for_the_first_to_be() -> None:
    world = run("race", {A: [GOOD], B: [GOOD]}, not_before={A: 3.0, B: 2.0})
    assert [(launch.target, launch.at) for launch in world.launches] == [(B, 2.0)]


def test_a_break_after_the_commit_is_the_end() -> None:
    error = ProtocolBroken("it stopped")
    modes: tuple[Mode, ...] = ("first", "fallback", "race")
    for mode in modes:
        world = run(mode, {A: [fails(error, end_s=0.3, first_s=0.1)], B: [Act(first_s=0.2, end_s=1.0)]})
        assert (error_of(world), world.committed) == (error, 1)


def test_an_answer_without_content_is_an_answer() -> None:
    world = run("race", {A: [Act(first_s=inf, end_s=0.5)], B: [Act(first_s=2.0, end_s=3.0)]})
    assert (world.ended, world.committed, world.endings) == ("done", 1, {1: "done", 2: "lost"})


def test_a_caller_who_leaves_cancels_all_that_runs() -> None:
    world = run("race", {A: [Act(5.0, 6.0)], B: [Act(5.0, 6.0)]}, abandon_at=1.0)
    assert world.endings == {1: "cancelled", 2: "cancelled"}
    assert (world.ended, world.failure) == ("abandoned", None)


def test_a_caller_who_leaves_during_the_answer_cancels_it() -> None:
    assert run("race", {A: [Act(0.5, 6.0)], B: [Act(5.0, 6.0)]}, abandon_at=1.0).endings == {2: "lost", 1: "cancelled"}


def test_the_end_of_the_time_cancels_what_runs_and_says_how_far_it_came() -> None:
    world = run("race", {A: [Act(50.0, 60.0)], B: [Act(50.0, 60.0)]}, deadline=10.0)
    error = error_of(world)
    assert isinstance(error, TimedOut)
    assert world.endings == {1: "failed", 2: "failed"}
    assert "10.0 s" in error.message
    assert "a/m, b/m" in error.message


def test_the_end_of_the_time_names_the_error_before_it() -> None:
    error = error_of(run("fallback", {A: [fails(Overloaded("a/m is overloaded."))], B: [Act(50.0, 60.0)]}, deadline=10.0))
    assert isinstance(error, TimedOut)
    assert "a/m is overloaded" in error.message


def test_the_end_of_the_time_during_an_answer_is_an_error() -> None:
    world = run("first", {A: [Act(1.0, 60.0)]}, deadline=10.0)
    assert isinstance(error_of(world), TimedOut)
    assert (world.committed, world.endings) == (1, {1: "failed"})


def test_a_hedged_race_launches_the_next_target_when_no_answer_has_begun() -> None:
    slow = [Act(first_s=5.0, end_s=6.0)]
    world = run("race", {A: slow, B: slow, C: slow}, delay_s=0.3)
    assert [launch.at for launch in world.launches] == pytest.approx([0.0, 0.3, 0.6])
    assert world.committed == 1


def test_a_hedged_race_whose_first_target_answers_in_time_asks_no_other() -> None:
    assert asked(run("race", {A: [GOOD], B: [GOOD]}, delay_s=0.3)) == [A]


def test_a_hedged_race_does_not_wait_for_its_delay_after_an_error() -> None:
    world = run("race", {A: [fails(Overloaded("busy"), 0.2)], B: [Act(5.0, 6.0)], C: [GOOD]}, delay_s=1.0)
    assert [(launch.target, launch.at) for launch in world.launches] == [
        (A, 0.0),
        (B, pytest.approx(0.2)),
        (C, pytest.approx(1.2)),
    ]


def test_signals_of_attempts_that_do_not_run_change_nothing() -> None:
    machine = Staggered((A, B), "race")
    view = View(now=0.0, deadline=10.0)
    machine.begin(view)
    machine.handle(FirstContent(1), view)
    for signal in (FirstContent(2), Done(2, YES), Errored(2, Overloaded("busy")), FirstContent(1), Woke(7)):
        assert machine.handle(signal, view) == []
