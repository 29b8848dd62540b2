"""What OpenAI's Chat Completions API refuses, in its own words.

Theory. The body is walked as plain JSON before any codec sees it, since a codec takes what is representable and a vendor
refuses more. The first fault found is answered, as the vendor answers one fault at a time.

Rules.
- `strict` adds what OpenAI refuses and its imitators let pass: unknown fields, and settings that reasoning models do not take.
- Wordings are those that the API was seen to give. https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from podium.sim.complaints import Complaint

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

_FIELDS = (
    "audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages metadata "
    "modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_options "
    "prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop store stream "
    "stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options"
)
_KNOWN = frozenset(_FIELDS.split())

_REASONING = re.compile(r"^(?:o\d|gpt-5(?!.*chat))")
_LATER_5 = re.compile(r"^gpt-5\.\d")


def check(document: Any, *, strict: bool) -> None:
    """Refuse what the API refuses. Raises `Complaint`."""
    if not isinstance(document, dict):
        raise Complaint("Invalid body: expected a JSON object.", code="invalid_type")
    if not document.get("model"):
        raise Complaint("you must provide a model parameter")
    _typed(document["model"], str, "model", "a string")
    if "messages" not in document:
        raise Complaint("Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter")
    if strict and (unknown := sorted(set(document) - _KNOWN)):
        plural = "s" if len(unknown) > 1 else ""
        raise Complaint(f"Unrecognized request argument{plural} supplied: {', '.join(unknown)}")
    _check_messages(document["messages"])
    _check_turns(document["messages"])
    _check_numbers(document)
    _check_limits(document, strict=strict)
    _check_stream(document)
    _check_tools(document)
    _check_format(document, strict=strict)
    if strict:
        _check_reasoning(document)


_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"), (str, "a string"), (int, "an integer"), (float, "a decimal"), (list, "an array"), (dict, "an object"),
)  # fmt: skip


def _called(value: Any) -> str:
    if value is None:
        return "null"
    return next((name for kind, name in _NAMES if isinstance(value, kind)), "something else")


def _typed(value: Any, kinds: type | tuple[type, ...], param: str, wanted: str) -> None:
    allowed = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise Complaint(
            f"Invalid type for '{param}': expected {wanted}, but got {_called(value)} instead.",
            param=param,
            code="invalid_type",
        )


def _one_of(value: Any, options: tuple[str, ...], param: str) -> None:
    _typed(value, str, param, f"one of {_listed(options, 'or')}")
    if value not in options:
        raise Complaint(
            f"Invalid value: '{value}'. Supported values are: {_listed(options, 'and')}.", param=param, code="invalid_value"
        )


def _listed(options: tuple[str, ...], last: str) -> str:
    quoted = [f"'{option}'" for option in options]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])}, {last} {quoted[-1]}"


def _filled(value: list[Any], param: str) -> None:
    if not value:
        raise Complaint(
            f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            param=param,
            code="empty_array",
        )


def _needed(document: dict[str, Any], name: str, param: str) -> Any:
    if name not in document:
        raise Complaint(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    return document[name]


# --- Messages --------------------------------------------------------------------------------------------------------


def _check_messages(messages: Any) -> None:
    _typed(messages, list, "messages", "an array of objects")
    _filled(messages, "messages")
    for index, message in enumerate(messages):
        param = f"messages[{index}]"
        _typed(message, dict, param, "an object")
        _one_of(_needed(message, "role", f"{param}.role"), _ROLES, f"{param}.role")
        if message["role"] == "assistant":
            _check_assistant(message, param)
        elif message.get("content") is None:
            raise Complaint("Invalid value for 'content': expected a string, got null.", param=f"messages.[{index}].content")
        else:
            _check_content(message["content"], param, message["role"])
        if message["role"] == "tool":
            _typed(_needed(message, "tool_call_id", f"{param}.tool_call_id"), str, f"{param}.tool_call_id", "a string")


def _check_assistant(message: dict[str, Any], param: str) -> None:
    calls = message.get("tool_calls")
    if calls is not None:
        _typed(calls, list, f"{param}.tool_calls", "an array of objects")
        _filled(calls, f"{param}.tool_calls")
        for number, call in enumerate(calls):
            place = f"{param}.tool_calls[{number}]"
            _typed(call, dict, place, "an object")
            _typed(_needed(call, "id", f"{place}.id"), str, f"{place}.id", "a string")
            kind = _needed(call, "type", f"{place}.type")
            _one_of(kind, ("function", "custom"), f"{place}.type")
            if kind == "function":
                function = _needed(call, "function", f"{place}.function")
                _typed(function, dict, f"{place}.function", "an object")
                _typed(_needed(function, "name", f"{place}.function.name"), str, f"{place}.function.name", "a string")
                arguments = _needed(function, "arguments", f"{place}.function.arguments")
                _typed(arguments, str, f"{place}.function.arguments", "a string")
    if message.get("content") is not None:
        _check_content(message["content"], param, "assistant")
    elif not calls and not any(message.get(field) for field in ("function_call", "refusal", "audio")):
        raise Complaint("Invalid value for 'content': expected a string, got null.", param=f"{param}.content")


_PARTS = {
    "system": ("text",),
    "developer": ("text",),
    "tool": ("text",),
    "function": ("text",),
    "assistant": ("text", "refusal"),
    "user": ("text", "image_url", "input_audio", "file"),
}


def _check_content(content: Any, param: str, role: str) -> None:
    _typed(content, (str, list), f"{param}.content", "one of a string or array of objects")
    if isinstance(content, str):
        return
    _filled(content, f"{param}.content")
    for number, part in enumerate(content):
        place = f"{param}.content[{number}]"
        _typed(part, dict, place, "an object")
        kind = _needed(part, "type", f"{place}.type")
        _one_of(kind, _PARTS[role], f"{place}.type")
        value = _needed(part, kind, f"{place}.{kind}")
        if kind in ("text", "refusal"):
            _typed(value, str, f"{place}.{kind}", "a string")
        else:
            _typed(value, dict, f"{place}.{kind}", "an object")
        if kind == "image_url":
            _check_image(_needed(value, "url", f"{place}.image_url.url"), f"{place}.image_url.url")


def _check_image(url: Any, param: str) -> None:
    _typed(url, str, param, "a string")
    if not re.match(r"https?://|data:", url):
        raise Complaint(
            f"Invalid '{param}'. Expected a valid URL, but got a value with an invalid format.",
            param=param,
            code="invalid_value",
        )
    if url.startswith("data:") and not re.match(r"data:image/(?:png|jpeg|jpg|gif|webp)[;,]", url):
        raise Complaint(
            "You uploaded an unsupported image. Please make sure your image has of one the following formats: "
            "['png', 'jpeg', 'gif', 'webp'].",
            param=param,
            code="invalid_image_format",
        )


def _check_turns(messages: list[dict[str, Any]]) -> None:
    """Hold tool messages to the calls that they answer."""
    waiting: dict[str, int] = {}
    answered: dict[str, int] = {}
    asked_at = -1
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            call_id = message["tool_call_id"]
            if call_id in answered:
                raise Complaint(
                    f"Invalid parameter: Duplicate value for 'tool_call_id' of '{call_id}', in messages[{answered[call_id]}] "
                    f"and messages[{index}].",
                    param=f"messages.[{index}].tool_call_id",
                )
            if asked_at < 0:
                raise Complaint(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                    "'tool_calls'.",
                    param=f"messages.[{index}].role",
                )
            if call_id not in waiting:
                raise Complaint(
                    f"Invalid parameter: 'tool_call_id' of '{call_id}' not found in 'tool_calls' of previous message.",
                    param=f"messages.[{index}].tool_call_id",
                )
            del waiting[call_id]
            answered[call_id] = index
            continue
        _all_answered(waiting, asked_at)
        calls = message.get("tool_calls") or ()
        waiting, answered = {call["id"]: index for call in calls}, {}
        asked_at = index if calls else -1
    _all_answered(waiting, asked_at)


def _all_answered(waiting: dict[str, int], asked_at: int) -> None:
    if waiting:
        raise Complaint(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The "
            f"following tool_call_ids did not have response messages: {', '.join(waiting)}",
            param=f"messages.[{asked_at + 1}].role",
        )


# --- Settings --------------------------------------------------------------------------------------------------------


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("temperature", 0, 2),
    ("top_p", 0, 1),
    ("frequency_penalty", -2, 2),
    ("presence_penalty", -2, 2),
)

_INTEGERS: tuple[tuple[str, int, int | None], ...] = (
    ("max_tokens", 1, None),
    ("max_completion_tokens", 1, None),
    ("n", 1, 128),
    ("top_logprobs", 0, 20),
)


def _check_numbers(document: dict[str, Any]) -> None:
    for name, low, high in _RANGES:
        if (value := document.get(name)) is not None:
            _typed(value, (int, float), name, "a decimal")
            _within(name, value, low, high, "decimal")
    for name, least, most in _INTEGERS:
        if (value := document.get(name)) is not None:
            _typed(value, int, name, "an integer")
            _within(name, value, least, most, "integer")
    if document.get("seed") is not None:
        _typed(document["seed"], int, "seed", "an integer")
    for name in ("stream", "logprobs", "store", "parallel_tool_calls"):
        if document.get(name) is not None:
            _typed(document[name], bool, name, "a boolean")
    if document.get("user") is not None:
        _typed(document["user"], str, "user", "a string")


def _within(name: str, value: float, low: float, high: float | None, kind: str) -> None:
    if value < low:
        raise Complaint(
            f"Invalid '{name}': {kind} below minimum value. Expected a value >= {low}, but got {value} instead.",
            param=name,
            code=f"{kind}_below_min_value",
        )
    if high is not None and value > high:
        raise Complaint(
            f"Invalid '{name}': {kind} above maximum value. Expected a value <= {high}, but got {value} instead.",
            param=name,
            code=f"{kind}_above_max_value",
        )


def _check_limits(document: dict[str, Any], *, strict: bool) -> None:
    if strict and document.get("max_tokens") is not None and document.get("max_completion_tokens") is not None:
        raise Complaint(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            param="max_tokens",
            code="invalid_parameter_combination",
        )
    stop = document.get("stop")
    if stop is not None:
        _typed(stop, (str, list), "stop", "one of a string or array of strings")
    if isinstance(stop, list):
        if len(stop) > 4:
            raise Complaint(
                "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length "
                f"{len(stop)} instead.",
                param="stop",
                code="array_above_max_length",
            )
        for index, each in enumerate(stop):
            _typed(each, str, f"stop[{index}]", "a string")
    if document.get("top_logprobs") is not None and not document.get("logprobs"):
        raise Complaint("The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", param="top_logprobs")
    if document.get("reasoning_effort") is not None:
        _one_of(document["reasoning_effort"], _EFFORTS, "reasoning_effort")


def _check_stream(document: dict[str, Any]) -> None:
    options = document.get("stream_options")
    if options is None:
        return
    if not document.get("stream"):
        raise Complaint("The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")
    _typed(options, dict, "stream_options", "an object")


_TOOL_NAME = r"^[a-zA-Z0-9_-]+$"


def _check_tools(document: dict[str, Any]) -> None:
    tools, picked = document.get("tools"), document.get("tool_choice")
    if tools is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            if document.get(name) is not None and document[name] != "none":
                raise Complaint(f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.", param=name)
        return
    _typed(tools, list, "tools", "an array of objects")
    _filled(tools, "tools")
    names = [_check_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    if isinstance(picked, str):
        _one_of(picked, ("none", "auto", "required"), "tool_choice")
    elif isinstance(picked, dict) and picked.get("type") == "function":
        function = _needed(picked, "function", "tool_choice.function")
        _typed(function, dict, "tool_choice.function", "an object")
        if (name := _needed(function, "name", "tool_choice.function.name")) not in names:
            raise Complaint(
                f"Invalid value for 'tool_choice': no function named '{name}' was specified in the 'tools' parameter.",
                param="tool_choice",
            )
    elif picked is not None:
        _typed(picked, dict, "tool_choice", "one of a string or object")


def _check_tool(tool: Any, place: str) -> str | None:
    _typed(tool, dict, place, "an object")
    kind = _needed(tool, "type", f"{place}.type")
    _one_of(kind, ("function", "custom"), f"{place}.type")
    if kind != "function":
        return None
    function = _needed(tool, "function", f"{place}.function")
    _typed(function, dict, f"{place}.function", "an object")
    param = f"{place}.function.name"
    name = _needed(function, "name", param)
    _typed(name, str, param, "a string")
    if not re.match(_TOOL_NAME, name):
        raise Complaint(
            f"Invalid '{param}': string does not match pattern. Expected a string that matches the pattern '{_TOOL_NAME}'.",
            param=param,
            code="invalid_value",
        )
    if len(name) > 64:
        raise Complaint(
            f"Invalid '{param}': string too long. Expected a string with maximum length 64, but got a string with length "
            f"{len(name)} instead.",
            param=param,
            code="string_above_max_length",
        )
    schema = function.get("parameters")
    if schema is not None:
        _typed(schema, dict, f"{place}.function.parameters", "an object")
        if schema and schema.get("type") != "object":
            raise Complaint(
                f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', got 'type: "
                f'"{schema.get("type")}"\'.',
                param=f"{place}.function.parameters",
                code="invalid_function_parameters",
            )
        if function.get("strict"):
            _check_strict(schema, f"Invalid schema for function '{name}'", f"{place}.function.parameters", ())
    return str(name)


def _check_format(document: dict[str, Any], *, strict: bool) -> None:
    wanted = document.get("response_format")
    if wanted is None:
        return
    _typed(wanted, dict, "response_format", "an object")
    kind = _needed(wanted, "type", "response_format.type")
    _one_of(kind, ("json_object", "json_schema", "text"), "response_format.type")
    if kind == "json_object" and strict:
        said = msgspec.json.encode([message.get("content") for message in document["messages"]]).decode().lower()
        if "json" not in said:
            raise Complaint(
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
                param="messages",
            )
    if kind == "json_schema":
        outer = _needed(wanted, "json_schema", "response_format.json_schema")
        _typed(outer, dict, "response_format.json_schema", "an object")
        name = _needed(outer, "name", "response_format.json_schema.name")
        _typed(name, str, "response_format.json_schema.name", "a string")
        schema = outer.get("schema")
        if schema is not None:
            _typed(schema, dict, "response_format.json_schema.schema", "an object")
            if outer.get("strict") and strict:
                _check_strict(schema, f"Invalid schema for response_format '{name}'", "response_format", ())


def _check_strict(schema: Any, begins: str, param: str, context: tuple[str, ...]) -> None:
    """Hold a schema to what strict outputs demand: every property required, and no others."""
    if not isinstance(schema, dict):
        return
    where = f"In context=({', '.join(repr(step) for step in context)}{',' if len(context) == 1 else ''})"
    code = "invalid_function_parameters" if "function" in begins else None
    if schema.get("type") == "object" or "properties" in schema:
        if schema.get("additionalProperties") is not False:
            raise Complaint(
                f"{begins}: {where}, 'additionalProperties' is required to be supplied and to be false.", param=param, code=code
            )
        for name in schema.get("properties", {}):
            if name not in schema.get("required", ()):
                raise Complaint(
                    f"{begins}: {where}, 'required' is required to be supplied and to be an array including every key in "
                    f"properties. Missing '{name}'.",
                    param=param,
                    code=code,
                )
    for name, inner in (schema.get("properties") or {}).items():
        _check_strict(inner, begins, param, (*context, "properties", name))
    for name, inner in (schema.get("$defs") or {}).items():
        _check_strict(inner, begins, param, (*context, "$defs", name))
    _check_strict(schema.get("items"), begins, param, (*context, "items"))
    for index, inner in enumerate(schema.get("anyOf") or ()):
        _check_strict(inner, begins, param, (*context, "anyOf", str(index)))


def _check_reasoning(document: dict[str, Any]) -> None:
    model = document["model"]
    if not _REASONING.match(model):
        if document.get("reasoning_effort") is not None:
            raise Complaint("Unrecognized request argument supplied: reasoning_effort")
        return
    if document.get("max_tokens") is not None:
        raise Complaint(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    # From gpt-5.1 on, a model that is not asked to reason takes the sampling settings again.
    if _LATER_5.match(model) and document.get("reasoning_effort") in (None, "none"):
        return
    for name, default in (("temperature", 1), ("top_p", 1), ("presence_penalty", 0), ("frequency_penalty", 0)):
        value = document.get(name)
        if value is not None and value != default:
            raise Complaint(
                f"Unsupported value: '{name}' does not support {value} with this model. Only the default ({default}) value is "
                "supported.",
                param=name,
                code="unsupported_value",
            )
    for name in ("logprobs", "top_logprobs", "logit_bias", "stop"):
        if document.get(name):
            raise Complaint(
                f"Unsupported parameter: '{name}' is not supported with this model.", param=name, code="unsupported_parameter"
            )
