"""Properties of the OpenAI Chat codec: what is written is read back, and no document, however odd, breaks it."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from leaves import read_stream
from podium.errors import PodiumError, ProviderError
from podium.types import (
    Choice,
    Event,
    Failed,
    Finish,
    Finished,
    Media,
    Message,
    Output,
    PartDelta,
    PartEnd,
    PartStart,
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
from podium.wire.openai_chat import CODEC

# --- No document breaks it -------------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    re.findall(
        r"\S+",
        "role content text type image_url url input_audio data format file file_id file_data filename refusal thinking "
        "tool_calls id index function name arguments function_call audio images reasoning reasoning_content signature "
        "reasoning_details summary choices delta message finish_reason logprobs usage prompt_tokens completion_tokens "
        "total_tokens cached_tokens prompt_tokens_details completion_tokens_details reasoning_tokens model messages tools "
        "tool_choice strict parameters response_format json_schema schema stop stream stream_options include_usage max_tokens "
        "temperature n seed logit_bias reasoning_effort effort enabled error code detail param metadata raw object created "
        "x_groq tool_call_id custom input closed stop_reason cost errors details retryDelay innererror parallel_tool_calls",
    )
)
WORDS = st.text(max_size=4) | st.sampled_from(
    re.findall(
        r"\S+",
        "assistant user system developer tool function text image_url input_audio file refusal thinking custom stop length "
        "tool_calls content_filter error json_schema json_object auto required any none podium reasoning.text 400 429 "
        'reasoning.encrypted <think>x</think>y data:image/png;base64,AAAA data:;base64, https://x/y {} {"a":1} '
        '{"opaque":{"dialect":"x","data":{}}} chat.completion chat.completion.chunk',
    )
)
LEAVES = st.none() | st.booleans() | st.integers(-3, 300) | st.floats(-1e6, 1e6) | WORDS
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=8)


MESSAGE = st.dictionaries(KEYS, JSON, max_size=4).flatmap(
    lambda more: st.fixed_dictionaries({"role": WORDS, "content": JSON}).map(lambda message: {**more, **message})
)
CALL = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 2) | LEAVES,
        "id": WORDS | LEAVES,
        "type": WORDS,
        "function": st.fixed_dictionaries({}, optional={"name": WORDS, "arguments": WORDS | JSON}) | JSON,
    },
)
DELTA = st.fixed_dictionaries(
    {},
    optional={
        "role": WORDS,
        "content": WORDS | JSON,
        "reasoning_content": WORDS | LEAVES,
        "reasoning": WORDS | LEAVES,
        "reasoning_details": JSON,
        "refusal": WORDS | LEAVES,
        "tool_calls": st.lists(CALL, max_size=3) | JSON,
        "function_call": JSON,
        "audio": JSON,
        "images": JSON,
        "odd": JSON,
    },
)
CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 2) | LEAVES,
        "delta": DELTA,
        "finish_reason": st.none() | WORDS,
        "message": DELTA,
        "logprobs": JSON,
    },
)
CHUNK = st.fixed_dictionaries(
    {}, optional={"id": LEAVES, "choices": st.lists(CHOICE, max_size=2) | JSON, "usage": JSON, "error": JSON, "model": LEAVES}
)


def quiet(act: Any, *arguments: Any) -> Any:
    """Call it, and let pass what a codec may raise."""
    try:
        return act(*arguments)
    except PodiumError:
        return None


@given(
    body=JSON | CHUNK | st.fixed_dictionaries({"choices": st.lists(CHOICE, min_size=1, max_size=2)}, optional={"usage": JSON})
)
@settings(max_examples=100, deadline=None)
def test_any_json_as_an_answer_is_read_or_refused(body: Any) -> None:
    events = quiet(CODEC.load_response, json.dumps(body).encode())
    if events is not None:
        written = quiet(CODEC.dump_response, fold(events))
        if written is not None:
            quiet(CODEC.load_response, written)


@given(body=JSON | st.fixed_dictionaries({"model": WORDS, "messages": st.lists(MESSAGE, max_size=3)}, optional={
    "tools": JSON, "tool_choice": JSON, "response_format": JSON, "stop": JSON, "stream": LEAVES, "reasoning": JSON, "n": LEAVES,
    "reasoning_effort": LEAVES, "max_tokens": LEAVES, "logit_bias": JSON, "stream_options": JSON, "odd": JSON,
}))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_any_json_as_a_request_is_refused_or_written_again_as_it_was(body: Any) -> None:
    request = quiet(CODEC.load_request, json.dumps(body).encode())
    if request is not None:
        assert json.loads(CODEC.dump_request(request).body) == body
        profile = Profile(
            max_temperature=1, refuses=frozenset({"stop", "n"}), call_id_pattern="[a-zA-Z0-9]{9}", efforts=("low",)
        )
        quiet(CODEC.dump_request, request, profile)


@given(chunks=st.lists(CHUNK | JSON, max_size=6), done=st.booleans(), data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_chunks_give_events_in_order_that_do_not_depend_on_the_split(chunks: list[Any], done: bool, data: Any) -> None:
    stream = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + (
        b"data: [DONE]\n\n" if done else b""
    )
    events = read_stream(CODEC.reader(), [stream])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert repr(read_stream(CODEC.reader(), pieces)) == repr(events)
    check_order(events)
    writer = CODEC.writer(Request(model="m", messages=()))
    for event in events:
        quiet(writer.send, event)
    if isinstance(events[-1], Finished):
        quiet(CODEC.dump_response, fold(events))


def check_order(events: list[Event]) -> None:
    assert [isinstance(event, Finished | Failed) for event in events] == [False] * (len(events) - 1) + [True]
    counts: dict[int, int] = {}
    open_: dict[int, int] = {}
    for event in events:
        if isinstance(event, PartStart):
            assert event.choice not in open_
            assert event.index == counts.get(event.choice, 0)
            counts[event.choice] = event.index + 1
            open_[event.choice] = event.index
        elif isinstance(event, PartDelta):
            assert open_[event.choice] == event.index
        elif isinstance(event, PartEnd):
            assert open_.pop(event.choice) == event.index
    assert not open_ or isinstance(events[-1], Failed)


@given(body=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()), status=st.integers(100, 599))
@example(b"[" * 5000, 400)
@example(b'{"error":{"message":["\\ud800"]}}', 500)
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_an_error_of_some_provider(body: bytes, status: int) -> None:
    error = CODEC.load_error(status, {"retry-after": "soon", "retry-after-ms": "x"}, body)
    assert isinstance(error, ProviderError)
    assert str(error)


@given(data=st.binary(max_size=80))
@example(b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n')
@example(b'data: {"choices":[{"delta":{"content":"x"},"logprobs":{"content":[{"logprob":-Infinity}]}}]}\n\n')
@example(b"data: " + b"[" * 5000)
@settings(max_examples=60, deadline=None)
def test_any_bytes_as_a_stream_end_in_one_terminal_event(data: bytes) -> None:
    events = read_stream(CODEC.reader(), [data])
    assert len(events) >= 1
    assert isinstance(events[-1], Finished | Failed)
    quiet(CODEC.load_request, data)
    quiet(CODEC.load_response, data)


# --- What is written is read back ------------------------------------------------------------------------------------

NAME = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,12}", fullmatch=True)
WORD = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
SAID = WORD.filter(lambda text: "<think>" not in text and text.strip() and not "<think>".startswith(text.strip()))
ARGUMENTS = st.dictionaries(WORD, st.integers() | WORD, max_size=2).map(json.dumps)
TEXT = SAID.map(lambda text: Text(text=text))
CALLS = st.builds(lambda n, name, text: ToolCall(id=f"call_{n}", name=name, arguments=text), st.integers(0), NAME, ARGUMENTS)
COUNT = st.integers(0, 10_000)
USAGE = st.builds(
    Usage, **dict.fromkeys(("input", "output", "cache_read", "cache_write", "reasoning", "input_audio", "output_audio"), COUNT),
    reported_cost_usd=st.none() | st.integers(0, 10**9).map(lambda micros: Decimal(micros).scaleb(-6)),
)  # fmt: skip


@st.composite
def responses(draw: st.DrawFn) -> Response:
    choices = []
    for index in range(draw(st.integers(1, 3))):
        parts: list[Any] = []
        if draw(st.booleans()):
            parts.append(Reasoning(text=draw(WORD)))
        if draw(st.booleans()):
            parts.append(draw(TEXT))
        if draw(st.booleans()):
            parts.append(Refusal(text=draw(WORD)))
        parts += draw(st.lists(CALLS, max_size=2, unique_by=lambda call: call.id))
        called = any(isinstance(part, ToolCall) for part in parts)
        reason = "tool_calls" if called else draw(st.sampled_from(["stop", "length", "content_filter"]))
        choices.append(Choice(index=index, parts=tuple(parts), finish=Finish(reason=reason, choice=index)))  # type: ignore[arg-type]
    created = draw(st.integers(0, 2_000_000_000))
    return Response(id=draw(WORD), model=draw(WORD), created_at=created, choices=tuple(choices), usage=draw(st.none() | USAGE))


def bare(value: Any) -> Any:
    """Leave the extras out, in which the codec keeps how things were written."""
    if isinstance(value, dict):
        return {key: bare(each) for key, each in value.items() if key not in ("extra", "end_extra")}
    if isinstance(value, list | tuple):
        return [bare(each) for each in value]
    return value


def plain(value: Response | Request) -> Any:
    """Return the typed fields as plain values."""
    if isinstance(value, Response) and value.usage is not None and value.usage.reported_cost_usd is not None:
        value = value.replace(usage=value.usage.replace(reported_cost_usd=value.usage.reported_cost_usd.normalize()))
    return bare(value.to_dict())


@given(response=responses())
@settings(max_examples=60, deadline=None)
def test_an_answer_that_is_written_is_read_back(response: Response) -> None:
    assert plain(fold(CODEC.load_response(CODEC.dump_response(response)))) == plain(response)


@given(response=responses(), size=st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_a_stream_that_is_written_folds_to_the_same_answer(response: Response, size: int) -> None:
    request = Request(model="m", messages=(), extra={"openai_chat": {"stream_options": {"include_usage": True}}})
    writer = CODEC.writer(request)
    stream = b"".join(writer.send(event) for event in unfold(response))
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert plain(fold(read_stream(CODEC.reader(), pieces))) == plain(response)


MEDIA = st.sampled_from(
    [
        Media(kind="image", url="https://example.org/a.png"),
        Media(kind="image", data="AAAA", media_type="image/png"),
        Media(kind="audio", data="AAAA", media_type="audio/mpeg"),
        Media(kind="audio", data="AAAA", media_type="audio/wav"),
        Media(kind="document", data="AAAA", media_type="application/pdf", name="a.pdf"),
        Media(kind="document", file_id="file-1"),
        Media(kind="video", url="https://example.org/a.mp4"),
    ]
)
MESSAGES = st.one_of(
    st.builds(lambda role, part: Message(role=role, parts=(part,)), st.sampled_from(["system", "developer", "user"]), TEXT),
    st.builds(lambda parts: Message(role="user", parts=tuple(parts)), st.lists(TEXT | MEDIA, min_size=1, max_size=3)),
    st.builds(
        lambda text, calls: Message(role="assistant", parts=(*text, *calls)),
        st.lists(TEXT, max_size=1),
        st.lists(CALLS, min_size=1, max_size=2),
    ),
    st.builds(
        lambda call_id, texts: Message(role="tool", parts=(ToolResult(call_id=call_id, parts=tuple(texts)),)),
        WORD,
        st.lists(TEXT, min_size=1, max_size=2),
    ),
)
SCHEMA = st.just({"type": "object", "properties": {"a": {"type": "string"}}})
TOOLS = st.builds(Tool, name=NAME, description=st.none() | WORD, parameters=SCHEMA, strict=st.none() | st.booleans())
REQUESTS = st.builds(
    Request,
    model=WORD,
    messages=st.lists(MESSAGES, max_size=4).map(tuple),
    tools=st.lists(TOOLS, max_size=2).map(tuple),
    tool_choice=st.none()
    | st.builds(ToolChoice, mode=st.sampled_from(["auto", "required", "none", None]), parallel=st.booleans())
    | st.builds(ToolChoice, mode=st.just("tool"), name=NAME),
    output=st.none()
    | st.builds(Output, kind=st.sampled_from(["text", "json"]))
    | st.builds(Output, kind=st.just("json_schema"), schema=SCHEMA, name=NAME, strict=st.none() | st.booleans()),
    sampling=st.builds(
        Sampling,
        max_tokens=st.none() | COUNT,
        temperature=st.none() | st.floats(0, 2),
        top_p=st.none() | st.floats(0, 1),
        stop=st.none() | st.lists(WORD, min_size=1, max_size=3).map(tuple),
        seed=st.none() | COUNT,
        n=st.none() | st.integers(1, 4),
        logprobs=st.none() | st.booleans(),
        logit_bias=st.none() | st.dictionaries(NAME, st.floats(-100, 100), max_size=2),
        user=st.none() | WORD,
    ),
    thinking=st.none() | st.builds(Thinking, effort=st.sampled_from(["none", "low", "high"])),
    stream=st.booleans(),
)  # fmt: skip


@given(request=REQUESTS)
@settings(max_examples=60, deadline=None)
def test_a_request_that_is_written_is_read_back(request: Request) -> None:
    dumped = CODEC.dump_request(request)
    assert dumped.losses == ()
    again = CODEC.load_request(dumped.body)
    assert plain(again) == plain(request)
    assert CODEC.dump_request(again).body == dumped.body
