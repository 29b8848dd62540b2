"""Whatever a body says, it is answered or refused; nothing else happens."""

# The two bodies are read line by line.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.errors import PodiumError
from podium.sim import SimModel, rules_anthropic, rules_openai, script
from podium.sim.complaints import Complaint
from podium.types import Started
from podium.wire.codec import codec

_WORDS = "user assistant tool system text image image_url tool_use tool_result thinking function auto any enabled json_schema a"
WORDS = st.sampled_from(_WORDS.split())
LEAVES = st.none() | st.booleans() | st.integers(-2, 3000) | st.floats(allow_nan=False, width=16) | WORDS | st.text(max_size=3)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=8)

CHAT: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "https://a.b/c"}}]},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": {"type": "object", "properties": {}}}},
    "temperature": 1,
    "max_tokens": 20,
    "stop": ["x"],
    "n": 2,
    "stream": True,
    "stream_options": {"include_usage": True},
}  # fmt: skip
MESSAGE: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image", "source": {"type": "url", "url": "https://a.b"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "done"}]}]},
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}],
    "tool_choice": {"type": "tool", "name": "f"},
    "stop_sequences": ["x"],
    "max_tokens": 20,
    "stream": True,
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of everything inside a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [each for key, inner in inside for each in ((*path, key), *places(inner, (*path, key)))]


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy with the value at one path replaced, or dropped where it is `...`."""
    copy = msgspec.json.decode(msgspec.json.encode(document))
    place = copy
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copy


def answer(document: Any, dialect: str) -> None:
    try:
        if dialect == "anthropic":
            rules_anthropic.check(document)
        else:
            rules_openai.check(document, strict=True)
    except Complaint:
        return
    spoken = codec(dialect)
    refused: PodiumError | None = None
    try:
        asked = spoken.load_request(msgspec.json.encode(document))
    except PodiumError as error:
        refused = error
    if refused is not None:
        assert 400 <= spoken.dump_error(refused)[0] < 500
        return
    lines = script.write(asked, SimModel(), dialect=dialect, seed=0, started=Started(id="x", model=asked.model))
    events = [*(beat.event for beat in script.play(lines)), script.finished(lines)]
    writer = spoken.writer(asked)
    assert b"".join(map(writer.send, events))
    assert msgspec.json.decode(spoken.dump_response(script.respond(lines, dialect)))


@pytest.mark.parametrize(("document", "dialect"), [(CHAT, "openai_chat"), (MESSAGE, "anthropic")], ids=["chat", "message"])
def test_the_whole_body_is_answered(document: Any, dialect: str) -> None:
    if dialect == "anthropic":
        rules_anthropic.check(document)
    else:
        rules_openai.check(document, strict=True)
    answer(document, dialect)


@settings(max_examples=400)
@given(st.data())
@pytest.mark.parametrize(("document", "dialect"), [(CHAT, "openai_chat"), (MESSAGE, "anthropic")], ids=["chat", "message"])
def test_a_body_with_anything_anywhere_is_answered_or_refused(document: Any, dialect: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(document)))
        document = changed(document, path, data.draw(JSON | st.just(...)))
    answer(document, dialect)


@given(JSON)
@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
def test_any_json_is_answered_or_refused(dialect: str, document: Any) -> None:
    answer(document, dialect)
