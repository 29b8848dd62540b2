"""Whatever the values and the bytes, the codec keeps its promises."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from leaves import read_stream
from podium.errors import PodiumError, UnrepresentableError
from podium.types import (
    Choice,
    Extra,
    Failed,
    Finish,
    Finished,
    Media,
    Message,
    Opaque,
    Output,
    Profile,
    Reasoning,
    Refusal,
    Request,
    Response,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
    fold,
    unfold,
)
from podium.wire.anthropic import CODEC
from podium.wire.tool_names import fit_name
from recordings import Recording, each_recording

words = st.text(st.characters(codec="utf-8"), max_size=8)
names = st.text("abcXYZ019_-", min_size=1, max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(words, json_values, max_size=3)
more = st.dictionaries(st.sampled_from(["cache_control", "new", "$odd", "title", "citations"]), json_values, max_size=2)


def _with(kind: str, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    block = st.fixed_dictionaries({"type": st.just(kind), **fields})
    return st.tuples(more, block).map(lambda pair: {**pair[0], **pair[1]})


sources = (
    st.fixed_dictionaries(
        {"type": st.just("base64"), "media_type": st.sampled_from(["image/png", "application/pdf", "a/b"]), "data": words}
    )
    | st.fixed_dictionaries({"type": st.just("url"), "url": words})
    | st.fixed_dictionaries({"type": st.just("text"), "media_type": st.just("text/plain"), "data": words})
    | objects
)
texts = _with("text", text=words)
media = _with("image", source=sources) | _with("document", source=sources)
unknown = _with("new_block", input=objects)
results = _with("tool_result", tool_use_id=words) | _with(
    "tool_result", tool_use_id=words, content=words | st.lists(texts | media | unknown, max_size=2), is_error=st.booleans()
)
calls = _with("tool_use", id=words, name=words, input=objects)
thoughts = _with("thinking", thinking=words, signature=words) | _with("redacted_thinking", data=words)
blocks = texts | media | unknown | results | calls | thoughts
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]), "content": words | st.lists(blocks, max_size=4)}
)
bodies = st.fixed_dictionaries(
    {"model": names, "max_tokens": st.integers(0, 9999), "messages": st.lists(messages, max_size=4)},
    optional={
        "system": st.none() | words | st.lists(texts, max_size=2),
        "tools": st.lists(_with("custom", name=names, input_schema=objects) | _with("web_search", name=names), max_size=2),
        "tool_choice": _with("any") | _with("tool", name=names) | _with("new"),
        "stream": st.none() | st.booleans(),
        "temperature": st.none() | st.floats(0, 2),
        "stop_sequences": st.none() | st.lists(words, max_size=2),
        "metadata": st.none() | objects,
        "thinking": _with("enabled", budget_tokens=st.integers(0, 9999)) | _with("adaptive"),
        "output_config": st.none() | objects,
        "service_tier": json_values,
        "betas": json_values,
        "$odd": json_values,
        "new": json_values,
    },
)


@given(bodies)
def test_any_request_of_this_dialect_is_dumped_as_it_was(body: dict[str, Any]) -> None:
    dumped = CODEC.dump_request(CODEC.load_request(json.dumps(body).encode()))
    assert json.loads(dumped.body) == body
    assert dumped.losses == ()


answers = st.fixed_dictionaries(
    {
        "id": words,
        "type": st.just("message"),
        "role": st.just("assistant"),
        "model": words,
        "content": st.lists(texts | calls | thoughts | unknown, max_size=4),
        "stop_reason": st.none() | st.sampled_from(["end_turn", "tool_use", "refusal", "new"]),
        "stop_sequence": st.none() | words,
        "usage": st.fixed_dictionaries(
            {"input_tokens": st.integers(0, 99), "output_tokens": st.integers(0, 99)},
            optional={
                "cache_read_input_tokens": st.none() | st.integers(0, 99),
                "cache_creation_input_tokens": st.integers(0, 99),
                "cache_creation": st.dictionaries(
                    st.sampled_from(["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens", "new"]), st.integers(0, 99)
                ),
                "output_tokens_details": st.none() | st.fixed_dictionaries({"thinking_tokens": st.integers(0, 99)}),
            },
        ),
    },
    optional={"stop_details": json_values, "container": json_values, "context_management": json_values, "$odd": json_values},
)


@given(answers)
def test_any_answer_of_this_dialect_is_dumped_as_it_was(body: dict[str, Any]) -> None:
    assert json.loads(CODEC.dump_response(fold(CODEC.load_response(json.dumps(body).encode())))) == body


# --- Values of any origin --------------------------------------------------------------------------------------------

extras: st.SearchStrategy[Extra] = (
    st.just({}) | st.just({"openai_chat": {"odd": 1, "$note": 2}}) | st.just({"anthropic": {"cache_control": {}}})
)
part_texts = st.builds(Text, text=words, extra=extras)
part_media = st.builds(
    Media,
    kind=st.sampled_from(["image", "document", "audio"]),
    media_type=st.none() | st.sampled_from(["image/png", "application/pdf", "text/plain"]),
    data=st.none() | st.just("aGk="),
    url=st.none() | st.sampled_from(["https://example.com/a", "data:image/png;base64,aGk="]),
)
part_calls = st.builds(ToolCall, id=words, name=words, arguments=st.sampled_from(["", "{}", '{"a": 1}', "{"]), extra=extras)
part_results = st.builds(
    ToolResult, call_id=words, parts=st.lists(part_texts | part_media, max_size=2).map(tuple), is_error=st.booleans()
)
parts = (
    part_texts
    | part_media
    | part_calls
    | part_results
    | st.builds(Reasoning, text=words, extra=extras)
    | st.builds(Refusal, text=words)
    | st.builds(Opaque, dialect=st.sampled_from(["anthropic", "gemini"]), data=st.just({"type": "x"}))
)
requests = st.builds(
    Request,
    model=names,
    messages=st.lists(
        st.builds(
            Message,
            role=st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
            parts=st.lists(parts, max_size=3).map(tuple),
            extra=extras,
        ),
        max_size=5,
    ).map(tuple),
    system=st.lists(part_texts, max_size=1).map(tuple),
    tools=st.lists(
        st.builds(Tool, name=words, parameters=st.none() | objects, strict=st.none() | st.booleans()), max_size=2
    ).map(tuple),
    tool_choice=st.none()
    | st.builds(ToolChoice, mode=st.sampled_from(["auto", "required", "none", None]), parallel=st.none() | st.booleans()),
    output=st.none() | st.builds(Output, kind=st.sampled_from(["text", "json", "json_schema"]), schema=st.none() | objects),
    sampling=st.builds(
        Sampling,
        max_tokens=st.none() | st.integers(1, 99999),
        temperature=st.none() | st.floats(0, 2),
        top_k=st.none() | st.integers(0, 9),
        stop=st.none() | st.lists(words, max_size=2).map(tuple),
        seed=st.none() | st.integers(0, 9),
        n=st.none() | st.integers(1, 2),
    ),
    thinking=st.none()
    | st.builds(
        Thinking,
        effort=st.none() | st.sampled_from(["none", "minimal", "low", "high", "max", "odd"]),
        budget_tokens=st.none() | st.integers(0, 99999),
        enabled=st.none() | st.booleans(),
    ),
    stream=st.booleans(),
)
profiles = st.builds(
    Profile,
    refuses=st.frozensets(st.sampled_from(["temperature", "stop", "thinking", "output.json_schema", "temperature+top_p"])),
    thinking=st.sampled_from(["none", "effort", "budget", "adaptive", "unknown"]),
    max_output=st.none() | st.integers(1, 64000),
    inline_system=st.booleans(),
)


@given(requests, profiles)
def test_a_request_of_any_origin_is_valid_or_an_error(request: Request, profile: Profile) -> None:
    try:
        dumped = CODEC.dump_request(request, profile)
    except UnrepresentableError:
        return
    body = json.loads(dumped.body)
    thinking = body.get("thinking", {})
    assert body["max_tokens"] > thinking.get("budget_tokens", 0)
    if thinking.get("type") in ("enabled", "adaptive"):
        assert body.get("temperature", 1) == 1
        assert body.get("tool_choice", {}).get("type") not in ("any", "tool")
    assert body.get("temperature", 0) <= 1
    roles = [message["role"] for message in body["messages"]]
    assert roles
    assert all(first != second for first, second in pairwise(roles))
    for message in body["messages"]:
        kinds = [block["type"] == "tool_result" for block in message["content"]]
        assert kinds
        assert message["role"] != "user" or kinds == sorted(kinds, reverse=True)
        assert all(block.get("text") != "" for block in message["content"])
    again = CODEC.load_request(dumped.body)
    assert json.loads(CODEC.dump_request(again).body) == body
    assert dumped == CODEC.dump_request(request, profile)


responses = st.builds(
    Response,
    id=words,
    model=words,
    choices=st.builds(
        Choice,
        parts=st.lists(part_texts | part_calls | st.builds(Reasoning, text=words, extra=extras), max_size=4).map(tuple),
        finish=st.builds(Finish, reason=st.sampled_from(["stop", "length", "tool_calls", "content_filter", "pause", "other"])),
    ).map(lambda choice: (choice,)),
    usage=st.none()
    | st.builds(Usage, **{name: st.integers(0, 99) for name in ("input", "output", "cache_read", "cache_write", "reasoning")}),
)


@given(responses)
def test_an_answer_of_any_origin_streams_as_it_dumps(response: Response) -> None:
    writer = CODEC.writer(Request(model="m", messages=()))
    streamed = fold(read_stream(CODEC.reader(), [b"".join(writer.send(event) for event in unfold(response))]))
    assert "".join(part.text for part in streamed.parts if isinstance(part, Text)) == response.text
    assert [(call.name, call.load_arguments()) for call in streamed.tool_calls if call.arguments != "{"] == [
        (fit_name(call.name, 128), call.load_arguments()) for call in response.tool_calls if call.arguments != "{"
    ]
    try:
        whole = fold(CODEC.load_response(CODEC.dump_response(response)))
    except UnrepresentableError:
        return
    assert (whole.text, whole.reasoning, whole.finish_reason) == (streamed.text, streamed.reasoning, streamed.finish_reason)
    assert (whole.id, whole.model, whole.usage) == (streamed.id, streamed.model, streamed.usage)


# --- Anything at all -------------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_only_podiums_errors_leave_the_codec(body: bytes) -> None:
    for load in (CODEC.load_request, CODEC.load_response):
        try:
            load(body)
        except PodiumError:
            continue
    assert isinstance(CODEC.load_error(500, {}, body), PodiumError)
    events = read_stream(CODEC.reader(), [b"data: " + body.replace(b"\n", b" ") + b"\n\n"])
    assert isinstance(events[-1], Failed | Finished)


@each_recording(lambda each: each.provider == "anthropic" and each.stream is not None and "pause" not in each.id)
def test_a_mutilated_stream_ends_once_and_breaks_nothing(recording: Recording) -> None:
    body = recording.stream or b""
    draw = random.Random(recording.id)
    for _ in range(40):
        at, size = draw.randrange(len(body)), draw.randrange(1, 40)
        events = read_stream(CODEC.reader(), [body[:at] + draw.randbytes(draw.randrange(3)) + body[at + size :]])
        assert [isinstance(event, Failed | Finished) for event in events].count(True) == 1
        assert isinstance(events[-1], Failed | Finished)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["type", "index", "delta", "message", "content_block", "usage"]), json_values),
        max_size=6,
    )
)
def test_odd_events_end_once(documents: list[dict[str, Any]]) -> None:
    body = b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in documents)
    events = read_stream(CODEC.reader(), [body])
    assert isinstance(events[-1], Failed | Finished)
    assert sum(isinstance(event, Failed | Finished) for event in events) == 1
