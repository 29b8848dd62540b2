"""The part of JSON Schema that answers are held to before they may vote.

Theory. A consensus counts an answer only if it has the form that was asked for. That takes the keywords that structured output
itself takes, and no library at run time.

Rules.
- Known: `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`, `anyOf`, `allOf`, `oneOf` (read
  as `anyOf`), and `$ref` into the same document. Every other keyword is passed over: it never turns an answer away.
- As in JSON Schema, `1.0` is an integer, and neither true nor false is a number (2020-12, validation, section 6.1.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podium.routing.strategies.canonical import dump_canonical


def find_fault(value: Any, schema: Mapping[str, Any] | bool) -> str | None:
    """Return why a JSON value does not satisfy a schema, as a clause that names the path, or None where it does."""
    return _fault(value, schema, schema, "", ())


def _fault(value: Any, schema: Any, root: Any, path: str, refs: tuple[Any, ...]) -> str | None:
    """Find the first fault; `refs` are the references followed since the last step into the value."""
    if isinstance(schema, bool):
        return None if schema else f"{path or 'the document'} is not allowed"
    if not isinstance(schema, Mapping):
        return None
    ref = schema.get("$ref")
    # A reference that leads back to itself says nothing.
    if ref is not None and ref not in refs and (fault := _fault(value, _refer(ref, root), root, path, (*refs, ref))):
        return fault
    return (
        _wrong_type(value, schema, path)
        or _wrong_value(value, schema, path)
        or _wrong_choice(value, schema, root, path, refs)
        or _wrong_members(value, schema, root, path)
        or _wrong_items(value, schema, root, path)
    )


def _refer(ref: Any, root: Any) -> Any:
    """Return the schema that a JSON pointer names; True, which allows everything, for what is not in this document."""
    if not isinstance(ref, str) or not ref.startswith("#"):
        return True
    found = root
    for step in ref[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            return True
        found = found[name]
    return found


def _list(schema: Mapping[str, Any], keyword: str) -> list[Any] | tuple[Any, ...]:
    """Return a keyword's list; an empty one where the keyword is absent or is no list."""
    found = schema.get(keyword)
    return found if isinstance(found, list | tuple) else ()


def _is(value: Any, kind: Any) -> bool:
    match kind:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "integer":
            return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    return True


def _wrong_type(value: Any, schema: Mapping[str, Any], path: str) -> str | None:
    wanted = schema.get("type")
    if wanted is None:
        return None
    kinds = wanted if isinstance(wanted, list | tuple) else (wanted,)
    if any(_is(value, kind) for kind in kinds):
        return None
    return f"{path or 'the document'} is not of type {' or '.join(map(str, kinds))}"


def _wrong_value(value: Any, schema: Mapping[str, Any], path: str) -> str | None:
    allowed = [schema["const"]] if "const" in schema else _list(schema, "enum")
    if not allowed or dump_canonical(value) in map(dump_canonical, allowed):
        return None
    return f"{path or 'the document'} is none of the values that are allowed"


def _wrong_choice(value: Any, schema: Mapping[str, Any], root: Any, path: str, refs: tuple[Any, ...]) -> str | None:
    for each in _list(schema, "allOf"):
        if fault := _fault(value, each, root, path, refs):
            return fault
    for keyword in ("anyOf", "oneOf"):
        faults = [_fault(value, each, root, path, refs) for each in _list(schema, keyword)]
        if faults and all(faults):
            return faults[0]
    return None


def _wrong_members(value: Any, schema: Mapping[str, Any], root: Any, path: str) -> str | None:
    if not isinstance(value, dict):
        return None
    for name in _list(schema, "required"):
        if name not in value:
            return f"{path or 'the document'} lacks `{name}`"
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        properties = {}
    rest = schema.get("additionalProperties", True)
    for name, member in value.items():
        inside = f"{path}.{name}" if path else f"`{name}`"
        if name not in properties and rest is False:
            return f"{path or 'the document'} has `{name}`, which is not allowed"
        if fault := _fault(member, properties.get(name, rest), root, inside, ()):
            return fault
    return None


def _wrong_items(value: Any, schema: Mapping[str, Any], root: Any, path: str) -> str | None:
    items = schema.get("items")
    if not isinstance(value, list) or items is None:
        return None
    for index, item in enumerate(value):
        if fault := _fault(item, items, root, f"{path or 'item'}[{index}]", ()):
            return fault
    return None
