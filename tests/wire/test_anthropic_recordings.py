"""Every recording of Anthropic is read whole, the same however it is split, and written again as it was."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import pytest

from leaves import read_stream, unaccounted, unaccounted_in_stream
from podium.errors import (
    AuthFailed,
    ContextTooLong,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ProviderError,
    Throttled,
    UnrepresentableError,
)
from podium.types import Event, Failed, Finished, Refusal, Request, ToolCall, fold
from podium.wire.anthropic import CODEC
from podium.wire.codec import codec
from recordings import Recording, each_recording


def _is_ours(recording: Recording) -> bool:
    return recording.provider == "anthropic" and "count-tokens" not in recording.id


requests = each_recording(lambda each: _is_ours(each) and each.request is not None)
answers = each_recording(lambda each: _is_ours(each) and each.response is not None and each.status == 200)
streams = each_recording(lambda each: _is_ours(each) and each.stream is not None)
failures = each_recording(lambda each: _is_ours(each) and each.status >= 400)


def _read(body: bytes) -> list[Event]:
    return read_stream(CODEC.reader(), [body])


def test_the_table_of_codecs_has_this_one() -> None:
    assert codec("anthropic") is CODEC
    assert CODEC.name == "anthropic"


@requests
def test_a_request_is_dumped_as_it_was_loaded(recording: Recording) -> None:
    body = recording.request or b""
    dumped = CODEC.dump_request(CODEC.load_request(body))
    assert json.loads(dumped.body) == json.loads(body)
    assert dumped.losses == ()
    assert dumped.path == "/v1/messages"
    assert dumped.headers["anthropic-version"] == "2023-06-01"


@requests
def test_every_leaf_of_a_request_is_accounted_for(recording: Recording) -> None:
    assert unaccounted(recording.request or b"", CODEC.load_request) == []


@answers
def test_an_answer_is_dumped_as_it_was_loaded(recording: Recording) -> None:
    body = recording.response or b""
    assert json.loads(CODEC.dump_response(fold(CODEC.load_response(body)))) == json.loads(body)


@answers
def test_every_leaf_of_an_answer_is_accounted_for(recording: Recording) -> None:
    assert unaccounted(recording.response or b"", CODEC.load_response) == []


@streams
def test_every_leaf_of_a_stream_is_accounted_for(recording: Recording) -> None:
    assert unaccounted_in_stream(recording.stream or b"", _read) == []


@streams
def test_a_stream_gives_the_same_events_however_it_is_split(recording: Recording) -> None:
    body = recording.stream or b""
    whole = _read(body)
    assert read_stream(CODEC.reader(), [body[at : at + 1] for at in range(len(body))]) == whole
    draw = random.Random(recording.id)
    for _ in range(5):
        cuts = sorted({0, len(body), *(draw.randrange(len(body)) for _ in range(draw.randrange(1, 60)))})
        assert read_stream(CODEC.reader(), [body[a:b] for a, b in pairwise(cuts)]) == whole


@streams
def test_a_stream_that_is_written_again_reads_the_same(recording: Recording) -> None:
    events = _read(recording.stream or b"")
    writer = CODEC.writer(CODEC.load_request(b'{"model":"m","max_tokens":1,"messages":[]}'))
    again = _read(b"".join(writer.send(event) for event in events))
    if isinstance(events[-1], Failed):
        assert isinstance(again[-1], Failed)
        assert type(again[-1].error) is type(events[-1].error)
    else:
        assert fold(again) == fold(events)


@streams
def test_a_streamed_answer_dumped_whole_says_the_same(recording: Recording) -> None:
    events = _read(recording.stream or b"")
    if isinstance(events[-1], Finished):
        answer = fold(events)
        again = fold(CODEC.load_response(CODEC.dump_response(answer)))
        assert (again.choices, again.usage, again.id, again.model) == (answer.choices, answer.usage, answer.id, answer.model)


_CHATS = ("openai-chat", "groq", "openrouter", "mistral", "deepseek", "openai-compatible")


@each_recording(lambda each: each.provider in _CHATS and "/n3" not in each.id and each.stream is not None)
def test_a_recorded_chat_stream_reaches_an_anthropic_client_whole(recording: Recording) -> None:
    events = read_stream(codec("openai_chat").reader(), [recording.stream or b""])
    writer = CODEC.writer(CODEC.load_request(b'{"model":"m","max_tokens":1,"messages":[]}'))
    again = _read(b"".join(writer.send(event) for event in events))
    if isinstance(events[-1], Failed):
        assert isinstance(again[-1], Failed)
        return
    asked, given = fold(events), fold(again)
    refused = "".join(part.text for part in asked.parts if isinstance(part, Refusal))
    assert given.text == asked.text + refused
    assert given.reasoning == asked.reasoning
    assert [(call.name, call.load_arguments()) for call in given.tool_calls] == [
        (call.name, call.load_arguments()) for call in asked.tool_calls
    ]
    assert given.finish_reason == asked.finish_reason
    if asked.usage is not None and given.usage is not None:
        assert (given.usage.total_input, given.usage.total_output) == (asked.usage.total_input, asked.usage.total_output)


@each_recording(lambda each: each.provider in _CHATS and each.request is not None and "chat/completions" in each.url)
def test_a_recorded_chat_request_becomes_one_of_anthropics(recording: Recording) -> None:
    body = recording.request or b""
    said = json.loads(body)
    request = codec("openai_chat").load_request(body)
    empty = not any(message.parts for message in request.messages)
    if said.get("n", 1) > 1 or said.get("logprobs") or b'"input_audio"' in body or empty:
        with pytest.raises(UnrepresentableError):
            CODEC.dump_request(request)
        return
    dumped = CODEC.dump_request(request)
    again = CODEC.load_request(dumped.body)
    assert again.sampling.max_tokens is not None
    assert [call.name for call in _calls(again)] == [call.name for call in _calls(request)]
    assert json.loads(CODEC.dump_request(again).body) == json.loads(dumped.body)


def _calls(request: Request) -> list[ToolCall]:
    return [part for message in request.messages for part in message.parts if isinstance(part, ToolCall)]


_CLASSES: dict[str, type[ProviderError]] = {
    "anthropic/error-400-orphan-tool-result": InvalidRequest,
    "anthropic/error-400-too-long": ContextTooLong,
    "anthropic/error-401": AuthFailed,
    "anthropic/error-404-model": ModelNotFound,
    "anthropic/error-429": Throttled,
    "anthropic/error-529-overloaded": Overloaded,
}


@failures
def test_an_error_has_its_class_and_loses_no_leaf(recording: Recording) -> None:
    def decode(body: bytes) -> Any:
        error = CODEC.load_error(recording.status, recording.headers, body)
        return type(error), str(error), error.to_dict()

    body = recording.response or b""
    assert decode(body)[0] is _CLASSES.get(recording.id, decode(body)[0])
    assert unaccounted(body, decode) == []


@pytest.mark.parametrize("ending", [b"", b"\n"])
@each_recording(lambda each: _is_ours(each) and b"message_stop" in (each.stream or b""))
def test_a_stream_without_its_last_event_has_failed(recording: Recording, ending: bytes) -> None:
    body = (recording.stream or b"").replace(b"\r\n", b"\n")
    cut = body[: body.rindex(b"event: message_stop")] + ending
    last = _read(cut)[-1]
    assert isinstance(last, Failed)
    assert last.error.code == "protocol_broken"
