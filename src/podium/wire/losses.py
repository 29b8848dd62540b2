"""What a request loses on its way into a dialect.

Theory. Each codec notes what its target cannot honour in one list. What another dialect said beyond the typed fields is in an
`extra` under that dialect's name, and most of it is a setting that only that dialect knows.

Rules.
- With `strict` the first loss is an error.
- What asks for nothing is no loss: null, false, an empty list, a default that is spelled out, a note (`$...`), and what other
  dialects must ask for and every target does anyway.
- What a provider noted on a model's own turn was never asked for by the caller; only what callers add there counts.
- A cache mark is a loss unless the codec says that it takes marks over (`marks`).
"""

from __future__ import annotations

from typing import Any

from podium.errors import UnrepresentableError
from podium.types import Extra, Loss

_MOOT = frozenset({"stream_options"})
"""What is asked for in vain: the tokens of a stream are always counted."""

_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "caller": ({"type": "direct"},),
    "citations": ({"enabled": False},),
    "image_url": ({"detail": "auto"},),
    "input_audio": ({},),
    "metadata": ({},),
    "modalities": (["text"],),
    "type": ("custom", "enabled", "disabled", "adaptive"),
}
"""Values that say what holds anyway, by their keys."""

_OF_CALLERS = frozenset({"cache_control", "name"})
"""What a caller may add to a model's own turn."""


def spoken_members(members: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a dialect's extra that say something: no notes, no defaults, nothing that asks for nothing."""
    return {key: value for key, value in members.items() if _speaks(key, value)}


def _speaks(key: str, value: Any) -> bool:
    if key[:1] == "$" or value is None or value is False or value == [] or key in _MOOT:
        return False
    return value not in _DEFAULTS.get(key, ())


class Losses:
    """Collects what a target cannot honour; raises at once where the request is strict."""

    __slots__ = ("_dialect", "_strict", "found")

    def __init__(self, dialect: str, *, strict: bool) -> None:
        self._dialect = dialect
        self._strict = strict
        self.found: list[Loss] = []

    def add(self, setting: str, reason: str) -> None:
        """Note one loss; raises `UnrepresentableError` where the request is strict."""
        if self._strict:
            raise UnrepresentableError(
                f"The request is strict, and {setting} cannot be honoured: {reason}",
                param=setting,
                hint="Leave the setting out, ask another target, or take `strict` away.",
            )
        self.found.append(Loss(setting=setting, reason=reason))

    def add_foreign(self, extra: Extra, path: str, *, marks: bool = False, answered: bool = False) -> None:
        """Note what other dialects said and this one cannot; `path` is where, with the dot that ends it.

        `marks`: cache marks are taken over elsewhere. `answered`: the extra is on a model's own turn.
        """
        for dialect, members in extra.items():
            if dialect == self._dialect:
                continue
            for key, value in members.items():
                if (marks and key == "cache_control") or (answered and key not in _OF_CALLERS):
                    continue
                if _speaks(key, value):
                    self.add(f"{path}{key}", f"Only {dialect} knows it.")
