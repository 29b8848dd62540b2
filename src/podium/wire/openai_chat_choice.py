"""One choice of a streamed OpenAI Chat answer: its deltas become parts that begin, grow and end.

Theory. A delta names fields, not parts. A part is open as long as deltas name its field; a delta for another field ends it and
begins the next. Tool calls are the hard case, since their fragments may lack an index, an id or a name, and may interleave,
while the parts of one choice must not overlap.

Rules.
- A call ends when another begins and its arguments are a whole JSON object. Until then the other call waits, and its
  fragments with it. A call without a name waits for its name.
- What no part can hold (padding, unknown members) goes with the next event of its delta, or into an empty `PartDelta`, or is
  kept for the end of the choice. Nulls are not kept.
- Content that begins with `<think>` is reasoning up to `</think>`.
"""

from __future__ import annotations

from typing import Any

from podium.types import (
    Event,
    Extra,
    Finish,
    Media,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    merge_extra,
)
from podium.wire.documents import Malformed, kind_of, want_dict, want_list, want_str
from podium.wire.openai_chat_answer import details_text
from podium.wire.openai_chat_calls import Call, Calls
from podium.wire.openai_chat_parts import (
    END_THINK,
    NAME,
    REASONING_FIELDS,
    THINK,
    kept,
    load_content_part,
    load_thinking,
    noted,
)
from podium.wire.openai_chat_response import load_finish, made_call_id

_KNOWN = frozenset(
    {"role", "content", "refusal", "tool_calls", "function_call", "audio", "images", "reasoning_details", *REASONING_FIELDS}
)
_CHOICE = frozenset({"index", "delta", "finish_reason", "logprobs", "message"})


class ChoiceReader:
    """Reads the deltas of one choice: `take` each, then `finish`."""

    __slots__ = (
        *("_answer_id", "_begun", "_call", "_calls", "_count", "_end", "_field", "_held", "_index"),
        *("_notes", "_out", "_own", "_thinking", "word"),
    )

    def __init__(self, index: int, answer_id: str) -> None:
        self._index = index
        self._answer_id = answer_id
        self._out: list[Event] = []
        self._own: dict[str, Any] = {}  # what goes with the next event
        self._begun = False
        self._count = 0
        self._field: Any = None  # the field of the open part, None where no part is open
        self._held = ""  # content that may yet turn out to be a tag
        self._thinking = "unknown"  # unknown, inside or done: where content stands to <think>
        self._call: Call | None = None  # the open call
        self._calls = Calls()
        self._notes: list[dict[str, Any]] = []
        self._end: dict[str, Any] = {}
        self.word: str | None = None
        """The provider's finish reason, once it has come."""

    def take(self, choice: dict[str, Any], own: dict[str, Any], out: list[Event]) -> None:
        """Read one delta; `own` is what the chunk says beyond it.

        Raises `Malformed`.
        """
        delta = choice.get("delta")
        if delta is None:
            delta = choice.get("message") or {}
        if not isinstance(delta, dict):
            raise Malformed("choices.delta", f"is {kind_of(delta)}, not an object")
        content = delta.get("content")
        if (
            not own
            and self._field == "content"
            and content
            and len(delta) == 1
            and isinstance(content, str)
            and choice.keys() <= _CHOICE
            and choice.get("finish_reason") is None
            and choice.get("logprobs") is None
            and "message" not in choice
        ):
            out.append(PartDelta(index=self._count - 1, text=content, choice=self._index))
            return
        self._out = out
        self._own = own
        said = len(out)
        word = choice.get("finish_reason")
        self._take_members(choice, delta, ended=word is not None)
        self._take_reasoning(delta)
        if content:
            self._take_content(content)
        elif content is not None and content != "" and content != []:
            raise Malformed("choices.delta.content", f"is {kind_of(content)}, not a string or a list")
        if len(delta) > 1 or "content" not in delta:
            self._take_rest(delta)
        if word is not None:
            self._take_end(choice, word)
        if self._begun and len(out) == said and word is None and not self._own and "role" in delta and not self._held:
            self._own = {"$delta": {"role": delta["role"]}}
        self._begun = True
        if self._own:
            self._keep()

    def _take_members(self, choice: dict[str, Any], delta: dict[str, Any], *, ended: bool) -> None:
        """Set aside what the delta and its choice say beyond the known fields."""
        for key, value in choice.items():
            if key in _CHOICE or value is None:
                continue
            if ended and self._end.get(key, value) == value:
                self._end[key] = value
            else:
                self._own.setdefault("$choice", {})[key] = value
        if (logprobs := choice.get("logprobs")) is not None:
            self._own["$logprobs"] = logprobs
        if isinstance(choice.get("delta"), dict) and choice.get("message") is not None:
            self._own.setdefault("$choice", {})["message"] = choice["message"]
        for key, value in delta.items():
            if key not in _KNOWN and value is not None:
                self._own.setdefault("$delta", {})[key] = value
        if (role := delta.get("role")) is not None and role != "assistant":
            self._own.setdefault("$delta", {})["role"] = role

    # --- Parts that are text -----------------------------------------------------------------------------------------

    def _open(self, field: Any, shell: Part) -> None:
        self._close()
        self._field = field
        self._out.append(PartStart(index=self._count, part=shell, choice=self._index))
        self._count += 1

    def _close(self, extra: Extra | None = None) -> None:
        """End the open part, and any call that waits behind it."""
        if self._field == "tags" and extra is None:
            extra = {NAME: {"$tags": [""]}}
        self._end_part(extra or {})
        while self._calls.waiting:
            self._open_call(self._calls.waiting.pop(0))
            self._end_part({})

    def _end_part(self, extra: Extra) -> None:
        if self._field is None:
            return
        if self._field == "tags":
            self._thinking = "done"
        if self._call is not None:
            self._call.closed = True
            self._call = None
        self._field = None
        self._out.append(PartEnd(index=self._count - 1, choice=self._index, extra=extra))

    def _grow(self, field: Any, shell: Part, text: str, extra: dict[str, Any] | None = None) -> None:
        """Add to the part of a field, which is begun if it is not the open one."""
        if self._field != field:
            self._open(field, shell)
        if extra:
            self._own |= extra
        self._out.append(PartDelta(index=self._count - 1, text=text, choice=self._index, extra=kept(self._own)))
        self._own = {}

    def _keep(self) -> None:
        """Keep what is left of a delta: with the open part, or for the end of the choice."""
        if self._field is not None:
            self._out.append(PartDelta(index=self._count - 1, choice=self._index, extra=kept(self._own)))
        else:
            self._notes.append(self._own)
        self._own = {}

    def _take_reasoning(self, delta: dict[str, Any]) -> None:
        fields: list[str] = []
        text = ""
        for field in REASONING_FIELDS:
            value = delta.get(field)
            if isinstance(value, str) and (not value or value == text or not text):
                if value:
                    fields.append(field)
                    text = value
            elif value is not None:
                self._own.setdefault("$delta", {})[field] = value
        details = delta.get("reasoning_details")
        extra: dict[str, Any] = {}
        if details:
            extra["$details"] = want_list(details, "choices.delta.reasoning_details")
            text = text if fields else details_text(extra["$details"])
        if not text and not extra:
            return
        if not fields and isinstance(self._field, tuple):
            fields = list(self._field)
        self._release()
        if self._thinking == "unknown":
            self._thinking = "done"  # a provider that takes reasoning apart leaves no tags in the content
        self._grow(tuple(fields), Reasoning(extra={NAME: {"$fields": fields}}), text, extra)

    def _take_content(self, content: Any) -> None:
        if isinstance(content, str):
            if self._thinking == "done":
                self._grow("content", Text(text=""), content)
            else:
                self._take_tagged(content)
        else:
            self._release()
            for at, item in enumerate(want_list(content, "choices.delta.content")):
                self._take_item(item, f"choices.delta.content[{at}]")

    def _take_item(self, item: Any, path: str) -> None:
        """Read one item of a content list (Mistral)."""
        if isinstance(item, dict) and item.get("type") == "thinking":
            thought = load_thinking(item)
            own = dict(noted(thought.extra))
            written = own.pop("$thinking")
            if written != "list":
                own["$items"] = [written]
            self._grow("thinking", Reasoning(extra={NAME: {"$thinking": "list"}}), thought.text, own)
            return
        part = load_content_part(item, path)
        if isinstance(part, Text):
            self._grow("content", Text(text=""), part.text, noted(part.extra))
        else:
            self._open("item", part)
            self._close()

    def _take_tagged(self, content: str) -> None:
        """Read content at whose beginning a <think> tag may stand, or that is inside of one."""
        self._held += content
        if self._thinking == "unknown":
            if begun := THINK.match(self._held):
                self._thinking = "inside"
                self._held = self._held[begun.end() :]
                self._open("tags", Reasoning(extra={NAME: {"$tags": [begun.group()]}}))
            elif not "<think>".startswith(self._held.lstrip()):
                self._thinking = "done"
                self._release()
                return
            else:
                return
        text, end, rest = self._held.partition(END_THINK)
        if end:
            self._thinking = "done"
            self._held = ""
            if text:
                self._grow("tags", Reasoning(), text)
            self._close({NAME: {"$tags": [END_THINK]}})
            if rest:
                self._grow("content", Text(text=""), rest)
            return
        self._held = ""
        self._hold_back(text)

    def _hold_back(self, text: str) -> None:
        """Say the text inside the tags, but for an ending that may be the beginning of `</think>`."""
        for length in range(min(len(END_THINK) - 1, len(text)), 0, -1):
            if text.endswith(END_THINK[:length]):
                self._held = text[-length:]
                text = text[:-length]
                break
        if text:
            self._grow("tags", Reasoning(), text)

    def _release(self) -> None:
        """Say what was held back."""
        held, self._held = self._held, ""
        if held:
            self._grow("tags" if self._thinking == "inside" else "content", Text(text=""), held)

    # --- Other fields ------------------------------------------------------------------------------------------------

    def _take_rest(self, delta: dict[str, Any]) -> None:
        if refusal := delta.get("refusal"):
            self._release()
            self._grow("refusal", Refusal(), want_str(refusal, "choices.delta.refusal"))
        if images := delta.get("images"):
            for at, image in enumerate(want_list(images, "choices.delta.images")):
                part = load_content_part(image, f"choices.delta.images[{at}]")
                self._open("item", part.replace(extra=kept({**noted(part.extra), "$images": True})))
                self._close()
        if audio := delta.get("audio"):
            self._release()
            fragment = want_dict(audio, "choices.delta.audio")
            self._grow("audio", Media(kind="audio", data=""), "", {"$audio": [fragment]})
        if calls := delta.get("tool_calls"):
            self._release()
            for at, fragment in enumerate(want_list(calls, "choices.delta.tool_calls")):
                self._grow_call(*self._calls.take(want_dict(fragment, f"choices.delta.tool_calls[{at}]"), self._call))
        if call := delta.get("function_call"):
            self._release()
            fragment = want_dict(call, "choices.delta.function_call")
            self._grow_call(*self._calls.take({"index": -1, "function": fragment}, self._call, legacy=True))

    # --- Tool calls --------------------------------------------------------------------------------------------------

    def _grow_call(self, call: Call, text: str, own: dict[str, Any]) -> None:
        if call.closed:
            if text.strip():
                raise Malformed("choices.delta.tool_calls", f"goes on with the call {call.id!r} after its arguments were whole")
            self._own |= own
            return
        if text:
            call.texts.append(text)
        if call is self._call:
            if text or own:
                self._grow("call", Text(text=""), text, own)
        else:
            call.extra = merge_extra(call.extra, own)
        while self._calls.waiting and self._may_open(self._calls.waiting[0]):
            self._end_part({})
            self._open_call(self._calls.waiting.pop(0))

    def _may_open(self, call: Call) -> bool:
        if call.opaque is not None or not call.name:
            return False
        return self._call is None or self._call.whole()

    def _open_call(self, call: Call) -> None:
        made = call.id or made_call_id(self._answer_id, self._index, self._calls.all.index(call))
        self._call = call
        self._field = "call"
        if call.opaque is not None:
            part: Part = Opaque(dialect=NAME, data=call.opaque, extra={NAME: {"$call": True}})
        else:
            part = ToolCall(id=made, name=call.name, extra=kept(call.extra))
        self._out.append(PartStart(index=self._count, part=part, choice=self._index))
        self._count += 1
        if call.opaque is None and (call.texts or self._own):
            self._grow("call", part, "".join(call.texts))

    # --- The end -----------------------------------------------------------------------------------------------------

    def _take_end(self, choice: dict[str, Any], word: Any) -> None:
        self._release()
        if not isinstance(word, str):
            raise Malformed("choices.finish_reason", f"is {kind_of(word)}, not a string")
        if self.word is None:
            self.word = word
        elif self.word != word:
            self._own.setdefault("$choice", {})["finish_reason"] = word
        if self._own:
            self._keep()
        self._close()

    def unsaid(self) -> dict[str, Any]:
        """Return what no event has said yet, for an answer that breaks off."""
        said = {"index": self._index, "finish_reason": self.word, **self._end, "chunks": self._notes, "content": self._held}
        waiting = [{"id": call.id, "name": call.name, "texts": call.texts, **call.extra} for call in self._calls.waiting]
        return {key: value for key, value in (said | {"tool_calls": waiting}).items() if value not in (None, [], "")}

    def finish(self, out: list[Event]) -> Finish:
        """End the open part and say how the choice ended.

        Raises `Overloaded` where it ended in an error.
        """
        self._out = out
        self._release()
        self._close()
        own = dict(self._end)
        if self._notes:
            own["$chunks"] = self._notes
        choice = {"index": self._index, "finish_reason": self.word, "stop_reason": self._end.get("stop_reason")}
        return load_finish(choice, own, self._index, called=bool(self._calls.all))
