"""What OpenAI's Chat Completions API refuses in the messages, in its own words.

Theory. Each message is checked by itself, then the turns: a tool message answers a call of the assistant's message before it,
once, and every call is answered before anything else is said.

Rules. As in `podium.sim.rules_openai`, whose part this is.
"""

from __future__ import annotations

import re
from typing import Any

from podium.sim.complaints import Complaint
from podium.sim.demands import base64_fault, filled, needed, one_of, typed

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_WITHOUT_INSTRUCTIONS = re.compile(r"^o1-(?:mini|preview)")


def check_messages(messages: Any, model: str) -> None:
    """Refuse messages whose roles, contents or parts the API does not take; `model` may be one that takes no instructions."""
    typed(messages, list, "messages", "an array of objects")
    filled(messages, "messages")
    for index, message in enumerate(messages):
        param = f"messages[{index}]"
        typed(message, dict, param, "an object")
        one_of(needed(message, "role", f"{param}.role"), _ROLES, f"{param}.role")
        if _WITHOUT_INSTRUCTIONS.match(model) and message["role"] in ("system", "developer"):
            raise Complaint(
                f"Unsupported value: '{param}.role' does not support '{message['role']}' with this model.",
                param=f"{param}.role",
                code="unsupported_value",
            )
        if message["role"] == "assistant":
            _check_assistant(message, param)
        elif message.get("content") is None:
            raise Complaint("Invalid value for 'content': expected a string, got null.", param=f"messages.[{index}].content")
        else:
            _check_content(message["content"], param, message["role"])
        if message["role"] == "tool":
            typed(needed(message, "tool_call_id", f"{param}.tool_call_id"), str, f"{param}.tool_call_id", "a string")


def _check_assistant(message: dict[str, Any], param: str) -> None:
    calls = message.get("tool_calls")
    if calls is not None:
        typed(calls, list, f"{param}.tool_calls", "an array of objects")
        filled(calls, f"{param}.tool_calls")
        for number, call in enumerate(calls):
            place = f"{param}.tool_calls[{number}]"
            typed(call, dict, place, "an object")
            typed(needed(call, "id", f"{place}.id"), str, f"{place}.id", "a string")
            kind = needed(call, "type", f"{place}.type")
            one_of(kind, ("function", "custom"), f"{place}.type")
            if kind == "function":
                function = needed(call, "function", f"{place}.function")
                typed(function, dict, f"{place}.function", "an object")
                typed(needed(function, "name", f"{place}.function.name"), str, f"{place}.function.name", "a string")
                arguments = needed(function, "arguments", f"{place}.function.arguments")
                typed(arguments, str, f"{place}.function.arguments", "a string")
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
    typed(content, (str, list), f"{param}.content", "one of a string or array of objects")
    if isinstance(content, str):
        return
    filled(content, f"{param}.content")
    for number, part in enumerate(content):
        place = f"{param}.content[{number}]"
        typed(part, dict, place, "an object")
        kind = needed(part, "type", f"{place}.type")
        one_of(kind, _PARTS[role], f"{place}.type")
        value = needed(part, kind, f"{place}.{kind}")
        if kind in ("text", "refusal"):
            typed(value, str, f"{place}.{kind}", "a string")
        else:
            typed(value, dict, f"{place}.{kind}", "an object")
        if kind == "image_url":
            _check_image(needed(value, "url", f"{place}.image_url.url"), f"{place}.image_url.url")


def _check_image(url: Any, param: str) -> None:
    typed(url, str, param, "a string")
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
    if url.startswith("data:") and (fault := base64_fault(url.partition(",")[2])):
        raise Complaint(
            f"Invalid '{param}'. Expected a base64-encoded data URL with an image MIME type (e.g. "
            f"'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got {fault} base64-encoded bytes.",
            param=param,
            code="invalid_value",
        )


def check_turns(messages: list[dict[str, Any]]) -> None:
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
