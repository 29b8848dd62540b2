"""How requests that ended with an attempt come into the SQLite store, and what they add to the tables of sums.

Theory. Nearly every request is one row here. What it has in common with others is stored once, and the row has its number; the
numbers are remembered, so that a row is made and added up without looking at names. Names are looked at where a batch is
written to the tables of sums: once for each route and each caller of a batch.

Rules.
- Numbers that were given in a transaction that failed are forgotten: `SharedFacts.forget`.
- Bounds are those of `podium.ledger.rows`.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from math import isfinite
from operator import mul
from typing import Any

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
from podium.ledger.facts import load_caller, load_ending, load_labels, load_route
from podium.ledger.more import RARE_TOKENS, rare_tokens
from podium.ledger.records import MOST_PICO, Settled
from podium.ledger.rows import EARLIEST_S, LATEST_S, amount_of, bounded, context_text, microseconds, tags_text
from podium.ledger.schema import (
    BY_MODEL,
    BY_TAG,
    BY_USER,
    COLUMNS,
    HOUR_US,
    MOST_TOKENS,
    Rollup,
    marks,
    slot_of,
)
from podium.ledger.store import Sums

TOGETHER = 512 if sqlite3.sqlite_version_info >= (3, 32) else 16
"""Rows a statement; a power of two. A statement may have 32,766 values, before SQLite 3.32 only 999 (https://sqlite.org/limits.html)."""
_REMEMBERED = 50_000
"""Numbers of a kind that are remembered."""

Row = tuple[Any, ...]
Key = tuple[Any, ...]

_DEFAULTS = {"attempt": 1, "cache_read": 0, "cache_write": 0, "reasoning": 0}
"""What a column has that is not given: else NULL. A value that is not handed over costs nothing."""
_PLACES = {name: place for place, name in enumerate(COLUMNS["closed"])}
_COUNTED = tuple((name, Sums.COUNTS.index(name)) for name in ("input", "output", "cache_read", "cache_write", "reasoning"))
_RARE = tuple((name, Sums.COUNTS.index(name)) for name in RARE_TOKENS)
_SUMMED = (("route", BY_MODEL), ("caller", BY_USER), ("labels", BY_TAG))
"""What decides where a row adds to a table of sums."""
_NAMES = {
    "route": tuple(map(COLUMNS["routes"].index, BY_MODEL.keys)),
    "caller": tuple(map(COLUMNS["callers"].index, BY_USER.keys)),
    "labels": (COLUMNS["labels"].index("tags"),),
}
"""Where the names are; all tags of a row are one name until they are written."""


class _Shared:
    """What one table of shared facts has, as far as it was needed."""

    __slots__ = ("_load", "_table", "numbers", "rows")

    def __init__(self, table: str, load: Callable[[bytes], msgspec.Struct]) -> None:
        self._table = table
        self._load = load
        self.numbers: dict[bytes, int] = {}
        """Packed facts -> their number."""
        self.rows: dict[int, Row] = {}
        """A number -> the row without it."""

    def find(self, connection: sqlite3.Connection, packed: Sequence[bytes]) -> list[int]:
        """Return the numbers of facts; what the table does not have is added to it."""
        numbers, first = self.numbers, packed[0]
        kinds = {first} if packed.count(first) == len(packed) else set(packed)
        if new := kinds.difference(numbers):  # not of its keys' view, which looks at each number that is remembered
            self._learn(connection, new)
        return [numbers[first]] * len(packed) if len(kinds) == 1 else [numbers[each] for each in packed]

    def _learn(self, connection: sqlite3.Connection, packed: Iterable[bytes]) -> None:
        rows = {each: self._row(each) for each in packed}
        asked = list(set(rows.values()))
        known: dict[Row, int] = {}
        for first, count in steps(len(asked)):
            values = list(chain.from_iterable(asked[first : first + count]))
            known |= {tuple(row): number for number, *row in connection.execute(_finding(self._table, count), values)}
        last: int = connection.execute(f"SELECT COALESCE(MAX(id), 0) FROM {self._table}").fetchone()[0]
        columns = ("id", *COLUMNS[self._table])
        new = [(number, *row) for number, row in enumerate((row for row in asked if row not in known), last + 1)]
        for first, count in steps(len(new)):
            connection.execute(_inserting(self._table, columns, count), list(chain.from_iterable(new[first : first + count])))
        known |= {row[1:]: row[0] for row in new}
        for each, row in rows.items():
            self.numbers[each] = known[row]
            self.rows[known[row]] = row

    def _row(self, packed: bytes) -> Row:
        facts = self._load(packed)
        return tuple(_STORED.get(name, _plain)(getattr(facts, name)) for name in COLUMNS[self._table])

    def forget(self) -> None:
        """Look everything up anew."""
        self.numbers.clear()
        self.rows.clear()


def _plain(fact: Any) -> Any:
    return "" if fact is None else fact


_STORED: dict[str, Callable[[Any], Any]] = {"tags": tags_text, "context": context_text}
"""How a fact is made what its column holds."""


class SharedFacts:
    """The numbers of what many requests have in common, in one store."""

    __slots__ = ("of",)

    def __init__(self) -> None:
        self.of = {
            "route": _Shared("routes", load_route),
            "caller": _Shared("callers", load_caller),
            "labels": _Shared("labels", load_labels),
            "ending": _Shared("endings", load_ending),
        }
        """By their column in `closed`."""

    def forget(self) -> None:
        """Look everything up anew: a transaction failed."""
        for each in self.of.values():
            each.forget()

    def make_room(self) -> None:
        """Forget what is too much to be remembered; before a batch, for a batch needs what it has used."""
        for each in self.of.values():
            if len(each.numbers) > _REMEMBERED:
                each.forget()


class ClosedRows:
    """Some rows of `closed`, column by column."""

    __slots__ = ("_values", "count")

    def __init__(self, closed: Sequence[Settled], connection: sqlite3.Connection, shared: SharedFacts) -> None:
        self.count = len(closed)
        (
            started_at, request_id, attempt, requested_at, route, caller, labels, ending, duration_s, request_duration_s,
            first_content_s, *tokens, cost_pico, reserved_pico, upstream_id, conversation, more,
        ) = zip(*map(msgspec.structs.astuple, closed), strict=True)  # fmt: skip
        self._values: tuple[Sequence[Any], ...] = (
            _microseconds(started_at),
            request_id,
            attempt,
            _microseconds(requested_at),
            shared.of["route"].find(connection, route),
            shared.of["caller"].find(connection, caller),
            shared.of["labels"].find(connection, labels),
            shared.of["ending"].find(connection, ending),
            _seconds(duration_s),
            _seconds(request_duration_s),
            [None if each is None else _bounded_s(each) for each in first_content_s],
            *map(_tokens, tokens),
            _amounts(cost_pico),
            _amounts(reserved_pico),
            upstream_id,
            conversation,
            more,
        )

    def __getitem__(self, column: str) -> Sequence[Any]:
        return self._values[_PLACES[column]]

    def insert(self, connection: sqlite3.Connection) -> None:
        """Insert them. Raises `IntegrityError` where one is there already."""
        own = {
            name: column
            for name, column in zip(COLUMNS["closed"], self._values, strict=True)
            if column[0] != (default := _DEFAULTS.get(name)) or column.count(default) < self.count
        }
        names, width = tuple(own), len(own)
        values = list(chain.from_iterable(zip(*own.values(), strict=True)))
        for first, count in steps(self.count):
            connection.execute(_inserting("closed", names, count), values[first * width : (first + count) * width])


def steps(count: int) -> Iterator[tuple[int, int]]:
    """Where a statement's rows begin, and how many they are: always the same few numbers.

    To prepare a statement takes longer than to run it.
    """
    first, size = 0, TOGETHER
    while size:
        while count - first >= size:
            yield first, size
            first += size
        size //= 2


@lru_cache(maxsize=128)
def _inserting(table: str, columns: tuple[str, ...], count: int) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) {marks(len(columns), count)}"


@lru_cache(maxsize=128)
def _finding(table: str, count: int) -> str:
    columns = COLUMNS[table]
    same = " AND ".join(f"{name} = asked.column{place}" for place, name in enumerate(columns, 1))
    return f"SELECT id, {', '.join(columns)} FROM ({marks(len(columns), count)}) AS asked CROSS JOIN {table} ON {same}"


def _are_usual(seconds: Sequence[float]) -> bool:
    return isfinite(sum(seconds)) and min(seconds) > EARLIEST_S and max(seconds) < LATEST_S


def _microseconds(seconds: Sequence[float]) -> list[int]:
    if _are_usual(seconds):
        return [round(each * 1e6) for each in seconds]
    return list(map(microseconds, seconds))  # each within its bounds


def _seconds(durations: Sequence[float]) -> Sequence[float]:
    return durations if _are_usual(durations) else [_bounded_s(each) for each in durations]


def _bounded_s(seconds: float) -> float:
    return seconds if EARLIEST_S < seconds < LATEST_S else microseconds(seconds) / 1e6


def _tokens(counts: Sequence[int]) -> Sequence[int]:
    return counts if min(counts) >= 0 and max(counts) <= MOST_TOKENS else list(map(bounded, counts))


def _amounts(picos: Sequence[int | None]) -> Sequence[int | None]:
    known = [each for each in picos if each is not None]
    if not known or (max(known) <= MOST_PICO and min(known) >= -MOST_PICO):
        return picos
    return list(map(amount_of, picos))


def unknown(connection: sqlite3.Connection, closed: Iterable[Settled]) -> list[Settled]:
    """Return those that the store does not have, each once."""
    query = "SELECT 1 FROM closed WHERE started_us = ? AND request_id = ? AND attempt = ?"
    found: dict[Key, Settled] = {}
    for each in closed:
        key = (microseconds(each.started_at), each.request_id, each.attempt)
        if key not in found and connection.execute(query, key).fetchone() is None:
            found[key] = each
    return list(found.values())


_Numbered = defaultdict[int, Cell]


def _numbered() -> _Numbered:
    return defaultdict(new_cell)


class ClosedSums:
    """What rows of `closed` add to the tables of sums."""

    __slots__ = ("_cells",)

    def __init__(self) -> None:
        self._cells = tuple(defaultdict[int, _Numbered](_numbered) for _ in _SUMMED)
        """By hour and number, for each of `_SUMMED`."""

    def add(self, rows: ClosedRows, shared: SharedFacts) -> None:
        """Add rows."""
        attempts, entries = _of_attempts(rows, shared), _of_entries(rows, shared)
        started, requested = _hours(rows["started_us"]), _hours(rows["requested_us"])
        shares = [(started, attempts + entries)] if requested == started else [(started, attempts), (requested, entries)]
        for (column, _), known in zip(_SUMMED, self._cells, strict=True):
            numbers = rows[column]
            for hours, amounts in shares:
                if isinstance(hours, int) and numbers.count(numbers[0]) == rows.count:
                    add_rows(known[hours][numbers[0]], rows.count, amounts)
                else:
                    add_each(_cells(known, hours, numbers), amounts)

    def share_out(self, cells: Mapping[Rollup, defaultdict[Key, Cell]], shared: SharedFacts) -> None:
        """Add all of it to the cells of each table of sums, which go by names."""
        for (column, rollup), known in zip(_SUMMED, self._cells, strict=True):
            facts = shared.of[column].rows
            places = _NAMES[column]
            hours = rollup.grain_us // HOUR_US
            for hour, numbered in known.items():
                for number, cell in numbered.items():
                    row = facts[number]
                    add_cell(cells[rollup][slot_of(hour, hours), *[row[place] for place in places]], cell)


Amounts = list[tuple[int, Amount]]
"""What rows add to which places of their cells."""


def _of_attempts(rows: ClosedRows, shared: SharedFacts) -> Amounts:
    costs = [each or 0 for each in rows["cost_pico"]]
    amounts: Amounts = [(ATTEMPTED, 1), (COST, costs)]
    amounts += [(place, rows[name]) for name, place in _COUNTED if any(rows[name])]
    if None in rows["cost_pico"]:
        amounts.append((UNPRICED, [each is None for each in rows["cost_pico"]]))
    if any(rows["more"]):
        rare = [rare_tokens(each) for each in rows["more"]]
        amounts += [(place, [bounded(each.get(name, 0)) for each in rare]) for name, place in _RARE if any(rare)]
    if failed := _those(rows, shared, "outcome", "failed".__eq__):
        amounts.append((FAILED, failed))
    if lost := _those(rows, shared, "outcome", "unknown".__eq__):
        amounts += [(UNKNOWN, lost), (UNKNOWN_COST, list(map(mul, costs, lost)))]
    return amounts


def _of_entries(rows: ClosedRows, shared: SharedFacts) -> Amounts:
    amounts: Amounts = [(REQUESTS, 1)]
    if errors := _those(rows, shared, "request_outcome", lambda outcome: outcome not in FINE_OUTCOMES):
        amounts.append((ERRORS, errors))
    return amounts


def _those(rows: ClosedRows, shared: SharedFacts, column: str, fits: Callable[[str], bool]) -> list[bool]:
    """Which rows ended so; nothing where none did."""
    place, facts = COLUMNS["endings"].index(column), shared.of["ending"].rows
    fitting = {number for number in set(rows["ending"]) if fits(facts[number][place])}
    return [number in fitting for number in rows["ending"]] if fitting else []


def _hours(at_us: Sequence[int]) -> int | list[int]:
    """The hour of all rows, or of each."""
    first, last = slot_of(min(at_us), HOUR_US), slot_of(max(at_us), HOUR_US)
    return first if first == last else [slot_of(each, HOUR_US) for each in at_us]


def _cells(known: defaultdict[int, _Numbered], hours: int | list[int], numbers: Sequence[int]) -> list[Cell]:
    if isinstance(hours, int):
        numbered = known[hours]
        return [numbered[number] for number in numbers]
    return [known[hour][number] for hour, number in zip(hours, numbers, strict=True)]
