"""Limits between real processes: they are kept to the cent, and what dies gives back what it held."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podium.coordination import Coordinator, Reservation
from podium.errors import LimitError
from podium.routing.limits import PICO, Limit, usd

HERE = Path(__file__).parent
PROCESSES = 8
AT = time.time()

DAY = Limit(kind="cost_usd", scope="user", id="jane", period="day", amount=PICO // 10)
AT_ONCE = Limit(kind="concurrent", scope="user", id="jane", amount=7)
REQUESTS = Limit(kind="requests", scope="user", id="jane", period="day", amount=100)


def start(program: str, job: dict[str, Any], *, pipe: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(HERE / program), json.dumps(job)], stdin=pipe, stdout=pipe, text=True)


class Holder:
    """A process that holds something."""

    def __init__(self, path: Path, limits: list[Limit], reservations: list[list[int]]) -> None:
        job = {"path": str(path), "limits": [limit.to_dict() for limit in limits], "reservations": reservations, "at": AT}
        self.process = start("holder.py", job, pipe=subprocess.PIPE)
        assert self.says() == "ready"

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def do(self, order: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.says()

    def kill(self) -> None:
        with self.process:  # closes the pipes
            self.process.kill()

    def end(self) -> None:
        with self.process:
            self.do("end")
        assert self.process.returncode == 0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "coordination.sqlite"


@pytest.fixture
def mine(path: Path) -> Iterator[Coordinator]:
    coordinator = Coordinator.open(path)
    yield coordinator
    coordinator.close()


async def take_until_refused(coordinator: Coordinator, limit: Limit, amount: int) -> tuple[list[Reservation], LimitError]:
    taken = []
    while True:
        try:
            taken.append(await coordinator.reserve([(limit, amount)], AT))
        except LimitError as error:
            return taken, error


def test_eight_processes_never_exceed_a_cost_limit_by_a_cent_nor_a_concurrency_by_a_request(tmp_path: Path) -> None:
    """And each refusal leaves less unused than the request asked for: at most one lease."""
    most = PICO // 10_000
    children = [
        start(
            "hammer.py",
            {
                "path": str(tmp_path / "coordination.sqlite"),
                "seed": number,
                "at": AT,
                "processes": PROCESSES,
                "seconds": 30,
                "busy_s": 0.002,
                "at_once": 3,
                "least": PICO // 100_000,
                "most": most,
                "until_refused": True,
                "report": str(tmp_path / f"report{number}"),
                "limits": [DAY.to_dict(), AT_ONCE.to_dict()],
            },
        )
        for number in range(PROCESSES)
    ]
    assert [child.wait(60) for child in children] == [0] * PROCESSES
    reports = [json.loads((tmp_path / f"report{number}").read_text("utf-8")) for number in range(PROCESSES)]

    done = [each for report in reports for each in report["done"]]
    spent = sum(pico for _, _, pico in done)
    amount = DAY.amount
    assert spent <= amount
    assert amount - spent < max(most, amount // 100)
    assert all(report["done"] for report in reports)

    running = peak = 0
    for _, step in sorted([(begin, 1) for begin, _, _ in done] + [(end, -1) for _, end, _ in done]):
        running += step
        peak = max(peak, running)
    assert 1 < peak <= 7

    refusals = [each for report in reports for each in report["refusals"]]
    assert {each["code"] for each in refusals} == {"budget_exceeded", "rate_limited"}
    for each in refusals:
        unused = float(each["amount"]) - float(each["spent"]) - float(each["reserved"])
        assert 0 <= unused < float(each["asked"])
    assert sum(report["statistics"]["recalls_unanswered"] for report in reports) == 0


async def test_a_killed_process_frees_what_it_did_not_use_within_five_seconds(path: Path, mine: Coordinator) -> None:
    """What it had under way at its death may have been served, and counts as spent; its slots are free."""
    holder = Holder(path, [DAY, AT_ONCE], [[PICO // 100, 1]] * 7)
    assert holder.do(f"settle {PICO // 1000}") == "settled"
    taken, _ = await take_until_refused(mine, AT_ONCE, 1)
    assert len(taken) == 1  # six run there

    holder.kill()
    killed = time.monotonic()
    more, refused = await take_until_refused(mine, AT_ONCE, 1)
    assert len(more) == 6
    assert time.monotonic() - killed < 5
    assert refused.reserved == 7

    used = PICO // 1000 + 6 * (PICO // 100)
    (await mine.reserve([(DAY, PICO // 10 - used)], AT)).settle({})
    with pytest.raises(LimitError) as caught:
        await mine.reserve([(DAY, 1)], AT)
    assert caught.value.spent == caught.value.amount


async def test_a_killed_process_is_noticed_though_nobody_asks(path: Path, mine: Coordinator) -> None:
    holder = Holder(path, [DAY], [[PICO // 100]])
    holder.kill()
    killed = time.monotonic()
    while mine.statistics()["dead_processes"] == 0:
        assert time.monotonic() - killed < 5
        await asyncio.sleep(0.05)
    assert len(list(path.with_name(path.name + ".owners").glob("*.slate"))) == 1


async def test_after_a_crash_of_the_machine_all_that_was_leased_counts_as_spent(path: Path) -> None:
    """The slate may be older than the file then."""
    holder = Holder(path, [DAY], [[PICO // 100]])
    holder.kill()
    with sqlite3.connect(path) as file:
        (held,) = file.execute("SELECT held FROM leases").fetchone()
        file.execute("UPDATE owners SET boot = 'an earlier one'")
    file.close()
    assert held > PICO // 100
    mine = Coordinator.open(path)
    with pytest.raises(LimitError) as caught:
        await mine.reserve([(DAY, DAY.amount - held + 1)], AT)
    assert caught.value.spent == usd(held)
    (await mine.reserve([(DAY, DAY.amount - held)], AT)).settle({})
    mine.close()


async def test_a_process_that_left_gave_everything_back(path: Path, mine: Coordinator) -> None:
    holder = Holder(path, [REQUESTS], [[1]])
    holder.end()
    taken, refused = await take_until_refused(mine, REQUESTS, 1)
    assert len(taken) == 99
    assert refused.spent == 1


async def test_what_a_stopped_process_holds_is_never_given_away(path: Path, mine: Coordinator) -> None:
    """It may go on at any moment, and would not know; so whoever is refused waits no longer than for an answer."""
    holder = Holder(path, [REQUESTS], [[1]])
    os.kill(holder.process.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        taken, _ = await take_until_refused(mine, REQUESTS, 1)
        assert time.monotonic() - begun < 5
        assert mine.statistics()["recalls_unanswered"] == 1
    finally:
        os.kill(holder.process.pid, signal.SIGCONT)
    more, _ = await take_until_refused(mine, REQUESTS, 1)
    assert len(taken) + len(more) == 99
    assert len(more) > 0
    holder.end()


async def test_a_forked_child_decides_for_itself(path: Path, mine: Coordinator) -> None:
    """It has none of its parent's leases, counts beside it, and leaves it whole."""
    holder = Holder(path, [REQUESTS], [[1]])
    assert holder.do("fork") == "3"
    holder.end()
    taken, refused = await take_until_refused(mine, REQUESTS, 1)
    assert len(taken) == 95
    assert refused.spent == 5
