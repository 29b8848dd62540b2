"""JSON documents that satisfy a JSON Schema.

Theory. A schema is walked and a value made for each place, taken from the hints (a known answer, names and numbers in the
prompt) where they fit, else drawn. What is made depends on the schema and the prompt only, so that models that answer rightly
agree field by field.

Rules. The subset is what OpenAI's and Anthropic's structured outputs take: types (also several), properties, required, items,
prefixItems, enum, const, anyOf, oneOf, allOf, $ref (also recursive), number and length bounds, multipleOf, usual formats and
simple patterns. A recursive schema ends by leaving out what is not required.
https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from podium.sim import chance
from podium.types import Value

Schema = Mapping[str, Any]

_DEEP = 6
"""Nesting after which nothing optional is written."""

_MOST = 10_000
"""Values that are made at most; a schema that demands more, or itself without end, is not satisfied."""

_LONGEST = 100_000
"""Characters of a string at most."""


class Hints(Value, frozen=True, kw_only=True):
    """What a prompt says that may go into a document."""

    answer: str | None = None
    """The known answer to the prompt."""
    names: tuple[str, ...] = ()
    """Names, quoted words and the like, in their order."""
    numbers: tuple[float, ...] = ()
    words: tuple[str, ...] = ()
    """What the prompt is about."""
    key: str = ""
    """What draws depend on."""


def make(schema: Schema | bool | None, hints: Hints) -> Any:
    """Make a value that satisfies a schema."""
    root: Schema = schema if isinstance(schema, Mapping) else {}
    return _Maker(root, hints).value(root, "$", 0)


class _Maker:
    def __init__(self, root: Schema, hints: Hints) -> None:
        self._root = root
        self._hints = hints
        self._left = _MOST

    def value(self, schema: Schema | bool, path: str, depth: int) -> Any:
        """Make the value at one place."""
        self._left -= 1
        if self._left < 0 or depth > 40:
            return None
        if not isinstance(schema, Mapping):
            return self._text({}, path)
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if enum := schema.get("enum"):
            return self._member(enum, path)
        for key in ("anyOf", "oneOf"):
            if options := schema.get(key):
                rest = {name: value for name, value in schema.items() if name != key}
                return self.value(_merged(rest, self._option(options, depth)), path, depth + 1)
        if isinstance(kind := schema.get("type"), list):
            kind = next((each for each in kind if each != "null"), "null")
        if kind is None:
            kind = _implied(schema)
        match kind:
            case "object":
                return self._object(schema, path, depth)
            case "array":
                return self._array(schema, path, depth)
            case "integer" | "number":
                return self._number(schema, path, whole=kind == "integer")
            case "boolean":
                return self._boolean(path)
            case "null":
                return None
        return self._text(schema, path)

    def _resolved(self, schema: Schema) -> Schema:
        for _ in range(32):
            if (pointer := schema.get("$ref")) is not None:
                rest = {name: value for name, value in schema.items() if name != "$ref"}
                schema = _merged(self._pointed(pointer), rest)
            elif every := schema.get("allOf"):
                merged: Schema = {name: value for name, value in schema.items() if name != "allOf"}
                for part in every:
                    merged = _merged(merged, self._resolved(part))
                schema = merged
            else:
                break
        return schema

    def _pointed(self, pointer: str) -> Schema:
        found: Any = self._root
        for step in pointer.removeprefix("#").strip("/").split("/"):
            if step:
                found = found.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
        return found if isinstance(found, Mapping) else {}

    def _option(self, options: list[Schema], depth: int) -> Schema:
        if depth > _DEEP:
            leaves = [each for each in options if self._resolved(each).get("type") not in ("object", "array")]
            return leaves[0] if leaves else options[-1]
        solid = [each for each in options if self._resolved(each).get("type") != "null"]
        return solid[0] if solid else options[0]

    def _member(self, enum: list[Any], path: str) -> Any:
        said = {name.lower() for name in (*self._hints.names, *self._hints.words, self._hints.answer or "")}
        for member in enum:
            if isinstance(member, str) and (member.lower() in said or any(member.lower() in each for each in said if member)):
                return member
        return chance.chosen(enum, "enum", path, self._hints.key)

    def _object(self, schema: Schema, path: str, depth: int) -> dict[str, Any]:
        required = frozenset(schema.get("required", ()))
        made: dict[str, Any] = {}
        for name, inner in schema.get("properties", {}).items():
            if name in required or depth <= _DEEP:
                made[name] = self.value(inner, f"{path}.{name}", depth + 1)
        for name in schema.get("required", ()):
            if name not in made:
                made[name] = self._text({}, f"{path}.{name}")
        return made

    def _array(self, schema: Schema, path: str, depth: int) -> list[Any]:
        least = int(schema.get("minItems", 0))
        most = int(schema.get("maxItems", max(least, 3)))
        length = least if depth > _DEEP else max(least, min(most, 2))
        fixed = list(schema.get("prefixItems", ()))
        items = schema.get("items", {})
        made: list[Any] = []
        for index in range(max(length, min(len(fixed), most))):
            if self._left < 0:
                break
            inner = fixed[index] if index < len(fixed) else items
            value = self.value(inner, f"{path}[{index}]", depth + 1)
            if schema.get("uniqueItems") and value in made:
                if len(made) >= least:
                    break
                value = self._unlike(inner, made, path, depth)
            made.append(value)
        return made

    def _unlike(self, schema: Schema, made: list[Any], path: str, depth: int) -> Any:
        for member in schema.get("enum", ()):
            if member not in made:
                return member
        for attempt in range(64):
            if (value := self.value(schema, f"{path}#{attempt}", depth + 1)) not in made:
                return value
        return self.value(schema, path, depth + 1)

    def _number(self, schema: Schema, path: str, *, whole: bool) -> int | float:
        candidates: list[float] = []
        if self._hints.answer is not None and re.fullmatch(r"-?\d+(?:\.\d+)?", self._hints.answer):
            candidates.append(float(self._hints.answer))
        if numbers := self._hints.numbers:
            candidates.append(numbers[chance.number("which", path, self._hints.key) % len(numbers)])
            candidates += numbers
        low, high = _bounds(schema, whole=whole)
        step = schema.get("multipleOf")
        for value in candidates:
            if low <= value <= high and (not whole or value == int(value)) and (not step or math.isclose(value % step, 0)):
                return int(value) if whole else value
        low, high = _narrowed(low, high)
        if step:
            multiple = math.ceil(low / step) * step
            return int(multiple) if whole else multiple
        if whole:
            least, most = math.ceil(low), max(math.ceil(low), math.floor(high))
            return least + chance.number("number", path, self._hints.key) % (most - least + 1)
        return round(low + (high - low) * chance.share("number", path, self._hints.key), 2)

    def _boolean(self, path: str) -> bool:
        if self._hints.answer in ("Yes", "No"):
            return self._hints.answer == "Yes"
        return chance.happens(0.5, "boolean", path, self._hints.key)

    def _text(self, schema: Schema, path: str) -> str:
        least = min(int(schema.get("minLength", 0)), _LONGEST)
        most = int(schema.get("maxLength", _LONGEST))
        if shape := _FORMATS.get(schema.get("format", "")):
            return shape
        leaf = path.rsplit(".", 1)[-1]
        candidates = [self._hints.answer, *self._turned(self._hints.names, path), *self._turned(self._hints.words, path)]
        candidates += [leaf.strip("$[]0123456789") or "value", "value", "12345", "ABC-123", "2024-05-01", "a1b2c3"]
        pattern = schema.get("pattern")
        for text in candidates:
            if not text:
                continue
            fitted = (text * (least // len(text) + 1))[: max(least, len(text))][:most]
            if len(fitted) >= least and (pattern is None or re.search(pattern, fitted)):
                return fitted
        return simple_match(pattern or "")[:most]

    def _turned(self, options: tuple[str, ...], path: str) -> tuple[str, ...]:
        """Let sibling places begin with different hints."""
        if not options:
            return ()
        index = re.findall(r"\[(\d+)\]", path)
        start = int(index[-1]) if index else chance.number("turn", path) % len(options) if path.count(".") > 1 else 0
        return (*options[start % len(options) :], *options[: start % len(options)])


def simple_match(pattern: str) -> str:
    """Make a text for a simple regular expression: classes, escapes, literals and counts, no alternatives inside."""
    text = ""
    body = pattern.strip("^$")
    for found in re.finditer(r"(\[\^?[^\]]+\]|\\.|\(\?:|[()|]|[^\\])(\{\d+(?:,\d*)?\}|[*+?])?", body):
        atom, times = found[1], found[2] or ""
        if atom == "|":
            break
        if atom in ("(", ")", "(?:"):
            continue
        number = min(int(counted[1]), 1000) if (counted := re.match(r"\{(\d+)", times)) else 0 if times in ("*", "?") else 1
        text += _letter(atom) * number
    return text


def _letter(atom: str) -> str:
    if len(atom) == 1:
        return "a" if atom == "." else atom
    for letter in "a1A-_ .@/#":
        if re.fullmatch(atom, letter):
            return letter
    return atom[-1] if atom.startswith("\\") else atom[1]


_FORMATS = {
    "date": "2024-05-01",
    "date-time": "2024-05-01T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "jane@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "6f1c1e1e-4f60-4f3e-9d3b-0c7f8d1a2b3c",
}


def _bounds(schema: Schema, *, whole: bool) -> tuple[float, float]:
    """Return the least and the most that a number may be; infinite where nothing is said."""
    gap = 1 if whole else 1e-6
    low, high = float(schema.get("minimum", -math.inf)), float(schema.get("maximum", math.inf))
    if isinstance(limit := schema.get("exclusiveMinimum"), int | float) and not isinstance(limit, bool):
        low = max(low, limit + gap)
    if isinstance(limit := schema.get("exclusiveMaximum"), int | float) and not isinstance(limit, bool):
        high = min(high, limit - gap)
    return low, high


def _narrowed(low: float, high: float) -> tuple[float, float]:
    """Return finite bounds within these: small numbers where they are allowed."""
    if low == -math.inf:
        low = min(1.0, high)
    if high == math.inf:
        high = low + 99
    return low, max(low, high)


def _implied(schema: Schema) -> str:
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if {"minimum", "maximum", "multipleOf"} & schema.keys():
        return "number"
    return "string"


def _merged(first: Schema, second: Schema) -> Schema:
    merged = dict(first)
    for name, value in second.items():
        old = merged.get(name)
        if name == "properties" and isinstance(old, Mapping):
            merged[name] = {**old, **value}
        elif name == "required" and isinstance(old, list):
            merged[name] = list(dict.fromkeys([*old, *value]))
        else:
            merged[name] = value
    return merged
