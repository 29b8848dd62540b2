"""Pricing attempts again, in the SQLite store.

Rules.
- Only what was metered and settled: the cost of an `unknown` attempt is its reservation and stays it.
- In one transaction: the rows, the audit of what they cost before, and every table of sums.
- An attempt that another has priced meanwhile is left alone: its old price must be the one that was read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from podium.ledger.records import MOST_PICO
from podium.ledger.rows import PRICED_COLUMNS, load_priced, microseconds
from podium.ledger.schema import COLUMNS, COUNTS, LOW, LOW_MASK, ROLLUPS, added
from podium.ledger.store import Price, Priced

_STAGE = """CREATE TEMP TABLE IF NOT EXISTS staged_prices (started_us INTEGER NOT NULL, request_id TEXT NOT NULL,
    attempt INTEGER NOT NULL, old_cost INTEGER, new_cost INTEGER, version TEXT NOT NULL, source TEXT NOT NULL,
    PRIMARY KEY (started_us, request_id, attempt)) WITHOUT ROWID"""

_SAME = "a.started_us = s.started_us AND a.request_id = s.request_id AND a.attempt = s.attempt"

_TABLES = ("attempts_apart", "closed_attempts")
"""Each attempt is in one of them."""
_UNPRICED_FACTS = tuple(name for name in COLUMNS["endings"] if name not in ("price_version", "price_source"))
_NEW_ENDINGS = (
    f"INSERT OR IGNORE INTO endings ({', '.join(_UNPRICED_FACTS)}, price_version, price_source) "
    f"SELECT {', '.join(f'old.{name}' for name in _UNPRICED_FACTS)}, s.version, s.source FROM staged_prices AS s "
    f"CROSS JOIN closed AS a ON {_SAME} JOIN endings AS old ON old.id = a.ending"
)
"""The same endings by other prices."""
_NEW_ENDING = " AND ".join(
    (*(f"new.{name} = old.{name}" for name in _UNPRICED_FACTS), "new.price_version = s.version", "new.price_source = s.source")
)

_CHANGED = (
    *("SUM((new_cost IS NULL) - (old_cost IS NULL))" if name == "unpriced" else "0" for name in COUNTS),
    f"SUM((COALESCE(new_cost, 0) >> {LOW}) - (COALESCE(old_cost, 0) >> {LOW}))",
    f"SUM((COALESCE(new_cost, 0) & {LOW_MASK}) - (COALESCE(old_cost, 0) & {LOW_MASK}))",
    "0",
    "0",
)
"""What a changed price adds to each of the sums."""


def priced(
    connection: sqlite3.Connection,
    since_us: int | None,
    until_us: int | None,
    after: tuple[int, str, int] | None,
    most: int,
) -> list[Priced]:
    """Return the next metered attempts in the order of their start."""
    conditions = ["metered", "outcome <> 'unknown'"]
    values: list[object] = []
    if since_us is not None and after is None:
        conditions.append("started_us >= ?")
        values.append(since_us)
    if until_us is not None:
        conditions.append("started_us < ?")
        values.append(until_us)
    if after is not None:
        conditions.append("(started_us, request_id, attempt) > (?, ?, ?)")
        values += after
    each = (f"SELECT {', '.join(PRICED_COLUMNS)} FROM {table} WHERE {' AND '.join(conditions)}" for table in _TABLES)
    rows = connection.execute(
        f"{' UNION ALL '.join(each)} ORDER BY started_us, request_id, attempt LIMIT ?", [*values, *values, most]
    )
    return [load_priced(row) for row in rows]


def reprice(connection: sqlite3.Connection, changes: Iterable[tuple[Priced, Price]], at: float) -> int:
    """Give attempts their new price within the caller's transaction. Returns how many changed."""
    connection.execute(_STAGE)
    connection.executemany(
        "INSERT INTO staged_prices VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (
                microseconds(old.started_at), old.request_id, old.attempt, old.cost_pico,
                None if new.cost_pico is None or abs(new.cost_pico) > MOST_PICO else new.cost_pico,
                new.price_version or "", new.price_source or "",
            )
            for old, new in changes
        ),
    )  # fmt: skip
    there = " AND ".join(
        f"NOT EXISTS (SELECT 1 FROM {table} AS a WHERE {_SAME} AND a.cost_pico IS s.old_cost)" for table in _TABLES
    )
    connection.execute(f"DELETE FROM staged_prices AS s WHERE {there}")
    changed: int = connection.execute("SELECT COUNT(*) FROM staged_prices").fetchone()[0]
    for table in _TABLES:
        connection.execute(
            "INSERT INTO price_changes SELECT s.started_us, s.request_id, s.attempt, ?, a.cost_pico, a.price_version, "
            f"a.price_source, s.new_cost, s.version, s.source FROM staged_prices AS s CROSS JOIN {table} AS a ON {_SAME}",
            (microseconds(at),),
        )
    for table in _TABLES:
        source = f"(SELECT a.*, s.old_cost, s.new_cost FROM staged_prices AS s CROSS JOIN {table} AS a ON {_SAME})"
        for rollup in ROLLUPS:
            connection.execute(added(rollup, source, "started_us", _CHANGED))
    connection.execute(
        "UPDATE attempts_apart AS a SET cost_pico = s.new_cost, price_version = s.version, price_source = s.source "
        f"FROM staged_prices AS s WHERE {_SAME}"
    )
    connection.execute(_NEW_ENDINGS)
    connection.execute(
        "UPDATE closed AS a SET cost_pico = s.new_cost, ending = new.id "
        f"FROM staged_prices AS s, endings AS old, endings AS new WHERE {_SAME} AND old.id = a.ending AND {_NEW_ENDING}"
    )
    connection.execute("DELETE FROM staged_prices")
    return changed
