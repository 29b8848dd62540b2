"""Everything in an Anthropic request that is no message: limits, sampling, thinking, output, tools; both ways.

Theory. A request that was read from this dialect carries the note `$verbatim`: its settings go back as they were said, and only
what the target's profile refuses is taken out. Any other request is adapted, and each setting that Anthropic does not have, or
has in another range, becomes a `Loss`.

Rules.
- `max_tokens` is required: the model's limit where the profile knows it, else `DEFAULT_MAX_TOKENS` and the thinking budget.
- With thinking on, `temperature` must be 1, `top_k` unset, `top_p` at least 0.95, and no tool may be forced.
- An effort becomes a budget by `BUDGETS` for models that think within a budget (at most half of `max_tokens`, at least 1,024),
  and `output_config.effort` for models that think adaptively; a budget becomes the nearest effort for these, with a Loss.
- A profile may refuse `temperature+top_p`: the two together. Then `top_p` goes.

https://platform.claude.com/docs/en/api/messages/create and
https://platform.claude.com/docs/en/build-with-claude/extended-thinking
"""

from __future__ import annotations

from typing import Any

from podium.errors import UnrepresentableError
from podium.types import Opaque, Output, Profile, Request, Thinking, Tool, ToolChoice
from podium.wire.anthropic_blocks import NAME, difference, dump_opaque, overlay, own, take_mark
from podium.wire.documents import Malformed
from podium.wire.losses import Losses
from podium.wire.tool_names import ToolNames

DEFAULT_MAX_TOKENS = 4096
"""The limit of an answer where neither the caller nor the profile sets one: every Claude model takes it."""

MIN_BUDGET = 1024
"""The smallest thinking budget that Anthropic takes."""

BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 49152}
"""Thinking budgets in tokens that stand for efforts, for models that think within a budget."""

_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_MODES = {"auto": "auto", "required": "any", "none": "none", "tool": "tool"}
_WORDS: dict[Any, Any] = {word: mode for mode, word in _MODES.items()}

# --- Tools -----------------------------------------------------------------------------------------------------------


def load_tool(raw: Any, path: str) -> Tool | Opaque:
    """Read one tool; a server tool is an `Opaque`. Raises `Malformed`."""
    if type(raw) is not dict:
        raise Malformed(path, "must be an object")
    if raw.get("type") not in (None, "custom"):
        return Opaque(dialect=NAME, data=raw)
    name, description, schema, strict = raw.get("name"), raw.get("description"), raw.get("input_schema"), raw.get("strict")
    if type(name) is not str or not name:
        raise Malformed(f"{path}.name", "must be a name")
    if type(schema) is not dict:
        raise Malformed(f"{path}.input_schema", "must be a JSON Schema of the tool's input")
    if description is not None and type(description) is not str:
        raise Malformed(f"{path}.description", "must be a string")
    if strict is not None and type(strict) is not bool:
        raise Malformed(f"{path}.strict", "must be true or false")
    tool = Tool(name=name, description=description, parameters=schema, strict=strict)
    kept = difference(raw, _said_of_tool(tool, name))
    return Tool(name=name, description=description, parameters=schema, strict=strict, extra=own(kept)) if kept else tool


def _said_of_tool(tool: Tool, name: str) -> dict[str, Any]:
    said: dict[str, Any] = {"name": name}
    if tool.description is not None:
        said["description"] = tool.description
    schema = tool.parameters or {}
    said["input_schema"] = schema if "type" in schema else {"type": "object", "properties": {}, **schema}
    if tool.strict:
        said["strict"] = True
    return said


def dump_tools(request: Request, profile: Profile, losses: Losses, names: ToolNames) -> list[dict[str, Any]]:
    """Write the tools in their order."""
    tools: list[dict[str, Any]] = []
    for at, tool in enumerate(request.tools):
        if isinstance(tool, Opaque):
            tools.append(dump_opaque(tool, f"tools[{at}]"))
            continue
        said = _said_of_tool(tool, names.wire(tool.name))
        if tool.extra:
            losses.add_foreign(tool.extra, f"tools[{at}].", marks=True)
            said = overlay(take_mark(said, tool.extra), tool.extra.get(NAME))
        if not profile.tool_strict and said.pop("strict", False):
            losses.add(f"tools[{at}].strict", "This model does not hold a tool's input to its schema.")
        tools.append(said)
    return tools


def load_tool_choice(raw: dict[str, Any]) -> ToolChoice | None:
    """Read how freely tools may be called; None where the type is unknown. Raises `Malformed`."""
    word, name, disabled = raw.get("type"), raw.get("name"), raw.get("disable_parallel_tool_use")
    mode = _WORDS.get(word) if type(word) is str else None
    if mode is None:
        return None
    if mode == "tool" and type(name) is not str:
        raise Malformed("tool_choice.name", "must be the name of the tool to call")
    if disabled is not None and type(disabled) is not bool:
        raise Malformed("tool_choice.disable_parallel_tool_use", "must be true or false")
    choice = ToolChoice(mode=mode, name=name if mode == "tool" else None, parallel=None if disabled is None else not disabled)
    kept = difference(raw, _said_of_choice(choice, choice.name))
    return ToolChoice(mode=mode, name=choice.name, parallel=choice.parallel, extra=own(kept)) if kept else choice


def _said_of_choice(choice: ToolChoice, name: str | None) -> dict[str, Any]:
    said: dict[str, Any] = {"type": _MODES[choice.mode or "auto"]}
    if choice.mode == "tool" and name is not None:
        said["name"] = name
    if choice.parallel is not None and choice.mode != "none":
        said["disable_parallel_tool_use"] = not choice.parallel
    return said


def dump_tool_choice(request: Request, thinks: bool, verbatim: bool, losses: Losses, names: ToolNames) -> dict[str, Any] | None:
    """Write the choice; a forced one gives way to thinking."""
    choice = request.tool_choice
    if choice is None:
        return None
    if choice.extra:
        losses.add_foreign(choice.extra, "tool_choice.")
    name = None if choice.name is None else names.wire(choice.name)
    if verbatim:
        return overlay(_said_of_choice(choice, name), choice.extra.get(NAME))
    if not request.tools:
        if choice.mode in ("required", "tool"):
            losses.add("tool_choice", "Anthropic takes a tool choice only beside tools.")
        return None
    if choice.mode is None and choice.parallel is not False:
        return None
    if thinks and choice.mode in ("required", "tool"):
        losses.add("tool_choice", "Anthropic cannot force a tool while the model thinks; the model may choose.")
        choice = ToolChoice(mode="auto", parallel=choice.parallel, extra=choice.extra)
    return overlay(_said_of_choice(choice, name), choice.extra.get(NAME))


# --- Thinking --------------------------------------------------------------------------------------------------------


def load_thinking(raw: dict[str, Any] | None, effort: str | None) -> Thinking | None:
    """Read `thinking` and `output_config.effort`; raises `Malformed`."""
    if raw is None:
        return None if effort is None else Thinking(effort=effort)
    kind, budget = raw.get("type"), raw.get("budget_tokens")
    if type(kind) is not str:
        raise Malformed("thinking.type", "must be a string")
    if budget is not None and type(budget) is not int:
        raise Malformed("thinking.budget_tokens", "must be a whole number")
    kept = {key: value for key, value in raw.items() if key != "budget_tokens" or value is None}
    return Thinking(effort=effort, budget_tokens=budget, enabled=kind != "disabled", extra=own(kept))


class ThinkingFields:
    """How thinking is asked for in one request: the `thinking` object and the effort."""

    __slots__ = ("effort", "thinking")

    def __init__(self, thinking: dict[str, Any] | None = None, effort: str | None = None) -> None:
        self.thinking = thinking
        self.effort = effort

    @property
    def on(self) -> bool:
        """Whether the model is asked to think."""
        return self.thinking is not None and self.thinking.get("type") != "disabled"

    @property
    def budget(self) -> int:
        """The thinking budget in tokens, where there is one."""
        budget = self.thinking.get("budget_tokens") if self.thinking else None
        return budget if type(budget) is int else 0


def dump_thinking(request: Request, profile: Profile, verbatim: bool, limit: int | None, losses: Losses) -> ThinkingFields:
    """Write how much the model may think, in the style of the profile. `limit` is the most that `max_tokens` can be."""
    asked = request.thinking
    if asked is None:
        return ThinkingFields()
    if asked.extra:
        losses.add_foreign(asked.extra, "thinking.")
    kept = asked.extra.get(NAME, {})
    wanted = kept.get("type")
    refused = profile.thinking == "none" or "thinking" in profile.refuses
    if verbatim and not refused and (wanted is None or _fits(wanted, profile)):
        thinking = None
        if wanted is not None:
            thinking = dict(kept) if asked.budget_tokens is None else {**kept, "budget_tokens": asked.budget_tokens}
        return ThinkingFields(thinking, asked.effort)
    off = asked.enabled is False or asked.effort == "none"
    if off or (asked.enabled is None and asked.effort is None and asked.budget_tokens is None):
        return ThinkingFields({"type": "disabled"} if off and not refused else None)
    if refused:
        losses.add("thinking", "This model does not think; it answers at once.")
        return ThinkingFields()
    shown = {key: value for key, value in kept.items() if key == "display"}
    if profile.thinking in ("adaptive", "effort"):
        adaptive = {"type": "adaptive", **shown} if profile.thinking == "adaptive" else None
        return ThinkingFields(adaptive, _effort(asked, profile, losses))
    budget = _budget(asked, limit, losses)
    return ThinkingFields({"type": "enabled", "budget_tokens": budget, **shown} if budget else None)


def _fits(wanted: str, profile: Profile) -> bool:
    other = {"adaptive": "enabled", "budget": "adaptive"}.get(profile.thinking)
    return wanted != other


def _effort(asked: Thinking, profile: Profile, losses: Losses) -> str | None:
    effort = asked.effort
    if effort is None:
        if asked.budget_tokens is None:
            return None
        effort = min(_EFFORTS, key=lambda each: abs(BUDGETS[each] - (asked.budget_tokens or 0)))
        losses.add("thinking.budget_tokens", f"This model takes no budget; the effort {effort} stands for it.")
    takes = [each for each in _EFFORTS if not profile.efforts or each in profile.efforts] or ["low"]
    if effort in takes:
        return effort
    nearest = min(takes, key=lambda each: abs(BUDGETS[each] - BUDGETS.get(effort, BUDGETS["high"])))
    losses.add("thinking.effort", f"This model has no effort {effort!r}; {nearest} stands for it.")
    return nearest


def _budget(asked: Thinking, limit: int | None, losses: Losses) -> int:
    """Return a budget that Anthropic takes beside this `max_tokens`; 0 where none is possible."""
    if limit is not None and limit <= MIN_BUDGET:
        losses.add("thinking", f"Thinking needs a max_tokens above {MIN_BUDGET}; here it is {limit}.")
        return 0
    if asked.budget_tokens is None:
        if asked.effort not in BUDGETS and asked.effort is not None:
            losses.add("thinking.effort", f"There is no budget for the effort {asked.effort!r}; medium stands for it.")
        budget = BUDGETS.get(asked.effort or "medium", BUDGETS["medium"])
        return budget if limit is None else max(MIN_BUDGET, min(budget, limit // 2))
    budget = max(MIN_BUDGET, asked.budget_tokens)
    if limit is not None:
        budget = min(budget, limit - 1)
    if budget != asked.budget_tokens:
        losses.add("thinking.budget_tokens", f"A budget is at least {MIN_BUDGET} and below max_tokens: {budget}.")
    return budget


# --- Sampling --------------------------------------------------------------------------------------------------------


def dump_sampling(
    request: Request, profile: Profile, thinking: ThinkingFields, verbatim: bool, losses: Losses
) -> dict[str, Any]:
    """Write limits and sampling; raises `UnrepresentableError` for several answers at once and for logprobs."""
    sampling, refuses = request.sampling, profile.refuses
    if sampling.n is not None and sampling.n > 1:
        raise UnrepresentableError(
            "Anthropic gives one answer a request.", param="n", hint=f"Ask {sampling.n} times, or another target."
        )
    if sampling.logprobs:
        raise UnrepresentableError("Anthropic gives no logprobs.", param="logprobs", hint="Leave them out.")
    said: dict[str, Any] = {"max_tokens": _max_tokens(request, profile, thinking, verbatim, losses)}
    for name in ("temperature", "top_p", "top_k"):
        value = getattr(sampling, name)
        if value is None:
            continue
        if name in refuses:
            losses.add(f"sampling.{name}", "This model refuses it.")
        else:
            said[name] = value if verbatim else _fitting(name, value, profile, thinking, losses)
            if said[name] is None:
                del said[name]
    if "temperature+top_p" in refuses and "temperature" in said and said.pop("top_p", None) is not None:
        losses.add("sampling.top_p", "This model takes a temperature or top_p, not both.")
    if stop := _stop(sampling.stop, refuses, verbatim, losses):
        said["stop_sequences"] = stop
    if sampling.service_tier is not None:
        tier = {"auto": "auto", "default": "standard_only"}.get(sampling.service_tier)
        if verbatim or sampling.service_tier == "standard_only":
            tier = sampling.service_tier
        if tier is None:
            losses.add("sampling.service_tier", f"Anthropic has no service tier {sampling.service_tier!r}.")
        else:
            said["service_tier"] = tier
    for name in ("seed", "frequency_penalty", "presence_penalty", "logit_bias", "top_logprobs"):
        value = getattr(sampling, name)
        if value or (name == "seed" and value is not None):
            losses.add(f"sampling.{name}", "Anthropic has no such setting.")
    if sampling.extra:
        losses.add_foreign(sampling.extra, "sampling.")
    return overlay(said, sampling.extra.get(NAME))


def _max_tokens(request: Request, profile: Profile, thinking: ThinkingFields, verbatim: bool, losses: Losses) -> int:
    limit = request.sampling.max_tokens
    if limit is None:
        return DEFAULT_MAX_TOKENS + thinking.budget if profile.max_output is None else profile.max_output
    if not verbatim and profile.max_output is not None and limit > profile.max_output:
        losses.add("sampling.max_tokens", f"This model writes at most {profile.max_output} tokens.")
        return profile.max_output
    return limit


def _fitting(name: str, value: float, profile: Profile, thinking: ThinkingFields, losses: Losses) -> float | None:
    """Return the value that Anthropic takes for this one; None where it takes none."""
    if thinking.on and (name != "top_p" or value < 0.95) and (name != "temperature" or value != 1):
        losses.add(f"sampling.{name}", "Anthropic does not take it while the model thinks.")
        return None
    if name == "temperature":
        top = 1.0 if profile.max_temperature is None else profile.max_temperature
        if value > top:
            losses.add("sampling.temperature", f"Anthropic takes at most {top:g}.")
            return top
    return value


def _stop(stop: tuple[str, ...] | None, refuses: frozenset[str], verbatim: bool, losses: Losses) -> list[str]:
    if not stop:
        return []
    if "stop" in refuses:
        losses.add("sampling.stop", "This model refuses it.")
        return []
    taken = [each for each in stop if verbatim or each.strip()]
    if len(taken) < len(stop):
        losses.add("sampling.stop", "Anthropic takes no stop sequence of white space alone.")
    return taken


# --- Output ----------------------------------------------------------------------------------------------------------


def load_output(raw: Any) -> Output | None:
    """Read `output_config.format`, to which Anthropic always holds the answer; None where it is not a JSON Schema."""
    if type(raw) is not dict or raw.get("type") != "json_schema" or type(raw.get("schema")) is not dict:
        return None
    kept = difference(raw, {"type": "json_schema", "schema": raw["schema"]})
    return Output(kind="json_schema", schema=raw["schema"], strict=True, extra=own(kept))
