"""Every recording of OpenAI Chat and its kin is read whole, however it is split, and can be written again."""

from __future__ import annotations

import json
import random
from typing import Any

from leaves import read_stream, unaccounted, unaccounted_in_stream
from podium.errors import ProviderError
from podium.types import Failed, Finished, Message, Request, Started, fold, unfold
from podium.wire.openai_chat import CODEC
from recordings import Recording, each_recording

PROVIDERS = (
    "openai-chat", "groq", "openrouter", "mistral", "deepseek", "xai", "azure", "ollama", "openai-compatible", "together",
    "cerebras", "vllm", "fireworks",
)  # fmt: skip


def is_chat(recording: Recording) -> bool:
    return recording.provider in PROVIDERS and not (
        "/responses" in recording.url
        or "responses" in recording.id
        or recording.method == "GET"
        or "models-list" in recording.id
    )


def chat_body(body: bytes | None) -> bool:
    return body is not None and b'"messages"' in body


with_stream = each_recording(lambda r: is_chat(r) and r.status == 200 and r.stream is not None)
with_response = each_recording(
    lambda r: is_chat(r) and r.status == 200 and r.response is not None and b'"choices"' in r.response
)
with_request = each_recording(lambda r: is_chat(r) and chat_body(r.request))
with_error = each_recording(lambda r: r.status >= 400)


def decode_stream(stream: bytes) -> list[Any]:
    return read_stream(CODEC.reader(), [stream])


with_good_stream = each_recording(
    lambda r: is_chat(r) and r.status == 200 and r.stream is not None and not isinstance(decode_stream(r.stream)[-1], Failed)
)


@with_request
def test_a_request_is_written_again_as_it_was(recording: Recording) -> None:
    assert recording.request is not None
    assert json.loads(CODEC.dump_request(CODEC.load_request(recording.request)).body) == json.loads(recording.request)


@with_request
def test_every_leaf_of_a_request_is_kept(recording: Recording) -> None:
    assert recording.request is not None
    assert unaccounted(recording.request, CODEC.load_request) == []


@with_response
def test_every_leaf_of_an_answer_is_kept(recording: Recording) -> None:
    assert recording.response is not None
    assert unaccounted(recording.response, CODEC.load_response) == []


@with_response
def test_an_answer_is_written_again_as_it_was(recording: Recording) -> None:
    assert recording.response is not None
    written = CODEC.dump_response(fold(CODEC.load_response(recording.response)))
    assert json.loads(written) == json.loads(recording.response)


@with_response
def test_an_answer_goes_back_as_history_and_is_read_the_same(recording: Recording) -> None:
    assert recording.response is not None
    answer = fold(CODEC.load_response(recording.response))
    request = Request(model="m", messages=(Message(role="assistant", parts=answer.parts),))
    written = json.loads(CODEC.dump_request(request).body)["messages"][0]
    original = json.loads(recording.response)["choices"][0]["message"]
    for key in ("content", "reasoning_content", "reasoning", "reasoning_details"):
        assert (written.get(key) or None) == (original.get(key) or None), key
    assert not [key for key in written if key.startswith("$")]


@with_stream
def test_every_leaf_of_a_stream_is_kept(recording: Recording) -> None:
    assert recording.stream is not None
    assert unaccounted_in_stream(recording.stream, decode_stream) == []


@with_stream
def test_a_stream_gives_the_same_events_however_it_is_split(recording: Recording) -> None:
    stream = recording.stream
    assert stream is not None
    whole = decode_stream(stream)
    assert read_stream(CODEC.reader(), [stream[at : at + 1] for at in range(len(stream))]) == whole
    chance = random.Random(recording.id)
    for _ in range(5):
        cuts = sorted(chance.randrange(len(stream)) for _ in range(chance.randrange(1, 40)))
        pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert read_stream(CODEC.reader(), pieces) == whole


@with_stream
def test_a_stream_begins_and_ends_once_and_its_parts_do_not_overlap(recording: Recording) -> None:
    assert recording.stream is not None
    events = decode_stream(recording.stream)
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished | Failed)
    assert_in_order(events)


def assert_in_order(events: list[Any]) -> None:
    open_parts: dict[int, int] = {}
    counts: dict[int, int] = {}
    for event in events[1:-1]:
        name = type(event).__name__
        if name == "PartStart":
            assert event.choice not in open_parts
            assert event.index == counts.get(event.choice, 0)
            counts[event.choice] = event.index + 1
            open_parts[event.choice] = event.index
        else:
            assert name in ("PartDelta", "PartEnd")
            assert open_parts[event.choice] == event.index
            if name == "PartEnd":
                del open_parts[event.choice]
    assert not open_parts or isinstance(events[-1], Failed)


@with_good_stream
def test_a_stream_that_is_written_again_folds_to_the_same_answer(recording: Recording) -> None:
    assert recording.stream is not None
    events = decode_stream(recording.stream)
    asked = Request(model="m", messages=(), extra={"openai_chat": {"stream_options": {"include_usage": True}}})
    writer = CODEC.writer(asked)
    before = fold(events)
    after = fold(read_stream(CODEC.reader(), [writer.send(event) for event in events]))
    assert after.usage == before.usage
    assert [choice.finish.reason for choice in after.choices] == [choice.finish.reason for choice in before.choices]
    for one, other in zip(after.choices, before.choices, strict=True):
        assert [type(part) for part in one.parts] == [type(part) for part in other.parts]
        for part, was in zip(one.parts, other.parts, strict=True):
            assert {**part.to_dict(), "extra": 0} == {**was.to_dict(), "extra": 0}


@with_good_stream
def test_a_streams_fold_is_an_answer_that_can_be_written(recording: Recording) -> None:
    assert recording.stream is not None
    events = decode_stream(recording.stream)
    response = fold(events)
    again = fold(CODEC.load_response(CODEC.dump_response(response)))
    assert again.text == response.text
    assert again.reasoning == response.reasoning
    assert [(call.name, call.load_arguments()) for call in again.tool_calls] == [
        (call.name, call.load_arguments()) for call in response.tool_calls
    ]
    assert fold(unfold(again)) == again


@with_error
def test_an_error_of_any_provider_is_read(recording: Recording) -> None:
    error = CODEC.load_error(
        recording.status, {key.lower(): value for key, value in recording.headers.items()}, recording.response or b""
    )
    assert isinstance(error, ProviderError)
    assert error.upstream_status == recording.status
    assert error.code == EXPECTED.get(recording.id, error.code)


EXPECTED = {
    "azure/error-400-content-filter": "refused",
    "azure/error-401": "authentication_failed",
    "azure/error-429": "throttled",
    "bedrock/error-400-model": "model_not_found",
    "bedrock/error-403": "authentication_failed",
    "cohere/error-401": "authentication_failed",
    "deepseek/error-400-context": "context_too_long",
    "deepseek/error-401": "authentication_failed",
    "gemini/error-400-key": "authentication_failed",
    "gemini/error-404-model": "model_not_found",
    "gemini/error-429": "throttled",
    "groq/error-400-tool-use-failed": "provider_invalid_request",
    "ollama/error-401": "authentication_failed",
    "openai-chat/error-400-developer-role": "unsupported_setting",
    "openai-chat/error-400-max-tokens": "unsupported_setting",
    "openai-chat/error-400-unsupported-param": "unsupported_setting",
    "openai-chat/error-404-model": "model_not_found",
    "openai-chat/error-429-quota": "throttled",
    "openai-chat/error-429-rate-limit": "throttled",
    "openai-chat/error-500": "overloaded",
    "openrouter/error-401": "authentication_failed",
    "openrouter/error-429": "throttled",
    "xai/error-400-key": "authentication_failed",
    "anthropic/error-400-too-long": "context_too_long",
    "anthropic/error-401": "authentication_failed",
    "anthropic/error-404-model": "model_not_found",
    "anthropic/error-429": "throttled",
    "anthropic/error-529-overloaded": "overloaded",
}
