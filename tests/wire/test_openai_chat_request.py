"""Requests of OpenAI Chat: read and written within the dialect, and fitted to a model where they come from elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from podium.errors import RequestError, UnrepresentableError
from podium.types import (
    Media,
    Message,
    Opaque,
    Output,
    Profile,
    Reasoning,
    Request,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from podium.wire.openai_chat import CODEC

USER = {"role": "user", "content": "hi"}
HELLO = Message(role="user", parts=(Text(text="hi"),))


def load(**members: Any) -> Request:
    return CODEC.load_request(json.dumps({"model": "m", "messages": [USER], **members}).encode())


def dump(request: Request, profile: Profile | None = None) -> tuple[dict[str, Any], list[str]]:
    dumped = CODEC.dump_request(request) if profile is None else CODEC.dump_request(request, profile)
    assert dumped.path == "/chat/completions"
    return json.loads(dumped.body), [loss.setting for loss in dumped.losses]


def ask(*messages: Message, **fields: Any) -> Request:
    return Request(model="m", messages=messages or (HELLO,), **fields)


# --- Within the dialect ----------------------------------------------------------------------------------------------

TEXT = {"type": "text", "text": "b"}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": ""},
        {"role": "user", "content": []},
        {"role": "user", "content": None},
        {"role": "user"},
        {"role": "user", "content": "hi", "name": "jane"},
        {"role": "system", "content": "be brief"},
        {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "assistant", "content": "x", "tool_calls": None},
        {"role": "assistant", "content": "x", "tool_calls": []},
        {"role": "assistant", "content": "x", "refusal": None, "annotations": [], "audio": None, "function_call": None},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": "<think>a</think>b"},
        {"role": "assistant", "content": "x", "reasoning_content": "y", "reasoning": "y"},
        {"role": "assistant", "content": "x", "reasoning_content": "y", "reasoning": "z"},
        {"role": "assistant", "content": "x", "reasoning_details": [{"type": "reasoning.encrypted", "data": "e"}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}, TEXT]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "plain"}]},
        {"role": "assistant", "content": None, "audio": {"id": "audio_1"}},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}},
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "index": 0, "extra_content": {"google": 1}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": ""}}]},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "q"}}]},
        {"role": "assistant", "content": "", "tool_calls": [{"index": 0, "type": "a", "function": {"name": "f", "x": 1}}]},
        {"role": "tool", "tool_call_id": "a", "content": "done"},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "done"}], "name": "f"},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "image_url", "image_url": {"url": "https://e.org/a.png"}}]},
        {"role": "function", "name": "f", "content": "done"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://e.org/a.png", "detail": "low"}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": "https://e.org/a.png"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/svg+xml;charset=utf8;base64,A"}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/svg+xml,%3Csvg/%3E"}}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mpeg"}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:application/pdf;base64,A", "filename": ""}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "AAAA", "filename": "a.pdf"}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "https://e.org/a.pdf"}}]},
        {"role": "user", "content": [{"type": "document_url", "document_url": "https://e.org/a.pdf"}]},
        {"role": "user", "content": [{"type": "document_url", "document_url": {"url": "https://e.org/a.pdf"}}]},
        {"role": "user", "content": [{"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,AAAA"}}]},
        {"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://e.org/a.mp4"}}]},
        {"role": "user", "content": [{"type": "something_new", "x": [1]}]},
    ],
)  # fmt: skip
def test_a_message_is_written_again_as_it_was(message: dict[str, Any]) -> None:
    assert dump(load(messages=[message]))[0]["messages"] == [message]


@pytest.mark.parametrize(
    "members",
    [
        {"max_tokens": 5},
        {"max_completion_tokens": 5},
        {"max_tokens": 5, "max_completion_tokens": 6},
        {"stop": "x"},
        {"stop": ["x"]},
        {"stop": None},
        {"stop": []},
        {"stream": False},
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": False}},
        {
            "temperature": None,
            "top_p": 1,
            "seed": 3,
            "n": 1,
            "user": "u",
            "logprobs": True,
            "top_logprobs": 2,
            "logit_bias": {"5": -1},
        },
        {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1},
        {"tools": []},
        {"tools": None, "tool_choice": None},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": None, "strict": None, "description": None}}]},
        {
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": {"$defs": {}, "anyOf": []}}, "cache_control": {}}
            ]
        },
        {"tools": [{"type": "custom", "custom": {"name": "q"}}, {"type": "web_search"}]},
        {"tool_choice": "auto", "parallel_tool_calls": False},
        {"tool_choice": "any"},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "text"}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {}, "strict": True, "description": "d"},
            }
        },
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}, "x": 1}}},
        {"response_format": {"type": "grammar", "grammar": "g"}},
        {"reasoning_effort": "low"},
        {"reasoning": {"effort": "high", "exclude": True}},
        {"reasoning": {"max_tokens": 2000}},
        {"reasoning_effort": "low", "reasoning": {"enabled": True}},
        {"provider": {"order": ["a"]}, "enable_thinking": False, "chat_template_kwargs": {"x": 1}, "metadata": {"a": "b"}},
        {"functions": [{"name": "f"}], "function_call": "auto"},
    ],
)
def test_settings_are_written_again_as_they_were(members: dict[str, Any]) -> None:
    assert dump(load(**members))[0] == {"model": "m", "messages": [USER], **members}


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": 7}, "model"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [7]}, "messages[0]"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"stop": [7]}, "stop[0]"),
        ({"stream": "yes"}, "stream"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ],
)
def test_a_faulty_request_is_refused_with_the_path_of_the_fault(members: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        load(**members)
    assert caught.value.param == param


def test_a_request_that_is_no_json_is_refused() -> None:
    with pytest.raises(RequestError):
        CODEC.load_request(b"{")


def test_a_data_url_with_parameters_is_known_as_its_bytes() -> None:
    request = load(
        messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;a=b;base64,AAAA"}}]}]
    )
    (part,) = request.messages[0].parts
    assert isinstance(part, Media)
    assert (part.media_type, part.data) == ("image/png", "AAAA")


# --- Fitted to a model -----------------------------------------------------------------------------------------------


def test_the_system_prompt_becomes_the_first_message_in_the_role_that_the_model_wants() -> None:
    request = ask(HELLO, Message(role="system", parts=(Text(text="later"),)), system=(Text(text="be brief"),))
    body, losses = dump(request, Profile(system_role="developer"))
    assert body["messages"] == [
        {"role": "developer", "content": "be brief"},
        USER,
        {"role": "developer", "content": "later"},
    ]
    assert losses == []


def test_usage_is_always_asked_of_a_stream_and_never_without_one() -> None:
    assert dump(ask(stream=True), Profile())[0]["stream_options"] == {"include_usage": True}
    assert "stream_options" not in dump(ask(stream=True), Profile(stream_usage=False))[0]
    assert (
        "stream_options"
        not in dump(load(stream=True, stream_options={"include_usage": True}).replace(stream=False), Profile())[0]
    )
    mixed = dump(load(stream=True, stream_options={"include_obfuscation": False}), Profile())[0]
    assert mixed["stream_options"] == {"include_usage": True, "include_obfuscation": False}


def test_the_token_limit_goes_into_the_field_that_the_model_knows() -> None:
    reasoning = Profile(max_tokens_field="max_completion_tokens")
    assert dump(load(max_tokens=9), reasoning)[0]["max_completion_tokens"] == 9
    assert dump(load(max_completion_tokens=9), Profile())[0]["max_tokens"] == 9
    assert dump(ask(sampling=Sampling(max_tokens=9)))[0]["max_tokens"] == 9


def test_what_a_model_refuses_is_left_out_with_a_loss() -> None:
    sampling = Sampling(temperature=0.5, stop=("x",), top_p=0.1, max_tokens=3)
    profile = Profile(refuses=frozenset({"temperature", "stop", "max_tokens"}), max_tokens_field="max_completion_tokens")
    body, losses = dump(ask(sampling=sampling), profile)
    assert body == {"model": "m", "messages": [USER], "top_p": 0.1}
    assert losses == ["sampling.max_tokens", "sampling.stop", "sampling.temperature"]


def test_a_strict_request_is_refused_rather_than_changed() -> None:
    with pytest.raises(UnrepresentableError) as caught:
        dump(ask(sampling=Sampling(temperature=0.5), strict=True), Profile(refuses=frozenset({"temperature"})))
    assert caught.value.param == "sampling.temperature"


def test_settings_beyond_a_limit_are_cut_to_it() -> None:
    body, losses = dump(ask(sampling=Sampling(temperature=1.8, max_tokens=99)), Profile(max_temperature=1.0, max_output=50))
    assert (body["temperature"], body["max_tokens"]) == (1.0, 50)
    assert losses == ["sampling.max_tokens", "sampling.temperature"]


def test_top_k_is_sent_only_where_a_chat_client_wrote_it() -> None:
    assert dump(load(top_k=5), Profile())[0]["top_k"] == 5
    body, losses = dump(ask(sampling=Sampling(top_k=5)))
    assert "top_k" not in body
    assert losses == ["sampling.top_k"]


@pytest.mark.parametrize(
    ("thinking", "profile", "members", "losses"),
    [
        (Thinking(effort="high"), Profile(thinking="effort"), {"reasoning_effort": "high"}, 0),
        (Thinking(effort="high"), Profile(), {"reasoning_effort": "high"}, 0),
        (Thinking(effort="xhigh"), Profile(thinking="effort", efforts=("low", "high")), {"reasoning_effort": "high"}, 1),
        (Thinking(effort="none"), Profile(thinking="effort", efforts=("minimal", "low")), {"reasoning_effort": "minimal"}, 1),
        (Thinking(budget_tokens=4000), Profile(thinking="effort"), {"reasoning_effort": "medium"}, 1),
        (Thinking(enabled=False), Profile(thinking="effort"), {"reasoning_effort": "none"}, 0),
        (Thinking(enabled=True), Profile(thinking="effort"), {"reasoning_effort": "medium"}, 0),
        (Thinking(enabled=True), Profile(thinking="effort", efforts=("low", "medium")), {}, 0),
        (Thinking(enabled=True), Profile(), {}, 1),
        (Thinking(effort="low"), Profile(thinking="none"), {}, 1),
        (Thinking(effort="none"), Profile(thinking="none"), {}, 0),
        (Thinking(budget_tokens=4000), Profile(thinking="openrouter"), {"reasoning": {"max_tokens": 4000}}, 0),
        (
            Thinking(effort="low", enabled=True),
            Profile(thinking="openrouter"),
            {"reasoning": {"effort": "low", "enabled": True}},
            0,
        ),
    ],
)
def test_reasoning_is_asked_for_in_the_models_way(
    thinking: Thinking, profile: Profile, members: dict[str, Any], losses: int
) -> None:
    body, lost = dump(ask(thinking=thinking), profile)
    assert {key: body[key] for key in ("reasoning_effort", "reasoning") if key in body} == members
    assert len(lost) == losses


def test_a_schema_that_the_model_refuses_becomes_plain_json() -> None:
    output = Output(kind="json_schema", schema={"type": "object"})
    body, losses = dump(ask(output=output), Profile(refuses=frozenset({"output.json_schema"})))
    assert body["response_format"] == {"type": "json_object"}
    assert losses == ["output.json_schema"]
    assert dump(ask(output=output))[0]["response_format"]["json_schema"] == {"name": "answer", "schema": {"type": "object"}}


def test_a_tool_without_parameters_takes_an_empty_object_and_strict_goes_where_it_is_known() -> None:
    body, losses = dump(ask(tools=(Tool(name="f", strict=True),)), Profile(tool_strict=False))
    assert body["tools"] == [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    ]
    assert losses == ["tools[0].strict"]


def test_a_tool_choice_may_say_only_whether_calls_run_in_parallel() -> None:
    body, _ = dump(ask(tools=(Tool(name="f"),), tool_choice=ToolChoice(parallel=False)))
    assert body["parallel_tool_calls"] is False
    assert "tool_choice" not in body


# --- From another dialect --------------------------------------------------------------------------------------------


def test_the_results_of_a_turn_become_messages_and_their_images_follow_in_one() -> None:
    image = Media(kind="image", data="AAAA", media_type="image/png")
    results = (
        ToolResult(call_id="a", parts=(Text(text="done"), image)),
        ToolResult(call_id="b", parts=(Text(text="broke"),), is_error=True),
        ToolResult(call_id="c", parts=(image,)),
        ToolResult(call_id="d"),
    )
    body, losses = dump(ask(Message(role="tool", parts=results), HELLO))
    link = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert body["messages"] == [
        {"role": "tool", "tool_call_id": "a", "content": "done"},
        {"role": "tool", "tool_call_id": "b", "content": "The tool failed: broke"},
        {"role": "tool", "tool_call_id": "c", "content": "The result follows in the next message."},
        {"role": "tool", "tool_call_id": "d", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What the tool call a returned:"},
                link,
                {"type": "text", "text": "What the tool call c returned:"},
                link,
            ],
        },
        USER,
    ]
    assert losses == ["messages[0].is_error"]


def test_foreign_reasoning_signatures_and_cache_marks_are_left_out_with_a_loss() -> None:
    parts = (
        Reasoning(text="hm", extra={"anthropic": {"signature": "s"}}),
        Text(text="hi", extra={"anthropic": {"cache_control": {}, "$content": "list"}}),
    )
    body, losses = dump(ask(Message(role="assistant", parts=parts), extra={"anthropic": {"container": "c"}}))
    assert body["messages"] == [{"role": "assistant", "content": "hi"}]
    assert losses == [
        "messages[0].parts[0]",
        "messages[0].parts[1].cache_control",
        "container",
    ]


@pytest.mark.parametrize(
    "part",
    [
        Opaque(dialect="anthropic", data={"type": "server_tool_use"}),
        Media(kind="image", file_id="file_1"),
        Media(kind="document", url="https://e.org/a.pdf"),
        ToolCall(id="a", name="f"),
    ],
    ids=["opaque", "uploaded image", "document by URL", "a user's tool call"],
)
def test_content_that_chat_cannot_express_is_an_error(part: Any) -> None:
    with pytest.raises(UnrepresentableError):
        dump(ask(Message(role="user", parts=(part,))))


def test_a_tool_of_another_dialect_is_an_error() -> None:
    with pytest.raises(UnrepresentableError):
        dump(ask(tools=(Opaque(dialect="anthropic", data={"type": "bash_20250124"}),)))


def test_call_ids_are_fitted_alike_in_calls_and_results() -> None:
    messages = (
        Message(role="assistant", parts=(ToolCall(id="toolu_01", name="f"), ToolCall(id="abcDEF123", name="g"))),
        Message(role="tool", parts=(ToolResult(call_id="toolu_01", parts=(Text(text="x"),)),)),
    )
    body, _ = dump(ask(*messages), Profile(call_id_pattern="[a-zA-Z0-9]{9}"))
    first, second = body["messages"][0]["tool_calls"]
    assert len(first["id"]) == 9
    assert second["id"] == "abcDEF123"
    assert body["messages"][1]["tool_call_id"] == first["id"]


def test_text_beside_tool_calls_is_kept() -> None:
    message = Message(role="assistant", parts=(Text(text="a"), ToolCall(id="c", name="f"), Text(text="b")))
    (dumped,) = dump(ask(message))[0]["messages"]
    assert dumped["content"] == "ab"
    assert dumped["tool_calls"][0]["function"]["arguments"] == "{}"


def test_the_same_request_is_written_in_the_same_bytes() -> None:
    request = ask(tools=(Tool(name="f", parameters={"b": 1, "a": 2}),), sampling=Sampling(temperature=0.1, stop=("x",)))
    assert CODEC.dump_request(request, Profile()).body == CODEC.dump_request(request.replace(), Profile()).body


def test_half_a_surrogate_pair_is_refused_and_not_sent() -> None:
    with pytest.raises(UnrepresentableError):
        dump(ask(Message(role="user", parts=(Text(text="\ud800"),))))
