"""Usage for the eye: a table, bars in the terminal, and what a new price changes.

Rules. Amounts are rounded to what a reader takes in; `?` is one that nobody knows. A bar is drawn in eighths of a character;
the parts of a bar differ in colour, and in shade where there are no colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.columns import Columns
from rich.table import Table
from rich.text import Text

from podium.cli import console as words

if TYPE_CHECKING:
    from rich.console import Console

    from podium.ledger import Repriced, UsageRow

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SHADES = "█▓▒░▚▞"
_COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
_NARROWEST = 10
_MOST_GAPS = 400
_LEGIBLE = 24
"""So much of a name stands on one line; what is longer is folded."""


def money(amount: Decimal) -> str:
    """Write an amount: two decimals from 100 USD on, four below, and two digits that count for what is tiny."""
    if abs(amount) >= 100:
        return f"${amount:,.2f}"
    if amount == 0 or abs(amount) >= Decimal("0.0001"):
        return f"${amount:.4f}"
    return f"${amount:.{1 - amount.adjusted()}f}"


def tokens(count: int) -> str:
    """Write a count of tokens: 950, 12.3k, 4.56M."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}" if count < 999.5 * size else f"{count / size:.0f}{unit}"
    return str(count)


def show(terminal: Console, rows: Sequence[UsageRow], names: Sequence[str], summed: UsageRow) -> tuple[str, ...]:
    """Print a table with its total; return the columns that the terminal has no room for."""
    labels = {name: [_name(row.group[name]) for row in rows] for name in names}
    figures = {name: [write(row) for row in (*rows, summed)] for name, write in _FIGURES.items()}
    dropped = _dropped(terminal.width, {name: map(str, each) for name, each in labels.items()}, figures, _SPARED)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", footer_style="bold")
    table.show_footer = bool(names)
    for place, name in enumerate(names):
        table.add_column(name, footer="total" if place == 0 else "", overflow="fold", no_wrap=name in ("day", "month"))
    shown = [name for name in figures if name not in dropped]
    for name in shown:
        table.add_column(name, footer=figures[name][-1], justify="right", no_wrap=True)
    for place in range(len(rows)):
        table.add_row(*(labels[name][place] for name in names), *(figures[name][place] for name in shown))
    terminal.print(table)
    return dropped


_FIGURES: dict[str, Callable[[UsageRow], str]] = {
    "requests": lambda row: f"{row.requests:,}",
    "errors": lambda row: f"{row.errors:,}" if row.errors else "-",
    "attempts": lambda row: f"{row.attempts:,}",
    "input": lambda row: tokens(row.tokens.total_input),
    "cached": lambda row: tokens(row.tokens.cache_read) if row.tokens.cache_read else "-",
    "output": lambda row: tokens(row.tokens.total_output),
    "cost": lambda row: _priced(row.cost_usd, row.unpriced),
}
_SPARED = ("cached", "attempts", "input", "output", "errors")
"""What a narrow terminal goes without, the first first."""


def _dropped(
    width: int, names: Mapping[str, Iterable[str]], figures: Mapping[str, Iterable[str]], spared: Sequence[str]
) -> tuple[str, ...]:
    """The figures that must go, so that names and the others are legible in so many cells."""
    widths = {name: max(cell_len(name), *(min(cell_len(each), _LEGIBLE) for each in cells), 0) for name, cells in names.items()}
    widths |= {name: max(len(name), *map(len, cells), 0) for name, cells in figures.items()}
    count = 0
    while count < len(spared) and sum(widths.values()) + 2 * len(widths) > width:
        del widths[spared[count]]
        count += 1
    return tuple(spared[:count])


def _priced(usd: Decimal, unpriced: int) -> str:
    """An amount; where no price is known that would make one, that is not nothing."""
    return "?" if unpriced and not usd else money(usd)


def _name(name: str | None) -> Text:
    return Text("-", style="dim") if name is None else Text(words.clean(name))


def plot(terminal: Console, rows: Sequence[UsageRow], names: Sequence[str], measure: str) -> None:
    """Draw a bar a day (or, without days, a row); with further names, its parts by the first of them."""
    timed = next((name for name in names if name in ("day", "month")), None)
    others = [name for name in names if name != timed]
    bars: dict[str, dict[str, Decimal]] = {}
    for row in rows:
        label = row.group[timed] if timed else " ".join(row.group[name] or "-" for name in names)
        part = " ".join(row.group[name] or "-" for name in others) if timed else ""
        parts = bars.setdefault(label or "-", {})
        parts[part] = parts.get(part, Decimal(0)) + _measured(row, measure)
    if timed == "day":
        bars = _with_gaps(bars)
    sizes: dict[str, Decimal] = {}
    for parts in bars.values():
        for part, size in parts.items():
            sizes[part] = sizes.get(part, Decimal(0)) + size
    shown = sorted(sizes, key=lambda part: -sizes[part])[: len(_COLOURS) - (len(sizes) > len(_COLOURS))]
    _draw(terminal, bars, shown, measure)
    if len(sizes) > 1:
        parts_shown = [*shown, *(["all others"] if len(sizes) > len(shown) else [])]
        terminal.print(Columns([_legend(terminal, place, part) for place, part in enumerate(parts_shown)], padding=(0, 3)))


def _legend(terminal: Console, place: int, part: str) -> Text:
    glyph, style = _look(terminal, place)
    return Text(f"{glyph} ", style=style).append(words.clean(part), style="default")


def _measured(row: UsageRow, measure: str) -> Decimal:
    if measure == "cost":
        return row.cost_usd
    return Decimal(row.requests if measure == "requests" else row.tokens.total)


def _with_gaps(bars: dict[str, dict[str, Decimal]]) -> dict[str, dict[str, Decimal]]:
    """Days without usage are days too."""
    first, last = date.fromisoformat(min(bars)), date.fromisoformat(max(bars))
    if (last - first).days > _MOST_GAPS:
        return bars
    days = ((first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1))
    return {day: bars.get(day, {}) for day in days}


def _draw(terminal: Console, bars: dict[str, dict[str, Decimal]], shown: list[str], measure: str) -> None:
    write: Callable[[Decimal], str] = money if measure == "cost" else lambda size: tokens(int(size))
    totals = {label: sum(parts.values(), Decimal(0)) for label, parts in bars.items()}
    figures = {label: write(size) for label, size in totals.items()}
    label_width = min(max(cell_len(_line(label)) for label in bars), max(terminal.width // 3, _NARROWEST))
    figure_width = max(map(len, figures.values()))
    width = max(terminal.width - label_width - figure_width - 4, _NARROWEST)
    longest = max(totals.values()) or Decimal(1)
    for label, parts in bars.items():
        line = Text(_fitted(_line(label), label_width) + "  ")
        line.append(figures[label].rjust(figure_width) + "  ", style="dim")
        grown, drawn = Decimal(0), 0
        named = [(place, parts[part]) for place, part in enumerate(shown) if part in parts]
        rest = sum((size for part, size in parts.items() if part not in shown), Decimal(0))
        for place, size in [*named, *([(len(shown), rest)] if rest else [])]:
            grown += size
            eighths = int(grown / longest * width * 8)
            glyph, style = _look(terminal, place)
            line.append(glyph * (eighths // 8 - drawn), style=style)
            drawn = eighths // 8
            last = (eighths % 8, glyph, style)
        if parts and last[0] and last[1] == "█":
            line.append(_EIGHTHS[last[0]], style=last[2])
        terminal.print(line, no_wrap=True, overflow="crop")


def _line(name: str) -> str:
    return " ".join(words.clean(name).split())


def _fitted(label: str, width: int) -> str:
    """A label in so many cells of a terminal, where a Chinese character takes two."""
    return set_cell_size(label, width) if cell_len(label) <= width else set_cell_size(label, width - 1) + "…"


def _look(terminal: Console, place: int) -> tuple[str, str]:
    if terminal.no_color or terminal.color_system is None:
        return _SHADES[place % len(_SHADES)], ""
    return "█", _COLOURS[place % len(_COLOURS)]


def show_repriced(terminal: Console, found: Sequence[Repriced]) -> tuple[str, ...]:
    """Print what a new price changes, a line a model; return the columns that the terminal has no room for."""
    models = [words.clean(f"{each.provider}/{each.model}") for each in found]
    figures = {name: [write(each) for each in found] for name, write in _REPRICED.items()}
    dropped = _dropped(terminal.width, {"model": models}, figures, ("attempts", "unpriced", "then"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("model", overflow="fold")
    shown = [name for name in figures if name not in dropped]
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for place, each in enumerate(found):
        cells = [Text(figures[name][place]) for name in shown]
        cells[shown.index("changed")].stylize("yellow" if each.changed else "dim")
        table.add_row(Text(models[place]), *cells)
    terminal.print(table)
    return dropped


_REPRICED: dict[str, Callable[[Repriced], str]] = {
    "attempts": lambda each: f"{each.attempts:,}",
    "changed": lambda each: f"{each.changed:,}",
    "cost": lambda each: _priced(each.old_usd, each.old_unpriced),
    "new cost": lambda each: _priced(each.new_usd, each.new_unpriced),
    "unpriced": lambda each: f"{each.old_unpriced:,}" if each.old_unpriced else "-",
    "then": lambda each: f"{each.new_unpriced:,}" if each.new_unpriced else "-",
}
