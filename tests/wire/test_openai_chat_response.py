"""Whole answers of OpenAI Chat: what providers make of them, and what the official SDK's types make of ours."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from podium.errors import AuthFailed, InvalidRequest, Overloaded, ProtocolBroken
from podium.types import (
    Choice,
    Finish,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    Request,
    Response,
    Text,
    ToolCall,
    Usage,
    fold,
    unfold,
)
from podium.wire.openai_chat import CODEC
from podium.wire.sse import Parser


def body(message: Any, finish: Any = "stop", **members: Any) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return json.dumps(
        {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **members}
    ).encode()


def said(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", **fields}


def usage(**counts: Any) -> Usage:
    found = fold(CODEC.load_response(body(said(content="x"), usage=counts))).usage
    assert found is not None
    return found.replace(extra={})


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        (
            {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
             "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10, "audio_tokens": 5},
             "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 5}},
            Usage(input=25, cache_read=60, cache_write=10, input_audio=5, output=15, reasoning=30, output_audio=5),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 20,
             "completion_tokens_details": {"reasoning_tokens": 8}},
            Usage(input=10, output=2, reasoning=8),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 2, "prompt_cache_hit_tokens": 4}, Usage(input=6, cache_read=4, output=2)),
        ({"prompt_tokens": 10, "completion_tokens": 2, "cached_tokens": 4}, Usage(input=6, cache_read=4, output=2)),
        ({"prompt_tokens": 10, "cost": 0.00006}, Usage(input=10, reported_cost_usd=Decimal("0.00006"))),
        (
            {"prompt_tokens": 10, "cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}},
            Usage(input=10, reported_cost_usd=Decimal("0.021")),
        ),
        (
            {"prompt_tokens": 10, "cost": 0.02, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.02}},
            Usage(input=10, reported_cost_usd=Decimal("0.02")),
        ),
        (
            {"prompt_tokens": 10, "cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": None}},
            Usage(input=10),
        ),
        ({"prompt_tokens": 1, "cost_in_usd_ticks": 1330500}, Usage(input=1, reported_cost_usd=Decimal("0.000133050"))),
        (
            {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9},
             "completion_tokens_details": {"reasoning_tokens": 2}},
            Usage(cache_read=3, reasoning=1),
        ),
        ({"prompt_tokens": "many", "completion_tokens": None, "prompt_tokens_details": None}, Usage()),
        ({"prompt_tokens": 10**400, "completion_tokens": -1, "cost": 1e300}, Usage()),
    ],
    ids=["all details", "xAI", "DeepSeek", "Together", "OpenRouter's cost", "own key", "none", "own, unsaid",
         "xAI's ticks", "parts big", "no numbers", "huge"],
)  # fmt: skip
def test_counts_become_disjoint(counts: dict[str, Any], found: Usage) -> None:
    assert usage(**counts) == found


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"error": {"code": 401, "message": "no key"}}, AuthFailed),
        ({"error": "broken", "choices": []}, Overloaded),
        ({"detail": "invalid_request: no"}, InvalidRequest),
        ({"object": "error", "message": "bad", "code": 400}, InvalidRequest),
        ({"choices": [{"message": {}, "error": {"code": 502, "message": "upstream"}, "finish_reason": "error"}]}, Overloaded),
        ({"choices": []}, ProtocolBroken),
        ({"choices": [{"message": "hi"}]}, ProtocolBroken),
        ({"choices": [{"message": {"content": 7}}]}, ProtocolBroken),
        ({"choices": [{"message": {"content": None, "tool_calls": [{"function": {"name": 7}}]}}]}, ProtocolBroken),
        ({"choices": [{"message": {}, "index": 0}, {"message": {}, "index": 0}]}, ProtocolBroken),
        ({"choices": [{"message": {}, "finish_reason": 7}]}, ProtocolBroken),
        ({"choices": [{"message": {}}], "usage": 7}, ProtocolBroken),
        ({"id": 7, "object": "list", "data": []}, ProtocolBroken),
        (7, ProtocolBroken),
        ([], ProtocolBroken),
    ],
)
def test_what_is_no_answer_is_the_error_that_it_says_or_a_broken_protocol(document: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        CODEC.load_response(json.dumps(document).encode())


def test_a_stream_where_a_whole_answer_was_asked_for_is_read_all_the_same() -> None:
    stream = b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    assert fold(CODEC.load_response(stream)).text == "hi"
    with pytest.raises(ProtocolBroken):
        CODEC.load_response(b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n')


@pytest.mark.parametrize(
    "message",
    [
        said(content="hi"),
        said(content=""),
        said(content=None, refusal="no"),
        said(content="hi", refusal=None, annotations=[{"type": "url_citation"}], audio=None, function_call=None),
        said(content=None, audio={"id": "audio_1", "data": "AAAA", "transcript": "hi", "expires_at": 1}),
        said(content="here", images=[{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]),
        said(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "hi"}]),
        said(content="<think>hm</think>hi"),
        said(
            content=None, tool_calls=[{"id": "a", "index": 0, "type": "function", "function": {"name": "f", "arguments": ""}}]
        ),
        said(content=None, tool_calls=[{"function": {"name": "f", "arguments": {"a": 1}}}]),
        said(content=None, tool_calls=[{"id": "a", "type": "custom", "custom": {"name": "q", "input": "i"}}]),
        said(reasoning="hm", reasoning_details=[{"type": "reasoning.summary", "summary": "hm"}]),
        {"content": "no role"},
    ],
)
def test_a_message_is_written_again_as_it_was(message: dict[str, Any]) -> None:
    original = body(message, logprobs=None, x_vendor={"a": 1})
    assert json.loads(CODEC.dump_response(fold(CODEC.load_response(original)))) == json.loads(original)


def test_members_that_the_envelope_lacks_or_has_in_another_kind_come_back() -> None:
    original = {"id": 7, "created": "now", "choices": [{"message": said(content="x")}], "usage": None}
    assert json.loads(CODEC.dump_response(fold(CODEC.load_response(json.dumps(original).encode())))) == original


def answer(*parts: Any, **fields: Any) -> Response:
    finish = Finish(reason=fields.pop("reason", "stop"), raw=fields.pop("raw", None))
    return Response(id="c1", model="m", choices=(Choice(parts=parts, finish=finish),), usage=Usage(input=3, output=2), **fields)


ANSWERS = [
    answer(Text(text="hi")),
    answer(Reasoning(text="hm", extra={"anthropic": {"signature": "s"}}), Text(text="hi"), reason="length", raw="max_tokens"),
    answer(Text(text="a"), ToolCall(id="t", name="f", arguments="{}"), ToolCall(id="u", name="g"), reason="tool_calls"),
    answer(Refusal(text="no")),
    answer(Text(text="x"), Opaque(dialect="anthropic", data={"type": "t"}), Text(text="y"), reason="pause", raw="pause_turn"),
    answer(reason="other", raw="weird"),
    answer(Media(kind="image", data="AAAA", media_type="image/png")),
]  # fmt: skip


@pytest.mark.parametrize("response", ANSWERS)
def test_the_official_types_take_every_answer(response: Response) -> None:
    whole = ChatCompletion.model_validate_json(CODEC.dump_response(response))
    assert (whole.choices[0].message.content or "") == response.text
    assert whole.usage is not None
    assert whole.usage.total_tokens == 5


@pytest.mark.parametrize("response", ANSWERS)
def test_the_official_types_take_every_chunk(response: Response) -> None:
    writer = CODEC.writer(Request(model="m", messages=(), extra={"openai_chat": {"stream_options": {"include_usage": True}}}))
    parser = Parser()
    payloads = [data for event in unfold(response) for _, data in parser.feed(writer.send(event))]
    assert payloads.pop() == b"[DONE]"
    chunks = [ChatCompletionChunk.model_validate_json(data) for data in payloads]
    assert {chunk.id for chunk in chunks} == {"c1"}
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices if chunk.choices[0].finish_reason] != []
    indexes = [call.index for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or ()]
    assert indexes == list(range(len(response.tool_calls)))


def test_only_the_enumerations_words_leave_as_finish_reasons() -> None:
    words = [json.loads(CODEC.dump_response(response))["choices"][0]["finish_reason"] for response in ANSWERS]
    assert words == ["stop", "length", "tool_calls", "stop", "stop", "stop", "stop"]
