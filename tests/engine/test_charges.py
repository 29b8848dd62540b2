"""What attempts are charged that did not end well, or were served otherwise than asked."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from making import Make
from podium import Models
from podium.engine.charges import context_of
from podium.errors import ProviderError, TimedOut
from podium.ledger import UsageRow
from podium.sim import Sim
from podium.types import Request, Response, Sampling, fold
from podium.wire.codec import codec

STORY = "Tell me a long story about ships."
CLAUDE = "anthropic/claude-sonnet-4-5"


def one_at_a_time() -> dict[str, Any]:
    return {
        "experiments": {"one": {"strategy": "first", "providers": ["openai/gpt-4o"]}},
        "defaults": {"experiment": "one", "maxConcurrent": 1},
    }


async def usage_of(models: Models) -> UsageRow:
    (row,) = await asyncio.to_thread(models.usage, by=())
    return row


async def leave_after_a_word(models: Models, spec: str, **ask: Any) -> UsageRow:
    async with models.stream_text(spec, **ask) as stream:
        async for _ in stream.text:
            break
    return await usage_of(models)


async def test_a_stream_left_early_is_charged_the_input_that_its_provider_told_at_the_beginning(make: Make, sim: Sim) -> None:
    sim.set("claude-sonnet-4-5", tokens_per_s=50)
    whole = await make().generate_text(CLAUDE, prompt=STORY, max_tokens=5)
    assert whole.usage is not None
    row = await leave_after_a_word(make(), CLAUDE, prompt=STORY)
    assert row.tokens.total_input == whole.usage.total_input
    assert row.tokens.output > 0


async def test_an_estimate_is_never_more_than_the_answer_was_allowed_to_be(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", answer="日本語のとても長い答え", break_after=1, fault_rate=1.0)
    with pytest.raises(ProviderError) as caught:
        await make().stream_text("openai/gpt-4o", prompt=STORY, max_tokens=1).result()
    used = [(attempt.estimated, attempt.usage and attempt.usage.output) for attempt in caught.value.attempts]
    assert (True, 1) in used
    assert all(output is not None and output <= 1 for _, output in used)


async def test_an_estimate_counts_tools_and_their_results_and_text_by_its_bytes(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", tokens_per_s=50)
    tools = [{"name": "look_up", "description": "w" * 4000, "parameters": {"type": "object", "properties": {}}}]
    messages = [
        {"role": "user", "content": "ü" * 2000},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "r" * 4000},
    ]
    row = await leave_after_a_word(make(), "openai/gpt-4o", messages=messages, tools=tools)
    assert 3000 <= row.tokens.input < 3200


async def test_a_loser_that_was_still_waiting_for_a_slot_is_charged_nothing(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", latency_s=0.5)
    tier = {"strategy": "race", "models": ["openai/gpt-4o", "groq/llama-3.1-8b-instant"], "auto": False}
    models = make(providers={"openai": {"max_concurrent": 1}}, tiers={"both": tier})
    busy = asyncio.create_task(models.generate_text("openai/gpt-4o", prompt=STORY))
    while not sim.stats.requests:  # noqa: ASYNC110  the sim has no event for this
        await asyncio.sleep(0.01)
    result = await models.generate_text("tier:both", prompt=STORY)
    loser, winner = result.attempts
    assert (loser.outcome, loser.usage, loser.estimated, loser.cost_usd) == ("lost", None, False, Decimal(0))
    assert result.cost_usd == winner.cost_usd
    await busy
    assert sim.stats.requests == 2


async def test_the_time_of_a_request_is_its_whole_time_also_where_it_waits_for_its_turn(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", latency_s=0.7)
    for limits in ({"users": {"jane": one_at_a_time()}}, {"teams": {"search": {"max_concurrent": 1}}}):
        models = make(**limits)
        spec, metadata = ("user:jane", {}) if "users" in limits else ("openai/gpt-4o", {"team": "search"})
        asked = sim.stats.requests
        busy = asyncio.create_task(models.generate_text(spec, prompt=STORY, metadata=metadata))
        while sim.stats.requests == asked:  # noqa: ASYNC110  as above
            await asyncio.sleep(0.01)
        with pytest.raises(TimedOut, match=r"given 0\.2 s, and waited all of them for other requests.*nothing was sent"):
            await models.generate_text(spec, prompt=STORY, metadata=metadata, timeout="200ms")
        assert not busy.done()
        await busy
        assert (await usage_of(models)).attempts == 1
        assert (await models.generate_text(spec, prompt=STORY, metadata=metadata)).text, "its place was given back"


async def test_a_request_whose_time_the_opening_of_the_books_takes_is_told_so(make: Make, sim: Sim, tmp_path: Path) -> None:
    models = make(data_dir=str(tmp_path))
    with pytest.raises(TimedOut, match=r"given 0\.001 s, and they were over while the ledger and the prices were opened"):
        await models.generate_text("openai/gpt-4o", prompt=STORY, timeout="1ms")
    assert sim.stats.requests == 0


async def test_an_attempt_that_the_requests_time_ended_says_so_and_is_charged(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", latency_s=5)
    models = make()
    with pytest.raises(TimedOut) as caught:
        await models.generate_text("openai/gpt-4o", prompt=STORY, timeout="100ms")
    (attempt,) = caught.value.attempts
    assert (attempt.outcome, attempt.error_code, attempt.estimated) == ("failed", "timed_out", True)
    assert attempt.error is not None
    assert "openai/gpt-4o did not give its whole answer within 0." in attempt.error
    assert models.get_metrics().overall.total.attempt_errors == {"timed_out": 1}


async def test_a_cost_limit_counts_what_was_spent_also_where_costs_are_not_tracked(make: Make, tmp_path: Path) -> None:
    spender = {**one_at_a_time(), "defaults": {"experiment": "one", "costLimit": 0.05}}
    models = make(users={"jane": spender}, track_cost=False, data_dir=str(tmp_path))
    for _ in range(5):  # each could cost all that there is
        result = await models.generate_text("user:jane", prompt=STORY)
        assert (result.cost_usd, [attempt.cost_usd for attempt in result.attempts]) == (None, [None])
    row = await usage_of(models)
    assert (row.attempts, row.cost_usd, row.unpriced) == (5, Decimal(0), 5)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as ledger:
        assert ledger.execute("SELECT DISTINCT cost_pico, reserved_pico, price_version FROM attempts").fetchall() == [
            (None, None, "")
        ]


async def test_pricing_history_again_keeps_to_the_service_that_answered(make: Make, sim: Sim, tmp_path: Path) -> None:
    models = make(data_dir=str(tmp_path))
    dear = await models.generate_text("openai/gpt-4.1", prompt=STORY, service_tier="priority")
    plain = await models.generate_text("openai/gpt-4.1", prompt=STORY)
    assert dear.cost_usd is not None
    assert plain.cost_usd is not None
    assert dear.cost_usd > plain.cost_usd
    await models.close()
    config = tmp_path / "podium.yaml"
    config.write_text("providers: {openai: {}}\n")
    asked = ["-m", "podium", "usage", "reprice", "--data", str(tmp_path), "--config", str(config), "--json"]
    ran = await asyncio.create_subprocess_exec(sys.executable, *asked, stdout=asyncio.subprocess.PIPE)
    (found,) = json.loads((await ran.communicate())[0])["models"]
    assert (found["attempts"], found["changed"]) == (2, 0)
    assert Decimal(found["new_usd"]) == dear.cost_usd + plain.cost_usd


def answered(dialect: str, body: dict[str, Any]) -> Response:
    return fold(codec(dialect).load_response(json.dumps(body).encode()))


def chat(**more: Any) -> Response:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    return answered("openai_chat", {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice], **more})


def test_the_rates_are_those_of_the_service_that_answered_else_of_the_one_asked_for() -> None:
    asked = Request(model="m", messages=(), sampling=Sampling(service_tier="priority"))
    assert context_of(asked, "openai_chat") == {"service_tier": "priority"}
    assert context_of(asked, "openai_chat", chat()) == {"service_tier": "priority"}
    assert context_of(asked, "openai_chat", chat(service_tier="default")) == {"service_tier": "default"}
    unsaid = Request(model="m", messages=())
    assert context_of(unsaid, "openai_chat", chat(service_tier=None)) is None
    assert context_of(unsaid, "openai_chat", chat(service_tier="flex")) == {"service_tier": "flex"}


def test_anthropics_fast_mode_is_a_matter_of_its_own_dialect() -> None:
    fast = Request(model="m", messages=(), extra={"anthropic": {"speed": "fast"}})
    assert context_of(fast, "anthropic") == {"speed": "fast"}
    assert context_of(fast, "openai_chat") is None
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": "end_turn"}
    slow = answered("anthropic", {**body, "usage": {"input_tokens": 1, "output_tokens": 1, "speed": "standard"}})
    assert context_of(fast, "anthropic", slow) == {"speed": "standard"}
