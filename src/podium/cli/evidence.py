"""A ramp's evidence as a drawing: how the odds went over time, against the two lines that decide.

Theory. Both sides of a metric's evidence are logarithms of odds, so they are drawn on one logarithmic axis: what speaks against
the candidate rolls back where it meets the upper line, what speaks for it passes a step where it meets its own. The latter
begins anew at every step, so it saws.

Rules. Shapes tell the two apart, not colours alone. What lies far below even is drawn at the bottom: it decides nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from podium.coordination.ramps import Point
    from podium.engine.ramp.ramps import RampState
    from podium.routing.guard import Metric

HEIGHT = 9
_LABEL = 13
_LOWEST = math.log(1 / 30)
_AGAINST, _WITHIN, _BOTH = "●", "○", "◉"
TITLES: dict[Metric, str] = {"error_rate": "error rate", "latency": "latency", "cost": "cost", "quality": "quality"}


def draw(state: RampState, width: int) -> list[Text]:
    """Draw the evidence of each guarded metric for a terminal of some width; nothing where there is nothing to draw."""
    if not state.trace:
        return []
    lines: list[Text] = []
    for metric, title in TITLES.items():
        if metric in state.climb.course.guard.margins:
            lines += [Text(), *_chart(state, metric, title, max(min(width - _LABEL, 100), 24))]
    return lines


def _chart(state: RampState, metric: Metric, title: str, width: int) -> list[Text]:
    guard = state.climb.course.guard
    points = [point for point in state.trace if metric in point.logs]
    against = _columns(points, [point.logs[metric][0] for point in points], width)
    within = _columns(points, [point.logs[metric][1] for point in points], width)
    top = max(guard.alarm_at, guard.pass_at, *(each for each in against if each is not None)) * 1.15
    rows = [[" "] * width for _ in range(HEIGHT)]
    labels = [""] * HEIGHT

    def row_of(log: float) -> int:
        return round((top - min(max(log, _LOWEST), top)) / (top - _LOWEST) * (HEIGHT - 1))

    for log, label in ((0.0, "even"), (guard.pass_at, _odds(guard.pass_at)), (guard.alarm_at, _odds(guard.alarm_at))):
        labels[row_of(log)] = label
        rows[row_of(log)] = ["┈" if log else "·"] * width
    for values, mark in ((within, _WITHIN), (against, _AGAINST)):
        for column, value in enumerate(values):
            if value is not None:
                cells = rows[row_of(value)]
                cells[column] = _BOTH if cells[column] == _WITHIN and mark == _AGAINST else mark
    head = Text(f"  {title:<10} ", style="bold")
    head.append(f"{_AGAINST} worse than the margin: rolls back at {_odds(guard.alarm_at)}   ", style="not bold red")
    head.append(f"{_WITHIN} within it: passes at {_odds(guard.pass_at)}", style="not bold green")
    return [head, *(_row(label, cells) for label, cells in zip(labels, rows, strict=True)), *_time_axis(points, width)]


def _columns(points: Sequence[Point], values: Sequence[float], width: int) -> list[float | None]:
    """The value at each column of the drawing: the last one known then."""
    first, last = points[0].at, points[-1].at
    found: list[float | None] = [None] * width
    for point, value in zip(points, values, strict=True):
        found[_column(point.at, first, last, width)] = value
    for column in range(1, width):
        if found[column] is None:
            found[column] = found[column - 1]
    return found


def _column(at: float, first: float, last: float, width: int) -> int:
    return round((at - first) / ((last - first) or 1.0) * (width - 1))


def _row(label: str, cells: list[str]) -> Text:
    line = Text(f"{label:>{_LABEL - 2}} │", style="dim")
    for cell in cells:
        line.append(cell, style={_AGAINST: "not dim red", _WITHIN: "not dim green", _BOTH: "not dim"}.get(cell, "dim"))
    return line


def _time_axis(points: Sequence[Point], width: int) -> list[Text]:
    """The axis of time: where steps began, and when it all did."""
    first, last = points[0].at, points[-1].at
    ticks, names = ["─"] * width, [" "] * width
    step = None
    for point in points:
        if point.step != step:
            step = point.step
            column = _column(point.at, first, last, width)
            ticks[column] = "┴"
            name = f"{point.percent:g} %"
            if column + len(name) <= width and all(cell == " " for cell in names[max(column - 1, 0) : column + len(name)]):
                names[column : column + len(name)] = name
    day = "%Y-%m-%d %H:%M" if last - first > 86400 else "%H:%M:%S"
    begun, ended = (time.strftime(day, time.localtime(at)) for at in (first, last))
    return [
        Text(f"{'':>{_LABEL - 2}} └{''.join(ticks)}", style="dim"),
        Text(f"{'':>{_LABEL}}{''.join(names)}", style="dim"),
        Text(f"{'':>{_LABEL}}{begun}{ended:>{max(width - len(begun), 1)}}", style="dim"),
    ]


def _odds(log: float) -> str:
    return f"{math.exp(log):,.0f} to 1"
