"""Plots as SVG, drawn for a reader who sees no colours as well: every mark has a word or a place of its own.

Rules. Sizes are in units of the view box, which a phone shows at about nine tenths of a pixel; bars are in percent of the
room that they have. No style stands in an element (the page's policy allows none): classes say what a mark is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

from podium.cli.report.markup import Markup, tag
from podium.cli.report.scale import Scale, make_scale
from podium.routing.compare import SideName
from podium.routing.compare_summary import percentile

_WIDTH, _PANEL, _LABELS, _AXIS, _LEFT = 420, 92, 34, 40, 30
_BINS = 28


def bar(share: float, kind: str) -> Markup:
    """Draw a bar of a share of its room, from 0 to 1."""
    least = 0.6 if share else 0.0
    rect = tag("rect", class_=f"fill-{kind}", width=f"{max(100 * share, least):.2f}%", height="100%", rx=2)
    return tag("svg", tag("rect", class_="room", width="100%", height="100%", rx=2), rect, class_="bar", aria_hidden="true")


def stack(parts: Sequence[tuple[int, str]]) -> Markup:
    """Draw a bar of parts, each with its count and kind."""
    whole, at, drawn = sum(count for count, _ in parts), 0.0, []
    for count, kind in parts:
        width = 100 * count / whole if whole else 0.0
        drawn.append(tag("rect", class_=f"fill-{kind}", x=f"{at:.2f}%", width=f"{width:.2f}%", height="100%"))
        at += width
    return tag("svg", *drawn, class_="bar", aria_hidden="true")


class Measure(NamedTuple):
    """What a plot is of."""

    name: str
    """Tells this plot from others in the page."""
    what: str
    """Stands at the axis."""
    written: Callable[[float | None], str]
    """Writes a value."""
    tick: str
    """How the axis writes one."""


def distributions(old: Sequence[float], new: Sequence[float], of: Measure) -> Markup:
    """Draw how the values of both sides lie: a panel a side, one axis, the median and the 95th percentile."""
    scale = make_scale([*old, *new])
    most = max((*scale.counts(old, _BINS), *scale.counts(new, _BINS)))
    height = 2 * (_LABELS + _PANEL) + _AXIS
    words = " ".join(
        f"{side}: median {of.written(percentile(values, 0.5))}, 95 % under {of.written(percentile(values, 0.95))}."
        for side, values in (("Old", old), ("New", new))
    )
    return tag(
        "svg",
        tag("title", f"{of.what}: how the values of both sides lie", id=f"{of.name}-title"),
        tag("desc", words, id=f"{of.name}-words"),
        _panel(old, "old", scale, most, 0, of),
        _panel(new, "new", scale, most, _LABELS + _PANEL, of),
        _axis(scale, height - _AXIS, of),
        class_="plot",
        viewBox=f"0 0 {_WIDTH} {height}",
        role="img",
        aria_labelledby=f"{of.name}-title {of.name}-words",
    )


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - 12)


def _panel(values: Sequence[float], side: SideName, scale: Scale, most: int, top: float, of: Measure) -> Markup:
    floor = top + _LABELS + _PANEL
    width = (_x(1) - _x(0)) / _BINS
    drawn = [
        tag("rect", class_=f"fill-{side}", x=_x(n / _BINS) + 0.5, y=floor - h, width=width - 1, height=h)
        for n, count in enumerate(scale.counts(values, _BINS))
        if (h := (_PANEL - 8) * count / most if most else 0.0)
    ]
    marks = [
        _mark(value, f"{words} {of.written(value)}", kind, scale, top + row, floor)
        for share, words, kind, row in ((0.5, "median", "median", 14), (0.95, "p95", "p95", 27))
        if (value := percentile(values, share)) is not None
    ]
    return tag(
        "g",
        tag("line", class_="ground", x1=_x(0), x2=_x(1), y1=floor, y2=floor),
        drawn,
        tag("text", side, class_=f"side ink-{side}", x=0, y=floor - 6),
        tag("line", class_="ground", x1=_x(0), x2=_x(1), y1=floor - _PANEL + 8, y2=floor - _PANEL + 8),
        tag("text", f"{most:,}", class_="count", x=_LEFT - 4, y=floor - _PANEL + 12, text_anchor="end"),
        marks,
    )


def _mark(value: float, words: str, kind: str, scale: Scale, top: float, floor: float) -> Markup:
    x = _x(scale.at(value))
    late = scale.at(value) > 0.68
    return tag(
        "g",
        tag("line", class_=kind, x1=x, x2=x, y1=top - 9, y2=floor),
        tag("text", words, x=x + (-4 if late else 4), y=top, text_anchor="end" if late else "start"),
    )


def _axis(scale: Scale, top: float, of: Measure) -> Markup:
    drawn = []
    for tick in scale.ticks:
        x = _x(scale.at(tick))
        anchor = "end" if scale.at(tick) > 0.96 else "middle"
        drawn.append(tag("line", class_="ground", x1=x, x2=x, y1=top, y2=top + 4))
        plain = f"{Decimal(f'{tick:.6g}').normalize():f}"
        drawn.append(tag("text", of.tick.format(plain) if tick else "0", x=x, y=top + 17, text_anchor=anchor))
    label = f"{of.what}{', logarithmic' if scale.logarithmic else ''}"
    return tag("g", drawn, tag("text", label, class_="what", x=_x(0.5), y=top + 34, text_anchor="middle"))
