"""A quantile sketch with a bounded relative error, whose merge is exact: DDSketch.

Theory. Masson, Rim and Lee, "DDSketch" (VLDB 2019, arXiv:1908.10693). A value falls into the bucket k with
gamma^(k-1) < value/unit <= gamma^k, and a quantile is answered with the bucket's middle 2 gamma^k / (gamma + 1), which is off
by at most alpha = (gamma - 1) / (gamma + 1) of the true value. Buckets are integers and counts add up, so merging two sketches
is the same as sketching both their values.

Here gamma = 2^(1/35), so alpha = 0.99 %, and the unit is 0.01: the bounds 0.01 * 2^j of OpenTelemetry's histograms of durations
are bounds of buckets too, and `counts_up_to` is exact there, not an estimate. (The `ddsketch` package has neither these bounds
nor a form that is JSON, and takes twice the time to add.)

Rules.
- Values are finite and not negative. What is below 1e-9 counts as zero.
- More than `limit` buckets never exist: the lowest are joined, so that only the lowest quantiles lose their accuracy. With the
  default that takes values over 58 octaves.
- A sketch is plain data (JSON by msgspec) and not thread-safe by itself.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

import msgspec

from podium.types import Value

PER_OCTAVE = 35
UNIT = 0.01
ACCURACY = (2 ** (1 / PER_OCTAVE) - 1) / (2 ** (1 / PER_OCTAVE) + 1)
"""The largest relative error of a quantile."""
SMALLEST = 1e-9

_log2 = math.log2
_ceil = math.ceil
_PER_UNIT = 100.0


class Distribution(Value, frozen=True, kw_only=True):
    """What a sketch says of its values; quantiles are within 1 % of the exact ones, the rest is exact."""

    count: int
    mean: float
    min: float
    p50: float
    p95: float
    p99: float
    max: float


class Sketch(msgspec.Struct, omit_defaults=True):
    """A sketch of some values."""

    counts: dict[int, int] = {}
    """How many values are in each bucket."""
    zeros: int = 0
    count: int = 0
    sum: float = 0.0
    min: float = 0.0
    max: float = 0.0
    limit: int = 2048

    def add(self, value: float) -> None:
        """Add a value. Raises `ValueError` for one that is negative, infinite or no number."""
        if value > SMALLEST:
            try:
                bucket = _ceil(_log2(value * _PER_UNIT) * PER_OCTAVE)
            except OverflowError:
                raise ValueError(f"A sketch takes finite values, not {value}.") from None
            counts = self.counts
            if bucket in counts:
                counts[bucket] += 1
            else:
                counts[bucket] = 1
                if len(counts) > self.limit:
                    self._collapse()
        elif value >= 0.0:
            self.zeros += 1
        else:
            raise ValueError(f"A sketch takes no negative values and what is no number, as {value}.")
        if self.count:
            if value > self.max:
                self.max = value
            elif value < self.min:
                self.min = value
        else:
            self.min = self.max = value
        self.count += 1
        self.sum += value

    def merge(self, other: Sketch) -> None:
        """Take in the values of another sketch, which stays as it is."""
        if not other.count:
            return
        if self.counts:
            known = self.counts.get
            self.counts.update([(bucket, known(bucket, 0) + count) for bucket, count in other.counts.items()])
        else:
            self.counts = other.counts.copy()
        if len(self.counts) > self.limit:
            self._collapse()
        self.min = min(self.min, other.min) if self.count else other.min
        self.max = max(self.max, other.max) if self.count else other.max
        self.zeros += other.zeros
        self.count += other.count
        self.sum += other.sum

    def _collapse(self) -> None:
        """Join the lowest buckets. Those kept are the `limit` highest ever seen, so the order of adding does not matter."""
        buckets = sorted(self.counts)
        lowest = buckets[-self.limit]
        for bucket in buckets[: -self.limit]:
            self.counts[lowest] += self.counts.pop(bucket)

    def quantiles(self, ranks: Sequence[float]) -> list[float]:
        """Return the values at some ranks between 0 and 1. Raises `ValueError` where there is none.

        The exact answer for rank q of n values is the one at index floor(q (n - 1)) in ascending order.
        """
        if not self.count:
            raise ValueError("There are no values, so they have no quantiles.")
        buckets = sorted(self.counts)
        sums = list(accumulate(map(self.counts.__getitem__, buckets), initial=self.zeros))
        found: list[float] = []
        for rank in ranks:
            at = bisect_right(sums, math.floor(rank * (self.count - 1)))
            middle = _middle(buckets[at - 1]) if at else 0.0
            found.append(min(max(middle, self.min), self.max))
        return found

    def counts_up_to(self, bounds: Iterable[int]) -> list[int]:
        """Return how many values are at most 0.01 * 2**j, for ascending j: exact, but for the rounding of the bound itself."""
        buckets = sorted(self.counts)
        found: list[int] = []
        total, at = self.zeros, 0
        for bound in bounds:
            while at < len(buckets) and buckets[at] <= bound * PER_OCTAVE:
                total += self.counts[buckets[at]]
                at += 1
            found.append(total)
        return found

    def distribution(self) -> Distribution | None:
        """Return mean, extremes and quantiles; None where there are no values."""
        if not self.count:
            return None
        p50, p95, p99 = self.quantiles((0.5, 0.95, 0.99))
        mean = self.sum / self.count
        return Distribution(count=self.count, mean=mean, min=self.min, p50=p50, p95=p95, p99=p99, max=self.max)


def _middle(bucket: int) -> float:
    return float(UNIT * 2.0 ** (bucket / PER_OCTAVE) * (1 - ACCURACY))
