"""Bodies and streams on their way from one dialect to the other, for tests."""

from __future__ import annotations

import json
from typing import Any

from podium.errors import PodiumError
from podium.sim import rules_anthropic, rules_openai
from podium.types import Event, Failed, Profile, Request, fold
from podium.wire.codec import codec, restore_names
from podium.wire.sse import Parser

CHAT, ANTHROPIC = codec("openai_chat"), codec("anthropic")

_STANDS_FOR = {True: "claude-opus-4-8", False: "claude-sonnet-4-0"}

PLAIN = Profile()
"""A model of which nothing is known."""


def user(content: Any) -> dict[str, Any]:
    """Return a user's message, in either dialect."""
    return {"role": "user", "content": content}


def assistant(content: Any, **members: Any) -> dict[str, Any]:
    """Return an assistant's message, in either dialect."""
    return {"role": "assistant", "content": content, **members}


HI = user("hi")


def chat_call(identity: str, name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    """Return a tool call as Chat writes it."""
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def chat_result(identity: str, content: Any = "ok", **members: Any) -> dict[str, Any]:
    """Return a tool's message as Chat writes it."""
    return {"role": "tool", "tool_call_id": identity, "content": content, **members}


def chat_tool(name: str = "f", **members: Any) -> dict[str, Any]:
    """Return a tool as Chat writes it."""
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}, **members}}


def use(identity: str, name: str = "f", **arguments: Any) -> dict[str, Any]:
    """Return a tool call as Anthropic writes it."""
    return {"type": "tool_use", "id": identity, "name": name, "input": arguments}


def result(identity: str, content: Any = "ok", **members: Any) -> dict[str, Any]:
    """Return a tool's result as Anthropic writes it."""
    return {"type": "tool_result", "tool_use_id": identity, "content": content, **members}


class Crossed:
    """A request as it was written in the other dialect, which must be one that its vendor's simulation takes."""

    def __init__(self, request: Request, target: str, profile: Profile) -> None:
        dumped = codec(target).dump_request(request, profile)
        self.body: dict[str, Any] = json.loads(dumped.body)
        self.lost = [loss.setting for loss in dumped.losses]
        self.aliases = dumped.aliases
        self.raw = dumped.body
        if target == "anthropic":
            rules_anthropic.check({**self.body, "model": _STANDS_FOR[profile.inline_system]}, own_thoughts=False)
        else:
            rules_openai.check(self.body, strict=False)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of the body."""
        messages: list[dict[str, Any]] = self.body["messages"]
        return messages


def to_anthropic(*messages: Any, profile: Profile = PLAIN, strict: bool = False, **members: Any) -> Crossed:
    """Write a Chat request for Anthropic."""
    body = {"model": "m", "messages": list(messages) or [HI], **members}
    return Crossed(CHAT.load_request(json.dumps(body).encode()).replace(strict=strict), "anthropic", profile)


def to_chat(*messages: Any, profile: Profile = PLAIN, strict: bool = False, **members: Any) -> Crossed:
    """Write an Anthropic request for Chat."""
    body = {"model": "m", "max_tokens": 4096, "messages": list(messages) or [HI], **members}
    return Crossed(ANTHROPIC.load_request(json.dumps(body).encode()).replace(strict=strict), "openai_chat", profile)


def same(dialect: str, profile: Profile, *messages: Any, **members: Any) -> Crossed:
    """Write a request for a model of its own dialect."""
    needed = {"max_tokens": 4096} if dialect == "anthropic" else {}
    body = {"model": "m", **needed, "messages": list(messages) or [HI], **members}
    return Crossed(codec(dialect).load_request(json.dumps(body).encode()), dialect, profile)


# --- Answers ---------------------------------------------------------------------------------------------------------


def chat_answer(message: dict[str, Any], finish: str | None = "stop", **members: Any) -> dict[str, Any]:
    """Return a whole answer of Chat."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt", "choices": [choice], **members}


def anthropic_answer(*blocks: Any, stop: str | None = "end_turn", usage: Any = None) -> dict[str, Any]:
    """Return a whole answer of Anthropic's."""
    counts = usage or {"input_tokens": 1, "output_tokens": 2}
    named = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": list(blocks)}
    return {**named, "stop_reason": stop, "stop_sequence": None, "usage": counts}


def answer(source: str, target: str, document: Any, aliases: dict[str, str] | None = None) -> dict[str, Any]:
    """Give a whole answer of one dialect to a client of the other."""
    events = [restore_names(event, aliases or {}) for event in codec(source).load_response(json.dumps(document).encode())]
    written: dict[str, Any] = json.loads(codec(target).dump_response(fold(events)))
    return written


def read(dialect: str, data: bytes) -> list[Event]:
    """Read a stream whole."""
    reader = codec(dialect).reader()
    return [*reader.feed(data), *reader.close()]


def chat_stream(*chunks: Any, done: bool = True) -> bytes:
    """Return the bytes of a Chat stream: dicts are deltas of the first choice, or whole chunks where they have `choices`."""
    written = b""
    for chunk in chunks:
        whole = chunk if "choices" in chunk or "error" in chunk else {"choices": [{"index": 0, "delta": chunk}]}
        written += b"data: %b\n\n" % json.dumps({"id": "c", "model": "gpt", "created": 1, **whole}).encode()
    return written + (b"data: [DONE]\n\n" if done else b"")


def ended(reason: str, **members: Any) -> dict[str, Any]:
    """Return a chunk with the end of the first choice."""
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], **members}


def anthropic_stream(*events: dict[str, Any], stop: str = "end_turn", whole: bool = True, usage: Any = None) -> bytes:
    """Return the bytes of an Anthropic stream: its beginning, these events, its end."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
    counts = usage or {"input_tokens": 3, "output_tokens": 1}
    begun: dict[str, Any] = {
        "type": "message_start",
        "message": {**message, "stop_reason": None, "stop_sequence": None, "usage": counts},
    }
    delta = {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 5}}
    last: list[dict[str, Any]] = [delta, {"type": "message_stop"}] if whole else []
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode()) for event in [begun, *events, *last]
    )


def block(index: int, shell: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events of one block of an Anthropic stream."""
    return [
        {"type": "content_block_start", "index": index, "content_block": shell},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def written(target: str, events: list[Event], **members: Any) -> list[dict[str, Any]]:
    """Write events for a client, whose request has these members, and parse what it gets; `[DONE]` is left as `{}`."""
    needed = {"max_tokens": 9} if target == "anthropic" else {}
    asked = codec(target).load_request(json.dumps({"model": "m", "messages": [HI], **needed, **members}).encode())
    writer = codec(target).writer(asked)
    parser = Parser()
    found = parser.feed(b"".join(writer.send(event) for event in events))
    return [{} if data == b"[DONE]" else json.loads(data) for _, data in found]


def failure_of(events: list[Event]) -> PodiumError:
    """Return the error that a stream ended with."""
    last = events[-1]
    assert isinstance(last, Failed)
    return last.error
