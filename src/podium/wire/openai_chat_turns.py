"""The messages of an OpenAI Chat request, written for a provider.

Theory. Roles and order are kept; what came from another dialect is fitted to this one, part by part.

Rules.
- Tool results of one turn become one `tool` message each; images in them follow in one `user` message after the last of them,
  since a `tool` message carries text (https://platform.openai.com/docs/api-reference/chat/create).
- Chat has no field for a failed tool: its text begins with `The tool failed: `.
- Reasoning, signatures and cache marks of other dialects are left out, each with a `Loss`, but for marks where the profile
  takes them; opaque parts of other dialects are an `UnrepresentableError`.
- What a document is about (`context`) is content, and goes before it as text. Empty texts of other origin are left out.
- Where a model wants call ids of a certain form, each id becomes a digest of itself: the same id always gives the same one.
- A model that takes no instructions gets them as marked user text, with a `Loss`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any

from podium.errors import UnrepresentableError
from podium.types import Extra, Media, Message, Part, Profile, Reasoning, Refusal, Request, Text, ToolCall, ToolResult
from podium.wire.instructions import as_user_text
from podium.wire.losses import Losses
from podium.wire.openai_chat_answer import dump_message_parts
from podium.wire.openai_chat_parts import NAME, dump_content, noted, spoken
from podium.wire.tool_names import ToolNames

FAILED = "The tool failed: "


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


class Turns:
    """Writes the messages of one request."""

    def __init__(self, profile: Profile, losses: Losses, names: ToolNames, *, as_written: bool) -> None:
        self._profile = profile
        self._losses = losses
        self._names = names
        self._as_written = as_written
        self._images: list[dict[str, Any]] = []
        self._out: list[dict[str, Any]] = []

    def dump(self, request: Request) -> list[dict[str, Any]]:
        """Write the system prompt and the messages.

        Raises `UnrepresentableError` for content that Chat cannot express.
        """
        if request.system and (parts := list(self._fitting(request.system, "system", answered=False))):
            role = self._profile.system_role
            self._out.append(self._plain(role, parts, {}, "system", instructs=role == "user"))
        for at, message in enumerate(request.messages):
            path = f"messages[{at}]"
            if message.extra:
                self._losses.add_foreign(message.extra, f"{path}.", answered=message.role == "assistant")
            results = [part for part in message.parts if isinstance(part, ToolResult)]
            self._out.extend(self._result(result, path) for result in results)
            if results and len(results) == len(message.parts):
                continue
            self._flush_images()
            self._message(message, tuple(part for part in message.parts if not isinstance(part, ToolResult)), path)
        self._flush_images()
        return self._out

    def _flush_images(self) -> None:
        if self._images:
            self._out.append({"role": "user", "content": self._images})
            self._images = []  # a new list: the old one is in the message

    # --- Messages ----------------------------------------------------------------------------------------------------

    def _message(self, message: Message, parts: Sequence[Part], path: str) -> None:
        own = noted(message.extra)
        role = message.role
        fitting = list(self._fitting(parts, f"{path}.parts", answered=role == "assistant"))
        if parts and not fitting and role != "assistant":
            return
        if role == "assistant":
            self._out.append(dump_message_parts(fitting, own, path, answered=False, identity=self._identity))
            return
        instructs = False
        if role in ("system", "developer") and not self._as_written:
            role = self._profile.system_role
            instructs = role == "user"
        dumped = self._plain("user" if role == "tool" else role, fitting, own, path, instructs=instructs)
        self._out.append(dumped | spoken(message.extra) if own else dumped)

    def _plain(self, role: str, parts: list[Part], own: dict[str, Any], path: str, *, instructs: bool) -> dict[str, Any]:
        """Write a message that is no answer; where it `instructs` a model that takes no instructions, it is marked."""
        if instructs:
            self._losses.add(f"{path}.role", "This model takes no instructions; they stand as marked user text.")
            parts = [part.replace(text=as_user_text(part.text)) if isinstance(part, Text) else part for part in parts]
        for at, part in enumerate(parts):
            if isinstance(part, ToolCall | Refusal) and "$content" not in noted(part.extra):
                raise UnrepresentableError(
                    f"The part at {path}.parts[{at}] ({type(part).__name__}) stands in a message of the role {role}.",
                    param=f"{path}.parts[{at}]",
                    hint="Such parts belong to messages of the role assistant.",
                )
        dumped: dict[str, Any] = {"role": role}
        if parts or own.get("$content") != "absent":
            dumped["content"] = dump_content(parts, own, f"{path}.content")
        return dumped

    def _identity(self, call_id: str) -> str:
        pattern = self._profile.call_id_pattern
        return fit_call_id(call_id, pattern) if pattern else call_id

    # --- Parts -------------------------------------------------------------------------------------------------------

    def _fitting(self, parts: Sequence[Part], path: str, *, answered: bool) -> Iterable[Part]:
        """Give the parts that this dialect can say, as it says them; note what is left out."""
        for at, part in enumerate(parts):
            place = f"{path}[{at}]"
            if isinstance(part, ToolCall) and (name := self._names.wire(part.name)) != part.name:
                part = part.replace(name=name)
            if isinstance(part, Media):
                yield from self._media(part, place)
            elif isinstance(part, Reasoning):
                foreign = NAME not in part.extra or any(members for name, members in part.extra.items() if name != NAME)
                if foreign:
                    self._losses.add(place, "Reasoning goes back only to the dialect that it came from.")
                else:
                    yield part
            elif not part.extra or (len(part.extra) == 1 and NAME in part.extra):
                yield part
            elif not isinstance(part, Text) or part.text:
                yield self._marked(part, place, answered=answered)

    def _marked(self, part: Any, place: str, *, answered: bool) -> Any:
        """Note what other dialects said of a part, and take over a cache mark of theirs where this model takes marks."""
        marks = self._profile.cache_marks and isinstance(part, Text | Media)
        self._losses.add_foreign(part.extra, f"{place}.", answered=answered, marks=marks)
        if marks and (mark := foreign_mark(part.extra)) is not None:
            return part.replace(extra={**part.extra, NAME: {"cache_control": mark, **noted(part.extra)}})
        return part

    def _media(self, part: Media, place: str) -> Iterable[Part]:
        if part.name is not None and part.kind != "document":
            self._losses.add(f"{place}.name", f"Chat has no name for {'an' if part.kind[0] in 'ai' else 'a'} {part.kind}.")
        if part.file_id is not None and part.extra and NAME not in part.extra:
            raise UnrepresentableError(
                f"The {part.kind} at {place} was uploaded to another provider.", param=place, hint="Send its bytes or its URL."
            )
        for dialect, members in part.extra.items():
            if dialect != NAME and isinstance(about := members.get("context"), str):
                members = {key: value for key, value in members.items() if key != "context"}
                yield Text(text=f"About the document that follows: {about}")
                part = part.replace(extra={**part.extra, dialect: members})
        foreign = any(dialect != NAME for dialect in part.extra)
        yield self._marked(part, place, answered=False) if foreign else part

    # --- Tool results ------------------------------------------------------------------------------------------------

    def _result(self, result: ToolResult, path: str) -> dict[str, Any]:
        """Write one tool result; its images are kept, to follow in a user's message."""
        own = noted(result.extra)
        self._losses.add_foreign(result.extra, f"{path}.", marks=self._profile.cache_marks)
        identity = self._identity(result.call_id)
        parts: list[Part] = []
        media: list[Part] = []
        for part in self._fitting(result.parts, f"{path}.result.parts", answered=False):
            (media if isinstance(part, Media) and "$media" not in own else parts).append(part)
        if media:
            self._images.append({"type": "text", "text": f"What the tool call {identity} returned:"})
            self._images.extend(dump_content(media, {"$content": "list"}, f"{path}.parts"))
            if not parts:
                parts = [Text(text="The result follows in the next message.")]
        if result.is_error and "$is_error" not in own:
            self._losses.add(f"{path}.is_error", f"Chat has no field for it; the text says it instead ({FAILED!r}).")
            first = parts[0] if parts else None
            failed = Text(text=FAILED + (first.text if isinstance(first, Text) else ""))
            parts = [failed, *parts[1:]] if isinstance(first, Text) else [failed, *parts]
        dumped: dict[str, Any] = {"role": "function"} if "$legacy" in own else {"role": "tool"}
        if own.get("$legacy") != "without an id":
            dumped["tool_call_id"] = identity
        if result.name is not None and ("$name" in own or "$legacy" in own):
            dumped["name"] = self._names.wire(result.name)
        if parts or own.get("$content") != "absent":
            dumped["content"] = dump_content(parts, own, f"{path}.content")
        if "$is_error" in own:
            dumped["is_error"] = result.is_error
        return dumped | spoken(result.extra) if own else dumped


def foreign_mark(extra: Extra) -> dict[str, Any] | None:
    """Return the cache mark that another dialect put on a part, if one did."""
    for dialect, members in extra.items():
        if dialect != NAME and isinstance(mark := members.get("cache_control"), dict):
            return mark
    return None
