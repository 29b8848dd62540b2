"""The parts of a message in OpenAI Chat: content, media, reasoning, tool calls; read and written.

Theory. A Chat message keeps its parts in several fields: `content` (a string, or a list of typed parts), `refusal`,
`reasoning_content` and its cousins, `audio`, `images`, `tool_calls`. They become one sequence: reasoning, content, refusal,
media, tool calls. How a field was written, where there was a choice, stays in `extra` under `$` keys.

Rules.
- What is not understood is kept: a content part or tool call of an unknown type is an `Opaque`; unknown members go to `extra`.
- Reasoning is accepted in all its forms: `reasoning_content` (DeepSeek, xAI, vLLM), `reasoning` and `reasoning_details`
  (OpenRouter, Groq, Ollama), thinking arrays inside `content` (Mistral), and `<think>` tags where the content begins with one.
- A `Reasoning` part that did not come from this dialect is foreign: what another dialect needs to take it back travels in a
  `reasoning_details` item of the format `podium`, and is found again in the client's next request.

Shapes: https://platform.openai.com/docs/api-reference/chat, https://openrouter.ai/docs/use-cases/reasoning-tokens,
https://docs.mistral.ai/capabilities/reasoning.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from podium.errors import UnrepresentableError
from podium.types import Extra, Media, Opaque, Part, Reasoning, Refusal, Text, ToolCall
from podium.wire.documents import Malformed, dump_json, kind_of, want_dict, want_str

NAME = "openai_chat"
REASONING_FIELDS = ("reasoning_content", "reasoning")
THINK = re.compile(r"\s*<think>")
END_THINK = "</think>"

_CALL = frozenset({"id", "type", "function"})
_FUNCTION = frozenset({"name", "arguments"})
_AUDIO_TYPES = {"mp3": "audio/mpeg"}
_AUDIO_FORMATS = {"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav"}
_URL_KINDS: dict[str, Literal["image", "audio", "document", "video"]] = {
    "image_url": "image",
    "video_url": "video",
    "audio_url": "audio",
    "document_url": "document",
}


def noted(extra: Extra) -> dict[str, Any]:
    """Return what this dialect keeps in an `extra`."""
    return extra.get(NAME) or {}


def spoken(extra: Extra) -> dict[str, Any]:
    """Return the members of an `extra` that are sent as they are (the `$` notes are not)."""
    if not (own := extra.get(NAME)):
        return {}
    return {key: value for key, value in own.items() if not key.startswith("$")}


def kept(own: dict[str, Any]) -> Extra:
    """Wrap what there is to keep as an `extra`; nothing where there is nothing."""
    return {NAME: own} if own else {}


# --- Media -----------------------------------------------------------------------------------------------------------


def split_data_url(url: str) -> tuple[str, str, str] | None:
    """Split a base64 data URL into (media type, parameters with their semicolons, base64 text).

    Parameters other than `base64` are allowed (RFC 2397). Gives None where the URL is no such thing.
    """
    if not url.startswith("data:"):
        return None
    head, comma, data = url[5:].partition(",")
    if not comma or not head.endswith(";base64"):
        return None
    media_type, semicolon, parameters = head[:-7].partition(";")
    return media_type, semicolon + parameters, data


def _load_url(url: str, own: dict[str, Any]) -> dict[str, Any]:
    if (found := split_data_url(url)) is None:
        return {"url": url}
    media_type, parameters, data = found
    if parameters:
        own["$parameters"] = parameters
    return {"data": data, "media_type": media_type or None}


def _dump_url(media: Media, own: dict[str, Any]) -> str | None:
    if media.url is not None:
        return media.url
    if media.data is not None:
        return f"data:{media.media_type or ''}{own.get('$parameters', '')};base64,{media.data}"
    return None


def _load_linked(part: dict[str, Any], kind: str, path: str) -> Media:
    """Read `image_url` and its likes, whose link is an object or (Mistral) a plain string."""
    own = {key: value for key, value in part.items() if key not in ("type", kind)}
    link = part.get(kind)
    if isinstance(link, str):
        own["$plain"] = True
        return Media(kind=_URL_KINDS[kind], **_load_url(link, own), extra=kept(own))
    link = want_dict(link, f"{path}.{kind}")
    url = want_str(link.get("url"), f"{path}.{kind}.url")
    if len(link) > 1:
        own[kind] = {key: value for key, value in link.items() if key != "url"}
    return Media(kind=_URL_KINDS[kind], **_load_url(url, own), extra=kept(own))


def _load_input_audio(part: dict[str, Any], path: str) -> Media:
    own = {key: value for key, value in part.items() if key not in ("type", "input_audio")}
    audio = want_dict(part.get("input_audio"), f"{path}.input_audio")
    data = want_str(audio.get("data"), f"{path}.input_audio.data")
    media_type = None
    rest = {key: value for key, value in audio.items() if key not in ("data", "format")}
    if "format" in audio:
        if isinstance(audio["format"], str):
            media_type = _AUDIO_TYPES.get(audio["format"], f"audio/{audio['format']}")
        if media_type is None or _audio_format(media_type) != audio["format"]:
            rest["format"] = audio["format"]
    if rest:
        own["input_audio"] = rest
    return Media(kind="audio", data=data, media_type=media_type, extra=kept(own))


def _audio_format(media_type: str) -> str:
    return _AUDIO_FORMATS.get(media_type) or media_type.removeprefix("audio/")


def _load_file(part: dict[str, Any], path: str) -> Media:
    own = {key: value for key, value in part.items() if key not in ("type", "file")}
    rest = dict(want_dict(part.get("file"), f"{path}.file"))
    fields: dict[str, Any] = {}
    if isinstance(rest.get("file_id"), str):
        fields["file_id"] = rest.pop("file_id")
        own["$file"] = "uploaded"
    elif isinstance(rest.get("file_data"), str):
        data = rest.pop("file_data")
        fields = _load_url(data, own)
        if "url" in fields:
            own["$file"] = "url"
            if not data.startswith(("http://", "https://", "data:")):
                fields = {"data": data}
                own["$file"] = "bare"
    else:
        raise Malformed(f"{path}.file", "has neither `file_data` nor `file_id`")
    if isinstance(rest.get("filename"), str):
        fields["name"] = rest.pop("filename")
    if rest:
        own["file"] = rest
    return Media(kind="document", **fields, extra=kept(own))


def dump_media(media: Media, path: str) -> dict[str, Any]:
    """Write an image, a sound or a document as a content part.

    Raises `UnrepresentableError` where Chat has no form for it.
    """
    own = noted(media.extra)
    members = spoken(media.extra)
    if media.kind == "audio" and media.data is not None and "audio_url" not in own and "$plain" not in own:
        audio = {"data": media.data}
        if media.media_type is not None:
            audio["format"] = _audio_format(media.media_type)
        return {**members, "type": "input_audio", "input_audio": audio | members.get("input_audio", {})}
    if media.kind == "document" and media.text is not None:
        title = f' title="{media.name}"' if media.name else ""
        return {**members, "type": "text", "text": f"<document{title}>\n{media.text}\n</document>"}
    url = _dump_url(media, own)
    if media.kind == "document" and "$plain" not in own and "document_url" not in own:
        return {**members, "type": "file", "file": _dump_file(media, url, own, path) | members.get("file", {})}
    if url is None:
        raise UnrepresentableError(
            f"The {media.kind} at {path} is an uploaded file, which Chat cannot carry.",
            param=path,
            hint="Send its bytes or its URL.",
        )
    kind = f"{media.kind}_url"
    if "$plain" in own:
        return {**members, "type": kind, kind: url}
    return {**members, "type": kind, kind: {"url": url, **members.get(kind, {})}}


def _dump_file(media: Media, url: str | None, own: dict[str, Any], path: str) -> dict[str, Any]:
    file: dict[str, Any] = {}
    if media.file_id is not None:
        file["file_id"] = media.file_id
    elif url is not None and (media.url is None or "$file" in own):
        file["file_data"] = media.data if own.get("$file") == "bare" else url
    else:
        raise UnrepresentableError(
            f"The document at {path} is given by its URL, which Chat cannot carry.",
            param=path,
            hint="Send the document's bytes.",
        )
    if media.name is not None:
        file["filename"] = media.name
    return file


# --- Content ---------------------------------------------------------------------------------------------------------


def load_content_part(part: Any, path: str) -> Part:
    """Read one item of a content list."""
    if not isinstance(part, dict):
        raise Malformed(path, f"is {kind_of(part)}, not a content part")
    match part.get("type"):
        case "text":
            own = {key: value for key, value in part.items() if key not in ("type", "text")}
            return Text(text=want_str(part.get("text"), f"{path}.text"), extra=kept(own))
        case "image_url" | "video_url" | "audio_url" | "document_url" as kind:
            media = _load_linked(part, kind, path)
            if kind in ("audio_url", "document_url") and kind not in noted(media.extra):
                return media.replace(extra=kept({**noted(media.extra), kind: {}}))
            return media
        case "input_audio":
            return _load_input_audio(part, path)
        case "file":
            return _load_file(part, path)
        case "refusal":
            own = {key: value for key, value in part.items() if key not in ("type", "refusal")}
            return Refusal(text=want_str(part.get("refusal"), f"{path}.refusal"), extra=kept({**own, "$content": True}))
        case "thinking":
            return load_thinking(part)
        case _:
            return Opaque(dialect=NAME, data=part)


def load_thinking(part: dict[str, Any]) -> Reasoning:
    """Read Mistral's thinking chunk: `{"type": "thinking", "thinking": [{"type": "text", "text": ...}], ...}`."""
    own = {key: value for key, value in part.items() if key not in ("type", "thinking")}
    own["$thinking"] = "list"
    thinking = part.get("thinking")
    if isinstance(thinking, str):
        own["$thinking"] = "string"
        return Reasoning(text=thinking, extra=kept(own))
    if isinstance(thinking, list):
        texts = [each["text"] for each in thinking if isinstance(each, dict) and isinstance(each.get("text"), str)]
        text = "".join(texts)
        if thinking != [{"type": "text", "text": text}]:
            own["$thinking"] = thinking
        return Reasoning(text=text, extra=kept(own))
    own["$thinking"] = {"thinking": thinking} if "thinking" in part else {}
    return Reasoning(extra=kept(own))


def _dump_thinking(part: Reasoning) -> dict[str, Any]:
    written = noted(part.extra)["$thinking"]
    dumped = {**spoken(part.extra), "type": "thinking"}
    if written == "string":
        dumped["thinking"] = part.text
    elif isinstance(written, dict):
        dumped |= written
    elif isinstance(written, list) and load_thinking({"thinking": written}).text == part.text:
        dumped["thinking"] = written
    else:
        dumped["thinking"] = [{"type": "text", "text": part.text}]
    return dumped


def load_content(content: Any, path: str, parts: list[Part], own: dict[str, Any], *, tags: bool = False) -> None:
    """Read a message's `content` into `parts`, and note in `own` how it was written.

    With `tags`, reasoning between `<think>` tags at the beginning of a string is taken apart from the text.
    """
    if isinstance(content, str):
        if not content:
            own["$content"] = "empty"
        elif tags and (begun := THINK.match(content)):
            head, end, rest = content[begun.end() :].partition(END_THINK)
            parts.append(Reasoning(text=head, extra={NAME: {"$tags": [begun.group(), end]}}))
            if rest:
                parts.append(Text(text=rest))
        else:
            parts.append(Text(text=content))
    elif isinstance(content, list):
        if len(content) < 2:
            own["$content"] = "list"
        parts.extend(load_content_part(part, f"{path}[{at}]") for at, part in enumerate(content))
    elif content is None:
        own["$content"] = "null"
    else:
        raise Malformed(path, f"is {kind_of(content)}, not a string or a list")


def dump_content_part(part: Part, path: str) -> dict[str, Any]:
    """Write one part as an item of a content list.

    Raises `UnrepresentableError` for parts that have no place in content.
    """
    match part:
        case Text():
            return {**spoken(part.extra), "type": "text", "text": part.text}
        case Media():
            return dump_media(part, path)
        case Opaque() if part.dialect == NAME:
            return part.data
        case Refusal():
            return {**spoken(part.extra), "type": "refusal", "refusal": part.text}
        case Reasoning() if "$thinking" in noted(part.extra):
            return _dump_thinking(part)
        case Reasoning() if (tags := noted(part.extra).get("$tags")) is not None:
            return {"type": "text", "text": tags[0] + part.text + "".join(tags[1:])}
    what = f"{part.dialect}'s {part.data.get('type', 'part')}" if isinstance(part, Opaque) else type(part).__name__
    raise UnrepresentableError(
        f"The part at {path} ({what}) cannot be written in OpenAI Chat.",
        param=path,
        hint="Send this conversation to a target of the dialect that it came from, or take the part out.",
    )


def dump_content(parts: list[Part], own: dict[str, Any], path: str, *, join: bool = False) -> Any:
    """Write the parts of a content field: a string where one text says it all, else a list.

    With `join`, several plain texts become one string too (an assistant's content, which not all providers take as a list).
    """
    form = own.get("$content")
    if not parts:
        return [] if form == "list" else None if form == "null" or (join and form is None) else ""
    if form != "list":
        if join:
            if (text := _joined(parts)) is not None:
                return text
        elif len(parts) == 1 and isinstance(only := parts[0], Text) and not spoken(only.extra):
            return only.text
    return [dump_content_part(part, f"{path}[{at}]") for at, part in enumerate(parts)]


def _joined(parts: list[Part]) -> str | None:
    """Join texts, and reasoning that stood between `<think>` tags; None where the parts need a list."""
    pieces: list[str] = []
    for at, part in enumerate(parts, 1):
        own = noted(part.extra)
        if isinstance(part, Text) and not spoken(part.extra):
            pieces.append(part.text)
        elif isinstance(part, Reasoning) and "$tags" in own:
            opened, *closed = own["$tags"]
            pieces += (opened, part.text, "".join(closed) or (END_THINK if at < len(parts) else ""))
        else:
            return None
    return "".join(pieces)


# --- Tool calls ------------------------------------------------------------------------------------------------------


def load_tool_call(call: Any, path: str, *, answered: bool, made_id: str) -> Part:
    """Read one item of `tool_calls`, of an answer (`answered`) or of a request; a call without an id gets `made_id`.

    Odd forms (no id, no type, arguments that are no string, an `index`) are noted for whoever writes the same kind of document
    again; a call that goes from an answer into the next request is written in the usual form.
    """
    call = want_dict(call, path)
    function = call.get("function")
    if not isinstance(function, dict):
        return Opaque(dialect=NAME, data=call, extra={NAME: {"$call": True}})
    name = want_str(function.get("name"), f"{path}.function.name")
    identity, arguments = call.get("id"), function.get("arguments")
    odd: dict[str, Any] = {}
    if not isinstance(identity, str) or not identity:
        odd["id"], identity = [made_id, *_given(call, "id")], made_id
    if call.get("type") != "function":
        odd["type"] = _given(call, "type")
    if not isinstance(arguments, str) or not arguments:
        odd["arguments"], arguments = _given(function, "arguments"), arguments_text(arguments)
    own = {key: call[key] for key in call if key not in _CALL}
    if answered and "index" in own:
        odd["index"] = own.pop("index")
    if rest := {key: function[key] for key in function if key not in _FUNCTION}:
        own["function"] = rest
    if odd:
        own["$answer" if answered else "$request"] = odd
    return ToolCall(id=identity, name=name, arguments=arguments, extra=kept(own))


def _given(document: dict[str, Any], key: str) -> list[Any]:
    return [document[key]] if key in document else []


def arguments_text(arguments: Any) -> str:
    """Return arguments as JSON text: some providers send an object where a string belongs."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else dump_json(arguments).decode()


def dump_tool_call(call: ToolCall, identity: str, *, answered: bool) -> dict[str, Any]:
    """Write a tool call as an item of `tool_calls`; `identity` is the id that the reader of the document wants."""
    own = noted(call.extra)
    if not own:
        return {"id": identity, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
    odd = own.get("$answer" if answered else "$request") or {}
    dumped: dict[str, Any] = {}
    _say(dumped, "id", odd["id"][1:] if odd.get("id", [None])[0] == call.id else None, identity)
    _say(dumped, "type", odd.get("type"), "function")
    function = {"name": call.name, **own.get("function", {})}
    written = odd.get("arguments")
    if written is not None and arguments_text(written[0] if written else None) != call.arguments:
        written = None
    _say(function, "arguments", written, call.arguments or "{}")
    dumped["function"] = function
    if "index" in odd:
        dumped["index"] = odd["index"]
    return dumped | {key: value for key, value in own.items() if not key.startswith("$") and key != "function"}


def _say(target: dict[str, Any], key: str, written: list[Any] | None, usual: Any) -> None:
    """Set a member as it was written: `[value]`, `[]` for left out, None for the usual."""
    if written is None:
        target[key] = usual
    elif written:
        target[key] = written[0]
