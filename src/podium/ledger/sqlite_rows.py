"""How a batch comes into the SQLite store: its rows, and what they add to the tables of sums.

Theory. A batch is nearly always new. So its rows are inserted as they are, and only where one of them is there already is the
batch taken back and each row looked for. Most of what a row costs is handing its values to SQLite one by one; and most columns
are the same in all rows of a batch (no experiment, no error, nothing cached), so those are handed over once a statement. The
sums are added up here, by key, so that thousands of records change a few rows.

Rules.
- Many rows a statement: while SQLite takes them other threads run, and the thread that drains waits for them once, not once
  a row.
- All happens in the caller's transaction.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, islice
from typing import Any

import msgspec

from podium.ledger.cells import COST, UNKNOWN_COST, Cell, add_attempt, add_entry, new_cell
from podium.ledger.rows import Columns, columns_of_attempts, columns_of_entries
from podium.ledger.schema import ATTEMPTS_KEY, BY_TAG, ENTRIES_KEY, LOW, LOW_MASK, ROLLUPS, Rollup, adding
from podium.ledger.store import Batch, Sums

_TOGETHER = 64
"""Rows a statement; sums are wider, and fewer."""
_SUMS_TOGETHER = 32

_KEYS = {"attempts": ATTEMPTS_KEY.split(", "), "entries": ENTRIES_KEY.split(", ")}
_NAMED = tuple(rollup for rollup in ROLLUPS if rollup is not BY_TAG)
_TOKENS = Sums.COUNTS[Sums.COUNTS.index("input") :]

Key = tuple[Any, ...]


def take(connection: sqlite3.Connection, batch: Batch) -> None:
    """Take what the store does not have yet, and add it to the sums."""
    attempts = columns_of_attempts([*batch.attempts, *(closed.settled for closed in batch.closed)])
    entries = columns_of_entries(batch.entries, batch.closed)
    connection.execute("SAVEPOINT taking")
    try:
        _insert(connection, "attempts", attempts)
        _insert(connection, "entries", entries)
    except sqlite3.IntegrityError:  # something is there already
        connection.execute("ROLLBACK TO taking")
        attempts = _unknown(connection, "attempts", attempts)
        entries = _unknown(connection, "entries", entries)
        _insert(connection, "attempts", attempts)
        _insert(connection, "entries", entries)
    connection.execute("RELEASE taking")
    sums = _Sums()
    sums.add_attempts(attempts)
    sums.add_entries(entries)
    sums.write(connection)


def _insert(connection: sqlite3.Connection, table: str, columns: Columns) -> None:
    """Insert rows. Raises `IntegrityError` where one is there already."""
    shared, width = list(columns.same.values()), len(columns.own)
    values = list(chain.from_iterable(zip(*columns.own.values(), strict=True)))
    for first in range(0, len(columns), _TOGETHER):
        count = min(_TOGETHER, len(columns) - first)
        statement = _inserting(table, tuple(columns.same), tuple(columns.own), count)
        connection.execute(statement, shared + values[first * width : (first + count) * width])


@lru_cache(maxsize=128)
def _inserting(table: str, same: tuple[str, ...], own: tuple[str, ...], count: int) -> str:
    """The statement that inserts so many rows; its values are those that they share, then those of each row."""
    shared = [f"?{number}" for number in range(1, len(same) + 1)]
    numbers = itertools.count(len(same) + 1)
    rows = (f"({', '.join([*shared, *(f'?{next(numbers)}' for _ in own)])})" for _ in range(count))
    return f"INSERT INTO {table} ({', '.join((*same, *own))}) VALUES {', '.join(rows)}"


def _unknown(connection: sqlite3.Connection, table: str, columns: Columns) -> Columns:
    """The rows that the store does not have, each once."""
    query = f"SELECT 1 FROM {table} WHERE {' AND '.join(f'{name} = ?' for name in _KEYS[table])}"
    found: dict[Key, int] = {}
    for place, key in enumerate(zip(*(columns.each(name) for name in _KEYS[table]), strict=True)):
        if key not in found and connection.execute(query, key).fetchone() is None:
            found[key] = place
    return columns.only(list(found.values()))


class _Sums:
    """What a batch adds to the tables of sums."""

    __slots__ = ("_cells",)

    def __init__(self) -> None:
        self._cells: dict[Rollup, defaultdict[Key, Cell]] = {rollup: defaultdict(new_cell) for rollup in ROLLUPS}
        """By slot and names."""

    def add_attempts(self, columns: Columns) -> None:
        tokens = zip(*(columns.each(name) for name in _TOKENS), strict=True)
        facts = zip(columns.each("outcome"), tokens, columns.each("cost_pico"), strict=True)
        for cells, (outcome, counts, cost_pico) in zip(self._of(columns, "started_us"), facts, strict=True):
            add_attempt(cells, outcome, counts, cost_pico)

    def add_entries(self, columns: Columns) -> None:
        for cells, outcome in zip(self._of(columns, "requested_us"), columns.each("outcome"), strict=True):
            add_entry(cells, outcome)

    def _of(self, columns: Columns, at: str) -> Iterator[list[Cell]]:
        """The cells that each row is in."""
        slots = {grain: [_slot(us, grain) for us in columns.each(at)] for grain in {each.grain_us for each in ROLLUPS}}
        named = [
            map(self._cells[rollup].__getitem__, zip(slots[rollup.grain_us], *map(columns.each, rollup.keys), strict=True))
            for rollup in _NAMED
        ]
        tagged = self._cells[BY_TAG]
        for slot, tags, *cells in zip(slots[BY_TAG.grain_us], columns.each("tags"), *named, strict=True):
            cells += [tagged[slot, tag] for tag in _tags(tags)]
            yield cells

    def write(self, connection: sqlite3.Connection) -> None:
        """Add all of it to the tables."""
        for rollup, cells in self._cells.items():
            rows = (
                (
                    *key, *cell[:COST],
                    cell[COST] >> LOW, cell[COST] & LOW_MASK, cell[UNKNOWN_COST] >> LOW, cell[UNKNOWN_COST] & LOW_MASK,
                )
                for key, cell in sorted(cells.items())
            )  # fmt: skip
            while some := list(islice(rows, _SUMS_TOGETHER)):
                connection.execute(adding(rollup, len(some)), list(chain.from_iterable(some)))


@lru_cache(maxsize=1024)
def _tags(text: str) -> tuple[str, ...]:
    """The tags of a row; it counts under the empty one where it has none."""
    return msgspec.json.decode(text, type=tuple[str, ...]) or ("",)


def _slot(at: int, grain: int) -> int:
    """The slot that a time is in: divided as SQLite divides, towards 0."""
    return at // grain if at >= 0 else -(-at // grain)
