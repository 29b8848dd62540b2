"""Streamed answers of OpenAI Chat, written for a client.

Theory. Each event becomes at most one chunk; a chunk is the envelope, which is encoded once, and a choice.

Rules.
- One id, one model and one creation time a stream; every choice begins with its role.
- Tool calls are numbered from 0 within their choice, whatever parts stand between them.
- The usage chunk (`choices: []`) comes only where the client asked for it; then every other chunk says `usage: null`.
- A `Failed` becomes an `error` object, and neither a finish reason nor `[DONE]` follows.
- Reasoning is written as `reasoning_content` and `reasoning_details`; what only another dialect knows goes into the latter, in
  items of its own, each with its `index`: the official client joins the pieces of a list by it, and fails without.
- A client that asked with `functions` gets its call as `function_call`.
"""

from __future__ import annotations

from typing import Any

from podium.types import (
    Event,
    Extra,
    Failed,
    Finished,
    Media,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Refusal,
    Request,
    Started,
    Text,
    ToolCall,
    ToolResult,
    merge_extra,
)
from podium.wire.documents import dump_json
from podium.wire.openai_chat_answer import dump_message_parts
from podium.wire.openai_chat_carried import carry, text_item
from podium.wire.openai_chat_errors import error_object
from podium.wire.openai_chat_parts import NAME, dump_tool_call, noted, spoken
from podium.wire.openai_chat_request import wants_usage
from podium.wire.openai_chat_response import dump_envelope
from podium.wire.openai_chat_tools import as_function_call, is_legacy
from podium.wire.openai_chat_usage import dump_reason, dump_usage


class ChatWriter:
    """Writes one streamed answer: `send` each event."""

    __slots__ = (
        *("_begun", "_calls", "_details", "_envelope", "_extras", "_functions", "_legacy", "_open", "_tail", "_thought"),
        "_usage",
    )

    def __init__(self, request: Request) -> None:
        self._usage = wants_usage(request)
        self._legacy = is_legacy(request)
        self._tail = b',"usage":null}\n\n' if self._usage else b"}\n\n"
        self._envelope = b'data: {"id":"","object":"chat.completion.chunk","created":0,"model":""'
        self._begun: set[int] = set()
        self._calls: dict[int, int] = {}
        self._functions: set[int] = set()
        """The choices whose call was written as the legacy `function_call`."""
        self._details: dict[int, int] = {}
        """By choice: how many items of `reasoning_details` have begun."""
        self._thought: dict[int, int] = {}
        """By choice: the index of the item that the open thought's text goes into."""
        self._open: dict[int, Part] = {}
        self._extras: dict[int, Extra] = {}
        """By choice: what other dialects added to the open part."""

    def send(self, event: Event) -> bytes:
        """Return the bytes that say this event, or none where the dialect has nothing to say."""
        match event:
            case PartDelta():
                return self._send_delta(event)
            case PartStart():
                part = self._open[event.choice] = self._fit(event)
                return self._begin(event.choice) + self._send_start(event.choice, part)
            case PartEnd():
                return self._send_end(event)
            case Started():
                self._envelope = b"data: " + dump_json(dump_envelope(event, "chat.completion.chunk"))[:-1]
                return self._begin(0)
            case Finished():
                return self._send_finished(event)
            case Failed():
                return b"data: " + dump_json({"error": error_object(event.error)}) + b"\n\n"

    def _fit(self, event: PartStart) -> Part:
        part = event.part
        if not isinstance(part, ToolCall):
            return part
        if self._legacy and event.choice not in self._functions:
            part = as_function_call(part)
        if "$legacy" in noted(part.extra):
            self._functions.add(event.choice)
        return part

    def _chunk(self, choice: int, delta: dict[str, Any], **members: Any) -> bytes:
        body = dump_json({"index": choice, "delta": delta, "finish_reason": None, **members})
        return b'%b,"choices":[%b]%b' % (self._envelope, body, self._tail)

    def _begin(self, choice: int) -> bytes:
        if choice in self._begun:
            return b""
        self._begun.add(choice)
        return self._chunk(choice, {"role": "assistant", "content": ""})

    def _send_start(self, choice: int, part: Part) -> bytes:
        own = noted(part.extra)
        match part:
            case ToolCall() if "$legacy" not in own:
                number = self._calls.get(choice, -1) + 1
                self._calls[choice] = number
                call = dump_tool_call(part, part.id, answered=True)
                call["function"]["arguments"] = part.arguments
                return self._chunk(choice, {"tool_calls": [{**call, "index": number}]})
            case Text():
                delta = {"content": part.text} if part.text else {}
            case Reasoning() if "$tags" in own:
                delta = {"content": own["$tags"][0] + part.text + "".join(own["$tags"][1:])}
            case Reasoning() if "$thinking" in own or not own or not part.text:
                delta = self._reasoning(choice, part, part.text)
            case Opaque() if part.dialect != NAME:
                delta = self._items(choice, carry(part))
            case ToolResult():
                delta = {}
            case _:
                message = dump_message_parts([part], {"$content": "absent"}, "parts", answered=True, identity=str)
                delta = {key: value for key, value in message.items() if key != "role"}
        members = {"logprobs": own["$logprobs"]} if "$logprobs" in own else {}
        return self._chunk(choice, delta, **members) if delta or members else b""

    def _reasoning(self, choice: int, part: Reasoning, text: str) -> dict[str, Any]:
        own = noted(part.extra)
        if "$thinking" in own:
            item = {**spoken(part.extra), "type": "thinking", "thinking": [{"type": "text", "text": text}]}
            return {"content": [item]} if text or len(item) > 2 else {}
        if not text:
            return {"reasoning_details": details} if (details := own.get("reasoning_details")) else {}
        delta: dict[str, Any] = dict.fromkeys(own.get("$fields", ("reasoning_content",)), text)
        if "$fields" not in own:
            if choice not in self._thought:
                self._thought[choice] = self._count(choice)
            delta["reasoning_details"] = [{**text_item(text), "index": self._thought[choice]}]
        return delta

    def _count(self, choice: int) -> int:
        at = self._details.get(choice, 0)
        self._details[choice] = at + 1
        return at

    def _items(self, choice: int, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Write items that are whole; each has an index of its own, by which clients join the pieces of a stream."""
        indexed = [{**item, "index": self._count(choice)} for item in items]
        return {"reasoning_details": indexed} if indexed else {}

    def _send_delta(self, event: PartDelta) -> bytes:
        part = self._open.get(event.choice)
        own = noted(event.extra)
        text = event.text
        delta: dict[str, Any] = {}
        match part:
            case Text():
                delta = {"content": text} if text else {}
            case ToolCall() if "$legacy" in noted(part.extra):
                delta = {"function_call": {"arguments": text}} if text else {}
            case ToolCall():
                call = {key: value for key, value in own.items() if not key.startswith("$")} if own else {}
                if text or call:
                    function = {**call.get("function", {}), "arguments": text}
                    delta = {"tool_calls": [{"index": self._calls.get(event.choice, 0), **call, "function": function}]}
            case Reasoning() if "$tags" in noted(part.extra):
                delta = {"content": text} if text else {}
            case Reasoning():
                delta = self._reasoning(event.choice, part, text) if text else {}
                if details := own.get("$details"):
                    delta["reasoning_details"] = details
            case Refusal():
                delta = {"refusal": text} if text else {}
            case Media():
                delta = {"audio": fragment} if (fragment := (own.get("$audio") or [None])[0]) else {}
        if event.extra and isinstance(part, Reasoning | ToolCall):
            self._keep(event.choice, event.extra)
        members = {"logprobs": own["$logprobs"]} if "$logprobs" in own else {}
        return self._chunk(event.choice, delta, **members) if delta or members else b""

    def _keep(self, choice: int, extra: Extra) -> None:
        foreign = {dialect: members for dialect, members in extra.items() if dialect != NAME}
        if foreign:
            self._extras[choice] = merge_extra(self._extras.get(choice, {}), foreign)

    def _send_end(self, event: PartEnd) -> bytes:
        part = self._open.pop(event.choice, None)
        self._thought.pop(event.choice, None)
        if not isinstance(part, Reasoning | ToolCall):
            return b""
        if event.extra:
            self._keep(event.choice, event.extra)
        extra = merge_extra(part.extra, self._extras.pop(event.choice, {}))
        tags = noted(event.extra).get("$tags")
        if isinstance(part, Reasoning) and tags and tags[0]:
            return self._chunk(event.choice, {"content": tags[0]})
        delta = self._items(event.choice, carry(part, extra))
        return self._chunk(event.choice, delta) if delta else b""

    def _send_finished(self, event: Finished) -> bytes:
        pieces: list[bytes] = []
        for finish in event.finishes:
            members = {key: value for key, value in noted(finish.extra).items() if not key.startswith("$") and key != "message"}
            raw = "function_call" if finish.reason == "tool_calls" and finish.choice in self._functions else finish.raw
            members["finish_reason"] = dump_reason(finish.reason, raw)
            pieces += (self._begin(finish.choice), self._chunk(finish.choice, {}, **members))
        if self._usage and event.usage is not None:
            pieces.append(b'%b,"choices":[],"usage":%b}\n\n' % (self._envelope, dump_json(dump_usage(event.usage))))
        pieces.append(b"data: [DONE]\n\n")
        return b"".join(pieces)
