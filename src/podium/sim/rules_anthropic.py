"""What Anthropic's Messages API refuses, in its own words.

Theory. As in `podium.sim.rules_openai`: the body is walked as plain JSON, and the first fault found is answered.

Rules.
- Unknown fields are refused at the top level and let pass below it, where the API grows fastest.
- A thought that comes back must carry the signature that this simulator gave it.
- Wordings are those that the API was seen to give. https://docs.claude.com/en/api/messages
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from podium.catalog.profiles import profile
from podium.sim.answers import signature
from podium.sim.complaints import Complaint
from podium.sim.demands import base64_fault
from podium.sim.schemas import fault

_FIELDS = (
    "betas cache_control container context_management diagnostics inference_geo max_tokens mcp_servers messages metadata "
    "model output_config output_format service_tier speed stop_sequences stream system temperature thinking tool_choice "
    "tools top_k top_p user_profile_id workspace_id"
)
_KNOWN = frozenset(_FIELDS.split())

_THINKING_PAGE = "Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking"

_ONE_SAMPLER = re.compile(r"claude-(?:opus-4-[1-9]|sonnet-4-[5-9]|haiku-4-[5-9]|(?:opus|sonnet|haiku)-[5-9])")
"""Models that take temperature or top_p, not both."""


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse a request without the version header."""
    version = headers.get("anthropic-version")
    if not version:
        raise Complaint("anthropic-version: header is required")
    if not re.fullmatch(r"20\d\d-[01]\d-[0-3]\d", version):
        raise Complaint(f'anthropic-version: "{version}" is not a valid version. Use "2023-06-01".')


def check(document: Any, *, counting: bool = False, own_thoughts: bool = True) -> None:
    """Refuse what the API refuses. Raises `Complaint`.

    `counting` is for the token counter, which wants no `max_tokens`; `own_thoughts` demands this simulator's signatures.
    """
    if not isinstance(document, dict):
        raise Complaint("Input should be a valid dictionary")
    for name in ("model", "messages") if counting else ("model", "messages", "max_tokens"):
        if name not in document:
            raise Complaint(f"{name}: Field required")
    for name in document:
        if name not in _KNOWN:
            raise Complaint(f"{name}: Extra inputs are not permitted")
    if not isinstance(document["model"], str):
        raise Complaint("model: Input should be a valid string")
    if not document["model"]:
        raise Complaint("model: String should have at least 1 character")
    _check_settings(document)
    _check_tools(document)
    thinks = _check_thinking(document)
    _check_system(document.get("system"))
    _check_messages(document["messages"], document["model"])
    _check_turns(document["messages"])
    if thinks:
        _check_thoughts(document["messages"])
    if own_thoughts:
        _check_signatures(document["messages"])


# --- Settings --------------------------------------------------------------------------------------------------------


def _whole(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Complaint(f"{name}: Input should be a valid integer")


def _check_settings(document: dict[str, Any]) -> None:
    if "max_tokens" in document:
        _whole(document["max_tokens"], "max_tokens")
        if document["max_tokens"] < 1:
            raise Complaint("max_tokens: Input should be greater than or equal to 1")
    for name in ("temperature", "top_p"):
        value = document.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Complaint(f"{name}: Input should be a valid number")
        if not 0 <= value <= 1:
            raise Complaint(f"{name}: range: 0..1")
    if document.get("temperature") is not None and document.get("top_p") is not None and _ONE_SAMPLER.search(document["model"]):
        raise Complaint("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    if document.get("top_k") is not None:
        _whole(document["top_k"], "top_k")
        if document["top_k"] < 0:
            raise Complaint("top_k: Input should be greater than or equal to 0")
    if document.get("stream") is not None and not isinstance(document["stream"], bool):
        raise Complaint("stream: Input should be a valid boolean")
    _check_stops(document.get("stop_sequences"))
    if document.get("metadata") is not None and not isinstance(document["metadata"], dict):
        raise Complaint("metadata: Input should be a valid dictionary")


def _check_stops(stops: Any) -> None:
    if stops is None:
        return
    if not isinstance(stops, list):
        raise Complaint("stop_sequences: Input should be a valid list")
    for index, stop in enumerate(stops):
        if not isinstance(stop, str):
            raise Complaint(f"stop_sequences.{index}: Input should be a valid string")
        if not stop.strip():
            raise Complaint("stop_sequences: each stop sequence must contain non-whitespace")


def _check_thinking(document: dict[str, Any]) -> bool:
    """Check the thinking settings, and say whether the model is to think."""
    thinking = document.get("thinking")
    if thinking is None:
        return False
    if not isinstance(thinking, dict):
        raise Complaint("thinking: Input should be a valid dictionary or object to extract fields from")
    kind = thinking.get("type")
    if kind not in ("adaptive", "between_tools", "disabled", "enabled"):
        raise Complaint(
            f"thinking: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'adaptive', "
            "'between_tools', 'disabled', 'enabled'"
        )
    if kind in ("disabled", "between_tools"):
        return False
    if kind == "enabled":
        if "budget_tokens" not in thinking:
            raise Complaint("thinking.enabled.budget_tokens: Field required")
        budget = thinking["budget_tokens"]
        _whole(budget, "thinking.enabled.budget_tokens")
        if budget < 1024:
            raise Complaint("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if "max_tokens" in document and budget >= document["max_tokens"]:
            raise Complaint(
                f"`max_tokens` must be greater than `thinking.budget_tokens`. {_THINKING_PAGE}"
                "#max-tokens-and-context-window-size"
            )
    if document.get("temperature") not in (None, 1):
        also = " or in adaptive mode" if kind == "adaptive" else ""
        raise Complaint(f"`temperature` may only be set to 1 when thinking is enabled{also}. {_THINKING_PAGE}")
    if document.get("top_k") is not None:
        raise Complaint(f"`top_k` must be unset when thinking is enabled. {_THINKING_PAGE}")
    if document.get("top_p") is not None and document["top_p"] < 0.95:
        raise Complaint(f"`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled. {_THINKING_PAGE}")
    picked = document.get("tool_choice")
    if isinstance(picked, dict) and picked.get("type") in ("any", "tool"):
        raise Complaint("Thinking may not be enabled when tool_choice forces tool use.")
    return True


def _check_tools(document: dict[str, Any]) -> None:
    tools, picked = document.get("tools"), document.get("tool_choice")
    if tools is not None and not isinstance(tools, list):
        raise Complaint("tools: Input should be a valid list")
    names: list[str] = []
    for index, tool in enumerate(tools or ()):
        if not isinstance(tool, dict):
            raise Complaint(f"tools.{index}: Input should be a valid dictionary")
        if tool.get("type") in (None, "custom"):
            _check_tool(tool, index)
        if tool.get("name") in names:
            raise Complaint("tools: Tool names must be unique.")
        if isinstance(tool.get("name"), str):
            names.append(tool["name"])
    if picked is None:
        return
    if not isinstance(picked, dict):
        raise Complaint("tool_choice: Input should be a valid dictionary or object to extract fields from")
    if picked.get("type") not in ("auto", "any", "tool", "none"):
        raise Complaint(
            f"tool_choice: Input tag '{picked.get('type')}' found using 'type' does not match any of the expected tags: 'any', "
            "'auto', 'none', 'tool'"
        )
    if not tools and picked["type"] != "none":
        raise Complaint("tool_choice: `tool_choice` may only be specified while providing `tools`.")
    if picked["type"] == "tool":
        if "name" not in picked:
            raise Complaint("tool_choice.tool.name: Field required")
        if picked["name"] not in names:
            raise Complaint(f"tool_choice: Tool '{picked['name']}' not found in provided tools")


def _check_tool(tool: dict[str, Any], index: int) -> None:
    for field in ("name", "input_schema"):
        if field not in tool:
            raise Complaint(f"tools.{index}.custom.{field}: Field required")
    if not isinstance(tool["name"], str) or not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool["name"]):
        raise Complaint(f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    schema = tool["input_schema"]
    if not isinstance(schema, dict):
        raise Complaint(f"tools.{index}.custom.input_schema: Input should be a valid dictionary")
    if "type" not in schema:
        raise Complaint(f"tools.{index}.custom.input_schema.type: Field required")
    if schema["type"] != "object":
        raise Complaint(f"tools.{index}.custom.input_schema.type: Input should be 'object'")
    if fault(schema) is not None:
        raise Complaint(
            f"tools.{index}.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft 2020-12 "
            "(https://json-schema.org/draft/2020-12). Learn more about tool use at https://docs.claude.com/en/docs/tool-use."
        )


# --- Messages --------------------------------------------------------------------------------------------------------


def _check_system(system: Any) -> None:
    if system is None or isinstance(system, str):
        return
    if not isinstance(system, list):
        raise Complaint("system: Input should be a valid list")
    for index, block in enumerate(system):
        if not isinstance(block, dict) or block.get("type") != "text":
            raise Complaint(f"system.{index}.type: Input should be 'text'")
        if not isinstance(block.get("text"), str):
            raise Complaint(f"system.{index}.text: Input should be a valid string")
        if not block["text"]:
            raise Complaint("system: text content blocks must be non-empty")


def _check_messages(messages: Any, model: str) -> None:
    if not isinstance(messages, list):
        raise Complaint("messages: Input should be a valid list")
    if not messages:
        raise Complaint("messages: at least one message is required")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise Complaint(f"messages.{index}: Input should be a valid dictionary or object to extract fields from")
        for field in ("role", "content"):
            if field not in message:
                raise Complaint(f"messages.{index}.{field}: Field required")
        if message["role"] == "system":
            _check_inline(messages, index, model)
            continue
        if message["role"] not in ("user", "assistant"):
            raise Complaint(f"messages.{index}.role: Input should be 'user' or 'assistant'")
        _check_content(message, index, last=index == len(messages) - 1)
    if messages[0]["role"] != "user":
        raise Complaint('messages: first message must use the "user" role')
    _check_end(messages[-1])


def _check_inline(messages: list[Any], index: int, model: str) -> None:
    """Refuse instructions inside the conversation where the model, or the place, does not take them.

    https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages
    """
    if index == 0:
        raise Complaint(
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not "system" as an '
            "input message role."
        )
    if not profile("anthropic", model).inline_system:
        raise Complaint(f"messages.{index}: role 'system' is not supported on this model")
    before, after = messages[index - 1], messages[index + 1] if index + 1 < len(messages) else None
    follows = isinstance(before, dict) and before.get("role") == "user"
    if not follows or (after is not None and (not isinstance(after, dict) or after.get("role") != "assistant")):
        raise Complaint(
            f"messages.{index}: role 'system' must follow a user message, and be the last message or precede an assistant's"
        )
    _check_content(messages[index], index, last=False)


def _check_content(message: dict[str, Any], index: int, *, last: bool) -> None:
    content = message["content"]
    if not isinstance(content, str | list):
        raise Complaint(f"messages.{index}.content: Input should be a valid list")
    if not content and not (last and message["role"] == "assistant"):
        raise Complaint(
            f"messages.{index}: all messages must have non-empty content except for the optional final assistant message"
        )
    if isinstance(content, str):
        if content and not content.strip():
            raise Complaint("messages: text content blocks must contain non-whitespace text")
        return
    for number, block in enumerate(content):
        place = f"messages.{index}.content.{number}"
        if not isinstance(block, dict):
            raise Complaint(f"{place}: Input should be a valid dictionary or object to extract fields from")
        if "type" not in block:
            raise Complaint(f"{place}.type: Field required")
        if not isinstance(block["type"], str):
            raise Complaint(f"{place}.type: Input should be a valid string")
        _check_block(block, place, message["role"])
    # Blank text beside other blocks is taken.
    if content and all(block["type"] == "text" and not block["text"].strip() for block in content):
        raise Complaint("messages: text content blocks must contain non-whitespace text")


_NEEDED: dict[str, tuple[str, ...]] = {
    "text": ("text",),
    "image": ("source",),
    "document": ("source",),
    "tool_use": ("id", "name", "input"),
    "tool_result": ("tool_use_id",),
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
}

_TEXTS = frozenset(("text", "id", "name", "tool_use_id", "thinking", "signature", "data"))
"""Fields of blocks that are strings."""

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def _check_block(block: dict[str, Any], place: str, role: str) -> None:
    kind = block["type"]
    for field in _NEEDED.get(kind, ()):
        if field not in block:
            raise Complaint(f"{place}.{kind}.{field}: Field required")
        if field in _TEXTS and not isinstance(block[field], str):
            raise Complaint(f"{place}.{kind}.{field}: Input should be a valid string")
    if kind in ("tool_use", "thinking", "redacted_thinking") and role != "assistant":
        raise Complaint(f"{place.rsplit('.', 2)[0]}: `{kind}` blocks can only be in `assistant` messages")
    if kind == "tool_result" and role != "user":
        raise Complaint(f"{place.rsplit('.', 2)[0]}: `tool_result` blocks can only be in `user` messages")
    if kind == "text":
        if not block["text"]:
            raise Complaint("messages: text content blocks must be non-empty")
    elif kind == "tool_use":
        if not isinstance(block["input"], dict):
            raise Complaint(f"{place}.tool_use.input: Input should be a valid dictionary")
        if not re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"]):
            raise Complaint(f"{place}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    elif kind == "image":
        source = block["source"]
        if isinstance(source, dict) and source.get("type") == "base64":
            _check_bytes(source, f"{place}.image.source.base64")


def _check_bytes(source: dict[str, Any], place: str) -> None:
    if source.get("media_type") not in _IMAGES:
        raise Complaint(f"{place}.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'")
    fault = base64_fault(source.get("data"))
    if fault is not None:
        raise Complaint(f"{place}: {'image cannot be empty' if fault == 'empty' else 'invalid base64 data'}")


def _check_end(message: dict[str, Any]) -> None:
    if message["role"] != "assistant" or not message["content"]:
        return
    content = message["content"]
    text = content if isinstance(content, str) else content[-1].get("text", "") if content[-1]["type"] == "text" else ""
    if text != text.rstrip():
        raise Complaint("messages: final assistant content cannot end with trailing whitespace")


def _check_signatures(messages: list[dict[str, Any]]) -> None:
    """Hold thoughts that come back to the signatures that they left with; thoughts that were left out have no text."""
    for index, message in enumerate(messages):
        for number, block in _blocks(message, "thinking"):
            if block["thinking"] and block["signature"] != signature(block["thinking"]):
                raise Complaint(f"messages.{index}.content.{number}: Invalid `signature` in `thinking` block")


def _blocks(message: dict[str, Any], kind: str) -> list[tuple[int, dict[str, Any]]]:
    content = message["content"]
    return [] if isinstance(content, str) else [each for each in enumerate(content) if each[1]["type"] == kind]


def _joined(messages: list[dict[str, Any]]) -> list[tuple[int, str, list[tuple[int, dict[str, Any]]]]]:
    """Join runs of one role, as the API does: where a run begins, its role, and its numbered blocks."""
    runs: list[tuple[int, str, list[tuple[int, dict[str, Any]]]]] = []
    for message in messages:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if runs and runs[-1][1] == message["role"]:
            runs[-1][2].extend((len(runs[-1][2]) + number, block) for number, block in enumerate(blocks))
        else:
            runs.append((len(runs), message["role"], list(enumerate(blocks))))
    return runs


def _check_turns(messages: list[dict[str, Any]]) -> None:
    """Hold tool results to the calls of the turn before, and calls to the results of the turn after."""
    waiting: list[str] = []
    asked_at = 0
    seen: set[str] = set()
    for index, role, blocks in _joined(messages):
        results = [(number, block["tool_use_id"]) for number, block in blocks if block["type"] == "tool_result"]
        for number, call_id in results:
            if call_id not in waiting:
                raise Complaint(
                    f"messages.{index}.content.{number}: unexpected `tool_use_id` found in `tool_result` blocks: {call_id}. "
                    "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                )
        answered = [call_id for _, call_id in results]
        for number, call_id in results:
            if answered.count(call_id) > 1:
                raise Complaint(
                    f"messages.{index}.content.{number}: each tool_use must have a single result. Found multiple `tool_result` "
                    f"blocks with id: {call_id}"
                )
        _all_answered([call_id for call_id in waiting if call_id not in answered], asked_at)
        waiting = []
        for number, block in blocks:
            if role == "assistant" and block["type"] == "tool_use":
                if block["id"] in seen:
                    raise Complaint(f"messages.{index}.content.{number}: `tool_use` ids must be unique")
                seen.add(block["id"])
                waiting.append(block["id"])
        asked_at = index
    _all_answered(waiting, asked_at)


def _all_answered(missing: list[str], asked_at: int) -> None:
    if missing:
        raise Complaint(
            f"messages.{asked_at}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        )


def _check_thoughts(messages: list[dict[str, Any]]) -> None:
    """Hold the turn whose tools are being answered to begin with its thoughts."""
    last = next((index for index in range(len(messages) - 1, -1, -1) if messages[index]["role"] == "assistant"), None)
    if last is None or last == len(messages) - 1 or not _blocks(messages[-1], "tool_result"):
        return
    content = messages[last]["content"]
    first = content[0]["type"] if isinstance(content, list) else "text"
    if first not in ("thinking", "redacted_thinking"):
        raise Complaint(
            f"messages.{last}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. When `thinking` "
            "is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of "
            "`tool_use` and `tool_result` blocks). We recommend you include thinking blocks from previous turns. To avoid "
            "this requirement, "
            f"disable `thinking`. {_THINKING_PAGE}"
        )
