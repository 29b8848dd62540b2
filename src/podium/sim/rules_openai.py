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
from podium.sim.demands import filled, needed, one_of, typed
from podium.sim.rules_openai_messages import check_messages, check_turns
from podium.sim.schemas import fault

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

_FIELDS = (
    "audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages metadata "
    "modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_options "
    "prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop store stream "
    "stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options"
)
_KNOWN = frozenset(_FIELDS.split())

_REASONING = re.compile(r"^(?:o\d|gpt-5(?!.*chat))")
_WITHOUT_STOP = re.compile(r"^(?:o3(?!-mini)|o4|gpt-5)")
_LATER_5 = re.compile(r"^gpt-5\.\d")


def check(document: Any, *, strict: bool) -> None:
    """Refuse what the API refuses. Raises `Complaint`."""
    if not isinstance(document, dict):
        raise Complaint("Invalid body: expected a JSON object.", code="invalid_type")
    if not document.get("model"):
        raise Complaint("you must provide a model parameter")
    typed(document["model"], str, "model", "a string")
    if "messages" not in document:
        raise Complaint("Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter")
    if strict and (unknown := sorted(set(document) - _KNOWN)):
        plural = "s" if len(unknown) > 1 else ""
        raise Complaint(f"Unrecognized request argument{plural} supplied: {', '.join(unknown)}")
    if strict:
        _check_reasoning(document)
    check_messages(document["messages"], document["model"] if strict else "")
    check_turns(document["messages"])
    _check_numbers(document)
    _check_limits(document, strict=strict)
    _check_stream(document)
    _check_tools(document, strict=strict)
    _check_format(document, strict=strict)


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
            typed(value, (int, float), name, "a decimal")
            _within(name, value, low, high, "decimal")
    for name, least, most in _INTEGERS:
        if (value := document.get(name)) is not None:
            typed(value, int, name, "an integer")
            _within(name, value, least, most, "integer")
    if document.get("seed") is not None:
        typed(document["seed"], int, "seed", "an integer")
    for name in ("stream", "logprobs", "store", "parallel_tool_calls"):
        if document.get(name) is not None:
            typed(document[name], bool, name, "a boolean")
    if document.get("user") is not None:
        typed(document["user"], str, "user", "a string")


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
        typed(stop, (str, list), "stop", "one of a string or array of strings")
    if isinstance(stop, list):
        if len(stop) > 4:
            raise Complaint(
                "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length "
                f"{len(stop)} instead.",
                param="stop",
                code="array_above_max_length",
            )
        for index, each in enumerate(stop):
            typed(each, str, f"stop[{index}]", "a string")
    if document.get("top_logprobs") is not None and not document.get("logprobs"):
        raise Complaint("The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", param="top_logprobs")
    if document.get("reasoning_effort") is not None:
        one_of(document["reasoning_effort"], _EFFORTS, "reasoning_effort")


def _check_stream(document: dict[str, Any]) -> None:
    options = document.get("stream_options")
    if options is None:
        return
    if not document.get("stream"):
        raise Complaint("The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")
    typed(options, dict, "stream_options", "an object")


_TOOL_NAME = r"^[a-zA-Z0-9_-]+$"


def _check_tools(document: dict[str, Any], *, strict: bool) -> None:
    tools, picked = document.get("tools"), document.get("tool_choice")
    if tools is None or (tools == [] and not strict):
        for name in ("tool_choice", "parallel_tool_calls"):
            if document.get(name) is not None and document[name] != "none":
                raise Complaint(f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.", param=name)
        return
    typed(tools, list, "tools", "an array of objects")
    filled(tools, "tools")
    names = [_check_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    if isinstance(picked, str):
        one_of(picked, ("none", "auto", "required"), "tool_choice")
    elif isinstance(picked, dict) and picked.get("type") == "function":
        function = needed(picked, "function", "tool_choice.function")
        typed(function, dict, "tool_choice.function", "an object")
        if (name := needed(function, "name", "tool_choice.function.name")) not in names:
            raise Complaint(
                f"Invalid value for 'tool_choice': no function named '{name}' was specified in the 'tools' parameter.",
                param="tool_choice",
            )
    elif picked is not None:
        typed(picked, dict, "tool_choice", "one of a string or object")


def _check_tool(tool: Any, place: str) -> str | None:
    typed(tool, dict, place, "an object")
    kind = needed(tool, "type", f"{place}.type")
    one_of(kind, ("function", "custom"), f"{place}.type")
    if kind != "function":
        return None
    function = needed(tool, "function", f"{place}.function")
    typed(function, dict, f"{place}.function", "an object")
    param = f"{place}.function.name"
    name = needed(function, "name", param)
    typed(name, str, param, "a string")
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
        typed(schema, dict, f"{place}.function.parameters", "an object")
        if schema and schema.get("type") != "object":
            raise Complaint(
                f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', got 'type: "
                f'"{schema.get("type")}"\'.',
                param=f"{place}.function.parameters",
                code="invalid_function_parameters",
            )
        _check_schema(schema, f"Invalid schema for function '{name}'", f"{place}.function.parameters")
        if function.get("strict"):
            _check_strict(schema, f"Invalid schema for function '{name}'", f"{place}.function.parameters", ())
    return str(name)


def _check_format(document: dict[str, Any], *, strict: bool) -> None:
    wanted = document.get("response_format")
    if wanted is None:
        return
    typed(wanted, dict, "response_format", "an object")
    kind = needed(wanted, "type", "response_format.type")
    one_of(kind, ("json_object", "json_schema", "text"), "response_format.type")
    if kind == "json_object" and strict:
        said = msgspec.json.encode([message.get("content") for message in document["messages"]]).decode().lower()
        if "json" not in said:
            raise Complaint(
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
                param="messages",
            )
    if kind == "json_schema":
        outer = needed(wanted, "json_schema", "response_format.json_schema")
        typed(outer, dict, "response_format.json_schema", "an object")
        name = needed(outer, "name", "response_format.json_schema.name")
        typed(name, str, "response_format.json_schema.name", "a string")
        schema = outer.get("schema")
        if schema is not None:
            typed(schema, dict, "response_format.json_schema.schema", "an object")
            _check_schema(schema, f"Invalid schema for response_format '{name}'", "response_format")
            if outer.get("strict") and strict:
                _check_strict(schema, f"Invalid schema for response_format '{name}'", "response_format", ())


def _check_schema(schema: dict[str, Any], begins: str, param: str) -> None:
    if found := fault(schema):
        path, words = found
        where = f"In context={path!r}, " if path else ""
        code = "invalid_function_parameters" if "function" in begins else None
        raise Complaint(f"{begins}: {where}{words}.", param=param, code=code)


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
        if document.get(name) and (name != "stop" or _WITHOUT_STOP.match(model)):
            raise Complaint(
                f"Unsupported parameter: '{name}' is not supported with this model.", param=name, code="unsupported_parameter"
            )
