"""A caller's slips, in a caller's words: what stands where, what it is, and what to write instead.

Theory. Values that callers write are checked by msgspec, whose findings are exact and written for programmers of msgspec. Here
they become sentences about the call: `tools[1].name` is missing.

Rules. A slip is a `RequestError` with the path in `param`. A caller's text is quoted only where it is short.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec
from pydantic_core import PydanticCustomError

from podium.config.values import duration
from podium.errors import RequestError

T = TypeVar("T")

_EXPECTED = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]+)`")
_INVALID = re.compile(r"Invalid (?:enum )?value (.+)")

_WANTED = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "True or False",
    "array": "a list",
    "object": "a dict",
}
_IS = {"str": "a string", "int": "an int", "float": "a float", "bool": "a bool", "list": "a list", "tuple": "a tuple"} | {
    "array": "a list",
    "object": "a dict",
    "dict": "a dict",
    "null": "None",
    "NoneType": "None",
}


def wrong(param: str, value: object, wanted: str) -> RequestError:
    """Make the slip of a value of the wrong kind."""
    return RequestError(f"`{param}` is {_is(type(value).__name__)}.", param=param, hint=f"Give {wanted}.")


def _is(kind: str) -> str:
    return _IS.get(kind, f"of the type {kind}")


def checked(kind: Any, value: object, param: str) -> None:
    """Check a value of Podium's own that was made without checks, down to its leaves. Raises `RequestError`."""
    try:
        # bytes would become base64 on the way, and a slip would pass for text
        plain = msgspec.to_builtins(value, builtin_types=(bytes, bytearray))
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise RequestError(f"`{param}` cannot be written as JSON: {error}.", param=param, hint="Use plain values.") from None
    converted(kind, plain, param)


def converted(kind: type[T] | Any, plain: object, param: str) -> T | Any:
    """Validate plain values into one of Podium's types. Raises `RequestError` with the path of what is wrong."""
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        raise _slip(str(error), param) from None
    except RequestError as error:  # a type's own check
        raise RequestError(error.message, param=f"{param}.{error.param}" if error.param else param, hint=error.hint) from None


def _slip(finding: str, param: str) -> RequestError:
    what, _, at = finding.partition(" - at ")
    path = param + at.strip("`").removeprefix("$").replace("[...]", "")
    path = path.removeprefix(".")
    if match := _EXPECTED.fullmatch(what):
        kinds = [_WANTED.get(kind, kind) for kind in match[1].split(" | ") if kind != "null"]
        return RequestError(f"`{path}` is {_is(match[2])}.", param=path, hint=f"Give {' or '.join(kinds)}.")
    if match := _MISSING.fullmatch(what):
        return RequestError(f"`{path}.{match[1]}` is missing.", param=f"{path}.{match[1]}", hint="Add it.")
    if match := _UNKNOWN.fullmatch(what):
        hint = "Leave it out, or put it into `extra`."
        return RequestError(f"`{path}` has no field `{match[1]}`.", param=f"{path}.{match[1]}", hint=hint)
    if match := _INVALID.fullmatch(what):
        return RequestError(f"`{path}` is {match[1]}, which is none of its values.", param=path, hint=_values_of(path))
    return RequestError(f"`{path}`: {what[:1].lower()}{what[1:]}.", param=path, hint="See the type's fields in podium.types.")


def _values_of(path: str) -> str:
    if path.endswith(".type"):
        return "Parts are text, reasoning, media, tool_call, tool_result, refusal and opaque."
    return "See the type's fields in podium.types."


def load_duration(param: str, value: float | str) -> float:
    """Read a duration as the config does: milliseconds, or a text. Raises `RequestError`."""
    try:
        return duration(value)
    except PydanticCustomError as error:
        raise refused(param, error) from None


def refused(param: str, error: PydanticCustomError) -> RequestError:
    """Make the error for a value that the config would refuse too."""
    context = error.context or {}
    return RequestError(f"`{param}`: {context['message']}", param=param, hint=context.get("hint"))
