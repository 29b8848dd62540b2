"""Misspelt names, and names as a message lists them.

Rules. Spelling is compared without regard to case, and `-` is `_`. What lies too far away is not suggested: a wrong
suggestion is worse than none.
"""

from __future__ import annotations

from collections.abc import Iterable


def nearest(text: str, names: Iterable[str], *, most: int = 5) -> tuple[str, ...]:
    """Return the names that a misspelt text may mean, the nearest first; empty where none is near."""
    import difflib  # only errors need it

    folded: dict[str, list[str]] = {}
    for name in names:
        folded.setdefault(_fold(name), []).append(name)
    found = difflib.get_close_matches(_fold(text[:100]), folded, n=most, cutoff=0.66)
    return tuple(dict.fromkeys(name for each in found for name in folded[each]))[:most]


def _fold(name: str) -> str:
    return name.casefold().replace("-", "_")


def nearest_first(text: str, names: Iterable[str], *, most: int = 10) -> tuple[str, ...]:
    """Return names for a list of candidates: the near ones, then others in the order of their declaration."""
    names = list(names)
    return tuple(dict.fromkeys([*nearest(text, names), *names]))[:most]


def joined(quoted: Iterable[str], *, word: str = "or") -> str:
    """Return names that are quoted already as a message lists them: "`a`, `b` or `c`"."""
    names = list(quoted)
    return f" {word} ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
