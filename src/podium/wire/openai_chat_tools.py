"""The tools of an OpenAI Chat request and how freely they may be called; read and written.

Theory. `tools`, `tool_choice` and `parallel_tool_calls`, and what stood for them before: `functions` and `function_call`.

Rules.
- A tool of another type than `function` is opaque; a `tool_choice` in a form of its own stays in the rest of the body.
- Who asks with `functions` is answered with `function_call`, which holds one call: no two calls at once are asked for.
- Names that OpenAI refuses are sent as aliases.

Shape: https://platform.openai.com/docs/api-reference/chat/create.
"""

from __future__ import annotations

from typing import Any

from podium.errors import UnrepresentableError
from podium.types import Opaque, Profile, Request, Tool, ToolCall, ToolChoice
from podium.wire.documents import want_dict, want_list, want_str
from podium.wire.losses import Losses
from podium.wire.openai_chat_parts import NAME, kept, noted, spoken
from podium.wire.tool_names import ToolNames

NAME_LIMIT = 64
"""The longest name of a tool that OpenAI takes."""


def load_tools(rest: dict[str, Any]) -> tuple[Tool | Opaque, ...]:
    """Take `tools`, or the legacy `functions`, out of a request's body.

    Raises `Malformed`.
    """
    if rest.get("tools"):
        return tuple(_load_tool(tool, f"tools[{at}]") for at, tool in enumerate(want_list(rest.pop("tools"), "tools")))
    if rest.get("functions"):
        functions = want_list(rest.pop("functions"), "functions")
        return tuple(_load_function(each, {"$legacy": True}, f"functions[{at}]") for at, each in enumerate(functions))
    return ()


def _load_tool(tool: Any, path: str) -> Tool | Opaque:
    tool = want_dict(tool, path)
    if tool.get("type") != "function":
        return Opaque(dialect=NAME, data=tool)
    own = {key: value for key, value in tool.items() if key not in ("type", "function")}
    return _load_function(tool.get("function"), own, f"{path}.function")


def _load_function(function: Any, own: dict[str, Any], path: str) -> Tool:
    rest = dict(want_dict(function, path))
    name = want_str(rest.pop("name", None), f"{path}.name")
    if "parameters" not in rest:
        own["$parameters"] = "absent"
    fields: dict[str, Any] = {}
    for key, kind in (("description", str), ("parameters", dict), ("strict", bool)):
        if isinstance(rest.get(key), kind):
            fields[key] = rest.pop(key)
    if rest:
        own["function"] = rest
    return Tool(name=name, **fields, extra=kept(own))


def is_legacy(request: Request) -> bool:
    """Whether a client asked with `functions`, and is to be answered with `function_call`."""
    return any("$legacy" in noted(tool.extra) for tool in request.tools)


def as_function_call(part: ToolCall) -> ToolCall:
    """Return a call that is written as the legacy `function_call`."""
    return part.replace(extra={**part.extra, NAME: {**noted(part.extra), "$legacy": True}})


def load_tool_choice(rest: dict[str, Any], *, legacy: bool) -> ToolChoice | None:
    """Take `tool_choice` and `parallel_tool_calls` (or `function_call`) out of a request's body; a form that is not OpenAI's
    stays there.
    """
    fields: dict[str, Any] = {}
    own: dict[str, Any] = {"$legacy": True} if legacy else {}
    key = "function_call" if legacy else "tool_choice"
    match rest.get(key):
        case "auto" | "required" | "none" as mode:
            fields["mode"] = mode
        case "any":  # Mistral's word
            fields["mode"] = "required"
            own["$word"] = "any"
        case {"type": "function", "function": {"name": str() as name, **more}, **others} if not more and not others:
            fields |= {"mode": "tool", "name": name}
        case {"name": str() as name, **others} if legacy and not others:
            fields |= {"mode": "tool", "name": name}
    if fields:
        del rest[key]
    if legacy:
        fields["parallel"] = False
    elif isinstance(rest.get("parallel_tool_calls"), bool):
        fields["parallel"] = rest.pop("parallel_tool_calls")
    return ToolChoice(**fields, extra=kept(own)) if fields else None


def dump_tools(request: Request, profile: Profile, body: dict[str, Any], losses: Losses, names: ToolNames) -> None:
    """Write tools and tool choice into a request's body.

    Raises `UnrepresentableError` for a tool that only another dialect has.
    """
    tools = [_dump_tool(tool, f"tools[{at}]", profile, losses, names) for at, tool in enumerate(request.tools)]
    legacy = bool(tools) and is_legacy(request)
    if tools:
        body["functions" if legacy else "tools"] = [tool["function"] for tool in tools] if legacy else tools
    choice = request.tool_choice
    if choice is None:
        return
    losses.add_foreign(choice.extra, "tool_choice.")
    if choice.mode == "tool":
        name = {"name": names.wire(choice.name or "")}
        body["function_call" if legacy else "tool_choice"] = name if legacy else {"type": "function", "function": name}
    elif choice.mode is not None:
        word = noted(choice.extra).get("$word")
        mode = word if word and choice.mode == "required" else choice.mode
        body["function_call" if legacy else "tool_choice"] = mode
    if choice.parallel is not None and not legacy:
        body["parallel_tool_calls"] = choice.parallel


def _dump_tool(tool: Tool | Opaque, path: str, profile: Profile, losses: Losses, names: ToolNames) -> dict[str, Any]:
    losses.add_foreign(tool.extra, f"{path}.")
    if isinstance(tool, Opaque):
        if tool.dialect == NAME:
            return tool.data
        raise UnrepresentableError(
            f"The tool at {path} ({tool.data.get('type', 'unknown')}) exists only in the {tool.dialect} dialect.",
            param=path,
            hint="Take it out, or use a target of that dialect.",
        )
    own = noted(tool.extra)
    function: dict[str, Any] = {"name": names.wire(tool.name)}
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
