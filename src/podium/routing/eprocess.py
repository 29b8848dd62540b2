"""Evidence that may be looked at all the time: betting on the difference of two arms.

Theory. Each observation is a loss in [0, 1]. Observations of both arms gather in a block until each arm has one; the block's
outcome is D = mean(candidate) - mean(legacy). Under the hypothesis that the candidate is worse by at most the margin m,
E[D | past] <= m, a gambler who stakes a share lam of their wealth on D > m after each block cannot expect to win:
prod(1 + lam (D - m)) is a supermartingale, and by Ville's inequality it ever reaches 1/alpha with a chance of at most alpha,
however often one looks and however traffic drifts (Waudby-Smith and Ramdas, arXiv 2010.09686; Howard et al., 1810.08240).
Ten gamblers with ten stakes share the capital, because the best stake depends on a difference that nobody knows. The mirrored
bet, prod(1 - lam (D - m)), is evidence that the candidate is *not* worse than the margin.

What happens to both arms at once (an incident, a rush hour) cancels within a block. That is why blocks are paired and never
pooled: means that run across a change of shares compare one hour's mix with another's.

Rules.
- Logarithms of wealth are sums over blocks. So workers, steps and hours add up, in any order.
- A late regression must not first repay the losses of a good week: a new game begins at each epoch, the j-th with the share
  1/(j (j + 1)) of the capital. Capital whose game has not begun lies there as it is, hence the whole starts at 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from podium.types import Value

BETS = 10
"""How many stakes share the capital."""
LARGEST = 0.95
"""The share that the boldest stakes: with all of it, one block could ruin it for ever."""

Logs = tuple[float, ...]
"""The logarithms of the wealth of each stake, the boldest first."""

NOTHING: Logs = (0.0,) * BETS


class Sums(Value, frozen=True, kw_only=True):
    """What some closed blocks add up to. Sums of disjoint blocks add."""

    blocks: int = 0
    candidate_n: int = 0
    """Observations of the candidate in these blocks."""
    candidate_sum: float = 0.0
    """Their losses, added up."""
    legacy_n: int = 0
    legacy_sum: float = 0.0
    against: Logs = NOTHING
    """For each stake, the sum of log(1 + lam (D - m))."""
    within: Logs = NOTHING
    """For each stake, the sum of log(1 - lam (D - m))."""

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            blocks=self.blocks + other.blocks,
            candidate_n=self.candidate_n + other.candidate_n,
            candidate_sum=self.candidate_sum + other.candidate_sum,
            legacy_n=self.legacy_n + other.legacy_n,
            legacy_sum=self.legacy_sum + other.legacy_sum,
            against=_added(self.against, other.against),
            within=_added(self.within, other.within),
        )

    @property
    def candidate_mean(self) -> float | None:
        """The candidate's mean loss; None without an observation."""
        return self.candidate_sum / self.candidate_n if self.candidate_n else None

    @property
    def legacy_mean(self) -> float | None:
        """Legacy's mean loss; None without an observation."""
        return self.legacy_sum / self.legacy_n if self.legacy_n else None


def stakes(margin: float) -> Logs:
    """Return the shares of their wealth that the gamblers stake at a margin (0 to 1), halving from the boldest on.

    D - m is never below -(1 + m), so that even the boldest keeps a twentieth after the worst block.
    """
    return tuple(LARGEST / (1 + margin) * 2.0**-k for k in range(BETS))


def log_mean_exp(logs: Logs) -> float:
    """Return the logarithm of the mean of what these are logarithms of, without overflow."""
    top = max(logs)
    return top + math.log(sum(math.exp(one - top) for one in logs) / len(logs))


def log_evidence(by_epoch: Mapping[int, Logs], first: int) -> float:
    """Return the logarithm of the wealth of all games: E = sum of w_j E^(j), w_j = 1/(j (j + 1)).

    `by_epoch` has each epoch's own sums; `first` is the epoch with which the ramp began and j = 1. What an unsteady clock files
    before it belongs to it.
    """
    if not by_epoch:
        return 0.0
    last = max(max(by_epoch), first) - first + 1
    total = NOTHING
    # Capital of the games that are to come: 1 - sum of w_j up to the last = 1 / (last + 1).
    terms = [-math.log(last + 1)]
    each: dict[int, Logs] = {}
    for epoch, logs in by_epoch.items():
        j = max(epoch - first + 1, 1)
        each[j] = _added(each[j], logs) if j in each else logs
    for j in range(last, 0, -1):
        if j in each:
            total = _added(total, each[j])
            value = log_mean_exp(total)
        elif j == last:
            value = 0.0
        terms.append(value - math.log(j * (j + 1)))
    top = max(terms)
    return top + math.log(math.fsum(math.exp(term - top) for term in terms))


def sample_ratio_p(candidate: int, legacy: int, share: float) -> float:
    """Return how likely so odd a split of units is, were each drawn for the candidate with chance `share` (chi-squared, df 1).

    Where a count of under five is expected the approximation says nothing, and 1.0 comes back.
    """
    n = candidate + legacy
    expected = n * share
    if min(expected, n - expected) < 5:
        return 1.0
    chi_squared = (candidate - expected) ** 2 / (expected * (1 - share))
    return math.erfc(math.sqrt(chi_squared / 2))


def total(logs: Iterable[Logs]) -> Logs:
    """Add logarithms of wealth, stake by stake."""
    result = NOTHING
    for one in logs:
        result = _added(result, one)
    return result


def _added(one: Logs, other: Logs) -> Logs:
    return tuple(a + b for a, b in zip(one, other, strict=True))
