"""What many comparisons came to, in the terminal: a sentence, a table of both sides, and where they agree.

Rules. Who is better in a row is marked by a sign, not by a colour alone, and only where the summary says so: chance is none.
What is not known is `-`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium.cli import console
from podium.routing.compare_summary import dollars, leading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from podium.routing.compare import SideName
    from podium.routing.compare_summary import Category, Summary, Totals

_BAR = 24
_SIDES = ("old", "new")
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
    for title, shown, better in _rows(summary):
        table.add_row(title, *(f"{words} {'*' if side == better else ' '}" for side, words in zip(_SIDES, shown, strict=True)))
    terminal.print(table)


def _rows(summary: Summary) -> list[tuple[str, tuple[str, str], SideName | None]]:
    """Title, words of old and new, and which side is better."""
    old, new = summary.old, summary.new
    rows: list[tuple[str, tuple[str, str], SideName | None]] = [
        ("answered", (f"{old.answered:,}", f"{new.answered:,}"), summary.reliable)
    ]
    if old.checked or new.checked:
        words = (f"{old.right:,} of {old.checked:,}", f"{new.right:,} of {new.checked:,}")
        rows.append(("right", words, summary.right.leader))
    return [
        *rows,
        ("time, median", (console.seconds(old.p50_s), console.seconds(new.p50_s)), summary.quicker),
        ("time, 95 %", (console.seconds(old.p95_s), console.seconds(new.p95_s)), None),
        ("cost", (_cost(old), _cost(new)), summary.cheaper),
        ("tokens in", (f"{old.input_tokens:,}", f"{new.input_tokens:,}"), None),
        ("tokens out", (f"{old.output_tokens:,}", f"{new.output_tokens:,}"), None),
    ]


def _cost(side: Totals) -> str:
    return f"{dollars(side.cost_usd)}{f' + {side.unpriced:,} unknown' if side.unpriced else ''}"


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
