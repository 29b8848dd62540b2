"""How a batch comes into the SQLite store: its rows, and what they add to the tables of sums.

Theory. A batch is nearly always new. So its rows are inserted as they are, and only where one of them is there already is the
batch taken back and each row looked for. The sums are added up here, by key, so that thousands of records change a few rows.

Rules.
- Several rows a statement: while SQLite takes them other threads run, and the thread that drains waits for them once, not once
  a row.
- All happens in the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple

from podium.ledger.cells import COST, UNKNOWN_COST, Cell, add_attempt, add_entry, new_cell
from podium.ledger.records import Ended, Settled
from podium.ledger.rows import attempt_row, entry_row
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

_TOGETHER = 32
"""Rows a statement."""

Row = tuple[Any, ...]
Names = tuple[str, ...]
Found = tuple[Row, Names]
"""A row, and its tags."""


class _Table(NamedTuple):
    """A table of rows, and where its columns are."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    def picker(self, *names: str) -> Callable[[Row], Names]:
        """What picks some columns out of a row."""
        pick = itemgetter(*(self.columns.index(name) for name in names))
        return pick if len(names) > 1 else lambda row: (pick(row),)


_ATTEMPTS = _Table("attempts", columns_of(ATTEMPTS), tuple(ATTEMPTS_KEY.split(", ")))
_ENTRIES = _Table("entries", columns_of(ENTRIES), tuple(ENTRIES_KEY.split(", ")))

_NAMED = tuple(rollup for rollup in ROLLUPS if rollup is not BY_TAG)
_NAMES = tuple(dict.fromkeys(name for rollup in _NAMED for name in rollup.keys))
_PICKS = tuple((rollup, itemgetter(*(_NAMES.index(name) for name in rollup.keys))) for rollup in _NAMED)
_ATTEMPT_NAMES = _ATTEMPTS.picker(*_NAMES, "tags")
_ENTRY_NAMES = _ENTRIES.picker(*_NAMES, "tags")
_OUTCOME = _ATTEMPTS.columns.index("outcome")
_TOKENS = slice(_ATTEMPTS.columns.index("input"), _ATTEMPTS.columns.index("usage_more"))
_COST = _ATTEMPTS.columns.index("cost_pico")
_ENTRY_OUTCOME = _ENTRIES.columns.index("outcome")


def take(connection: sqlite3.Connection, attempts: Iterable[Settled], entries: Iterable[Ended]) -> None:
    """Take what the store does not have yet, and add it to the sums."""
    connection.execute("SAVEPOINT taking")
    try:
        sums = _insert(connection, map(_settled, attempts), map(_ended, entries))
    except sqlite3.IntegrityError:  # something is there already
        connection.execute("ROLLBACK TO taking")
        sums = _insert(
            connection,
            _unknown(connection, _ATTEMPTS, map(_settled, attempts)),
            _unknown(connection, _ENTRIES, map(_ended, entries)),
        )
    connection.execute("RELEASE taking")
    sums.write(connection)


def _settled(attempt: Settled) -> Found:
    return attempt_row(attempt), attempt.started.tags


def _ended(entry: Ended) -> Found:
    return entry_row(entry), entry.tags


def _insert(connection: sqlite3.Connection, settled: Iterator[Found], ended: Iterator[Found]) -> _Sums:
    """Insert rows, and return what they add up to. Raises `IntegrityError` where one is there already."""
    sums = _Sums()
    for table, found, add in ((_ATTEMPTS, settled, sums.add_attempts), (_ENTRIES, ended, sums.add_entries)):
        while some := list(islice(found, _TOGETHER)):
            connection.execute(_inserting(table, len(some)), list(chain.from_iterable([row for row, _ in some])))
            add(some)
    return sums


@lru_cache(maxsize=128)
def _inserting(table: _Table, count: int) -> str:
    row = f"({', '.join('?' * len(table.columns))})"
    return f"INSERT INTO {table.name} VALUES {', '.join([row] * count)}"


def _unknown(connection: sqlite3.Connection, table: _Table, found: Iterable[Found]) -> Iterator[Found]:
    """What the store does not have; asked one by one, while those before it are being inserted."""
    query = f"SELECT 1 FROM {table.name} WHERE {' AND '.join(f'{name} = ?' for name in table.key)}"
    seen: set[Row] = set()
    for row, tags in found:
        key = row[: len(table.key)]
        if key not in seen and connection.execute(query, key).fetchone() is None:
            seen.add(key)
            yield row, tags


class _Sums:
    """What a batch adds to the tables of sums.

    Rows with the same names and hour add to the same cells, so those are looked up once for all of them.
    """

    __slots__ = ("_cells", "_found")

    def __init__(self) -> None:
        self._cells: dict[Rollup, dict[tuple[int, Names], Cell]] = {rollup: {} for rollup in ROLLUPS}
        self._found: dict[tuple[int, Names], list[Cell]] = {}

    def add_attempts(self, rows: Iterable[Found]) -> None:
        for row, tags in rows:
            key = (_slot(row[0], HOUR_US), _ATTEMPT_NAMES(row))
            cells = self._found.get(key) or self._find(key, tags)
            add_attempt(cells, row[_OUTCOME], row[_TOKENS], row[_COST])

    def add_entries(self, rows: Iterable[Found]) -> None:
        for row, tags in rows:
            key = (_slot(row[0], HOUR_US), _ENTRY_NAMES(row))
            add_entry(self._found.get(key) or self._find(key, tags), row[_ENTRY_OUTCOME])

    def _find(self, key: tuple[int, Names], tags: Names) -> list[Cell]:
        hour, names = key
        places = [(rollup, pick(names)) for rollup, pick in _PICKS]
        places += [(BY_TAG, (tag,)) for tag in dict.fromkeys(tags or ("",))]
        cells = self._found[key] = []
        for rollup, of in places:
            slot = _slot(hour, rollup.grain_us // HOUR_US)
            cells.append(self._cells[rollup].setdefault((slot, of), new_cell()))
        return cells

    def write(self, connection: sqlite3.Connection) -> None:
        """Add all of it to the tables."""
        for rollup, cells in self._cells.items():
            rows = (
                (
                    slot, *names, *cell[:COST],
                    cell[COST] >> LOW, cell[COST] & LOW_MASK, cell[UNKNOWN_COST] >> LOW, cell[UNKNOWN_COST] & LOW_MASK,
                )
                for (slot, names), cell in sorted(cells.items())
            )  # fmt: skip
            while some := list(islice(rows, _TOGETHER)):
                connection.execute(adding(rollup, len(some)), list(chain.from_iterable(some)))


def _slot(at: int, grain: int) -> int:
    """The slot that a time is in: divided as SQLite divides, towards 0."""
    return at // grain if at >= 0 else -(-at // grain)
