"""Torture: processes that share a data folder are killed at random moments under load; then the ledger is held against what
the simulated providers counted.

    python tests/ledger/torture.py --kills 200

Theory. Each worker asks simulated providers, over real HTTP, with ids of its own making in the prompts, and notes in a file
each id whose answer it has. Workers are killed with SIGKILL, the one that drains among them, and replaced at once. At the end
all are killed, a new process opens the ledger, and every exchange that the providers saw must be in it.

What must hold:
1. each exchange is one attempt in the ledger, and each request one entry;
2. an answer that a worker had is `ok`, with a settled attempt that has the provider's own counts and the exact cost;
3. only attempts in flight at a kill are `unknown`: no more for a kill than a worker has under way, and none without a kill;
4. what an `unknown` attempt reserved is at least what it was served for.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import multiprocessing.context
import os
import random
import re
import signal
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

TESTS = Path(__file__).parents[1]
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))

from podium import create_models  # noqa: E402
from podium.errors import PodiumError  # noqa: E402
from podium.ledger import Ledger  # noqa: E402
from podium.ledger.sqlite import FILE_NAME  # noqa: E402
from podium.sim import Sim, SimModel  # noqa: E402
from podium.sim.stats import Exchange  # noqa: E402

PRICES = {
    "openai/quick": {"input": "3", "output": "12"},
    "openai/slow": {"input": "1.37", "output": "5.11"},
    "openai/down": {"input": "1", "output": "1"},
    "groq/other": {"input": "0.5", "output": "0.7"},
}
"""USD a million tokens."""
LEGS = 2
"""The most attempts that one request has under way."""
_ID = re.compile(r"request (t-[0-9a-f-]+)")


class Verdict(NamedTuple):
    """What came of it."""

    kills: int
    exchanges: int
    entries: int
    attempts: int
    unknown: int
    answered: int
    """Requests whose answer a worker had."""
    settled_pico: int
    torn: int
    corrupt: int
    faults: list[str]


def simulated() -> Sim:
    models = {
        "openai/quick": SimModel(latency_s=0.01, latency_sigma=0.6, length=20),
        "openai/slow": SimModel(latency_s=0.03, latency_sigma=0.8, tokens_per_s=3000, length=60),
        "openai/down": SimModel(status=503, retry_after_s=0.0),
        "groq/other": SimModel(latency_s=0.02, latency_sigma=0.8, length=30),
    }
    return Sim(models=models, seed=11, keep=10_000_000)


def settings(sim_providers: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {
        "providers": sim_providers,
        "tiers": {
            "steady": {"strategy": "fallback", "models": ["openai/down", "openai/quick"], "auto": False},
            "race": {"strategy": "race", "models": ["openai/slow", "groq/other"], "auto": False},
        },
        "prices": PRICES,
        "data_dir": str(folder),
    }


# --- a worker ---------------------------------------------------------------------------------------------------------


def work(config: dict[str, Any], number: int, concurrency: int, done: str, ready: Any) -> None:
    """Ask until killed."""
    asyncio.run(_work(config, number, concurrency, done, ready))


async def _work(config: dict[str, Any], number: int, concurrency: int, done: str, ready: Any) -> None:
    models = create_models(**config)
    note = os.open(done, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    numbers = itertools.count()
    specs = itertools.cycle(["openai/quick", "tier:steady", "tier:race", "openai/slow"])

    async def ask() -> None:
        while True:
            name = f"t-{number:x}-{next(numbers):x}"
            spec = next(specs)
            prompt = f"This is request {name}; say something about rivers."
            with suppress(PodiumError):
                if spec == "openai/slow":
                    async with models.stream_text(spec, request_id=name, prompt=prompt, pin=True) as stream:
                        async for _ in stream:
                            continue
                else:
                    await models.generate_text(spec, request_id=name, prompt=prompt, pin=True)
                os.write(note, f"{name}\n".encode())
                ready.set()

    await asyncio.gather(*(ask() for _ in range(concurrency)))


# --- the torturer -----------------------------------------------------------------------------------------------------


class _Worker(NamedTuple):
    process: Any
    ready: Any


def torture(folder: Path, *, kills: int, processes: int = 4, concurrency: int = 8, seed: int = 0) -> Verdict:
    """Kill, then compare."""
    chance = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    # What a worker imports is imported once, so that it is under load within moments of its birth.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    context.set_forkserver_preload(["ledger.torture", "podium.config.compile", "podium.wire.openai_chat", "aiohttp"])
    data, done = folder / "data", folder / "done"
    done.touch()
    with simulated() as sim:
        config = settings(sim.providers("openai", "groq"), data)
        numbers = itertools.count()

        def begin() -> _Worker:
            ready = context.Event()
            arguments = (config, next(numbers), concurrency, str(done), ready)
            process = context.Process(target=work, args=arguments, daemon=True)
            process.start()
            return _Worker(process, ready)

        workers = [begin() for _ in range(processes)]
        for _ in range(kills):
            victim = chance.randrange(processes)
            assert workers[victim].ready.wait(60), "a worker never got an answer"
            time.sleep(chance.uniform(0.0, 0.25))
            kill(workers[victim])
            workers[victim] = begin()
        for each in workers:
            each.ready.wait(60)
        for each in workers:
            kill(each)
        sim.wait_idle(30)
        exchanges = sim.requests
    return judge(data, set(done.read_text().split()), exchanges, kills + processes, concurrency)


def kill(worker: _Worker) -> None:
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.join(20)
    worker.process.close()


# --- the judge --------------------------------------------------------------------------------------------------------

Where = tuple[str, str, str]


def judge(data: Path, answered: set[str], exchanges: tuple[Exchange, ...], kills: int, concurrency: int) -> Verdict:
    with Ledger.open(data) as ledger:
        drained = ledger.flush(60)
        statistics = ledger.statistics()
        total = ledger.usage(())[0]
    with closing(sqlite3.connect(data / FILE_NAME)) as connection:
        connection.row_factory = sqlite3.Row
        attempts = connection.execute("SELECT * FROM attempts").fetchall()
        entries = connection.execute("SELECT * FROM entries").fetchall()
    served: dict[Where, list[Exchange]] = defaultdict(list)
    for each in exchanges:
        served[request_of(each), each.provider, each.model].append(each)
    held: dict[Where, list[sqlite3.Row]] = defaultdict(list)
    for row in attempts:
        held[row["request_id"], row["provider"], row["model"]].append(row)
    unknown = [row for row in attempts if row["outcome"] == "unknown"]
    faults = [] if drained else ["the ledger was not drained in 60 s"]
    faults += [f"left in the journal: {path.name}" for path in (data / "journal").iterdir()]
    faults += once(served, held, entries)
    faults += exact(answered, served, held, entries)
    faults += doubtful(unknown, answered, served, kills, concurrency)
    settled = sum(row["cost_pico"] or 0 for row in attempts if row["outcome"] != "unknown")
    summed = int((total.cost_usd - total.unknown_usd).scaleb(12))
    if summed != settled:
        faults.append(f"the sums say {summed} pico-USD, the rows {settled}")
    return Verdict(
        kills=kills,
        exchanges=len(exchanges),
        entries=len(entries),
        attempts=len(attempts),
        unknown=len(unknown),
        answered=len(answered),
        settled_pico=settled,
        torn=statistics.torn,
        corrupt=statistics.corrupt,
        faults=faults,
    )


def request_of(exchange: Exchange) -> str:
    found = _ID.search(str(exchange.body))
    assert found is not None, exchange
    return found[1]


def once(served: dict[Where, list[Exchange]], held: dict[Where, list[sqlite3.Row]], entries: list[sqlite3.Row]) -> list[str]:
    """Each exchange is one attempt, each request one entry."""
    faults = [
        f"{where}: {len(seen)} exchanges, {len(held[where])} attempts"
        for where, seen in served.items()
        if len(held[where]) < len(seen)
    ]
    counts: dict[str, int] = defaultdict(int)
    for row in entries:
        counts[row["request_id"]] += 1
    asked = {where[0] for where in (*served, *held)}
    faults += [f"request {name} has {counts[name]} entries" for name in asked if counts[name] != 1]
    # What was written before a byte left, and never arrived, can only be unknown, or failed as the process still lived.
    faults += [
        f"{where}: settled as {row['outcome']} and never served"
        for where, rows in held.items()
        if where not in served
        for row in rows
        if row["outcome"] in ("won", "answered")
    ]
    return faults


def exact(
    answered: set[str], served: dict[Where, list[Exchange]], held: dict[Where, list[sqlite3.Row]], entries: list[sqlite3.Row]
) -> list[str]:
    """What was answered is settled, with the provider's counts and the exact cost."""
    faults = []
    outcomes = {row["request_id"]: row["outcome"] for row in entries}
    faults += [f"request {name} was answered, and is {outcomes.get(name)}" for name in answered if outcomes.get(name) != "ok"]
    won = {row["request_id"] for rows in held.values() for row in rows if row["outcome"] == "won"}
    faults += [f"request {name} was answered, and no attempt won" for name in answered - won]
    for where, rows in held.items():
        for row in rows:
            if row["outcome"] not in ("won", "answered"):
                continue
            whole = [each for each in served[where] if each.outcome == "finished"]
            read, written = row["input"] + row["cache_read"], row["output"] + row["reasoning"]
            if row["estimated"] or (read, written) not in [(each.input_tokens, each.tokens) for each in whole]:
                faults.append(f"{where}: settled with {read} + {written} tokens, served {whole}")
            elif row["cost_pico"] != price_pico(where, read, written):
                faults.append(f"{where}: cost {row['cost_pico']} for {read} + {written} tokens")
    return faults


def doubtful(
    unknown: list[sqlite3.Row], answered: set[str], served: dict[Where, list[Exchange]], kills: int, concurrency: int
) -> list[str]:
    """Only what was in flight at a kill is unknown, and its reservation covers what was served."""
    faults = []
    under_way = concurrency * LEGS
    by_worker: dict[str, int] = defaultdict(int)
    for row in unknown:
        by_worker[row["request_id"].rsplit("-", 1)[0]] += 1
        where = (row["request_id"], row["provider"], row["model"])
        if row["request_id"] in answered and row["tier"] != "race":
            faults.append(f"{where}: unknown, and was answered")
        reserved = row["reserved_pico"]
        most = max((price_pico(where, each.input_tokens, each.tokens) for each in served.get(where, [])), default=0)
        if reserved is None or row["cost_pico"] != reserved or reserved < most:
            faults.append(f"{where}: unknown at {row['cost_pico']}, reserved {reserved}, served for {most}")
    faults += [f"worker {name} left {count} unknown" for name, count in by_worker.items() if count > under_way]
    if len(by_worker) > kills:
        faults.append(f"{len(by_worker)} workers left something unknown, {kills} were killed")
    return faults


def price_pico(where: Where, read: int, written: int) -> int:
    price = PRICES[f"{where[1]}/{where[2]}"]
    # USD a million tokens are micro-USD a token: 10**6 pico-USD.
    return round(read * float(price["input"]) * 1e6) + round(written * float(price["output"]) * 1e6)


def main() -> int:
    """Torture as long as asked, and print the verdict; returns an exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        verdict = torture(
            Path(folder), kills=asked.kills, processes=asked.processes, concurrency=asked.concurrency, seed=asked.seed
        )
        for name, value in verdict._asdict().items():
            if name != "faults":
                print(f"{name:14} {value:,}")
        print(f"{'seconds':14} {time.monotonic() - began:.0f}")
        for fault in verdict.faults[:40]:
            print("FAULT", fault)
        print(f"{len(verdict.faults)} faults")
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
