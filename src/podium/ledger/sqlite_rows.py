"""How a batch comes into the SQLite store: its rows, and what they add to the tables of sums.

Theory. A batch is nearly always new. So its rows are inserted as they are, and only where one of them is there already is the
batch taken back and each row looked for. Most of what a row costs is handing its values to SQLite one by one; and most columns
are the same in all rows of a batch (no experiment, no error, nothing cached), so those are handed over once a statement. The
sums are added up here, by key, so that thousands of records change a few rows. What ended together with its attempt, as nearly
all does, goes by `podium.ledger.sqlite_closed`.

Rules.
- Many rows a statement: while SQLite takes them other threads run, and the thread that drains waits for them once, not once
  a row.
- All happens in the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Any, TypeVar

import msgspec

from podium.ledger.cells import (
    ATTEMPTED,
    COST,
    ERRORS,
    FAILED,
    FINE_OUTCOMES,
    REQUESTS,
    UNKNOWN,
    UNKNOWN_COST,
    UNPRICED,
    Amount,
    Cell,
    add_cell,
    add_each,
    add_rows,
    new_cell,
)
from podium.ledger.rows import Columns, columns_of_attempts, columns_of_entries
from podium.ledger.schema import (
    ATTEMPTS_KEY,
    BY_TAG,
    COLUMNS,
    ENTRIES_KEY,
    LOW,
    LOW_MASK,
    ROLLUPS,
    Rollup,
    adding,
    marks,
    slot_of,
)
from podium.ledger.sqlite_closed import TOGETHER, ClosedRows, ClosedSums, SharedFacts, steps, unknown
from podium.ledger.store import Batch, Sums

_PIECE = 512
"""Records that are made into columns at once: so few stay in the processor's cache, and that is worth a factor of three."""

_KEYS = {"attempts": ATTEMPTS_KEY.split(", "), "entries": ENTRIES_KEY.split(", ")}
_TOKENS = tuple((Sums.COUNTS.index(name), name) for name in Sums.COUNTS[Sums.COUNTS.index("input") :])

Key = tuple[Any, ...]
T = TypeVar("T")


def take(connection: sqlite3.Connection, batch: Batch, shared: SharedFacts) -> None:
    """Take what the store does not have yet, and add it to the sums."""
    shared.make_room()
    connection.execute("SAVEPOINT taking")
    try:
        sums = _take(connection, batch, shared, new=True)
    except sqlite3.IntegrityError:  # something is there already
        connection.execute("ROLLBACK TO taking")
        shared.forget()
        sums = _take(connection, batch, shared, new=False)
    connection.execute("RELEASE taking")
    sums.write(connection, shared)


def _take(connection: sqlite3.Connection, batch: Batch, shared: SharedFacts, *, new: bool) -> _Sums:
    """Insert the rows of a batch, and return what they add up to. Raises `IntegrityError` where not all are `new`."""
    sums = _Sums()
    for closed in _pieces(batch.closed):
        wanted = closed if new else unknown(connection, closed)
        if wanted:
            rows = ClosedRows(wanted, connection, shared)
            rows.insert(connection)
            sums.closed.add(rows, shared)
    # By the tables of what was told apart, where another end of it may be; before what was given up as unknown meanwhile.
    late = unknown(connection, batch.strange)
    for some in _pieces([*(each.alone() for each in late), *batch.attempts]):
        attempts = columns_of_attempts(some)
        if not new:
            attempts = _unknown(connection, "attempts", attempts)
        _insert(connection, "attempts", attempts)
        sums.add_attempts(attempts)
    for ended in _pieces([*(each.entry for each in late), *batch.entries]):
        entries = columns_of_entries(ended)
        if not new:
            entries = _unknown(connection, "entries", entries)
        _insert(connection, "entries", entries)
        sums.add_entries(entries)
    return sums


def _pieces(records: Sequence[T]) -> Iterator[Sequence[T]]:
    """Records, some at a time."""
    return (records[first : first + _PIECE] for first in range(0, len(records), _PIECE))


def _insert(connection: sqlite3.Connection, table: str, columns: Columns) -> None:
    """Insert rows. Raises `IntegrityError` where one is there already."""
    whole = len(columns) // TOGETHER * TOGETHER
    same, own = tuple(columns.same), tuple(columns.own)
    shared, values = list(columns.same.values()), list(chain.from_iterable(zip(*columns.own.values(), strict=True)))
    for first in range(0, whole, TOGETHER):
        some = values[first * len(own) : (first + TOGETHER) * len(own)]
        connection.execute(_inserting(table, same, own, TOGETHER), shared + some)
    left = list(chain.from_iterable(islice(zip(*map(columns.each, COLUMNS[table]), strict=True), whole, None)))
    width = len(COLUMNS[table])
    for first, count in steps(len(columns) - whole):
        some = left[first * width : (first + count) * width]
        connection.execute(_inserting(table, (), COLUMNS[table], count), some)


@lru_cache(maxsize=128)
def _inserting(table: str, same: tuple[str, ...], own: tuple[str, ...], count: int) -> str:
    """The statement that inserts so many rows; its values are those that they share, then those of each row.

    Not by numbered parameters: since CPython 3.12 each value is looked for among their names, one after another.
    """
    rows = marks(len(own), count)
    into = f"INSERT INTO {table}_apart ({', '.join((*same, *own))})"
    if not same:
        return f"{into} {rows}"
    shared = ", ".join(f"? AS same{number}" for number in range(len(same)))
    picked = [f"same{number}" for number in range(len(same))] + [f"column{number + 1}" for number in range(len(own))]
    return f"{into} SELECT {', '.join(picked)} FROM (SELECT {shared}) CROSS JOIN ({rows})"


def _unknown(connection: sqlite3.Connection, table: str, columns: Columns) -> Columns:
    """The rows that the store does not have, each once."""
    query = f"SELECT 1 FROM {table}_apart WHERE {' AND '.join(f'{name} = ?' for name in _KEYS[table])}"
    found: dict[Key, int] = {}
    for place, key in enumerate(zip(*(columns.each(name) for name in _KEYS[table]), strict=True)):
        if key not in found and connection.execute(query, key).fetchone() is None:
            found[key] = place
    return columns.only(list(found.values()))


class _Sums:
    """What a batch adds to the tables of sums."""

    __slots__ = ("_cells", "closed")

    def __init__(self) -> None:
        self.closed = ClosedSums()
        self._cells: dict[Rollup, defaultdict[Key, Cell]] = {rollup: defaultdict(new_cell) for rollup in ROLLUPS}
        """By slot and names; all tags of a row are one name until they are written."""

    def add_attempts(self, columns: Columns) -> None:
        amounts: list[tuple[int, Amount]] = [(ATTEMPTED, 1)]
        amounts += [(place, _amount(columns, name, int)) for place, name in _TOKENS]
        amounts.append((FAILED, _amount(columns, "outcome", "failed".__eq__)))
        amounts.append((UNPRICED, _amount(columns, "cost_pico", _is_none)))
        amounts.append((COST, _amount(columns, "cost_pico", _known)))
        unknown = _amount(columns, "outcome", "unknown".__eq__)
        if unknown:
            costs = map(_known, columns.each("cost_pico"))
            amounts.append((UNKNOWN, unknown))
            amounts.append(
                (
                    UNKNOWN_COST,
                    [cost * (outcome == "unknown") for cost, outcome in zip(costs, columns.each("outcome"), strict=True)],
                )
            )
        self._add(columns, "started_us", amounts)

    def add_entries(self, columns: Columns) -> None:
        errors = _amount(columns, "outcome", lambda outcome: outcome not in FINE_OUTCOMES)
        self._add(columns, "requested_us", [(REQUESTS, 1), (ERRORS, errors)])

    def _add(self, columns: Columns, at: str, amounts: list[tuple[int, Amount]]) -> None:
        if not len(columns):
            return
        amounts = [(place, amount) for place, amount in amounts if amount]
        first, last = min(columns.each(at)), max(columns.each(at))
        for rollup, cells in self._cells.items():
            names = ("tags",) if rollup is BY_TAG else rollup.keys
            begin, grain = slot_of(first, rollup.grain_us), rollup.grain_us
            if begin == slot_of(last, grain) and not columns.own.keys() & set(names):
                add_rows(cells[begin, *(columns.same[name] for name in names)], len(columns), amounts)
            else:
                slots = [slot_of(us, grain) for us in columns.each(at)]
                own = [cells[key] for key in zip(slots, *map(columns.each, names), strict=True)]
                add_each(own, amounts)

    def _tagged(self) -> dict[Key, Cell]:
        """The cells of the table by tag: a row counts under each of its tags, under the empty one where it has none."""
        found: defaultdict[Key, Cell] = defaultdict(new_cell)
        for (slot, text), cell in self._cells[BY_TAG].items():
            for tag in msgspec.json.decode(text) or ("",):
                add_cell(found[slot, tag], cell)
        return found

    def write(self, connection: sqlite3.Connection, shared: SharedFacts) -> None:
        """Add all of it to the tables."""
        self.closed.share_out(self._cells, shared)
        for rollup, cells in self._cells.items():
            rows = (
                (
                    *key, *cell[:COST],
                    cell[COST] >> LOW, cell[COST] & LOW_MASK, cell[UNKNOWN_COST] >> LOW, cell[UNKNOWN_COST] & LOW_MASK,
                )
                for key, cell in sorted((self._tagged() if rollup is BY_TAG else cells).items())
            )  # fmt: skip
            while some := list(islice(rows, TOGETHER)):
                connection.execute(adding(rollup, len(some)), list(chain.from_iterable(some)))


def _amount(columns: Columns, name: str, count: Callable[[Any], int]) -> Amount:
    """What a column adds to a sum."""
    return count(columns.same[name]) if name in columns.same else [count(value) for value in columns.own[name]]


def _is_none(value: object) -> bool:
    return value is None


def _known(cost_pico: int | None) -> int:
    return cost_pico or 0
