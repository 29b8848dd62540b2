"""What other dialects need back, carried through a Chat client that does not know it.

Theory. A thought of Anthropic's has a signature, a call of Gemini's too, and both must come back with their part. A Chat client
gives back `reasoning_details` as they were, so that they hold it: an item of the format `podium`, whose `data` is JSON.

Rules.
- A thought is the items that say its text, then one item with its extra; so several thoughts stay apart, each with its own.
- The extra of a tool call names the call. What its dialect said by default is not carried.
- An opaque part of another dialect is carried whole.
- What does not come back is gone, and the text that came back is Chat's own.

https://openrouter.ai/docs/use-cases/reasoning-tokens
"""

from __future__ import annotations

from typing import Any

import msgspec

from podium.types import Extra, Opaque, Part, Reasoning, ToolCall, merge_extra
from podium.wire.documents import Malformed, dump_json, load_json
from podium.wire.losses import spoken_members
from podium.wire.openai_chat_parts import NAME

FORMAT = "podium"


def _item(data: Any) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "format": FORMAT, "data": dump_json(data).decode()}


def text_item(text: str) -> dict[str, Any]:
    """Return the item that says a thought's text."""
    return {"type": "reasoning.text", "text": text}


def carry(part: Part, extra: Extra | None = None) -> list[dict[str, Any]]:
    """Return the item, if one is needed, that brings a part back whole; `extra` stands in for the part's own."""
    if isinstance(part, Opaque):
        return [_item({"opaque": part})]
    extra = part.extra if extra is None else extra
    if not extra or (len(extra) == 1 and NAME in extra):
        return []
    if isinstance(part, ToolCall):
        told = {name: spoken for name, members in extra.items() if name != NAME and (spoken := spoken_members(members))}
        return [_item({"call": part.id, "extra": told})] if told else []
    foreign = {dialect: members for dialect, members in extra.items() if dialect != NAME and members}
    return [_item(foreign)] if foreign else []


class Carried:
    """What the items of `reasoning_details` bring back."""

    __slots__ = ("calls", "others", "parts", "texts")

    def __init__(self, items: list[Any]) -> None:
        self.parts: list[Part] = []
        """Thoughts and opaque parts of other dialects, whole."""
        self.calls: dict[str, Extra] = {}
        """The extras of tool calls, by the calls' ids."""
        self.others: list[Any] = []
        """Items of no thought that is brought back: they are the provider's own."""
        self.texts: list[str] = []
        """The texts since the last thought."""
        waiting: list[Any] = []
        for item in items:
            found = _load(item)
            if found is None:
                waiting.append(item)
                if isinstance(item, dict) and item.get("type") == "reasoning.text" and isinstance(item.get("text"), str):
                    self.texts.append(item["text"])
            elif isinstance(found, Opaque):
                self.parts.append(found)
            elif isinstance(found, tuple):
                self.calls[found[0]] = merge_extra(self.calls.get(found[0], {}), found[1])
            else:
                self.parts.append(Reasoning(text="".join(self.texts), extra=found))
                self.others += [each for each in waiting if not (isinstance(each, dict) and each.keys() <= _TEXT)]
                self.texts, waiting = [], []
        self.others += waiting

    def give(self, parts: list[Part]) -> None:
        """Give the calls among the parts their extras back."""
        for at, part in enumerate(parts):
            if isinstance(part, ToolCall) and (extra := self.calls.get(part.id)):
                parts[at] = part.replace(extra=merge_extra(part.extra, extra))


_TEXT = frozenset({"type", "text", "index"})


def _load(item: Any) -> Extra | Opaque | tuple[str, Extra] | None:
    """Read one item; None where it is none of Podium's."""
    if not isinstance(item, dict) or item.get("format") != FORMAT or not isinstance(item.get("data"), str):
        return None
    try:
        data = load_json(item["data"].encode("utf-8", "replace"))
        if isinstance(data, dict) and "opaque" in data:
            return msgspec.convert(data["opaque"], Opaque)
        if isinstance(data, dict) and isinstance(data.get("call"), str):
            return data["call"], msgspec.convert(data.get("extra"), Extra)
        return msgspec.convert(data, Extra)
    except (Malformed, msgspec.ValidationError, RecursionError):
        return None
