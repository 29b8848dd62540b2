"""The assistant's message in OpenAI Chat, as it stands in an answer and in the history of a request.

Theory. One message is many fields, read into one sequence of parts and written back from it: reasoning, content, refusal,
images, audio, tool calls. What no part holds stays in `rest`, which belongs to the message (in a request) or to the choice's
end (in an answer).

Rules.
- `$fields` on a `Reasoning` names the fields that its text was in; without any note of this dialect it is foreign.
- Fragments of `reasoning_details` from a stream are kept as they came (`$details`) and joined when they are written again.
- What other dialects need back (signatures, ...) goes to a Chat client and comes back as `openai_chat_carried` says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from podium.types import Media, Opaque, Part, Reasoning, Refusal, Text, ToolCall
from podium.wire.documents import Malformed, kind_of, want_dict, want_list, want_str
from podium.wire.openai_chat_carried import Carried, carry, text_item
from podium.wire.openai_chat_parts import (
    NAME,
    REASONING_FIELDS,
    dump_content,
    dump_media,
    dump_tool_call,
    kept,
    load_content,
    load_content_part,
    load_tool_call,
    noted,
    spoken,
)

_RARE = frozenset({"tool_calls", "function_call", "audio", "images", "reasoning_details", *REASONING_FIELDS})
_READ = _RARE | {"role", "content", "refusal"}
_MAY_THINK = frozenset("< \t\r\n")
"""What content begins with that may begin with <think>."""


def load_message_parts(
    message: dict[str, Any], path: str, *, answered: bool, made_id: Callable[[int], str]
) -> tuple[list[Part], dict[str, Any]]:
    """Read an assistant's message into its parts and the rest, which no part holds.

    `made_id` gives the n-th tool call its id where it has none. Raises `Malformed`.
    """
    parts: list[Part] = []
    rest = {key: value for key, value in message.items() if key not in _READ}
    plain = _RARE.isdisjoint(message)
    carried = None if plain else _load_reasoning(message, path, parts, rest)
    if "content" in message:
        content = message["content"]
        if type(content) is str and content and (not answered or parts or content[0] not in _MAY_THINK):
            parts.append(Text(text=content))
        else:
            load_content(content, f"{path}.content", parts, rest, tags=answered and not parts)
    else:
        rest["$content"] = "absent"
    if "refusal" in message:
        refusal = message["refusal"]
        if isinstance(refusal, str) and refusal:
            parts.append(Refusal(text=refusal))
        elif refusal is None or refusal == "":
            rest["refusal"] = refusal
        else:
            raise Malformed(f"{path}.refusal", f"is {kind_of(refusal)}, not a string")
    if not plain:
        _load_rare(message, path, parts, rest, answered=answered, made_id=made_id)
    if carried is not None:
        carried.give(parts)
    return parts, rest


def _load_rare(
    message: dict[str, Any],
    path: str,
    parts: list[Part],
    rest: dict[str, Any],
    *,
    answered: bool,
    made_id: Callable[[int], str],
) -> None:
    """Read pictures, sound and calls."""
    for at, image in enumerate(_list(message, "images", path, rest)):
        part = load_content_part(image, f"{path}.images[{at}]")
        parts.append(part.replace(extra=kept({**noted(part.extra), "$images": True})))
    if "audio" in message:
        if isinstance(audio := message["audio"], dict) and audio:
            parts.append(_load_audio(audio))
        else:
            rest["audio"] = audio
    for at, call in enumerate(_list(message, "tool_calls", path, rest)):
        parts.append(load_tool_call(call, f"{path}.tool_calls[{at}]", answered=answered, made_id=made_id(at)))
    if "function_call" in message:
        if (legacy := message["function_call"]) is None:
            rest["function_call"] = None
        else:
            parts.append(_load_function_call(legacy, f"{path}.function_call", made_id(0)))


def _list(message: dict[str, Any], key: str, path: str, rest: dict[str, Any]) -> list[Any]:
    """Return a list field; one that is null or empty goes to the rest."""
    if key not in message:
        return []
    value = message[key]
    if value is None or value == []:
        rest[key] = value
        return []
    return want_list(value, f"{path}.{key}")


def _load_function_call(call: Any, path: str, made_id: str) -> ToolCall:
    call = want_dict(call, path)
    own = {key: value for key, value in call.items() if key not in ("name", "arguments")}
    arguments = call.get("arguments", "")
    return ToolCall(
        id=made_id,
        name=want_str(call.get("name"), f"{path}.name"),
        arguments=want_str(arguments, f"{path}.arguments"),
        extra={NAME: {**own, "$legacy": True}},
    )


def _load_audio(audio: dict[str, Any]) -> Media:
    """Read a spoken answer, or its mention by id in the history."""
    own = dict(audio)
    data = own.pop("data", None)
    if isinstance(data, str):
        return Media(kind="audio", data=data, extra={NAME: {"$audio": own}})
    if "data" in audio:
        own["data"] = data
    return Media(kind="audio", data="", extra={NAME: {"$audio": own, "$mention": True}})


# --- Reasoning -------------------------------------------------------------------------------------------------------


def _load_reasoning(message: dict[str, Any], path: str, parts: list[Part], rest: dict[str, Any]) -> Carried | None:
    fields: list[str] = []
    text = ""
    for field in REASONING_FIELDS:
        value = message.get(field)
        if isinstance(value, str) and value and (not fields or value == text):
            fields.append(field)
            text = value
        elif field in message:
            rest[field] = value
    details = _list(message, "reasoning_details", path, rest)
    carried = Carried(details) if details else None
    if carried is not None and carried.parts:
        text = _load_carried(carried, text, parts)
        details = carried.others
    elif carried is not None:
        details = carried.others
    if text or details:
        own: dict[str, Any] = {"$fields": fields if text else []}
        if details:
            own["reasoning_details"] = details
        parts.append(Reasoning(text=text if fields else details_text(details), extra={NAME: own}))
    return carried


def _load_carried(carried: Carried, text: str, parts: list[Part]) -> str:
    """Take the thoughts that came back; return what `text` says beyond them."""
    thoughts = [part for part in carried.parts if isinstance(part, Reasoning)]
    told = "".join(part.text for part in thoughts)
    if len(thoughts) == 1 and not told:
        parts += [part.replace(text=text) if part is thoughts[0] else part for part in carried.parts]
        return ""
    parts += carried.parts
    return text.removeprefix(told)


def details_text(details: Sequence[Any]) -> str:
    """Return the text that `reasoning_details` say themselves, for an answer that says it nowhere else."""
    texts = (each.get("text") or each.get("summary") for each in details if isinstance(each, dict))
    return "".join(text for text in texts if isinstance(text, str))


def merge_details(fragments: list[Any]) -> list[Any]:
    """Join the fragments of `reasoning_details` that came in a stream: those that follow each other with one type and index.

    Texts grow; other members are taken from the latest fragment that says them
    (https://openrouter.ai/docs/use-cases/reasoning-tokens#streaming).
    """
    merged: list[Any] = []
    for fragment in fragments:
        last = merged[-1] if merged else None
        if (
            not isinstance(fragment, dict)
            or not isinstance(last, dict)
            or not last.get("type") == fragment.get("type") != "reasoning.encrypted"
            or last.get("index") != fragment.get("index")
        ):
            merged.append(dict(fragment) if isinstance(fragment, dict) else fragment)
            continue
        for key, value in fragment.items():
            if key in ("text", "summary") and isinstance(last.get(key), str) and isinstance(value, str):
                last[key] += value
            elif value not in (None, "") or key not in last:
                last[key] = value
    return merged


def _dump_reasoning(part: Reasoning, dumped: dict[str, Any], *, answered: bool) -> None:
    own = noted(part.extra)
    for field in own.get("$fields", ("reasoning_content",)) if part.text else ():
        dumped[field] = dumped.get(field, "") + part.text
    details = own.get("reasoning_details") or merge_details(own.get("$details", []))
    if answered:
        if not details and not own and part.text:
            details = [text_item(part.text)]
        details = details + carry(part)
    if details:
        dumped["reasoning_details"] = dumped.get("reasoning_details", []) + details


# --- Writing ---------------------------------------------------------------------------------------------------------


def dump_message_parts(
    parts: Sequence[Part], rest: dict[str, Any], path: str, *, answered: bool, identity: Callable[[str], str]
) -> dict[str, Any]:
    """Write an assistant's message from its parts and the rest that `load_message_parts` gave.

    `identity` turns a call's id into the one that is written. In an answer foreign parts travel in `reasoning_details`; in a
    request they must have been taken out before. Raises `UnrepresentableError`.
    """
    content: list[Part] = []
    dumped: dict[str, Any] = {"role": "assistant"}
    after: dict[str, Any] = {}
    for at, part in enumerate(parts):
        own = noted(part.extra)
        match part:
            case ToolCall() if "$legacy" in own:
                after["function_call"] = {**spoken(part.extra), "name": part.name, "arguments": part.arguments}
            case ToolCall():
                after.setdefault("tool_calls", []).append(dump_tool_call(part, identity(part.id), answered=answered))
                if answered and (items := carry(part)):
                    dumped["reasoning_details"] = dumped.get("reasoning_details", []) + items
            case Opaque() if "$call" in own:
                after.setdefault("tool_calls", []).append(part.data)
            case Opaque() if answered and part.dialect != NAME:
                dumped["reasoning_details"] = dumped.get("reasoning_details", []) + carry(part)
            case Reasoning() if "$tags" not in own and "$thinking" not in own:
                _dump_reasoning(part, dumped, answered=answered)
            case Refusal() if "$content" not in own:
                dumped["refusal"] = dumped.get("refusal", "") + part.text
            case Media() if "$audio" in own:
                after["audio"] = _dump_audio(part, own, answered=answered)
            case Media() | Opaque() if "$images" in own or (isinstance(part, Media) and part.kind == "image" and answered):
                image = part.data if isinstance(part, Opaque) else dump_media(part, f"{path}.parts[{at}]")
                after.setdefault("images", []).append(image)
            case _:
                content.append(part)
    if content or rest.get("$content") != "absent":
        dumped["content"] = dump_content(content, rest, f"{path}.content", join=True)
    for key, value in rest.items():
        if not key.startswith("$") and key not in dumped:
            dumped[key] = value
    return dumped | after


def _dump_audio(part: Media, own: dict[str, Any], *, answered: bool) -> dict[str, Any]:
    said = own["$audio"]
    if isinstance(said, list):  # the fragments of a stream
        said = merge_audio(said)
    if answered and "$mention" not in own:
        return said if "data" in said else {**said, "data": part.data}
    return {"id": said["id"]} if "$mention" not in own and "id" in said else said


def merge_audio(fragments: list[dict[str, Any]]) -> dict[str, Any]:
    """Join the fragments of a spoken answer: `data` and `transcript` grow, other members are taken from the latest."""
    merged: dict[str, Any] = {}
    for fragment in fragments:
        for key, value in fragment.items():
            grows = key in ("data", "transcript") and isinstance(value, str) and isinstance(merged.get(key), str)
            merged[key] = merged[key] + value if grows else value
    return merged
