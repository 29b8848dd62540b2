"""What is wrong with a config: problems, how they are found, named and shown.

Theory. A config is read by people, so each fault is told as a person would: where (file, line, path), what, and what to write
instead. Faults are collected, never thrown one by one, and at the end they are one `ConfigError`.

Rules.
- A path is shown as its author spelled it: `tiers.fast.maxCost`, `users["jane@lab.org"]`.
- A secret is in no message. Keys and headers are hidden by what they are; a text that came from the environment is not shown;
  and whatever looks like a key is not shown either, wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

from podium.errors import ConfigError
from podium.routing.spelling import joined, nearest
from podium.types import Value

Path = tuple[str | int, ...]
"""Where something stands in a document: names and list positions from the root."""

_PLAIN = re.compile(r"[\w-]+")
_KEY_LIKE = re.compile(r"\b(sk-|gsk_|xai-|AIza|csk-|fw_|Bearer )\S|(?=\w*\d)(?=\w*[A-Za-z])\w{24,}")
_SHORTEST_SECRET = 8
"""Anything shorter is a word like any other, and hiding it would garble messages; values are not repeated where keys stand."""
_LONGEST_SHOWN = 60


class Expanded(str):
    """A text that holds a value of the environment; it is never shown."""

    __slots__ = ()


class Problem(Value, frozen=True, kw_only=True):
    """One fault of a config or user file."""

    message: str
    """What is wrong, as one sentence."""
    hint: str | None = None
    """What to do about it."""
    file: str | None = None
    line: int | None = None
    """Counts from 1."""
    path: str = ""
    """`tiers.fast.strategy`, as the file spells it."""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        words = [f"{part}:" for part in (place, self.path) if part]
        words += ["warning:"] if self.severity == "warning" else []
        return " ".join([*words, self.message, *([self.hint] if self.hint else [])])


def path_text(path: Path) -> str:
    """Return a path as it is shown."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN.fullmatch(step) and not _KEY_LIKE.search(step):
            text += f".{step}" if text else step
        else:
            text += f'["{_shown(step)}"]'
    return text


def show(value: Any) -> str:
    """Return a value as a message quotes it, or what it is where it must not be shown."""
    match value:
        case Expanded():
            return "the value from the environment"
        case str():
            return f"`{_shown(value)}`"
        case bool():
            return f"`{str(value).lower()}`"
        case None:
            return "nothing"
        case _:
            text = str(value) if abs(value) < 10**_LONGEST_SHOWN else "a number beyond all measure"
            return f"`{text}`"


def _shown(text: str) -> str:
    if _KEY_LIKE.search(text):
        return "(looks like a key, not shown)"
    text = text if text.isprintable() and "`" not in text else ascii(text)[1:-1]
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def kind_of(value: Any) -> str:
    """Say what sort of value this is, in a config author's words."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", dict: "a mapping", list: "a list"}
    return "nothing" if value is None else names.get(type(value), "text" if isinstance(value, str) else type(value).__name__)


def suggestion(name: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """Return "did you mean `x`?", else the other hint."""
    close = nearest(name, known, most=1)
    return f"Did you mean `{close[0]}`?" if close else otherwise


def choices(known: Iterable[str]) -> str:
    """List names for a message: `a`, `b` or `c`."""
    return joined(f"`{_shown(each)}`" for each in known)


class Findings:
    """Collects the problems of one or more documents."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._files: list[str | None] = []
        self._hidden: set[str] = set()

    def hide(self, secret: str) -> None:
        """Keep a text out of every message."""
        if len(secret) >= _SHORTEST_SECRET:
            self._hidden.add(secret)

    def meet(self, file: str | None) -> None:
        """Say that a file is read now; problems are told in this order."""
        if file not in self._files:
            self._files.append(file)

    def add(
        self,
        message: str,
        *,
        hint: str | None = None,
        path: Path = (),
        file: str | None = None,
        line: int | None = None,
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        """Note a problem."""
        self.meet(file)
        problem = Problem(message=message, hint=hint, path=path_text(path), file=file, line=line, severity=severity)
        if problem not in self._problems:
            self._problems.append(problem)

    def _scrub(self, text: str | None) -> str | None:
        for secret in self._hidden:
            text = text.replace(secret, "…") if text else text
        return text

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems, file by file in the order in which they were read, and line by line."""
        ordered = sorted(self._problems, key=lambda problem: (self._files.index(problem.file), problem.line or 0))
        return tuple(
            problem.replace(
                message=self._scrub(problem.message), hint=self._scrub(problem.hint), path=self._scrub(problem.path) or ""
            )
            for problem in ordered
        )

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that make the config unusable."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that it can be used in spite of."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    def raise_errors(self, what: str) -> None:
        """Raise one `ConfigError` that lists every error, if there is any; `what` is its subject, as "The config"."""
        if errors := self.errors:
            count = "a problem" if len(errors) == 1 else f"{len(errors)} problems"
            raise ConfigError("\n  ".join([f"{what} has {count}:", *map(str, errors)]), problems=errors)
