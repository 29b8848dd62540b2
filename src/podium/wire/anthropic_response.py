"""Anthropic's whole answers, and what they share with the streamed ones: the ends and the counts.

Theory. An answer that is no stream is the stream that would have said the same, each part whole in its start.

Rules.
- Anthropic's `input_tokens` are without the cache, and its `output_tokens` are with the thinking: the counts of `Usage` are
  disjoint, so that only the thinking is taken off. `cache_creation` splits what was written by lifetime; without it everything
  was written for five minutes.
- `stop_details` and `container` come with an answer's end, so that they are in `Finish.extra`; `context_management` is in
  `Finished.extra`; everything else beyond the typed fields is in `Started.extra`.
- An answer of other origin gets an id that begins with `msg_`, and only the stop reasons that Anthropic knows.

https://platform.claude.com/docs/en/api/messages/create and
https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from podium.errors import ProtocolBroken, UnrepresentableError
from podium.types import (
    Choice,
    Event,
    Finish,
    Finished,
    FinishReason,
    Media,
    Opaque,
    Part,
    PartEnd,
    PartStart,
    Reasoning,
    Refusal,
    Response,
    Started,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from podium.wire.anthropic_blocks import (
    NAME,
    carry,
    difference,
    dump_call,
    dump_opaque,
    dump_reasoning,
    dump_text,
    load_block,
    load_object,
    overlay,
    own,
)
from podium.wire.anthropic_errors import load_error
from podium.wire.documents import Malformed, dump_json, load_count

STOP_REASONS: dict[Any, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "pause",
}
"""Anthropic's stop reasons in Podium's words."""

_RAW = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal", "pause": "pause_turn"}
_COMPLETE = {"type": "message", "role": "assistant"}
_AT_END = ("stop_details", "container")
UNSAID_COUNTS = {"service_tier": None, "inference_geo": None}
_UNSAID_END = {"stop_details": None}
"""What every answer of Anthropic's says, and no answer of other origin can."""
_ID = re.compile(r"msg_[A-Za-z0-9_-]+")


# --- Counts ----------------------------------------------------------------------------------------------------------

_NOTHING: dict[str, Any] = {}


def _object(raw: dict[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    return value if type(value) is dict else _NOTHING


def load_usage(raw: Any) -> Usage | None:
    """Read `usage` into disjoint counts; None where there is none."""
    if type(raw) is not dict:
        return None
    lifetimes = _object(raw, "cache_creation")
    hour = load_count(lifetimes.get("ephemeral_1h_input_tokens"))
    minutes = load_count(lifetimes.get("ephemeral_5m_input_tokens"))
    written = max(load_count(raw.get("cache_creation_input_tokens")), hour + minutes)
    output = load_count(raw.get("output_tokens"))
    thought = 0
    if "output_tokens_details" in raw:
        thought = min(output, load_count(_object(raw, "output_tokens_details").get("thinking_tokens")))
    fresh, read = load_count(raw.get("input_tokens")), load_count(raw.get("cache_read_input_tokens"))
    return Usage(
        input=fresh,
        output=output - thought,
        cache_read=read,
        cache_write=written - hour,
        cache_write_1h=hour,
        reasoning=thought,
        extra={NAME: difference(raw, _counts(fresh, read, written - hour, hour, output, thought))},
    )


def _counts(fresh: int, read: int, minutes: int, hour: int, output: int, thought: int) -> dict[str, Any]:
    said: dict[str, Any] = {
        "input_tokens": fresh,
        "cache_creation_input_tokens": minutes + hour,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": minutes, "ephemeral_1h_input_tokens": hour},
        "output_tokens": output,
    }
    if thought:
        said["output_tokens_details"] = {"thinking_tokens": thought}
    return said


def dump_usage(usage: Usage | None) -> dict[str, Any]:
    """Write `usage`, complete."""
    usage = usage or Usage()
    said = _counts(
        usage.input + usage.input_audio,
        usage.cache_read,
        usage.cache_write,
        usage.cache_write_1h,
        usage.total_output,
        usage.reasoning,
    )
    return overlay(said, usage.extra.get(NAME))


# --- Ends ------------------------------------------------------------------------------------------------------------


def load_finish(raw: dict[str, Any]) -> Finish:
    """Read how an answer ended from `stop_reason` and what stands beside it (a message, or a message_delta's `delta`)."""
    word, sequence = raw.get("stop_reason"), raw.get("stop_sequence")
    if sequence is None and type(word) is str and word in STOP_REASONS and len(raw) == 2 and "stop_sequence" in raw:
        return Finish(reason=STOP_REASONS[word], raw=word, extra={NAME: {}})
    word, sequence = word if type(word) is str else None, sequence if type(sequence) is str else None
    reason = STOP_REASONS.get(word, "other")
    kept = difference(raw, {"stop_reason": _stop_reason(reason, word, sequence), "stop_sequence": sequence})
    return Finish(reason=reason, raw=word, stop_sequence=sequence, extra={NAME: kept})


def _stop_reason(reason: FinishReason, word: str | None, sequence: str | None) -> str:
    """Return Anthropic's word for an end: the provider's own where it is Anthropic's and means the same."""
    if word is not None and STOP_REASONS.get(word) == reason:
        return word
    if sequence is not None and reason == "stop":
        return "stop_sequence"
    return _RAW.get(reason, "end_turn")


def dump_finish(finish: Finish) -> dict[str, Any]:
    """Write `stop_reason`, `stop_sequence` and what stood beside them."""
    said = {
        "stop_reason": _stop_reason(finish.reason, finish.raw, finish.stop_sequence),
        "stop_sequence": finish.stop_sequence,
    }
    if NAME not in finish.extra:
        return said | _UNSAID_END
    return overlay(said, finish.extra[NAME])


# --- Beginnings ------------------------------------------------------------------------------------------------------


def load_started(raw: dict[str, Any], begun: dict[str, Any], notes: dict[str, Any] | None = None) -> Started:
    """Read a message's envelope; `begun` has what it says beyond that, and what is said elsewhere."""
    name, model = raw.get("id"), raw.get("model")
    name, model = name if type(name) is str else "", model if type(model) is str else ""
    rest = {key: value for key, value in raw.items() if key not in begun}
    kept = difference(rest, {"id": _wire_id(name, model, None), "model": model, **_COMPLETE})
    if notes:
        kept |= notes
    return Started(id=name, model=model, extra=own(kept))


def _wire_id(name: str, model: str, created_at: float | None) -> str:
    """Return an answer's id as Anthropic writes them; one that has none gets one that follows from what is known of it."""
    if _ID.fullmatch(name):
        return name
    if not name:
        return "msg_" + hashlib.sha256(f"{model}\n{created_at}".encode("utf-8", "replace")).hexdigest()[:24]
    return "msg_" + re.sub(r"[^A-Za-z0-9_-]", "_", name)


def dump_started(started: Started | Response) -> dict[str, Any]:
    """Write a message's envelope."""
    said = {"id": _wire_id(started.id, started.model, started.created_at), "model": started.model, **_COMPLETE}
    return overlay(said, started.extra.get(NAME))


# --- Whole answers ---------------------------------------------------------------------------------------------------


def load_response(body: bytes) -> tuple[Event, ...]:
    """Read a whole answer; raises `ProtocolBroken`, or the error that a body with status 200 carries."""
    try:
        raw = load_object(body)
        if raw.get("type") == "error" or ("error" in raw and "content" not in raw):
            raise load_error(200, {}, body)
        return _load(raw)
    except Malformed as fault:
        raise ProtocolBroken(
            f"The answer is not a message of Anthropic's API: {fault}.", hint="Ask again, or another target."
        ) from None


def _load(raw: dict[str, Any]) -> tuple[Event, ...]:
    content = raw.get("content")
    if type(content) is not list:
        raise Malformed("content", "must be a list of blocks")
    usage = raw.get("usage")
    ends = {key: raw[key] for key in ("stop_reason", "stop_sequence", *_AT_END) if key in raw}
    last = {"context_management": raw["context_management"]} if "context_management" in raw else {}
    known = {"content": content, **ends, **last}
    if type(usage) is dict:
        known["usage"] = usage
    events: list[Event] = [load_started(raw, known)]
    for at, block in enumerate(content):
        events.append(PartStart(index=at, part=load_block(block, f"content.{at}")))
        events.append(PartEnd(index=at))
    events.append(Finished(finishes=(load_finish(ends),), usage=load_usage(usage), extra=own(last)))
    return tuple(events)


def dump_response(response: Response) -> bytes:
    """Write a whole answer; raises `UnrepresentableError` for content that Anthropic's answers cannot hold."""
    if len(response.choices) != 1:
        raise UnrepresentableError(
            f"Anthropic's answers hold one choice, this one has {len(response.choices)}.", hint="Ask for one answer (n=1)."
        )
    choice: Choice = response.choices[0]
    message = dump_started(response)
    overlay(message, response.end_extra.get(NAME))
    message |= dump_finish(choice.finish)
    blocks = message["content"] = []
    for at, part in enumerate(choice.parts):
        if isinstance(part, ToolCall) and part.extra and (carrier := carry(part)):
            blocks.append(carrier)
        if (block := dump_part(part, f"content.{at}")) is not None:
            blocks.append(block)
    if response.usage is not None or "usage" not in message:
        message["usage"] = dump_usage(response.usage)
        if response.usage is None or NAME not in response.usage.extra:
            message["usage"] |= UNSAID_COUNTS
    return dump_json(message)


def dump_part(part: Part, path: str) -> dict[str, Any] | None:
    """Write one part of an answer as a block; None for empty text of other origin."""
    match part:
        case Text():
            return dump_text(part) if part.text or part.extra.get(NAME) else None
        case ToolCall():
            return dump_call(part, path)
        case Reasoning():
            return dump_reasoning(part)
        case Refusal():
            return {"type": "text", "text": part.text}
        case Opaque():
            return dump_opaque(part, path)
        case Media() | ToolResult():
            kind = part.kind if isinstance(part, Media) else "tool result"
            raise UnrepresentableError(
                f"Anthropic's answers hold no {kind}.", param=path, hint="Ask for it in the dialect of its provider."
            )
