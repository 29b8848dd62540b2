"""A process that hammers one user's limits: run as a program by the tests and the benchmark.

It reserves and settles as fast as it can, with several requests under way, and writes what happened to a file: one line a
request (`begin_ns end_ns spent_pico`), one a refusal. Instants are of the clock that all processes share (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from podium.coordination import Coordinator
from podium.coordination.accounts import Standing
from podium.errors import LimitError
from podium.routing.limits import Kind, Limit


def wait_for_all(report: Path, processes: int) -> None:
    """Begin together: however long each took to start."""
    report.with_suffix(".ready").touch()
    deadline = time.monotonic() + 60
    while len(list(report.parent.glob("*.ready"))) < processes:
        if time.monotonic() > deadline:
            raise TimeoutError("not all processes started within a minute")
        time.sleep(0.002)


async def hammer(job: dict[str, Any]) -> dict[str, Any]:
    coordinator = Coordinator.open(job["path"])
    chance = random.Random(job["seed"])
    limits = [Limit(**limit) for limit in job["limits"]]
    standing = Standing(limits)
    done: list[tuple[int, int, int]] = []
    refusals: list[dict[str, Any]] = []
    numbers = itertools.count()
    at = job["at"]
    wait_for_all(Path(job["report"]), job["processes"])
    stop = time.monotonic() + job["seconds"]

    async def one_after_another() -> None:
        while time.monotonic() < stop:
            worst = chance.randint(job["least"], job["most"])
            these = [limit.replace(id=f"{job['seed']}/{next(numbers)}") for limit in limits] if job.get("fresh") else limits
            amounts: dict[Kind, int] = {limit.kind: worst if limit.kind == "cost_usd" else 1 for limit in these}
            try:
                reservation = coordinator.take_of(standing, amounts, at) if these is limits else None
                if reservation is None:
                    reservation = await coordinator.reserve([(limit, amounts[limit.kind]) for limit in these], at)
            except LimitError as error:
                refusals.append({"ns": time.monotonic_ns(), "worst": worst, **error.to_dict()})
                if error.code == "budget_exceeded" and job.get("until_refused"):
                    return
                await asyncio.sleep(0.0005)
                continue
            begin = time.monotonic_ns()
            await asyncio.sleep(chance.uniform(0, job["busy_s"]))
            spent = chance.randint(worst // 2, worst)
            done.append((begin, time.monotonic_ns(), spent))
            reservation.settle({"cost_usd": spent})

    await asyncio.gather(*(one_after_another() for _ in range(job["at_once"])))
    statistics = coordinator.statistics()
    coordinator.close()
    return {"done": done, "refusals": refusals, "statistics": statistics}


def main() -> None:
    job = json.loads(sys.argv[1])
    result = asyncio.run(hammer(job))
    Path(job["report"]).write_text(json.dumps(result), "utf-8")


if __name__ == "__main__":
    main()
