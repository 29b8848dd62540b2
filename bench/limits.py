"""What limits cost: reserving and settling in memory, and leasing across 8 processes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.paired import Contender, compare
from podium.coordination import Coordinator
from podium.routing.limits import PICO, Limit

_ROUNDS = 7
_REQUESTS = 20_000
_PROCESSES = 8
_SECONDS = 3.0


def _limits(count: int) -> list[tuple[Limit, int]]:
    every = [
        (Limit(kind="cost_usd", scope="user", id="jane", period="day", amount=10**6 * PICO), PICO // 1000),
        (Limit(kind="concurrent", scope="user", id="jane", amount=10**6), 1),
        (Limit(kind="requests", scope="user", id="jane", period="minute", amount=10**12), 1),
        (Limit(kind="tokens", scope="user", id="jane", period="minute", amount=10**15), 5000),
        (Limit(kind="cost_usd", scope="team", id="search", period="month", amount=10**6 * PICO), PICO // 1000),
        (Limit(kind="concurrent", scope="team", id="search", amount=10**6), 1),
    ]
    return every[:count]


def _reserving(coordinator: Coordinator, count: int) -> float:
    """Microseconds for a reservation and its settling, out of leases at hand."""
    asked = _limits(count)
    at = time.time()

    async def run() -> float:
        (await coordinator.reserve(asked, at)).settle({})
        begun = time.process_time()
        for _ in range(_REQUESTS):
            (await coordinator.reserve(asked, at)).settle({"cost_usd": PICO // 2000, "tokens": 1000})
        return (time.process_time() - begun) / _REQUESTS * 1e6

    return asyncio.run(run())


def _leasing(folder: Path, limit: dict[str, object], *, fresh: bool) -> dict[str, float]:
    """Let processes hammer a limit; what they got a second, and how they got it."""
    program = Path(__file__).parents[1] / "tests" / "coordination" / "hammer.py"
    children = []
    for number in range(_PROCESSES):
        job = {
            "path": str(folder / "c.sqlite"),
            "seed": number,
            "at": time.time(),
            "processes": _PROCESSES,
            "seconds": _SECONDS,
            "busy_s": 0.001,
            "at_once": 4,
            "fresh": fresh,
            "least": 1,
            "most": 1,
            "report": str(folder / f"report{number}"),
            "limits": [limit],
        }
        children.append(subprocess.Popen([sys.executable, str(program), json.dumps(job)]))
    for child in children:
        if child.wait() != 0:
            raise RuntimeError(f"a process ended with status {child.returncode}")
    reports = [json.loads((folder / f"report{number}").read_text("utf-8")) for number in range(_PROCESSES)]
    total = {name: sum(report["statistics"][name] for report in reports) for name in ("exchanges", "leases", "recalls")}
    answered = sum(len(report["done"]) for report in reports)
    refused = sum(len(report["refusals"]) for report in reports)
    return {name: count / _SECONDS for name, count in {"requests": answered, "refusals": refused, **total}.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        coordinator = Coordinator.open(Path(name) / "c.sqlite")
        try:
            compare(
                "reserve and settle in memory (CPU)",
                [
                    Contender(name="1 limit", measure=lambda: _reserving(coordinator, 1)),
                    Contender(name="3 limits", measure=lambda: _reserving(coordinator, 3)),
                    Contender(name="6 limits", measure=lambda: _reserving(coordinator, 6)),
                ],
                rounds=_ROUNDS,
                unit="us",
                aim="aim: a few microseconds",
            )
        finally:
            coordinator.close()
    far = {"kind": "requests", "scope": "user", "id": "jane", "period": "day", "amount": 10**9}
    near = {"kind": "concurrent", "scope": "user", "id": "jane", "amount": 7}
    titles = (
        ("far from the limit", far, False),
        ("at the limit (32 tasks want 7 slots)", near, False),
        ("a lease for each request (each is of a new user)", far, True),
    )
    for title, limit, fresh in titles:
        with tempfile.TemporaryDirectory() as name:
            rates = _leasing(Path(name), limit, fresh=fresh)
        shown = ", ".join(f"{rate:,.0f} {what}" for what, rate in rates.items())
        print(f"{_PROCESSES} processes, {title}; each second: {shown}")


if __name__ == "__main__":
    main()
