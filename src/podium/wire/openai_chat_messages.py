"""The messages of an OpenAI Chat request, read from a client.

Theory. Chat files each tool result as a message of its own, and the system prompt as the first message. Roles, order and
unknown members are kept. `openai_chat_turns` writes the messages again.

Rules.
- A legacy `function` message answers the latest call of its function, whose id it gets.
- `is_error`, which Chat does not have, is understood in a tool's message all the same: a client that knows it may say so.
"""

from __future__ import annotations

from typing import Any, cast

from podium.types import Media, Message, Opaque, Part, Role, Text, ToolCall, ToolResult
from podium.wire.documents import Malformed, kind_of, want_dict, want_str
from podium.wire.openai_chat_answer import load_message_parts
from podium.wire.openai_chat_parts import kept, load_content, noted
from podium.wire.openai_chat_response import made_call_id

_ROLES = frozenset({"system", "developer", "user"})
_RESULT = frozenset({"role", "content", "tool_call_id", "name"})


def load_messages(messages: list[Any]) -> tuple[Message, ...]:
    """Read the messages of a client's request.

    Raises `Malformed`.
    """
    loaded: list[Message] = []
    legacy: dict[str, str] = {}
    for at, message in enumerate(messages):
        one = _load_message(message, at, legacy)
        if one.role == "assistant":
            for part in one.parts:
                if isinstance(part, ToolCall) and "$legacy" in noted(part.extra):
                    legacy[part.name] = part.id
        loaded.append(one)
    return tuple(loaded)


def _load_message(message: Any, at: int, legacy: dict[str, str]) -> Message:
    path = f"messages[{at}]"
    message = want_dict(message, path)
    role = message.get("role")
    if role == "assistant":
        parts, rest = load_message_parts(message, path, answered=False, made_id=lambda n: made_call_id("", at, n))
        return Message(role="assistant", parts=tuple(parts), extra=kept(rest))
    if role in ("tool", "function"):
        return Message(role="tool", parts=(_load_result(message, path, legacy if role == "function" else None),))
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


def _load_result(message: dict[str, Any], path: str, legacy: dict[str, str] | None) -> ToolResult:
    """Read a tool's message; `legacy` has the ids of the calls that a `function` message may answer, by name."""
    parts: list[Part] = []
    own = {key: value for key, value in message.items() if key not in _RESULT}
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
    if legacy is None:
        call_id = want_str(message.get("tool_call_id"), f"{path}.tool_call_id")
    elif "tool_call_id" in message:
        own["$legacy"] = "with an id"
        call_id = want_str(message["tool_call_id"], f"{path}.tool_call_id")
    else:
        own["$legacy"] = "without an id"
        call_id = legacy.get(name or "", "")
    is_error = own.get("is_error")
    if isinstance(is_error, bool):
        own["$is_error"] = own.pop("is_error")
    for at, part in enumerate(parts):
        if not isinstance(part, Text | Media | Opaque):
            raise Malformed(f"{path}.content[{at}].type", "has no place in a tool's result")
    return ToolResult(
        call_id=call_id,
        name=name,
        parts=tuple(parts),  # type: ignore[arg-type]
        is_error=is_error is True,
        extra=kept(own),
    )
