"""Several processes share a ramp: what they hear adds up, one of them judges, and another does where that one is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from podium import Models, create_models
from podium.coordination.ramps import SqliteRamps
from podium.coordination.rollouts import SqliteRollouts
from podium.engine.ramp.ramps import RampState
from podium.sim import Sim

PROCESSES = 3

_WORKER = """
import asyncio, itertools, json, sys
from podium import create_models
from podium.errors import PodiumError

config, worker = json.loads(sys.argv[1]), sys.argv[2]

async def main():
    asked = {"legacy": 0, "candidate": 0}
    async with create_models(**config) as models:
        models.rollouts.ramps.beat_s = 0.2
        async def ask(number):
            user = f"{worker}-{number}"
            try:
                result = await models.generate_text("chat", user_id=user, prompt="Hello", max_tokens=4)
                asked["candidate" if result.target.provider == "anthropic" else "legacy"] += 1
            except PodiumError:
                asked["candidate"] += 1
        for turn in itertools.count():
            await asyncio.gather(*(ask(turn * 20 + each) for each in range(20)))
            await asyncio.sleep(0.02)
            state = await asyncio.to_thread(models.rollouts.ramps.state, "chat")
            if not state.climb.is_live or state.climb.status == "watching":
                break
    print(json.dumps({"asked": asked, **models.statistics()["rollouts"]["ramps"]}))

asyncio.run(main())
"""

_SCRIPT = """
import json, sys
from podium import create_models

models = create_models(**json.loads(sys.argv[1]))
models.rollouts.ramps.beat_s = 3600.0
models.rollouts.show("chat")
for user in ("ann", "jane", "joe"):
    models.sync.generate_text("chat", user_id=user, prompt="Hello", max_tokens=4)
"""


@pytest.fixture
def sim() -> Iterator[Sim]:
    with Sim(seed=11) as running:
        yield running


def config(sim: Sim, folder: Path, margin: str = "10%", **ramp: Any) -> dict[str, Any]:
    steps = {"steps": [20, 100], "dwell": "500ms", "longest": "60s", "holdout": 10, **ramp}
    rollout = {"match": ["chat"], "legacy": "tier:old", "candidate": "tier:new", "ramp": steps}
    return {
        "providers": sim.providers("openai", "anthropic"),
        "tiers": {
            "old": {"models": ["openai/gpt-4o"], "retries": 0},
            "new": {"models": ["anthropic/claude-sonnet-4-5"], "retries": 0},
        },
        "data_dir": str(folder),
        "rollouts": {"chat": {**rollout, "guard": {"error_rate": {"margin": margin}}}},
        "track_cost": False,
        "ledger": "none",
    }


@contextlib.contextmanager
def working(settings: dict[str, Any]) -> Iterator[list[subprocess.Popen[str]]]:
    """Some processes that ask until the ramp is over, or at its top."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, json.dumps(settings), f"w{number}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            assert worker.stdout is not None
            worker.stdout.close()


def wait_for(models: Models, done: Callable[[RampState], bool], most_s: float = 60.0) -> RampState:
    end = time.monotonic() + most_s
    while True:
        state = models.rollouts.ramps.state("chat")
        assert state is not None
        if done(state):
            return state
        assert time.monotonic() < end, (
            f"{state.climb.status} at {state.rollout.percent} %, led by {state.led_by}: {state.verdict}"
        )
        time.sleep(0.1)


def test_what_several_processes_hear_adds_up_and_takes_the_candidate_to_the_top(sim: Sim, tmp_path: Path) -> None:
    settings = config(sim, tmp_path / "data")
    models = create_models(**settings)
    try:
        models.rollouts.ramps.start("chat")
        with working(settings) as workers:
            reports = [json.loads(worker.communicate(timeout=100)[0]) for worker in workers]
        state = wait_for(models, lambda state: state.climb.status == "watching")
    finally:
        models.sync.close()
    assert state.rollout.percent == 90
    ramped = [change for change in reversed(models.rollouts.history("chat")) if change.who == "ramp"]
    assert [change.after.percent for change in ramped] == [90.0]  # one of the three stepped, once
    assert all(report["heard"] for report in reports)
    picture = SqliteRamps(SqliteRollouts(tmp_path / "data" / "rollouts.sqlite3")).picture("chat")
    assert picture is not None
    filed = sum(drawn.candidate + drawn.legacy for drawn in picture.evidence.drawn)
    assert filed == sum(report["heard"] for report in reports)  # no user asked twice, and none was lost
    assert all(report["dropped"] == report["failures"] == 0 for report in reports)


def test_where_the_process_that_judges_is_killed_another_rolls_back_all_the_same(sim: Sim, tmp_path: Path) -> None:
    settings = config(sim, tmp_path / "data", margin="1%", dwell="1h", longest="2h")
    models = create_models(**settings)
    try:
        models.rollouts.ramps.start("chat")
        with working(settings) as workers:
            state = wait_for(models, lambda state: state.led_by is not None and (state.drawn or 0) != 0)
            assert state.led_by is not None
            leader = int(state.led_by.split(":")[1])
            assert leader in {worker.pid for worker in workers}
            os.kill(leader, signal.SIGKILL)
            # Seldom enough that no breaker opens: an open one lets hardly any evidence through.
            sim.set("claude-sonnet-4-5", failure_rate=0.1)
            state = wait_for(models, lambda state: state.climb.status == "rolled_back")
            taken_over = state.led_by
    finally:
        models.sync.close()
    assert state.rollout.percent == 0
    assert taken_over is None or int(taken_over.split(":")[1]) != leader


def test_a_child_after_a_fork_hears_for_itself_and_both_file_in_one_store(sim: Sim, tmp_path: Path) -> None:
    models = create_models(**config(sim, tmp_path / "data", steps=[50, 100], dwell="1h", longest="2h"))
    models.rollouts.ramps.beat_s = 3600.0  # what is heard is filed at a fork, and at the end
    models.rollouts.ramps.start("chat")
    ask = models.sync.generate_text

    def filed() -> int:
        picture = SqliteRamps(SqliteRollouts(tmp_path / "data" / "rollouts.sqlite3")).picture("chat")
        assert picture is not None
        return sum(drawn.candidate + drawn.legacy for drawn in picture.evidence.drawn)

    for number in range(3):
        ask("chat", user_id=f"parent-{number}", prompt="Hello")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            heard = models.rollouts.ramps.hearing.heard
            models.rollouts.show("chat")  # waits until the store is known
            ask("chat", user_id="child", prompt="Hello")
            models.sync.close()
            status = 0 if heard == 0 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert filed() == 4
    ask("chat", user_id="parent-later", prompt="Hello")
    models.sync.close()
    assert filed() == 5


def test_what_a_script_hears_counts_though_it_exits_and_closes_nothing(sim: Sim, tmp_path: Path) -> None:
    settings = config(sim, tmp_path / "data", steps=[50, 100], dwell="1h", longest="2h")
    models = create_models(**settings)
    models.rollouts.ramps.start("chat")
    models.sync.close()
    subprocess.run([sys.executable, "-c", _SCRIPT, json.dumps(settings)], check=True)
    ramps = SqliteRamps(SqliteRollouts(tmp_path / "data" / "rollouts.sqlite3"))
    picture = ramps.picture("chat")
    assert picture is not None
    assert sum(drawn.candidate + drawn.legacy for drawn in picture.evidence.drawn) == 3
    assert ramps.leader() is None
