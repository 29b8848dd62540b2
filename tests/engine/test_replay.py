"""What is on record is asked again as it was, or not at all, with the reason."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from making import Make
from podium.engine.replay import Past, load_past, replay
from podium.engine.text import load_request
from podium.errors import SpecError
from podium.ledger import REPLAY_TAG, Recording
from podium.sim import Sim
from podium.types import Choice, Finish, Media, Message, Opaque, Request, Response, Text

ANSWER = Response(choices=(Choice(parts=(Text(text="Paris"),), finish=Finish(reason="stop")),))


def recording(asked: Request | None = None, **facts: Any) -> Recording:
    asked = asked or load_request("gpt-4", {"prompt": "What is the capital of France?"}, stream=True)
    made: dict[str, Any] = {
        "request_id": "r-1", "requested_at": 1_772_366_400.0, "spec": "gpt-4", "user_id": "jane", "team": None,
        "rollout": "chat", "arm": "legacy", "outcome": "ok", "duration_s": 1.5, "target": "openai/gpt-4",
        "cost_pico": 3_000_000_000, "input_tokens": 9, "output_tokens": 1, "hashed": False,
        "request": msgspec.json.encode(asked),
        "response": msgspec.json.encode(ANSWER), "is_cut": False,
    }  # fmt: skip
    return Recording(**{**made, **facts})


def past(of: Recording) -> Past:
    loaded = load_past(of)
    assert isinstance(loaded, Past)
    return loaded


async def test_the_old_side_is_what_is_on_record_and_the_new_one_is_asked(make: Make, sim: Sim) -> None:
    found = await replay(make(), "groq/llama-3.1-8b-instant", past(recording()))
    assert (found.same, found.old.recorded, found.new.recorded) == (True, True, False)
    assert (found.old.duration_s, str(found.old.cost_usd), found.old.target) == (1.5, "0.003000000000", "openai/gpt-4")
    assert (found.old.request_id, found.old.input_tokens, found.old.output_tokens) == ("r-1", 9, 1)
    assert found.new.target == "groq/llama-3.1-8b-instant"
    assert sim.stats.requests == 1


def test_it_is_asked_for_nobody_not_streamed_and_with_a_tag() -> None:
    request = load_request(
        "gpt-4", {"prompt": "x", "metadata": {"team": "search", "tags": ["a"], "conversation": "c"}}, stream=True
    )
    asked = past(recording(request)).request
    assert (asked.stream, asked.metadata) == (False, {"tags": [REPLAY_TAG]})
    assert asked.messages == request.messages


async def test_what_failed_then_is_a_failure_and_what_fails_now_is_a_result(make: Make, sim: Sim) -> None:
    sim.set("groq/llama-3.1-8b-instant", status=400)
    found = await replay(make(), "groq/llama-3.1-8b-instant", past(recording(outcome="overloaded", response=None)))
    assert (found.same, found.old.ok, found.old.error_code, found.new.ok) == (None, False, "overloaded", False)
    assert found.new.error_code == "provider_invalid_request"
    with pytest.raises(SpecError, match="groq"):
        await replay(make(), "grq/llama", past(recording()))


IMAGE = Message(role="user", parts=(Media(kind="image", file_id="file-1"),))
WEB = Opaque(dialect="anthropic", data={"type": "web_search"})


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"request": None}, "not_kept"),
        ({"response": None}, "not_kept"),
        ({"request": None, "hashed": True}, "hashed"),
        ({"request": None, "is_cut": True}, "cut"),
        ({"request": b'{"model": "gpt-4"'}, "unreadable"),
        ({"request": b'{"model": "gpt-4", "prompts": 3}'}, "unreadable"),
        ({"response": b"{}"}, "unreadable"),
        ({"request": msgspec.json.encode(Request(model="gpt-4", messages=(IMAGE,)))}, "provider_state"),
        ({"request": msgspec.json.encode(Request(model="gpt-4", messages=(), tools=(WEB,)))}, "provider_tools"),
    ],
)
def test_what_cannot_be_asked_again_says_why(facts: dict[str, Any], why: str) -> None:
    assert load_past(recording(**facts)) == why
