"""Ramps at work, over real HTTP: what a guard does by itself to a candidate, in seconds where users would have hours."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from making import Make
from podium import Models
from podium.engine.ramps import RampState
from podium.errors import PodiumError
from podium.sim import Sim

ONE_TARGET: dict[str, Any] = {
    "old": {"models": ["openai/gpt-4o"], "retries": 0},
    "new": {"models": ["anthropic/claude-sonnet-4-5"], "retries": 0},
}
FAST = {"steps": [10, 50, 100], "dwell": "1s", "longest": "60s", "holdout": 10}


def config(folder: Path, **rollout: Any) -> dict[str, Any]:
    chat = {"match": ["chat"], "legacy": "tier:old", "candidate": "tier:new", **rollout}
    return {"tiers": ONE_TARGET, "data_dir": str(folder), "rollouts": {"chat": chat}, "track_cost": False}


class Traffic:
    """New users who ask, one after the other, and what became of their calls."""

    def __init__(self, models: Models, prefix: str = "u") -> None:
        self.models = models
        self.prefix = prefix
        self.numbers: Iterator[int] = itertools.count()
        self.asked = {"legacy": 0, "candidate": 0}
        self.failed = {"legacy": 0, "candidate": 0}

    async def ask(self) -> None:
        user = f"{self.prefix}-{next(self.numbers)}"
        arm = "candidate" if "candidate" in self.models.explain("chat", user_id=user).steps[0] else "legacy"
        try:
            await self.models.generate_text("chat", user_id=user, prompt="Hello", max_tokens=4)
        except PodiumError:
            self.failed[arm] += 1
        self.asked[arm] += 1

    async def until(self, done: Callable[[RampState], bool], most_s: float = 60.0) -> RampState:
        """Ask, some at a time, until a ramp stands as is wanted."""
        end = time.monotonic() + most_s
        while True:
            await asyncio.gather(*(self.ask() for _ in range(40)))
            state = await asyncio.to_thread(self.models.rollouts.ramps.state, "chat")
            assert state is not None
            if done(state):
                return state
            assert time.monotonic() < end, f"{state.climb.status} at {state.rollout.percent} %: {state.verdict}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def test_a_candidate_that_fails_a_tenth_is_rolled_back_by_itself(make: Make, sim: Sim, folder: Path) -> None:
    sim.set("claude-sonnet-4-5", failure_rate=0.1)
    models = make(**config(folder, ramp=FAST, guard={"error_rate": {"margin": "1%"}}))
    await asyncio.to_thread(models.rollouts.ramps.start, "chat")
    traffic = Traffic(models)
    state = await traffic.until(lambda state: state.climb.status == "rolled_back")
    assert state.rollout.percent == 0
    assert "error rate" in state.climb.reason
    change = models.rollouts.history("chat", most=1)[0]
    assert (change.who, change.action, change.after.percent) == ("ramp", "ramp", 0.0)
    assert change.why is not None
    assert "Evidence that it is worse" in change.why
    print(f"rolled back after {traffic.asked['candidate']} candidate requests, of which {traffic.failed['candidate']} failed")


async def test_a_candidate_equal_to_legacy_climbs_to_the_top_less_the_holdout(make: Make, folder: Path) -> None:
    models = make(**config(folder, ramp=FAST, guard={"error_rate": {"margin": "20%"}}))
    await asyncio.to_thread(models.rollouts.ramps.start, "chat")
    traffic = Traffic(models)
    state = await traffic.until(lambda state: state.climb.status == "watching")
    assert state.rollout.percent == 90
    percents = [change.after.percent for change in reversed(models.rollouts.history("chat")) if change.action == "ramp"]
    assert percents == [10, 50, 90]
    assert traffic.failed == {"legacy": 0, "candidate": 0}
