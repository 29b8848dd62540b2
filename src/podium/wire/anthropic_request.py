"""Anthropic's requests: read as a server, written as a client.

Theory. A user message of Anthropic may hold tool results and other blocks; Podium has the role `tool` for the former. Reading
splits such a message into runs, writing joins neighbours of one wire role. Notes on the messages say where the original was
cut otherwise: `$apart` (it followed a message of the same role and was one of its own), `$joined` (it was the rest of the
message before it, in this order), `$content` (its content was a string), `$inline` (a system message in the conversation).

Rules.
- Where messages of other origin are joined, tool results come first, so that all results of a turn open one user message.
- Leading system and developer messages become system blocks. A later one stays where it is: as a message of the role `system`
  where the profile says `inline_system` and Anthropic's rules of placement hold (after a user turn; last, or before an
  assistant's), else as user text between `<system>` tags, with a Loss.
- Empty text blocks of other origin are left out; Anthropic rejects them.

https://platform.claude.com/docs/en/api/messages/create and
https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from podium.errors import RequestError, UnrepresentableError
from podium.types import (
    Extra,
    Media,
    Message,
    Opaque,
    Part,
    Profile,
    Reasoning,
    Refusal,
    Request,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from podium.wire.anthropic_blocks import (
    NAME,
    dump_call,
    dump_media,
    dump_opaque,
    dump_reasoning,
    dump_text,
    is_foreign,
    load_block,
    load_object,
    overlay,
    own,
    wire_id,
    wire_name,
)
from podium.wire.anthropic_settings import (
    JSON_INSTRUCTION,
    Losses,
    ThinkingFields,
    dump_sampling,
    dump_thinking,
    dump_tool_choice,
    dump_tools,
    load_output,
    load_thinking,
    load_tool,
    load_tool_choice,
)
from podium.wire.codec import Dumped
from podium.wire.documents import Malformed, dump_json

VERSION = "2023-06-01"
"""The version of the API that this codec speaks: https://platform.claude.com/docs/en/api/versioning"""

_NUMBERS = {"max_tokens": (int,), "temperature": (int, float), "top_p": (int, float), "top_k": (int,)}
_TYPED = frozenset({"model", "messages", "stream", *_NUMBERS})
_HEADERS = frozenset({"betas", "anthropic-beta"})
_WIRE_ROLES = {"user": "user", "tool": "user", "assistant": "assistant"}


# --- Reading ---------------------------------------------------------------------------------------------------------


def load_request(body: bytes) -> Request:
    """Read a client's request; raises `RequestError` whose `param` is the path of what is wrong."""
    try:
        return _load(load_object(body))
    except Malformed as fault:
        raise RequestError(
            f"This is not a request to Anthropic's Messages API: {fault}.",
            param=fault.path or None,
            hint="See https://platform.claude.com/docs/en/api/messages/create.",
        ) from None


def _load(raw: dict[str, Any]) -> Request:
    model, messages, stream = raw.get("model"), raw.get("messages"), raw.get("stream")
    if type(model) is not str or not model:
        raise Malformed("model", "must be a model's name")
    if type(messages) is not list:
        raise Malformed("messages", "must be a list of messages")
    if type(raw.get("max_tokens")) is not int:
        raise Malformed("max_tokens", "must be a whole number")
    if stream is not None and type(stream) is not bool:
        raise Malformed("stream", "must be true or false")
    kept: dict[str, Any] = {key: value for key, value in raw.items() if key not in _TYPED and key[:1] != "$"}
    if odd := {key: value for key, value in raw.items() if key in _HEADERS or key[:1] == "$"}:
        kept["$keys"] = odd  # the body's own: in the extra these names mean headers and notes
        for key in _HEADERS:
            kept.pop(key, None)
    kept["$verbatim"] = True
    if "stream" in raw and not stream:
        kept["$stream"] = stream
    loaded: dict[str, Any] = {}
    if "system" in raw:
        loaded["system"] = _load_system(kept)
    if "tools" in raw:
        loaded["tools"] = _load_tools(kept)
    if type(choice := kept.get("tool_choice")) is dict and (typed := load_tool_choice(choice)):
        loaded["tool_choice"] = typed
        del kept["tool_choice"]
    _load_thought_and_form(kept, loaded)
    loaded["sampling"] = _load_sampling(raw, kept)
    loaded["messages"] = _load_messages(messages)
    return Request(model=model, stream=bool(stream), extra={NAME: kept}, **loaded)


def _load_system(kept: dict[str, Any]) -> tuple[Text | Opaque, ...]:
    system = kept["system"]
    if type(system) is str:
        del kept["system"]
        kept["$system"] = "string"
        return (Text(text=system, extra={} if system else own({"$empty": True})),)
    if type(system) is not list:
        if system is None:
            return ()
        raise Malformed("system", "must be a string or a list of text blocks")
    if system:
        del kept["system"]
    parts = [load_block(block, f"system.{at}") for at, block in enumerate(system)]
    return tuple(
        part if isinstance(part, Text | Opaque) else Opaque(dialect=NAME, data=block)
        for part, block in zip(parts, system, strict=True)
    )


def _load_tools(kept: dict[str, Any]) -> tuple[Tool | Opaque, ...]:
    tools = kept["tools"]
    if type(tools) is not list:
        if tools is None:
            return ()
        raise Malformed("tools", "must be a list of tools")
    if tools:
        del kept["tools"]
    return tuple(load_tool(tool, f"tools.{at}") for at, tool in enumerate(tools))


def _load_thought_and_form(kept: dict[str, Any], loaded: dict[str, Any]) -> None:
    """Take `thinking` and `output_config` apart; what has no typed field stays in `kept`."""
    config, effort = kept.get("output_config"), None
    if type(config) is dict:
        rest = dict(config)
        if type(effort := rest.get("effort")) is str:
            del rest["effort"]
        else:
            effort = None
        if output := load_output(rest.get("format")):
            loaded["output"] = output
            del rest["format"]
        if rest or not config:
            kept["output_config"] = rest
        else:
            del kept["output_config"]
    thinking = kept.get("thinking")
    if thinking is not None and type(thinking) is not dict:
        raise Malformed("thinking", "must be an object")
    if thinking is not None:
        del kept["thinking"]
    if (typed := load_thinking(thinking, effort)) is not None:
        loaded["thinking"] = typed


def _load_sampling(raw: dict[str, Any], kept: dict[str, Any]) -> Sampling:
    fields: dict[str, Any] = {}
    for name, types in _NUMBERS.items():
        value = raw.get(name)
        if value is not None:
            if type(value) not in types:
                raise Malformed(name, "must be a number")
            fields[name] = value
        elif name in raw:
            kept[name] = None
    stop = raw.get("stop_sequences")
    if stop is not None:
        if type(stop) is not list or not all(type(each) is str for each in stop):
            raise Malformed("stop_sequences", "must be a list of strings")
        if stop:
            fields["stop"] = tuple(kept.pop("stop_sequences"))
    metadata = raw.get("metadata")
    if type(metadata) is dict and type(metadata.get("user_id")) is str:
        rest = dict(metadata)
        fields["user"] = rest.pop("user_id")
        if rest:
            kept["metadata"] = rest
        else:
            del kept["metadata"]
    elif metadata is not None and type(metadata) is not dict:
        raise Malformed("metadata", "must be an object")
    if type(raw.get("service_tier")) is str:
        fields["service_tier"] = kept.pop("service_tier")
    return Sampling(**fields)


def _load_messages(raw: list[Any]) -> tuple[Message, ...]:
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
    if role != "user" or not any(isinstance(part, ToolResult) for part in parts):
        if not parts:
            kept["$content"] = "list"
        return [Message(role=role, parts=tuple(parts), extra=own(kept))]
    messages = []
    for results, run in groupby(parts, lambda part: isinstance(part, ToolResult)):
        messages.append(Message(role="tool" if results else "user", parts=tuple(run), extra=own(kept)))
        kept = {"$joined": True}
    return messages


# --- Writing ---------------------------------------------------------------------------------------------------------


def dump_request(request: Request, profile: Profile) -> Dumped:
    """Write a request for a provider; raises `UnrepresentableError`."""
    kept: dict[str, Any] = request.extra.get(NAME, {})
    verbatim = "$verbatim" in kept
    losses = Losses(request.strict)
    if request.extra:
        losses.add_foreign(request.extra, "")
    body: dict[str, Any] = {"model": request.model}
    limit = request.sampling.max_tokens
    thinking = dump_thinking(request, profile, verbatim, limit, losses)
    body |= dump_sampling(request, profile, thinking, verbatim, losses)
    turns = _Turns(profile, losses, verbatim)
    turns.add_all(request.messages)
    system = turns.system(request.system, kept)
    if request.stream:
        body["stream"] = True
    elif "$stream" in kept:
        body["stream"] = kept["$stream"]
    _dump_user(body, request.sampling.user, kept)
    _dump_form(body, request, profile, thinking, system, losses)
    if system:
        body["system"] = system[0]["text"] if _is_string(kept.get("$system"), system) else system
    body["messages"] = turns.dump()
    if not body["messages"] and not verbatim:
        raise UnrepresentableError("There is no message to answer.", param="messages", hint="Add a user message.")
    if request.tools:
        body["tools"] = dump_tools(request, profile, losses)
    if choice := dump_tool_choice(request, thinking.on, verbatim, losses):
        body["tool_choice"] = choice
    _dump_rest(body, kept)
    return Dumped(
        body=dump_json(body),
        path="/v1/messages",
        headers=_headers(kept),
        losses=tuple(losses.found),
        aliases=_aliases(request),
    )


def _is_string(note: Any, blocks: list[dict[str, Any]]) -> bool:
    return note == "string" and len(blocks) == 1 and len(blocks[0]) == 2 and blocks[0]["type"] == "text"


def _dump_user(body: dict[str, Any], user: str | None, kept: dict[str, Any]) -> None:
    if user is not None:
        body["metadata"] = {**(kept.get("metadata") or {}), "user_id": user}


def _dump_form(
    body: dict[str, Any],
    request: Request,
    profile: Profile,
    thinking: ThinkingFields,
    system: list[dict[str, Any]],
    losses: Losses,
) -> None:
    """Write `thinking` and `output_config`; a form that Anthropic cannot hold the answer to becomes an instruction."""
    if thinking.thinking is not None:
        body["thinking"] = thinking.thinking
    config: dict[str, Any] = {} if thinking.effort is None else {"effort": thinking.effort}
    output = request.output
    if output is not None and output.kind != "text":
        losses.add_foreign(output.extra, "output.")
        if output.kind == "json_schema" and "output.json_schema" not in profile.refuses:
            said = {"type": "json_schema", "schema": output.schema or {"type": "object"}}
            config["format"] = overlay(said, output.extra.get(NAME))
            if output.description:
                losses.add("output.description", "Anthropic's output format has no description.")
        else:
            instruction = JSON_INSTRUCTION
            if output.schema is not None:
                instruction += f"\nThe object must satisfy this JSON Schema:\n{dump_json(output.schema).decode()}"
            system.append({"type": "text", "text": instruction})
            losses.add("output.kind", f"This model has no output of the kind {output.kind}; the system prompt asks for it.")
    rest = request.extra.get(NAME, {}).get("output_config")
    if config:
        body["output_config"] = {**rest, **config} if type(rest) is dict else config


def _dump_rest(body: dict[str, Any], kept: dict[str, Any]) -> None:
    """Add what no typed field says; where both say something, the typed field is right."""
    for key, value in kept.items():
        if key == "$keys":
            body |= value
        elif key[:1] != "$" and key not in body and key not in _HEADERS:
            body[key] = value


def _headers(kept: dict[str, Any]) -> dict[str, str]:
    headers = {"anthropic-version": VERSION}
    betas = kept.get("betas") or kept.get("anthropic-beta") or kept.get("$betas")
    if type(betas) is list and all(type(each) is str for each in betas):
        betas = ",".join(betas)
    if type(betas) is str and betas:
        headers["anthropic-beta"] = betas
    return headers


def _aliases(request: Request) -> dict[str, str]:
    """Return the tool names that had to be rewritten: alias -> the caller's name."""
    aliases: dict[str, str] = {}
    for tool in request.tools:
        if isinstance(tool, Tool) and (alias := wire_name(tool.name)) != tool.name and "name" not in tool.extra.get(NAME, {}):
            aliases[alias] = tool.name
    return aliases


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
            content = sorted(content, key=lambda block: block["type"] != "tool_result")
        if "$content" in self.kept and _is_string(self.kept["$content"], content):
            content = content[0]["text"]
        return overlay({"role": self.role, "content": content}, self.kept)


class _Turns:
    """Gathers a conversation's messages into turns of the wire."""

    def __init__(self, profile: Profile, losses: Losses, verbatim: bool) -> None:
        self._profile = profile
        self._losses = losses
        self._turns: list[_Turn] = []
        self._leading: list[dict[str, Any]] = []

    def add_all(self, messages: tuple[Message, ...]) -> None:
        """Take all messages, in their order."""
        lead = 0
        while lead < len(messages) and _is_system(messages[lead]):
            lead += 1
        if lead and lead == len(messages):
            lead -= 1  # nothing would be left to answer: the last one stays in its place
        for at, message in enumerate(messages):
            if message.extra:
                self._losses.add_foreign(message.extra, f"messages[{at}].")
            blocks = self._blocks(message, at)
            if at < lead:
                self._leading += blocks
            elif _is_system(message):
                self._add_system(blocks, messages, at)
            else:
                self._add(_WIRE_ROLES.get(message.role, "system"), blocks, message.extra.get(NAME, {}))

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
        marked = [
            {**block, "text": f"<system>\n{block['text']}\n</system>"} if block["type"] == "text" else block for block in blocks
        ]
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
        if extra and not isinstance(part, Reasoning):
            self._losses.add_foreign(extra, f"{path}.")
        match part:
            case Text():
                return [dump_text(part)] if part.text or "$empty" in extra.get(NAME, {}) else []
            case ToolCall():
                return [dump_call(part, path)]
            case ToolResult():
                return [self._result(part, path)]
            case Media():
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
            block["content"] = content[0]["text"] if _is_string(kept.get("$content"), content) else content
        if part.is_error:
            block["is_error"] = True
        return overlay(block, kept)


def _is_system(message: Message) -> bool:
    return message.role in ("system", "developer") and "$inline" not in message.extra.get(NAME, {})
