"""What keeping the ledger costs a request, how fast it drains, and how long three questions take over five million entries.

The accounting of a request is measured in the process that serves it, its journal's, drainer's and leasing threads included,
until all of it is in the store, which has been opened before; once with the ledger alone, once for a user who has a limit of
money and one of requests at once besides. The questions are asked cold: by a process of its own, of files that the page cache
has let go.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.paired import Contender, compare
from bench.upstream import upstream
from podium import create_models
from podium.ledger import Ledger, RequestEnd, Settled, Started, settle, start
from podium.ledger.schema import OF_ATTEMPTS, OF_ENTRIES, ROLLUPS, added
from podium.ledger.sqlite import FILE_NAME, migrate
from podium.types import Usage

CALLS = 9600
"""So many that what it takes to close a ledger, once a process, is little of what each call takes."""
ROUNDS = 21
CONCURRENCY = 16
LIMITS = "defaults: {costLimit: 100000, maxConcurrent: 1000}\n"
REQUESTS = 40_000
TOGETHER = 4
"""Requests whose records share a write: about as many as in the loop with 16 at once."""
ENTRIES = int(os.environ.get("PODIUM_BENCH_ENTRIES", "5000000"))
USERS, TEAMS, MODELS, TIERS, TAGS, DAYS = 1000, 20, 12, 3, 60, 180

ASK = """
import sys, time
from pathlib import Path
from podium.ledger.sqlite import SqliteStore
from podium.ledger.usage import usage
store = SqliteStore(Path(sys.argv[1]))
began = time.perf_counter()
rows = usage(store, tuple(sys.argv[2].split(",")))
took = time.perf_counter() - began
assert sum(row.requests for row in rows) >= int(sys.argv[3])
print(took, len(rows))
"""


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        _calls(Path(folder))
        _alone(Path(folder))
        _questions(Path(folder))


# --- what a request pays ----------------------------------------------------------------------------------------------


def _calls(folder: Path) -> None:
    folders = (str(folder / f"calls-{number}") for number in itertools.count())
    ask: dict[str, Any] = {
        "user_id": "jane",
        "prompt": "Say something about a fox.",
        "metadata": {"team": "blue", "tags": ["bench", "fox"]},
    }

    user = folder / "jane.yml"

    async def load(base_url: str, limits: str = "", **config: Any) -> float:
        """CPU microseconds a call, and of everything that it leaves to be done."""
        user.write_text(f"name: Jane\n{limits}", "utf-8")
        models = create_models(providers={"openai": {"base_url": base_url, "api_key": "bench"}}, **config)
        models.load_user_config("jane", user)

        async def worker() -> None:
            for _ in range(CALLS // CONCURRENCY):
                await models.generate_text("openai/gpt-4o-mini", **ask)

        await models.generate_text("openai/gpt-4o-mini", **ask)
        if config.get("ledger") != "none":
            await asyncio.to_thread(models.usage)  # the store is made, once: that is no request's accounting
        gc.collect()
        gc.freeze()  # whether the collector walks all that was there before once or twice is chance, and would be 13 us a call
        began = time.process_time()
        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
        await models.close()
        took = time.process_time() - began
        gc.unfreeze()
        return took / CALLS * 1e6

    with upstream() as base_url:
        figures = compare(
            f"CPU of one call, {CALLS} calls at concurrency {CONCURRENCY}, until all of it is in the store",
            [
                Contender(name="no ledger", measure=lambda: asyncio.run(load(base_url, ledger="none"))),
                Contender(name="in memory", measure=lambda: asyncio.run(load(base_url, ledger="memory"))),
                Contender(name="sqlite", measure=lambda: asyncio.run(load(base_url, data_dir=next(folders)))),
                Contender(name="and limits", measure=lambda: asyncio.run(load(base_url, LIMITS, data_dir=next(folders)))),
            ],
            rounds=ROUNDS,
            unit="us",
            aim="aim: (sqlite, and limits) - no ledger <= 40 us",
        )
    for name, what in (("sqlite", "accounting of a request"), ("and limits", "accounting of a request of a limited user")):
        more = sorted(one - other for one, other in zip(figures[name], figures["no ledger"], strict=True))
        Console(width=120).print(
            f"{what}, drainer included: {statistics.median(more):.1f} us, median of the differences of {ROUNDS} rounds "
            f"(the middle half: {more[ROUNDS // 4]:.1f} to {more[-ROUNDS // 4]:.1f})",
            style="bold",
        )


def _records(number: int, at: float) -> tuple[Started, Settled]:
    started = start(
        request_id=f"{number:032x}",
        attempt=1,
        requested_at=at,
        started_at=at,
        provider="openai",
        model=f"model-{number % MODELS}",
        upstream_model="gpt-4o-mini-2024-07-18",
        dialect="openai_chat",
        spec="tier:fast",
        tier="fast",
        user_id=f"user-{number % USERS}",
        team=f"team-{number % TEAMS}",
        tags=(f"tag-{number % TAGS}", f"tag-{number % 7}"),
        reserved_pico=10**9,
    )
    settled = settle(
        started,
        outcome="won",
        duration_s=0.8 + number % 1000 / 1000,
        usage=Usage(input=900 + number % 100, output=200 + number % 17),
        cost_pico=255_000_000 + number,
        price_version="2026-02",
        price_source="bundled",
        finish_reason="stop",
        upstream_id=f"chatcmpl-{number:010}",
        request=RequestEnd("ok", 0.8 + number % 1000 / 1000, answered=True, attempts=1),
    )
    return started, settled


def _alone(folder: Path) -> None:
    """The ledger without an engine: appending, then draining what was appended."""
    now = time.time()
    records = [_records(number, now + number / 1000) for number in range(REQUESTS)]
    gc.freeze()
    appending, draining, rates = [], [], []
    for turn in range(4):
        with Ledger.open(folder / f"alone-{turn}", gathers=True) as ledger:
            journal = ledger._journal  # the drainer sleeps until all is appended: each is measured alone
            cpu = time.process_time()
            for number, (started, closed) in enumerate(records):
                journal.append(started)
                last = journal.append(closed)
                if number % TOGETHER == TOGETHER - 1:
                    journal.hand_over(last)
            appended, wall = time.process_time(), time.perf_counter()
            if not ledger.flush(120):
                raise RuntimeError("the ledger did not drain")
            if turn:
                appending.append((appended - cpu) / REQUESTS * 1e6)
                draining.append((time.process_time() - appended) / REQUESTS * 1e6)
                rates.append(REQUESTS / (time.perf_counter() - wall))
    gc.unfreeze()
    table = Table(title=f"The ledger alone, {REQUESTS:,} requests of one attempt and two tags", title_justify="left")
    for column in ("", "median", "min", "max", "aim"):
        table.add_column(column, justify="left" if not column else "right")
    for name, values, unit, aim in (
        (f"append two records, {2 * TOGETHER} a write, CPU", appending, "us", ""),
        ("drain them into SQLite, CPU", draining, "us", ""),
        ("drain rate", rates, "entries/s", ">= 20,000"),
    ):
        table.add_row(name, f"{statistics.median(values):,.4g} {unit}", f"{min(values):,.4g}", f"{max(values):,.4g}", aim)
    Console(width=120).print(table)


# --- three questions --------------------------------------------------------------------------------------------------


def _questions(folder: Path) -> None:
    path = folder / FILE_NAME
    began = time.perf_counter()
    _fill(path)
    console = Console(width=120)
    console.print(
        f"\n{ENTRIES:,} entries of {DAYS} days, {USERS:,} users, {MODELS} models and {TAGS} tags: "
        f"{path.stat().st_size / 1e9:.2f} GB, made in {time.perf_counter() - began:.0f} s",
        style="dim",
    )
    table = Table(title=f"Usage over {ENTRIES / 1e6:g} million entries, cold", title_justify="left", caption="aim: each < 1 s")
    for column in ("by", "rows", "median", "min", "max"):
        table.add_column(column, justify="left" if column == "by" else "right")
    for by in ("day,model", "user", "tag"):
        times, rows = [], ""
        for _ in range(5):
            _forget(path)
            found = subprocess.run(
                [sys.executable, "-c", ASK, str(folder), by, str(ENTRIES)], check=True, capture_output=True, text=True
            ).stdout.split()
            times.append(float(found[0]))
            rows = found[1]
        table.add_row(by, rows, f"{statistics.median(times):.3f} s", f"{min(times):.3f}", f"{max(times):.3f}")
    console.print(table)


def _forget(path: Path) -> None:
    """Have the page cache let the file go."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _fill(path: Path) -> None:
    """Make a store of many entries by SQL alone, its sums by the statements that the drainer uses."""
    step_us = DAYS * 86_400_000_000 // ENTRIES
    chance = "n * 2654435761 % 4294967296"
    facts = {
        "routes": (
            MODELS,
            {"provider": "'openai'", "model": "'model-' || n", "role": "'answer'", "tier": f"'tier-' || (n % {TIERS})"},
        ),
        "callers": (USERS, {"user_id": "'user-' || n", "team": f"'team-' || (n % {TEAMS})"}),
        "labels": (TAGS * 7, {"tags": f"'[\"tag-' || (n % {TAGS}) || '\",\"tag-' || (n % 7 + {TAGS}) || '\"]'"}),
        "endings": (
            1,
            {
                "outcome": "'won'", "price_version": "'2026-02'", "price_source": "'bundled'", "metered": "1",
                "request_outcome": "'ok'", "answered": "1", "attempts": "1",
            },
        ),
        "closed": (
            ENTRIES,
            {
                "started_us": f"1700000000000000 + n * {step_us}",
                "requested_us": f"1700000000000000 + n * {step_us}",
                "request_id": "lower(hex(randomblob(16)))",
                "attempt": "1",
                "route": f"{chance} % {MODELS} + 1",
                "caller": f"{chance} % {USERS} + 1",
                "labels": f"n % {TAGS * 7} + 1",
                "ending": "1",
                "duration_s": "0.8",
                "request_duration_s": "0.8",
                "first_content_s": "0.3",
                "input": "900 + n % 100",
                "output": "200 + n % 17",
                "cost_pico": "255000000 + n",
                "reserved_pico": "1000000000",
                "upstream_id": "'chatcmpl-' || lower(hex(randomblob(12)))",
                "conversation": "NULL",
                "more": "NULL",
            },
        ),
    }  # fmt: skip
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-400000")
        migrate(connection, str(path))
        for table, (count, values) in facts.items():
            kinds = {row[1]: row[2] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] != "id"}
            row = ", ".join(values.get(name, "0" if kind == "INTEGER" else "''") for name, kind in kinds.items())
            connection.execute(
                f"INSERT INTO {table} ({', '.join(kinds)}) WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 "
                f"FROM numbers WHERE n + 1 < {count}) SELECT {row} FROM numbers"
            )
        for table, at, sums in (("attempts", "started_us", OF_ATTEMPTS), ("entries", "requested_us", OF_ENTRIES)):
            for rollup in ROLLUPS:
                connection.execute(added(rollup, f"closed_{table}", at, sums))
        connection.execute("PRAGMA journal_mode=WAL")


if __name__ == "__main__":
    main()
