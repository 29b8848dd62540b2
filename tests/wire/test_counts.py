"""Counts of tokens as odd providers write them: every dialect reads the same of the same, streamed or whole."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from podium.ledger import pico_usd, schema
from podium.types import Usage, fold
from podium.wire.codec import codec
from podium.wire.documents import MOST_TOKENS

ODD: list[tuple[Any, int]] = [
    (12, 12),
    (12.0, 12),
    (0, 0),
    (-0.0, 0),
    (None, 0),
    (-5, 0),
    ("12", 0),
    (True, 0),
    ([12], 0),
    ({"n": 12}, 0),
    (1e300, 0),
    (MOST_TOKENS, MOST_TOKENS),
    (MOST_TOKENS + 1, 0),
    (2**70, 0),
]
"""(what is written, what is counted)."""


def openai(usage: dict[str, Any], *, streamed: bool) -> Usage | None:
    envelope = {"id": "c", "model": "m", "created": 1}
    if not streamed:
        choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
        return read("openai_chat", {**envelope, "object": "chat.completion", "choices": [choice], "usage": usage})
    choice = {"index": 0, "delta": {"content": "Hi."}, "finish_reason": "stop"}
    return read_stream("openai_chat", {**envelope, "choices": [choice]}, {**envelope, "choices": [], "usage": usage}, "[DONE]")


def anthropic(usage: dict[str, Any], *, streamed: bool) -> Usage | None:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    if not streamed:
        return read("anthropic", {**message, "stop_reason": "end_turn", "usage": usage})
    begun = {**message, "stop_reason": None, "usage": {"input_tokens": 3, "output_tokens": 1}}
    return read_stream(
        "anthropic",
        {"type": "message_start", "message": begun},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    )


def read(dialect: str, body: dict[str, Any]) -> Usage | None:
    return fold(codec(dialect).load_response(json.dumps(body).encode())).usage


def read_stream(dialect: str, *events: dict[str, Any] | str) -> Usage | None:
    reader = codec(dialect).reader()
    lines = []
    for event in events:
        name = f"event: {event['type']}\n" if isinstance(event, dict) and "type" in event else ""
        lines.append(f"{name}data: {event if isinstance(event, str) else json.dumps(event)}\n\n")
    read = reader.feed("".join(lines).encode())
    return fold([*read, *reader.close()]).usage


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("said", "counted"), ODD, ids=[repr(said)[:20] for said, _ in ODD])
def test_a_count_is_a_number_that_can_be_true_and_else_0(said: Any, counted: int, streamed: bool) -> None:
    told = openai({"prompt_tokens": said, "completion_tokens": said}, streamed=streamed)
    assert told is not None
    assert (told.input, told.output, told.total) == (counted, counted, 2 * counted)
    told = anthropic({"input_tokens": said or 0, "output_tokens": said}, streamed=streamed)
    assert told is not None
    assert (told.input, told.total_output) == (counted, counted if said is not None or not streamed else 1)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("said", "counted"), ODD, ids=[repr(said)[:20] for said, _ in ODD])
def test_parts_never_make_more_than_their_whole(said: Any, counted: int, streamed: bool) -> None:
    inside = {"cached_tokens": said, "cache_write_tokens": said, "audio_tokens": said}
    outside = {"reasoning_tokens": said, "audio_tokens": said}
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 15,
        "prompt_tokens_details": inside,
        "completion_tokens_details": outside,
    }
    told = openai(usage, streamed=streamed)
    assert told is not None
    assert (told.total_input, told.total_output) == (20, 15)
    assert (told.cache_read, told.reasoning) == (min(counted, 20), min(counted, 15))


def test_the_totals_at_the_end_of_anthropics_stream_count_also_where_they_are_lower() -> None:
    told = anthropic({"input_tokens": 2, "output_tokens": 1, "cache_read_input_tokens": None}, streamed=True)
    assert told is not None
    assert (told.input, told.output, told.cache_read) == (2, 1, 0)


def test_the_largest_count_that_is_read_is_the_largest_that_is_kept() -> None:
    assert MOST_TOKENS == schema.MOST_TOKENS


@pytest.mark.parametrize(
    ("said", "usd"),
    [
        ({"cost": 0.00125}, "0.00125"),
        ({"cost": 1e-13}, "1E-13"),
        ({"cost": 4_500_000}, "4500000"),
        ({"cost": 4_500_001}, None),
        ({"cost": -0.1}, None),
        ({"cost": "0.1"}, None),
        ({"cost": True}, None),
        ({"cost": None, "cost_in_usd_ticks": 37_756_000}, "0.0037756000"),
        ({"cost_in_usd_ticks": 2**62}, None),
        ({"cost_in_usd_ticks": 1.5}, None),
        ({"cost": 4_500_000, "is_byok": True, "cost_details": {"upstream_inference_cost": 4_500_000}}, "9000000"),
        ({"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 1e30}}, None),
    ],
)
def test_a_cost_that_is_read_can_be_kept(said: dict[str, Any], usd: str | None) -> None:
    told = openai({"prompt_tokens": 1, "completion_tokens": 1, **said}, streamed=False)
    assert told is not None
    assert told.reported_cost_usd == (None if usd is None else Decimal(usd))
    assert (pico_usd(told.reported_cost_usd) is None) is (usd is None)
