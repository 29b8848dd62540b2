"""Chance that repeats: numbers drawn from a hash of what they are for.

Theory. A draw is a pure function of its keys (the seed, the model, the prompt, how often that prompt was asked before), so a
run repeats whatever the order in which concurrent requests arrive, and no generator's state is shared.

Rules. Keys are joined by their `repr`, so that ("ab", "c") and ("a", "bc") differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from statistics import NormalDist
from typing import TypeVar

T = TypeVar("T")

_NORMAL = NormalDist()


def digest(*keys: object, size: int = 8) -> bytes:
    """Return `size` bytes that depend on all keys."""
    return blake2b(repr(keys).encode("utf-8", "surrogatepass"), digest_size=size).digest()


def number(*keys: object) -> int:
    """Draw a whole number from [0, 2**64)."""
    return int.from_bytes(digest(*keys))


def share(*keys: object) -> float:
    """Draw uniformly from (0, 1), both ends excluded."""
    return ((number(*keys) >> 12) + 0.5) / 2**52


def chosen(options: Sequence[T], *keys: object) -> T:
    """Draw one of some options."""
    return options[number(*keys) % len(options)]


def happens(rate: float, *keys: object) -> bool:
    """Say whether something with this probability happens."""
    return share(*keys) < rate


def lognormal(median: float, sigma: float, *keys: object) -> float:
    """Draw from the lognormal distribution with this median and this standard deviation of the logarithm.

    Times to a first token are skewed to the right; a lognormal describes them well.
    """
    return median * math.exp(sigma * _NORMAL.inv_cdf(share(*keys))) if median else 0.0


def name(*keys: object, length: int = 24) -> str:
    """Draw letters and digits, as in a provider's ids."""
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    return "".join(alphabet[byte % len(alphabet)] for byte in digest(*keys, size=length))
