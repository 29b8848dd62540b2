"""Anthropic's content blocks and Podium's parts, each from the other.

Theory. A block becomes the part that says the same, and what the part's typed fields cannot say stays in its
`extra["anthropic"]` under the block's own keys. So a part is dumped by writing its typed fields and laying the extra over
them, and nothing that was said is lost. A block of an unknown type is an `Opaque`.

Rules.
- `difference` and `overlay` are inverse: `overlay(said, difference(raw, said)) == raw`.
- Notes begin with `$` and are never sent: `$absent` (keys that the typed fields would write and the original had not),
  `$keys` (keys of the original that begin with `$` themselves), `$content` (a string stood where a list may stand), `$empty` (a
  text block that was empty in the original too), `$type` (a thinking block's type), `$unsigned` (it had nothing but its text),
  `$file` (a file that Anthropic keeps).
- Reasoning of another origin reaches an Anthropic client as a thinking block whose signature begins with `podium.` and holds
  the part's extra; when the client sends it back, it is that part again, and goes home to the dialect that it came from. What
  other dialects said of a tool call (Gemini signs calls) travels the same way, in a redacted_thinking block before the call.

The blocks: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from podium.errors import UnrepresentableError
from podium.types import Extra, Media, Opaque, Part, Reasoning, Text, ToolCall, ToolResult
from podium.wire.documents import Malformed, kind_of, load_json
from podium.wire.losses import spoken_members
from podium.wire.tool_names import fit_name

NAME = "anthropic"
"""The dialect's name, and its key in every `extra`."""

NAME_LIMIT = 128
"""The longest name of a tool that Anthropic takes."""

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
"""The images that Anthropic reads: https://platform.claude.com/docs/en/build-with-claude/vision"""

_MARK = "podium."
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9_-]")
_DATA_URL = re.compile(r"data:(?P<type>[^;,]*)(?:;[^;,]+)*?(?P<base64>;base64)?,", re.IGNORECASE)
_SAME_TYPES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg"}

decode = msgspec.json.decode
encode = msgspec.json.encode


def load_object(body: bytes) -> dict[str, Any]:
    """Parse a body that must be a JSON object; raises `Malformed`."""
    document = load_json(body)
    if type(document) is not dict:
        raise Malformed("", f"The body is {kind_of(document)}, not a JSON object")
    return document


def difference(raw: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """Return what `raw` says beyond, or other than, what the typed fields say."""
    kept = {key: value for key, value in raw.items() if key not in said or said[key] != value}
    if kept and (odd := [key for key in kept if key[:1] == "$"]):
        kept["$keys"] = {key: kept.pop(key) for key in odd}
    if not said.keys() <= raw.keys():
        kept["$absent"] = [key for key in said if key not in raw]
    return kept


def overlay(said: dict[str, Any], kept: dict[str, Any] | None) -> dict[str, Any]:
    """Lay what was kept over what the typed fields say; `said` is changed and returned."""
    if not kept:
        return said
    for key, value in kept.items():
        if key[:1] != "$":
            said[key] = value
        elif key == "$keys":
            said.update(value)
        elif key == "$absent":
            for name in value:
                said.pop(name, None)
    return said


def take_mark(block: dict[str, Any], extra: Extra) -> dict[str, Any]:
    """Put a cache mark on a block that another dialect's client put there (OpenRouter's and LiteLLM's are Anthropic's)."""
    for dialect, kept in extra.items():
        if dialect != NAME and type(mark := kept.get("cache_control")) is dict:
            return {"cache_control": mark, **block}
    return block


def own(kept: dict[str, Any]) -> Extra:
    """Return the extra that holds what was kept, if anything was."""
    return {NAME: kept} if kept else {}


def wire_id(call_id: str) -> str:
    """Return a tool call's id in Anthropic's letters; the same id always becomes the same one."""
    if _ID.fullmatch(call_id):
        return call_id
    return f"{_NOT_ALLOWED.sub('_', call_id) or 'call'}_{hashlib.sha256(call_id.encode('utf-8', 'replace')).hexdigest()[:8]}"


# --- From blocks to parts --------------------------------------------------------------------------------------------


def _string(block: dict[str, Any], key: str, path: str) -> str:
    value = block.get(key)
    if type(value) is not str:
        raise Malformed(f"{path}.{key}", "must be a string")
    return value


def _load_text(block: dict[str, Any], path: str) -> Text:
    text = _string(block, "text", path)
    if len(block) == 2 and text:
        return Text(text=text)
    kept = difference(block, {"type": "text", "text": text})
    if not text:
        kept["$empty"] = True
    return Text(text=text, extra=own(kept))


def _load_thinking(block: dict[str, Any], path: str) -> Reasoning:
    text = _string(block, "thinking", path)
    signature = block.get("signature")
    if type(signature) is str and signature.startswith(_MARK):
        return Reasoning(text=text, extra=_load_mark(signature))
    kept = difference(block, {"type": "thinking", "thinking": text})
    return Reasoning(text=text, extra=own(kept or {"$unsigned": True}))


def _load_redacted(block: dict[str, Any], path: str) -> Reasoning:
    data = block.get("data")
    if type(data) is str and data.startswith(_MARK):
        extra = _load_mark(data)
        return Reasoning(extra=own({"$carries": extra}) if extra else {})
    return Reasoning(extra=own({"$type": "redacted_thinking", **difference(block, {"type": "redacted_thinking"})}))


def _load_call(block: dict[str, Any], path: str) -> ToolCall:
    call_id, name, arguments = _string(block, "id", path), _string(block, "name", path), block.get("input")
    if type(arguments) is not dict:
        raise Malformed(f"{path}.input", "must be an object")
    said = {"type": "tool_use", "id": wire_id(call_id), "name": fit_name(name, NAME_LIMIT), "input": arguments}
    return ToolCall(id=call_id, name=name, arguments=encode(arguments).decode(), extra=own(difference(block, said)))


def _load_result(block: dict[str, Any], path: str) -> ToolResult:
    call_id, is_error, content = _string(block, "tool_use_id", path), block.get("is_error"), block.get("content")
    if is_error is not None and type(is_error) is not bool:
        raise Malformed(f"{path}.is_error", "must be true or false")
    kept: dict[str, Any] = {}
    parts: list[Text | Media | Opaque] = []
    said: dict[str, Any] = {"type": "tool_result", "tool_use_id": wire_id(call_id)}
    if is_error:
        said["is_error"] = True
    if type(content) is str:
        parts = [Text(text=content, extra={} if content else own({"$empty": True}))]
        kept["$content"] = "string"
        said["content"] = content
    elif type(content) is list:
        for at, each in enumerate(content):
            part = load_block(each, f"{path}.content.{at}")
            parts.append(part if isinstance(part, Text | Media | Opaque) else Opaque(dialect=NAME, data=each))
        if content:
            said["content"] = content
    elif content is not None:
        raise Malformed(f"{path}.content", "must be a string or a list of blocks")
    return ToolResult(call_id=call_id, parts=tuple(parts), is_error=bool(is_error), extra=own(kept | difference(block, said)))


def _load_media(block: dict[str, Any], path: str) -> Media | Opaque:
    source = block.get("source")
    kind = block["type"]
    if type(source) is not dict:
        raise Malformed(f"{path}.source", "must be an object")
    title = block.get("title")
    fields: dict[str, Any] = {"kind": kind, "name": title if kind == "document" and type(title) is str else None}
    notes: dict[str, Any] = {}
    media_type, data = source.get("media_type"), source.get("data")
    media_type = media_type if type(media_type) is str else None
    match source.get("type"):
        case "base64" if media_type in (IMAGE_TYPES if kind == "image" else ("application/pdf",)) and type(data) is str:
            fields |= {"media_type": media_type, "data": data}
        case "text" if kind == "document" and type(data) is str:
            fields |= {"media_type": "text/plain", "text": data}
        case "url" if type(source.get("url")) is str and not source["url"].startswith("data:"):
            fields["url"] = source["url"]
        case "file" if type(source.get("file_id")) is str:
            fields["file_id"] = source["file_id"]
            notes["$file"] = True
        case _:  # blocks as a document's content, kinds of files that no other dialect would take either
            return Opaque(dialect=NAME, data=block)
    return Media(**fields, extra=own(difference(block, dump_media(Media(**fields), path)) | notes))


_LOADERS: dict[str, Callable[[dict[str, Any], str], Part]] = {
    "text": _load_text,
    "thinking": _load_thinking,
    "redacted_thinking": _load_redacted,
    "tool_use": _load_call,
    "tool_result": _load_result,
    "image": _load_media,
    "document": _load_media,
}


def load_block(block: Any, path: str) -> Part:
    """Read one content block; raises `Malformed` with the path of what is wrong."""
    if type(block) is not dict:
        raise Malformed(path, "must be an object")
    kind = block.get("type")
    if type(kind) is not str:
        raise Malformed(f"{path}.type", "must be a string")
    loader = _LOADERS.get(kind)
    return loader(block, path) if loader else Opaque(dialect=NAME, data=block)


# --- From parts to blocks --------------------------------------------------------------------------------------------


def dump_text(part: Text) -> dict[str, Any]:
    """Write a text block."""
    block: dict[str, Any] = {"type": "text", "text": part.text}
    return overlay(block, part.extra.get(NAME)) if part.extra else block


def is_foreign(part: Reasoning) -> bool:
    """Whether reasoning is not Anthropic's own, and Anthropic would not take it back."""
    kept = part.extra.get(NAME)
    return kept is None or str(kept.get("signature", "")).startswith(_MARK)


def dump_reasoning(part: Reasoning) -> dict[str, Any]:
    """Write a thinking block; one of another origin gets Podium's mark as its signature."""
    kept = part.extra.get(NAME)
    if kept is None:
        return {"type": "thinking", "thinking": part.text, "signature": dump_mark(part.extra)}
    if kept.get("$type") == "redacted_thinking":
        return overlay({"type": "redacted_thinking"}, kept)
    return overlay({"type": "thinking", "thinking": part.text}, kept)


def carry(part: ToolCall) -> dict[str, Any] | None:
    """Return the block, if one is needed, that goes before a call and brings back what other dialects said of it."""
    told = {
        dialect: spoken for dialect, members in part.extra.items() if dialect != NAME and (spoken := spoken_members(members))
    }
    return {"type": "redacted_thinking", "data": dump_mark({"call": {"id": wire_id(part.id)}, **told})} if told else None


def take_carried(parts: list[Part]) -> list[Part]:
    """Give the calls among a message's parts back what `carry` took, and take its blocks out."""
    carried: dict[str, Extra] = {}
    left: list[Part] = []
    for part in parts:
        told = part.extra.get(NAME, {}).get("$carries") if isinstance(part, Reasoning) else None
        if told is None:
            left.append(part)
        else:
            carried[str(told.get("call", {}).get("id"))] = {key: value for key, value in told.items() if key != "call"}
    if not carried:
        return parts
    return [
        part.replace(extra={**extra, **part.extra}) if isinstance(part, ToolCall) and (extra := carried.get(part.id)) else part
        for part in left
    ]


def dump_mark(extra: Extra) -> str:
    """Write the extra of reasoning that is not Anthropic's as a signature that only Podium reads."""
    return _MARK + base64.urlsafe_b64encode(encode(extra, order="sorted")).decode()


def _load_mark(signature: str) -> Extra:
    try:
        extra = msgspec.json.decode(base64.urlsafe_b64decode(signature[len(_MARK) :].encode()), type=Extra)
    except (ValueError, RecursionError):  # cut or altered on its way: the text is all that is left
        return {}
    extra.pop(NAME, None)
    return extra


def dump_call(part: ToolCall, path: str) -> dict[str, Any]:
    """Write a tool_use block; raises `UnrepresentableError` where the arguments are no JSON object."""
    arguments: Any = {}
    if part.arguments and not part.arguments.isspace():
        try:
            arguments = decode(part.arguments)
        except (ValueError, RecursionError):
            arguments = None
    if type(arguments) is not dict:
        raise UnrepresentableError(
            f"The call of the tool {part.name} has arguments that are not a JSON object, and Anthropic takes nothing else.",
            param=f"{path}.arguments",
            hint="Leave the call out, or mend its arguments.",
        )
    block = {"type": "tool_use", "id": wire_id(part.id), "name": fit_name(part.name, NAME_LIMIT), "input": arguments}
    return overlay(block, part.extra.get(NAME)) if part.extra else block


def dump_opaque(part: Opaque, path: str) -> dict[str, Any]:
    """Write a block that only Anthropic knows; raises `UnrepresentableError` for one of another dialect."""
    if part.dialect != NAME:
        raise UnrepresentableError(
            f"The {part.data.get('type', 'part')!s} of {part.dialect} has no form in Anthropic's dialect.",
            param=path,
            hint=f"Leave it out, or ask a target that speaks {part.dialect}.",
        )
    return overlay(dict(part.data), part.extra.get(NAME)) if part.extra else part.data


def dump_media(part: Media, path: str) -> dict[str, Any]:
    """Write an image or document block; raises `UnrepresentableError` for what Anthropic cannot read."""
    block: dict[str, Any] = {"type": part.kind, "source": _source(part, path)}
    if part.kind == "document" and part.name is not None:
        block["title"] = part.name
    return overlay(block, part.extra.get(NAME)) if part.extra else block


def _source(part: Media, path: str) -> dict[str, Any]:
    kind, data, media_type = part.kind, part.data, part.media_type
    if kind in ("image", "document"):
        if part.url is not None and (found := _DATA_URL.match(part.url)):
            data, media_type = part.url[found.end() :], found["type"] or media_type
            if not found["base64"]:
                data = base64.b64encode(unquote_to_bytes(data)).decode()
        elif part.url is not None:
            return {"type": "url", "url": part.url}
        if part.file_id is not None and (not part.extra or NAME in part.extra):
            return {"type": "file", "file_id": part.file_id}
        if part.text is not None and kind == "document":
            return {"type": "text", "media_type": "text/plain", "data": part.text}
        if media_type is not None:
            media_type = _SAME_TYPES.get(media_type.lower(), media_type.lower())
        if data is not None and media_type in (IMAGE_TYPES if kind == "image" else ("application/pdf",)):
            return {"type": "base64", "media_type": media_type, "data": data}
        if data is not None and kind == "document" and (media_type or "").startswith("text/"):
            return {"type": "text", "media_type": "text/plain", "data": _plain(data, path)}
    what = "uploaded to another provider" if part.file_id is not None else f"of the type {media_type or 'unknown'}"
    raise UnrepresentableError(
        f"Anthropic reads no {kind} {what}.",
        param=path,
        hint="Send JPEG, PNG, GIF or WebP images, and documents as PDF or plain text.",
    )


def _plain(data: str, path: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError:
        raise UnrepresentableError(
            "A text document's data is not UTF-8 in base64.", param=path, hint="Give it as `text` instead."
        ) from None
