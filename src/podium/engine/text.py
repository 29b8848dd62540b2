"""The door for what callers write: prompts, messages, tools and settings become a `Request`.

Theory. Plain Python is accepted here and nowhere below: a string is a prompt, a dict with `content` is a message in OpenAI's
form, a dict with `parts` is one of Podium's own. Everything is validated at once, so that a slip is an error that names its
place and not a provider's 400.

Rules. What is not understood is an error with the nearest right name. Nothing here talks to a provider.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, TypedDict

import msgspec

from podium.errors import RequestError
from podium.types import (
    Media,
    Message,
    Opaque,
    Output,
    Request,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    load,
)
from podium.wire.codec import codec


class Ask(TypedDict, total=False):
    """What a call may say beside its spec. All fields may be left out, but one of `prompt` and `messages`."""

    prompt: str | Sequence[Text | Media]
    """One user message: text, or parts."""
    messages: Sequence[Message | Mapping[str, Any]]
    """The conversation: `Message`s, or dicts in OpenAI's form (`{"role": "user", "content": "..."}`)."""
    system: str | None
    """Instructions, before the messages."""
    tools: Sequence[Tool | Opaque | Mapping[str, Any]] | None
    """Functions that the model may call: `Tool`s, or dicts in OpenAI's form."""
    tool_choice: str | ToolChoice | None
    """`auto`, `required`, `none`, or the name of a tool."""
    parallel_tool_calls: bool | None
    output: Any
    """The answer's form: `"json"`, a JSON Schema, a pydantic model, or an `Output`."""
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    stop: str | Sequence[str] | None
    seed: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    logit_bias: Mapping[str, float] | None
    logprobs: bool | None
    top_logprobs: int | None
    n: int | None
    service_tier: str | None
    user: str | None
    """An end user's id for the provider's abuse checks; who asks at Podium is `user_id`."""
    thinking: str | int | Thinking | None
    """How much to reason first: an effort (`"high"`), a budget in tokens, or a `Thinking`."""
    strict: bool
    """Whether a setting that the target cannot honour is an error rather than a `Loss`."""
    metadata: Mapping[str, Any] | None
    """Podium's own: team, conversation, tags. Never sent to a provider."""
    extra: Mapping[str, Mapping[str, Any]] | None
    """Further top-level fields for one dialect: `{"openai_chat": {"verbosity": "low"}}`."""


_SAMPLING = frozenset(Sampling.__struct_fields__) - {"extra"}
_KNOWN = frozenset(Ask.__annotations__)
_PLAIN = Sampling()
_OPENAI = "openai_chat"


def load_request(spec: str, ask: Mapping[str, Any], *, stream: bool) -> Request:
    """Make the request that a caller wrote.

    Raises `RequestError` for whatever is missing, unknown, or of the wrong kind.
    """
    for name in ask:
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, 1)
            raise RequestError(
                f"There is no setting {name!r}.",
                param=name,
                hint=f"Did you mean `{near[0]}`?" if near else f"Settings: {', '.join(sorted(_KNOWN))}.",
            )
    fields: dict[str, Any] = {"model": spec, "messages": _load_messages(ask), "stream": stream}
    if (system := ask.get("system")) is not None:
        if not isinstance(system, str):
            raise _wrong("system", system, "a string")
        fields["system"] = (Text(text=system),)
    if tools := ask.get("tools"):
        fields["tools"] = tuple(_load_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools))
    if ask.get("tool_choice") is not None or ask.get("parallel_tool_calls") is not None:
        fields["tool_choice"] = _load_tool_choice(ask)
    if (output := ask.get("output")) is not None:
        fields["output"] = _load_output(output)
    if (thinking := ask.get("thinking")) is not None:
        fields["thinking"] = _load_thinking(thinking)
    if any(name in _SAMPLING for name in ask):
        fields["sampling"] = _load_sampling(ask)
    if ask.get("strict"):
        fields["strict"] = True
    if (metadata := ask.get("metadata")) is not None:
        fields["metadata"] = _load_metadata(metadata)
    if extra := ask.get("extra"):
        fields["extra"] = {dialect: dict(more) for dialect, more in extra.items()}
    return Request(**fields)


def _wrong(param: str, value: object, wanted: str) -> RequestError:
    return RequestError(f"`{param}` is {type(value).__name__}.", param=param, hint=f"Give {wanted}.")


def _load_messages(ask: Mapping[str, Any]) -> tuple[Message, ...]:
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
            raise _wrong("prompt", prompt, "text, or a list of parts")
        return (Message(role="user", parts=tuple(_load_part(part, f"prompt[{at}]") for at, part in enumerate(prompt))),)
    if not isinstance(messages, (list, tuple)):
        raise _wrong("messages", messages, "a list of messages")
    if not messages:
        raise RequestError("`messages` is empty.", param="messages", hint="Give at least one message.")
    return tuple(message for index, written in enumerate(messages) for message in _load_message(written, f"messages[{index}]"))


def _load_part(part: Any, param: str) -> Any:
    if isinstance(part, str):
        return Text(text=part)
    if isinstance(part, (Text, Media, Opaque)):
        return part
    if isinstance(part, Mapping):
        return load(Text | Media | Opaque, dict(part))  # type: ignore[arg-type]
    raise _wrong(param, part, "text, a Text or a Media")


def _load_message(written: Any, param: str) -> tuple[Message, ...]:
    if isinstance(written, Message):
        return (_checked(written, param),)
    if not isinstance(written, Mapping):
        raise _wrong(param, written, 'a Message, or a dict such as {"role": "user", "content": "..."}')
    role, content = written.get("role"), written.get("content")
    if isinstance(content, str) and role in ("user", "system", "assistant", "developer") and len(written) == 2:
        return (Message(role=role, parts=(Text(text=content),)),)
    if "parts" in written:
        try:
            return (load(Message, dict(written)),)
        except RequestError as error:
            raise RequestError(error.message, param=param, hint=error.hint) from None
    return _through_openai({"messages": [dict(written)]}, param).messages


def _checked(message: Message, param: str) -> Message:
    parts: Any = message.parts
    if not isinstance(parts, tuple) or not all(isinstance(part, msgspec.Struct) for part in parts):
        raise RequestError(f"`{param}.parts` is not a tuple of parts.", param=f"{param}.parts", hint="Give Text, Media, ...")
    return message


def _through_openai(body: dict[str, Any], param: str) -> Request:
    """Read a piece of a request in OpenAI's form with that dialect's own codec."""
    try:
        encoded = msgspec.json.encode({"model": "", "messages": [], **body})
    except (TypeError, ValueError) as error:
        raise RequestError(f"`{param}` cannot be written as JSON: {error}.", param=param, hint="Use plain values.") from None
    try:
        return codec(_OPENAI).load_request(encoded)
    except RequestError as error:
        inner = error.param.partition("]")[2] if error.param else ""
        raise RequestError(error.message, param=param + inner, hint=error.hint) from None


def _load_tool(tool: Any, param: str) -> Tool | Opaque:
    if isinstance(tool, (Tool, Opaque)):
        return tool
    if not isinstance(tool, Mapping):
        raise _wrong(param, tool, "a Tool, or a dict in OpenAI's form")
    if tool.get("type") == "tool" or "type" not in tool:
        return load(Tool, {"type": "tool", **tool})
    return _through_openai({"tools": [dict(tool)]}, param).tools[0]


def _load_tool_choice(ask: Mapping[str, Any]) -> ToolChoice:
    choice, parallel = ask.get("tool_choice"), ask.get("parallel_tool_calls")
    match choice:
        case ToolChoice():
            return choice if parallel is None else choice.replace(parallel=parallel)
        case None:
            return ToolChoice(parallel=parallel)
        case "auto" | "required" | "none":
            return ToolChoice(mode=choice, parallel=parallel)
        case str():
            names = [tool.name if isinstance(tool, Tool) else _name(tool) for tool in ask.get("tools") or ()]
            if choice not in names:
                raise RequestError(
                    f"`tool_choice` names {choice!r}, which is not among the tools.",
                    param="tool_choice",
                    hint=f"Use auto, required, none{''.join(f', {name}' for name in names if name)}.",
                )
            return ToolChoice(mode="tool", name=choice, parallel=parallel)
        case _:
            raise _wrong("tool_choice", choice, "auto, required, none, or a tool's name")


def _name(tool: Any) -> str | None:
    if not isinstance(tool, Mapping):
        return None
    function = tool.get("function")
    name = function.get("name") if isinstance(function, Mapping) else tool.get("name")
    return name if isinstance(name, str) else None


def _load_output(output: Any) -> Output:
    match output:
        case Output():
            return output
        case "text" | "json":
            return Output(kind=output)
        case Mapping():
            return Output(kind="json_schema", schema=dict(output), name=str(output.get("title") or "answer"))
        case type() if hasattr(output, "model_json_schema"):
            return Output(kind="json_schema", schema=output.model_json_schema(), name=output.__name__)
        case _:
            raise _wrong("output", output, '"json", a JSON Schema, a pydantic model or an Output')


def _load_metadata(metadata: Any) -> dict[str, Any]:
    """Check what the ledger counts by; anything else in it is the caller's own."""
    if not isinstance(metadata, Mapping):
        raise _wrong("metadata", metadata, "a dict")
    for name in ("team", "conversation"):
        value = metadata.get(name)
        if not isinstance(value, (str, NoneType)):
            raise _wrong(f"metadata.{name}", value, "a string")
    tags = metadata.get("tags")
    if tags is not None and not (isinstance(tags, (list, tuple)) and all(isinstance(tag, str) for tag in tags)):
        raise _wrong("metadata.tags", tags, "a list of strings")
    return dict(metadata)


def _load_thinking(thinking: Any) -> Thinking:
    match thinking:
        case Thinking():
            return thinking
        case bool():
            return Thinking(enabled=thinking)
        case str():
            return Thinking(effort=thinking)
        case int():
            return Thinking(budget_tokens=thinking)
        case _:
            raise _wrong("thinking", thinking, 'an effort such as "high", or a budget in tokens')


def _load_sampling(ask: Mapping[str, Any]) -> Sampling:
    fields = {name: value for name, value in ask.items() if name in _SAMPLING and value is not None}
    if not fields:
        return _PLAIN
    stop = fields.get("stop")
    if isinstance(stop, str):
        fields["stop"] = (stop,)
    try:
        return msgspec.convert(fields, Sampling)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at ")
        name = path.strip("`").removeprefix("$.") or "sampling"
        raise RequestError(f"`{name}`: {what[:1].lower()}{what[1:]}.", param=name, hint="See podium.types.Sampling.") from None
