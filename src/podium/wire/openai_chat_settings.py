"""The settings of an OpenAI Chat request: sampling, tools, output, reasoning; read and written.

Theory. Reading takes each member that Podium has a word for out of the body; the rest stays in `Request.extra`, so that it is
sent again word for word. Writing puts the typed settings over that rest and then obeys the model's `Profile`.

Rules.
- A member that is null, or in a form of its own (a provider's `tool_choice`, an odd `response_format`), stays in the rest.
- A setting that the model refuses is left out with a `Loss`; one that is too large is cut to the limit with a `Loss`.
- `top_k` is no setting of this dialect. It is sent where the client of a compatible server wrote it, and is a `Loss` otherwise.
- A reasoning effort that the model lacks becomes the nearest below, else the lowest it has; a budget becomes an effort
  (up to 2,048 tokens low, up to 8,192 medium, else high) where only efforts are understood.

Shapes: https://platform.openai.com/docs/api-reference/chat/create and
https://openrouter.ai/docs/use-cases/reasoning-tokens (`reasoning`).
"""

from __future__ import annotations

from typing import Any

from podium.errors import UnrepresentableError
from podium.types import Opaque, Output, Profile, Request, Sampling, Thinking, Tool, ToolChoice
from podium.wire.documents import Malformed, kind_of, want_dict, want_list, want_str
from podium.wire.openai_chat_messages import Losses
from podium.wire.openai_chat_parts import NAME, kept, noted, spoken

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_NUMBERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_COUNTS = ("seed", "n", "top_logprobs", "top_k")
_WORDS = ("service_tier", "user")
_PLAIN = (*_NUMBERS, "seed", "n", "logprobs", "top_logprobs", "logit_bias", *_WORDS)

# --- Reading ---------------------------------------------------------------------------------------------------------


def _number(value: Any, path: str) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise Malformed(path, f"is {kind_of(value)}, not a number")


def _whole(value: Any, path: str) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise Malformed(path, f"is {kind_of(value)}, not a whole number")


def load_sampling(rest: dict[str, Any]) -> Sampling:
    """Take the sampling settings out of a request's body.

    Raises `Malformed`.
    """
    fields: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for key in rest.keys() & _SAMPLING.keys():
        if rest[key] is not None:
            fields[key] = _SAMPLING[key](rest.pop(key), key)
    if "top_k" in fields:
        own["$top_k"] = True
    for key in ("max_completion_tokens", "max_tokens"):
        if "max_tokens" not in fields and rest.get(key) is not None:
            fields["max_tokens"] = _whole(rest.pop(key), key)
            own["$max_tokens"] = key
    stop = rest.get("stop")
    if isinstance(stop, str):
        del rest["stop"]
        fields["stop"] = (stop,)
        own["$stop"] = "string"
    elif stop is not None:
        fields["stop"] = tuple(want_str(each, f"stop[{at}]") for at, each in enumerate(want_list(rest.pop("stop"), "stop")))
    return Sampling(**fields, extra=kept(own)) if fields else Sampling()


def _flag(value: Any, path: str) -> bool:
    if isinstance(value, bool):
        return value
    raise Malformed(path, f"is {kind_of(value)}, not true or false")


def _bias(value: Any, path: str) -> dict[str, Any]:
    return {key: _number(each, f"{path}.{key}") for key, each in want_dict(value, path).items()}


_SAMPLING: dict[str, Any] = {
    **dict.fromkeys(_NUMBERS, _number),
    **dict.fromkeys(_COUNTS, _whole),
    **dict.fromkeys(_WORDS, want_str),
    "logprobs": _flag,
    "logit_bias": _bias,
}


def load_tools(tools: Any) -> tuple[Tool | Opaque, ...]:
    """Read the `tools` of a request; those of other types than `function` are opaque.

    Raises `Malformed`.
    """
    return tuple(_load_tool(tool, f"tools[{at}]") for at, tool in enumerate(want_list(tools, "tools")))


def _load_tool(tool: Any, path: str) -> Tool | Opaque:
    tool = want_dict(tool, path)
    if tool.get("type") != "function":
        return Opaque(dialect=NAME, data=tool)
    function = want_dict(tool.get("function"), f"{path}.function")
    name = want_str(function.get("name"), f"{path}.function.name")
    own = {key: value for key, value in tool.items() if key not in ("type", "function")}
    rest = {key: value for key, value in function.items() if key != "name"}
    fields: dict[str, Any] = {}
    for key, kind in (("description", str), ("parameters", dict), ("strict", bool)):
        if isinstance(rest.get(key), kind):
            fields[key] = rest.pop(key)
    if "parameters" not in function:
        own["$parameters"] = "absent"
    if rest:
        own["function"] = rest
    return Tool(name=name, **fields, extra=kept(own))


def load_tool_choice(rest: dict[str, Any]) -> ToolChoice | None:
    """Take `tool_choice` and `parallel_tool_calls` out of a request's body; a form that is not OpenAI's stays there."""
    fields: dict[str, Any] = {}
    own: dict[str, Any] = {}
    match rest.get("tool_choice"):
        case "auto" | "required" | "none" as mode:
            fields["mode"] = mode
        case "any":  # Mistral's word
            fields["mode"] = "required"
            own["$word"] = "any"
        case {"type": "function", "function": {"name": str() as name, **more}, **others} if not more and not others:
            fields |= {"mode": "tool", "name": name}
    if fields:
        del rest["tool_choice"]
    if isinstance(rest.get("parallel_tool_calls"), bool):
        fields["parallel"] = rest.pop("parallel_tool_calls")
    return ToolChoice(**fields, extra=kept(own)) if fields else None


def load_output(rest: dict[str, Any]) -> Output | None:
    """Take `response_format` out of a request's body; a form that is not OpenAI's stays there."""
    format_ = rest.get("response_format")
    if not isinstance(format_, dict):
        return None
    others = {key: value for key, value in format_.items() if key not in ("type", "json_schema")}
    kind = format_.get("type")
    if kind in ("text", "json_object") and "json_schema" not in format_:
        del rest["response_format"]
        return Output(kind="text" if kind == "text" else "json", extra=kept(others))
    named = format_.get("json_schema")
    if kind != "json_schema" or not isinstance(named, dict) or not isinstance(named.get("schema"), dict):
        return None
    del rest["response_format"]
    more = dict(named)
    fields: dict[str, Any] = {"schema": more.pop("schema")}
    for key, wanted in (("name", str), ("description", str), ("strict", bool)):
        if isinstance(more.get(key), wanted):
            fields[key] = more.pop(key)
    if "name" not in named:
        others["$name"] = "absent"
    if more:
        others["json_schema"] = more
    return Output(kind="json_schema", **fields, extra=kept(others))


def load_thinking(rest: dict[str, Any]) -> Thinking | None:
    """Take `reasoning_effort`, or OpenRouter's `reasoning`, out of a request's body."""
    if isinstance(rest.get("reasoning_effort"), str):
        return Thinking(effort=rest.pop("reasoning_effort"))
    reasoning = rest.get("reasoning")
    if not isinstance(reasoning, dict):
        return None
    more = dict(rest.pop("reasoning"))
    fields: dict[str, Any] = {}
    if isinstance(more.get("effort"), str):
        fields["effort"] = more.pop("effort")
    if isinstance(more.get("max_tokens"), int) and not isinstance(more["max_tokens"], bool):
        fields["budget_tokens"] = more.pop("max_tokens")
    if isinstance(more.get("enabled"), bool):
        fields["enabled"] = more.pop("enabled")
    return Thinking(**fields, extra={NAME: {**more, "$form": "reasoning"}})


# --- Writing ---------------------------------------------------------------------------------------------------------


def dump_sampling(sampling: Sampling, profile: Profile, body: dict[str, Any], losses: Losses, *, as_written: bool) -> None:
    """Write the sampling settings into a request's body."""
    own = noted(sampling.extra)
    losses.add_foreign(sampling.extra, "sampling")
    for key in _PLAIN:
        if (value := getattr(sampling, key)) is not None:
            body[key] = value
    if sampling.stop is not None:
        plain = own.get("$stop") == "string" and len(sampling.stop) == 1
        body["stop"] = sampling.stop[0] if plain else list(sampling.stop)
    if sampling.top_k is not None:
        if "$top_k" in own:
            body["top_k"] = sampling.top_k
        else:
            losses.add("sampling.top_k", "OpenAI Chat has no such setting.")
    if (limit := sampling.max_tokens) is not None:
        if profile.max_output is not None and limit > profile.max_output:
            losses.add(
                "sampling.max_tokens", f"The model answers with at most {profile.max_output} tokens; {limit} were asked."
            )
            limit = profile.max_output
        field = own.get("$max_tokens", profile.max_tokens_field) if as_written else profile.max_tokens_field
        body[field] = limit
    highest, asked = profile.max_temperature, sampling.temperature
    if highest is not None and asked is not None and asked > highest:
        losses.add("sampling.temperature", f"The model takes at most {highest}; {asked} was asked.")
        body["temperature"] = highest


def dump_tools(request: Request, profile: Profile, body: dict[str, Any], losses: Losses) -> None:
    """Write tools and tool choice into a request's body.

    Raises `UnrepresentableError` for a tool that only another dialect has.
    """
    if request.tools:
        body["tools"] = [_dump_tool(tool, f"tools[{at}]", profile, losses) for at, tool in enumerate(request.tools)]
    choice = request.tool_choice
    if choice is None:
        return
    losses.add_foreign(choice.extra, "tool_choice")
    if choice.mode == "tool":
        body["tool_choice"] = {"type": "function", "function": {"name": choice.name or ""}}
    elif choice.mode is not None:
        word = noted(choice.extra).get("$word")
        body["tool_choice"] = word if word and choice.mode == "required" else choice.mode
    if choice.parallel is not None:
        body["parallel_tool_calls"] = choice.parallel


def _dump_tool(tool: Tool | Opaque, path: str, profile: Profile, losses: Losses) -> dict[str, Any]:
    losses.add_foreign(tool.extra, path)
    if isinstance(tool, Opaque):
        if tool.dialect == NAME:
            return tool.data
        raise UnrepresentableError(
            f"The tool at {path} ({tool.data.get('type', 'unknown')}) exists only in the {tool.dialect} dialect.",
            param=path,
            hint="Take it out, or use a target of that dialect.",
        )
    own = noted(tool.extra)
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    elif "$parameters" not in own and "parameters" not in own.get("function", ()):
        function["parameters"] = {"type": "object", "properties": {}}
    if tool.strict is not None:
        if profile.tool_strict:
            function["strict"] = tool.strict
        elif tool.strict:
            losses.add(f"{path}.strict", "The model does not know strict tools.")
    if not own:
        return {"type": "function", "function": function}
    members = spoken(tool.extra)
    return {**members, "type": "function", "function": function | members.get("function", {})}


def dump_output(output: Output, profile: Profile, body: dict[str, Any], losses: Losses) -> None:
    """Write `response_format` into a request's body; a schema that the model refuses becomes plain JSON, with a `Loss`."""
    losses.add_foreign(output.extra, "output")
    members = spoken(output.extra)
    if output.kind == "json_schema" and "output.json_schema" not in profile.refuses:
        named: dict[str, Any] = {"schema": output.schema or {}}
        if output.name is not None:
            named["name"] = output.name
        elif "$name" not in noted(output.extra) and "name" not in members.get("json_schema", ()):
            named["name"] = "answer"
        if output.description is not None:
            named["description"] = output.description
        if output.strict is not None:
            named["strict"] = output.strict
        body["response_format"] = {**members, "type": "json_schema", "json_schema": named | members.get("json_schema", {})}
        return
    if output.kind == "json_schema":
        losses.add("output.json_schema", "The model takes no schema; it is asked for JSON only.")
    if output.kind != "text" and "output.json" in profile.refuses:
        losses.add("output.json", "The model cannot be held to JSON.")
        return
    members.pop("json_schema", None)
    body["response_format"] = {**members, "type": "text" if output.kind == "text" else "json_object"}


def fit_effort(thinking: Thinking, profile: Profile, losses: Losses) -> str | None:
    """Return the effort to ask for, in a word that the model takes; None to leave it to the model."""
    effort = thinking.effort
    if effort is None:
        if thinking.enabled is False:
            effort = "none"
        elif thinking.budget_tokens is None:
            return None
        else:
            budget = thinking.budget_tokens
            effort = "low" if budget <= 2048 else "medium" if budget <= 8192 else "high"
            losses.add("thinking.budget_tokens", f"The model takes an effort, not a budget: {budget} tokens became {effort!r}.")
    if not profile.efforts or effort in profile.efforts or effort not in EFFORTS:
        return effort
    taken = sorted((each for each in profile.efforts if each in EFFORTS), key=EFFORTS.index)
    below = [each for each in taken if EFFORTS.index(each) < EFFORTS.index(effort)]
    nearest = below[-1] if below else taken[0] if taken else None
    losses.add("thinking.effort", f"The model takes {', '.join(profile.efforts)}; {effort!r} became {nearest!r}.")
    return nearest


def dump_thinking(thinking: Thinking, profile: Profile, body: dict[str, Any], losses: Losses) -> None:
    """Write how much to reason into a request's body, in the way that the model understands."""
    own = noted(thinking.extra)
    losses.add_foreign(thinking.extra, "thinking")
    if profile.thinking == "none" or "thinking" in profile.refuses:
        if thinking.effort != "none" and thinking.enabled is not False:
            losses.add("thinking", "The model does not reason on request.")
        return
    if profile.thinking == "openrouter" or (profile.thinking == "unknown" and "$form" in own):
        asked: dict[str, Any] = spoken(thinking.extra)
        if thinking.effort is not None:
            asked["effort"] = fit_effort(thinking, profile, losses)
        if thinking.budget_tokens is not None:
            asked["max_tokens"] = thinking.budget_tokens
        if thinking.enabled is not None:
            asked["enabled"] = thinking.enabled
        body["reasoning"] = asked
        return
    for key in spoken(thinking.extra):
        losses.add(f"thinking.{key}", "The model takes a reasoning effort and nothing else.")
    if (effort := fit_effort(thinking, profile, losses)) is not None:
        body["reasoning_effort"] = effort


def drop_refused(body: dict[str, Any], profile: Profile, losses: Losses) -> None:
    """Take out of a request's body what the model refuses, each with a `Loss`."""
    for setting in sorted(profile.refuses):
        name = setting.removeprefix("sampling.")
        for key in ("max_tokens", "max_completion_tokens") if name == "max_tokens" else (name,):
            if body.get(key) is not None and key not in ("model", "messages", "stream"):
                del body[key]
                typed = name in _SAMPLING or name in ("stop", "max_tokens")
                losses.add(f"sampling.{name}" if typed else name, "The model refuses it.")
