"""What the vendors refuse, the simulated providers refuse, in the same words."""

# One row is one case; wrapped, the tables could not be read.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

import pytest

from podium.sim import answers, rules_anthropic, rules_openai
from podium.sim.complaints import Complaint

USER = {"role": "user", "content": "Hello"}
INLINE = {"role": "system", "content": "Be brief."}
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [USER]}
MESSAGE: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [USER]}


def call(identity: str) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": "f", "arguments": "{}"}}


def asks(*identities: str) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [call(identity) for identity in identities]}


def result(identity: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identity, "content": "done"}


def function(**more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}, **more}}


TOOL = function()
STRICT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def wants(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": schema}}


OPENAI_REFUSES: list[tuple[dict[str, Any], str, str | None, str | None]] = [
    ({"model": None}, "you must provide a model parameter", None, None),
    ({"messages": ...}, "Missing required parameter: 'messages'.", "messages", "missing_required_parameter"),
    ({"messages": "Hi"}, "Invalid type for 'messages': expected an array of objects, but got a string instead.", "messages", "invalid_type"),
    ({"messages": []}, "Invalid 'messages': empty array. Expected an array with minimum length 1", "messages", "empty_array"),
    ({"messages": [{"role": "boss", "content": "Hi"}]}, "Invalid value: 'boss'. Supported values are: 'system',", "messages[0].role", "invalid_value"),
    ({"messages": [{"content": "Hi"}]}, "Missing required parameter: 'messages[0].role'.", "messages[0].role", "missing_required_parameter"),
    ({"messages": [{"role": "user", "content": None}]}, "Invalid value for 'content': expected a string, got null.", "messages.[0].content", None),
    ({"messages": [{"role": "user", "content": 3}]}, "Invalid type for 'messages[0].content'", "messages[0].content", "invalid_type"),
    ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "Invalid value: 'video'.", "messages[0].content[0].type", "invalid_value"),
    ({"messages": [{"role": "assistant"}]}, "Invalid value for 'content'", "messages[0].content", None),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "cat.png"}}]}]}, "Invalid 'messages[0].content[0].image_url.url'. Expected a valid URL", "messages[0].content[0].image_url.url", "invalid_value"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,no!"}}]}]}, "Invalid 'messages[0].content[0].image_url.url'. Expected a base64-encoded data URL", "messages[0].content[0].image_url.url", "invalid_value"),
    ({"temperature": 2.5}, "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 instead.", "temperature", "decimal_above_max_value"),
    ({"temperature": -1}, "Invalid 'temperature': decimal below minimum value.", "temperature", "decimal_below_min_value"),
    ({"temperature": "hot"}, "Invalid type for 'temperature': expected a decimal, but got a string instead.", "temperature", "invalid_type"),
    ({"max_tokens": 0}, "Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got 0 instead.", "max_tokens", "integer_below_min_value"),
    ({"max_completion_tokens": -1}, "Invalid 'max_completion_tokens': integer below minimum value.", "max_completion_tokens", "integer_below_min_value"),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", "max_tokens", "invalid_parameter_combination"),
    ({"n": 0}, "Invalid 'n': integer below minimum value.", "n", "integer_below_min_value"),
    ({"n": 200}, "Invalid 'n': integer above maximum value.", "n", "integer_above_max_value"),
    ({"stop": list("abcde")}, "Invalid 'stop': array too long. Expected an array with maximum length 4", "stop", "array_above_max_length"),
    ({"stream_options": {"include_usage": True}}, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options", None),
    ({"top_logprobs": 2}, "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", "top_logprobs", None),
    ({"favourite": 1}, "Unrecognized request argument supplied: favourite", None, None),
    ({"messages": [USER, result("call_1")]}, "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.", "messages.[1].role", None),
    ({"messages": [USER, asks("call_1", "call_2"), result("call_1"), USER]}, "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: call_2", "messages.[2].role", None),
    ({"messages": [USER, asks("call_1"), result("call_1"), result("call_1")]}, "Invalid parameter: Duplicate value for 'tool_call_id' of 'call_1', in messages[2] and messages[3].", "messages.[3].tool_call_id", None),
    ({"messages": [USER, asks("call_1"), result("call_9")]}, "Invalid parameter: 'tool_call_id' of 'call_9' not found in 'tool_calls' of previous message.", "messages.[2].tool_call_id", None),
    ({"tools": []}, "Invalid 'tools': empty array.", "tools", "empty_array"),
    ({"tool_choice": "auto"}, "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.", "tool_choice", None),
    ({"tools": [function(name="no spaces")]}, "Invalid 'tools[0].function.name': string does not match pattern.", "tools[0].function.name", "invalid_value"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "Invalid value for 'tool_choice': no function named 'g'", "tool_choice", None),
    ({"tools": [function(parameters={"type": "array"})]}, "Invalid schema for function 'f': schema must be a JSON Schema of 'type: \"object\"'", "tools[0].function.parameters", "invalid_function_parameters"),
    ({"response_format": {"type": "json_object"}}, "'messages' must contain the word 'json' in some form", "messages", None),
    ({"response_format": {"type": "json_schema"}}, "Missing required parameter: 'response_format.json_schema'.", "response_format.json_schema", "missing_required_parameter"),
    ({"response_format": wants({**STRICT, "additionalProperties": True})}, "Invalid schema for response_format 'reply': In context=(), 'additionalProperties' is required to be supplied and to be false.", "response_format", None),
    ({"response_format": wants({**STRICT, "required": []})}, "Invalid schema for response_format 'reply': In context=(), 'required' is required to be supplied and to be an array including every key in properties. Missing 'a'.", "response_format", None),
    ({"model": "o4-mini", "max_tokens": 5}, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "max_tokens", "unsupported_parameter"),
    ({"model": "gpt-5-mini", "temperature": 0.2}, "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.", "temperature", "unsupported_value"),
    ({"model": "o3", "stop": "x"}, "Unsupported parameter: 'stop' is not supported with this model.", "stop", "unsupported_parameter"),
    ({"reasoning_effort": "low"}, "Unrecognized request argument supplied: reasoning_effort", None, None),
    ({"model": "gpt-5", "reasoning_effort": "huge"}, "Invalid value: 'huge'.", "reasoning_effort", "invalid_value"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words", "param", "code"), OPENAI_REFUSES, ids=lambda value: str(value)[:60])
def test_openai_refuses(change: dict[str, Any], words: str, param: str | None, code: str | None) -> None:
    document = {name: value for name, value in (CHAT | change).items() if value is not ...}
    with pytest.raises(Complaint) as refused:
        rules_openai.check(document, strict=True)
    assert refused.value.message.startswith(words)
    assert (refused.value.status, refused.value.kind) == (400, "invalid_request_error")
    assert (refused.value.param, refused.value.code) == (param, code)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"temperature": 2, "top_p": 0, "n": 128, "stop": ["a", "b", "c", "d"]},
        {"messages": [USER, asks("call_1", "call_2"), result("call_2"), result("call_1"), USER]},
        {"messages": [USER, asks("call_1"), result("call_1"), asks("call_1"), result("call_1")]},
        {"messages": [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}, USER]},
        {"messages": [{"role": "user", "content": "Answer in JSON."}], "response_format": {"type": "json_object"}},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": False},
        {"response_format": wants(STRICT)},
        {"model": "o4-mini", "max_completion_tokens": 5, "temperature": 1, "reasoning_effort": "high"},
        {"model": "gpt-5.2", "temperature": 0.3},
        {"model": "gpt-5-chat-latest", "max_tokens": 5, "temperature": 0.3},
        {"stream": True, "stream_options": {"include_usage": True}},
    ],
    ids=str,
)
def test_openai_takes(change: dict[str, Any]) -> None:
    rules_openai.check(CHAT | change, strict=True)


def test_imitators_of_openai_take_fields_of_their_own() -> None:
    rules_openai.check(CHAT | {"provider": {"order": ["a"]}, "max_tokens": 5, "max_completion_tokens": 5}, strict=False)
    rules_openai.check(CHAT | {"model": "openai/o4-mini", "max_tokens": 5, "temperature": 0}, strict=False)


def use(identity: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": identity, "name": "f", "input": {}}


def answer(identity: str) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": identity, "content": "done"}


def user(*blocks: dict[str, Any] | str) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks) if not isinstance(blocks[0], str) else blocks[0]}


def assistant(*blocks: dict[str, Any] | str) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks) if not isinstance(blocks[0], str) else blocks[0]}


def thought(text: str, signature: str | None = None) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": signature or answers.signature(text)}


THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048}
CUSTOM = {"name": "f", "input_schema": {"type": "object"}}

ANTHROPIC_REFUSES: list[tuple[dict[str, Any], str]] = [
    ({"model": ...}, "model: Field required"),
    ({"messages": ...}, "messages: Field required"),
    ({"max_tokens": ...}, "max_tokens: Field required"),
    ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
    ({"max_tokens": "many"}, "max_tokens: Input should be a valid integer"),
    ({"favourite": 1}, "favourite: Extra inputs are not permitted"),
    ({"messages": []}, "messages: at least one message is required"),
    ({"messages": [{"role": "tool", "content": "Hi"}]}, "messages.0.role: Input should be 'user' or 'assistant'"),
    ({"messages": [{"role": "system", "content": "Hi"}, USER]}, 'messages: Unexpected role "system".'),
    ({"messages": [USER, INLINE]}, "messages.1: role 'system' is not supported on this model"),
    ({"model": "claude-opus-4-8", "messages": [USER, INLINE, USER]}, "messages.1: role 'system' must follow a user message"),
    ({"model": "claude-opus-4-8", "messages": [USER, assistant("Hi"), INLINE]}, "messages.2: role 'system' must follow a user"),
    ({"messages": [assistant("Hi"), USER]}, 'messages: first message must use the "user" role'),
    ({"messages": [{"role": "user", "content": ""}]}, "messages.0: all messages must have non-empty content except for the optional final assistant message"),
    ({"messages": [user({"type": "text", "text": ""})]}, "messages: text content blocks must be non-empty"),
    ({"messages": [user({"type": "text", "text": "  "})]}, "messages: text content blocks must contain non-whitespace text"),
    ({"messages": [USER, assistant("Sure: ")]}, "messages: final assistant content cannot end with trailing whitespace"),
    ({"system": [{"type": "text", "text": ""}]}, "system: text content blocks must be non-empty"),
    ({"temperature": 1.5}, "temperature: range: 0..1"),
    ({"temperature": 0.5, "top_p": 0.5}, "`temperature` and `top_p` cannot both be specified for this model."),
    ({"top_k": -1}, "top_k: Input should be greater than or equal to 0"),
    ({"stop_sequences": [" "]}, "stop_sequences: each stop sequence must contain non-whitespace"),
    ({"messages": [user(answer("toolu_1"))]}, "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."),
    ({"messages": [USER, user(answer("toolu_1"))]}, "messages.0.content.1: unexpected `tool_use_id`"),
    ({"messages": [USER, assistant(use("toolu_1")), USER]}, "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1. Each"),
    ({"messages": [USER, assistant(use("toolu_1"))]}, "messages.1: `tool_use` ids were found without `tool_result` blocks"),
    ({"messages": [USER, assistant(use("toolu_1")), user(answer("toolu_1"), answer("toolu_1"))]}, "messages.2.content.0: each tool_use must have a single result. Found multiple `tool_result` blocks with id: toolu_1"),
    ({"messages": [USER, assistant(use("toolu_1"), use("toolu_1")), user(answer("toolu_1"))]}, "messages.1.content.1: `tool_use` ids must be unique"),
    ({"messages": [user(use("toolu_1"))]}, "messages.0: `tool_use` blocks can only be in `assistant` messages"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1000}, "max_tokens": 2048}, "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"),
    ({"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 2048}, "`max_tokens` must be greater than `thinking.budget_tokens`."),
    ({"thinking": {"type": "enabled"}, "max_tokens": 2048}, "thinking.enabled.budget_tokens: Field required"),
    ({"thinking": {"type": "loud"}}, "thinking: Input tag 'loud' found using 'type' does not match any of the expected tags"),
    (THINKING | {"temperature": 0}, "`temperature` may only be set to 1 when thinking is enabled. Please consult"),
    ({"thinking": {"type": "adaptive"}, "temperature": 0}, "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode."),
    (THINKING | {"top_k": 5}, "`top_k` must be unset when thinking is enabled."),
    (THINKING | {"tools": [CUSTOM], "tool_choice": {"type": "any"}}, "Thinking may not be enabled when tool_choice forces tool use."),
    (THINKING | {"messages": [USER, assistant(use("toolu_1")), user(answer("toolu_1"))]}, "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled"),
    (THINKING | {"messages": [USER, assistant(thought("Hm.", "forged"), use("toolu_1")), user(answer("toolu_1"))]}, "messages.1.content.0: Invalid `signature` in `thinking` block"),
    ({"tool_choice": {"type": "auto"}}, "tool_choice: `tool_choice` may only be specified while providing `tools`."),
    ({"tools": [CUSTOM], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice: Tool 'g' not found in provided tools"),
    ({"tools": [CUSTOM, CUSTOM]}, "tools: Tool names must be unique."),
    ({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema: Field required"),
    ({"tools": [{"name": "f", "input_schema": {}}]}, "tools.0.custom.input_schema.type: Field required"),
    ({"tools": [CUSTOM | {"name": "no spaces"}]}, "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"),
    ({"messages": [user({"type": "image", "source": {"type": "base64", "media_type": "image/tiff", "data": "AA=="}})]}, "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg'"),
    ({"messages": [user({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "data:image/png;base64,AA=="}})]}, "messages.0.content.0.image.source.base64: invalid base64 data"),
    ({"messages": [user({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}})]}, "messages.0.content.0.image.source.base64: image cannot be empty"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), ANTHROPIC_REFUSES, ids=lambda value: str(value)[:60])
def test_anthropic_refuses(change: dict[str, Any], words: str) -> None:
    document = {name: value for name, value in (MESSAGE | change).items() if value is not ...}
    with pytest.raises(Complaint) as refused:
        rules_anthropic.check(document)
    assert refused.value.message.startswith(words)
    assert (refused.value.status, refused.value.kind) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"temperature": 1},
        {"model": "claude-opus-4-8", "messages": [USER, INLINE]},
        {"model": "claude-opus-4-8", "messages": [USER, INLINE, assistant("Sure:")]},
        {"messages": [USER, assistant("Sure:")]},
        {"messages": [USER, USER, assistant("Yes."), USER]},
        {"messages": [USER, assistant(use("a"), use("b")), user(answer("b"), answer("a"), {"type": "text", "text": "Well?"})]},
        {"messages": [USER, assistant(use("a"), use("b")), user(answer("a")), user(answer("b"))]},
        THINKING | {"tools": [CUSTOM], "tool_choice": {"type": "auto"}, "temperature": 1, "top_p": None},
        THINKING | {"messages": [USER, assistant(thought("Hm."), use("a")), user(answer("a"))]},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]},
    ],
    ids=lambda change: str(change)[:60],
)
def test_anthropic_takes(change: dict[str, Any]) -> None:
    rules_anthropic.check(MESSAGE | change)


def test_the_token_counter_wants_no_max_tokens() -> None:
    rules_anthropic.check({"model": "claude-haiku-4-5", "messages": [USER]}, counting=True)
