"""Five hundred streams through a race, all left half way: nothing is left behind.

Podium and the sim run in a process each, so that what is counted is Podium's and nothing that other tests left; and no ledger
is kept, whose threads open files and fill caches when they like.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from podium import Models, create_models

STREAMS = 500
TOKENS = 80
STORY = "Tell me a long story about ships."

_SERVE = f"""
from podium.sim import Sim, SimModel, serve
slow = SimModel(latency_s=0.05, latency_sigma=0.5, tokens_per_s=25.0, length={TOKENS})
serve(Sim(models={{"gpt-4o-mini": slow, "llama-3.1-8b": slow}}, seed=11), ready=lambda sim: print(sim.url, flush=True))
"""


class Outside:
    """A sim in another process."""

    def __init__(self, url: str) -> None:
        self.url = url

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/_sim/stats") as reply:
            found: dict[str, Any] = json.load(reply)
            return found

    async def idle(self) -> dict[str, Any]:
        """The counts once nothing is in flight."""
        for _ in range(200):
            stats = await asyncio.to_thread(self.stats)
            if not stats["in_flight"]:
                break
            await asyncio.sleep(0.05)
        return stats


@pytest.fixture
def outside() -> Iterator[Outside]:
    process = subprocess.Popen([sys.executable, "-c", _SERVE], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Outside(process.stdout.readline().strip())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


async def leave(models: Models, number: int) -> None:
    """Read half of an answer and leave: a third each by `async with`, `break` and cancellation."""
    half = TOKENS // 2
    way = number % 3
    if way == 0:
        async with models.stream_text("tier:fast", prompt=STORY) as stream:
            texts = stream.text
            for _ in range(half):
                await anext(texts)
    elif way == 1:
        seen = 0
        async for _ in models.stream_text("tier:fast", prompt=STORY).text:
            seen += 1
            if seen == half:
                break
    else:
        await leave_by_cancellation(models, half)


async def leave_by_cancellation(models: Models, half: int) -> None:
    half_way = asyncio.Event()

    async def read() -> None:
        seen = 0
        async for _ in models.stream_text("tier:fast", prompt=STORY).text:
            seen += 1
            if seen == half:
                half_way.set()
                await asyncio.sleep(0)  # what is there already would be read without a pause

    task = asyncio.create_task(read())
    await half_way.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def footprint() -> tuple[int, int, int]:
    """File descriptors, tasks, and resident memory in bytes."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()), psutil.Process().memory_info().rss


async def measure(url: str) -> dict[str, Any]:
    """Leave all streams half way, twice; say what the second time left behind, here and at the sim."""
    outside = Outside(url)
    providers = {name: {"base_url": f"{url}/{name}/v1", "api_key": "sim"} for name in ("openai", "groq")}
    race = {"strategy": "race", "models": ["openai/gpt-4o-mini", "groq/llama-3.1-8b"]}
    async with create_models(providers=providers, tiers={"fast": race}, ledger="none") as models:

        async def all_of_them() -> None:
            await asyncio.gather(*(leave(models, number) for number in range(STREAMS)))

        await models.generate_text("openai/gpt-4o-mini", pin=True, prompt="Hello")  # what is loaded once is loaded
        await all_of_them()  # what is kept for good (pools, arenas, caches) is there after the first time
        before_stats, before = await outside.idle(), footprint()
        await all_of_them()
        after_stats, after = await outside.idle(), footprint()
    return {
        "before": before,
        "after": after,
        "counts": {name: after_stats[name] - before_stats[name] for name in ("requests", "cancelled", "finished")},
    }


def test_500_streams_left_half_way_leave_nothing_behind(outside: Outside) -> None:
    run = subprocess.run([sys.executable, __file__, outside.url], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    before, after = told["before"], told["after"]
    assert told["counts"] == {"requests": 2 * STREAMS, "cancelled": 2 * STREAMS, "finished": 0}
    assert after[0] <= before[0], "file descriptors"
    assert after[1] == before[1], "tasks"
    assert after[2] - before[2] < 2 * 2**20, "resident memory"
    print(f"\n{STREAMS} streams: descriptors {before[0]} -> {after[0]}, memory {(after[2] - before[2]) / 2**20:+.2f} MiB")


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1]))))
