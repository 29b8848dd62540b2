"""Shadows: after the answer the other arm is asked too, in the background, at its own expense, and the two are compared."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from making import Make
from podium import Models, create_models
from podium.errors import LimitError, PodiumError
from podium.observe.prometheus import prometheus_text
from podium.observe.record import Observation, RequestRecord
from podium.sim import Sim
from waiting import until

CAPITAL = "What is the capital of France?"
SHIPS = "Tell me about ships."
LEGACY, CANDIDATE = "openai/gpt-4o", "anthropic/claude-haiku-4-5"
SHADOW = {"sample": 100, "budget_usd_per_day": 20}


def shadowed(make: Make, *, shadow: dict[str, Any] | None = None, ledger: Any = None, **rollout: Any) -> Models:
    """Models whose rollout `chat` shadows every answered call."""
    chat = {
        "match": ["gpt-4"],
        "legacy": LEGACY,
        "candidate": CANDIDATE,
        "shadow": {**SHADOW, **(shadow or {})},
        **rollout,
    }
    return make(rollouts={"chat": chat}, **({"ledger": ledger} if ledger else {}))


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
    await until(lambda: sim.stats.in_flight == 3)
    await models._aside.close(wait_s=0.0)
    assert (await sim.idle()).in_flight == 0
    told = models.rollouts.shadow("chat")
    assert (told.sent, told.cut_off, told.failed) == (3, 3, 0)


async def test_a_shadow_that_fails_is_a_count_and_a_line_of_the_log_and_no_error(
    make: Make, sim: Sim, caplog: pytest.LogCaptureFixture
) -> None:
    models = shadowed(make)
    sim.set("claude-haiku-4-5", status=400, latency_s=0.02)
    with caplog.at_level(logging.INFO, "podium"):
        assert (await models.generate_text("gpt-4", prompt=CAPITAL)).text == "Paris"
        await over(models)
    (line,) = [record.getMessage() for record in caplog.records if "Not compared" in record.getMessage()]
    assert line.startswith(f"Not compared (shadow of rollout chat): new {CANDIDATE} failed (provider_invalid_request) in 0.")
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
    assert [row.group["arm"] for row in models.usage(["arm"])] == ["legacy"]


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


# --- when ---------------------------------------------------------------------------------------------------------------


def test_a_shadow_goes_on_after_its_callers_loop_has_ended() -> None:
    """A script that asks by `asyncio.run`: the loop is gone while the shadow waits for its answer."""
    with Sim(seed=7) as sim:
        sim.set("claude-haiku-4-5", latency_s=0.1)
        chat = {"match": ["gpt-4"], "legacy": LEGACY, "candidate": CANDIDATE, "shadow": SHADOW}
        models = create_models(providers=sim.providers("openai", "anthropic"), rollouts={"chat": chat})
        result = asyncio.run(models.generate_text("gpt-4", prompt=CAPITAL))
        assert result.text == "Paris"
        models.sync.close()
        assert models.rollouts.shadow("chat").same == 1


def test_blocking_calls_are_shadowed_too() -> None:
    with Sim(seed=7) as sim:
        chat = {"match": ["gpt-4"], "legacy": LEGACY, "candidate": CANDIDATE, "shadow": SHADOW}
        models = create_models(providers=sim.providers("openai", "anthropic"), rollouts={"chat": chat})
        with models.sync:
            assert models.sync.generate_text("gpt-4", prompt=CAPITAL).text == "Paris"
            assert list(models.sync.stream_text("gpt-4", prompt=CAPITAL).text) == ["Paris"]
        assert models.rollouts.shadow("chat").same == 2


async def test_closing_lets_shadows_end(make: Make, sim: Sim) -> None:
    models = shadowed(make)
    sim.set("claude-haiku-4-5", latency_s=0.1)
    async with models:
        await models.generate_text("gpt-4", prompt=CAPITAL)
    assert models.rollouts.shadow("chat").same == 1


async def test_a_caller_who_leaves_has_no_shadow(make: Make, sim: Sim) -> None:
    models = shadowed(make)
    sim.set("gpt-4o", hang=True)
    call = asyncio.create_task(models.generate_text("gpt-4", prompt=CAPITAL))
    await until(lambda: sim.stats.in_flight)
    call.cancel()
    await asyncio.wait([call])
    await over(models)
    assert (models.rollouts.shadow("chat").drawn, len(sim.requests)) == (0, 1)


async def test_pinned_calls_and_calls_of_no_rollout_have_no_shadow(make: Make, sim: Sim) -> None:
    models = shadowed(make)
    await models.generate_text("openai/gpt-4o", prompt=CAPITAL)
    await models.generate_text("openai/gpt-4o-mini", prompt=CAPITAL, pin=True)
    await over(models)
    assert (models.rollouts.shadow("chat").drawn, len(sim.requests)) == (0, 2)


async def test_a_rollout_that_is_disabled_has_no_shadows_and_one_at_0_percent_has(make: Make) -> None:
    models = shadowed(make, percent=0)
    await models.generate_text("gpt-4", prompt=CAPITAL)
    await over(models)
    models.rollouts.disable("chat")
    await models.generate_text("gpt-4", prompt=CAPITAL)
    await over(models)
    told = models.rollouts.shadow("chat")
    assert (told.sent, told.skipped) == (1, {"disabled": 1})


async def test_a_changed_candidate_is_what_is_shadowed_from_then_on(make: Make, sim: Sim) -> None:
    models = shadowed(make)
    models.rollouts.set("chat", candidate="openai/gpt-4.1")
    await models.generate_text("gpt-4", prompt=CAPITAL)
    await over(models)
    assert [exchange.model for exchange in sim.requests] == ["gpt-4o", "gpt-4.1"]


async def test_of_a_sample_those_are_shadowed_whose_id_is_drawn(make: Make, sim: Sim) -> None:
    models = shadowed(make, shadow={"sample": "40%"})
    for number in range(10):
        await models.generate_text("gpt-4", prompt=CAPITAL, request_id=f"request-{number}")
    await over(models)
    first = models.rollouts.shadow("chat").sent
    for number in range(10):
        await models.generate_text("gpt-4", prompt=CAPITAL, request_id=f"request-{number}")
    await over(models)
    assert 0 < first < 10
    assert models.rollouts.shadow("chat").sent == 2 * first


# --- what ---------------------------------------------------------------------------------------------------------------


async def test_the_other_arm_is_asked_the_same_as_it_was_written(make: Make, sim: Sim) -> None:
    models = shadowed(make, candidate="openai/gpt-4.1")
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}]
    asked: dict[str, Any] = {"prompt": SHIPS, "system": "Be brief.", "tools": tools, "temperature": 0.3, "seed": 1}
    await models.generate_text("gpt-4", **asked, max_tokens=40, metadata={"team": "search"})
    await over(models)
    ours, theirs = (dict(exchange.body) for exchange in sim.requests)
    assert (ours.pop("model"), theirs.pop("model")) == ("gpt-4o", "gpt-4.1")
    assert ours == theirs


async def test_no_tier_captures_what_a_shadow_asks_for(make: Make, sim: Sim) -> None:
    tiers = {"wide": {"strategy": "race", "models": [CANDIDATE, "groq/llama-3.1-8b"]}}
    chat = {"match": ["gpt-4"], "legacy": LEGACY, "candidate": CANDIDATE, "shadow": SHADOW}
    models = make(tiers=tiers, rollouts={"chat": chat})
    await models.generate_text("gpt-4", prompt=CAPITAL)
    await over(models)
    assert [exchange.model for exchange in sim.requests] == ["gpt-4o", "claude-haiku-4-5"]


async def test_tool_calls_are_compared_by_name_and_arguments(make: Make, sim: Sim) -> None:
    models = shadowed(make)
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}]
    result = await models.generate_text("gpt-4", prompt="How is the weather?", tools=tools, tool_choice="required")
    await over(models)
    assert [call.name for call in result.response.tool_calls] == ["get_weather"]
    assert models.rollouts.shadow("chat").same == 1


async def test_a_call_that_a_provider_stores_is_not_shadowed(make: Make, sim: Sim) -> None:
    models = shadowed(make)
    await models.generate_text("gpt-4", prompt=CAPITAL, extra={"openai_chat": {"store": True}})
    await over(models)
    assert (models.rollouts.shadow("chat").skipped, len(sim.requests)) == ({"provider_state": 1}, 1)


async def test_answers_that_nobody_can_read_are_not_compared(make: Make, sim: Sim) -> None:
    models = shadowed(make)
    sim.set("gpt-4o", refuse=True)
    sim.set("claude-haiku-4-5", refuse=True)
    await models.generate_text("gpt-4", prompt=CAPITAL)
    await over(models)
    told = models.rollouts.shadow("chat")
    assert (told.sent, told.not_compared, told.same, told.different) == (1, 1, 0, 0)


# --- whose money, and whose place ---------------------------------------------------------------------------------------


async def test_a_shadow_takes_nothing_of_what_its_user_may_use(make: Make, sim: Sim) -> None:
    """One request a minute, one at once, and money for one answer: all of it is the caller's."""
    jane = {"defaults": {"requestsPerMinute": 2, "maxConcurrent": 1, "costLimit": "0.005"}}
    chat = {"match": ["gpt-4"], "legacy": LEGACY, "candidate": CANDIDATE, "shadow": SHADOW}
    models = make(users={"jane": jane}, rollouts={"chat": chat})
    sim.set("claude-haiku-4-5", hang=True)
    for _ in range(2):
        await models.generate_text("gpt-4", prompt=CAPITAL, user_id="jane", max_tokens=100)
    with pytest.raises(LimitError, match="2 requests"):
        await models.generate_text("gpt-4", prompt=CAPITAL, user_id="jane", max_tokens=100)
    await until(lambda: sim.stats.in_flight == 2)
    assert models.statistics()["users"]["jane"] == {"running": 0, "waiting": 0}
    await models._aside.close(wait_s=0.0)


async def test_a_user_is_not_made_to_pay_for_a_shadow(make: Make, sim: Sim) -> None:
    users = {
        "jane": {"keys": {"anthropic": "sk-janes-own-0123456789"}},
        "john": {"keys": {"openai": "sk-johns-own-0123456789"}},
    }
    chat = {"match": ["gpt-4"], "legacy": LEGACY, "candidate": CANDIDATE, "shadow": SHADOW}
    models = make(users=users, rollouts={"chat": chat})
    for user in users:
        await models.generate_text("gpt-4", prompt=CAPITAL, user_id=user)
    await over(models)
    told = models.rollouts.shadow("chat")
    assert (told.sent, told.skipped) == (1, {"own_key": 1})
    assert "sk-janes" not in str([exchange.headers for exchange in sim.requests])


async def test_a_user_whose_performance_is_not_tracked_is_not_shadowed(make: Make, sim: Sim) -> None:
    chat = {"match": ["gpt-4"], "legacy": LEGACY, "candidate": CANDIDATE, "shadow": SHADOW}
    models = make(users={"jane": {"performanceTracking": False}}, rollouts={"chat": chat})
    await models.generate_text("gpt-4", prompt=CAPITAL, user_id="jane")
    await over(models)
    assert (models.rollouts.shadow("chat").skipped, len(sim.requests)) == ({"untracked": 1}, 1)


async def test_the_budget_lets_through_what_fits_and_is_never_exceeded(make: Make) -> None:
    limit = Decimal("0.004")
    models = shadowed(make, shadow={"budget_usd_per_day": str(limit)})
    for number in range(12):
        await models.generate_text("gpt-4", prompt=f"Tell me about ship {number}.", max_tokens=100)
        await over(models)
    told = models.rollouts.shadow("chat")
    assert told.sent > 0
    assert told.skipped == {"budget": 12 - told.sent}
    assert Decimal(0) < told.spent_usd <= limit


async def test_a_shadow_is_not_made_shorter_to_fit_the_budget(make: Make, sim: Sim) -> None:
    """Money for a hundred tokens and not for a thousand: a caller's answer would be cut, a shadow is not sent."""
    models = shadowed(make, candidate="openai/gpt-4.1", shadow={"budget_usd_per_day": "0.004"})
    await models.generate_text("gpt-4", prompt=CAPITAL, max_tokens=1000)
    await over(models)
    assert (models.rollouts.shadow("chat").skipped, len(sim.requests)) == ({"budget": 1}, 1)


async def test_a_model_without_a_price_is_not_shadowed(make: Make) -> None:
    models = shadowed(make, candidate="openai/gpt-of-tomorrow")
    await models.generate_text("gpt-4", prompt=CAPITAL)
    await over(models)
    assert models.rollouts.shadow("chat").skipped == {"cost_unknown": 1}


async def test_more_at_once_than_the_config_allows_are_skipped(make: Make, sim: Sim) -> None:
    models = shadowed(make, shadow={"max_concurrent": 1})
    sim.set("claude-haiku-4-5", hang=True)
    for _ in range(3):
        await models.generate_text("gpt-4", prompt=CAPITAL)
        await until(lambda: sim.stats.in_flight)
    await models._aside.close(wait_s=0.0)
    told = models.rollouts.shadow("chat")
    assert (told.cut_off, told.skipped) == (1, {"busy": 2})


async def test_a_shadow_gives_its_providers_slot_to_a_caller_who_needs_it(make: Make, sim: Sim) -> None:
    chat = {"match": ["gpt-4"], "legacy": LEGACY, "candidate": CANDIDATE, "shadow": SHADOW}
    models = make(providers={"anthropic": {"max_concurrent": 1}}, rollouts={"chat": chat})
    sim.set("claude-haiku-4-5", hang=True)
    await models.generate_text("gpt-4", prompt=CAPITAL)
    await until(lambda: sim.stats.in_flight)
    async with asyncio.timeout(5):
        assert (await models.generate_text("anthropic/claude-sonnet-4-5", prompt=CAPITAL)).text == "Paris"
    await over(models)
    told = models.rollouts.shadow("chat")
    assert (told.sent, told.cut_off, told.failed) == (1, 1, 0)


async def test_a_shadow_takes_no_slot_that_a_caller_holds(make: Make, sim: Sim) -> None:
    chat = {"match": ["gpt-4"], "legacy": LEGACY, "candidate": CANDIDATE, "shadow": SHADOW}
    models = make(providers={"anthropic": {"max_concurrent": 1}}, rollouts={"chat": chat})
    sim.set("claude-sonnet-4-5", tokens_per_s=20.0, length=500)
    async with models.stream_text("anthropic/claude-sonnet-4-5", prompt=SHIPS) as stream:
        events = aiter(stream)
        await anext(events)
        await models.generate_text("gpt-4", prompt=CAPITAL)
        await over(models)
    assert models.rollouts.shadow("chat").skipped == {"busy": 1}
    assert {row.group["arm"] for row in models.usage(["arm"])} == {"legacy", None}


async def test_where_slots_are_short_every_call_is_answered_and_every_shadow_is_counted_once(make: Make, sim: Sim) -> None:
    chat = {"match": ["gpt-4"], "legacy": LEGACY, "candidate": "openai/gpt-4.1", "shadow": SHADOW}
    models = make(providers={"openai": {"max_concurrent": 3}}, rollouts={"chat": chat})
    sim.set("*", latency_s=0.005)
    for _ in range(12):
        await asyncio.gather(*(models.generate_text("gpt-4", prompt=CAPITAL) for _ in range(8)))
        await asyncio.sleep(0.003)  # some shadows get their slot, and some of those lose it again
    await over(models)
    told = models.rollouts.shadow("chat")
    rows = {row.group["arm"]: row for row in models.usage(["arm"])}
    assert (told.drawn, rows["legacy"].requests, rows["legacy"].errors) == (96, 96, 0)
    assert told.sent == rows["candidate_shadow"].requests == rows["candidate_shadow"].attempts > 0
    assert told.skipped["busy"] > 0
    assert models.statistics()["providers"]["openai"] == {"running": 0, "waiting": 0}


# --- on record ----------------------------------------------------------------------------------------------------------


class Records:
    """Keeps what it observes."""

    name = "records"

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def observe(self, record: Observation) -> None:
        self.seen.append(record)


async def test_observers_see_whose_shadow_it_is_and_no_user(make: Make) -> None:
    models, records = shadowed(make), Records()
    models.observe(records)
    await models.generate_text("gpt-4", prompt=CAPITAL, user_id="jane", request_id="request-1")
    await over(models)
    first, second = (record.request for record in records.seen if isinstance(record, RequestRecord))
    assert (first.request_id, first.arm, first.user_id, first.is_shadow) == ("request-1", "legacy", "jane", False)
    assert (second.request_id, second.arm, second.user_id) == ("request-1.shadow", "candidate_shadow", None)
    assert (second.is_shadow, second.rollout, second.spec) == (True, "chat", "gpt-4")


async def test_metrics_count_a_shadows_upstream_call_and_no_request(make: Make) -> None:
    models = shadowed(make)
    await models.generate_text("gpt-4", prompt=CAPITAL)
    await over(models)
    rows = models.get_metrics().overall.providers
    assert (rows["openai"].requests, rows["anthropic"].requests) == (1, 0)
    assert rows["anthropic"].attempts == 1
    text = prometheus_text(models._books.metrics)
    assert 'podium_shadows_total{provider="anthropic",model="claude-haiku-4-5"} 1' in text
    assert 'podium_requests_total{provider="anthropic"' not in text


async def test_how_alike_answers_are_is_counted_by_the_words_that_both_have(make: Make, sim: Sim) -> None:
    models = shadowed(make)
    sim.set("gpt-4o", answer="the capital is Paris")
    sim.set("claude-haiku-4-5", answer="Paris is the capital of France")
    await models.generate_text("gpt-4", prompt=CAPITAL)
    await over(models)
    told = models.rollouts.shadow("chat")
    assert told.different == 1
    assert told.similarity_mean == pytest.approx(2 * 4 / (4 + 6))


async def test_where_payloads_are_kept_those_of_shadows_are_kept_too(make: Make, tmp_path: Path) -> None:
    models = on_disk(make, tmp_path, ledger={"payloads": "full"})
    await models.generate_text("gpt-4", prompt=CAPITAL, request_id="one")
    await models.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "payloads.sqlite3")) as db:
        kept = db.execute("SELECT request_id, kind FROM payloads ORDER BY 1, 2").fetchall()
    assert kept == [(id, kind) for id in ("one", "one.shadow") for kind in ("request", "response")]


async def test_durations_of_both_sides_are_counted(make: Make, sim: Sim) -> None:
    models = shadowed(make)
    sim.set("claude-haiku-4-5", latency_s=0.2)
    await models.generate_text("gpt-4", prompt=CAPITAL)
    await over(models)
    told = models.rollouts.shadow("chat")
    assert told.answer_mean_s is not None
    assert told.shadow_mean_s is not None
    assert 0 < told.answer_mean_s < 0.2 <= told.shadow_mean_s


# --- functions of the legacy system -------------------------------------------------------------------------------------


class Old:
    """A model of the legacy system, which notes where it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def generate(self, prompt: str) -> str:
        asked.append((self.name, threading.current_thread().name))
        if prompt == "fail":
            raise ConnectionError("the legacy system is down")
        return "Paris"


asked: list[tuple[str, str]] = []


@pytest.fixture(autouse=True)
def nothing_asked() -> None:
    asked.clear()


async def test_what_a_legacy_model_answered_is_asked_of_the_candidate(make: Make, sim: Sim) -> None:
    gradual = shadowed(make).gradual("chat", legacy=Old)
    assert await gradual.generate_text("gpt-4", prompt=CAPITAL) == "Paris"
    await over(gradual._models)
    assert [exchange.model for exchange in sim.requests] == ["claude-haiku-4-5"]
    told = gradual._models.rollouts.shadow("chat")
    assert (told.sent, told.same) == (1, 1)
    assert told.spent_usd > 0


async def test_what_the_candidate_answered_is_asked_of_the_legacy_model_on_another_thread(make: Make, sim: Sim) -> None:
    gradual = shadowed(make, percent=100).gradual("chat", legacy=Old)
    assert (await gradual.generate_text("gpt-4", prompt=CAPITAL, user_id="jane")).text == "Paris"
    await over(gradual._models)
    assert [(name, thread.startswith("asyncio_")) for name, thread in asked] == [("gpt-4", True)]
    assert gradual._models.rollouts.shadow("chat").same == 1


async def test_a_legacy_model_that_fails_in_the_background_is_a_count(make: Make, sim: Sim) -> None:
    sim.set("claude-haiku-4-5", answer="It worked.")
    gradual = shadowed(make, percent=100).gradual("chat", legacy=Old)
    assert (await gradual.generate_text("gpt-4", prompt="fail", user_id="jane")).text == "It worked."
    await over(gradual._models)
    told = gradual._models.rollouts.shadow("chat")
    assert (told.sent, told.failed) == (1, 1)


async def test_a_legacy_model_that_fails_its_caller_has_no_shadow(make: Make, sim: Sim) -> None:
    gradual = shadowed(make).gradual("chat", legacy=Old)
    with pytest.raises(ConnectionError):
        await gradual.generate_text("gpt-4", prompt="fail")
    await over(gradual._models)
    assert gradual._models.rollouts.shadow("chat").drawn == 0


async def test_a_legacy_side_that_is_a_spec_is_shadowed_either_way(make: Make, sim: Sim) -> None:
    for percent in (0, 100):
        gradual = shadowed(make, percent=percent).gradual("chat", legacy="openai/gpt-4o-mini")
        await gradual.generate_text("gpt-4", prompt=CAPITAL, user_id="jane")
        await over(gradual._models)
    models = [exchange.model for exchange in sim.requests]
    assert models == ["gpt-4o-mini", "claude-haiku-4-5", "claude-haiku-4-5", "gpt-4o-mini"]


async def test_a_decorated_function_is_shadowed_by_the_candidate_and_never_asked_itself(make: Make, sim: Sim) -> None:
    models, calls = shadowed(make), []

    @models.migrate("chat")
    async def answer(prompt: str, user_id: str | None = None) -> str:
        calls.append(prompt)
        return "Paris"

    assert await answer(CAPITAL) == "Paris"
    await over(models)
    models.rollouts.set("chat", percent=100)
    assert await answer(CAPITAL, user_id="jane") == "Paris"
    await over(models)
    assert (calls, len(sim.requests)) == ([CAPITAL], 2)
    told = models.rollouts.shadow("chat")
    assert (told.drawn, told.same) == (1, 1)


def test_a_blocking_function_is_shadowed_by_the_candidate_of_its_decorator() -> None:
    with Sim(seed=7) as sim:
        chat = {"match": ["gpt-4"], "legacy": LEGACY, "candidate": CANDIDATE, "shadow": SHADOW}
        models = create_models(providers=sim.providers("openai", "anthropic"), rollouts={"chat": chat})

        @models.migrate("chat", candidate="openai/gpt-4.1")
        def answer(prompt: str, user_id: str | None = None) -> str:
            return "Lyon"

        with models.sync:
            assert answer(CAPITAL) == "Lyon"
        assert [exchange.model for exchange in sim.requests] == ["gpt-4.1"]
        assert models.rollouts.shadow("chat").different == 1


# --- when something is lost ---------------------------------------------------------------------------------------------


def on_disk(make: Make, folder: Path, **config: Any) -> Models:
    chat = {"match": ["gpt-4"], "legacy": LEGACY, "candidate": CANDIDATE, "shadow": SHADOW}
    return make(rollouts={"chat": chat}, data_dir=str(folder), **config)


async def test_where_nobody_knows_what_is_left_of_the_budget_nothing_is_sent(make: Make, sim: Sim, tmp_path: Path) -> None:
    """The file of limits is a folder: it cannot be opened."""
    (tmp_path / "limits.sqlite3").mkdir()
    models = on_disk(make, tmp_path)
    assert (await models.generate_text("gpt-4", prompt=CAPITAL)).text == "Paris"
    await over(models)
    assert (models.rollouts.shadow("chat").skipped, len(sim.requests)) == ({"store_lost": 1}, 1)


async def test_while_the_store_of_rollouts_is_lost_nothing_is_shadowed(make: Make, sim: Sim, tmp_path: Path) -> None:
    """It may have been disabled meanwhile; what was skipped is counted once the store is there again."""
    models = on_disk(make, tmp_path)
    await models.generate_text("gpt-4", prompt=CAPITAL)
    await over(models)
    store = tmp_path / "rollouts.sqlite3"
    store.rename(tmp_path / "away")
    await until(lambda: models.statistics()["rollouts"]["lost"])
    await models.generate_text("gpt-4", prompt=CAPITAL)
    await over(models)
    assert len(sim.requests) == 3
    (tmp_path / "away").rename(store)
    await until(lambda: not models.statistics()["rollouts"]["lost"])
    told = await asyncio.to_thread(models.rollouts.shadow, "chat")
    assert (told.sent, told.skipped) == (1, {"disabled": 1})


async def test_shadows_need_no_ledger(make: Make) -> None:
    models = shadowed(make, ledger="none")
    await models.generate_text("gpt-4", prompt=CAPITAL)
    await over(models)
    assert models.rollouts.shadow("chat").same == 1


async def test_a_candidate_that_a_breaker_has_taken_out_is_left_alone(make: Make, sim: Sim) -> None:
    models = shadowed(make, percent=50, guard={})
    sim.set("claude-haiku-4-5", status=400)
    for number in range(40):
        with contextlib.suppress(PodiumError):
            await models.generate_text("gpt-4", prompt=CAPITAL, user_id=f"user-{number}")
    await over(models)
    assert models.rollouts.shadow("chat").skipped["down"] > 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_after_a_fork_shadows_on_its_own_and_both_count_in_one_store(tmp_path: Path) -> None:
    with Sim(seed=7) as sim:
        chat = {"match": ["gpt-4"], "legacy": LEGACY, "candidate": CANDIDATE, "shadow": SHADOW}
        known = sim.providers("openai", "anthropic")
        models = create_models(providers=known, rollouts={"chat": chat}, data_dir=str(tmp_path))
        models.sync.generate_text("gpt-4", prompt=CAPITAL)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                models.sync.generate_text("gpt-4", prompt=CAPITAL)
                models.sync.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with models.sync:
            models.sync.generate_text("gpt-4", prompt=CAPITAL)
        assert models.rollouts.shadow("chat").same == 3
        models.rollouts.close()
        assert sim.stats.by_model == {"openai/gpt-4o": 3, "anthropic/claude-haiku-4-5": 3}
