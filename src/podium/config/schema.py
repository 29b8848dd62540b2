"""JSON Schema of the config and of the user file, from the models that validate them.

Theory. Editors check YAML against a schema while it is written. The models know the keys and their values; what they do not
say is that each key has two spellings, and that some sections may be written short, so that is added here.

Rules. A schema accepts whatever the loader accepts key by key. What only holds across keys is the loader's business.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic.json_schema import models_json_schema

from podium.config.sections import ConfigSection, ExperimentSection, Section, UserSection

_SHORT: dict[str, dict[str, Any]] = {
    "TargetSection": {"type": "string", "pattern": r"^[^/]+/.+$|\$\{"},
    "ModelSection": {"type": "string", "minLength": 1},
    "ProviderSection": {"type": "null"},
}
"""Sections that may be written as one value."""

_REFERENCE = {"type": "string", "pattern": r"\$\{"}
"""A value from the environment, where text is not the type."""


def json_schema(which: Literal["config", "user"]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config or of a user file."""
    section: type[Section] = ConfigSection if which == "config" else UserSection
    title = "A Podium config" if which == "config" else "A Podium user file"
    sections: list[tuple[type[BaseModel], Literal["validation"]]] = [(section, "validation"), (UserSection, "validation")]
    _, whole = models_json_schema(sections, by_alias=True)
    definitions: dict[str, Any] = {name: _spelled(name, body) for name, body in whole["$defs"].items()}
    root = definitions[section.__name__]
    if which == "config":
        definitions.pop(section.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root,
        "title": title,
        "$defs": {name: _shortened(name, body) for name, body in definitions.items()},
    }


def _spelled(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Add the other spelling of each key; a key that must be there may be there in either."""
    properties: dict[str, Any] = {}
    for key, value in body.get("properties", {}).items():
        field = _open(value)
        properties[key] = field
        properties[to_camel(key)] = field
    spelled = {**body, "properties": properties, "additionalProperties": False}
    if name == ExperimentSection.__name__:
        properties["models"] = properties["providers"]
        spelled.pop("required", None)
        spelled["oneOf"] = [{"required": ["providers"]}, {"required": ["models"]}]
    if name == "ProviderSection":
        properties["models"] = {"anyOf": [properties["models"], {"type": "array", "items": {"type": "string"}}]}
    return spelled


def _open(field: dict[str, Any]) -> dict[str, Any]:
    """Let a value be left empty, and come from the environment."""
    kept = {key: value for key, value in field.items() if key not in ("default", "title")}
    if not kept:
        return kept
    return {"anyOf": [kept, {"type": "null"}, _REFERENCE]}


def _shortened(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [body, _SHORT[name]]} if name in _SHORT else body
