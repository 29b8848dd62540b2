"""Ramps at work, measured: requests until a bad candidate is rolled back over HTTP, what a call pays, and what filing costs.

The candidate fails a tenth of its calls against a simulated provider, legacy none; the guard's margin is one point, alpha 1 %,
and half of the users take the candidate, about a hundred calls a second. A verdict to roll back waits for no dwell, but
what is heard is filed and judged once a second, and a breaker may keep calls away from the candidate for a few seconds.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import tempfile
import time
from collections import deque
from decimal import Decimal
from pathlib import Path

from podium import create_models
from podium.coordination.rollouts import SqliteRollouts
from podium.engine.ramp.hearing import Hearing, News
from podium.engine.ramp.work import RampWork
from podium.engine.rollout.choice import Choice
from podium.errors import PodiumError
from podium.routing.climb import Course, begin
from podium.routing.rollout import Rollout, Stage
from podium.sim import Sim

RUNS = 8
AT_ONCE = 20
PAUSE_S = 0.1
FAILS = 0.10


def _config(sim: Sim, folder: Path) -> dict[str, object]:
    rollout = {"match": ["chat"], "legacy": "tier:old", "candidate": "tier:new"}
    return {
        "providers": sim.providers("openai", "anthropic"),
        "tiers": {
            "old": {"models": ["openai/gpt-4o"], "retries": 0},
            "new": {"models": ["anthropic/claude-sonnet-4-5"], "retries": 0},
        },
        "data_dir": str(folder),
        "rollouts": {
            "chat": {**rollout, "ramp": {"steps": [50, 100], "dwell": "1h"}, "guard": {"error_rate": {"margin": "1%"}}}
        },
        "ledger": "none",
    }


async def _roll_back(sim: Sim, folder: Path) -> tuple[int, float]:
    """Ask until the candidate is rolled back; returns how many calls it got, and the seconds that took."""
    candidate = 0
    async with create_models(**_config(sim, folder)) as models:  # type: ignore[arg-type]
        ramps = models.rollouts.ramps
        await asyncio.to_thread(ramps.start, "chat")

        async def ask(number: int) -> None:
            nonlocal candidate
            try:
                result = await models.generate_text("chat", user_id=f"u-{number}", prompt="Hello", max_tokens=4)
                candidate += result.target.provider == "anthropic"
            except PodiumError:
                candidate += 1

        began, number = time.perf_counter(), 0
        while models.rollouts.show("chat").percent:
            await asyncio.gather(*(ask(number + each) for each in range(AT_ONCE)))
            number += AT_ONCE
            await asyncio.sleep(PAUSE_S)
        return candidate, time.perf_counter() - began


def _at_work() -> None:
    found = []
    for run in range(RUNS):
        with tempfile.TemporaryDirectory() as folder, Sim(seed=run) as sim:
            sim.set("claude-sonnet-4-5", failure_rate=FAILS)
            found.append(asyncio.run(_roll_back(sim, Path(folder))))
    requests, seconds = sorted(one for one, _ in found), sorted(one for _, one in found)
    print(f"A candidate that fails {FAILS:.0%} is rolled back over HTTP ({RUNS} runs; filed and judged once a second)")
    print(f"  candidate requests  median {statistics.median(requests):,.0f}, {requests[0]:,} to {requests[-1]:,}")
    print(f"  seconds             median {statistics.median(seconds):.1f}, {seconds[0]:.1f} to {seconds[-1]:.1f}")


def _hearing() -> None:
    hearing = Hearing({"chat": Course()}, lambda name, changed, wait_s: None)
    stage = Stage(climb=1, step=0)
    choice = Choice(rollout="chat", arm="candidate", spec=None, why="", by="bucket", stage=stage, unit_id="u")
    costs, count = [Decimal("0.001")], 50_000
    best = 1.0
    for _ in range(3):
        hearing.news.clear()
        began = time.perf_counter()
        for _ in range(count):
            hear = hearing.hears(choice)
            if hear is not None:
                hear("ok", 0.5, costs)
        best = min(best, (time.perf_counter() - began) / count)
    print(f"\nWhat a governed call pays to be heard: {best * 1e6:.1f} us")


def _filing() -> None:
    news_a_second = 5_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rollouts.sqlite3"
        SqliteRollouts(path).open({"chat": Rollout(name="chat", candidate="tier:new", legacy="tier:old")}, who="bench")
        work = RampWork(path)
        work.ramps.begin("chat", lambda rollout, last: begin(rollout, Course(), 1, time.time()), who="bench", why=None)
        times = []
        for turn in range(5):
            news: deque[News] = deque()
            for number in range(news_a_second):
                arm = "candidate" if number % 100 == 0 else "legacy"
                stage = Stage(climb=1, step=0)
                news.append(News("chat", stage, arm, f"{turn}-{number}", time.time(), number % 90 == 0, 0.5))  # type: ignore[arg-type]
            began = time.perf_counter()
            work.beat(news)
            times.append(time.perf_counter() - began)
    whole_s = statistics.median(times)
    each_us = whole_s / news_a_second * 1e6
    print(f"To file {news_a_second:,} calls and to judge, on a thread: {whole_s * 1e3:.0f} ms, {each_us:.0f} us a call")


def main() -> None:
    """Measure, and print."""
    logging.getLogger("podium").setLevel(logging.CRITICAL)
    print("Ramps at work")
    _at_work()
    _hearing()
    _filing()


if __name__ == "__main__":
    main()
