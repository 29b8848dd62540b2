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

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from podium.ledger.cells import COST, UNKNOWN_COST, Cell, add_attempt, add_cell, add_entry, new_cell
from podium.ledger.rows import attempt_row, closed_rows, entry_row
from podium.ledger.schema import (
    ATTEMPTS,
    ATTEMPTS_KEY,
    BY_TAG,
    ENTRIES,
    ENTRIES_KEY,
    HOUR_US,
    LOW,
    LOW_MASK,
    ROLLUPS,
    Rollup,
    adding,
    columns_of,
)
from podium.ledger.store import Batch

_TOGETHER = 64
"""Rows a statement; sums are wider, and fewer."""
_SUMS_TOGETHER = 32

Row = tuple[Any, ...]
Columns = list[tuple[Any, ...]]


class _Table(NamedTuple):
    """A table of rows, and where its columns are."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    def places(self, *names: str) -> tuple[int, ...]:
        """Where some columns are."""
        return tuple(self.columns.index(name) for name in names)


_ATTEMPTS = _Table("attempts", columns_of(ATTEMPTS), tuple(ATTEMPTS_KEY.split(", ")))
_ENTRIES = _Table("entries", columns_of(ENTRIES), tuple(ENTRIES_KEY.split(", ")))

_NAMED = tuple(rollup for rollup in ROLLUPS if rollup is not BY_TAG)
_NAMES = tuple(dict.fromkeys(name for rollup in _NAMED for name in rollup.keys))
_PICKS = tuple((rollup, itemgetter(*(_NAMES.index(name) for name in rollup.keys))) for rollup in _NAMED)
_ATTEMPT_NAMES = _ATTEMPTS.places(*_NAMES, "tags")
_ENTRY_NAMES = _ENTRIES.places(*_NAMES, "tags")
_OUTCOME, _COST = _ATTEMPTS.places("outcome", "cost_pico")
_TOKENS = slice(*_ATTEMPTS.places("input", "usage_more"))
(_ENTRY_OUTCOME,) = _ENTRIES.places("outcome")

_load_tags = msgspec.json.Decoder(tuple[str, ...]).decode


def take(connection: sqlite3.Connection, batch: Batch) -> None:
    """Take what the store does not have yet, and add it to the sums."""
    attempts = [attempt_row(each) for each in batch.attempts]
    entries = [entry_row(each) for each in batch.entries]
    for closed in batch.closed:
        attempt, entry = closed_rows(closed)
        attempts.append(attempt)
        entries.append(entry)
    connection.execute("SAVEPOINT taking")
    try:
        sums = _insert(connection, attempts, entries)
    except sqlite3.IntegrityError:  # something is there already
        connection.execute("ROLLBACK TO taking")
        sums = _insert(connection, _unknown(connection, _ATTEMPTS, attempts), _unknown(connection, _ENTRIES, entries))
    connection.execute("RELEASE taking")
    sums.write(connection)


def _insert(connection: sqlite3.Connection, attempts: Sequence[Row], entries: Sequence[Row]) -> _Sums:
    """Insert rows, and return what they add up to. Raises `IntegrityError` where one is there already."""
    sums = _Sums()
    for table, rows, add in ((_ATTEMPTS, attempts, sums.add_attempts), (_ENTRIES, entries, sums.add_entries)):
        if rows:
            columns: Columns = list(zip(*rows, strict=True))
            _insert_columns(connection, table, columns)
            add(columns)
    return sums


def _insert_columns(connection: sqlite3.Connection, table: _Table, columns: Columns) -> None:
    count = len(columns[0])
    # The ends of a column tell most that vary; NULL and '' are different, and 0, False and 0.0 are stored alike.
    same = tuple(place for place, column in enumerate(columns) if column[0] == column[-1] and column.count(column[0]) == count)
    shared = [columns[place][0] for place in same]
    varying = [column for place, column in enumerate(columns) if place not in same]
    values = list(chain.from_iterable(zip(*varying, strict=True)))
    for first in range(0, count, _TOGETHER):
        some = min(_TOGETHER, count - first)
        own = values[first * len(varying) : (first + some) * len(varying)]
        connection.execute(_inserting(table, same, some), shared + own)


@lru_cache(maxsize=128)
def _inserting(table: _Table, same: tuple[int, ...], count: int) -> str:
    """The statement that inserts so many rows: first the values that they share, then those of each row."""
    numbers = iter(range(len(same) + 1, len(same) + 1 + count * (len(table.columns) - len(same))))
    at = {place: number for number, place in enumerate(same, 1)}
    rows = (", ".join(f"?{at.get(place) or next(numbers)}" for place in range(len(table.columns))) for _ in range(count))
    return f"INSERT INTO {table.name} VALUES {', '.join(f'({row})' for row in rows)}"


def _unknown(connection: sqlite3.Connection, table: _Table, rows: Iterable[Row]) -> list[Row]:
    """The rows that the store does not have, each once."""
    query = f"SELECT 1 FROM {table.name} WHERE {' AND '.join(f'{name} = ?' for name in table.key)}"
    found: dict[Row, Row] = {}
    for row in rows:
        key = row[: len(table.key)]
        if key not in found and connection.execute(query, key).fetchone() is None:
            found[key] = row
    return list(found.values())


class _Sums:
    """What a batch adds to the tables of sums.

    Rows with the same names and hour are added up first, and what they come to then goes into every table.
    """

    __slots__ = ("_cells",)

    def __init__(self) -> None:
        self._cells: dict[Row, Cell] = {}
        """By hour, `_NAMES` and tags."""

    def add_attempts(self, columns: Columns) -> None:
        facts = zip(columns[_OUTCOME], zip(*columns[_TOKENS], strict=True), columns[_COST], strict=True)
        for cell, (outcome, tokens, cost_pico) in zip(self._of(columns, _ATTEMPT_NAMES), facts, strict=True):
            add_attempt((cell,), outcome, tokens, cost_pico)

    def add_entries(self, columns: Columns) -> None:
        for cell, outcome in zip(self._of(columns, _ENTRY_NAMES), columns[_ENTRY_OUTCOME], strict=True):
            add_entry((cell,), outcome)

    def _of(self, columns: Columns, names: tuple[int, ...]) -> Iterator[Cell]:
        """The cell of each row."""
        cells = self._cells
        hours = [_slot(at, HOUR_US) for at in columns[0]]
        for key in zip(hours, *(columns[place] for place in names), strict=True):
            cell = cells.get(key)
            if cell is None:
                cell = cells[key] = new_cell()
            yield cell

    def _spread(self) -> dict[Rollup, dict[Row, Cell]]:
        """The cells of each table, by slot and names."""
        tables: dict[Rollup, dict[Row, Cell]] = {rollup: {} for rollup in ROLLUPS}
        for (hour, *names, tags), cell in self._cells.items():
            places = [(rollup, pick(names)) for rollup, pick in _PICKS]
            places += [(BY_TAG, (tag,)) for tag in _load_tags(tags) or ("",)]
            for rollup, of in places:
                key = (_slot(hour, rollup.grain_us // HOUR_US), *of)
                add_cell(tables[rollup].setdefault(key, new_cell()), cell)
        return tables

    def write(self, connection: sqlite3.Connection) -> None:
        """Add all of it to the tables."""
        for rollup, cells in self._spread().items():
            rows = (
                (
                    *key, *cell[:COST],
                    cell[COST] >> LOW, cell[COST] & LOW_MASK, cell[UNKNOWN_COST] >> LOW, cell[UNKNOWN_COST] & LOW_MASK,
                )
                for key, cell in sorted(cells.items())
            )  # fmt: skip
            while some := list(islice(rows, _SUMS_TOGETHER)):
                connection.execute(adding(rollup, len(some)), list(chain.from_iterable(some)))


def _slot(at: int, grain: int) -> int:
    """The slot that a time is in: divided as SQLite divides, towards 0."""
    return at // grain if at >= 0 else -(-at // grain)
