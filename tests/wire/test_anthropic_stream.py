"""Anthropic's streams: what each event becomes, and what becomes of each event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leaves import read_stream
from podium.errors import Overloaded, ProtocolBroken, ProviderError, Throttled, UnrepresentableError
from podium.types import (
    Event,
    Failed,
    Finish,
    Finished,
    Media,
    Opaque,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Refusal,
    Request,
    Response,
    Started,
    Text,
    ToolCall,
    Usage,
    fold,
)
from podium.wire.anthropic import CODEC
from podium.wire.sse import Parser

START: dict[str, Any] = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 1},
    },
}
END: list[dict[str, Any]] = [
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]
ASK = Request(model="m", messages=())


def _sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in events)


def _read(*events: dict[str, Any]) -> list[Event]:
    return read_stream(CODEC.reader(), [_sse(*events)])


def _block(block: dict[str, Any], *deltas: dict[str, Any], index: int = 0) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _answer(*blocks: list[dict[str, Any]], end: list[dict[str, Any]] = END) -> Response:
    return fold(_read(START, *(event for block in blocks for event in block), *end))


TEXT = _block({"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"})


def test_a_text_streams_as_it_comes() -> None:
    assert _read(START, *TEXT, *END)[1:4] == [
        PartStart(index=0, part=Text(text="")),
        PartDelta(index=0, text="Hi"),
        PartEnd(index=0),
    ]


def test_counts_of_the_end_overwrite_those_of_the_start() -> None:
    end = [{**END[0], "usage": {"input_tokens": 6, "cache_read_input_tokens": None, "output_tokens": 9}}, END[1]]
    usage = _answer(TEXT, end=end).usage
    assert usage is not None
    assert (usage.input, usage.cache_read, usage.output) == (6, 7, 9)


def test_a_stop_sequence_is_told() -> None:
    end = [{**END[0], "delta": {"stop_reason": "stop_sequence", "stop_sequence": "STOP"}}, END[1]]
    finish = _answer(TEXT, end=end).choices[0].finish
    assert (finish.reason, finish.stop_sequence) == ("stop", "STOP")


@pytest.mark.parametrize(
    ("deltas", "arguments"),
    [
        ([], "{}"),
        ([""], "{}"),
        (['{"a"', ": 1}"], '{"a": 1}'),
        (["", '{"a": "'], '{"a": "'),
    ],
)
def test_arguments_are_what_was_streamed(deltas: list[str], arguments: str) -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    answer = _answer(_block(block, *({"type": "input_json_delta", "partial_json": delta} for delta in deltas)))
    assert answer.tool_calls == (ToolCall(id="toolu_1", name="f", arguments=arguments),)


def test_arguments_given_at_once_count_where_no_delta_comes() -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
    assert _answer(_block(block)).tool_calls[0].load_arguments() == {"a": 1}
    call = _answer(_block(block, {"type": "input_json_delta", "partial_json": '{"b":2}'})).tool_calls[0]
    assert call.load_arguments() == {"b": 2}
    assert call.extra == {"anthropic": {"$input": {"a": 1}}}


def test_thinking_keeps_its_last_signature() -> None:
    answer = _answer(
        _block(
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "Let me "},
            {"type": "thinking_delta", "thinking": "see."},
            {"type": "signature_delta", "signature": "abc"},
        ),
        _block({"type": "redacted_thinking", "data": "xyz"}, index=1),
    )
    thought, hidden = answer.parts
    assert thought == Reasoning(text="Let me see.", extra={"anthropic": {"signature": "abc"}})
    assert isinstance(hidden, Reasoning)
    assert hidden.extra["anthropic"]["data"] == "xyz"


def test_citations_gather_in_their_text() -> None:
    first, second = ({"type": "char_location", "cited_text": each} for each in "ab")
    block = _block(
        {"type": "text", "text": "", "citations": None},
        {"type": "citations_delta", "citation": first},
        {"type": "text_delta", "text": "Hi"},
        {"type": "citations_delta", "citation": second},
    )
    assert _answer(block).parts == (Text(text="Hi", extra={"anthropic": {"citations": [first, second]}}),)


def test_a_server_tool_comes_whole_with_its_input() -> None:
    block = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}}
    deltas = ({"type": "input_json_delta", "partial_json": each} for each in ("", '{"query":', ' "q"}'))
    result = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"type": "web_search_result"}]}
    answer = _answer(_block(block, *deltas), _block(result, index=1))
    assert answer.parts == (
        Opaque(dialect="anthropic", data={**block, "input": {"query": "q"}}),
        Opaque(dialect="anthropic", data=result),
    )


def test_a_compaction_takes_its_content_from_its_delta() -> None:
    block = _block({"type": "compaction", "content": None}, {"type": "compaction_delta", "content": "short"})
    assert _answer(block).parts == (Opaque(dialect="anthropic", data={"type": "compaction", "content": "short"}),)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause"),
        ("new_reason", "other"),
        (None, "other"),
    ],
)
def test_stop_reasons_have_podiums_words(raw: str | None, reason: str) -> None:
    end = [{**END[0], "delta": {"stop_reason": raw, "stop_sequence": None}}, END[1]]
    answer = _answer(TEXT, end=end)
    assert (answer.finish_reason, answer.choices[0].finish.raw) == (reason, raw)
    assert json.loads(CODEC.dump_response(answer))["stop_reason"] == raw


def test_a_refusal_keeps_its_details() -> None:
    details = {"type": "refusal", "category": "cyber"}
    end = [{**END[0], "delta": {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}}, END[1]]
    assert _answer(TEXT, end=end).choices[0].finish.extra == {"anthropic": {"stop_details": details}}


def test_pings_and_a_second_equal_start_say_nothing() -> None:
    ping = {"type": "ping"}
    assert _read(ping, START, ping, START, *TEXT, ping, *END) == _read(START, *TEXT, *END)


def test_what_is_unknown_is_kept() -> None:
    odd = {"type": "new_event", "a": 1}
    delta = {"type": "new_delta", "b": 2}
    answer = _answer([odd], _block({"type": "text", "text": ""}, delta), _block({"type": "new_block"}, delta, index=1))
    assert answer.end_extra == {"anthropic": {"$events": [odd]}}
    assert answer.parts == (
        Text(text="", extra={"anthropic": {"$deltas": [delta]}}),
        Opaque(dialect="anthropic", data={"type": "new_block"}, extra={"anthropic": {"$deltas": [delta]}}),
    )


@pytest.mark.parametrize(
    ("block", "delta"),
    [
        ({"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"}),
        ({"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": "Hi"}),
        ({"type": "tool_use", "id": "a", "name": "f", "input": {}}, {"type": "input_json_delta", "partial_json": "Hi"}),
    ],
)
def test_a_delta_that_says_more_than_its_text_keeps_both(block: dict[str, Any], delta: dict[str, Any]) -> None:
    (part,) = _answer(_block(block, {**delta, "new": 1})).parts
    assert isinstance(part, Text | Reasoning | ToolCall)
    assert (part.arguments if isinstance(part, ToolCall) else part.text) == "Hi"
    assert part.extra["anthropic"]["$deltas"] == [{"$beside": {"new": 1}}]


def test_a_block_that_is_not_stopped_ends_with_the_next_or_with_the_message() -> None:
    second = _block({"type": "text", "text": ""}, {"type": "text_delta", "text": "there"}, index=1)
    events = _read(START, *TEXT[:-1], *second[:-1], *END)
    assert [type(event) for event in events[1:]] == [PartStart, PartDelta, PartEnd] * 2 + [Finished]


BROKEN = {
    "no start": TEXT + END,
    "a delta of no block": [START, {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}],
    "a delta of another block": [START, *TEXT[:1], {**TEXT[1], "index": 1}],
    "a delta that is none": [START, *TEXT[:1], {"type": "content_block_delta", "index": 0, "delta": 1}],
    "a block that is none": [START, {"type": "content_block_start", "index": 0, "content_block": "text"}],
    "a text that is none": _block({"type": "text", "text": 1}),
    "a message that is none": [{"type": "message_start", "message": None}],
    "an end that is none": [START, {"type": "message_delta", "delta": None}],
    "a stop alone": [{"type": "message_stop"}],
    "nothing": [],
    "no end": [START, *TEXT],
    "no stop": [START, *TEXT, END[0]],
}


@pytest.mark.parametrize("events", BROKEN.values(), ids=BROKEN)
def test_a_stream_out_of_order_or_cut_has_failed(events: list[dict[str, Any]]) -> None:
    last = _read(*events)[-1]
    assert isinstance(last, Failed)
    assert isinstance(last.error, ProtocolBroken)


@pytest.mark.parametrize("data", [b"[DONE]", b"{", b"[]", b"\xff", b'{"type": ["a"]}'])
def test_an_event_that_is_no_json_object_is_a_failure_or_kept(data: bytes) -> None:
    events = read_stream(CODEC.reader(), [_sse(START), b"data: " + data + b"\n\n", _sse(*END)])
    assert isinstance(events[-1], Finished if data.startswith(b'{"type"') else Failed)


def test_nothing_follows_the_terminal_event() -> None:
    reader = CODEC.reader()
    assert isinstance(reader.feed(_sse(START, *TEXT, *END, START, *TEXT))[-1], Finished)
    assert reader.feed(_sse(START, *END)) == []
    assert reader.close() == []


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("overloaded_error", Overloaded),
        ("api_error", Overloaded),
        ("rate_limit_error", Throttled),
        ("new_error", ProviderError),
    ],
)
def test_an_error_inside_a_stream_has_its_class(word: str, kind: type[ProviderError]) -> None:
    events = _read(START, *TEXT[:2], {"type": "error", "error": {"type": word, "message": "No."}}, *END)
    last = events[-1]
    assert isinstance(last, Failed)
    assert isinstance(last.error, kind)
    assert isinstance(last.error, ProviderError)
    assert last.error.billable
    assert sum(isinstance(event, Failed | Finished) for event in events) == 1


def test_an_error_body_where_a_stream_was_asked_for_is_that_error() -> None:
    body = b'{"type": "error",\n "error": {"type": "overloaded_error", "message": "Overloaded"}}'
    (event,) = read_stream(CODEC.reader(), [body])
    assert isinstance(event, Failed)
    assert isinstance(event.error, Overloaded)


def test_what_stands_beside_the_stop_does_not_change_the_end() -> None:
    stop = {"type": "message_stop", "usage": {"output_tokens": 1000}, "amazon-bedrock-invocationMetrics": {"latency": 1}}
    events = _read(START, *TEXT, END[0], stop)
    answer = fold(events)
    assert answer.usage is not None
    assert answer.usage.output == 9
    writer = CODEC.writer(ASK)
    assert read_stream(CODEC.reader(), [b"".join(writer.send(event) for event in events)]) == events


def test_odd_citations_are_kept_and_written_again() -> None:
    events = _read(START, *_block({"type": "text", "text": "", "citations": 5}), *END)
    writer = CODEC.writer(ASK)
    assert fold(read_stream(CODEC.reader(), [b"".join(writer.send(event) for event in events)])) == fold(events)


# --- Writing ---------------------------------------------------------------------------------------------------------


def _write(*events: Event) -> list[dict[str, Any]]:
    writer = CODEC.writer(ASK)
    parser = Parser()
    written = parser.feed(b"".join(writer.send(event) for event in events))
    documents: list[dict[str, Any]] = [json.loads(data) for _, data in written]
    assert [name for name, _ in written] == [document["type"] for document in documents]
    return documents


DONE = Finished(
    finishes=(Finish(reason="tool_calls"),), usage=Usage(input=3, cache_read=2, cache_write=1, output=4, reasoning=5)
)


def test_a_foreign_answer_becomes_a_whole_anthropic_stream() -> None:
    events = _write(
        Started(id="chatcmpl-9!", model="gpt", extra={"openai_chat": {"system_fingerprint": "f"}}),
        PartStart(index=0, part=Reasoning()),
        PartDelta(index=0, text="Hm."),
        PartEnd(index=0),
        PartStart(index=1, part=Text(text="")),
        PartDelta(index=1, text="Hi"),
        PartEnd(index=1),
        PartStart(index=2, part=ToolCall(id="call:1", name="f", arguments='{"a"')),
        PartDelta(index=2, text=":1}"),
        PartEnd(index=2),
        PartStart(index=3, part=Refusal(text="No.")),
        PartEnd(index=3),
        DONE,
    )
    assert [event["type"] for event in events] == [
        "message_start",
        *["content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"],
        *["content_block_start", "content_block_delta", "content_block_stop"],
        *["content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"],
        *["content_block_start", "content_block_delta", "content_block_stop"],
        "message_delta",
        "message_stop",
    ]
    message = events[0]["message"]
    assert (message["id"], message["model"], message["role"]) == ("msg_chatcmpl-9_", "gpt", "assistant")
    assert message["usage"]["input_tokens"] == 0
    assert events[1]["content_block"] == {"type": "thinking", "thinking": "", "signature": ""}
    assert events[3]["delta"]["type"] == "signature_delta"
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None, "stop_details": None}
    assert events[-2]["usage"] == {
        "input_tokens": 3,
        "cache_creation_input_tokens": 1,
        "cache_read_input_tokens": 2,
        "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 5},
    }


def test_blocks_never_interleave() -> None:
    events = _write(Started(), PartStart(index=0, part=Text(text="a")), PartStart(index=1, part=Text(text="b")), DONE)
    assert [(event["type"], event.get("index")) for event in events[1:-2]] == [
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
    ]


def test_a_failed_answer_ends_with_an_error_and_nothing_else() -> None:
    events = _write(Started(), PartStart(index=0, part=Text(text="a")), Failed(error=Overloaded("Too busy.")), DONE)
    assert events[-1]["type"] == "error"
    assert events[-1]["error"]["type"] == "overloaded_error"
    assert "message_stop" not in [event["type"] for event in events]


def test_foreign_reasoning_comes_back_as_it_was_from_an_anthropic_client() -> None:
    part = Reasoning(text="Hm.", extra={"openai_chat": {"reasoning_details": [{"data": "é"}]}})
    answer = fold(
        CODEC.load_response(CODEC.dump_response(fold([Started(id="a"), PartStart(index=0, part=part), PartEnd(index=0), DONE])))
    )
    assert answer.parts == (part,)
    block = json.loads(CODEC.dump_response(answer))["content"][0]
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "assistant", "content": [block]}]}
    loaded = CODEC.load_request(json.dumps(body).encode())
    assert loaded.messages[0].parts == (part,)
    dumped = CODEC.dump_request(loaded)
    assert json.loads(dumped.body)["messages"] == []
    assert len(dumped.losses) == 1


@pytest.mark.parametrize(
    "event",
    [
        PartStart(index=0, part=Media(kind="image", url="https://example.com")),
        PartStart(index=0, part=Opaque(dialect="gemini", data={})),
        PartStart(index=0, part=Text(text=""), choice=1),
        Finished(finishes=()),
    ],
)
def test_what_anthropics_streams_cannot_hold_is_an_error(event: Event) -> None:
    writer = CODEC.writer(ASK)
    writer.send(Started())
    with pytest.raises(UnrepresentableError):
        writer.send(event)
