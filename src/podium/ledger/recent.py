"""Sums in memory, in fine slots of time while they are recent, and never more than so many.

Theory. A cell for each quarter of an hour and each set of names answers any question about sums, in any time zone. What is old
is asked in days, and what is rare is asked in total: so the quarters of long ago are merged into days, and where there is no
room for another cell the oldest go first, a quarter into its day, then a day into one cell without names. Only when there is
nothing left to merge is something new counted without its names. Merged or not, every total stays exact.

Rules.
- A merged day is one of UTC. A time zone has it on the day that its noon falls on.
- The clock is the newest record; nothing here looks at the time.
- Each new cell merges a few slots at most, so no record waits long.
- Beyond the room that there is, a slot has one more cell: the one without names.
"""

from __future__ import annotations

from collections.abc import Iterator

from podium.ledger.cells import Cell, add_cell, new_cell
from podium.ledger.schema import DAY_US, QUARTER_US

OTHER = "(other)"
"""The name of what is counted without its names."""
FINE_DAYS = 35
MOST_CELLS = 20_000

_DAY = DAY_US // QUARTER_US
_STEPS = 4
"""Two would do to stay within the room, and more get back into it."""
_SPARE = 10
"""One cell in so many is kept for those without the names that people have."""

Names = tuple[str, ...]
Part = dict[Names, Cell]
Span = tuple[int, int]


class RecentSums:
    """Cells by time and names. `blurred`: the places of those names that there may be very many of."""

    __slots__ = ("_blurred", "_days", "_fine_from", "_most", "_newest", "_quarters", "_size", "_stuck_at")

    def __init__(self, blurred: tuple[int, ...], most: int = MOST_CELLS) -> None:
        self._blurred = blurred
        self._most = most
        self._quarters: dict[int, Part] = {}
        self._days: dict[int, Part] = {}
        self._newest: int | None = None
        self._fine_from: int | None = None
        """Quarters before this one are merged into their days."""
        self._stuck_at: int | None = None
        """The newest quarter when there was nothing left to merge."""
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def cell(self, at_us: int, names: Names) -> Cell:
        """Return the cell that something of this time and these names is added to."""
        quarter = at_us // QUARTER_US
        part = self._quarters.get(quarter)
        cell = None if part is None else part.get(names)
        return self._find(quarter, names) if cell is None else cell

    def _find(self, quarter: int, names: Names) -> Cell:
        if self._newest is None or quarter > self._newest:
            self._newest = quarter
            self._merge_old()
        part = self._part(quarter)
        cell = part.get(names)
        if cell is not None:
            return cell
        for _ in range(_STEPS):
            if self._size < self._most or self._stuck_at == self._newest:
                break
            self._make_room()
            part = self._part(quarter)
        for most, known in self._ways(names):
            cell = part.get(known)
            if cell is None and self._size < most:
                cell = part[known] = new_cell()
                self._size += 1
            if cell is not None:
                return cell
        self._size += 1
        cell = part[(OTHER,) * len(names)] = new_cell()
        return cell

    def _part(self, quarter: int) -> Part:
        if self._fine_from is not None and quarter < self._fine_from:
            return self._days.setdefault(quarter // _DAY, {})
        return self._quarters.setdefault(quarter, {})

    def _ways(self, names: Names) -> Iterator[tuple[int, Names]]:
        """How something may be named, and while there are how many cells."""
        yield self._most, names
        yield (
            self._most + self._most // _SPARE,
            tuple(OTHER if place in self._blurred and name else name for place, name in enumerate(names)),
        )
        yield 0, (OTHER,) * len(names)

    # --- merging --------------------------------------------------------------------------------------------------------

    def _merge_old(self) -> None:
        assert self._newest is not None
        horizon = self._newest - FINE_DAYS * _DAY
        for quarter in [each for each in self._quarters if each < horizon]:
            self._merge_quarter(quarter)
        self._fine_from = max(horizon, horizon if self._fine_from is None else self._fine_from)

    def _merge_quarter(self, quarter: int) -> None:
        day = self._days.setdefault(quarter // _DAY, {})
        for names, cell in self._quarters.pop(quarter).items():
            self._move(day, names, cell)

    def _move(self, to: Part, names: Names, cell: Cell) -> None:
        there = to.get(names)
        if there is None:
            to[names] = cell
        else:
            add_cell(there, cell)
            self._size -= 1

    def _make_room(self) -> None:
        """Merge the oldest quarter, and where that is not enough the oldest day that has names and is over."""
        newest = self._newest or 0
        quarter = next((each for each in self._quarters if each < newest), None)
        if quarter is not None:
            self._merge_quarter(quarter)
            self._fine_from = max(quarter + 1, self._fine_from or quarter + 1)
        if self._size < self._most:
            return
        day = next((day for day, part in self._days.items() if len(part) > 1 and day < newest // _DAY), None)
        if day is not None:
            merged: Part = {}
            for names, cell in self._days[day].items():
                self._move(merged, (OTHER,) * len(names), cell)
            self._days[day] = merged
        elif quarter is None:
            self._stuck_at = self._newest

    # --- reading --------------------------------------------------------------------------------------------------------

    def cells(self, since_us: int | None, until_us: int | None) -> list[tuple[int, Names, Cell]]:
        """Return copies of the cells whose slot meets a span of time, each with a moment of its day."""
        found: list[tuple[int, Names, Cell]] = []
        for parts, grain_us in ((self._quarters, QUARTER_US), (self._days, DAY_US)):
            for slot, part in parts.items():
                begin = slot * grain_us
                if (since_us is None or begin + grain_us > since_us) and (until_us is None or begin < until_us):
                    moment = begin + grain_us // 2
                    found += [(moment, names, cell[:]) for names, cell in part.items()]
        return found
