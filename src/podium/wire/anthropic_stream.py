"""Anthropic's streamed answers, read.

Theory. A stream is `message_start`, then blocks one after the other (start, deltas, stop), then `message_delta` with the end
and the final counts, then `message_stop`. Each block is a part. A block that only Anthropic knows is given when it is whole,
since nobody else can use a piece of it.

Rules.
- The counts of `message_delta` are totals: they overwrite those of `message_start`, field by field.
- A tool call without arguments has the arguments `{}`, whether its delta was empty or missing.
- Pings say nothing. A second, equal `message_start` says nothing. What is unknown is kept: an unknown delta in its part's
  `$deltas`, an unknown event in `$events` of the end.
- Anything that contradicts the order, or an end of bytes before `message_stop`, is `Failed(ProtocolBroken)`.

https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from typing import Any

from podium.errors import ProtocolBroken, ProviderError
from podium.types import (
    Event,
    Failed,
    Finish,
    Finished,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Text,
    ToolCall,
    Usage,
)
from podium.wire.anthropic_blocks import NAME, encode, load_block, own
from podium.wire.anthropic_errors import load_error
from podium.wire.anthropic_response import load_finish, load_started, load_usage
from podium.wire.documents import Malformed, dump_json, load_json
from podium.wire.sse import Parser

_BEGUN: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
"""What `message_start` says of an answer that has only begun."""


_PIECES: dict[str, tuple[type[Part] | None, str]] = {
    "text_delta": (Text, "text"),
    "thinking_delta": (Reasoning, "thinking"),
    "input_json_delta": (ToolCall, "partial_json"),
}
"""Deltas that add to a part's text: of which part, and under which name."""

_NONE: tuple[type[Part] | None, str] = (None, "")


class _Open:
    """A block that has begun and not ended."""

    __slots__ = ("block", "deltas", "index", "json", "part", "wire")

    def __init__(self, wire: Any, index: int, part: Part, block: dict[str, Any]) -> None:
        self.wire = wire
        self.index = index
        self.part = part
        self.block = block
        self.json: list[str] = []
        self.deltas: list[Any] = []


class Reader:
    """Reads one streamed answer."""

    def __init__(self) -> None:
        self._parser = Parser()
        self._ended = False
        self._start: dict[str, Any] | None = None
        self._open: _Open | None = None
        self._parts = 0
        self._usage: dict[str, Any] | None = None
        self._end: dict[str, Any] = {}
        self._finish: Finish | None = None
        self._strange: list[Any] = []
        self._steps = {
            "message_start": self._message_start,
            "content_block_start": self._block_start,
            "content_block_delta": self._block_delta,
            "content_block_stop": self._block_stop,
            "message_delta": self._message_delta,
            "message_stop": self._message_stop,
            "error": self._error,
            "ping": self._ping,
        }

    @property
    def usage(self) -> Usage | None:
        """What the provider has said of its counts so far: what went in from message_start on; None: nothing."""
        return load_usage(self._usage)

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes, split anywhere, and return the events that they complete."""
        return [] if self._ended else self._take(self._parser.feed(data))

    def close(self) -> list[Event]:
        """Say that no more bytes come; return `Failed` if the answer had not ended."""
        if self._ended:
            return []
        events = self._take(self._parser.close())
        if not self._ended:
            events.append(self._failed(self._cut()))
        return events

    def _cut(self) -> ProviderError:
        stray = b"\n".join(self._parser.stray)
        if self._start is None and stray.lstrip().startswith(b"{"):
            try:
                document = load_json(stray)
            except Malformed:
                document = None
            if type(document) is dict and "error" in document:
                return load_error(200, {}, stray)
        return ProtocolBroken(
            "The stream ended before message_stop, so the answer is not whole.", hint="Ask again, or another target."
        )

    def _take(self, payloads: list[tuple[str | None, bytes]]) -> list[Event]:
        events: list[Event] = []
        for name, data in payloads:
            try:
                document = load_json(data)
                if type(document) is not dict:
                    raise Malformed("", "An event is a JSON object")
                kind = document.get("type", name)
                step = self._steps.get(kind) if type(kind) is str else None
                (step or self._unknown)(document, events)
            except Malformed as fault:
                error = ProtocolBroken(
                    f"An event of the stream is not in Anthropic's dialect: {fault}.", hint="Ask again, or another target."
                )
                events.append(self._failed(error))
            if self._ended:
                break
        return events

    def _failed(self, error: ProviderError) -> Failed:
        """End with an error; what was read and has not been given yet goes into its body."""
        self._ended = True
        error.billable = error.billable or self._start is not None
        kept: dict[str, Any] = {"$events": self._strange} if self._strange else {}
        if self._open is not None and isinstance(self._open.part, Opaque):
            kept["$open"] = {"block": self._open.block, "json": self._open.json, "deltas": self._open.deltas}
        if kept:
            error.body = {**error.body, **kept} if isinstance(error.body, dict) else kept
        return Failed(error=error)

    # --- One step an event -------------------------------------------------------------------------------------------

    def _message_start(self, event: dict[str, Any], events: list[Event]) -> None:
        if self._start is not None:
            if event != self._start:
                self._strange.append(event)
            return
        message = event.get("message")
        if type(message) is not dict:
            raise Malformed("message", "must be an object")
        self._start = event
        usage = message.get("usage")
        begun: dict[str, Any] = {key: value for key, value in _BEGUN.items() if key in message and message[key] == value}
        if type(usage) is dict:
            self._usage = dict(usage)
            begun["usage"] = usage
        notes: dict[str, Any] = {"$usage": usage} if type(usage) is dict else {}
        if len(event) > 2:
            notes["$event"] = _rest(event, "message")
        events.append(load_started(message, begun, notes))

    def _block_start(self, event: dict[str, Any], events: list[Event]) -> None:
        if self._start is None:
            raise Malformed("", "A content block begins before message_start")
        if self._open is not None:
            self._close_block(events, {})
        wire, block = event.get("index"), event.get("content_block")
        if type(block) is not dict:
            raise Malformed("content_block", "must be an object")
        part = load_block(block, "content_block")
        opened = _Open(wire, self._parts, part, block)
        self._parts += 1
        self._open = opened
        kept: dict[str, Any] = {}
        if wire != opened.index:
            kept["$index"] = wire
        if len(event) > 3:
            kept["$event"] = _rest(event, "index", "content_block")
        if isinstance(part, ToolCall):  # what it says of its input is said again by the deltas, as a rule
            part = ToolCall(id=part.id, name=part.name, extra=part.extra)
        elif isinstance(part, Text | Reasoning) and not part.text and part.extra:
            part = _shell(part)
        opened.part = part = _with(part, kept) if kept else part
        if not isinstance(part, Opaque):
            events.append(PartStart(index=opened.index, part=part))

    def _block_delta(self, event: dict[str, Any], events: list[Event]) -> None:
        opened, delta = self._open, event.get("delta")
        if opened is None or event.get("index") != opened.wire:
            raise Malformed("index", "is of no block that has begun and not ended")
        if type(delta) is not dict:
            raise Malformed("delta", "must be an object")
        if len(event) > 3:
            self._keep({"$event": _rest(event, "index", "delta")}, opened, events)
        kind, part = delta.get("type"), opened.part
        said, key = _PIECES.get(kind, _NONE) if type(kind) is str else _NONE
        piece = delta.get(key)
        if type(part) is said and type(piece) is str:
            if piece:
                opened.json.append(piece)
                events.append(PartDelta(index=opened.index, text=piece))
        elif kind == "input_json_delta" and type(part) is Opaque and type(piece) is str:
            opened.json.append(piece)
        elif kind == "signature_delta" and type(part) is Reasoning and "signature" in delta:
            key = "signature"
            events.append(PartDelta(index=opened.index, extra={NAME: {key: delta[key]}}))
        elif kind == "citations_delta" and type(part) is Text and "citation" in delta:
            key = "citation"
            events.append(PartDelta(index=opened.index, extra={NAME: {"citations": [delta[key]]}}))
        elif kind == "compaction_delta" and type(part) is Opaque:
            opened.block = {**opened.block, **_rest(delta)}
            return
        else:
            self._keep(delta, opened, events)
            return
        if len(delta) > 2:
            self._keep({"$beside": _rest(delta, key)}, opened, events)

    def _keep(self, delta: dict[str, Any], opened: _Open, events: list[Event]) -> None:
        if isinstance(opened.part, Opaque):
            opened.deltas.append(delta)
        else:
            events.append(PartDelta(index=opened.index, extra={NAME: {"$deltas": [delta]}}))

    def _block_stop(self, event: dict[str, Any], events: list[Event]) -> None:
        if self._open is None or event.get("index") != self._open.wire:
            self._strange.append(event)
            return
        self._close_block(events, _rest(event, "index") if len(event) > 2 else {})

    def _close_block(self, events: list[Event], rest: dict[str, Any]) -> None:
        opened = self._open
        if opened is None:
            return
        self._open = None
        part = opened.part
        kept: dict[str, Any] = {"$end": rest} if rest else {}
        if type(part) is Opaque:
            if opened.deltas:
                kept["$deltas"] = opened.deltas
            events.append(PartStart(index=opened.index, part=_whole(part, opened, kept)))
            events.append(PartEnd(index=opened.index))
            return
        if type(part) is ToolCall:
            given = opened.block.get("input")
            if not opened.json:
                events.append(PartDelta(index=opened.index, text=encode(given).decode()))
            elif given:
                kept["$input"] = given
        events.append(PartEnd(index=opened.index, extra=own(kept)))

    def _message_delta(self, event: dict[str, Any], events: list[Event]) -> None:
        delta, usage = event.get("delta"), event.get("usage")
        if self._start is None or type(delta) is not dict:
            raise Malformed("delta", "must be an object, after message_start")
        if self._open is not None:
            self._close_block(events, {})
        if self._finish is not None:
            self._strange.append(event)
        if self._finish is None or delta.get("stop_reason") is not None:
            self._finish = load_finish(delta)
        rest = _rest(event, "delta", "usage")
        if type(usage) is dict:
            held = self._usage or {}
            self._usage = {**held, **{key: value for key, value in usage.items() if value is not None or key not in held}}
        elif usage is not None:
            rest["$usage"] = usage
        self._end |= rest

    def _message_stop(self, event: dict[str, Any], events: list[Event]) -> None:
        if self._start is None:
            raise Malformed("", "The message stops before message_start")
        if self._open is not None:
            self._close_block(events, {})
        kept = dict(self._end)
        if len(event) > 1:
            kept["$stop"] = _rest(event)
        if self._strange:
            kept["$events"] = self._strange
        finish = self._finish or Finish(reason="other")
        events.append(Finished(finishes=(finish,), usage=load_usage(self._usage), extra=own(kept)))
        self._ended = True

    def _error(self, event: dict[str, Any], events: list[Event]) -> None:
        events.append(self._failed(load_error(200, {}, dump_json(event))))

    def _ping(self, event: dict[str, Any], events: list[Event]) -> None:
        if len(event) > 1:
            self._strange.append(event)

    def _unknown(self, event: dict[str, Any], events: list[Event]) -> None:
        self._strange.append(event)


def _rest(document: dict[str, Any], *known: str) -> dict[str, Any]:
    """Return what an event says beyond its type and its known fields."""
    return {key: value for key, value in document.items() if key != "type" and key not in known}


def _shell(part: Text | Reasoning) -> Text | Reasoning:
    """Return a part that has only begun, without the note that it was empty, or had nothing but its text."""
    kept = {key: value for key, value in part.extra.get(NAME, {}).items() if key != "$empty"}
    return type(part)(text=part.text, extra=own(kept))


def _with(part: Part, kept: dict[str, Any]) -> Part:
    extra = {**part.extra, NAME: {**part.extra.get(NAME, {}), **kept}}
    changed: Part = part.replace(extra=extra)  # type: ignore[assignment, unused-ignore]
    return changed


def _whole(part: Opaque, opened: _Open, kept: dict[str, Any]) -> Opaque:
    """Return the block of Anthropic's own with the input that its deltas spelled out."""
    data = dict(opened.block)
    if text := "".join(opened.json):
        try:
            parsed = load_json(text.encode("utf-8", "replace"))
        except Malformed:
            parsed = None
        if type(parsed) is dict:
            if data.get("input"):
                kept["$input"] = data["input"]
            data["input"] = parsed
        else:
            kept["$input_json"] = text
    extra = own({**part.extra.get(NAME, {}), **kept})
    return Opaque(dialect=NAME, data=data, extra=extra)
