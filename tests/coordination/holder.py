"""A process that holds what it reserved until it is killed: run as a program by the tests.

It says `ready` on its standard output, then obeys lines on its standard input: `settle N` settles its first open reservation
with N, `fork` does what the test of forks needs, `end` ends it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from podium.coordination import Coordinator
from podium.coordination.accounts import Standing
from podium.errors import LimitError
from podium.routing.limits import Limit


async def hold(job: dict[str, Any]) -> None:
    coordinator = Coordinator.open(job["path"])
    limits = [Limit(**limit) for limit in job["limits"]]
    reservations = [
        await coordinator.reserve(list(zip(limits, amounts, strict=True)), job["at"]) for amounts in job["reservations"]
    ]
    print("ready", flush=True)
    for line in sys.stdin:
        order, _, value = line.strip().partition(" ")
        if order == "settle":
            reservations.pop(0).settle({limit.kind: int(value) for limit in limits})
            print("settled", flush=True)
        elif order == "fork":
            print(await fork(coordinator, limits, job["at"]), flush=True)
        elif order == "end":
            break
    coordinator.close()


async def fork(coordinator: Coordinator, limits: list[Limit], at: float) -> str:
    """Say whether a child decides for itself: what it could take, and whether the parent still can."""
    standing, one = Standing(limits[:1]), {limits[0].kind: 1}
    known = coordinator.take_of(standing, one, at)
    if known is not None:
        known.release()
    inlet, outlet = os.pipe()
    child = os.fork()
    if child == 0:
        taken = "nothing"
        try:
            at_hand = coordinator.take_of(standing, one, at)
            taken = "what the parent leased" if at_hand else asyncio.Runner().run(_take(coordinator, limits[0], at))
        finally:
            os.write(outlet, taken.encode())
            os._exit(0)
    os.close(outlet)
    loop = asyncio.get_running_loop()
    said = await loop.run_in_executor(None, os.read, inlet, 1000)
    await loop.run_in_executor(None, os.waitpid, child, 0)
    (await coordinator.reserve([(limits[0], 1)], at)).settle({})
    return said.decode()


async def _take(coordinator: Coordinator, limit: Limit, at: float) -> str:
    taken = 0
    try:
        for _ in range(3):
            (await coordinator.reserve([(limit, 1)], at)).settle({})
            taken += 1
    except LimitError as error:
        return f"{taken}, then {error.code}"
    coordinator.close()
    return str(taken)


if __name__ == "__main__":
    asyncio.run(hold(json.loads(sys.argv[1])))
