"""The door for what callers write: prompts, messages, tools and settings become a `Request`.

Theory. Plain Python is accepted here and nowhere below. Everything is validated at once, so that a slip is an error that names
its place and not a provider's 400. Conversations and tools are `turns.py`'s; the words of a slip are `slips.py`'s.

Rules. What is not understood is an error with the nearest right name. Nothing here talks to a provider.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, TypedDict

from podium.engine.slips import checked, converted, wrong
from podium.engine.turns import load_messages, load_tool_choice, load_tools
from podium.errors import RequestError
from podium.routing.spelling import nearest
from podium.types import Media, Message, Opaque, Output, Request, Sampling, Text, Thinking, Tool, ToolChoice
from podium.wire.codec import DIALECTS


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
_OF_THE_CALL = ("user_id", "experiment", "request_id", "pin", "timeout")
_PLAIN = Sampling()
_ELSEWHERE = {
    "stream": "For a stream, call `stream_text`.",
    "model": 'The spec is the first argument: `generate_text("tier:fast", prompt=...)`.',
    "response_format": "Did you mean `output`?",
    "reasoning_effort": "Did you mean `thinking`?",
    "reasoning": "Did you mean `thinking`?",
    "instructions": "Did you mean `system`?",
    "functions": "Did you mean `tools`?",
    "stop_sequences": "Did you mean `stop`?",
}
"""What other libraries call a setting, and where it is here."""


def load_request(spec: str, ask: Mapping[str, Any], *, stream: bool) -> Request:
    """Make the request that a caller wrote.

    Raises `RequestError` for whatever is missing, unknown, or of the wrong kind.
    """
    for name in ask:
        if name not in _KNOWN:
            raise _unknown(name)
    fields: dict[str, Any] = {"model": spec, "messages": load_messages(ask), "stream": stream}
    if (system := ask.get("system")) is not None:
        if not isinstance(system, str):
            raise wrong("system", system, "a string")
        fields["system"] = (Text(text=system),)
    tools = fields["tools"] = () if ask.get("tools") is None else load_tools(ask["tools"])
    if ask.get("tool_choice") is not None or ask.get("parallel_tool_calls") is not None:
        fields["tool_choice"] = load_tool_choice(ask.get("tool_choice"), ask.get("parallel_tool_calls"), tools)
    if (output := ask.get("output")) is not None:
        fields["output"] = _load_output(output)
    if (thinking := ask.get("thinking")) is not None:
        fields["thinking"] = _load_thinking(thinking)
    if any(name in _SAMPLING for name in ask):
        fields["sampling"] = _load_sampling(ask)
    if (strict := ask.get("strict")) is not None:
        if not isinstance(strict, bool):
            raise wrong("strict", strict, "True or False")
        fields["strict"] = strict
    if (metadata := ask.get("metadata")) is not None:
        fields["metadata"] = load_metadata(metadata)
    if (extra := ask.get("extra")) is not None:
        fields["extra"] = _load_extra(extra)
    return Request(**fields)


def check_caller(user_id: object, experiment: object, request_id: object, pin: object) -> None:
    """Check who asks, and how. Raises `RequestError`."""
    for name, value in (("user_id", user_id), ("experiment", experiment), ("request_id", request_id)):
        if not isinstance(value, (str, NoneType)):
            raise wrong(name, value, "a string")
    if not isinstance(pin, bool):
        raise wrong("pin", pin, "True or False")


def _unknown(name: str) -> RequestError:
    hint = _ELSEWHERE.get(name)
    if hint is None:
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
        near = nearest(snake, [*_KNOWN, *_OF_THE_CALL], most=1)
        hint = f"Did you mean `{near[0]}`?" if near else f"Settings: {', '.join(sorted(_KNOWN))}."
    return RequestError(f"There is no setting {name!r}.", param=name, hint=hint)


def _load_output(output: Any) -> Output:
    match output:
        case Output():
            checked(Output, output, "output")
            return output
        case "text" | "json":
            return Output(kind=output)
        case Mapping():
            return Output(kind="json_schema", schema=dict(output), name=str(output.get("title") or "answer"))
        case type() if hasattr(output, "model_json_schema"):
            return Output(kind="json_schema", schema=output.model_json_schema(), name=output.__name__)
        case str():
            hint = 'Give "text", "json", a JSON Schema or a pydantic model.'
            raise RequestError(f"`output` is {output[:40]!r}, which is no form of an answer.", param="output", hint=hint)
        case _:
            raise wrong("output", output, '"json", a JSON Schema, a pydantic model or an Output')


def load_metadata(metadata: Any) -> dict[str, Any]:
    """Check what the ledger counts by; anything else in it is the caller's own."""
    if not isinstance(metadata, Mapping):
        raise wrong("metadata", metadata, "a dict")
    for name in ("team", "conversation"):
        value = metadata.get(name)
        if not isinstance(value, (str, NoneType)):
            raise wrong(f"metadata.{name}", value, "a string")
    tags = metadata.get("tags")
    if tags is not None and not (isinstance(tags, (list, tuple)) and all(isinstance(tag, str) for tag in tags)):
        raise wrong("metadata.tags", tags, "a list of strings")
    return dict(metadata)


def _load_extra(extra: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(extra, Mapping):
        raise wrong("extra", extra, 'a dict of dialects, as {"openai_chat": {"verbosity": "low"}}')
    for dialect, fields in extra.items():
        if dialect not in DIALECTS:
            near = nearest(str(dialect), DIALECTS, most=1)
            meant = f"Did you mean `{near[0]}`? " if near else ""
            raise RequestError(
                f"`extra` has {dialect!r}, which is no dialect.",
                param="extra",
                hint=f'{meant}Write {{"<dialect>": {{"<field>": ...}}}}; the dialects are {" and ".join(DIALECTS)}.',
            )
        if not isinstance(fields, Mapping):
            raise wrong(f"extra.{dialect}", fields, "a dict of fields")
    return {dialect: dict(fields) for dialect, fields in extra.items()}


def _load_thinking(thinking: Any) -> Thinking:
    match thinking:
        case Thinking():
            checked(Thinking, thinking, "thinking")
            return thinking
        case bool():
            return Thinking(enabled=thinking)
        case str():
            return Thinking(effort=thinking)
        case int() if thinking < 0:
            raise RequestError(f"`thinking` is {thinking}.", param="thinking", hint="A budget counts tokens from 0.")
        case int():
            return Thinking(budget_tokens=thinking)
        case _:
            raise wrong("thinking", thinking, 'an effort such as "high", or a budget in tokens')


def _load_sampling(ask: Mapping[str, Any]) -> Sampling:
    fields = {name: value for name, value in ask.items() if name in _SAMPLING and value is not None}
    if not fields:
        return _PLAIN
    stop = fields.get("stop")
    if isinstance(stop, str):
        fields["stop"] = (stop,)
    for name, value in fields.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise RequestError(f"`{name}` is {value}, which JSON cannot say.", param=name, hint="Give a finite number.")
    sampling: Sampling = converted(Sampling, fields, "")
    return sampling
