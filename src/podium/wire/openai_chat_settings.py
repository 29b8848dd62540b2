"""The settings of an OpenAI Chat request: sampling, output, reasoning; read and written.

Theory. Reading takes each member that Podium has a word for out of the body; the rest stays in `Request.extra`, so that it is
sent again word for word. Writing puts the typed settings over that rest and then obeys the model's `Profile`.

Rules.
- A member that is null, or in a form of its own (an odd `response_format`), stays in the rest.
- A setting that the model refuses is left out with a `Loss`; one that is too large is cut to the limit with a `Loss`.
- `top_k` is no setting of this dialect. It is sent where the client of a compatible server wrote it, and is a `Loss` otherwise.
- A reasoning effort that the model lacks becomes the nearest below, else the lowest it has; a budget becomes an effort
  (up to 2,048 tokens low, up to 8,192 medium, else high) where only efforts are understood.

Shapes: https://platform.openai.com/docs/api-reference/chat/create and
https://openrouter.ai/docs/use-cases/reasoning-tokens (`reasoning`).
"""

from __future__ import annotations

from typing import Any

from podium.types import Output, Profile, Sampling, Thinking
from podium.wire.documents import Malformed, dump_json, kind_of, want_dict, want_list, want_str
from podium.wire.instructions import ask_for_json
from podium.wire.losses import Losses
from podium.wire.openai_chat_parts import NAME, kept, noted, spoken

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_NUMBERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_COUNTS = ("seed", "n", "top_logprobs", "top_k")
_WORDS = ("service_tier", "user")
_PLAIN = (*_NUMBERS, "seed", "n", "logprobs", "top_logprobs", "logit_bias", *_WORDS)

# --- Reading ---------------------------------------------------------------------------------------------------------


def _number(value: Any, path: str) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0:  # the latter: finite
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
    losses.add_foreign(sampling.extra, "sampling.")
    for key in _PLAIN:
        if (value := getattr(sampling, key)) is not None:
            body[key] = value
    if sampling.service_tier == "standard_only" and not as_written:  # Anthropic's word
        body["service_tier"] = "default"
    if sampling.stop is not None:
        stop, most = list(sampling.stop), profile.max_stop
        if most is not None and len(stop) > most and "stop" not in profile.refuses:
            losses.add("sampling.stop", f"The model takes at most {most} stop sequences; the first {most} are sent.")
            stop = stop[:most]
        body["stop"] = stop[0] if own.get("$stop") == "string" and len(stop) == 1 else stop
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


def dump_output(output: Output, profile: Profile, body: dict[str, Any], losses: Losses, *, as_written: bool) -> None:
    """Write `response_format` into a request's body; a schema that the model refuses becomes plain JSON, with a `Loss`.

    `body` has its messages already: OpenAI takes `json_object` only beside the word JSON, and what a model is not held to is
    asked of it in words (https://platform.openai.com/docs/guides/structured-outputs#json-mode).
    """
    losses.add_foreign(output.extra, "output.")
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
        if output.strict and not as_written and not is_closed(output.schema or {}):
            named["strict"] = False
            losses.add(
                "output.strict", "Only a schema whose objects are closed and require all that they have can be enforced."
            )
        body["response_format"] = {**members, "type": "json_schema", "json_schema": named | members.get("json_schema", {})}
        return
    held = output.kind == "text" or "output.json" not in profile.refuses
    if output.kind == "json_schema":
        losses.add("output.json_schema", "The model takes no schema; the prompt asks for it.")
    elif not held:
        losses.add("output.json", "The model cannot be held to JSON; the prompt asks for it.")
    if held:
        members.pop("json_schema", None)
        body["response_format"] = {**members, "type": "text" if output.kind == "text" else "json_object"}
    if output.kind != "text" and not as_written and (output.schema is not None or not held or not _says_json(body)):
        body["messages"].insert(0, {"role": profile.system_role, "content": ask_for_json(output)})


def is_closed(schema: Any) -> bool:
    """Whether OpenAI can enforce a schema: every object says that it has no other properties and requires all that it has."""
    match schema:
        case list():
            return all(map(is_closed, schema))
        case dict():
            inner = schema.get("properties")
            inner = inner if isinstance(inner, dict) else {}
            if schema.get("type") == "object" or inner:
                required = schema.get("required")
                if schema.get("additionalProperties") is not False:
                    return False
                if not inner.keys() <= set(required if isinstance(required, list) else ()):
                    return False
            below = [*inner.values(), *(schema.get("$defs") or {}).values(), schema.get("items"), schema.get("anyOf")]
            return all(map(is_closed, below))
        case _:
            return True


def _says_json(body: dict[str, Any]) -> bool:
    return "json" in dump_json([message.get("content") for message in body["messages"]]).decode().lower()


def fit_effort(thinking: Thinking, profile: Profile, losses: Losses) -> str | None:
    """Return the effort to ask for, in a word that the model takes; None to leave it to the model."""
    effort = thinking.effort
    if effort is None:
        if thinking.enabled is False:
            effort = "none"
        elif thinking.budget_tokens is None:
            return _effort_of_itself(thinking, profile, losses)
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


def _effort_of_itself(thinking: Thinking, profile: Profile, losses: Losses) -> str | None:
    """Return the effort for who only says that the model is to think: some models do not, unless an effort is named."""
    if not thinking.enabled:
        return None
    if profile.thinking != "effort":
        losses.add("thinking", "It is not known how this model is asked to reason without an effort; it decides itself.")
        return None
    return "medium" if not profile.efforts or {"none", "medium"} <= set(profile.efforts) else None


def dump_thinking(thinking: Thinking, profile: Profile, body: dict[str, Any], losses: Losses) -> None:
    """Write how much to reason into a request's body, in the way that the model understands."""
    own = noted(thinking.extra)
    losses.add_foreign(thinking.extra, "thinking.")
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
                path = "tool_choice.parallel" if name == "parallel_tool_calls" else f"sampling.{name}" if typed else name
                losses.add(path, "The model refuses it.")
