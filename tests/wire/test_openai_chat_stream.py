"""Streams of OpenAI Chat: what providers do to them, each as small as the fact."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leaves import read_stream
from podium.errors import InvalidRequest, Overloaded, ProtocolBroken, Throttled
from podium.types import (
    Event,
    Failed,
    Finish,
    Finished,
    Message,
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
from podium.wire.openai_chat import CODEC

DONE = b"data: [DONE]\n\n"


def chunk(*choices: dict[str, Any], **members: Any) -> bytes:
    return b"data: " + json.dumps({"id": "c1", "model": "m", "choices": list(choices), **members}).encode() + b"\n\n"


def delta(finish: str | None = None, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"index": index, "delta": fields, "finish_reason": finish}


def call(
    index: int | None = 0, identity: str | None = None, name: str | None = None, arguments: str | None = None
) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    members = {"index": index, "id": identity, "function": function}
    return {key: value for key, value in members.items() if value is not None}


def calls(*fragments: dict[str, Any]) -> bytes:
    return chunk(delta(tool_calls=list(fragments)))


def read(*pieces: bytes) -> list[Event]:
    return read_stream(CODEC.reader(), pieces)


def answer(*pieces: bytes) -> Response:
    return fold(read(*pieces))


def replayed(response: Response) -> Any:
    """Return the answer as it goes back in the next request."""
    request = Request(model="m", messages=(Message(role="assistant", parts=response.parts),))
    return json.loads(CODEC.dump_request(request).body)["messages"][0]


def failure(*pieces: bytes) -> Any:
    last = read(*pieces)[-1]
    assert isinstance(last, Failed)
    return last.error


STOP = chunk(delta("stop"))
CALLED = chunk(delta("tool_calls"))

# --- Ends ------------------------------------------------------------------------------------------------------------


def test_a_stream_with_a_finish_reason_needs_no_done() -> None:
    assert answer(chunk(delta(content="hi")), STOP).text == "hi"


def test_a_stream_that_stops_before_a_finish_reason_is_a_failure() -> None:
    error = failure(chunk(delta(content="hi")))
    assert isinstance(error, ProtocolBroken)
    assert error.billable


def test_a_stream_of_several_choices_fails_if_one_of_them_has_not_finished() -> None:
    assert isinstance(failure(chunk(delta(index=0, content="a")), chunk(delta(index=1, content="b")), STOP), ProtocolBroken)


def test_done_ends_a_stream_without_a_finish_reason_and_the_reason_is_not_made_up() -> None:
    assert answer(chunk(delta(content="hi")), DONE).finish_reason == "other"
    assert answer(calls(call(0, "a", "f", "{}")), DONE).finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [b"", DONE, b": comment\n\n", chunk(usage={"prompt_tokens": 1}) + DONE])
def test_a_stream_without_a_choice_is_no_success(stream: bytes) -> None:
    assert isinstance(failure(stream), ProtocolBroken)


def test_nothing_follows_the_terminal_event() -> None:
    reader = CODEC.reader()
    assert isinstance(reader.feed(STOP + DONE)[-1], Finished)
    assert reader.feed(chunk(delta(content="late"))) == []
    assert reader.close() == []


def test_a_second_finish_reason_and_empty_deltas_after_it_change_nothing() -> None:
    response = answer(chunk(delta("stop", content="hi")), chunk(delta("stop", content="", role="assistant")), DONE)
    assert response.text == "hi"
    assert response.finish_reason == "stop"


@pytest.mark.parametrize(
    ("word", "reason"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("function_call", "tool_calls"),
     ("eos", "stop"), ("MAX_TOKENS", "length"), ("brand_new", "other")],
)  # fmt: skip
def test_finish_reasons_become_podiums_and_keep_a_word_of_their_own(word: str, reason: str) -> None:
    finish = answer(chunk(delta(word, content="x"))).choices[0].finish
    assert (finish.reason, finish.raw) == (reason, None if word == reason else word)


def test_calling_tools_and_saying_stop_is_an_end_for_tool_calls() -> None:
    finish = answer(chunk(delta("stop", tool_calls=[call(0, "a", "f", "{}")]))).choices[0].finish
    assert (finish.reason, finish.raw) == ("tool_calls", "stop")


# --- Errors ----------------------------------------------------------------------------------------------------------


def test_an_error_in_a_chunk_is_a_failure_even_after_a_finish_reason() -> None:
    error = failure(
        chunk(delta("length", content="x")), chunk(delta(), error={"code": 400, "message": "Token limit reached"}), DONE
    )
    assert isinstance(error, InvalidRequest)
    assert "Token limit reached" in str(error)
    assert error.billable


def test_an_error_event_without_a_chunk_is_a_failure() -> None:
    assert isinstance(failure(b'event: error\ndata: {"message": "overloaded"}\n\n'), Overloaded)
    assert isinstance(failure(b'data: {"object": "error", "message": "bad", "code": 400}\n\n'), InvalidRequest)


def test_an_error_before_the_answer_began_costs_nothing() -> None:
    error = failure(b'data: {"error": {"code": 429, "message": "slow down"}}\n\n')
    assert isinstance(error, Throttled)
    assert not error.billable


def test_a_body_that_is_no_stream_is_read_as_what_it_is() -> None:
    assert isinstance(failure(b'{"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}'), Throttled)
    whole = {"id": "c1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
    assert answer(json.dumps(whole, indent=1).encode()).text == "hi"
    assert isinstance(failure(b"<html><title>502 Bad Gateway</title></html>"), (Overloaded, ProtocolBroken))


def test_the_finish_reason_error_is_a_failure() -> None:
    assert isinstance(failure(chunk(delta("error", content="x")), DONE), Overloaded)


@pytest.mark.parametrize(
    "bad",
    [b"data: {nonsense\n\n", b"data: 7\n\n", b'data: {"choices": 7}\n\n', chunk({"index": "x", "delta": {}}),
     chunk(delta(content=7)), chunk(delta(tool_calls=[7])), chunk(delta(7)), chunk({"index": 0, "delta": []})],  # type: ignore[arg-type]
)  # fmt: skip
def test_a_chunk_of_a_wrong_shape_is_a_broken_protocol(bad: bytes) -> None:
    assert isinstance(failure(bad, DONE), ProtocolBroken)


# --- Text and reasoning ----------------------------------------------------------------------------------------------


def test_an_empty_first_chunk_and_padding_give_no_part() -> None:
    events = read(chunk(delta(role="assistant", content="")), chunk(delta(content="hi"), obfuscation="xyz"), STOP, DONE)
    assert [type(event) for event in events] == [Started, PartStart, PartDelta, PartEnd, Finished]
    assert events[2] == PartDelta(index=0, text="hi", extra={"openai_chat": {"$chunk": {"obfuscation": "xyz"}}})


def test_a_first_chunk_without_id_waits_for_the_one_that_has_it() -> None:
    empty = b'data: {"id": "", "model": "", "object": "", "created": 0, "choices": [], "prompt_filter_results": [1]}\n\n'
    started = read(empty, chunk(delta(content="hi")), STOP)[0]
    assert isinstance(started, Started)
    assert started.id == "c1"
    assert started.extra["openai_chat"]["prompt_filter_results"] == [1]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_read_from_either_field(field: str) -> None:
    thought: dict[str, Any] = {field: "hm"}
    response = answer(chunk(delta(**thought)), chunk(delta(content="hi")), STOP)
    assert (response.reasoning, response.text) == ("hm", "hi")
    assert [type(part) for part in response.parts] == [Reasoning, Text]


def test_reasoning_details_are_kept_and_joined_when_they_go_back() -> None:
    fragments = [
        {"type": "reasoning.text", "text": "a", "index": 0, "format": "anthropic-claude-v1"},
        {"type": "reasoning.text", "text": "b", "index": 0, "signature": "sig"},
    ]
    response = answer(
        *(chunk(delta(reasoning=each["text"], reasoning_details=[each])) for each in fragments),
        chunk(delta("stop", content="x")),
    )
    sent = replayed(response)
    assert sent["reasoning"] == "ab"
    assert sent["reasoning_details"] == [
        {"type": "reasoning.text", "text": "ab", "index": 0, "format": "anthropic-claude-v1", "signature": "sig"}
    ]


def test_mistrals_thinking_arrays_become_reasoning_and_go_back_as_arrays() -> None:
    item = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True}
    response = answer(
        chunk(delta(content=[item])), chunk(delta(content=[{"type": "text", "text": "h"}])), chunk(delta("stop", content="i"))
    )
    assert (response.reasoning, response.text) == ("hm", "hi")
    sent = replayed(response)
    assert sent["content"] == [item, {"type": "text", "text": "hi"}]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    ("content", "reasoning", "text"),
    [
        ("<think>\nhm\n</think>\nhi", "\nhm\n", "\nhi"),
        ("\n<think>a < b </thin</think>c", "a < b </thin", "c"),
        ("<think>never closed", "never closed", ""),
        ("<think></think>x", "", "x"),
        ("<thinkers> of old", "", "<thinkers> of old"),
        ("no <think>tag</think>", "", "no <think>tag</think>"),
        ("<th", "", "<th"),
    ],
)
def test_think_tags_at_the_beginning_are_reasoning_however_they_are_cut(
    content: str, reasoning: str, text: str, size: int
) -> None:
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    response = answer(*(chunk(delta(content=piece)) for piece in pieces), STOP)
    assert (response.reasoning, response.text) == (reasoning, text)
    sent = replayed(response)
    assert sent["content"] == content
    whole = {"choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]}
    assert fold(CODEC.load_response(json.dumps(whole).encode())).reasoning == reasoning


def test_a_refusal_is_a_part_of_its_own_and_ends_with_stop() -> None:
    response = answer(chunk(delta(content=None, refusal="")), chunk(delta(refusal="I'm ")), chunk(delta(refusal="sorry")), STOP)
    assert response.parts == (Refusal(text="I'm sorry"),)
    assert response.finish_reason == "stop"


def test_log_probabilities_are_joined_along_the_text() -> None:
    tokens = [{"token": "a", "logprob": -0.1}, {"token": "b", "logprob": -0.2}]
    pieces = [chunk({**delta(content=each["token"]), "logprobs": {"content": [each], "refusal": None}}) for each in tokens]
    response = answer(*pieces, STOP)
    assert response.parts[0].extra["openai_chat"]["$logprobs"]["content"] == tokens
    assert json.loads(CODEC.dump_response(response))["choices"][0]["logprobs"]["content"] == tokens


def test_choices_interleave_and_the_parts_of_each_do_not_overlap() -> None:
    response = answer(
        chunk(delta(index=0, content="a")),
        chunk(delta(index=1, reasoning="hm")),
        chunk(delta(index=0, content="b"), delta(index=1, content="c")),
        chunk(delta("stop", index=1)),
        chunk(delta("length", index=0)),
        DONE,
    )
    assert [(choice.index, len(choice.parts), choice.finish.reason) for choice in response.choices] == [
        (0, 1, "length"),
        (1, 2, "stop"),
    ]
    assert response.text == "ab"


# --- Tool calls ------------------------------------------------------------------------------------------------------

WEATHER = ToolCall(id="a", name="weather", arguments='{"at": 1}')


@pytest.mark.parametrize(
    "fragments",
    [
        [call(0, "a", "weather", ""), call(0, arguments='{"at"'), call(0, arguments=": 1}")],
        [call(0, "a", "weather", '{"at": 1}')],
        [call(0, "a", "weather"), call(0, "a", "weather", '{"at": 1}')],
        [call(0, "a", "weather", ""), call(0, name="", arguments='{"at": 1}')],
        [call(None, "a", "weather", '{"at"'), call(None, arguments=": 1}")],
        [call(None, "a", "weather", '{"at"'), call(None, "a", arguments=": 1}")],
        [call(0, "a"), call(0, name="weather"), call(0, arguments='{"at": 1}')],
    ],
    ids=["usual", "whole", "repeated", "name empty", "no index", "id alone", "name late"],
)
def test_fragments_make_one_call_however_they_are_named(fragments: list[dict[str, Any]]) -> None:
    response = answer(*(chunk(delta(tool_calls=[each])) for each in fragments), CALLED)
    (made,) = response.tool_calls
    assert made.replace(extra={}) == WEATHER


def test_an_index_that_begins_at_1_is_still_the_first_call() -> None:
    response = answer(
        chunk(delta(content="x")),
        calls(call(1, "a", "f", "")),
        calls(call(1, arguments="{}")),
        CALLED,
    )
    assert [(each.id, each.arguments) for each in response.tool_calls] == [("a", "{}")]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    response = answer(calls(call(0, "a", "f", "")), CALLED)
    assert response.tool_calls[0].arguments == ""
    assert response.tool_calls[0].load_arguments() == {}
    assert json.loads(CODEC.dump_response(response))["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_arguments_that_are_no_json_stay_as_they_are() -> None:
    response = answer(calls(call(0, "a", "f", '{"x": ')), CALLED)
    assert response.tool_calls[0].arguments == '{"x": '
    with pytest.raises(ProtocolBroken):
        response.tool_calls[0].load_arguments()


def test_parallel_calls_with_the_same_index_are_told_apart_by_id_and_name() -> None:
    response = answer(calls(call(0, "a", "f", "{}")), calls(call(0, "b", "g", "{}")), CALLED)
    assert [(each.id, each.name) for each in response.tool_calls] == [("a", "f"), ("b", "g")]


def test_a_finished_call_ends_as_the_next_begins() -> None:
    events = read(calls(call(0, "a", "f", "{}")), calls(call(1, "b", "g", "")))
    assert [type(event) for event in events[1:-1]] == [PartStart, PartDelta, PartEnd, PartStart]


def test_fragments_of_parallel_calls_may_interleave() -> None:
    response = answer(
        calls(call(0, "a", "f", ""), call(1, "b", "g", "")),
        calls(call(1, arguments='{"y"')),
        calls(call(0, arguments='{"x":')),
        calls(call(1, arguments=":2}"), call(0, arguments="1}")),
        CALLED,
        DONE,
    )
    assert [(each.id, each.arguments) for each in response.tool_calls] == [("a", '{"x":1}'), ("b", '{"y":2}')]


def test_arguments_that_go_on_after_they_were_whole_are_a_broken_protocol() -> None:
    assert isinstance(
        failure(
            calls(call(0, "a", "f", "{}")),
            calls(call(1, "b", "g", "{}")),
            calls(call(0, arguments="{}")),
        ),
        ProtocolBroken,
    )


def test_a_call_without_an_id_gets_one_that_is_always_the_same() -> None:
    stream = [calls(call(0, None, "f", "{}")), CALLED]
    assert answer(*stream).tool_calls[0].id == answer(*stream).tool_calls[0].id != ""


def test_the_legacy_function_call_is_a_call() -> None:
    response = answer(
        chunk(delta(function_call={"name": "f", "arguments": ""})),
        chunk(delta(function_call={"arguments": "{}"})),
        chunk(delta("function_call")),
    )
    assert (response.tool_calls[0].name, response.tool_calls[0].arguments, response.finish_reason) == ("f", "{}", "tool_calls")
    written = json.loads(CODEC.dump_response(response))["choices"][0]
    assert written["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert written["finish_reason"] == "function_call"


def test_a_custom_tools_call_is_carried_whole() -> None:
    first = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": "sel"}}
    response = answer(
        chunk(delta(tool_calls=[first])),
        chunk(delta(tool_calls=[{"index": 0, "type": "custom", "custom": {"input": "ect"}}])),
        CALLED,
    )
    (part,) = response.parts
    assert isinstance(part, Opaque)
    assert part.data == {"id": "a", "type": "custom", "custom": {"name": "sql", "input": "select"}}


def test_what_a_vendor_adds_to_a_call_goes_back_with_it() -> None:
    signed = {**call(0, "a", "f", "{}"), "extra_content": {"google": {"thought_signature": "s"}}}
    response = answer(chunk(delta(tool_calls=[signed])), CALLED)
    sent = replayed(response)
    assert sent["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "s"}}


# --- Usage -----------------------------------------------------------------------------------------------------------

COUNTS = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}


@pytest.mark.parametrize(
    "stream",
    [
        [chunk(delta("stop", content="x")), chunk(usage=COUNTS)],
        [chunk(delta("stop", content="x"), usage=COUNTS)],
        [chunk(delta("stop", content="x"), usage=None), chunk(usage=None), chunk(usage=COUNTS)],
        [chunk(delta(content="x"), usage={**COUNTS, "completion_tokens": 1}), chunk(delta("stop"), usage=COUNTS)],
        [chunk(delta("stop", content="x"), x_groq={"id": "r", "usage": COUNTS})],
    ],
    ids=["alone", "last chunk", "null before", "cumulative", "x_groq"],
)
def test_usage_is_found_wherever_it_is_said(stream: list[bytes]) -> None:
    usage = answer(*stream, DONE).usage
    assert usage is not None
    assert (usage.input, usage.output) == (10, 4)


def test_a_client_gets_the_usage_chunk_only_if_it_asked_for_it() -> None:
    events: list[Event] = [
        Started(id="c1", model="m"),
        Finished(finishes=(Finish(reason="stop"),), usage=Usage(input=1, output=2)),
    ]
    quiet = CODEC.writer(Request(model="m", messages=()))
    assert b"usage" not in b"".join(quiet.send(event) for event in events)
    asked = CODEC.writer(Request(model="m", messages=(), extra={"openai_chat": {"stream_options": {"include_usage": True}}}))
    last = b"".join(asked.send(event) for event in events).split(b"\n\n")[-3]
    assert json.loads(last[6:])["choices"] == []
    assert json.loads(last[6:])["usage"]["total_tokens"] == 3


def test_a_failed_stream_is_written_with_an_error_and_no_success() -> None:
    writer = CODEC.writer(Request(model="m", messages=()))
    written = writer.send(Started(id="c1", model="m")) + writer.send(Failed(error=Overloaded("The provider is down.")))
    assert b"[DONE]" not in written
    assert b'"finish_reason":"' not in written
    assert isinstance(failure(written), Overloaded)


def test_another_dialects_signature_reaches_a_chat_client_and_comes_back() -> None:
    signed = Reasoning(text="hm", extra={"anthropic": {"signature": "sig"}})
    writer = CODEC.writer(Request(model="m", messages=()))
    events: list[Event] = [
        Started(id="c1", model="m"),
        PartStart(index=0, part=Reasoning()),
        PartDelta(index=0, text="hm"),
        PartEnd(index=0, extra={"anthropic": {"signature": "sig"}}),
        PartStart(index=1, part=Text(text="hi")),
        PartEnd(index=1),
        Finished(finishes=(Finish(reason="stop"),)),
    ]
    got = answer(*(writer.send(event) for event in events))
    message = replayed(got)
    assert message["reasoning_content"] == "hm"
    client = {"model": "m", "messages": [message]}
    (part, *_) = CODEC.load_request(json.dumps(client).encode()).messages[0].parts
    assert isinstance(part, Reasoning)
    assert (part.text, part.extra["anthropic"]) == (signed.text, signed.extra["anthropic"])


def test_a_thought_whose_tag_was_left_open_ends_where_something_else_begins() -> None:
    response = answer(chunk(delta(content="<think>hm")), calls(call(0, "a", "f", "{}")), chunk(delta("stop", content="hi")))
    assert (response.reasoning, response.text) == ("hm", "hi")
    assert replayed(response)["content"] == "<think>hm</think>hi"
