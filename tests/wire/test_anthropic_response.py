"""Anthropic's whole answers: the counts, the ends, the envelope."""

from __future__ import annotations

import json
from typing import Any

import pytest

from podium.errors import Overloaded, ProtocolBroken, UnrepresentableError
from podium.types import Choice, Finish, Media, Opaque, Reasoning, Refusal, Response, Text, ToolCall, Usage, fold
from podium.wire.anthropic import CODEC

MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 2},
}


def _load(**said: Any) -> Response:
    return fold(CODEC.load_response(json.dumps(MESSAGE | said).encode()))


SAID: dict[str, dict[str, Any]] = {
    "nothing more": {},
    "an id of another form": {"id": "gen-1", "type": "completion", "role": "model"},
    "null for id and model": {"id": None, "model": None},
    "no content": {"content": []},
    "empty text": {"content": [{"type": "text", "text": ""}]},
    "null citations": {"content": [{"type": "text", "text": "a", "citations": None}]},
    "calls": {
        "content": [
            {"type": "tool_use", "id": "a b", "name": "f.g", "input": {"x": [1.0, None]}, "caller": {"type": "direct"}},
            {"type": "tool_use", "id": "a", "name": "f", "input": {}},
        ]
    },
    "thinking": {
        "content": [
            {"type": "thinking", "thinking": "a", "signature": "s"},
            {"type": "thinking", "thinking": "a"},
            {"type": "redacted_thinking", "data": "d"},
        ]
    },
    "blocks of Anthropic's own": {"content": [{"type": "server_tool_use", "input": {}}, {"type": "new", "$x": 1}]},
    "details and a container": {"stop_reason": "refusal", "stop_details": {"type": "refusal"}, "container": {"id": "c"}},
    "null details": {"stop_details": None, "container": None, "context_management": None},
    "context management": {"context_management": {"applied_edits": []}, "diagnostics": None, "$new": 1},
    "a new stop reason": {"stop_reason": "new", "stop_sequence": 5},
    "no stop reason": {"stop_reason": None},
    "a stop sequence": {"stop_reason": "stop_sequence", "stop_sequence": "."},
    "no usage": {"usage": None},
    "counts of every kind": {
        "usage": {
            "input_tokens": 1,
            "cache_creation_input_tokens": 30,
            "cache_read_input_tokens": 5,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20, "new": 0},
            "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 4},
            "server_tool_use": {"web_search_requests": 1},
            "iterations": [{"input_tokens": 1}],
            "service_tier": "standard",
        }
    },
    "odd counts": {"usage": {"input_tokens": -1, "output_tokens": None, "cache_creation": None, "output_tokens_details": {}}},
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_what_anthropic_says_is_said_again(said: dict[str, Any]) -> None:
    assert json.loads(CODEC.dump_response(_load(**said))) == MESSAGE | said


@pytest.mark.parametrize("key", [key for key in MESSAGE if key != "content"])
def test_a_key_that_is_missing_stays_missing(key: str) -> None:
    body = {name: value for name, value in MESSAGE.items() if name != key}
    again = json.loads(CODEC.dump_response(fold(CODEC.load_response(json.dumps(body).encode()))))
    again.pop("usage") if key == "usage" else None
    assert again == body


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        ({"input_tokens": 1, "output_tokens": 2}, Usage(input=1, output=2)),
        ({"input_tokens": 1, "cache_read_input_tokens": 3, "output_tokens": 2}, Usage(input=1, cache_read=3, output=2)),
        ({"cache_creation_input_tokens": 7}, Usage(cache_write=7)),
        (
            {
                "cache_creation_input_tokens": 7,
                "cache_creation": {"ephemeral_1h_input_tokens": 5, "ephemeral_5m_input_tokens": 2},
            },
            Usage(cache_write=2, cache_write_1h=5),
        ),
        ({"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}, Usage(output=5, reasoning=4)),
        ({"output_tokens": 3, "output_tokens_details": {"thinking_tokens": 4}}, Usage(reasoning=3)),
    ],
)
def test_counts_are_disjoint(raw: dict[str, Any], usage: Usage) -> None:
    loaded = _load(usage=raw).usage
    assert loaded is not None
    assert loaded.replace(extra={}) == usage
    assert loaded.total_output == raw.get("output_tokens", 0)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"content": "a"}', b'{"content": [1]}', b'{"content": [{}]}'])
def test_a_body_that_is_no_message_is_broken(body: bytes) -> None:
    with pytest.raises(ProtocolBroken):
        CODEC.load_response(body)


@pytest.mark.parametrize("kind", [b'"type": "error", ', b""])
def test_an_error_with_status_200_is_that_error(kind: bytes) -> None:
    with pytest.raises(Overloaded):
        CODEC.load_response(b'{%b"error": {"type": "overloaded_error", "message": "Overloaded"}}' % kind)


def _dump(*parts: Any, finish: Finish | None = None, **fields: Any) -> dict[str, Any]:
    choice = Choice(parts=parts, finish=finish or Finish(reason="stop"))
    message: dict[str, Any] = json.loads(CODEC.dump_response(Response(choices=(choice,), **fields)))
    return message


def test_a_foreign_answer_becomes_a_valid_message() -> None:
    message = _dump(
        Reasoning(text="Hm."),
        Text(text=""),
        Text(text="Hi", extra={"openai_chat": {"annotations": []}}),
        Refusal(text="No."),
        ToolCall(id="call 1", name="f"),
        id="chatcmpl-1",
        model="gpt",
        usage=Usage(input=1, input_audio=2, output=3, output_audio=4, reasoning=5),
    )
    assert message["id"] == "msg_chatcmpl-1"
    assert [block["type"] for block in message["content"]] == ["thinking", "text", "text", "tool_use"]
    assert message["content"][3]["input"] == {}
    assert (message["type"], message["role"], message["stop_sequence"]) == ("message", "assistant", None)
    assert message["usage"]["input_tokens"] == 3
    assert message["usage"]["output_tokens"] == 12


def test_an_answer_without_an_id_gets_the_same_one_each_time() -> None:
    first, second = _dump(model="a"), _dump(model="a")
    assert first["id"] == second["id"]
    assert first["id"].startswith("msg_")
    assert _dump(model="b")["id"] != first["id"]
    assert first["usage"]["input_tokens"] == 0


@pytest.mark.parametrize(
    ("finish", "raw"),
    [
        (Finish(reason="stop", raw="STOP"), "end_turn"),
        (Finish(reason="stop", stop_sequence="."), "stop_sequence"),
        (Finish(reason="length", raw="MAX_TOKENS"), "max_tokens"),
        (Finish(reason="length", raw="model_context_window_exceeded"), "model_context_window_exceeded"),
        (Finish(reason="tool_calls", raw="end_turn"), "tool_use"),
        (Finish(reason="content_filter", raw="SAFETY"), "refusal"),
        (Finish(reason="pause"), "pause_turn"),
        (Finish(reason="other", raw="eos"), "end_turn"),
    ],
)
def test_only_anthropics_stop_reasons_are_said(finish: Finish, raw: str) -> None:
    assert _dump(finish=finish)["stop_reason"] == raw


@pytest.mark.parametrize("part", [Media(kind="audio", data="AA"), Opaque(dialect="gemini", data={"type": "x"})])
def test_content_without_a_form_is_an_error(part: Any) -> None:
    with pytest.raises(UnrepresentableError):
        _dump(part)


def test_two_choices_are_an_error() -> None:
    choice = Choice(parts=(), finish=Finish(reason="stop"))
    with pytest.raises(UnrepresentableError):
        CODEC.dump_response(Response(choices=(choice, choice.replace(index=1))))


def test_arguments_that_are_no_object_are_an_error() -> None:
    with pytest.raises(UnrepresentableError):
        _dump(ToolCall(id="a", name="f", arguments='{"a":'))
