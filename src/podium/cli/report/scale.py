"""Axes: where values lie on a line, and which values are named on it.

Theory. Times and costs of answers differ by factors, not by sums. Where the largest is many times the smallest, a linear axis
puts nearly all of them into its first bar; then the axis is logarithmic.

Rules. An axis begins and ends at or beyond its values. Ticks are 1, 2 or 5 times a power of ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10

from podium.types import Value

_MANY_TIMES = 30
_TICKS = 5


class Scale(Value, frozen=True, kw_only=True):
    """An axis from `low` to `high`."""

    low: float
    high: float
    logarithmic: bool
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Return where a value lies: 0 at the low end, 1 at the high one."""
        if self.logarithmic:
            return (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return (value - self.low) / (self.high - self.low)

    def counts(self, values: Sequence[float], bins: int) -> list[int]:
        """Count the values in equal parts of the axis."""
        found = [0] * bins
        for value in values:
            found[min(int(self.at(value) * bins), bins - 1)] += 1
        return found


def make_scale(values: Sequence[float]) -> Scale:
    """Make the axis for values, which must be at least 0."""
    least, most = min(values, default=0.0), max(values, default=0.0)
    if least > 0 and most / least >= _MANY_TIMES:
        return _logarithmic(least, most)
    step = _step((most or 1.0) / _TICKS)
    count = max(1, ceil((most or 1.0) / step - 1e-9))
    return Scale(low=0.0, high=count * step, logarithmic=False, ticks=tuple(step * n for n in range(count + 1)))


def _step(rough: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is no less."""
    power = 10.0 ** floor(log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _logarithmic(least: float, most: float) -> Scale:
    first, last = floor(log10(least)), ceil(log10(most))
    marks = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    low = max(mark for mark in marks if mark <= least * (1 + 1e-9))
    high = min(mark for mark in (*marks, 10.0 ** (last + 1)) if mark >= most * (1 - 1e-9))
    inside = [mark for mark in marks if low <= mark <= high]
    while len(inside) > _TICKS + 2:  # so many decades that only some are named
        inside = inside[:: 2 if len(inside) < 3 * _TICKS else 3]
    return Scale(low=low, high=high, logarithmic=True, ticks=tuple(inside))
