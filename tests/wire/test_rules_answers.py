"""What happens between OpenAI Chat and Anthropic Messages, rule by rule: answers and streams.

As in `test_rules`, a test's number is that of a rule of translation between dialects. The last part holds faults that other
gateways are known for.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from podium.errors import AuthFailed, ContextTooLong, Overloaded, ProtocolBroken, Throttled, UnrepresentableError
from podium.types import Finished, PartEnd, PartStart, Reasoning, Text, ToolCall, fold
from podium.wire.codec import codec
from wire.crossing import (
    ANTHROPIC,
    CHAT,
    HI,
    PLAIN,
    answer,
    anthropic_answer,
    anthropic_stream,
    assistant,
    block,
    chat_answer,
    chat_call,
    chat_result,
    chat_stream,
    chat_tool,
    ended,
    failure_of,
    read,
    same,
    to_anthropic,
    to_chat,
    use,
    user,
    written,
)

ROLE = {"role": "assistant", "content": ""}


def deltas(chunks: list[dict[str, Any]], key: str) -> list[Any]:
    """Return what the chunks of a Chat stream say in one field of their first choice."""
    choices = [chunk["choices"][0] for chunk in chunks if chunk.get("choices")]
    return [choice["delta"][key] for choice in choices if choice["delta"].get(key)]


def finishes(chunks: list[dict[str, Any]]) -> list[str]:
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


# --- Tools -----------------------------------------------------------------------------------------------------------


def test_9_a_tool_without_arguments_streams_no_delta_and_has_an_empty_object() -> None:
    for delta in ((), ({"type": "input_json_delta", "partial_json": ""},)):
        events = read("anthropic", anthropic_stream(*block(0, use("t"), *delta), stop="tool_use"))
        assert fold(events).tool_calls[0].load_arguments() == {}
        pieces = [call[0]["function"]["arguments"] for call in deltas(written("openai_chat", events), "tool_calls")]
        assert json.loads("".join(pieces)) == {}
    bare = read("openai_chat", chat_stream({"tool_calls": [{"index": 0, **chat_call("c", arguments="")}]}, ended("tool_calls")))
    blocks = [event for event in written("anthropic", bare) if event["type"] == "content_block_start"]
    assert blocks[0]["content_block"]["input"] == {}


def test_16_an_alias_in_an_answer_is_turned_back_into_the_callers_name() -> None:
    aliases = {"a_b_12345678": "a.b"}
    told = answer("anthropic", "openai_chat", anthropic_answer(use("t", "a_b_12345678"), stop="tool_use"), aliases)
    assert told["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "a.b"


def test_17_calls_are_counted_from_0_whatever_blocks_stand_between_them() -> None:
    events = [
        *block(0, {"type": "text", "text": ""}),
        *block(1, use("t1")),
        *block(2, {"type": "text", "text": ""}),
        *block(3, use("t2")),
    ]
    chunks = written("openai_chat", read("anthropic", anthropic_stream(*events, stop="tool_use")))
    assert {call["id"]: call["index"] for calls in deltas(chunks, "tool_calls") for call in calls if "id" in call} == {
        "t1": 0,
        "t2": 1,
    }


def test_17_fragments_without_id_or_with_an_empty_name_belong_to_their_call_and_blocks_do_not_interleave() -> None:
    def fragment(index: int, **members: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, **members}]}

    data = chat_stream(
        ROLE,
        fragment(0, id="c", function={"name": "f", "arguments": '{"a"'}),
        fragment(1, id="d", function={"name": "g", "arguments": "{"}),
        fragment(0, function={"name": "", "arguments": ": 1}"}),
        fragment(1, id="", function={"arguments": "}"}),
        ended("tool_calls"),
    )
    events = read("openai_chat", data)
    assert [(call.id, call.name, call.load_arguments()) for call in fold(events).tool_calls] == [
        ("c", "f", {"a": 1}),
        ("d", "g", {}),
    ]
    kinds = [event["type"].removeprefix("content_block_") for event in written("anthropic", events)][1:-2]
    assert [kind for kind in kinds if kind != "delta"] == ["start", "stop", "start", "stop"]


def test_12_a_client_that_asked_with_functions_gets_a_function_call() -> None:
    data = anthropic_stream(*block(0, use("t"), {"type": "input_json_delta", "partial_json": '{"a":1}'}), stop="tool_use")
    events = read("anthropic", data)
    chunks = written("openai_chat", events, functions=[{"name": "f"}])
    assert deltas(chunks, "tool_calls") == []
    assert "".join(call["arguments"] for call in deltas(chunks, "function_call")) == '{"a":1}'
    assert finishes(chunks) == ["function_call"]
    asked = CHAT.load_request(json.dumps({"model": "m", "messages": [HI], "functions": [{"name": "f"}]}).encode())
    choice = json.loads(CHAT.dump_response(fold(events), asked))["choices"][0]
    assert (choice["message"]["function_call"], choice["finish_reason"]) == (
        {"name": "f", "arguments": '{"a":1}'},
        "function_call",
    )


def test_20_only_anthropic_says_which_stop_sequence_matched() -> None:
    said = {**anthropic_answer({"type": "text", "text": "a"}, stop="stop_sequence"), "stop_sequence": "END"}
    assert answer("anthropic", "openai_chat", said)["choices"][0]["finish_reason"] == "stop"
    back = answer("openai_chat", "anthropic", chat_answer({"content": "a"}))
    assert (back["stop_reason"], back["stop_sequence"]) == ("end_turn", None)


def test_22_the_choices_of_a_chat_stream_interleave_and_anthropics_clients_can_have_one() -> None:
    def piece(index: int, call: int, **members: Any) -> dict[str, Any]:
        fragment = {"index": call, **members}
        return {"choices": [{"index": index, "delta": {"tool_calls": [fragment]}}]}

    chunks = [
        piece(0, 0, id="a", function={"name": "f", "arguments": "{"}),
        piece(1, 0, id="b", function={"name": "f", "arguments": '{"x":'}),
        piece(0, 0, function={"arguments": "}"}),
        piece(1, 0, function={"arguments": "1}"}),
        piece(1, 1, id="c", function={"name": "g", "arguments": "{}"}),
        {"choices": [{"index": 1, "delta": {}, "finish_reason": "tool_calls"}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    ]
    events = read("openai_chat", chat_stream(*chunks))
    calls = [[part for part in choice.parts if isinstance(part, ToolCall)] for choice in fold(events).choices]
    assert [[(call.id, call.arguments) for call in each] for each in calls] == [[("a", "{}")], [("b", '{"x":1}'), ("c", "{}")]]
    with pytest.raises(UnrepresentableError):
        written("anthropic", events)
    again = fold(
        read(
            "openai_chat",
            b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in written("openai_chat", events) if each),
        )
    )
    assert [choice.parts for choice in again.choices] == [choice.parts for choice in fold(events).choices]


# --- Reasoning -------------------------------------------------------------------------------------------------------

THOUGHTS = [
    {"type": "thinking", "thinking": "one", "signature": "S1"},
    {"type": "redacted_thinking", "data": "R"},
    {"type": "thinking", "thinking": "two", "signature": "S2"},
]


def test_30_every_signature_survives_a_chat_client_and_goes_home_with_its_own_thought() -> None:
    told = answer("anthropic", "openai_chat", anthropic_answer(*THOUGHTS, use("t"), stop="tool_use"))
    message = told["choices"][0]["message"]
    assert message["reasoning_content"] == "onetwo"
    back = to_anthropic(HI, message, chat_result("t"))
    assert back.messages[1]["content"] == [*THOUGHTS, use("t")]
    assert back.lost == []


def test_30_every_signature_survives_a_chat_stream() -> None:
    def thought(index: int, signature: str, *pieces: str) -> list[dict[str, Any]]:
        texts = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
        shell = {"type": "thinking", "thinking": "", "signature": ""}
        return block(index, shell, *texts, {"type": "signature_delta", "signature": signature})

    events = [*thought(0, "S1", "one"), *block(1, THOUGHTS[1]), *thought(2, "S2", "tw", "o"), *block(3, use("t"))]
    chunks = written("openai_chat", read("anthropic", anthropic_stream(*events, stop="tool_use")))
    items = [item for details in deltas(chunks, "reasoning_details") for item in details]
    assert [item["index"] for item in items] == [0, 1, 2, 3, 3, 4]
    message = assistant("", reasoning_details=items, tool_calls=[chat_call("t")])
    assert to_anthropic(HI, message, chat_result("t")).messages[1]["content"] == [*THOUGHTS, use("t")]


def test_30_what_a_dialect_says_of_a_call_survives_the_others_client() -> None:
    caller = {"caller": {"type": "code_execution_20250825", "tool_id": "s"}}
    told = answer("anthropic", "openai_chat", anthropic_answer({**use("t"), **caller}, stop="tool_use"))
    back = to_anthropic(HI, told["choices"][0]["message"], chat_result("t"))
    assert back.messages[1]["content"] == [{**use("t"), **caller}]
    signed = {**chat_call("c"), "extra_content": {"google": {"thought_signature": "G"}}}
    seen = answer("openai_chat", "anthropic", chat_answer({"content": None, "tool_calls": [signed]}, "tool_calls"))
    assert [each["type"] for each in seen["content"]] == ["redacted_thinking", "tool_use"]
    home = to_chat(HI, assistant(seen["content"]), user([{"type": "tool_result", "tool_use_id": "c"}]))
    assert home.messages[1]["tool_calls"] == [signed]
    assert same(
        "anthropic", PLAIN, HI, assistant(seen["content"]), user([{"type": "tool_result", "tool_use_id": "c"}])
    ).messages[1] == assistant([use("c")])


@pytest.mark.parametrize("late", [False, True])
def test_30_a_signed_call_streams_to_an_anthropic_client_with_its_signature_beside_it(late: bool) -> None:
    call, signed = {"index": 0, **chat_call("c")}, {"extra_content": {"google": {"thought_signature": "G"}}}
    fragments = [call, {"index": 0, **signed}] if late else [{**call, **signed}]
    chunks = [{"tool_calls": [fragment]} for fragment in fragments]
    events = written("anthropic", read("openai_chat", chat_stream(ROLE, *chunks, ended("tool_calls"))))
    shells = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert [event["index"] for event in events if event["type"] == "content_block_stop"] == [0, 1]
    home = to_chat(HI, assistant(shells), user([{"type": "tool_result", "tool_use_id": "c"}]))
    assert home.messages[1]["tool_calls"][0]["extra_content"] == signed["extra_content"]


def test_30_thoughts_of_another_dialect_are_stripped_with_a_loss_and_come_home_through_an_anthropic_client() -> None:
    details = [{"type": "reasoning.encrypted", "data": "E", "format": "openai-responses-v1", "index": 0}]
    seen = answer("openai_chat", "anthropic", chat_answer({"content": "x", "reasoning": "hm", "reasoning_details": details}))
    assert seen["content"][0]["thinking"] == "hm"
    turns = [HI, assistant(seen["content"]), user("go")]
    home = to_chat(*turns)
    assert (home.messages[1]["reasoning"], home.messages[1]["reasoning_details"], home.lost) == ("hm", details, [])
    strange = same("anthropic", PLAIN, *turns)
    assert (strange.messages[1]["content"], strange.lost) == ([{"type": "text", "text": "x"}], ["messages[1].parts[0]"])


@pytest.mark.parametrize(
    "message",
    [
        {"reasoning_content": "hm", "content": "x"},
        {"reasoning": "hm", "content": "x"},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "x"}]},
        {"content": "<think>hm</think>x"},
    ],
)
def test_31_reasoning_is_understood_in_every_form(message: dict[str, Any]) -> None:
    loaded = fold(CHAT.load_response(json.dumps(chat_answer(message)).encode()))
    assert (loaded.reasoning, loaded.text) == ("hm", "x")
    assert [each["type"] for each in answer("openai_chat", "anthropic", chat_answer(message))["content"]] == [
        "thinking",
        "text",
    ]


def test_31_thoughts_of_anthropics_are_reasoning_content_and_reasoning_details() -> None:
    message = answer("anthropic", "openai_chat", anthropic_answer(THOUGHTS[0], {"type": "text", "text": "x"}))["choices"][0][
        "message"
    ]
    assert (message["reasoning_content"], message["content"]) == ("one", "x")
    assert message["reasoning_details"][0] == {"type": "reasoning.text", "text": "one"}


# --- Ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("anthropic", "chat"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("model_context_window_exceeded", "length"),
        ("a_word_of_tomorrow", "stop"),
    ],
)
def test_33_anthropics_ends_are_words_of_openais_list(anthropic: str, chat: str) -> None:
    assert (
        answer("anthropic", "openai_chat", anthropic_answer({"type": "text", "text": "x"}, stop=anthropic))["choices"][0][
            "finish_reason"
        ]
        == chat
    )
    assert finishes(
        written("openai_chat", read("anthropic", anthropic_stream(*block(0, {"type": "text", "text": "x"}), stop=anthropic)))
    ) == [chat]


@pytest.mark.parametrize(
    ("word", "anthropic", "chat"),
    [
        ("content_filter", "refusal", "content_filter"),
        ("SAFETY", "refusal", "content_filter"),
        ("RECITATION", "refusal", "content_filter"),
        ("sensitive", "refusal", "content_filter"),
        ("MAX_TOKENS", "max_tokens", "length"),
        ("model_length", "max_tokens", "length"),
        ("COMPLETE", "end_turn", "stop"),
        ("eos", "end_turn", "stop"),
        ("a_word_of_tomorrow", "end_turn", "stop"),
    ],
)
def test_33_words_outside_openais_list_are_understood_and_never_passed_on(word: str, anthropic: str, chat: str) -> None:
    document = chat_answer({"content": "x"}, word)
    assert answer("openai_chat", "anthropic", document)["stop_reason"] == anthropic
    assert answer("openai_chat", "openai_chat", document)["choices"][0]["finish_reason"] == chat


@pytest.mark.parametrize("word", ["error", "insufficient_system_resource", "network_error", "abort"])
def test_33_a_word_for_an_answer_that_broke_off_is_a_failure_and_no_end(word: str) -> None:
    with pytest.raises(Overloaded, match=word):
        CHAT.load_response(json.dumps(chat_answer({"content": "x"}, word)).encode())
    assert isinstance(failure_of(read("openai_chat", chat_stream(ROLE, {"content": "x"}, ended(word)))), Overloaded)


def test_33_a_call_that_ends_with_stop_ends_for_its_calls() -> None:
    document = chat_answer({"content": None, "tool_calls": [chat_call("c")]}, "stop")
    assert answer("openai_chat", "anthropic", document)["stop_reason"] == "tool_use"


def test_34_a_pause_is_kept_as_a_pause_for_anthropics_clients() -> None:
    paused = anthropic_answer({"type": "text", "text": "x"}, stop="pause_turn")
    assert fold(ANTHROPIC.load_response(json.dumps(paused).encode())).finish_reason == "pause"
    assert answer("anthropic", "anthropic", paused)["stop_reason"] == "pause_turn"
    assert answer("anthropic", "openai_chat", paused)["choices"][0]["finish_reason"] == "stop"


def test_35_a_refusal_in_chats_own_field_finishes_with_stop_and_is_text_for_anthropic() -> None:
    seen = answer("openai_chat", "anthropic", chat_answer({"content": None, "refusal": "No."}))
    assert (seen["content"], seen["stop_reason"]) == ([{"type": "text", "text": "No."}], "end_turn")


# --- Usage -----------------------------------------------------------------------------------------------------------


def test_37_counts_are_disjoint_inside_and_each_dialects_own_outside() -> None:
    counts = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 1000,
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 20},
    }
    told = answer("anthropic", "openai_chat", anthropic_answer({"type": "text", "text": "x"}, usage=counts))["usage"]
    assert (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]) == (1110, 50, 1160)
    assert told["prompt_tokens_details"]["cached_tokens"] == 100
    assert told["completion_tokens_details"]["reasoning_tokens"] == 20
    usage = {
        "prompt_tokens": 110,
        "completion_tokens": 50,
        "total_tokens": 160,
        "prompt_tokens_details": {"cached_tokens": 100},
        "completion_tokens_details": {"reasoning_tokens": 20},
    }
    back = answer("openai_chat", "anthropic", chat_answer({"content": "x"}, usage=usage))["usage"]
    assert (back["input_tokens"], back["cache_read_input_tokens"], back["output_tokens"]) == (10, 100, 50)


def test_38_anthropics_later_counts_overwrite_and_chats_last_usage_counts() -> None:
    data = anthropic_stream(
        {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 4}},
        usage={"input_tokens": 3, "output_tokens": 1},
    )
    usage = fold(read("anthropic", data)).usage
    assert usage is not None
    assert (usage.input, usage.output) == (3, 5)
    twice = chat_stream(
        ROLE,
        ended("stop", usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}),
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
    )
    usage = fold(read("openai_chat", twice)).usage
    assert usage is not None
    assert (usage.input, usage.output) == (1, 2)


def test_38_groqs_counts_under_x_groq_are_counted() -> None:
    data = chat_stream(ROLE, ended("stop", x_groq={"usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}))
    usage = fold(read("openai_chat", data)).usage
    assert usage is not None
    assert usage.total == 3


def test_38_usage_is_always_asked_upstream_and_given_only_to_the_client_that_asked() -> None:
    assert to_chat(stream=True).body["stream_options"] == {"include_usage": True}
    events = read("anthropic", anthropic_stream(*block(0, {"type": "text", "text": "x"})))
    assert [chunk for chunk in written("openai_chat", events) if "usage" in chunk] == []
    told = written("openai_chat", events, stream=True, stream_options={"include_usage": True})
    assert [chunk["usage"]["total_tokens"] for chunk in told if chunk.get("usage")] == [8]
    assert told[-2]["choices"] == []


# --- Streams and errors ----------------------------------------------------------------------------------------------


def test_39_comments_crlf_padding_pings_and_an_empty_first_chunk_say_nothing() -> None:
    good = chat_stream(ROLE, {"content": "a"}, ended("stop"))
    first = b'data: {"id":"","object":"","created":0,"model":"","choices":[]}\n\n'
    padded = b": hello\n\n" + first + good.replace(b"\n\n", b"\n\n: keep-alive\n\n").replace(b"\n", b"\r\n")
    assert fold(read("openai_chat", padded)).text == "a"
    whole = anthropic_stream(*block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "a"}))
    pinged = whole.replace(b"event: content_block_delta", b'event: ping\ndata: {"type": "ping"}\n\nevent: content_block_delta')
    assert fold(read("anthropic", pinged)).text == "a"


def test_39_done_may_be_missing_after_an_end_and_an_end_may_be_missing_before_done() -> None:
    assert fold(read("openai_chat", chat_stream(ROLE, {"content": "a"}, ended("stop"), done=False))).finish_reason == "stop"
    assert fold(read("openai_chat", chat_stream(ROLE, {"content": "a"}))).finish_reason == "other"


@pytest.mark.parametrize(
    ("dialect", "data"),
    [
        ("openai_chat", chat_stream(ROLE, {"content": "a"}, done=False)),
        ("anthropic", anthropic_stream(*block(0, {"type": "text", "text": "a"}), whole=False)),
    ],
)
def test_40_an_end_without_a_terminal_is_a_failure_that_may_cost(dialect: str, data: bytes) -> None:
    error = failure_of(read(dialect, data))
    assert isinstance(error, ProtocolBroken)
    assert error.billable


def test_40_an_error_in_the_middle_is_the_clients_dialects_error_and_no_success_follows() -> None:
    cut = chat_stream(ROLE, {"content": "a"}, {"error": {"message": "Overloaded", "code": 503}}, done=False)
    seen = written("anthropic", read("openai_chat", cut))
    assert [event["type"] for event in seen][-1] == "error"
    assert "message_stop" not in {event["type"] for event in seen}
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    chunks = written("openai_chat", read("anthropic", anthropic_stream(overloaded, whole=False)))
    assert chunks[-1]["error"]["code"] == "overloaded"
    assert finishes(chunks) == []


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"code":"x","error":"Incorrect API key provided: xai-abcdefgh. See ..."}', AuthFailed),
        (400, b'[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}]', AuthFailed),
        (422, b'{"detail":[{"loc":["body","x"],"msg":"Input too long: maximum context length is 9"}]}', ContextTooLong),
        (429, b'{"message":"Requests rate limit exceeded"}', Throttled),
        (529, b"\xff\xfe octets", Overloaded),
    ],
)
def test_40_errors_come_in_many_forms(status: int, body: bytes, kind: type[Exception]) -> None:
    error = CHAT.load_error(status, {}, body)
    assert type(error) is kind
    assert str(error).count("..") == str(error).count("...")


def test_40_a_providers_words_and_the_hint_are_two_sentences() -> None:
    error = CHAT.load_error(500, {}, b'{"error":{"message":"upstream said no"}}')
    assert str(error) == "The provider answered 500: upstream said no. Ask again, or use another target."


def test_40_one_id_a_stream_and_the_same_bytes_for_the_same_request() -> None:
    events = read("anthropic", anthropic_stream(*block(0, {"type": "text", "text": "x"}), *block(1, use("t")), stop="tool_use"))
    assert len({chunk["id"] for chunk in written("openai_chat", events) if chunk}) == 1
    tools = [chat_tool(name) for name in ("b", "a", "c")]
    assert to_anthropic(tools=tools).raw == to_anthropic(tools=tools).raw
    assert [tool["name"] for tool in to_anthropic(tools=tools).body["tools"]] == ["b", "a", "c"]


# --- Faults that other gateways are known for ------------------------------------------------------------------------


def test_text_beside_tool_calls_is_in_the_answer_too() -> None:
    message = answer(
        "anthropic", "openai_chat", anthropic_answer({"type": "text", "text": "Look:"}, use("t"), stop="tool_use")
    )["choices"][0]
    assert (message["message"]["content"], message["finish_reason"]) == ("Look:", "tool_calls")
    back = answer("openai_chat", "anthropic", chat_answer({"content": "Look:", "tool_calls": [chat_call("c")]}, "tool_calls"))
    assert [each["type"] for each in back["content"]] == ["text", "tool_use"]


def test_empty_arguments_crash_nobody() -> None:
    document = chat_answer({"content": None, "tool_calls": [chat_call("c", arguments="")]}, "tool_calls")
    assert answer("openai_chat", "anthropic", document)["content"] == [use("c")]


def test_a_stream_says_tool_calls_once_and_never_stop_after_it() -> None:
    chunks = written("openai_chat", read("anthropic", anthropic_stream(*block(0, use("t")), stop="tool_use")))
    assert finishes(chunks) == ["tool_calls"]


def test_a_refusal_of_anthropics_is_never_stop() -> None:
    assert finishes(written("openai_chat", read("anthropic", anthropic_stream(stop="refusal")))) == ["content_filter"]


def test_an_errors_type_is_never_a_finish_reason_and_no_done_follows_it() -> None:
    broken = anthropic_stream({"type": "error", "error": {"type": "api_error", "message": "x"}}, whole=False)
    chunks = written("openai_chat", read("anthropic", broken))
    assert finishes(chunks) == []
    assert {} not in chunks


def test_cache_writes_are_counted_beside_cache_reads_and_nothing_twice() -> None:
    counts = {"input_tokens": 1, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 100, "output_tokens": 1000}
    events = ANTHROPIC.load_response(json.dumps(anthropic_answer({"type": "text", "text": "x"}, usage=counts)).encode())
    usage = fold(events).usage
    assert usage is not None
    assert (usage.input, usage.cache_read, usage.cache_write, usage.total) == (1, 10, 100, 1111)
    again = fold(CHAT.load_response(CHAT.dump_response(fold(events)))).usage
    assert again is not None
    assert (again.input, again.cache_read, again.cache_write, again.total) == (1, 10, 100, 1111)


def test_a_mid_stream_error_is_never_an_empty_success() -> None:
    error = failure_of(read("openai_chat", chat_stream({"error": {"message": "boom", "type": "server_error"}})))
    assert isinstance(error, Overloaded)


def test_whole_answers_of_other_origin_say_all_that_their_dialects_always_say() -> None:
    choice = answer("anthropic", "openai_chat", anthropic_answer({"type": "text", "text": "x"}))["choices"][0]
    assert (choice["logprobs"], choice["message"]["refusal"], choice["message"]["annotations"]) == (None, None, [])
    seen = answer("openai_chat", "anthropic", chat_answer({"content": "x"}))
    assert seen["stop_details"] is seen["usage"]["service_tier"] is seen["usage"]["inference_geo"] is None


def test_what_a_part_starts_and_ends_with_is_one_event_each_for_the_reader() -> None:
    events = read("anthropic", anthropic_stream(*block(0, THOUGHTS[0]), *block(1, {"type": "text", "text": "x"})))
    assert [type(event) for event in events if isinstance(event, PartStart | PartEnd)] == [PartStart, PartEnd] * 2
    assert isinstance(events[-1], Finished)
    parts = fold(events).parts
    assert parts == (Reasoning(text="one", extra={"anthropic": {"signature": "S1"}}), Text(text="x"))


def test_every_dialect_reads_its_own_writing_of_the_others_answer() -> None:
    document = anthropic_answer(*THOUGHTS, {"type": "text", "text": "x"}, use("t", a=1), stop="tool_use")
    told = answer("anthropic", "openai_chat", document)
    loaded = fold(codec("openai_chat").load_response(json.dumps(told).encode()))
    assert (loaded.text, loaded.reasoning, loaded.finish_reason) == ("x", "onetwo", "tool_calls")
    assert loaded.tool_calls[0].load_arguments() == {"a": 1}
