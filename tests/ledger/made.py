"""Records for the ledger's tests: requests with attempts, made from a number."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from podium.ledger import Ended, Ledger, RequestEnd, Settled, Started, UsageRow, settle, start
from podium.ledger.drainer import LOCK_NAME, Drainer
from podium.ledger.facts import load_caller, load_ending, load_labels, load_route, pack
from podium.ledger.ledger import JOURNAL_FOLDER
from podium.ledger.records import Record
from podium.ledger.sqlite import FILE_NAME, SqliteStore
from podium.types import Usage

NOON = 1_772_366_400.0
"""2026-03-01T12:00:00Z."""


def started(number: int = 0, *, attempt: int = 1, at: float | None = None, **facts: Any) -> Started:
    requested_at = NOON + number if at is None else at
    made: dict[str, Any] = {
        "request_id": f"request-{number}",
        "attempt": attempt,
        "requested_at": requested_at,
        "started_at": requested_at + 0.001 * attempt,
        "provider": "openai",
        "model": "gpt-4o",
        "user_id": "jane",
        "team": "blue",
        "tier": "fast",
        "reserved_pico": 9_000_000,
        **facts,
    }
    return start(**made)


def settled(of: Started, **facts: Any) -> Settled:
    made: dict[str, Any] = {
        "outcome": "won",
        "duration_s": 0.5,
        "usage": Usage(input=100, output=20, cache_read=7, reasoning=3),
        "cost_pico": 5_000_000,
        "price_version": "2026-02",
        "price_source": "bundled",
        **facts,
    }
    return settle(of, **made)


def ended(of: Started, **facts: Any) -> Ended:
    route, caller = load_route(of.route), load_caller(of.caller)
    made: dict[str, Any] = {
        "outcome": "ok",
        "duration_s": 0.6,
        "winner": of.attempt,
        "attempts": of.attempt,
        "tier": route.tier,
        "experiment": route.experiment,
        "user_id": caller.user_id,
        "team": caller.team,
        "tags": load_labels(of.labels).tags,
        "provider": route.provider,
        "model": route.model,
        "rollout": route.rollout,
        "arm": route.arm,
        **facts,
    }
    return Ended(request_id=of.request_id, requested_at=of.requested_at, **made)


def closed(of: Started, **facts: Any) -> Settled:
    """What `settled` and `ended` say, in one record."""
    told = {"outcome": "ok", "duration_s": 0.6, "answered": True, "attempts": of.attempt}
    said = {name: facts.pop(f"request_{name}") for name in told if f"request_{name}" in facts}
    return settled(of, request=RequestEnd(**{**told, **said}), **facts)


def told_at_once(attempt: Settled, entry: Ended) -> Settled:
    """An attempt and its request's end in one record."""
    told = {"request_outcome": entry.outcome, "answered": entry.winner is not None, "attempts": entry.attempts}
    return replace(attempt, ending=pack(replace(load_ending(attempt.ending), **told)), request_duration_s=entry.duration_s)


def request(number: int = 0, **facts: Any) -> tuple[Started, Settled, Ended]:
    """A whole request with one attempt."""
    first = started(number, **facts)
    return first, settled(first), ended(first)


def requests(count: int) -> Iterator[Record]:
    for number in range(count):
        yield from request(number)


def drainer_of(folder: Path) -> tuple[Drainer, SqliteStore]:
    """A drainer and its store over a data folder, to be driven by hand."""
    store = SqliteStore(folder, fsync="never")
    drainer = Drainer(folder / JOURNAL_FOLDER, folder / LOCK_NAME, store)
    assert drainer.elect()
    return drainer, store


def drain_all(drainer: Drainer) -> None:
    while drainer.drain():
        continue


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        return connection.execute(query).fetchall()


def record(ledger: Ledger, number: int) -> None:
    opened, settled, ended = request(number)
    ledger.started(opened)
    ledger.settled(settled)
    ledger.ended(ended)


def all_of(ledger: Ledger) -> UsageRow:
    rows = ledger.usage(())
    return rows[0] if rows else UsageRow()
