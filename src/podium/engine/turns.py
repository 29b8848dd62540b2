"""The door for conversations and tools: what callers write becomes `Message`s, `Tool`s and a `ToolChoice`.

Theory. A string is a prompt; a dict with `parts` is one of Podium's own, any other dict is in OpenAI's form and is read by that
dialect's own codec. Podium's values are frozen but not checked when they are made, so they are checked here, to their leaves.

Rules. What is wrong names its place in the call (`messages[3].content`) and not a provider's 400. Texts, the common case, are
looked at and nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from podium.engine.slips import checked, converted, wrong
from podium.errors import RequestError
from podium.types import Media, Message, Opaque, Part, Request, Text, Tool, ToolChoice, ToolResult
from podium.wire.codec import codec

_PARTS: tuple[type, ...] = get_args(Part)
_ASKED = Text | Media | Opaque
_SOURCES = ("data", "url", "file_id", "text")
_OPENAI = "openai_chat"
_NEEDS_CONTENT = ("user", "system", "developer", "tool")


def load_messages(ask: Mapping[str, Any]) -> tuple[Message, ...]:
    """Read `prompt` or `messages`. Raises `RequestError`."""
    prompt, messages = ask.get("prompt"), ask.get("messages")
    if (prompt is None) == (messages is None):
        raise RequestError(
            "A call needs one of `prompt` and `messages`" + ("." if prompt is None else ", not both."),
            param="prompt",
            hint='For one question: prompt="...". For a conversation: messages=[{"role": "user", "content": "..."}].',
        )
    if isinstance(prompt, str):
        return (Message(role="user", parts=(Text(text=prompt),)),)
    if prompt is not None:
        if not isinstance(prompt, (list, tuple)):
            raise wrong("prompt", prompt, "text, or a list of texts and Media")
        _not_empty("prompt", prompt)
        return (Message(role="user", parts=tuple(_load_part(part, f"prompt[{at}]") for at, part in enumerate(prompt))),)
    if not isinstance(messages, (list, tuple)):
        raise wrong("messages", messages, 'a list of messages, as [{"role": "user", "content": "..."}]')
    _not_empty("messages", messages)
    return tuple(message for index, written in enumerate(messages) for message in _load_message(written, f"messages[{index}]"))


def _not_empty(param: str, values: list[Any] | tuple[Any, ...]) -> None:
    if not values:
        raise RequestError(f"`{param}` is empty.", param=param, hint="Give at least one.")


def _load_part(part: Any, param: str) -> Any:
    if isinstance(part, str):
        return Text(text=part)
    if isinstance(part, (Text, Media, Opaque)):
        _check_part(part, param)
        return part
    if isinstance(part, Mapping):
        found = converted(_ASKED, dict(part), param)
        _check_part(found, param)
        return found
    raise wrong(param, part, "text, a Text or a Media")


def _load_message(written: Any, param: str) -> tuple[Message, ...]:
    if isinstance(written, Message):
        return (_checked(written, param),)
    if not isinstance(written, Mapping):
        raise wrong(param, written, 'a Message, or a dict such as {"role": "user", "content": "..."}')
    role, content = written.get("role"), written.get("content")
    if isinstance(content, str) and role in ("user", "system", "assistant", "developer") and len(written) == 2:
        return (Message(role=role, parts=(Text(text=content),)),)
    if "parts" in written:
        return (_checked(converted(Message, dict(written), param), param),)
    if content is None and role in _NEEDS_CONTENT:
        raise RequestError(
            f"`{param}.content` is missing.", param=f"{param}.content", hint="Give text, or a list of parts in OpenAI's form."
        )
    return _through_openai({"messages": [dict(written)]}, "messages[0]", param).messages


def _checked(message: Message, param: str) -> Message:
    parts: Any = message.parts
    if not isinstance(parts, (tuple, list)):
        raise wrong(f"{param}.parts", parts, 'a list of parts, as [Text(text="Hello")]')
    for at, part in enumerate(parts):
        if type(part) is not Text or type(part.text) is not str:
            _check_part(part, f"{param}.parts[{at}]")
    return message if isinstance(parts, tuple) else message.replace(parts=tuple(parts))


def _check_part(part: Any, param: str) -> None:
    if not isinstance(part, _PARTS):
        raise wrong(param, part, 'a part, as Text(text="Hello")')
    checked(type(part), part, param)
    if isinstance(part, ToolResult):
        for at, inner in enumerate(part.parts):
            _check_part(inner, f"{param}.parts[{at}]")
    if isinstance(part, Media):
        given = [name for name in _SOURCES if getattr(part, name) is not None]
        if len(given) != 1:
            has = f"both {' and '.join(f'`{name}`' for name in given)}" if given else "nothing in it"
            raise RequestError(f"The Media at `{param}` has {has}.", param=param, hint=f"Give one of {', '.join(_SOURCES)}.")


def _through_openai(body: dict[str, Any], inside: str, param: str) -> Request:
    """Read a piece of a request in OpenAI's form with that dialect's own codec; `inside` is where it stands in the body."""
    try:
        encoded = msgspec.json.encode({"model": "", "messages": [], **body})
    except (TypeError, ValueError) as error:
        raise RequestError(f"`{param}` cannot be written as JSON: {error}.", param=param, hint="Use plain values.") from None
    try:
        return codec(_OPENAI).load_request(encoded)
    except RequestError as error:
        inner = (error.param or "").removeprefix(inside)
        message = error.message.replace(f"`{inside}", f"`{param}")
        raise RequestError(message, param=param + inner, hint=error.hint) from None


def load_tools(tools: Any) -> tuple[Tool | Opaque, ...]:
    """Read `tools`. Raises `RequestError`."""
    if not isinstance(tools, (list, tuple)):
        raise wrong("tools", tools, "a list of tools")
    return tuple(_load_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools))


def _load_tool(tool: Any, param: str) -> Tool | Opaque:
    if isinstance(tool, (Tool, Opaque)):
        checked(type(tool), tool, param)
        return tool
    if not isinstance(tool, Mapping):
        raise wrong(param, tool, "a Tool, or a dict in OpenAI's form")
    if tool.get("type") == "tool" or "type" not in tool:
        found: Tool = converted(Tool, {"type": "tool", **tool}, param)
        return found
    return _through_openai({"tools": [dict(tool)]}, "tools[0]", param).tools[0]


def load_tool_choice(choice: Any, parallel: Any, tools: tuple[Tool | Opaque, ...]) -> ToolChoice:
    """Read `tool_choice` and `parallel_tool_calls`. Raises `RequestError`."""
    if not isinstance(parallel, (bool, type(None))):
        raise wrong("parallel_tool_calls", parallel, "True or False")
    if isinstance(choice, Mapping):
        written = {"tools": [], "tool_choice": dict(choice)}
        choice = _through_openai(written, "tool_choice", "tool_choice").tool_choice or ToolChoice()
    if choice is not None and not tools:
        raise RequestError("`tool_choice` was given without `tools`.", param="tool_choice", hint="Give both, or neither.")
    names = [tool.name for tool in tools if isinstance(tool, Tool)]
    match choice:
        case ToolChoice():
            checked(ToolChoice, choice, "tool_choice")
            return choice if parallel is None else choice.replace(parallel=parallel)
        case None:
            return ToolChoice(parallel=parallel)
        case "auto" | "required" | "none":
            return ToolChoice(mode=choice, parallel=parallel)
        case str() if choice in names:
            return ToolChoice(mode="tool", name=choice, parallel=parallel)
        case str():
            raise RequestError(
                f"`tool_choice` names {choice!r}, which is not among the tools.",
                param="tool_choice",
                hint=f"Use auto, required, none{''.join(f', {name}' for name in names)}.",
            )
        case _:
            raise wrong("tool_choice", choice, "auto, required, none, or a tool's name")
