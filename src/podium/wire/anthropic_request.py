"""Anthropic's requests: read as a server, written as a client.

Theory. A request is its conversation (`anthropic_turns`) and its settings (`anthropic_settings`). What has no typed field stays
in `extra["anthropic"]` under its own name, and where both say something, the typed field is right.

Rules.
- Notes on a request: `$verbatim` (its settings were read from this dialect and go back as they were said), `$system` and
  `$stream` (how these were written), `$keys` (fields of the body whose names mean something else in the extra).
- In an extra that a caller writes, `betas` (a list or a string) becomes the header `anthropic-beta`.

https://platform.claude.com/docs/en/api/messages/create and https://platform.claude.com/docs/en/api/beta-headers
"""

from __future__ import annotations

from typing import Any

from podium.errors import RequestError, UnrepresentableError
from podium.types import Opaque, Profile, Request, Sampling, Text, Tool
from podium.wire.anthropic_blocks import NAME, NAME_LIMIT, load_block, load_object, overlay, own
from podium.wire.anthropic_settings import (
    ThinkingFields,
    dump_sampling,
    dump_thinking,
    dump_tool_choice,
    dump_tools,
    load_output,
    load_thinking,
    load_tool,
    load_tool_choice,
)
from podium.wire.anthropic_turns import Turns, is_string, load_messages
from podium.wire.codec import Dumped
from podium.wire.documents import Malformed, dump_json
from podium.wire.instructions import ask_for_json, named_schema
from podium.wire.losses import Losses
from podium.wire.tool_names import ToolNames

VERSION = "2023-06-01"
"""The version of the API that this codec speaks: https://platform.claude.com/docs/en/api/versioning"""

_NUMBERS = {"max_tokens": (int,), "temperature": (int, float), "top_p": (int, float), "top_k": (int,)}
_TYPED = frozenset({"model", "messages", "stream", *_NUMBERS})
_HEADERS = frozenset({"betas", "anthropic-beta"})


# --- Reading ---------------------------------------------------------------------------------------------------------


def load_request(body: bytes) -> Request:
    """Read a client's request; raises `RequestError` whose `param` is the path of what is wrong."""
    try:
        return _load(load_object(body))
    except Malformed as fault:
        raise RequestError(
            f"This is not a request to Anthropic's Messages API: {fault}.",
            param=fault.path or None,
            hint="See https://platform.claude.com/docs/en/api/messages/create.",
        ) from None


def _load(raw: dict[str, Any]) -> Request:
    model, messages, stream = raw.get("model"), raw.get("messages"), raw.get("stream")
    if type(model) is not str or not model:
        raise Malformed("model", "must be a model's name")
    if type(messages) is not list:
        raise Malformed("messages", "must be a list of messages")
    if type(raw.get("max_tokens")) is not int:
        raise Malformed("max_tokens", "must be a whole number")
    if stream is not None and type(stream) is not bool:
        raise Malformed("stream", "must be true or false")
    kept: dict[str, Any] = {key: value for key, value in raw.items() if key not in _TYPED and key[:1] != "$"}
    if odd := {key: value for key, value in raw.items() if key in _HEADERS or key[:1] == "$"}:
        kept["$keys"] = odd  # the body's own: in the extra these names mean headers and notes
        for key in _HEADERS:
            kept.pop(key, None)
    kept["$verbatim"] = True
    if "stream" in raw and not stream:
        kept["$stream"] = stream
    loaded: dict[str, Any] = {}
    if "system" in raw:
        loaded["system"] = _load_system(kept)
    if "tools" in raw:
        loaded["tools"] = _load_tools(kept)
    if type(choice := kept.get("tool_choice")) is dict and (typed := load_tool_choice(choice)):
        loaded["tool_choice"] = typed
        del kept["tool_choice"]
    _load_thought_and_form(kept, loaded)
    loaded["sampling"] = _load_sampling(raw, kept)
    loaded["messages"] = load_messages(messages)
    return Request(model=model, stream=bool(stream), extra={NAME: kept}, **loaded)


def _load_system(kept: dict[str, Any]) -> tuple[Text | Opaque, ...]:
    system = kept["system"]
    if type(system) is str:
        del kept["system"]
        kept["$system"] = "string"
        return (Text(text=system, extra={} if system else own({"$empty": True})),)
    if type(system) is not list:
        if system is None:
            return ()
        raise Malformed("system", "must be a string or a list of text blocks")
    if system:
        del kept["system"]
    parts = [load_block(block, f"system.{at}") for at, block in enumerate(system)]
    return tuple(
        part if isinstance(part, Text | Opaque) else Opaque(dialect=NAME, data=block)
        for part, block in zip(parts, system, strict=True)
    )


def _load_tools(kept: dict[str, Any]) -> tuple[Tool | Opaque, ...]:
    tools = kept["tools"]
    if type(tools) is not list:
        if tools is None:
            return ()
        raise Malformed("tools", "must be a list of tools")
    if tools:
        del kept["tools"]
    return tuple(load_tool(tool, f"tools.{at}") for at, tool in enumerate(tools))


def _load_thought_and_form(kept: dict[str, Any], loaded: dict[str, Any]) -> None:
    """Take `thinking` and `output_config` apart; what has no typed field stays in `kept`."""
    config, effort = kept.get("output_config"), None
    if type(config) is dict:
        rest = dict(config)
        if type(effort := rest.get("effort")) is str:
            del rest["effort"]
        else:
            effort = None
        if output := load_output(rest.get("format")):
            loaded["output"] = output
            del rest["format"]
        if rest or not config:
            kept["output_config"] = rest
        else:
            del kept["output_config"]
    thinking = kept.get("thinking")
    if thinking is not None and type(thinking) is not dict:
        raise Malformed("thinking", "must be an object")
    if thinking is not None:
        del kept["thinking"]
    if (typed := load_thinking(thinking, effort)) is not None:
        loaded["thinking"] = typed


def _load_sampling(raw: dict[str, Any], kept: dict[str, Any]) -> Sampling:
    fields: dict[str, Any] = {}
    for name, types in _NUMBERS.items():
        value = raw.get(name)
        if value is not None:
            if type(value) not in types or value - value != 0:  # the latter: infinite
                raise Malformed(name, "must be a number")
            fields[name] = value
        elif name in raw:
            kept[name] = None
    stop = raw.get("stop_sequences")
    if stop is not None:
        if type(stop) is not list or not all(type(each) is str for each in stop):
            raise Malformed("stop_sequences", "must be a list of strings")
        if stop:
            fields["stop"] = tuple(kept.pop("stop_sequences"))
    metadata = raw.get("metadata")
    if type(metadata) is dict and type(metadata.get("user_id")) is str:
        rest = dict(metadata)
        fields["user"] = rest.pop("user_id")
        if rest:
            kept["metadata"] = rest
        else:
            del kept["metadata"]
    elif metadata is not None and type(metadata) is not dict:
        raise Malformed("metadata", "must be an object")
    if type(raw.get("service_tier")) is str:
        fields["service_tier"] = kept.pop("service_tier")
    return Sampling(**fields)


# --- Writing ---------------------------------------------------------------------------------------------------------


def dump_request(request: Request, profile: Profile) -> Dumped:
    """Write a request for a provider; raises `UnrepresentableError`."""
    kept: dict[str, Any] = request.extra.get(NAME, {})
    verbatim = "$verbatim" in kept
    losses = Losses(NAME, strict=request.strict)
    names = ToolNames(request, None if verbatim else NAME_LIMIT)
    if request.extra:
        losses.add_foreign(request.extra, "")
    body: dict[str, Any] = {"model": request.model}
    limit = _limit(request.sampling.max_tokens, None if verbatim else profile.max_output)
    thinking = dump_thinking(request, profile, verbatim, limit, losses)
    body |= dump_sampling(request, profile, thinking, verbatim, losses)
    turns = Turns(profile, losses, names, verbatim)
    turns.add_all(request.messages)
    system = turns.system(request.system, kept)
    if request.stream:
        body["stream"] = True
    elif "$stream" in kept:
        body["stream"] = kept["$stream"]
    _dump_user(body, request.sampling.user, kept)
    _dump_form(body, request, profile, thinking, system, losses)
    if system:
        body["system"] = system[0]["text"] if is_string(kept.get("$system"), system) else system
    body["messages"] = turns.dump()
    if not body["messages"] and not verbatim:
        raise UnrepresentableError("There is no message to answer.", param="messages", hint="Add a user message.")
    if request.tools:
        body["tools"] = dump_tools(request, profile, losses, names)
    if choice := dump_tool_choice(request, thinking.on, verbatim, losses, names):
        body["tool_choice"] = choice
    _dump_rest(body, kept)
    return Dumped(
        body=dump_json(body),
        path="/v1/messages",
        headers=_headers(kept),
        losses=tuple(losses.found),
        aliases=names.aliases,
    )


def _limit(asked: int | None, possible: int | None) -> int | None:
    return possible if asked is None else asked if possible is None else min(asked, possible)


def _dump_user(body: dict[str, Any], user: str | None, kept: dict[str, Any]) -> None:
    if user is not None:
        rest = kept.get("metadata")
        body["metadata"] = {**rest, "user_id": user} if type(rest) is dict else {"user_id": user}


def _dump_form(
    body: dict[str, Any],
    request: Request,
    profile: Profile,
    thinking: ThinkingFields,
    system: list[dict[str, Any]],
    losses: Losses,
) -> None:
    """Write `thinking` and `output_config`; a form that Anthropic cannot hold the answer to becomes an instruction."""
    if thinking.thinking is not None:
        body["thinking"] = thinking.thinking
    config: dict[str, Any] = {} if thinking.effort is None else {"effort": thinking.effort}
    output = request.output
    if output is not None and output.kind != "text":
        losses.add_foreign(output.extra, "output.")
        schema, unsaid = named_schema(output)
        for field in unsaid:
            losses.add(f"output.{field}", "Anthropic's output format has none, and the schema says another of its own.")
        if output.kind == "json_schema" and "output.json_schema" not in profile.refuses:
            config["format"] = overlay({"type": "json_schema", "schema": schema}, output.extra.get(NAME))
        else:
            said = output if output.schema is None else output.replace(schema=schema)
            system.append({"type": "text", "text": ask_for_json(said)})
            losses.add("output.kind", f"This model has no output of the kind {output.kind}; the system prompt asks for it.")
    rest = request.extra.get(NAME, {}).get("output_config")
    if config:
        body["output_config"] = {**rest, **config} if type(rest) is dict else config


def _dump_rest(body: dict[str, Any], kept: dict[str, Any]) -> None:
    """Add what no typed field says; where both say something, the typed field is right."""
    for key, value in kept.items():
        if key == "$keys":
            body |= value
        elif key[:1] != "$" and key not in body and key not in _HEADERS:
            body[key] = value


def _headers(kept: dict[str, Any]) -> dict[str, str]:
    headers = {"anthropic-version": VERSION}
    betas = kept.get("betas") or kept.get("anthropic-beta") or kept.get("$betas")
    if type(betas) is list and all(type(each) is str for each in betas):
        betas = ",".join(betas)
    if type(betas) is str and betas:
        headers["anthropic-beta"] = betas
    return headers
