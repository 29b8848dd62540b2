"""Whole answers of OpenAI Chat, read into events and written from their fold.

Theory. A body is its envelope (`id`, `model`, `created`, ...), its choices and its usage. The envelope's unknown members are in
`Response.extra`; a choice's are in its `Finish.extra`, with those of its message under `message`.

Rules.
- An error in a body with status 200 is raised as what it is, whether it stands in the body or in a choice.
- A member that the envelope lacks is noted in `$absent`, and so is one that OpenAI's choices and messages always have, in the
  choice's end; one that is of another kind than OpenAI's stays in `extra`.
- Log probabilities belong to the text that they are about (`$logprobs`), as they do in a stream.

Shape: https://platform.openai.com/docs/api-reference/chat/object.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

from podium.errors import Overloaded, ProtocolBroken
from podium.types import (
    Choice,
    Event,
    Finish,
    Finished,
    PartEnd,
    PartStart,
    Refusal,
    Request,
    Response,
    Started,
    Text,
    ToolCall,
)
from podium.wire.documents import Malformed, dump_json, kind_of, load_json, want_list
from podium.wire.failures import shorten
from podium.wire.openai_chat_answer import dump_message_parts, load_message_parts
from podium.wire.openai_chat_errors import load_failure
from podium.wire.openai_chat_parts import NAME, kept, noted, spoken
from podium.wire.openai_chat_tools import as_function_call, is_legacy
from podium.wire.openai_chat_usage import FAILURES, REASONS, dump_reason, dump_usage, load_reason, load_usage

_ENVELOPE = ("id", "object", "created", "model")
_ALWAYS = ("refusal", "annotations", "logprobs")


def made_call_id(answer_id: str, choice: int, position: int) -> str:
    """Return an id for a tool call that came without one: the same whenever the same answer is read."""
    return f"call_{crc32(answer_id.encode('utf-8', 'replace')):08x}{choice:02d}{position:02d}"


def broken(error: Malformed, body: bytes) -> ProtocolBroken:
    """Return the error for an answer that is not in this dialect."""
    return ProtocolBroken(
        f"The provider's answer is not in the OpenAI Chat dialect: {error}.",
        body=shorten(body.decode("utf-8", "replace")),
        hint="Check that the provider's `base_url` and dialect are right, or use another target.",
    )


_BESIDE = frozenset({*_ENVELOPE, "choices", "usage"})


def load_started(document: dict[str, Any], object_name: str) -> Started:
    """Read the envelope of an answer or of the first chunk of one."""
    own = {key: value for key, value in document.items() if key not in _BESIDE}
    name, model, created = document.get("id"), document.get("model"), document.get("created")
    odd: list[str] = []
    if type(name) is not str:
        name = ""
        odd.append("id")
    if document.get("object") != object_name:
        odd.append("object")
    at: float | None = None
    if (type(created) is int or type(created) is float) and abs(created) < 1e15:
        at = float(created)
    else:
        odd.append("created")
    if type(model) is not str:
        model = ""
        odd.append("model")
    if odd:
        own |= {key: document[key] for key in odd if key in document}
        if absent := [key for key in odd if key not in document]:
            own["$absent"] = absent
    return Started(id=name, model=model, created_at=at, extra={NAME: own} if own else {})


def load_response(body: bytes) -> tuple[Event, ...]:
    """Read a whole answer into its events.

    Raises `ProtocolBroken`, or the provider's error that the body carries.
    """
    try:
        document = load_json(body)
        if isinstance(document, dict) and document.get("choices"):
            if not document.get("error"):
                return _load_events(document)
        elif is_good(document):
            raise Malformed("choices", "is empty or missing")
    except Malformed as error:
        raise broken(error, body) from None
    raise load_failure(200, {}, body)


def is_good(document: Any) -> bool:
    """Say whether a document looks like an answer, or a part of one, rather than like an error."""
    if not isinstance(document, dict) or document.get("error") or document.get("object") == "error":
        return False
    return "choices" in document or not any(key in document for key in ("message", "detail", "errors"))


def _load_events(document: dict[str, Any]) -> tuple[Event, ...]:
    started = load_started(document, "chat.completion")
    events: list[Event] = [started]
    finishes: list[Finish] = []
    for at, choice in enumerate(want_list(document["choices"], "choices")):
        if type(choice) is not dict:
            raise Malformed(f"choices[{at}]", f"is {kind_of(choice)}, not an object")
        finish = _load_choice(choice, at, started.id, events)
        if finishes and any(finish.choice == other.choice for other in finishes):
            raise Malformed(f"choices[{at}].index", "is there twice")
        finishes.append(finish)
    usage = document.get("usage")
    own = {"usage": usage} if not usage and "usage" in document else {}
    if not usage and isinstance(groq := document.get("x_groq"), dict):
        usage = groq.get("usage")
    loaded = load_usage(usage) if usage else None
    events.append(Finished(finishes=tuple(finishes), usage=loaded, extra=kept(own)))
    return tuple(events)


def choice_index(choice: dict[str, Any], default: int) -> int:
    """Return a choice's index, or `default` where it says none."""
    index = choice.get("index", default)
    if type(index) is int and index >= 0:
        return index
    if index is None:
        return default
    raise Malformed(f"choices[{default}].index", f"is {kind_of(index)}, not a count")


_CHOICE = frozenset({"index", "message", "finish_reason", "logprobs"})


def _load_choice(choice: dict[str, Any], at: int, answer_id: str, events: list[Event]) -> Finish:
    index = choice_index(choice, at)
    message = choice.get("message")
    if type(message) is not dict:
        raise Malformed(f"choices[{at}].message", f"is {kind_of(message)}, not an object")
    if choice.get("error"):
        raise load_failure(200, {}, dump_json({"error": choice["error"]}))
    parts, rest = load_message_parts(
        message, "choices.message", answered=True, made_id=lambda position: made_call_id(answer_id, index, position)
    )
    if message.get("role") != "assistant":
        rest["$role"] = [message["role"]] if "role" in message else []
    own = {key: value for key, value in choice.items() if key not in _CHOICE}
    if "logprobs" in choice:
        logprobs = choice["logprobs"]
        told = next((n for n, part in enumerate(parts) if isinstance(part, Text | Refusal)), None) if logprobs else None
        if told is None:
            own["logprobs"] = logprobs
        else:
            part = parts[told]
            parts[told] = part.replace(extra=kept({**noted(part.extra), "$logprobs": logprobs}))
    called = False
    for n, part in enumerate(parts):
        called = called or type(part) is ToolCall
        events.append(PartStart(index=n, part=part, choice=index))
        events.append(PartEnd(index=n, choice=index))
    if rest:
        own["message"] = rest
    if "refusal" not in message or "annotations" not in message or "logprobs" not in choice:
        own["$absent"] = [key for key in _ALWAYS if key not in (choice if key == "logprobs" else message)]
    return load_finish(choice, own, index, called=called)


def load_finish(choice: dict[str, Any], own: dict[str, Any], index: int, *, called: bool) -> Finish:
    """Read how a choice ended; `own` is what else is kept of it.

    Raises `Overloaded` where the provider's word for its end says that it broke off.
    """
    word = choice.get("finish_reason")
    if word is not None and not isinstance(word, str):
        raise Malformed(f"choices[{index}].finish_reason", f"is {kind_of(word)}, not a string")
    if word is not None and word not in REASONS and word.lower() in FAILURES:
        raise Overloaded(
            f"The provider broke its answer off, with the finish reason {word!r}, and said no more.",
            body=choice,
            hint="Ask again, or another target.",
        )
    if word is None:
        own["$finish_reason"] = [None] if "finish_reason" in choice else []
    if choice.get("index") is None:
        own["$index"] = [None] if "index" in choice else []
    reason, raw = load_reason(word, called=called)
    matched = choice.get("stop_reason")
    return Finish(
        reason=reason, choice=index, raw=raw, stop_sequence=matched if isinstance(matched, str) else None, extra=kept(own)
    )


# --- Writing ---------------------------------------------------------------------------------------------------------


def dump_envelope(started: Started | Response, object_name: str) -> dict[str, Any]:
    """Write the envelope that an answer, or each chunk of one, begins with."""
    own = noted(started.extra)
    absent = own.get("$absent", ())
    created = started.created_at or 0
    dumped: dict[str, Any] = {
        "id": started.id,
        "object": object_name,
        "created": int(created) if created == int(created) else created,
        "model": started.model,
    }
    for key in absent:
        dumped.pop(key, None)
    return dumped | spoken(started.extra)


def dump_response(response: Response, request: Request | None = None) -> bytes:
    """Write a whole answer for a client, to its `request` where that is known.

    What only another dialect knows travels in `reasoning_details`. Raises `UnrepresentableError` for media that Chat lacks.
    """
    dumped = dump_envelope(response, "chat.completion")
    legacy = request is not None and is_legacy(request)
    dumped["choices"] = [_dump_choice(_as_functions(choice) if legacy else choice) for choice in response.choices]
    if response.usage is not None:
        dumped["usage"] = dump_usage(response.usage)
    for key, value in noted(response.end_extra).items():
        if not key.startswith("$") and key not in dumped:
            dumped[key] = value
    return dump_json(dumped)


def _as_functions(choice: Choice) -> Choice:
    """Return a choice whose first call is written as the legacy `function_call`."""
    at = next((at for at, part in enumerate(choice.parts) if isinstance(part, ToolCall)), None)
    if at is None:
        return choice
    call: Any = choice.parts[at]
    finish = choice.finish
    if finish.reason == "tool_calls":
        finish = finish.replace(raw="function_call")
    return choice.replace(parts=(*choice.parts[:at], as_function_call(call), *choice.parts[at + 1 :]), finish=finish)


def _dump_choice(choice: Choice) -> dict[str, Any]:
    finish = choice.finish
    own = noted(finish.extra)
    rest = dict(own.get("message", ()))
    absent = own.get("$absent", ())
    if "refusal" not in absent:
        rest.setdefault("refusal", None)
    if "annotations" not in absent:
        rest.setdefault("annotations", [])
    message = dump_message_parts(choice.parts, rest, f"choices[{choice.index}]", answered=True, identity=str)
    if (role := rest.get("$role")) is not None:
        del message["role"]
        if role:
            message["role"] = role[0]
    dumped: dict[str, Any] = {"index": choice.index, "message": message}
    if "logprobs" not in absent:
        dumped["logprobs"] = None
    for part in choice.parts:
        if (logprobs := noted(part.extra).get("$logprobs")) is not None:
            dumped["logprobs"] = logprobs
            break
    dumped["finish_reason"] = dump_reason(finish.reason, finish.raw)
    if (written := own.get("$finish_reason")) is not None:
        del dumped["finish_reason"]
        if written:
            dumped["finish_reason"] = written[0]
    if (written := own.get("$index")) is not None:
        del dumped["index"]
        if written:
            dumped["index"] = written[0]
    return dumped | {key: value for key, value in own.items() if not key.startswith("$") and key != "message"}
