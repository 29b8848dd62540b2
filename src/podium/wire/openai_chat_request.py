"""Requests of OpenAI Chat, read from clients and written for providers.

Theory. `load_request` takes out of the body what Podium has words for and keeps the rest in `extra`; `dump_request` puts both
together again. Without a profile a request is written as it was; with one, what the model needs or refuses is obeyed.

Rules.
- Usage is always asked of a provider that streams (`stream_options.include_usage`), since prices need it; whether the client
  sees it is the writer's business.
- Keys come in a fixed order, so that prompts which begin alike hit the provider's cache.
"""

from __future__ import annotations

from typing import Any

from podium.errors import RequestError
from podium.types import Profile, Request
from podium.wire.codec import Dumped
from podium.wire.documents import Malformed, dump_json, kind_of, load_json, want_dict, want_list, want_str
from podium.wire.losses import Losses
from podium.wire.openai_chat_messages import load_messages
from podium.wire.openai_chat_parts import NAME, kept, spoken
from podium.wire.openai_chat_settings import (
    drop_refused,
    dump_output,
    dump_sampling,
    dump_thinking,
    load_output,
    load_sampling,
    load_thinking,
)
from podium.wire.openai_chat_tools import NAME_LIMIT, dump_tools, load_tool_choice, load_tools
from podium.wire.openai_chat_turns import Turns
from podium.wire.tool_names import ToolNames

AS_WRITTEN = Profile(stream_usage=False)
"""The profile that changes nothing: what is written is what was read."""

PATH = "/chat/completions"


def load_request(body: bytes) -> Request:
    """Read a client's request.

    Raises `RequestError` that names the faulty field.
    """
    try:
        return _load(want_dict(load_json(body), ""))
    except Malformed as error:
        raise RequestError(
            f"The request is not in the OpenAI Chat dialect: {error}.",
            param=error.path or None,
            hint="See https://platform.openai.com/docs/api-reference/chat/create.",
        ) from None


def _load(document: dict[str, Any]) -> Request:
    rest = dict(document)
    model = want_str(rest.pop("model", None), "model")
    messages = load_messages(want_list(rest.pop("messages", None), "messages"))
    stream = rest.get("stream")
    if stream is True:
        del rest["stream"]
    elif stream is not None and stream is not False:
        raise Malformed("stream", f"is {kind_of(stream)}, not true or false")
    tools = load_tools(rest)
    return Request(
        model=model,
        messages=messages,
        tools=tools,
        tool_choice=load_tool_choice(rest, legacy=bool(tools) and "$legacy" in tools[0].extra.get(NAME, ())),
        output=load_output(rest),
        sampling=load_sampling(rest),
        thinking=load_thinking(rest),
        stream=stream is True,
        extra=kept(rest),
    )


def dump_request(request: Request, profile: Profile = AS_WRITTEN) -> Dumped:
    """Write a request for a provider.

    Raises `UnrepresentableError` for content that Chat cannot express, and for any loss where the request is strict.
    """
    as_written = profile is AS_WRITTEN
    losses = Losses(NAME, strict=request.strict)
    names = ToolNames(request, None if as_written else NAME_LIMIT)
    body: dict[str, Any] = {"model": request.model}
    body["messages"] = Turns(profile, losses, names, as_written=as_written).dump(request)
    if request.extra:
        losses.add_foreign(request.extra, "")
        body |= spoken(request.extra)
    if request.tools or request.tool_choice is not None:
        dump_tools(request, profile, body, losses, names)
    if request.output is not None:
        dump_output(request.output, profile, body, losses, as_written=as_written)
    dump_sampling(request.sampling, profile, body, losses, as_written=as_written)
    if request.thinking is not None:
        dump_thinking(request.thinking, profile, body, losses)
    if request.stream:
        body["stream"] = True
    if not as_written:
        _ask_usage(request, profile, body)
        if profile.refuses:
            drop_refused(body, profile, losses)
    return Dumped(body=dump_json(body), path=PATH, losses=tuple(losses.found), aliases=names.aliases)


def _ask_usage(request: Request, profile: Profile, body: dict[str, Any]) -> None:
    """Ask for usage in a stream, and for nothing about streams where there is none."""
    options = body.pop("stream_options", None)
    options = dict(options) if isinstance(options, dict) else {}
    if not request.stream:
        return
    if profile.stream_usage:
        options["include_usage"] = True
    else:
        options.pop("include_usage", None)
    if options:
        body["stream_options"] = options


def wants_usage(request: Request) -> bool:
    """Say whether the client asked for the usage chunk of a stream."""
    options = request.extra.get(NAME, {}).get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
