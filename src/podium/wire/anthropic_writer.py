"""Anthropic's streamed answers, written.

Theory. The events of an answer become the stream that Anthropic would have sent: each part a block, its text in deltas, its
signature and its citations in deltas of their own.

Rules.
- Blocks are numbered from 0 as they begin, and never interleave: what still stands open is closed before the next begins.
- Reasoning of another origin gets Podium's mark as its signature, once the part's extra is whole.
- `message_start` has the counts that the provider gave there, else zeros; `message_delta` has them all.
- An answer that failed ends with the event `error` and has no `message_stop`.

https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from typing import Any

from podium.errors import UnrepresentableError
from podium.types import (
    Event,
    Extra,
    Failed,
    Finished,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Refusal,
    Started,
    Text,
    ToolCall,
    merge_extra,
)
from podium.wire.anthropic_blocks import NAME, NAME_LIMIT, carry, dump_mark, overlay, wire_id
from podium.wire.anthropic_errors import dump_body
from podium.wire.anthropic_response import UNSAID_COUNTS, dump_finish, dump_part, dump_started, dump_usage
from podium.wire.documents import dump_json
from podium.wire.tool_names import fit_name

_BEGUN: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}


def _event(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), dump_json({**fields, "type": kind}))


class Writer:
    """Writes one streamed answer."""

    def __init__(self) -> None:
        self._next = 0
        self._part: Part | None = None
        self._extra: Extra = {}
        self._carried = False
        self._ended = False

    def send(self, event: Event) -> bytes:
        """Return the bytes that say this event; raises `UnrepresentableError` for what Anthropic's streams cannot hold."""
        if self._ended:
            return b""
        match event:
            case PartDelta():
                return self._delta(event)
            case PartStart():
                return self._close() + self._begin(event)
            case PartEnd():
                self._extra = merge_extra(self._extra, event.extra)
                return self._close()
            case Started():
                return self._start(event)
            case Finished():
                return self._finish(event)
            case Failed():
                self._ended = True
                return b"event: error\ndata: %b\n\n" % dump_json(dump_body(event.error))

    def _start(self, event: Started) -> bytes:
        usage = event.extra.get(NAME, {}).get("$usage") or {
            "input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
            **UNSAID_COUNTS,
        }
        return _event("message_start", {"message": {**dump_started(event), **_BEGUN, "usage": usage}})

    def _begin(self, event: PartStart) -> bytes:
        if event.choice:
            raise UnrepresentableError("Anthropic's streams hold one choice.", param="n", hint="Ask for one answer (n=1).")
        part = self._part = event.part
        self._extra = part.extra
        written = self._carry(part)
        self._carried = bool(written)
        index = self._next
        self._next += 1
        kept = part.extra.get(NAME)
        begun: dict[str, Any] | None
        match part:
            case Text() | Refusal():
                begun = overlay({"type": "text", "text": ""}, kept)
                begun |= {"text": ""}
                if type(begun.get("citations")) is list:
                    begun["citations"] = []
            case Reasoning() if kept is None or kept.get("$type") != "redacted_thinking":
                begun = overlay({"type": "thinking", "thinking": ""}, kept) | {"thinking": "", "signature": ""}
            case ToolCall():
                begun = {"type": "tool_use", "id": wire_id(part.id), "name": fit_name(part.name, NAME_LIMIT), "input": {}}
                overlay(begun, kept)
            case _:
                begun = dump_part(part, f"content.{index}")
        written += _event("content_block_start", {"index": index, "content_block": begun})
        text = part.arguments if isinstance(part, ToolCall) else getattr(part, "text", "")
        if text:
            written += self._text(text)
        if isinstance(part, Text) and kept and type(citations := kept.get("citations")) is list:
            written += self._citations(citations)
        return written

    def _carry(self, part: Part) -> bytes:
        """Return the block that brings back what other dialects say of a call, if they say anything."""
        if not isinstance(part, ToolCall) or not part.extra or (carrier := carry(part)) is None:
            return b""
        index = self._next
        self._next += 1
        return _event("content_block_start", {"index": index, "content_block": carrier}) + _event(
            "content_block_stop", {"index": index}
        )

    def _text(self, text: str) -> bytes:
        part = self._part
        if isinstance(part, Text | Refusal):
            kind, key = "text_delta", "text"
        elif isinstance(part, Reasoning):
            kind, key = "thinking_delta", "thinking"
        else:
            kind, key = "input_json_delta", "partial_json"
        return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}\n\n' % (
            self._next - 1,
            dump_json({"type": kind, key: text}),
        )

    def _raw_delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": self._next - 1, "delta": delta})

    def _citations(self, citations: list[Any]) -> bytes:
        return b"".join(self._raw_delta({"type": "citations_delta", "citation": each}) for each in citations)

    def _delta(self, event: PartDelta) -> bytes:
        written = self._text(event.text) if event.text else b""
        if event.extra:
            self._extra = merge_extra(self._extra, event.extra)
            citations = event.extra.get(NAME, {}).get("citations")
            if type(citations) is list and isinstance(self._part, Text):
                written += self._citations(citations)
        return written

    def _close(self) -> bytes:
        """Return the end of the block that stands open, its signature before it."""
        part, self._part = self._part, None
        if part is None:
            return b""
        written = b""
        kept = self._extra.get(NAME, {})
        if isinstance(part, Reasoning) and kept.get("$type") != "redacted_thinking":
            signature = kept.get("signature", "") if NAME in self._extra else dump_mark(self._extra)
            if signature:
                written = self._raw_delta({"type": "signature_delta", "signature": signature})
        for delta in kept.get("$deltas", ()):
            if "type" in delta:
                written += self._raw_delta(delta)
        written += _event("content_block_stop", {"index": self._next - 1})
        if isinstance(part, ToolCall) and not self._carried:  # what came late follows the call
            written += self._carry(part.replace(extra=self._extra))
        return written

    def _finish(self, event: Finished) -> bytes:
        self._ended = True
        if len(event.finishes) != 1:
            raise UnrepresentableError("Anthropic's streams hold one choice.", param="n", hint="Ask for one answer (n=1).")
        kept = event.extra.get(NAME, {})
        fields = overlay({}, kept) | {"delta": dump_finish(event.finishes[0]), "usage": dump_usage(event.usage)}
        return self._close() + _event("message_delta", fields) + _event("message_stop", kept.get("$stop", {}))
