"""`podium rollout ramp`, `show` and `watch`: a ramp is begun, held, and explained in words and as a drawing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.conftest import MODULE, Run
from podium.coordination.ramps import Picture, SqliteRamps
from podium.coordination.rollouts import SqliteRollouts
from podium.engine.ramp.ramps import Ramps
from podium.engine.rollout.rollouts import Rollouts
from podium.routing.climb import Move, advance
from podium.routing.guard import Evidence, Observation, Tally

LINES = (" 100 to 1 │", " 20 to 1 │", " even │")
RAMP: dict[str, Any] = {"steps": [10, 100], "dwell": "1h", "longest": "24h"}


@pytest.fixture
def climbing(config: Path) -> Path:
    """A config with a rollout that may climb."""
    written = yaml.safe_load(config.read_text())
    written["data_dir"] = str(config.parent / "data")
    written["rollouts"] = {
        "chat": {"match": ["chat"], "legacy": "openai/gpt-4o", "candidate": "tier:fast", "ramp": RAMP, "guard": {}},
        "plain": {"match": ["plain"], "legacy": "openai/gpt-4o", "candidate": "tier:fast"},
    }
    config.write_text(yaml.safe_dump(written))
    return config


def judge(config: Path, *, fails: bool, blocks: int = 30) -> None:
    """Do what a process that serves does: file what it heard, judge, and put that on the trace, three times."""
    ramps = SqliteRamps(SqliteRollouts(config.parent / "data" / "rollouts.sqlite3"))
    picture = ramps.picture("chat")
    assert picture is not None
    climb, at = picture.climb, picture.climb.began_at
    tally = Tally(climb.course.guard, climb.baseline)

    def sum_up(fresh: list[int]) -> Evidence:
        for _ in range(len(fresh) * blocks // 3):
            for arm, failed in (("legacy", False), ("candidate", fails)):
                one = Observation(arm="legacy" if arm == "legacy" else "candidate", unit_id="any", failed=failed)
                tally.observe(one, step=0, at=climb.began_at, seen=set())
        return tally.take()

    def move_on(found: Picture) -> Move:
        return advance(found.climb, found.rollout, found.evidence, found.measured, at)

    for turn in range(3):
        at += 600
        ramps.add(climb, [f"turn {turn}"], sum_up)
        picture = ramps.picture("chat")
        assert picture is not None
        move = move_on(picture)
        assert move.verdict is not None
        ramps.mark(climb, move.verdict, picture.rollout.percent, at)
        if ramps.change("chat", move_on, who="ramp")[1]:
            return


def test_a_ramp_is_started_paused_resumed_and_stopped(climbing: Path, podium: Run) -> None:
    assert "not started: `podium rollout ramp chat start` lets it climb 10, 99 %" in podium("rollout", "show", "chat").out
    assert "none: it is moved by hand" in podium("rollout", "ramp", "plain").out
    started = podium("rollout", "ramp", "chat", "start", "--why", "a quiet week")
    assert started.code == 0
    assert "climbing at 10 % (step 1 of 2)" in started.out
    paused = podium("rollout", "ramp", "chat", "pause", "--why", "the weekend", "--who", "jane")
    assert "Paused by jane: the weekend." in paused.out
    assert "climbing at 10 %" in podium("rollout", "ramp", "chat", "resume").out
    stopped = podium("rollout", "ramp", "chat", "stop")
    assert "The rollout stays at 10 %." in stopped.out
    history = podium("rollout", "history", "chat").out
    assert "percent 0 -> 10, stage none -> climb 1, step 1 (a quiet week)" in history


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("chat", "pause"), "was never started"),
        (("plain", "start"), "Write `ramp: {}` and `guard: {}` under `rollouts: plain:`"),
        (("chta", "start"), "Did you mean `chat`?"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(climbing: Path, podium: Run, arguments: tuple[str, ...], said: str) -> None:
    ran = podium("rollout", "ramp", *arguments, "--json")
    assert ran.code == 2
    error = json.loads(ran.out)["error"]
    assert said in f"{error['message']} {error['hint']}"


def test_a_second_start_is_refused_while_one_climbs(climbing: Path, podium: Run) -> None:
    podium("rollout", "ramp", "chat", "start")
    again = podium("rollout", "ramp", "chat", "start", "--json")
    assert (again.code, json.loads(again.out)["error"]["code"]) == (2, "ramp_status")


def test_show_says_the_verdict_in_words_and_draws_the_evidence_with_both_thresholds(climbing: Path, podium: Run) -> None:
    podium("rollout", "ramp", "chat", "start")
    judge(climbing, fails=False, blocks=300)
    shown = podium("rollout", "show", "chat").out
    assert "0.00% failed at the candidate (300 seen), 0.00% at legacy (300); the margin is 1 points" in shown
    assert "worse than the margin: rolls back at 100 to 1" in shown
    assert "within it: passes at 20 to 1" in shown
    rows = shown.splitlines()
    upper, lower, even = (next(place for place, row in enumerate(rows) if label in row) for label in LINES)
    assert upper < lower < even
    assert any("○" in row and "│" in row for row in rows)
    assert "\x1b" not in shown


def test_the_evidence_of_a_bad_candidate_meets_the_upper_line_in_the_drawing(climbing: Path, podium: Run) -> None:
    podium("rollout", "ramp", "chat", "start")
    judge(climbing, fails=True)
    shown = podium("rollout", "show", "chat").out
    assert "rolled back at 0 %" in shown
    rows = [row.partition("│")[2] for row in shown.splitlines() if "│" in row]
    line = next(place for place, row in enumerate(shown.splitlines()) if "100 to 1 │" in row)
    first = next(place for place, row in enumerate(shown.splitlines()) if "│" in row)
    assert any("●" in row for row in rows[: line - first + 1])
    document = json.loads(podium("rollout", "show", "chat", "--json").out)["ramp"]
    assert document["climb"]["status"] == "rolled_back"
    assert len(document["trace"]) >= 2
    assert "Evidence that it is worse" in document["words"]


def test_a_drawing_fits_a_narrow_terminal(climbing: Path, podium: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    podium("rollout", "ramp", "chat", "start")
    judge(climbing, fails=False)
    monkeypatch.setenv("COLUMNS", "50")
    drawn = [row for row in podium("rollout", "ramp", "chat").out.splitlines() if "│" in row or "└" in row]
    assert drawn
    assert max(map(len, drawn)) <= 50


def test_colours_are_for_terminals_without_no_color(climbing: Path, podium: Run, terminal: Run) -> None:
    podium("rollout", "ramp", "chat", "start")
    judge(climbing, fails=False)
    assert "\x1b[" in terminal("rollout", "ramp", "chat").out
    assert "\x1b[3" not in terminal("rollout", "ramp", "chat", NO_COLOR="1").out


def test_watching_until_it_is_over_writes_a_line_a_change_and_fails_where_it_was_rolled_back(
    climbing: Path, podium: Run
) -> None:
    podium("rollout", "ramp", "chat", "start")
    judge(climbing, fails=True)
    ran = podium("rollout", "watch", "chat", "--until-over")
    assert ran.code == 1
    assert "chat  0 %  rolled back  Roll back: the candidate is worse" in ran.out
    plain = podium("rollout", "watch", "--until-over", "--json")
    lines = [json.loads(line) for line in plain.out.splitlines()]
    assert [line["rollout"]["name"] for line in lines] == ["chat", "plain"]
    assert lines[1]["ramp"] is None
    assert "trace" not in lines[0]["ramp"]


def test_watching_sees_what_another_process_changes_and_ends_on_an_interrupt(climbing: Path, podium: Run) -> None:
    podium("rollout", "ramp", "chat", "start")
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [*MODULE, "rollout", "watch", "chat", "--every", "0.2"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    assert "climbing" in child.stdout.readline()
    podium("rollout", "ramp", "chat", "pause")
    assert "paused" in child.stdout.readline()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert "Traceback" not in err


def test_the_live_view_shows_the_ramp_and_ends_when_it_is_over(climbing: Path, podium: Run, terminal: Run) -> None:
    podium("rollout", "ramp", "chat", "start")
    judge(climbing, fails=True)
    ran = terminal("rollout", "watch", "chat", "--until-over")
    assert ran.code == 1
    assert "rolled back at 0 %" in ran.out
    everything = terminal("rollout", "watch", "--until-over")
    assert "moved by hand" in everything.out


def test_a_percentage_set_by_hand_says_that_it_ends_the_ramp(climbing: Path, podium: Run) -> None:
    assert podium("rollout", "set", "chat", "5").err == ""
    podium("rollout", "ramp", "chat", "start")
    assert "its ramp" in podium("rollout", "list").out
    ran = podium("rollout", "set", "chat", "30")
    assert (ran.code, ran.err) == (0, "That ends the ramp of chat: nothing guards it any more.\n")
    assert "its ramp" not in podium("rollout", "list").out


def test_a_ramp_whose_store_was_made_again_is_said_to_be_gone(climbing: Path, podium: Run) -> None:
    podium("rollout", "ramp", "chat", "start")
    for file in (climbing.parent / "data").glob("rollouts.sqlite3*"):
        file.unlink()
    assert "gone with its store: nothing guards the rollout" in podium("rollout", "show", "chat").out
    assert "climbing at 10 %" in podium("rollout", "ramp", "chat", "start").out


def test_a_ramp_that_a_hand_ended_can_be_started_anew_though_nobody_serves(climbing: Path, podium: Run) -> None:
    podium("rollout", "ramp", "chat", "start")
    podium("rollout", "set", "chat", "30")
    assert "stopped at 30 %" in podium("rollout", "show", "chat").out
    again = podium("rollout", "ramp", "chat", "start")
    assert (again.code, "climbing at 99 %" in again.out or "watching at 99 %" in again.out) == (0, True)


def test_a_step_that_is_undone_ends_the_ramp(climbing: Path, podium: Run) -> None:
    podium("rollout", "ramp", "chat", "start")
    ran = podium("rollout", "undo", "chat")
    assert "chat gives the candidate to 0 %" in ran.out
    assert ran.err == "That ends the ramp of chat: nothing guards it any more.\n"
    assert "stopped at 0 %" in podium("rollout", "show", "chat").out


def test_a_roll_back_that_is_undone_is_said_to_leave_the_candidate_unguarded(climbing: Path, podium: Run) -> None:
    podium("rollout", "ramp", "chat", "start")
    judge(climbing, fails=True)
    ran = podium("rollout", "undo", "chat")
    assert "chat gives the candidate to 10 %" in ran.out
    assert ran.err == "Nothing guards it: `podium rollout ramp chat start` begins a ramp from there.\n"


@pytest.mark.parametrize("without", [False, True])
def test_a_climb_says_when_the_config_wants_another_ramp_by_now(climbing: Path, podium: Run, without: bool) -> None:
    podium("rollout", "ramp", "chat", "start")
    assert "not followed" not in podium("rollout", "show", "chat").out
    written = yaml.safe_load(climbing.read_text())
    if without:
        del written["rollouts"]["chat"]["ramp"], written["rollouts"]["chat"]["guard"]
    else:
        written["rollouts"]["chat"]["guard"] = {"error_rate": {"margin": "3%"}}
    climbing.write_text(yaml.safe_dump(written))
    shown = " ".join(podium("rollout", "show", "chat").out.split())
    assert "climbing at 10 %" in shown
    assert "config says another ramp or guard now, which is not followed until a ramp is started anew" in shown
    podium("rollout", "ramp", "chat", "stop")
    assert "not followed" not in podium("rollout", "show", "chat").out


def test_a_test_user_that_is_taken_back_leaves_the_ramp_alone(climbing: Path, podium: Run) -> None:
    podium("rollout", "ramp", "chat", "start")
    podium("rollout", "add-user", "chat", "ann")
    podium("rollout", "undo", "chat")
    assert "climbing at 10 %" in podium("rollout", "show", "chat").out


@pytest.mark.parametrize("after", ["show", "state", "history"])
def test_a_rollout_its_last_change_and_its_ramp_are_shown_as_of_one_moment(
    climbing: Path, podium: Run, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    assert podium("rollout", "ramp", "chat", "start").code == 0
    store = SqliteRollouts(climbing.parent / "data" / "rollouts.sqlite3")
    whose: type[Any] = Ramps if after == "state" else Rollouts
    read: Callable[..., Any] = getattr(whose, after)

    def overtaken(*arguments: Any, **settings: Any) -> Any:
        found = read(*arguments, **settings)
        monkeypatch.setattr(whose, after, read)
        store.change("chat", "set", lambda rollout: rollout.replace(percent=75.0, stage=None), who="jane", why=None)
        return found

    monkeypatch.setattr(whose, after, overtaken)
    shown = json.loads(podium("rollout", "show", "chat", "--json").out)
    percent = 10 if after == "history" else 75
    assert shown["rollout"]["percent"] == shown["last_change"]["after"]["percent"] == percent
    assert shown["ramp"]["rollout"]["percent"] == percent
    assert shown["ramp"]["climb"]["status"] == ("climbing" if percent == 10 else "stopped")
