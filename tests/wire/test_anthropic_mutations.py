"""Recordings with a place or two changed at random: what is read is still written as it was, or refused in Podium's words."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from leaves import read_stream
from podium.errors import PodiumError, RequestError
from podium.types import Failed, Finished, Profile, fold
from podium.wire.anthropic import CODEC
from recordings import Recording, each_recording

_VALUES: tuple[Any, ...] = (None, True, 0, -1, 1.5, "", "x", [], {}, [1], {"type": "text"}, [{}], {"$x": 1}, "tool_use")
_KEYS = ("type", "$content", "$apart", "cache_control", "citations", "content", "index", "usage", "title")
_ADAPTED = Profile(thinking="adaptive", max_output=100, refuses=frozenset({"temperature"}), inline_system=True)


def _is_ours(recording: Recording) -> bool:
    return recording.provider == "anthropic" and not any(each in recording.id for each in ("count-tokens", "pause-turn"))


def _mutate(document: Any, draw: random.Random) -> Any:
    document = copy.deepcopy(document)
    places: list[Any] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict | list) and node:
            places.append(node)
            for each in node.values() if isinstance(node, dict) else node:
                walk(each)

    walk(document)
    for place in draw.sample(places, min(len(places), draw.choice((1, 2)))):
        value = copy.deepcopy(draw.choice(_VALUES))
        match draw.randrange(3), place:
            case 0, dict():
                place.pop(draw.choice([*place, "type"]), None)
            case 1, dict():
                place[draw.choice(_KEYS)] = value
            case 2, dict():
                place[draw.choice([*place, "type"])] = value
            case 0, list():
                place.append(copy.deepcopy(draw.choice([*place, value])))
            case _, list():
                place[draw.randrange(len(place))] = value
    return document


@each_recording(lambda each: _is_ours(each) and each.request is not None)
def test_a_changed_request_is_dumped_as_it_was_or_refused(recording: Recording) -> None:
    draw = random.Random(recording.id)
    taken = 0
    for _ in range(60):
        body = _mutate(json.loads(recording.request or b""), draw)
        try:
            request = CODEC.load_request(json.dumps(body).encode())
        except RequestError:
            continue
        taken += 1
        assert json.loads(CODEC.dump_request(request).body) == body
        for changed in (request, request.replace(extra={})):
            try:
                CODEC.dump_request(changed, _ADAPTED)
            except PodiumError:
                continue
    assert taken


@each_recording(lambda each: _is_ours(each) and each.response is not None and each.status == 200)
def test_a_changed_answer_is_dumped_as_it_was_or_refused(recording: Recording) -> None:
    draw = random.Random(recording.id)
    for _ in range(60):
        body = _mutate(json.loads(recording.response or b""), draw)
        try:
            answer = fold(CODEC.load_response(json.dumps(body).encode()))
        except PodiumError:
            continue
        again = json.loads(CODEC.dump_response(answer))
        if "usage" not in body:
            del again["usage"]
        assert again == body


@each_recording(lambda each: _is_ours(each) and each.stream is not None)
def test_a_changed_stream_ends_once_and_is_written_with_the_same_content(recording: Recording) -> None:
    draw = random.Random(recording.id)
    for _ in range(30):
        lines = (recording.stream or b"").splitlines()
        at = draw.choice([at for at, line in enumerate(lines) if line.startswith(b"data: ")])
        lines[at] = b"data: " + json.dumps(_mutate(json.loads(lines[at][6:]), draw)).encode()
        events = read_stream(CODEC.reader(), [b"\n".join(lines)])
        assert [isinstance(event, Failed | Finished) for event in events].count(True) == 1
        writer = CODEC.writer(CODEC.load_request(b'{"model":"m","max_tokens":1,"messages":[]}'))
        again = read_stream(CODEC.reader(), [b"".join(writer.send(event) for event in events)])
        assert type(again[-1]) is type(events[-1])
        if isinstance(events[-1], Finished):
            first, second = fold(events), fold(again)
            assert (first.text, first.reasoning) == (second.text, second.reasoning)
            assert [call.arguments for call in first.tool_calls] == [call.arguments for call in second.tool_calls]
