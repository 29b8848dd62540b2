"""Anthropic's messages and Podium's, each from the other.

Theory. A user message of Anthropic may hold tool results and other blocks; Podium has the role `tool` for the former. Reading
splits such a message into runs, writing joins neighbours of one wire role. Notes on the messages say where the original was
cut otherwise: `$apart` (it followed a message of the same role and was one of its own), `$joined` (it was the rest of the
message before it, in this order), `$content` (its content was a string), `$inline` (a system message in the conversation).

Rules.
- Where messages of other origin are joined, tool results come first, so that all results of a turn open one user message.
- Leading system and developer messages become system blocks. A later one stays where it is: as a message of the role `system`
  where the profile says `inline_system` and Anthropic's rules of placement hold (after a user turn; last, or before an
  assistant's), else as user text between `<system>` tags, with a Loss.
- Empty text blocks of other origin are left out, and so are messages of white space alone and the white space that ends a last
  turn of the assistant, which the model is to go on with; Anthropic rejects all three.
- Ids of calls that come again in a later turn are numbered, since Anthropic takes each only once.

https://platform.claude.com/docs/en/api/messages/create and
https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from podium.types import Extra, Media, Message, Opaque, Part, Profile, Reasoning, Refusal, Text, ToolCall, ToolResult
from podium.wire.anthropic_blocks import (
    NAME,
    dump_call,
    dump_media,
    dump_opaque,
    dump_reasoning,
    dump_text,
    is_foreign,
    load_block,
    overlay,
    own,
    take_carried,
    take_mark,
    wire_id,
)
from podium.wire.documents import Malformed
from podium.wire.instructions import as_user_text
from podium.wire.losses import Losses
from podium.wire.tool_names import ToolNames

_WIRE_ROLES = {"user": "user", "tool": "user", "assistant": "assistant"}


def load_messages(raw: list[Any]) -> tuple[Message, ...]:
    """Read a conversation; raises `Malformed`."""
    messages: list[Message] = []
    last: str | None = None
    for at, message in enumerate(raw):
        path = f"messages.{at}"
        if type(message) is not dict:
            raise Malformed(path, "must be an object")
        role, content = message.get("role"), message.get("content")
        kept = {} if len(message) == 2 else {key: value for key, value in message.items() if key not in ("role", "content")}
        if odd := [key for key in kept if key[:1] == "$"]:
            kept["$keys"] = {key: kept.pop(key) for key in odd}
        if role == last:
            kept["$apart"] = True
        if role == "system":
            kept["$inline"] = True
        elif role not in ("user", "assistant"):
            raise Malformed(f"{path}.role", "must be user, assistant or system")
        last = role
        if type(content) is str:
            kept["$content"] = "string"
            part = Text(text=content) if content else Text(text="", extra=own({"$empty": True}))
            messages.append(Message(role=role, parts=(part,), extra={NAME: kept}))
        elif type(content) is list:
            parts = [load_block(block, f"{path}.content.{place}") for place, block in enumerate(content)]
            messages += _split(role, parts, kept)
        else:
            raise Malformed(f"{path}.content", "must be a string or a list of blocks")
    return tuple(messages)


def _split(role: Any, parts: list[Part], kept: dict[str, Any]) -> list[Message]:
    """Cut a user message into runs of tool results and of other blocks."""
    if role == "assistant":
        parts = take_carried(parts)
    if role != "user" or not any(isinstance(part, ToolResult) for part in parts):
        if not parts:
            kept["$content"] = "list"
        return [Message(role=role, parts=tuple(parts), extra=own(kept))]
    messages = []
    for results, run in groupby(parts, lambda part: isinstance(part, ToolResult)):
        messages.append(Message(role="tool" if results else "user", parts=tuple(run), extra=own(kept)))
        kept = {"$joined": True}
    return messages


def is_string(note: Any, blocks: list[dict[str, Any]]) -> bool:
    """Whether blocks can stand as the string that the note says they were."""
    return note == "string" and len(blocks) == 1 and len(blocks[0]) == 2 and _is_text(blocks[0])


def _is_text(block: dict[str, Any]) -> bool:
    return block.get("type") == "text" and type(block.get("text")) is str


class _Turn:
    """One message on the wire, as it grows."""

    __slots__ = ("blocks", "kept", "role", "sort")

    def __init__(self, role: str, blocks: list[dict[str, Any]], kept: dict[str, Any]) -> None:
        self.role = role
        self.blocks = blocks
        self.kept = kept
        self.sort = True

    def dump(self) -> dict[str, Any]:
        """Write the message."""
        content: Any = self.blocks
        if self.sort and self.role == "user" and len(content) > 1:
            content = sorted(content, key=lambda block: block.get("type") != "tool_result")
        if "$content" in self.kept and is_string(self.kept["$content"], content):
            content = content[0]["text"]
        return overlay({"role": self.role, "content": content}, self.kept)


class Turns:
    """Gathers a conversation's messages into turns of the wire."""

    def __init__(self, profile: Profile, losses: Losses, names: ToolNames, verbatim: bool) -> None:
        self._profile = profile
        self._names = names
        self._ids = _CallIds()
        self._verbatim = verbatim
        self._losses = losses
        self._turns: list[_Turn] = []
        self._leading: list[dict[str, Any]] = []
        self._answered = False

    def add_all(self, messages: tuple[Message, ...]) -> None:
        """Take all messages, in their order."""
        lead = 0
        while lead < len(messages) and _is_system(messages[lead]):
            lead += 1
        if lead and lead == len(messages):
            lead -= 1  # nothing would be left to answer: the last one stays in its place
        for at, message in enumerate(messages):
            self._answered = message.role == "assistant"
            if message.extra:
                self._losses.add_foreign(message.extra, f"messages[{at}].", answered=self._answered)
            blocks = self._blocks(message, at)
            if not self._verbatim and blocks and all(_is_text(each) and not each["text"].strip() for each in blocks):
                self._losses.add(f"messages[{at}]", "Anthropic takes no message of white space alone.")
                continue
            if at < lead:
                self._leading += blocks
            elif _is_system(message):
                self._add_system(blocks, messages, at)
            else:
                self._add(_WIRE_ROLES.get(message.role, "system"), blocks, message.extra.get(NAME, {}))
        self._answered = False
        if not self._verbatim:
            self._trim()

    def _trim(self) -> None:
        last = self._turns[-1] if self._turns else None
        if last is None or last.role != "assistant" or not last.blocks or not _is_text(last.blocks[-1]):
            return
        block = last.blocks[-1]
        if (text := block["text"].rstrip()) != block["text"]:
            self._losses.add("messages[-1]", "Anthropic takes no white space at the end of the turn to go on with.")
            last.blocks[-1:] = [{**block, "text": text}] if text else []
            if not last.blocks:
                self._turns.pop()

    def _add(self, role: str, blocks: list[dict[str, Any]], kept: dict[str, Any]) -> None:
        last = self._turns[-1] if self._turns else None
        if last is not None and last.role == role and "$apart" not in kept:
            last.blocks += blocks
            last.sort = "$joined" not in kept
        elif blocks or "$content" in kept:
            self._turns.append(_Turn(role, blocks, kept))

    def _add_system(self, blocks: list[dict[str, Any]], messages: tuple[Message, ...], at: int) -> None:
        if not blocks:
            return
        last = self._turns[-1].role if self._turns else None
        following = next((each.role for each in messages[at + 1 :] if not _is_system(each)), "assistant")
        if self._profile.inline_system and last in ("user", "system") and following == "assistant":
            self._add("system", blocks, {})
            return
        self._losses.add(f"messages[{at}].role", "This model takes no instructions there; they stand as marked user text.")
        marked = [{**block, "text": as_user_text(block["text"])} if _is_text(block) else block for block in blocks]
        self._add("user", marked, {})

    def system(self, parts: tuple[Text | Opaque, ...], kept: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the system blocks: those that stood apart, then those that led the conversation."""
        blocks = [block for at, part in enumerate(parts) for block in self._block(part, f"system[{at}]")]
        return blocks + self._leading

    def dump(self) -> list[dict[str, Any]]:
        """Write the messages."""
        return [turn.dump() for turn in self._turns]

    def _blocks(self, message: Message, at: int) -> list[dict[str, Any]]:
        parts = message.parts
        if len(parts) == 1 and type(parts[0]) is Text and parts[0].text and not parts[0].extra:
            return [{"type": "text", "text": parts[0].text}]
        return [block for place, part in enumerate(parts) for block in self._block(part, f"messages[{at}].parts[{place}]")]

    def _block(self, part: Part, path: str) -> list[dict[str, Any]]:
        """Return the part's block; nothing for what is left out."""
        extra: Extra = part.extra
        blocks = self._form(part, path)
        if extra and not isinstance(part, Reasoning):
            self._losses.add_foreign(extra, f"{path}.", marks=True, answered=self._answered)
            return [take_mark(block, extra) for block in blocks]
        return blocks

    def _form(self, part: Part, path: str) -> list[dict[str, Any]]:
        extra: Extra = part.extra
        match part:
            case Text():
                return [dump_text(part)] if part.text or (self._verbatim and "$empty" in extra.get(NAME, {})) else []
            case ToolCall():
                block = dump_call(part, path)
                if not self._verbatim:
                    block["id"], block["name"] = self._ids.of_call(part.id), self._names.wire(part.name)
                return [block]
            case ToolResult():
                return [self._result(part, path)]
            case Media():
                if part.name is not None and part.kind == "image":
                    self._losses.add(f"{path}.name", "Anthropic has no name for an image.")
                return [dump_media(part, path)]
            case Refusal():
                return [{"type": "text", "text": part.text}] if part.text else []
            case Opaque():
                return [dump_opaque(part, path)]
            case Reasoning():
                if not is_foreign(part):
                    return [dump_reasoning(part)]
                self._losses.add(path, "Anthropic takes back no reasoning but its own.")
                return []

    def _result(self, part: ToolResult, path: str) -> dict[str, Any]:
        kept = part.extra.get(NAME, {})
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": wire_id(part.call_id)}
        content = [each for at, inner in enumerate(part.parts) for each in self._block(inner, f"{path}.parts[{at}]")]
        if content:
            block["content"] = content[0]["text"] if is_string(kept.get("$content"), content) else content
        if part.is_error:
            block["is_error"] = True
        overlay(block, kept)
        if not self._verbatim:
            block["tool_use_id"] = self._ids.of_result(part.call_id)
        return block


class _CallIds:
    """The ids of tool calls, which Anthropic wants in its letters and each only once, while others count from 0 each turn."""

    __slots__ = ("_open", "_used")

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._open: dict[str, list[str]] = {}
        """By the caller's id: the ids of the calls that no result has answered yet."""

    def of_call(self, call_id: str) -> str:
        """Return the id of the next call."""
        first = wire = wire_id(call_id)
        times = 1
        while wire in self._used:
            times += 1
            wire = f"{first}_{times}"
        self._used.add(wire)
        self._open.setdefault(call_id, []).append(wire)
        return wire

    def of_result(self, call_id: str) -> str:
        """Return the id of the call that the next result of this id answers."""
        waiting = self._open.get(call_id)
        if not waiting:
            return wire_id(call_id)
        return waiting.pop(0)


def _is_system(message: Message) -> bool:
    return message.role in ("system", "developer") and "$inline" not in message.extra.get(NAME, {})
