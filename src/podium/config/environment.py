"""`${ENV}` and `${ENV:-default}` in the texts of a config.

Theory. Keys and addresses differ from machine to machine and do not belong into a file, so any text may refer to the
environment. A text that did is an `Expanded` from then on and is shown in no message.

Rules. `${NAME}` must be set, and not empty; `${NAME:-default}` has the default where it is not. `$${` is a plain `${`. A
missing variable is an error that names it, but for a provider's key: there it means that there is no key, the provider's or
the user's own, and `missing` says which variable would give it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from podium.config.document import Document
from podium.config.problems import Expanded, Findings, Path
from podium.types import Secret

_REFERENCE = re.compile(r"\$?\$\{([^}]*)\}?")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)

KEY_NAMES = frozenset({"api_key", "apiKey"})
"""Both spellings of a provider's key."""


class Environment:
    """Expands the references of one document."""

    def __init__(self, values: Mapping[str, str], document: Document, findings: Findings, *, of_user: bool = False) -> None:
        """Prepare to expand a document with these variables; `of_user` says that it is a user's file."""
        self._of_user = of_user
        self._values = values
        self._document = document
        self._findings = findings
        self.missing: dict[Path, str] = {}
        """For each key that is not in the environment, the variable that would give it."""
        self.named: dict[Path, str] = {}
        """For each key that is, the variable that gave it."""
        self.broken: set[Path] = set()
        """Where a text could not be expanded: nothing more need be said of it."""

    def expand(self, value: Any, path: Path = ()) -> Any:
        """Return a value with all its references replaced; a text that cannot be expanded becomes None."""
        match value:
            case str() if "${" in value:
                return self._expand_text(value, path)
            case dict():
                return {name: self.expand(item, (*path, name)) for name, item in value.items()}
            case list():
                return [self.expand(item, (*path, place)) for place, item in enumerate(value)]
            case _:
                return value

    def _expand_text(self, text: str, path: Path) -> str | None:
        from_environment = False
        is_key = self._is_key(path)

        def replaced(match: re.Match[str]) -> str:
            nonlocal from_environment
            whole, inner = match.group(0), match.group(1)
            if whole.startswith("$$"):
                return whole[1:]
            named = _NAME.fullmatch(inner)
            if not named or not whole.endswith("}"):
                self._broken(
                    path, "a `${` here begins no reference to the environment.", "Write `${NAME}`, or `$${` for itself."
                )
                return ""
            name, default = named.groups()
            found = self._values.get(name) or default
            if found is None and is_key:
                self.missing[path] = name
                return ""
            if found is None:
                self._broken(
                    path, f"the environment variable `{name}` is not set.", f"Set it, or give a default: `${{{name}:-...}}`."
                )
                return ""
            from_environment = True
            if is_key:
                self.named[path] = name
            return found

        expanded = _REFERENCE.sub(replaced, text)
        if path in self.broken or path in self.missing:
            return None
        return Expanded(expanded) if from_environment else expanded

    def _is_key(self, path: Path) -> bool:
        """Whether a provider's key stands here, or a user's own."""
        own = path[:1] == ("keys",) if self._of_user else path[:1] == ("users",) and path[2:3] == ("keys",)
        return bool(path) and (path[-1] in KEY_NAMES or (own and len(path) == (2 if self._of_user else 4)))

    def _broken(self, path: Path, message: str, hint: str) -> None:
        self.broken.add(path)
        self._document.note(self._findings, path, message, hint)


def hide_secrets(data: Any, findings: Findings) -> None:
    """Keep whatever stands under `api_key` and `headers` of the providers, and under `keys` of users, out of messages."""
    for provider in _each(data, "providers"):
        for name, value in provider.items():
            if name in KEY_NAMES or name == "headers":
                for secret in _texts(value):
                    findings.hide(secret)
    for user in _each(data, "users"):
        for secret in _texts(user.get("keys")):
            findings.hide(secret)


def _each(data: Any, section: str) -> Iterator[dict[str, Any]]:
    named = data.get(section) if isinstance(data, dict) else None
    yield from (each for each in named.values() if isinstance(each, dict)) if isinstance(named, dict) else ()


def _texts(value: Any) -> Iterator[str]:
    match value:
        case Secret():
            yield value.reveal()
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)
        case _:
            pass
