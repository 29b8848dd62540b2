"""Whether a JSON Schema is one, in the subset that `podium.sim.documents` reads.

Theory. The vendors check a schema before any model sees it, and refuse one whose keywords have values of the wrong kind. So
does this, in the words of a schema validator, with the place of the fault.

Rules. Unknown keywords are let pass. A fault is the first found, from the outside in.
https://json-schema.org/draft/2020-12
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_ONE = ("items", "additionalProperties", "not")
_MANY = ("properties", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_STRINGS = ("$ref", "pattern", "format", "title", "description")


def fault(schema: Any) -> tuple[tuple[str, ...], str] | None:
    """Return the place and the words of a schema's first fault, or None."""
    return next(_faults(schema, ()), None)


def _faults(schema: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        yield path, f"{schema!r} is not of type 'object', 'boolean'"
        return
    for name, wrong in _KEYWORDS.items():
        if name in schema and (words := wrong(schema[name])):
            yield (*path, name), words
            return
    for name in _ONE:
        if name in schema:
            yield from _faults(schema[name], (*path, name))
    for name in _MANY:
        for key, inner in schema.get(name, {}).items():
            yield from _faults(inner, (*path, name, key))
    for name in _LISTS:
        for index, inner in enumerate(schema.get(name, ())):
            yield from _faults(inner, (*path, name, str(index)))


def _type(value: Any) -> str | None:
    named = value if isinstance(value, list) else [value]
    fine = bool(named) and all(isinstance(each, str) and each in _TYPES for each in named)
    return None if fine else f"{value!r} is not valid under any of the given schemas"


def _object(value: Any) -> str | None:
    return None if isinstance(value, Mapping) else f"{value!r} is not of type 'object'"


def _some(value: Any) -> str | None:
    if not isinstance(value, list):
        return f"{value!r} is not of type 'array'"
    return None if value else "[] should be non-empty"


def _names(value: Any) -> str | None:
    if not isinstance(value, list):
        return f"{value!r} is not of type 'array'"
    return next((f"{each!r} is not of type 'string'" for each in value if not isinstance(each, str)), None)


def _count(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return f"{value!r} is not of type 'integer'"
    return None if value >= 0 else f"{value} is less than the minimum of 0"


def _number(value: Any) -> str | None:
    return None if isinstance(value, int | float) and not isinstance(value, bool) else f"{value!r} is not of type 'number'"


def _step(value: Any) -> str | None:
    return _number(value) or (None if value > 0 else f"{value} is less than or equal to the minimum of 0")


def _string(value: Any) -> str | None:
    return None if isinstance(value, str) else f"{value!r} is not of type 'string'"


def _pattern(value: Any) -> str | None:
    if not isinstance(value, str):
        return _string(value)
    try:
        re.compile(value)
    except re.error:
        return f"{value!r} is not a 'regex'"
    return None


_KEYWORDS: dict[str, Callable[[Any], str | None]] = {
    "type": _type,
    **dict.fromkeys(_MANY, _object),
    **dict.fromkeys(_LISTS, _some),
    "enum": lambda value: None if isinstance(value, list) else f"{value!r} is not of type 'array'",
    "required": _names,
    **dict.fromkeys(_COUNTS, _count),
    **dict.fromkeys(_NUMBERS, _number),
    **dict.fromkeys(_STRINGS, _string),
    "multipleOf": _step,
    "pattern": _pattern,
}
