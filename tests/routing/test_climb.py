"""A climb: what comes next follows from the climb, its rollout, the evidence and the clock."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.errors import RequestError
from podium.routing.climb import Climb, Course, Measured, Move, advance, begin, pause, resume, stop
from podium.routing.guard import Baseline, Drawn, Evidence, Guard, Observation, Ramp, Tally
from podium.routing.rollout import Rollout, Stage

ROLLOUT = Rollout(name="chat", legacy="openai/gpt-4o", candidate="tier:high")
RAMP = Ramp(steps=(5, 50, 100), dwell_s=60, longest_s=600, holdout=1, samples=10)
ERRORS = Course(ramp=RAMP, guard=Guard(margins={"error_rate": 0.05}))
MEASURED = Course(ramp=RAMP, guard=Guard(margins={"latency": 0.05, "cost": 0.1}))

NOTHING, UNMEASURED = Evidence(), Measured()


def evidence(step: int, *, blocks: int, fails: bool, guard: Guard = ERRORS.guard, at: float = 0.0) -> Evidence:
    tally = Tally(guard, Baseline())
    for number in range(blocks):
        for arm, failed in (("legacy", False), ("candidate", fails)):
            one = Observation(arm="legacy" if arm == "legacy" else "candidate", unit_id=f"{arm}-{number}", failed=failed)
            tally.observe(one, step=step, at=at, seen=set())
    return Evidence(cells=tally.take().cells)  # as many of both arms: a split that no share explains


def at_step(step: int, course: Course = ERRORS) -> Move:
    first = begin(ROLLOUT, course, 3, 0.0)
    percent = course.ramp.percent_at(step)
    climb = first.climb.replace(step=step, climbing_at=0.0, status="climbing")
    return Move(climb=climb, rollout=ROLLOUT.replace(percent=percent, stage=climb.stage))


def then(move: Move, found: Evidence = NOTHING, at: float = 30.0, measured: Measured = UNMEASURED) -> Move:
    return advance(move.climb, move.rollout, found, measured, at)


def test_a_climb_without_limits_from_legacy_takes_its_first_step_at_once() -> None:
    move = begin(ROLLOUT, ERRORS, 1, 7.0)
    assert (move.climb.status, move.climb.step, move.climb.climbing_at) == ("climbing", 0, 7.0)
    assert (move.rollout.percent, move.rollout.stage) == (5.0, Stage(climb=1, step=0))


def test_a_climb_that_measures_legacy_moves_nobody_until_it_has_enough_answers() -> None:
    move = begin(ROLLOUT, MEASURED, 1, 0.0)
    assert (move.climb.status, move.rollout.percent, move.rollout.stage) == ("measuring", 0.0, Stage(climb=1, step=-1))
    few = Measured(answers=9, latencies_s=(1.0,) * 9, costs_usd=(0.1,) * 9)
    assert then(move, measured=few) == Move(climb=move.climb, rollout=move.rollout)
    latencies = tuple(float(each) for each in range(1, 21))
    moved = then(move, measured=Measured(answers=20, latencies_s=latencies, costs_usd=(0.1, 0.3)), at=99.0)
    assert (moved.climb.status, moved.climb.step, moved.rollout.percent) == ("climbing", 0, 5.0)
    assert moved.climb.baseline == Baseline(latency_s=19.0, cost_usd=0.4)
    assert moved.climb.climbing_at == moved.climb.step_began_at == 99.0


def test_a_fixed_limit_on_latency_needs_no_measuring() -> None:
    course = Course(ramp=RAMP, guard=Guard(margins={"latency": 0.05}, latency_limit_s=2.0))
    move = begin(ROLLOUT, course, 1, 0.0)
    assert (move.climb.status, move.climb.baseline) == ("climbing", Baseline(latency_s=2.0))


def test_a_limit_that_legacy_does_not_show_pauses_with_what_to_do() -> None:
    move = begin(ROLLOUT, MEASURED, 1, 0.0)
    paused = then(move, measured=Measured(answers=10, latencies_s=(1.0,) * 10))
    assert paused.climb.status == "paused"
    assert "take `cost` out of the guard" in paused.climb.reason
    assert paused.rollout.percent == 0


def test_measuring_that_lasts_too_long_pauses_and_says_how_far_it_came() -> None:
    move = begin(ROLLOUT, MEASURED, 1, 0.0)
    paused = then(move, measured=Measured(answers=4, latencies_s=(1.0,) * 4), at=601.0)
    assert paused.climb.status == "paused"
    assert "4 of the 10 answers" in paused.climb.reason


def test_a_bad_candidate_is_rolled_back_before_the_dwell_is_over() -> None:
    move = then(at_step(1), evidence(1, blocks=30, fails=True), at=1.0)
    assert (move.climb.status, move.rollout.percent, move.rollout.stage) == ("rolled_back", 0.0, None)
    assert "Evidence that it is worse" in move.why
    assert not move.climb.is_live


def test_a_paused_climb_still_rolls_back_but_does_not_step_on() -> None:
    waiting = at_step(0)
    paused = Move(climb=waiting.climb.replace(status="paused"), rollout=waiting.rollout)
    assert then(paused, evidence(0, blocks=30, fails=True)).climb.status == "rolled_back"
    assert then(paused, evidence(0, blocks=500, fails=False), at=100.0).climb == paused.climb


def test_a_good_candidate_steps_on_after_the_dwell_and_watches_from_the_last_step_on() -> None:
    good = evidence(0, blocks=500, fails=False)
    assert then(at_step(0), good, at=59.0).climb.step == 0
    second = then(at_step(0), good, at=61.0)
    assert (second.climb.step, second.rollout.percent, second.climb.step_began_at) == (1, 50.0, 61.0)
    last = then(at_step(1), evidence(1, blocks=500, fails=False), at=61.0)
    assert (last.climb.status, last.rollout.percent, last.rollout.stage) == ("watching", 99.0, Stage(climb=3, step=2))
    assert then(last, evidence(2, blocks=30, fails=True), at=62.0).climb.status == "rolled_back"


def test_without_a_holdout_the_last_step_is_the_end() -> None:
    course = Course(ramp=Ramp(steps=(5, 100), dwell_s=60, holdout=0), guard=ERRORS.guard)
    over = then(at_step(0, course), evidence(0, blocks=500, fails=False), at=61.0)
    assert (over.climb.status, over.rollout.percent) == ("done", 100.0)


def test_a_step_without_evidence_pauses_after_the_longest_time_and_resumes_with_it_anew() -> None:
    paused = then(at_step(0), at=601.0)
    assert paused.climb.status == "paused"
    assert "not enough evidence on error rate" in paused.climb.reason
    again = resume(paused.climb, paused.rollout, "jane", None, 700.0)
    assert (again.climb.status, again.climb.step, again.climb.step_began_at) == ("climbing", 0, 700.0)
    assert then(again, at=1299.0).climb == again.climb


@pytest.mark.parametrize("changes", [{"percent": 20.0, "stage": None}, {"candidate": "tier:low", "stage": None}])
def test_a_rollout_that_is_changed_by_hand_ends_the_climb_where_it_is(changes: dict[str, Any]) -> None:
    move = at_step(1)
    stopped = advance(move.climb, move.rollout.replace(**changes), evidence(1, blocks=30, fails=True), Measured(), 1.0)
    assert stopped.climb.status == "stopped"
    assert stopped.rollout == move.rollout.replace(**changes)


def test_a_rollout_that_is_disabled_pauses_and_cannot_be_resumed_before_it_is_enabled() -> None:
    move = at_step(1)
    off = move.rollout.replace(enabled=False)
    paused = advance(move.climb, off, Evidence(), Measured(), 1.0)
    assert (paused.climb.status, paused.rollout) == ("paused", off)
    assert advance(paused.climb, off, Evidence(), Measured(), 2.0) == Move(climb=paused.climb, rollout=off)
    with pytest.raises(RequestError, match="is disabled"):
        resume(paused.climb, off, "jane", None, 3.0)


def test_a_test_user_that_is_added_does_not_end_the_climb() -> None:
    move = at_step(1)
    assert advance(move.climb, move.rollout.replace(test_users=("ann",)), Evidence(), Measured(), 1.0).climb == move.climb


def test_a_climb_begins_with_the_first_step_that_moves_nobody_back() -> None:
    assert begin(ROLLOUT.replace(percent=5.0), ERRORS, 1, 0.0).rollout.percent == 5
    assert begin(ROLLOUT.replace(percent=20.0), ERRORS, 1, 0.0).rollout.percent == 50
    with pytest.raises(RequestError, match="its ramp ends at 99 %"):
        begin(ROLLOUT.replace(percent=99.0), ERRORS, 1, 0.0)
    with pytest.raises(RequestError, match="is disabled"):
        begin(ROLLOUT.replace(enabled=False), ERRORS, 1, 0.0)


def test_what_is_over_can_be_neither_paused_nor_stopped() -> None:
    move = at_step(0)
    over = stop(move.climb, move.rollout, "jane", "enough seen")
    assert (over.climb.status, over.rollout.percent, over.rollout.stage) == ("stopped", 5.0, None)
    assert over.climb.reason == "Stopped by jane: enough seen. The rollout stays at 5 %."
    for act in (pause, stop):
        with pytest.raises(RequestError, match="is stopped and cannot be"):
            act(over.climb, over.rollout, "jane", None)


def test_a_split_that_an_outage_explains_pauses_nothing() -> None:
    drawn = Drawn(step=0, candidate=5, legacy=995)
    assert then(at_step(0), Evidence(drawn=(drawn,)), at=61.0).climb.status == "paused"
    assert then(at_step(0), Evidence(drawn=(drawn.replace(diverted=45),)), at=61.0).climb.status == "climbing"


@given(st.lists(st.sampled_from(["wait", "good", "bad", "pause", "resume", "hand", "off"]), max_size=30))
def test_whatever_happens_a_live_climb_and_its_rollout_agree_and_percentages_rise_until_they_fall_to_none(
    happenings: list[str],
) -> None:
    move, at = begin(ROLLOUT, ERRORS, 1, 0.0), 0.0
    percents = [move.rollout.percent]
    for happening in happenings:
        at += 61
        before = move
        try:
            if happening == "pause":
                move = pause(move.climb, move.rollout, "jane", None)
            elif happening == "resume":
                move = resume(move.climb, move.rollout, "jane", None, at)
        except RequestError:
            continue
        if happening == "off":
            move = Move(climb=move.climb, rollout=move.rollout.replace(enabled=not move.rollout.enabled))
        if happening == "hand":
            move = Move(climb=move.climb, rollout=move.rollout.replace(stage=None))
        if not move.climb.is_live:
            break
        found = Evidence()
        if happening in ("good", "bad"):
            found = evidence(max(move.climb.step, 0), blocks=500, fails=happening == "bad", at=at)
        move = advance(move.climb, move.rollout, found, Measured(), at)
        percents.append(move.rollout.percent)
        if move.climb.is_live:
            assert move.rollout.stage == move.climb.stage
            assert move.climb.number == before.climb.number
        assert math.isclose(move.rollout.percent, 0) or move.rollout.percent == RAMP.percent_at(move.climb.step)
    assert all(low <= high or high == 0 for low, high in pairwise(percents))


def test_a_climb_survives_being_written_and_read() -> None:
    climb = at_step(1).climb
    assert msgspec.json.decode(msgspec.json.encode(climb), type=Climb) == climb
