"""JSON documents as they come from and go to the wire.

Theory. A codec works on plain dicts and lists. What is wrong with a document's shape is raised as `Malformed` with the path of
the fault; the codec's doors turn that into `ProtocolBroken` (a provider wrote it) or `RequestError` (a client wrote it).

Rules.
- `Malformed` never leaves a codec.
- A document is at most `MAX_DEPTH` levels deep, so that no walk over it can exhaust the stack.
- Providers that write NaN, Infinity, raw control characters or half a surrogate pair are read all the same: the strict
  decoder is tried first, Python's lenient one second; lone surrogates become U+FFFD, and NaN the word "NaN".
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from podium.errors import UnrepresentableError

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Malformed(Exception):
    """A document without the shape that its dialect wants: `what` is wrong at `path`."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"`{path}` {what}" if path else what)
        self.path = path
        self.what = what


MAX_DEPTH = 256
"""The most levels that a document may be nested: what walks it may use the stack."""
MOST_TOKENS = 1 << 40
"""The largest count of tokens that is believed: no answer has a million millions. All that counts further on can hold it."""


def load_count(value: Any) -> int:
    """Read a count of tokens; 0 for what is none: text, a negative number, one that is too large to be true."""
    if type(value) is int or type(value) is float:
        return int(value) if 0 < value <= MOST_TOKENS else 0
    return 0


def load_json(data: bytes) -> Any:
    """Decode one JSON document.

    Raises `Malformed` where it is none, or is nested deeper than `MAX_DEPTH`.
    """
    try:
        value = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _load_leniently(data, str(error))
    except RecursionError:
        raise _too_deep() from None
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH and _is_deep(value):
        raise _too_deep()
    return value


def _load_leniently(data: bytes, fault: str) -> Any:
    try:
        value = json.loads(data.decode("utf-8", "replace"), strict=False, parse_constant=str)
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise Malformed("", f"This is not JSON: {fault}") from None
    if _is_deep(value):
        raise _too_deep()
    return _whole(value)


def _too_deep() -> Malformed:
    return Malformed("", f"The JSON is nested deeper than {MAX_DEPTH} levels")


def _is_deep(value: Any) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        level = [
            inner
            for each in level
            for inner in (each.values() if type(each) is dict else each)
            if type(inner) is dict or type(inner) is list
        ]
    return bool(level)


def _whole(value: Any) -> Any:
    """Replace each half of a surrogate pair, which UTF-8 cannot hold, by U+FFFD."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_whole(each) for each in value]
        case dict():
            return {_whole(key): _whole(each) for key, each in value.items()}
        case _:
            return value


def dump_json(value: Any) -> bytes:
    """Encode plain values as JSON.

    Raises `UnrepresentableError` for what JSON cannot hold (half a surrogate pair, a value of an unknown type).
    """
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError, msgspec.EncodeError) as error:
        raise UnrepresentableError(
            f"The request or answer cannot be written as JSON: {error}.", hint="Give plain values and whole Unicode characters."
        ) from None


def kind_of(value: Any) -> str:
    """Name a JSON value's kind for a message: `a string`, `null`, ..."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"


def want_str(value: Any, path: str) -> str:
    """Return a string, or raise `Malformed`."""
    if isinstance(value, str):
        return value
    raise Malformed(path, f"is {kind_of(value)}, not a string")


def want_dict(value: Any, path: str) -> dict[str, Any]:
    """Return an object, or raise `Malformed`."""
    if isinstance(value, dict):
        return value
    raise Malformed(path, f"is {kind_of(value)}, not an object")


def want_list(value: Any, path: str) -> list[Any]:
    """Return a list, or raise `Malformed`."""
    if isinstance(value, list):
        return value
    raise Malformed(path, f"is {kind_of(value)}, not a list")
