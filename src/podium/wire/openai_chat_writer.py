"""Streamed answers of OpenAI Chat, written for a client.

Theory. Each event becomes at most one chunk; a chunk is the envelope, which is encoded once, and a choice.

Rules.
- One id, one model and one creation time a stream; every choice begins with its role.
- Tool calls are numbered from 0 within their choice, whatever parts stand between them.
- The usage chunk (`choices: []`) comes only where the client asked for it; then every other chunk says `usage: null`.
- A `Failed` becomes an `error` object, and neither a finish reason nor `[DONE]` follows.
- Reasoning is written as `reasoning_content` and `reasoning_details`; what only another dialect knows goes into the latter.
"""

from __future__ import annotations

from typing import Any

from podium.types import (
    Event,
    Failed,
    Finished,
    Media,
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
)
from podium.wire.documents import dump_json
from podium.wire.openai_chat_answer import dump_message_parts
from podium.wire.openai_chat_errors import error_object
from podium.wire.openai_chat_parts import dump_tool_call, noted, spoken
from podium.wire.openai_chat_request import wants_usage
from podium.wire.openai_chat_response import dump_envelope
from podium.wire.openai_chat_usage import dump_reason, dump_usage


class ChatWriter:
    """Writes one streamed answer: `send` each event."""

    __slots__ = ("_begun", "_calls", "_envelope", "_open", "_tail", "_usage")

    def __init__(self, request: Request) -> None:
        self._usage = wants_usage(request)
        self._tail = b',"usage":null}\n\n' if self._usage else b"}\n\n"
        self._envelope = b'data: {"id":"","object":"chat.completion.chunk","created":0,"model":""'
        self._begun: set[int] = set()
        self._calls: dict[int, int] = {}
        self._open: dict[int, Part] = {}

    def send(self, event: Event) -> bytes:
        """Return the bytes that say this event, or none where the dialect has nothing to say."""
        match event:
            case PartDelta():
                return self._send_delta(event)
            case PartStart():
                self._open[event.choice] = event.part
                return self._begin(event.choice) + self._send_start(event)
            case PartEnd():
                return self._send_end(event)
            case Started():
                self._envelope = b"data: " + dump_json(dump_envelope(event, "chat.completion.chunk"))[:-1]
                return self._begin(0)
            case Finished():
                return self._send_finished(event)
            case Failed():
                return b"data: " + dump_json({"error": error_object(event.error)}) + b"\n\n"

    def _chunk(self, choice: int, delta: dict[str, Any], **members: Any) -> bytes:
        body = dump_json({"index": choice, "delta": delta, "finish_reason": None, **members})
        return b'%b,"choices":[%b]%b' % (self._envelope, body, self._tail)

    def _begin(self, choice: int) -> bytes:
        if choice in self._begun:
            return b""
        self._begun.add(choice)
        return self._chunk(choice, {"role": "assistant", "content": ""})

    def _send_start(self, event: PartStart) -> bytes:
        part = event.part
        own = noted(part.extra)
        match part:
            case ToolCall() if "$legacy" not in own:
                number = self._calls.get(event.choice, -1) + 1
                self._calls[event.choice] = number
                call = dump_tool_call(part, part.id, answered=True)
                call["function"]["arguments"] = part.arguments
                return self._chunk(event.choice, {"tool_calls": [{**call, "index": number}]})
            case Text():
                delta = {"content": part.text} if part.text else {}
            case Reasoning() if "$tags" in own:
                delta = {"content": own["$tags"][0] + part.text + "".join(own["$tags"][1:])}
            case Reasoning() if "$thinking" in own or not part.text:
                delta = self._reasoning(part, part.text)
            case ToolResult():
                delta = {}
            case _:
                message = dump_message_parts([part], {"$content": "absent"}, "parts", answered=True, identity=str)
                delta = {key: value for key, value in message.items() if key != "role"}
        members = {"logprobs": own["$logprobs"]} if "$logprobs" in own else {}
        return self._chunk(event.choice, delta, **members) if delta or members else b""

    def _reasoning(self, part: Reasoning, text: str) -> dict[str, Any]:
        own = noted(part.extra)
        if "$thinking" in own:
            item = {**spoken(part.extra), "type": "thinking", "thinking": [{"type": "text", "text": text}]}
            return {"content": [item]} if text or len(item) > 2 else {}
        if not text:
            shell = dump_message_parts([part], {"$content": "absent"}, "parts", answered=True, identity=str)
            return {"reasoning_details": shell["reasoning_details"]} if "reasoning_details" in shell else {}
        delta: dict[str, Any] = dict.fromkeys(own.get("$fields", ("reasoning_content",)), text)
        if "$fields" not in own:
            delta["reasoning_details"] = [{"type": "reasoning.text", "text": text, "index": 0}]
        return delta

    def _send_delta(self, event: PartDelta) -> bytes:
        part = self._open.get(event.choice)
        own = noted(event.extra)
        text = event.text
        delta: dict[str, Any] = {}
        match part:
            case Text():
                delta = {"content": text} if text else {}
            case ToolCall() if "$legacy" in noted(part.extra):
                delta = {"function_call": {"arguments": text}}
            case ToolCall():
                call = {key: value for key, value in own.items() if not key.startswith("$")} if own else {}
                if text or call:
                    function = {**call.get("function", {}), "arguments": text}
                    delta = {"tool_calls": [{"index": self._calls.get(event.choice, 0), **call, "function": function}]}
            case Reasoning() if "$tags" in noted(part.extra):
                delta = {"content": text} if text else {}
            case Reasoning():
                delta = self._grow_reasoning(part, text, event)
            case Refusal():
                delta = {"refusal": text} if text else {}
            case Media():
                delta = {"audio": fragment} if (fragment := (own.get("$audio") or [None])[0]) else {}
        members = {"logprobs": own["$logprobs"]} if "$logprobs" in own else {}
        return self._chunk(event.choice, delta, **members) if delta or members else b""

    def _grow_reasoning(self, part: Reasoning, text: str, event: PartDelta) -> dict[str, Any]:
        delta = self._reasoning(part, text) if text else {}
        if details := noted(event.extra).get("$details"):
            delta["reasoning_details"] = details
        return delta | self._foreign(event)

    def _foreign(self, event: PartDelta | PartEnd) -> dict[str, Any]:
        """Write what another dialect adds to a reasoning part while it streams (a signature)."""
        if not event.extra:
            return {}
        return self._reasoning(
            Reasoning(extra={name: members for name, members in event.extra.items() if name != "openai_chat"}), ""
        )

    def _send_end(self, event: PartEnd) -> bytes:
        part = self._open.pop(event.choice, None)
        if not event.extra or not isinstance(part, Reasoning):
            return b""
        tags = noted(event.extra).get("$tags")
        delta = {"content": tags[0]} if tags and tags[0] else self._foreign(event)
        return self._chunk(event.choice, delta) if delta else b""

    def _send_finished(self, event: Finished) -> bytes:
        pieces: list[bytes] = []
        for finish in event.finishes:
            members = {key: value for key, value in noted(finish.extra).items() if not key.startswith("$") and key != "message"}
            members["finish_reason"] = dump_reason(finish.reason, finish.raw)
            pieces += (self._begin(finish.choice), self._chunk(finish.choice, {}, **members))
        if self._usage and event.usage is not None:
            pieces.append(b'%b,"choices":[],"usage":%b}\n\n' % (self._envelope, dump_json(dump_usage(event.usage))))
        pieces.append(b"data: [DONE]\n\n")
        return b"".join(pieces)
