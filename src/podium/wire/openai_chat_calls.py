"""The tool calls of one choice of a streamed OpenAI Chat answer: which fragment belongs to which call.

Theory. OpenAI sends a call's id and name first and then its arguments, all under one index. Others leave out the index, the id
or the name, repeat them, count from 1, or give every call the index 0.

Rules.
- A fragment belongs to the call of its index; without an index to the call of its id, else to the latest call. A fragment
  with another id and a name is another call, whatever its index says.
- The first id and the first name count; what later fragments say otherwise is kept (`$fragments`).
- The legacy `function_call` is a call of its own (`$legacy`).
- A call of a type other than `function` is opaque: its fragments are joined, and it is given whole.
"""

from __future__ import annotations

from typing import Any

import msgspec

from podium.wire.documents import Malformed, kind_of, want_dict, want_str
from podium.wire.openai_chat_parts import arguments_text

_FRAGMENT = frozenset({"index", "id", "type", "function"})
_PATH = "choices.delta.tool_calls"


class Call:
    """A tool call as far as its fragments have come."""

    __slots__ = ("closed", "extra", "id", "name", "opaque", "texts")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.texts: list[str] = []
        """Its arguments, piece by piece."""
        self.extra: dict[str, Any] = {}
        """What came beyond the known members before it was opened."""
        self.opaque: dict[str, Any] | None = None
        self.closed = False

    def whole(self) -> bool:
        """Say whether the arguments are a whole JSON object, so that nothing can follow."""
        if self.opaque is not None:
            return False
        try:
            return isinstance(msgspec.json.decode("".join(self.texts)), dict)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return False


class Calls:
    """All tool calls of a choice, in the order in which they began."""

    __slots__ = ("_by_index", "all", "waiting")

    def __init__(self) -> None:
        self._by_index: dict[int, Call] = {}
        self.all: list[Call] = []
        self.waiting: list[Call] = []
        """Those that no event has named yet."""

    def take(self, fragment: dict[str, Any], open_: Call | None, *, legacy: bool = False) -> tuple[Call, str, dict[str, Any]]:
        """Find the call of a fragment, or begin it; return it with the arguments and the other members that the fragment adds.

        `open_` is the call whose part is open. Raises `Malformed`.
        """
        function, kind = fragment.get("function"), fragment.get("type")
        identity = want_str(fragment.get("id") or "", f"{_PATH}.id")
        opaque = not isinstance(function, dict) and kind not in (None, "function")
        function = {} if opaque or function is None else want_dict(function, f"{_PATH}.function")
        name = want_str(function.get("name") or "", f"{_PATH}.function.name")
        own = {key: each for key, each in fragment.items() if key not in _FRAGMENT and each is not None}
        call = self._find(fragment, identity, name)
        if call is None:
            call = self._begin(fragment, kind, own, legacy=legacy)
        else:
            _note_odd(call, identity, name, None if opaque else kind, own)
        if call.closed and call.opaque is not None:
            return call, "", {"$fragments": [fragment]}
        if opaque or call.opaque is not None:
            call.opaque = _join(call.opaque or {}, {key: each for key, each in fragment.items() if key != "index"})
            return call, "", {}
        if rest := {key: each for key, each in function.items() if key not in ("name", "arguments") and each is not None}:
            own["function"] = rest
        if call is not open_ and not call.closed:
            call.id = call.id or identity
            call.name = call.name or name
        elif identity and not call.id:
            own.setdefault("$fragments", []).append({"id": identity})
        arguments = function.get("arguments")
        if arguments is not None and not isinstance(arguments, str | dict):
            raise Malformed(f"{_PATH}.function.arguments", f"is {kind_of(arguments)}, not a string")
        return call, arguments_text(arguments), own

    def _find(self, fragment: dict[str, Any], identity: str, name: str) -> Call | None:
        index = fragment.get("index")
        if index is None:
            if identity:
                return next((call for call in self.all if call.id == identity), None)
            return self.all[-1] if self.all else None
        if not isinstance(index, int):
            raise Malformed(f"{_PATH}.index", f"is {kind_of(index)}, not a count")
        call = self._by_index.get(index)
        if call is not None and identity and name and call.id and call.id != identity:
            return None
        return call

    def _begin(self, fragment: dict[str, Any], kind: Any, own: dict[str, Any], *, legacy: bool) -> Call:
        call = Call()
        odd: dict[str, Any] = {}
        if isinstance(index := fragment.get("index"), int):
            self._by_index[index] = call
            if index != len(self.all) and not legacy:
                odd["index"] = index
        if kind is not None and kind != "function":
            odd["type"] = [kind]
        if odd:
            own["$answer"] = odd
        if legacy:
            own["$legacy"] = True
        self.all.append(call)
        self.waiting.append(call)
        return call


def _note_odd(call: Call, identity: str, name: str, kind: Any, own: dict[str, Any]) -> None:
    """Keep what a later fragment says otherwise than the first."""
    if identity and call.id and identity != call.id:
        own["$fragments"] = [{"id": identity}]
    if kind is not None and kind != "function":
        own.setdefault("$fragments", []).append({"type": kind})
    if name and call.name and name != call.name:
        own.setdefault("$fragments", []).append({"name": name})


def _join(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Join two fragments of an opaque call: texts inside its objects grow, anything else is overwritten."""
    joined = dict(first)
    for key, value in second.items():
        old = joined.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            joined[key] = old | {inner: _grown(old.get(inner), each) for inner, each in value.items()}
        elif value is not None or key not in joined:
            joined[key] = value
    return joined


def _grown(old: Any, new: Any) -> Any:
    return old + new if isinstance(old, str) and isinstance(new, str) else new
