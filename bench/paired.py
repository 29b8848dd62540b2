"""Measure several things in turn, A B C A B C ..., so that a drift of the machine meets them all, and print a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Something to measure: a name, and a function that returns one figure."""

    name: str
    measure: Callable[[], float]


def compare(
    title: str, contenders: Sequence[Contender], *, rounds: int, unit: str, aim: str = "", lower_is_better: bool = True
) -> dict[str, list[float]]:
    """Measure each contender `rounds` times in turn after one round of warming up, print a table, return the figures.

    The first contender is the one that all others are compared with.
    """
    figures: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(rounds + 1):
        for contender in contenders:
            figure = contender.measure()
            if turn:
                figures[contender.name].append(figure)
    medians = {name: statistics.median(values) for name, values in figures.items()}
    first = contenders[0].name
    table = Table(title=title, caption=aim or None, title_justify="left", caption_justify="left")
    table.add_column("")
    for column in ("median", "min", "max", f"x {first}"):
        table.add_column(column, justify="right")
    for name, values in figures.items():
        ratios = [value / other for value, other in zip(values, figures[first], strict=True)]
        table.add_row(
            name,
            f"{medians[name]:,.4g} {unit}",
            f"{min(values):,.4g}",
            f"{max(values):,.4g}",
            f"{statistics.median(ratios):.2f}",
        )
    console = Console(width=120)
    console.print(table)
    better = "lower" if lower_is_better else "higher"
    console.print(f"{rounds} rounds in turn; {better} is better\n", style="dim")
    return figures
