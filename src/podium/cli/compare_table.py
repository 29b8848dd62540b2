"""What many comparisons came to, in the terminal: a sentence, a table of both sides, and where they agree.

Rules. The better figure of a row is marked by a sign and in bold, not by a colour alone. What is not known is `-`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium.cli import console
from podium.routing.compare_summary import dollars, leading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from podium.routing.compare_summary import Category, Summary, Totals

_BAR = 24
_CATEGORIES = 20
_STYLES = {"new": "bold blue", "old": "bold yellow", "trade": "bold", "equal": "bold", "none": "bold red"}


def show(summary: Summary, old: str, new: str, note: str | None) -> None:
    """Show what it came to on stdout."""
    terminal = console.console("out")
    terminal.print(f"\n{summary.headline}", style=_STYLES[summary.verdict], soft_wrap=True)
    terminal.print(f"old is {console.clean(old)}, new is {console.clean(new)}\n", style="dim", soft_wrap=True)
    _show_sides(terminal, summary)
    terminal.print()
    for fact in summary.facts:
        terminal.print(fact, soft_wrap=True)
    if note is not None:
        terminal.print(note, style="dim", soft_wrap=True)
    named = [each for each in summary.categories if each.name]
    if named:
        _show_categories(terminal, named)


def _show_sides(terminal: Console, summary: Summary) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("")
    for title in ("old", "new"):
        table.add_column(title, justify="right", no_wrap=True)
    old, new = summary.old, summary.new
    for title, shown, values, better in _rows(old, new):
        marked = [_marked(words, value, values, better) for words, value in zip(shown, values, strict=True)]
        table.add_row(title, *marked)
    terminal.print(table)


_Row = tuple[str, tuple[str, str], tuple[float | None, float | None], int]


def _rows(old: Totals, new: Totals) -> list[_Row]:
    """Title, words and values of old and new, and what is better: 1 more, -1 less, 0 neither."""
    rows: list[_Row] = [("answered", (f"{old.answered:,}", f"{new.answered:,}"), (old.answered, new.answered), 1)]
    if old.checked or new.checked:
        words = (f"{old.right:,} of {old.checked:,}", f"{new.right:,} of {new.checked:,}")
        rows.append(("right", words, (old.right, new.right), 1))
    rows += [
        ("time, median", (console.seconds(old.p50_s), console.seconds(new.p50_s)), (old.p50_s, new.p50_s), -1),
        ("time, 95 %", (console.seconds(old.p95_s), console.seconds(new.p95_s)), (old.p95_s, new.p95_s), -1),
        ("cost", (_cost(old), _cost(new)), (_known_cost(old), _known_cost(new)), -1),
        ("tokens in", (f"{old.input_tokens:,}", f"{new.input_tokens:,}"), (None, None), 0),
        ("tokens out", (f"{old.output_tokens:,}", f"{new.output_tokens:,}"), (None, None), 0),
    ]
    return rows


def _cost(side: Totals) -> str:
    return f"{dollars(side.cost_usd)}{f' + {side.unpriced:,} unknown' if side.unpriced else ''}"


def _known_cost(side: Totals) -> float | None:
    return None if side.unpriced else float(side.cost_usd)


def _marked(words: str, value: float | None, values: tuple[float | None, float | None], better: int) -> str:
    """A figure, with a sign where it is the better one."""
    other = values[1] if value is values[0] else values[0]
    if value is None or other is None or not better or value == other:
        return f"{words}  "
    return f"{words} *" if (value > other) == (better > 0) else f"{words}  "


def _show_categories(terminal: Console, categories: Sequence[Category]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("category", overflow="fold")
    for title in ("same", "differ", "not compared"):
        table.add_column(title, justify="right")
    table.add_column("")
    for each in leading(categories, _CATEGORIES):
        n = each.same + each.different + each.incomparable
        same = round(_BAR * each.same / n) if n else 0
        bar = "█" * same + "░" * (_BAR - same)
        table.add_row(console.short(each.name, 40), *(f"{k:,}" for k in (each.same, each.different, each.incomparable)), bar)
    terminal.print()
    terminal.print(table)
