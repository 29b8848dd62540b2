"""The messages of an OpenAI Chat request, read from a client and written for a provider.

Theory. Chat files each tool result as a message of its own, and the system prompt as the first message. Roles, order and
unknown members are kept; what came from another dialect is fitted to this one.

Rules.
- Tool results of one turn become one `tool` message each; images in them follow in one `user` message after the last of them,
  since a `tool` message carries text (https://platform.openai.com/docs/api-reference/chat/create).
- Chat has no field for a failed tool: its text begins with `The tool failed: `.
- Reasoning, signatures and cache marks of other dialects are left out, each with a `Loss`; opaque parts of other dialects are
  an `UnrepresentableError`.
- Where a model wants call ids of a certain form, each id becomes a digest of itself: the same id always gives the same one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, cast

from podium.errors import UnrepresentableError
from podium.types import (
    Extra,
    Loss,
    Media,
    Message,
    Opaque,
    Part,
    Profile,
    Reasoning,
    Refusal,
    Request,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from podium.wire.documents import Malformed, kind_of, want_dict, want_str
from podium.wire.openai_chat_answer import dump_message_parts, load_message_parts
from podium.wire.openai_chat_parts import NAME, dump_content, kept, load_content, noted, spoken
from podium.wire.openai_chat_response import made_call_id

FAILED = "The tool failed: "
_ROLES = frozenset({"system", "developer", "user"})


class Losses:
    """Collects what a target cannot honour; raises at once where the request is strict."""

    __slots__ = ("all", "strict")

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.all: list[Loss] = []

    def add(self, setting: str, reason: str) -> None:
        """Note one loss.

        Raises `UnrepresentableError` where the request is strict.
        """
        if self.strict:
            raise UnrepresentableError(
                f"`{setting}` cannot be honoured: {reason}", param=setting, hint="Leave it out, or ask without `strict`."
            )
        self.all.append(Loss(setting=setting, reason=reason))

    def add_foreign(self, extra: Extra, path: str) -> None:
        """Note what another dialect said in an `extra` and this one cannot say."""
        for dialect, members in extra.items():
            if dialect != NAME:
                for key in members:
                    if not key.startswith("$"):
                        self.add(f"{path}.{key}", f"Only the {dialect} dialect knows it.")


# --- Reading ---------------------------------------------------------------------------------------------------------


def load_messages(messages: list[Any]) -> tuple[Message, ...]:
    """Read the messages of a client's request.

    Raises `Malformed`.
    """
    return tuple(_load_message(message, at) for at, message in enumerate(messages))


def _load_message(message: Any, at: int) -> Message:
    path = f"messages[{at}]"
    message = want_dict(message, path)
    role = message.get("role")
    if role == "assistant":
        parts, rest = load_message_parts(message, path, answered=False, made_id=lambda n: made_call_id("", at, n))
        return Message(role="assistant", parts=tuple(parts), extra=kept(rest))
    if role in ("tool", "function"):
        return Message(role="tool", parts=(_load_result(message, path, legacy=role == "function"),))
    if not isinstance(role, str) or role not in _ROLES:
        named = f"is {role!r}" if isinstance(role, str) else f"is {kind_of(role)}"
        raise Malformed(f"{path}.role", f"{named}, not one of system, developer, user, assistant, tool")
    content: list[Part] = []
    own = {key: value for key, value in message.items() if key not in ("role", "content")}
    if "content" in message:
        load_content(message["content"], f"{path}.content", content, own)
    else:
        own["$content"] = "absent"
    return Message(role=cast(Role, role), parts=tuple(content), extra=kept(own))


def _load_result(message: dict[str, Any], path: str, *, legacy: bool) -> ToolResult:
    parts: list[Part] = []
    own = {key: value for key, value in message.items() if key not in ("role", "content", "tool_call_id", "name")}
    if "content" in message:
        load_content(message["content"], f"{path}.content", parts, own)
    else:
        own["$content"] = "absent"
    if any(isinstance(part, Media) for part in parts):
        own["$media"] = True
    name = message.get("name")
    if not isinstance(name, str):
        if "name" in message:
            own["name"] = name
        name = None
    else:
        own["$name"] = True
    if legacy:
        own["$legacy"] = True
        call_id = want_str(message.get("tool_call_id", ""), f"{path}.tool_call_id")
    else:
        call_id = want_str(message.get("tool_call_id"), f"{path}.tool_call_id")
    for at, part in enumerate(parts):
        if not isinstance(part, Text | Media | Opaque):
            raise Malformed(f"{path}.content[{at}].type", "has no place in a tool's result")
    return ToolResult(call_id=call_id, name=name, parts=tuple(parts), extra=kept(own))  # type: ignore[arg-type]


# --- Writing ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def fit_call_id(identity: str, pattern: str) -> str:
    """Return a call id that matches the pattern: the id itself, or the first digest of it that does.

    Raises `UnrepresentableError` where no hexadecimal digest can match.
    """
    wanted = _compiled(pattern)
    if wanted.fullmatch(identity):
        return identity
    digest = sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()
    for length in (9, 24, 32, 16, 40, 64, 12, 8):
        for prefix in ("", "call_", "toolu_"):
            if wanted.fullmatch(prefix + digest[:length]):
                return prefix + digest[:length]
    raise UnrepresentableError(
        f"The tool call id {identity!r} does not match {pattern!r}, which this model wants.", hint="Correct `call_id_pattern`."
    )


def dump_messages(request: Request, profile: Profile, losses: Losses, *, as_written: bool) -> list[dict[str, Any]]:
    """Write a request's messages for a model.

    Raises `UnrepresentableError` for content that Chat cannot express.
    """
    pattern = profile.call_id_pattern
    identity: Callable[[str], str] = (lambda call_id: fit_call_id(call_id, pattern)) if pattern else str
    dumped: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    if request.system:
        for at, part in enumerate(request.system):
            losses.add_foreign(part.extra, f"system[{at}]")
        dumped.append({"role": profile.system_role, "content": dump_content(list(request.system), {}, "system")})
    for at, message in enumerate(request.messages):
        path = f"messages[{at}]"
        if message.extra:
            losses.add_foreign(message.extra, path)
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        dumped.extend(_dump_result(result, path, identity, losses, images) for result in results)
        if results and len(results) == len(message.parts):
            continue
        if images:
            dumped.append({"role": "user", "content": images})
            images = []  # a new list: the old one is in the message
        parts = message.parts if not results else tuple(part for part in message.parts if not isinstance(part, ToolResult))
        role = message.role if as_written or message.role not in ("system", "developer") else profile.system_role
        dumped.append(_dump_message(message, role, parts, path, identity, losses))
    if images:
        dumped.append({"role": "user", "content": images})
    return dumped


def _dump_message(
    message: Message, role: str, parts: Sequence[Part], path: str, identity: Callable[[str], str], losses: Losses
) -> dict[str, Any]:
    own = noted(message.extra)
    fitting = list(_fitting(parts, path, losses))
    if role == "assistant":
        return dump_message_parts(fitting, own, path, answered=False, identity=identity)
    if role == "tool":
        role = "user"
    for at, part in enumerate(fitting):
        if isinstance(part, ToolCall | Refusal) and "$content" not in noted(part.extra):
            raise UnrepresentableError(
                f"The part at {path}.parts[{at}] ({type(part).__name__}) stands in a message of the role {role}.",
                param=f"{path}.parts[{at}]",
                hint="Such parts belong to messages of the role assistant.",
            )
    dumped: dict[str, Any] = {"role": role}
    if fitting or own.get("$content") != "absent":
        dumped["content"] = dump_content(fitting, own, f"{path}.content")
    if own:
        dumped |= spoken(message.extra)
    return dumped


def _fitting(parts: Sequence[Part], path: str, losses: Losses) -> Iterable[Part]:
    """Give the parts that this dialect can say; note what is left out."""
    for at, part in enumerate(parts):
        if part.extra and (len(part.extra) > 1 or NAME not in part.extra):
            losses.add_foreign(part.extra, f"{path}.parts[{at}]")
        foreign = NAME not in part.extra or any(members for name, members in part.extra.items() if name != NAME)
        if foreign and isinstance(part, Reasoning):
            losses.add(f"{path}.parts[{at}]", "Reasoning goes back only to the dialect that it came from.")
        else:
            yield part


def _dump_result(
    result: ToolResult, path: str, identity: Callable[[str], str], losses: Losses, images: list[dict[str, Any]]
) -> dict[str, Any]:
    """Write one tool result; its images are added to `images`, to follow in a user's message."""
    own = noted(result.extra)
    losses.add_foreign(result.extra, path)
    parts: list[Part] = []
    for at, part in enumerate(result.parts):
        losses.add_foreign(part.extra, f"{path}.result.parts[{at}]")
        if isinstance(part, Media) and "$media" not in own:
            if not any(each.get("text", "").endswith(f"{result.call_id}:") for each in images):
                images.append({"type": "text", "text": f"What the tool call {result.call_id} returned:"})
            images.extend(dump_content([part], {"$content": "list"}, f"{path}.parts[{at}]"))
        else:
            parts.append(part)
    if not parts and len(result.parts):
        parts = [Text(text="The result follows in the next message.")]
    if result.is_error:
        losses.add(f"{path}.is_error", f"Chat has no field for it; the text says it instead ({FAILED!r}).")
        first = parts[0] if parts else None
        failed = Text(text=FAILED + (first.text if isinstance(first, Text) else ""))
        parts = [failed, *parts[1:]] if isinstance(first, Text) else [failed, *parts]
    dumped: dict[str, Any] = {"role": "function"} if "$legacy" in own else {"role": "tool"}
    if result.call_id or "$legacy" not in own:
        dumped["tool_call_id"] = identity(result.call_id)
    if result.name is not None and ("$name" in own or "$legacy" in own):
        dumped["name"] = result.name
    if parts or own.get("$content") != "absent":
        dumped["content"] = dump_content(parts, own, f"{path}.content")
    if own:
        dumped |= spoken(result.extra)
    return dumped
