"""What one prompt for two sides came to: a line of the file of results, and what summary and report are made of.

Rules. A line holds all that the report shows, so that a report can be made from the file alone. `right` is worked out from
`expect` and the answers each time, and written for other readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podium.errors import RequestError
from podium.routing.compare import Comparison, Side, is_right
from podium.routing.compare_summary import Observation
from podium.types import Request, Value, load


class Compared(Value, frozen=True, kw_only=True):
    """A prompt, and what both sides gave."""

    line: int
    id: str | int | None = None
    prompt: str
    category: str = ""
    expect: str | None = None
    """What a right answer contains."""
    comparison: Comparison

    @property
    def observation(self) -> Observation:
        """What the summary looks at."""
        comparison = self.comparison
        return Observation(
            comparison=comparison,
            category=self.category,
            right_new=self._right(comparison.new),
            right_old=self._right(comparison.old),
        )

    def _right(self, side: Side) -> bool | None:
        return is_right(side.text, self.expect) if self.expect is not None and side.ok else None

    def to_document(self) -> dict[str, Any]:
        """Return the line of the file of results, but for its key."""
        seen, comparison = self.observation, self.comparison
        document: dict[str, Any] = {"line": self.line, "id": self.id, "ok": comparison.new.ok and comparison.old.ok}
        document |= {"category": self.category, "prompt": self.prompt}
        if self.expect is not None:
            document |= {"expect": self.expect, "right": {"old": seen.right_old, "new": seen.right_new}}
        return document | comparison.to_dict()


def load_compared(document: Mapping[str, Any]) -> Compared:
    """Read a line of the file of results. Raises `RequestError` for one that was changed."""
    comparison = {name: document[name] for name in Comparison.__struct_fields__ if name in document}
    own = {name: document[name] for name in Compared.__struct_fields__ if name in document}
    try:
        return load(Compared, {**own, "comparison": comparison})
    except RequestError as error:
        line = document.get("line", "?")
        raise RequestError(
            f"The result of line {line} cannot be read: {error.message}", hint="Give another --out, or --fresh to replace it."
        ) from None


def shown_prompt(request: Request) -> str:
    """Return what a request asks, for a reader: the text of its last message of a user."""
    texts = [message.text for message in request.messages if message.role == "user" and message.text]
    return texts[-1] if texts else "(no text)"
