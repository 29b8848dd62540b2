"""Cells of sums: what attempts and requests add up to under one key.

Theory. A cell is a list of ints: `Sums.COUNTS` in their order, then the cost and its `unknown` part in pico-USD. Python's ints
have no largest one, so the sums are exact. Nearly every attempt adds to four places only, and those come first.

Rules. What is added is what a store would keep: bounded by `rows.tokens_of` and `rows.amount_of`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from podium.ledger.store import Sums

Cell = list[int]
Amount = int | Sequence[int]
"""What rows add to a sum: each the same, or each its own."""

_COUNTS: Final = len(Sums.COUNTS)
COST: Final = _COUNTS
UNKNOWN_COST: Final = _COUNTS + 1
WIDTH: Final = _COUNTS + 2

REQUESTS: Final = Sums.COUNTS.index("requests")
ERRORS: Final = Sums.COUNTS.index("errors")
ATTEMPTED: Final = Sums.COUNTS.index("attempts")
FAILED: Final = Sums.COUNTS.index("failed")
UNKNOWN: Final = Sums.COUNTS.index("unknown")
UNPRICED: Final = Sums.COUNTS.index("unpriced")
_INPUT: Final = Sums.COUNTS.index("input")
_OUTPUT: Final = Sums.COUNTS.index("output")
_RARE_TOKENS: Final = slice(_OUTPUT + 1, _COUNTS)

FINE_OUTCOMES = ("ok", "unknown", "cancelled")
"""Requests that did not fail: a caller who leaves is no error."""


def new_cell() -> Cell:
    """Return a cell that nothing was added to."""
    return [0] * WIDTH


def add_attempt(cells: Iterable[Cell], outcome: str, tokens: tuple[int, ...], cost_pico: int | None) -> None:
    """Add an attempt to cells; `tokens` in the order of `Sums.COUNTS`, from `input` on."""
    read, written = tokens[0], tokens[1]
    cost = cost_pico or 0
    for cell in cells:
        cell[ATTEMPTED] += 1
        cell[_INPUT] += read
        cell[_OUTPUT] += written
        cell[COST] += cost
    if cost_pico is None or outcome == "failed" or outcome == "unknown" or any(tokens[2:]):
        for cell in cells:
            cell[UNPRICED] += cost_pico is None
            cell[FAILED] += outcome == "failed"
            cell[_RARE_TOKENS] = map(int.__add__, cell[_RARE_TOKENS], tokens[2:])
            if outcome == "unknown":
                cell[UNKNOWN] += 1
                cell[UNKNOWN_COST] += cost


def add_entry(cells: Iterable[Cell], outcome: str) -> None:
    """Add a request to cells."""
    failed = outcome not in FINE_OUTCOMES
    for cell in cells:
        cell[REQUESTS] += 1
        cell[ERRORS] += failed


def add_each(cells: Sequence[Cell], amounts: Iterable[tuple[int, Amount]]) -> None:
    """Add to each cell its own amounts, by their places; an int is added to all."""
    for place, amount in amounts:
        if isinstance(amount, int):
            for cell in cells:
                cell[place] += amount
        else:
            for cell, own in zip(cells, amount, strict=True):
                cell[place] += own


def add_rows(cell: Cell, count: int, amounts: Iterable[tuple[int, Amount]]) -> None:
    """Add the amounts of so many rows to one cell."""
    for place, amount in amounts:
        cell[place] += amount * count if isinstance(amount, int) else sum(amount)


def add_cell(to: Cell, more: Cell) -> None:
    """Add what one cell has to another."""
    to[:] = map(int.__add__, to, more)


def add_to_sums(sums: Sums, cell: Iterable[int]) -> None:
    """Add what a cell has to the sums of a group."""
    *counts, cost, unknown = cell
    sums.counts[:] = map(int.__add__, sums.counts, counts)
    sums.cost_pico += cost
    sums.unknown_pico += unknown
