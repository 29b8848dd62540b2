"""Documents that no provider and no client should write, and some that they do: none of them may break a codec."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from podium.errors import ProtocolBroken, RequestError, UnrepresentableError
from podium.types import Event, Failed, PartDelta, Profile, Request, ToolCall, fold
from podium.wire.codec import DIALECTS, codec
from podium.wire.documents import MAX_DEPTH
from wire.crossing import chat_stream, ended, read, to_anthropic, user


def _nested(levels: int, kind: str) -> bytes:
    return b"[" * levels + b"]" * levels if kind == "list" else b'{"a":' * levels + b"1" + b"}" * levels


ODD: dict[str, bytes] = {
    **{
        f"{kind} {levels} deep": _nested(levels, kind)
        for kind in ("list", "object")
        for levels in (200, 500, 900, 990, 100_000)
    },
    "half a surrogate pair": b'"\\ud800"',
    "half a surrogate pair as a key": b'{"\\udc00": 1}',
    "NaN": b"NaN",
    "infinity": b"-Infinity",
    "a float beyond all floats": b"1e999",
    "an integer beyond 64 bits": b"18446744073709551616",
    "an integer of 5,000 digits": b"9" * 5000,
    "a key twice": b'{"a": 1, "a": 2}',
    "a control character": b'"a\x01b"',
    "bytes that are no UTF-8": b'"\xff\xfe"',
}

CHAT_REQUEST = b"""{"model": "m", "messages": [
  {"role": "user", "content": [{"type": "text", "text": "a", "z": ODD}]},
  {"role": "assistant", "content": "x", "w": ODD, "tool_calls": [
    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}", "v": ODD}}]},
  {"role": "tool", "tool_call_id": "c", "content": "r", "u": ODD}],
 "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": ODD}}}],
 "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {"properties": {"x": ODD}}}},
 "t": ODD}"""

ANTHROPIC_REQUEST = b"""{"model": "m", "max_tokens": 5, "system": [{"type": "text", "text": "s", "z": ODD}], "messages": [
  {"role": "user", "content": [{"type": "text", "text": "a", "w": ODD}]},
  {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": ODD}}]},
  {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r", "v": ODD}]}],
 "tools": [{"name": "f", "input_schema": {"type": "object", "a": ODD}}],
 "output_config": {"format": {"type": "json_schema", "schema": {"a": ODD}}}, "metadata": {"user_id": "u", "u": ODD}}"""

CHAT_ANSWER = b"""{"id": "c", "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant",
 "content": [{"type": "text", "text": "a", "z": ODD}], "reasoning_details": [ODD, {"type": "reasoning.text", "y": ODD}],
 "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "w": ODD}]}}], "v": ODD}"""

ANTHROPIC_ANSWER = b"""{"type": "message", "id": "m", "role": "assistant", "model": "c", "content": [
  {"type": "text", "text": "a", "z": ODD}, {"type": "tool_use", "id": "t", "name": "f", "input": {"x": ODD}},
  {"type": "tomorrow", "y": ODD}], "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1, "w": ODD}}"""

CHAT_STREAM = b"""data: {"id": "x", "choices": [{"index": 0, "delta": {"content": "a", "z": ODD}}]}

data: {"id": "x", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "f"}, "y": ODD}]}}]}

data: {"id": "x", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}, "y": ODD}]}}]}

data: {"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "w": ODD}

data: [DONE]

"""

ANTHROPIC_STREAM = b"""data: {"type": "message_start", "message": {"id": "m", "model": "c", "content": [], "usage": {"z": ODD}}}

data: {"type": "content_block_start", "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}, "y": ODD}}

data: {"type": "content_block_delta", "delta": {"type": "tomorrow", "x": ODD}}

data: {"type": "content_block_stop"}

data: {"type": "message_delta", "delta": {"stop_reason": "tool_use", "w": ODD}, "usage": {"output_tokens": 1, "v": ODD}}

data: {"type": "message_stop"}

"""

REQUESTS = {"openai_chat": CHAT_REQUEST, "anthropic": ANTHROPIC_REQUEST}
ANSWERS = {"openai_chat": CHAT_ANSWER, "anthropic": ANTHROPIC_ANSWER}
STREAMS = {"openai_chat": CHAT_STREAM, "anthropic": ANTHROPIC_STREAM}


def _write_for_all(events: list[Event]) -> None:
    """Write an answer for clients of each dialect, streamed and whole."""
    for dialect in DIALECTS:
        writer = codec(dialect).writer(Request(model="m", messages=()))
        with suppress(UnrepresentableError, ProtocolBroken):
            for event in events:
                writer.send(event)
            codec(dialect).dump_response(fold(events))


@pytest.mark.parametrize("odd", list(ODD))
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_odd_value_anywhere_in_a_request_is_carried_or_refused(dialect: str, odd: str) -> None:
    for place in range(REQUESTS[dialect].count(b"ODD")):
        body = _with_one(REQUESTS[dialect], place, ODD[odd])
        with suppress(RequestError):
            request = codec(dialect).load_request(body)
            for target in DIALECTS:
                with suppress(UnrepresentableError):
                    json.loads(codec(target).dump_request(request, Profile()).body)


def _with_one(template: bytes, place: int, value: bytes) -> bytes:
    """Put a value into one of the places of a template, and null into the others."""
    pieces = template.split(b"ODD")
    filled = [value if at == place else b"null" for at in range(len(pieces) - 1)]
    return b"".join(piece + each for piece, each in zip(pieces, [*filled, b""], strict=True))


@pytest.mark.parametrize("odd", list(ODD))
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_odd_value_anywhere_in_an_answer_is_carried_or_a_broken_protocol(dialect: str, odd: str) -> None:
    for templates in (ANSWERS, STREAMS):
        body = templates[dialect].replace(b"ODD", ODD[odd])
        if templates is STREAMS:
            events = read(dialect, body)
        else:
            try:
                events = list(codec(dialect).load_response(body))
            except ProtocolBroken:
                continue
        _write_for_all(events)


@pytest.mark.parametrize("odd", list(ODD))
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_error_with_an_odd_value_is_read(dialect: str, odd: str) -> None:
    for body in (ODD[odd], b'{"error": %b}' % ODD[odd], b'{"error": {"message": %b, "details": %b}}' % (ODD[odd], ODD[odd])):
        assert str(codec(dialect).load_error(400, {}, body))


@pytest.mark.parametrize("kind", ["list", "object"])
def test_a_document_may_be_as_deep_as_the_limit_says_and_no_deeper(kind: str) -> None:
    def ask(levels: int) -> Request:
        body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "x": %b}' % _nested(levels, kind)
        return codec("openai_chat").load_request(body)

    assert "x" in ask(MAX_DEPTH - 1).extra["openai_chat"]
    with pytest.raises(RequestError, match=f"deeper than {MAX_DEPTH} levels"):
        ask(MAX_DEPTH)


def test_the_last_of_two_equal_keys_counts_as_in_every_parser() -> None:
    body = b'{"model": "a", "model": "b", "messages": [{"role": "user", "content": "hi"}]}'
    assert codec("openai_chat").load_request(body).model == "b"
    assert codec("openai_chat").dump_request(codec("openai_chat").load_request(body)).body.count(b'"model"') == 1


@pytest.mark.parametrize("value", [b"NaN", b"1e999", b"-Infinity", b'"hot"'])
def test_a_temperature_that_is_no_number_is_refused(value: bytes) -> None:
    for dialect in DIALECTS:
        body = b'{"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}], "temperature": %b}' % value
        with pytest.raises(RequestError) as caught:
            codec(dialect).load_request(body)
        assert caught.value.param == "temperature"


def test_a_data_url_of_5_mb_crosses_whole() -> None:
    data = "A" * 5_000_000
    crossed = to_anthropic(user([{"type": "image_url", "image_url": {"url": f"data:image/png;x=y;base64,{data}"}}]))
    assert crossed.messages[0]["content"][0]["source"]["data"] == data


@pytest.mark.parametrize("size", [1000, 65_536])
def test_a_line_of_5_mb_is_read_in_pieces(size: int) -> None:
    text = "é" * 2_500_000
    body = chat_stream({"role": "assistant"}, {"content": text}, ended("stop"))
    reader = codec("openai_chat").reader()
    events: list[Event] = []
    for at in range(0, len(body), size):
        events += reader.feed(body[at : at + size])
    assert fold([*events, *reader.close()]).text == text


def test_choices_with_tools_in_one_stream_stay_apart_however_they_interleave() -> None:
    def piece(choice: int, call: int, text: str, **members: Any) -> dict[str, Any]:
        fragment = {"index": call, "function": {"arguments": text, **({"name": "f"} if members else {})}, **members}
        return {"choices": [{"index": choice, "delta": {"tool_calls": [fragment]}}]}

    texts = {(choice, call): f'{{"n": "{choice}{call}"}}' for choice in range(3) for call in range(3)}
    chunks = [piece(*key, "", id=f"c{key}") for key in texts]
    chunks += [piece(choice, call, texts[choice, call][at]) for at in range(11) for choice in range(3) for call in range(3)]
    chunks += [{"choices": [{"index": choice, "delta": {}, "finish_reason": "tool_calls"}]} for choice in (2, 0, 1)]
    answer = fold(read("openai_chat", chat_stream(*chunks)))
    found = {
        (choice.index, at): (part.id, part.arguments)
        for choice in answer.choices
        for at, part in enumerate(choice.parts)
        if isinstance(part, ToolCall)
    }
    assert found == {key: (f"c{key}", text) for key, text in texts.items()}


def test_after_its_end_a_reader_gives_nothing_more() -> None:
    for dialect in DIALECTS:
        reader = codec(dialect).reader()
        assert [type(event) for event in reader.feed(b"data: nonsense\n\ndata: {}\n\n")] == [Failed]
        assert reader.feed(STREAMS[dialect].replace(b"ODD", b"null")) == []
        assert reader.close() == []


def test_deltas_of_empty_text_are_no_deltas() -> None:
    events = read(
        "openai_chat", chat_stream({"role": "assistant", "content": ""}, {"content": ""}, {"content": "a"}, ended("stop"))
    )
    assert [event.text for event in events if isinstance(event, PartDelta)] == ["a"]
