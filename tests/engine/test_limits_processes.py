"""Eight processes share one user's limits, through the whole engine and over real HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from podium.sim import Sim, SimModel

PROCESSES = 8
LIMIT_USD = Decimal("0.05")
MOST_AT_ONCE = 3

_WORKER = """
import asyncio, json, sys
from podium import create_models
from podium.errors import LimitError

url, folder, defaults = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
user = {"experiments": {"one": {"strategy": "first", "providers": ["openai/gpt-4o"], "retries": 0}},
        "defaults": {"experiment": "one", **defaults}}

async def main():
    spent, error = 0, None
    openai = {"base_url": url, "api_key": "sim"}
    async with create_models(providers={"openai": openai}, users={"jane": user}, data_dir=folder) as models:
        async def hammer():
            nonlocal spent, error
            for number in range(40):
                try:
                    result = await models.generate_text("user:jane", prompt=f"Tell me about ship {number}.", max_tokens=60)
                    spent += int(result.cost_usd * 10**12)
                except LimitError as limit:
                    error = {"asked": str(limit.asked)}
                    if limit.code == "budget_exceeded":
                        return
        await asyncio.gather(*(hammer() for _ in range(4)))
    print(json.dumps({"spent": spent, "error": error}))

asyncio.run(main())
"""


def start(url: str, folder: Path, defaults: dict[str, object]) -> list[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _WORKER, url, str(folder), json.dumps(defaults)]
    return [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]


def finish(workers: list[subprocess.Popen[str]]) -> list[dict[str, object]]:
    outputs = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * PROCESSES
    return [json.loads(output) for output in outputs]


def test_eight_processes_never_exceed_one_users_cost_limit_and_leave_at_most_a_request_unused(tmp_path: Path) -> None:
    with Sim(models={"gpt-4o": SimModel(latency_s=0.005)}, seed=3) as sim:
        told = finish(start(sim.base_url("openai"), tmp_path, {"costLimit": str(LIMIT_USD)}))
    spent = Decimal(sum(int(str(each["spent"])) for each in told)).scaleb(-12)
    assert spent <= LIMIT_USD
    refusals = [each["error"] for each in told if each["error"] is not None]
    assert refusals, "the limit was not reached: the test proves nothing"
    asked = max(Decimal(str(error["asked"])) for error in refusals if isinstance(error, dict))
    unit = LIMIT_USD / 100
    assert LIMIT_USD - spent <= asked + unit
    print(f"\nlimit ${LIMIT_USD}, spent ${spent}, a request may cost ${asked}")


def test_eight_processes_never_run_more_at_once_than_one_user_may(tmp_path: Path) -> None:
    with Sim(models={"gpt-4o": SimModel(latency_s=0.03)}, seed=3) as sim:
        workers = start(sim.base_url("openai"), tmp_path, {"maxConcurrent": MOST_AT_ONCE})
        most = 0
        while any(worker.poll() is None for worker in workers) and sim.stats.requests < 400:
            most = max(most, sim.stats.in_flight)
            time.sleep(0.002)
        for worker in workers:
            worker.kill()
            worker.communicate()
        assert sim.stats.requests > 50
    assert most == MOST_AT_ONCE


def test_a_killed_process_frees_its_share_within_five_seconds(tmp_path: Path) -> None:
    with Sim(models={"gpt-4o": SimModel(hang=True)}, seed=3) as sim:
        url = sim.base_url("openai")
        holder = start(url, tmp_path, {"maxConcurrent": MOST_AT_ONCE})[:]
        deadline = time.monotonic() + 20
        while sim.stats.in_flight < MOST_AT_ONCE:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for worker in holder:
            worker.kill()
            worker.communicate()
        sim.set("gpt-4o", hang=False)
        began = time.monotonic()
        fresh = start(url, tmp_path, {"maxConcurrent": MOST_AT_ONCE})
        served = sim.stats.finished
        while sim.stats.finished == served:
            if time.monotonic() - began > 15:
                pytest.fail("nothing was let in")
            time.sleep(0.01)
        waited = time.monotonic() - began
        for worker in fresh:
            worker.kill()
            worker.communicate()
    assert waited < 5 + 3, "five seconds, and three for a process to start on a busy machine"
