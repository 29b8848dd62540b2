"""From what was written to a section: spellings made one, unknown keys found, values validated, faults translated.

Theory. Pydantic judges values; people spell keys in two ways and misspell them in many. So the keys are put right first
(`tidy`), each section is validated on its own, and what pydantic says is said again in a config author's words, at the place
where the author wrote it. Sections are validated one by one so that a fault in one does not hide the faults of the others.

Rules. A key with no value (`timeout:`) counts as left out. A key may be spelled either way, but only once.
"""

from __future__ import annotations

import typing
from functools import cache
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from podium.config.document import Document
from podium.config.problems import Findings, Path, choices, kind_of, path_text, suggestion
from podium.config.sections import Section
from podium.config.values import COMPLAINT
from podium.routing.spelling import nearest

S = TypeVar("S", bound=Section)


@cache
def spellings(section: type[Section]) -> dict[str, str]:
    """Return every accepted spelling of a section's keys, with the key that each stands for."""
    keys = {field.alias or name: field.alias or name for name, field in section.model_fields.items()}
    return keys | {to_camel(key): key for key in keys} | section.synonyms


@cache
def _inner(section: type[Section]) -> dict[str, tuple[str, type[Section]]]:
    """The fields that hold sections: as `one`, `each` (of a mapping) or `list`."""
    found: dict[str, tuple[str, type[Section]]] = {}
    for name, field in section.model_fields.items():
        for annotation in (field.annotation, *typing.get_args(field.annotation)):
            origin = typing.get_origin(field.annotation)
            shape = "each" if origin is dict else "list" if origin is list else "one"
            if isinstance(annotation, type) and issubclass(annotation, Section):
                found[field.alias or name] = (shape, annotation)
    return found


class Reader:
    """Reads the sections of one document."""

    def __init__(self, document: Document, findings: Findings, broken: set[Path] | None = None) -> None:
        self.document = document
        self.findings = findings
        self._broken = broken or set()
        self._spelled: dict[Path, Path] = {}
        self._meant: set[Path] = set()
        self._partial: set[Path] = set()

    def note(self, path: Path, message: str, hint: str | None = None) -> None:
        """Note an error at a path, given in the keys' own spelling or the author's."""
        self.document.note(self.findings, self.written(path), message, hint)

    def warn(self, path: Path, message: str, hint: str | None = None) -> None:
        """Note a warning."""
        self.document.note(self.findings, self.written(path), message, hint, "warning")

    def written(self, path: Path) -> Path:
        """Return a path as its author spelled it."""
        known = path
        while known and known not in self._spelled:
            known = known[:-1]
        return self._spelled.get(known, known) + path[len(known) :]

    def keys(self, section: type[Section], data: dict[str, Any], path: Path) -> dict[str, Any]:
        """Return a section's values by key, without those that are unknown, spelled twice, or empty."""
        known = spellings(section)
        first: dict[str, str] = {}
        kept: dict[str, Any] = {}
        around = self.written(path)
        for spelled, value in data.items():
            place = (*around, spelled)
            key = known.get(spelled)
            if key is None:
                hint = suggestion(spelled, known, f"Use {choices(sorted(set(known.values())))}.")
                self._meant |= {(*path, known[meant]) for meant in nearest(spelled, known, most=1)}
                self.document.note(self.findings, place, "there is no such key.", hint)
            elif key in first:
                self.document.note(
                    self.findings, place, f"this is the same key as `{first[key]}`.", "Keep one of the two spellings."
                )
            else:
                first[key] = spelled
                self._spelled.setdefault((*path, key), place)
                if value is not None:
                    kept[key] = value
        return kept

    def tidy(self, section: type[Section], data: Any, path: Path) -> Any:
        """Return the values of a section, and of those within it, by key."""
        if not isinstance(data, dict):
            return data
        kept = self.keys(section, data, path)
        for key, (shape, inner) in _inner(section).items():
            value, place = kept.get(key), (*path, key)
            if shape == "one" and value is not None:
                kept[key] = self.tidy(inner, value, place)
            elif shape == "each" and isinstance(value, dict):
                kept[key] = {
                    name: self.tidy(inner, {} if item is None else item, (*place, name)) for name, item in value.items()
                }
            elif shape == "list" and isinstance(value, list):
                kept[key] = [self.tidy(inner, item, (*place, number)) for number, item in enumerate(value)]
        return kept

    def read(self, section: type[S], data: Any, path: Path) -> S | None:
        """Validate a section; its faults are noted, and then the answer is what is left of it, or None.

        What is left is good for finding further faults, and `is_whole` says that something is gone.
        """
        tidied = self.tidy(section, data, path)
        try:
            return section.model_validate(tidied)
        except ValidationError as error:
            faults = error.errors(include_url=False)
        self._partial.add(path)
        for details in faults:
            self._translate(details, path)
        for details in faults:
            _prune(tidied, details["loc"])
        try:
            return section.model_validate(tidied)
        except ValidationError:
            return None

    def is_whole(self, path: Path) -> bool:
        """Whether the section at a path was read without a fault."""
        return path not in self._partial

    def is_lost(self, path: Path) -> bool:
        """Whether the author wrote something at a path that could not be used, and knows it."""
        return path in self._spelled and (path[:-1] in self._partial or self._is_broken(self.written(path)))

    def _is_broken(self, written: Path) -> bool:
        """Whether a text at, around or within a path could not be expanded."""
        return any(written[: len(broken)] == broken or broken[: len(written)] == written for broken in self._broken)

    def _translate(self, details: ErrorDetails, path: Path) -> None:
        place = path + tuple(step for step in details["loc"] if step != "[key]")
        written = self.written(place)
        if self._is_broken(written):
            return
        match details["type"]:
            case kind if kind == COMPLAINT:
                context = details.get("ctx", {})
                self.note(place, context["message"], context["hint"])
            case "missing" if place in self._meant:
                pass
            case "missing":
                within = path_text(self.written(place[:-1])) or "the file"
                self.note(place[:-1], f"`{place[-1]}` is missing.", f"Add `{place[-1]}:` to {within}.")
            case "model_type" | "dict_type" | "list_type" as kind:
                wanted, fix = _WANTED[kind]
                self.note(place, f"this must be {wanted}, not {kind_of(details['input'])}.", fix)
            case _:
                self.note(place, f"{details['msg'][:1].lower()}{details['msg'][1:]}.")


def _prune(data: Any, place: tuple[int | str, ...]) -> None:
    """Take a faulty value out of a section; of a list, all from there on, so that what stays keeps its number."""
    for step in place:
        if isinstance(data, dict) and (step == place[-1] or not isinstance(data.get(str(step)), dict | list)):
            data.pop(str(step), None)
            return
        if isinstance(data, list) and isinstance(step, int):
            del data[step:]
            return
        data = data.get(str(step)) if isinstance(data, dict) else None


_WANTED = {
    "model_type": ("a mapping", "Indent its keys under it."),
    "dict_type": ("a mapping", "Indent its names under it."),
    "list_type": ("a list", "Begin each item with `- ` on a line of its own."),
}
