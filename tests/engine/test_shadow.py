"""Shadows: after the answer the other arm is asked too, in the background, at its own expense, and the two are compared."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from typing import Any

import pytest

from making import Make
from podium import Models
from podium.errors import PodiumError
from podium.sim import Sim

CAPITAL = "What is the capital of France?"
SHIPS = "Tell me about ships."
LEGACY, CANDIDATE = "openai/gpt-4o", "anthropic/claude-haiku-4-5"


def shadowed(make: Make, *, shadow: dict[str, Any] | None = None, **rollout: Any) -> Models:
    """Models whose rollout `chat` shadows every answered call."""
    chat = {
        "match": ["gpt-4"],
        "legacy": LEGACY,
        "candidate": CANDIDATE,
        "shadow": {"sample": 100, "budget_usd_per_day": 20, **(shadow or {})},
        **rollout,
    }
    return make(rollouts={"chat": chat})


async def over(models: Models) -> None:
    """Wait until no shadow runs or waits."""
    await asyncio.sleep(0)
    await models._aside.close()


async def test_an_answered_call_is_asked_of_the_other_arm_too_and_the_answers_are_compared(make: Make, sim: Sim) -> None:
    models = shadowed(make)
    result = await models.generate_text("gpt-4", prompt=CAPITAL)
    await over(models)
    assert (result.text, str(result.target)) == ("Paris", LEGACY)
    assert [exchange.model for exchange in sim.requests] == ["gpt-4o", "claude-haiku-4-5"]
    told = models.rollouts.shadow("chat")
    assert (told.sent, told.same, told.different, told.failed, told.skipped) == (1, 1, 0, 0, {})


async def test_a_candidates_answer_is_compared_with_that_of_legacy(make: Make, sim: Sim) -> None:
    models = shadowed(make, percent=100)
    sim.set("gpt-4o", answer="Lyon")
    result = await models.generate_text("gpt-4", prompt=CAPITAL, user_id="jane")
    await over(models)
    assert str(result.target) == CANDIDATE
    assert [exchange.model for exchange in sim.requests] == ["claude-haiku-4-5", "gpt-4o"]
    assert models.rollouts.shadow("chat").different == 1


async def test_a_stream_is_shadowed_when_it_is_over_and_not_when_it_was_left(make: Make, sim: Sim) -> None:
    models = shadowed(make)
    async with models.stream_text("gpt-4", prompt=CAPITAL) as stream:
        assert (await stream.result()).text == "Paris"
    await over(models)
    assert [(exchange.model, exchange.stream) for exchange in sim.requests] == [("gpt-4o", True), ("claude-haiku-4-5", False)]
    sim.set("gpt-4o", tokens_per_s=50.0, length=500)
    async for _ in models.stream_text("gpt-4", prompt=SHIPS).text:
        break
    await over(models)
    assert models.rollouts.shadow("chat").drawn == 1


async def test_the_answer_is_there_while_its_shadow_is_still_held(make: Make, sim: Sim) -> None:
    models = shadowed(make)
    sim.set("claude-haiku-4-5", hang=True)
    results = [await models.generate_text("gpt-4", prompt=CAPITAL) for _ in range(3)]
    assert [result.text for result in results] == ["Paris"] * 3
    while sim.stats.in_flight < 3:  # noqa: ASYNC110  nothing tells that a shadow has begun
        await asyncio.sleep(0.005)
    await models._aside.close(wait_s=0.0)
    assert (await sim.idle()).in_flight == 0
    told = models.rollouts.shadow("chat")
    assert (told.sent, told.failed) == (3, 3)


async def test_a_shadow_that_fails_is_a_count_and_no_error(make: Make, sim: Sim) -> None:
    models = shadowed(make)
    sim.set("claude-haiku-4-5", status=400)
    assert (await models.generate_text("gpt-4", prompt=CAPITAL)).text == "Paris"
    await over(models)
    told = models.rollouts.shadow("chat")
    assert (told.sent, told.failed, told.same, told.different) == (1, 1, 0, 0)


async def test_a_call_that_fails_has_no_shadow(make: Make, sim: Sim) -> None:
    models = shadowed(make)
    sim.set("gpt-4o", status=400)
    with pytest.raises(PodiumError):
        await models.generate_text("gpt-4", prompt=CAPITAL)
    await over(models)
    assert models.rollouts.shadow("chat").drawn == 0


async def test_a_shadow_has_an_entry_and_money_of_its_own(make: Make) -> None:
    models = shadowed(make)
    result = await models.generate_text("gpt-4", prompt=CAPITAL, user_id="jane", metadata={"team": "search", "tags": ["batch"]})
    await over(models)
    rows = {row.group["arm"]: row for row in models.usage(["arm"])}
    users = {row.group["user"]: row for row in models.usage(["user"])}
    assert set(rows) == {"legacy", "candidate_shadow"}
    assert rows["legacy"].cost_usd == result.cost_usd == users["jane"].cost_usd
    assert (users["jane"].requests, users[None].requests) == (1, 1)
    assert models.rollouts.shadow("chat").spent_usd == rows["candidate_shadow"].cost_usd > Decimal(0)
    assert {row.group["tag"]: row.requests for row in models.usage(["tag"])} == {"batch": 1, None: 1}


async def test_what_does_not_fit_the_budget_is_skipped_and_nothing_of_it_is_sent(make: Make, sim: Sim) -> None:
    models = shadowed(make, shadow={"budget_usd_per_day": "0.0001"})
    assert (await models.generate_text("gpt-4", prompt=CAPITAL)).text == "Paris"
    await over(models)
    assert len(sim.requests) == 1
    told = models.rollouts.shadow("chat")
    assert (told.sent, told.skipped, told.spent_usd) == (0, {"budget": 1}, Decimal(0))


async def test_a_difference_is_logged_with_figures_and_without_any_text(
    make: Make, sim: Sim, caplog: pytest.LogCaptureFixture
) -> None:
    models = shadowed(make)
    sim.set("claude-haiku-4-5", answer="Lyon")
    with caplog.at_level(logging.INFO, "podium"):
        result = await models.generate_text("gpt-4", prompt=CAPITAL)
        await over(models)
    (line,) = [record.getMessage() for record in caplog.records if "Difference" in record.getMessage()]
    assert line.startswith(
        "Difference detected (shadow of rollout chat): new anthropic/claude-haiku-4-5 answered by anthropic/"
    )
    assert f"request {result.request_id}.shadow" in line
    assert not any(word in line for word in ("Lyon", "Paris", "France"))
