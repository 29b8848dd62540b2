"""JSON Schema of the config and of the user file, from the models that validate them.

Theory. Editors check YAML against a schema while it is written, and show what a key is for. The models know the keys and their
values; what they do not say is that each key has two spellings, that some sections may be written short, and what the text
under each field says, so that is added here.

Rules. A schema accepts whatever the loader accepts key by key. What only holds across keys is the loader's business.
"""

from __future__ import annotations

import ast
import inspect
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic.json_schema import models_json_schema

from podium.config import sections
from podium.config.sections import ConfigSection, ExperimentSection, ProviderSection, Section, UserSection

_SHORT: dict[str, dict[str, Any]] = {
    "TargetSection": {"type": "string", "pattern": r"^[^/]+/.+$|\$\{"},
    "ModelSection": {"type": "string", "minLength": 1},
    "ProviderSection": {"type": "null"},
    "TeamSection": {"type": "null"},
    "RolloutSection": {"type": "null"},
    "LedgerSection": {"type": "string", "pattern": r"^(sqlite|memory|none):?$|\$\{"},
}
"""Sections that may be written as one value."""

_NOTHING = {"type": "null"}
_REFERENCE = {"type": "string", "pattern": r"\$\{"}
"""A value from the environment, where text is not the type."""


def json_schema(which: Literal["config", "user"]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config or of a user file."""
    section: type[Section] = ConfigSection if which == "config" else UserSection
    title = "A Podium config" if which == "config" else "A Podium user file"
    wanted: list[tuple[type[BaseModel], Literal["validation"]]] = [(section, "validation"), (UserSection, "validation")]
    _, whole = models_json_schema(wanted, by_alias=True)
    definitions: dict[str, Any] = {name: _spelled(name, body) for name, body in whole["$defs"].items()}
    root = definitions.pop(section.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root,
        "title": title,
        "$defs": {name: _shortened(name, body) for name, body in definitions.items()},
    }


def _spelled(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Add the other spelling of each key, and what each is for."""
    section: type[Section] = getattr(sections, name)
    words = {key: text for kind in reversed(section.__mro__) for key, text in _texts().get(kind.__name__, {}).items()}
    fields = {field.alias or key: key for key, field in section.model_fields.items()}
    properties: dict[str, Any] = {}
    for key, value in body.get("properties", {}).items():
        field = _open(value)
        if text := words.get(fields[key]):
            field = {**field, "description": text}
        properties[key] = properties[to_camel(key)] = field
    properties |= {synonym: properties[key] for synonym, key in section.synonyms.items()}
    spelled = {**body, "properties": properties, "additionalProperties": False}
    required = spelled.pop("required", [])
    spelled |= {"required": plain} if (plain := [key for key in required if to_camel(key) == key]) else {}
    if two_ways := [[key, to_camel(key)] for key in required if to_camel(key) != key]:
        spelled["allOf"] = [{"oneOf": [{"required": [key]} for key in spellings]} for spellings in two_ways]
    if section is ExperimentSection:
        spelled.pop("required", None)
        spelled["oneOf"] = [{"required": ["providers"]}, {"required": ["models"]}]
    if section is ProviderSection:
        forms = properties["models"]["anyOf"]
        properties["models"] = {**properties["models"], "anyOf": [*forms, {"type": "array", "items": {"type": "string"}}]}
    return spelled


def _open(field: dict[str, Any]) -> dict[str, Any]:
    """Let a value be left empty, and come from the environment."""
    kept = {key: value for key, value in field.items() if key not in ("default", "title")}
    forms = _forms(kept)
    if not forms or {} in forms:
        return kept
    forms.append(_NOTHING)
    if not any(form.get("type") == "string" and set(form) <= {"type", "minLength"} for form in forms):
        forms.append(_REFERENCE)
    described = {"description": kept["description"]} if "description" in kept else {}
    return {"anyOf": [form for place, form in enumerate(forms) if form not in forms[:place]], **described}


def _forms(field: dict[str, Any]) -> list[dict[str, Any]]:
    """The forms of a value, one below the other: alternatives of alternatives are alternatives."""
    if set(field) <= {"anyOf", "description"} and "anyOf" in field:
        return [each for form in field["anyOf"] for each in _forms(form)]
    return [field]


def _shortened(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [body, _SHORT[name]]} if name in _SHORT else body


@cache
def _texts() -> dict[str, dict[str, str]]:
    """What stands beneath each field of each section, by section and field."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(sections)).body:
        if isinstance(node, ast.ClassDef):
            texts = found.setdefault(node.name, {})
            for field, below in zip(node.body, node.body[1:], strict=False):
                if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                    continue
                if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
                    texts[field.target.id] = inspect.cleandoc(below.value.value)
    return found
