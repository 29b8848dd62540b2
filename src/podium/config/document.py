"""A config as it was written: plain values, and the line that each stands on.

Theory. A message that names a line helps more than one that names a fault, so YAML is composed to nodes, which know their
lines, and only then read as values. A dict that Python code gives is a document without lines.

Rules.
- Plain scalars are read by YAML 1.2's core rules: `yes`, `on` and `12:30` are text, `true` is true, `0.1` is a number.
- A mapping's keys are text, as written. A key that comes twice is an error; so are tags, and anchors that contain themselves.
- `<<` merges mappings. A document may not grow beyond `_MOST_NODES` values (aliases of aliases).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path as FilePath
from typing import Any, Literal

from podium.config.nodes import DEEPEST, Node, SyntaxFault, compose
from podium.config.problems import Findings, Path, show
from podium.types import Secret, Target

_MOST_NODES = 100_000
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INT = re.compile(r"[-+]?\d{1,300}|0x[0-9a-fA-F]{1,200}|0o[0-7]{1,200}")
_FLOAT = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?")


class Document:
    """Plain values with their origin."""

    def __init__(
        self,
        data: Any,
        *,
        file: str | None = None,
        directory: str | os.PathLike[str] = ".",
        lines: dict[Path, int] | None = None,
    ) -> None:
        self.data = data
        self.file = file
        self.directory = FilePath(directory)
        self.lines = lines or {}

    @property
    def written(self) -> bool:
        """Whether it is a file rather than a dict of Python code."""
        return bool(self.lines)

    def __repr__(self) -> str:
        return f"Document(file={self.file!r})"

    def line(self, path: Path) -> int | None:
        """The line of a path, or of the nearest thing around it."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path)

    def note(
        self,
        findings: Findings,
        path: Path,
        message: str,
        hint: str | None = None,
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        """Note a problem of this document."""
        findings.add(message, hint=hint, path=path, file=self.file, line=self.line(path), severity=severity)


_NO_CONFIG = "Check the path; `podium init` writes a starter config."


def read_document(path: str | os.PathLike[str], findings: Findings, *, missing: str = _NO_CONFIG) -> Document | None:
    """Read a YAML file; what keeps it from being read is noted, and the answer is None.

    `missing` is what to do where there is none.
    """
    file = os.fspath(path)
    findings.meet(file)
    try:
        text = FilePath(file).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        findings.add("there is no such file.", hint=missing, file=file)
    except IsADirectoryError:
        findings.add(
            "this is a folder, not a file.", hint="Name a file in it; for users, all of them: `folder/*.yaml`.", file=file
        )
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        findings.add("this is not UTF-8 text.", hint="Save the file as UTF-8.", file=file, line=line)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "its path is not a path"
        findings.add(f"the file cannot be read: {reason}.", hint="Check its name and who may read it.", file=file)
    else:
        return load_document(text, findings, file=file, directory=_directory(FilePath(file)))
    return None


def _directory(file: FilePath) -> FilePath:
    """Where a file's relative paths begin: in its folder, or in the current one for stdin and pipes, which are in none."""
    place = file.absolute().as_posix()
    if place == "/dev/stdin" or place.startswith(("/dev/fd/", "/proc/")) or file.is_fifo():
        return FilePath()
    return file.parent


def load_document(
    text: str, findings: Findings, *, file: str | None = None, directory: str | os.PathLike[str] = "."
) -> Document | None:
    """Read YAML text; syntax errors are noted, and the answer is None."""
    try:
        root = compose(text)
    except SyntaxFault as fault:
        findings.add(fault.message, hint=fault.hint, file=file, line=fault.line)
        return None
    if root is None:
        findings.add("the file is empty.", hint="`podium init` writes a starter config.", file=file, line=1)
        return None
    document = Document(None, file=file, directory=directory, lines={(): 1})
    document.data = _Builder(document, findings).value(root, (), ())
    return document


class _Builder:
    """Turns nodes into plain values and notes their lines."""

    def __init__(self, document: Document, findings: Findings) -> None:
        self._document = document
        self._findings = findings
        self._count = 0

    def value(self, node: Node, path: Path, around: tuple[int, ...]) -> Any:
        self._document.lines.setdefault(path, node.line)
        self._count += 1
        if self._count == _MOST_NODES:
            self._note(node, path, f"the file holds more than {_MOST_NODES:,} values.", "Aliases repeat each other.")
        if self._count >= _MOST_NODES:
            return None
        if id(node) in around or len(around) > DEEPEST:
            self._note(node, path, "this is nested too deeply, or contains itself.", "Flatten it.")
            return None
        if node.tagged:
            self._note(node, path, "YAML tags (`!...`) mean nothing here.", "Remove the tag, or put the text in quotes.")
            return None
        inside = (*around, id(node))
        if node.items is not None:
            return [self.value(item, (*path, place), inside) for place, item in enumerate(node.items)]
        if node.pairs is not None:
            return self._mapping(node.pairs, path, inside)
        return scalar(node.text or "") if node.plain else node.text

    def _mapping(self, pairs: list[tuple[Node, Node]], path: Path, inside: tuple[int, ...]) -> dict[str, Any]:
        built: dict[str, Any] = {}
        merged: list[Node] = []
        for key, value in pairs:
            name = key.text
            if name is None:
                self._note(key, path, "a key here is a list or a mapping; keys are text.", "Look for stray brackets.")
            elif name == "<<" and key.plain:
                merged += [value] if value.items is None else value.items
            elif name in built:
                first = self._document.line((*path, name))
                self._note(key, (*path, name), f"the key is here twice, first on line {first}.", "Remove one of them.")
            else:
                self._document.lines[(*path, name)] = key.line
                built[name] = self.value(value, (*path, name), inside)
        for each in merged:
            if each.pairs is None:
                self._note(each, (*path, "<<"), "`<<` takes a mapping, or a list of them.", "Point it at an anchored mapping.")
            elif id(each) in inside or len(inside) > DEEPEST:
                self._note(each, (*path, "<<"), "this contains itself.", "Remove the alias.")
            else:
                for name, value in self._mapping(each.pairs, path, (*inside, id(each))).items():
                    built.setdefault(name, value)
        return built

    def _note(self, node: Node, path: Path, message: str, hint: str) -> None:
        self._findings.add(message, hint=hint, path=path, file=self._document.file, line=node.line)


def scalar(text: str) -> Any:
    """Read a plain scalar by YAML 1.2's core rules."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    return float(text) if len(text) < 100 and _FLOAT.fullmatch(text) else text


def plain(value: Any, document: Document, findings: Findings, path: Path = ()) -> Any:
    """Return Python values as a document's: dicts, lists and scalars; what else is in them is noted, and None in its place."""
    match value:
        case None | bool() | str() | int() | Secret():
            return value
        case float() | Decimal():
            if math.isfinite(value):
                return value
            document.note(findings, path, f"{show(str(value))} is not a number to configure with.", "Write a finite number.")
        case Target():
            return {"provider": value.provider, "model": value.model}
        case os.PathLike():
            return os.fspath(value)
        case Mapping() | list() | tuple() if len(path) > DEEPEST:
            document.note(findings, path[:5], "this is nested too deeply, or contains itself.", "Flatten it.")
        case Mapping():
            return _plain_mapping(value, document, findings, path)
        case list() | tuple():
            return [plain(item, document, findings, (*path, place)) for place, item in enumerate(value)]
        case _:
            document.note(
                findings, path, f"a config cannot hold a `{type(value).__name__}`.", "Give text, numbers, lists, dicts."
            )
    return None


def _plain_mapping(value: Mapping[Any, Any], document: Document, findings: Findings, path: Path) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(key, str):
            built[str(key)] = plain(item, document, findings, (*path, str(key)))
        else:
            document.note(findings, path, f"a key here is a `{type(key).__name__}`; keys are text.", "Put it in quotes.")
    return built
