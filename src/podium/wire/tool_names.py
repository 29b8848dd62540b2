"""The names of tools as a target takes them: reversible aliases for those that it would refuse.

Theory. Callers name tools as they like (MCP servers: with dots, slashes and whole paths); OpenAI and Anthropic take letters,
digits, `_` and `-`, up to a length of their own. A name that a target refuses is sent as an alias, everywhere in the request,
and whoever reads the answer turns the alias back (`podium.wire.codec.restore_names`).

Rules.
- The same name always becomes the same alias, so that a prompt that begins alike hits the provider's cache.
- No alias is a name that the request uses itself, so that each is turned back into one name only.

https://platform.openai.com/docs/api-reference/chat/create and
https://platform.claude.com/docs/en/agents-and-tools/tool-use/define-tools
"""

from __future__ import annotations

import hashlib
import re

from podium.types import Request, Tool, ToolCall

_FITS = re.compile(r"[a-zA-Z0-9_-]+")
_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9_-]")


def fit_name(name: str, limit: int) -> str:
    """Return a name that a target takes: the name itself, or an alias that follows from it."""
    return name if len(name) <= limit and _FITS.fullmatch(name) else _alias(name, limit, 0)


class ToolNames:
    """Names the tools of one request for a target that takes names up to `limit` characters; None: as they are."""

    __slots__ = ("_limit", "_request", "_taken", "aliases")

    def __init__(self, request: Request, limit: int | None) -> None:
        self._request = request
        self._limit = limit
        self._taken: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        """What was rewritten: alias -> the caller's name."""

    def wire(self, name: str) -> str:
        """Return the name to send."""
        limit = self._limit
        if limit is None or (len(name) <= limit and _FITS.fullmatch(name)):
            return name
        if not self._taken:
            self._taken = {used: used for used in _names(self._request)}
        if name in self._taken and self._taken[name] != name:
            return self._taken[name]
        salt = 0
        while (alias := _alias(name, limit, salt)) in self._taken or self.aliases.get(alias, name) != name:
            salt += 1
        self._taken[name] = alias
        self.aliases[alias] = name
        return alias


def _names(request: Request) -> set[str]:
    names = {tool.name for tool in request.tools if isinstance(tool, Tool)}
    return names | {part.name for message in request.messages for part in message.parts if isinstance(part, ToolCall)}


def _alias(name: str, limit: int, salt: int) -> str:
    digest = hashlib.sha256(f"{name}{salt or ''}".encode("utf-8", "replace")).hexdigest()[:8]
    return f"{_NOT_ALLOWED.sub('_', name)[: limit - 9]}_{digest}"
