"""Two sides asked at once over real HTTP, and whatever they do, a comparison of it."""

from __future__ import annotations

import asyncio
import logging
import threading
from decimal import Decimal
from typing import Any

import pytest

from making import Make
from podium.errors import RequestError, SpecError
from podium.routing.compare import Comparison
from podium.sim import Sim
from podium.types import Result, load
from waiting import until

CAPITAL = "What is the capital of France?"


async def test_both_sides_are_asked_at_the_same_time(make: Make) -> None:
    meeting = asyncio.Barrier(2)

    async def met(prompt: str) -> str:
        await meeting.wait()
        return prompt

    assert (await make().compare(new=met, old=met, prompt=CAPITAL, timeout="10s")).same is True


async def test_both_sides_are_told_apart_and_measured(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", latency_s=0.1)
    sim.set("claude-*", latency_s=0.1)
    found = await make().compare(new="anthropic/claude-haiku-4-5", old="openai/gpt-4o", prompt=CAPITAL)
    assert (found.same, found.judge, found.similarity, found.diff) == (True, "exact", 1.0, "")
    assert (found.new.target, found.old.target) == ("anthropic/claude-haiku-4-5", "openai/gpt-4o")
    assert found.new.text == found.old.text == "Paris"
    assert found.new.finish_reason == found.old.finish_reason == "stop"
    for side in (found.new, found.old):
        assert side.duration_s >= 0.1
        assert side.input_tokens
        assert side.output_tokens
        assert side.cost_usd is not None
        assert side.cost_usd > 0
    assert load(Comparison, found.to_dict()) == found


async def test_a_difference_has_a_diff_and_is_logged_without_its_texts(
    make: Make, sim: Sim, caplog: pytest.LogCaptureFixture
) -> None:
    sim.set("gpt-4o", answer="It is Lyon.")
    with caplog.at_level(logging.INFO, "podium"):
        found = await make().compare(new="openai/gpt-4o", old="groq/llama-3.1-8b-instant", prompt=CAPITAL)
    assert (found.same, found.diff) == (False, "[-Paris-]{+It is Lyon.+}")
    [record] = [each for each in caplog.records if each.name == "podium"]
    message = record.getMessage()
    assert message.startswith("Difference detected: new openai/gpt-4o answered by openai/gpt-4o")
    assert str(found.new.request_id) in message
    assert str(found.old.request_id) in message
    assert "Lyon" not in caplog.text
    assert "France" not in caplog.text


async def test_what_is_the_same_is_not_logged(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "podium"):
        assert (await make().compare(new="openai/gpt-4o", old="openai/gpt-4.1", prompt=CAPITAL)).same is True
    assert not [each for each in caplog.records if each.name == "podium"]


async def test_both_sides_are_taken_as_written(make: Make, sim: Sim) -> None:
    models = make(tiers={"high": {"strategy": "first", "models": ["openai/gpt-4o", "openai/gpt-4.1"]}})
    assert models.explain("gpt-4o").rule == "auto_tier"
    await models.compare(new="gpt-4o", old="tier:high", prompt=CAPITAL)
    assert [row.requests for row in models.usage("tier") if row.group["tier"] == "high"] == [1]


async def test_a_side_that_fails_is_a_result_with_its_error(make: Make, sim: Sim) -> None:
    sim.set("gpt-down", status=400)
    found = await make().compare(new="openai/gpt-down", old="openai/gpt-4o", prompt=CAPITAL)
    assert (found.same, found.judge, found.why) == (None, "none", f"new failed ({found.new.error_code})")
    assert not found.new.ok
    assert found.new.text == ""
    assert "gpt-down" in str(found.new.error)
    assert found.new.request_id
    assert found.old.text == "Paris"


async def test_a_side_without_a_usable_target_fails_and_the_other_answers(make: Make) -> None:
    models = make(providers={"groq": {"enabled": False}})
    found = await models.compare(new="groq/llama-3.1-8b-instant", old="openai/gpt-4o", prompt=CAPITAL)
    assert (found.new.error_code, found.old.text) == ("all_targets_failed", "Paris")


async def test_a_call_that_is_wrong_in_itself_is_an_error(make: Make, sim: Sim) -> None:
    models = make()
    with pytest.raises(SpecError, match="opnai"):
        await models.compare(new="opnai/gpt-4o", old="openai/gpt-4o", prompt=CAPITAL)
    with pytest.raises(RequestError, match="temprature"):
        await models.compare(new="openai/gpt-4o", old="openai/gpt-4o", prompt=CAPITAL, temprature=1)  # type: ignore[call-arg]
    wrong: Any = 3
    with pytest.raises(RequestError, match="`old` is an int"):
        await models.compare(new="openai/gpt-4o", old=wrong, prompt=CAPITAL)
    with pytest.raises(RequestError, match=r"cannot be called with \(prompt=...\)"):
        await models.compare(new="openai/gpt-4o", old=lambda question: question, prompt=CAPITAL)
    with pytest.raises(RequestError, match="no judge"):
        await models.compare(new="openai/gpt-4o", old="openai/gpt-4o", prompt=CAPITAL, judge="fair")  # type: ignore[arg-type]
    assert sim.stats.requests == 0


class Legacy:
    """What a legacy system hands out: an object that generates, and gives an object with a text."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def generate(self, *, prompt: str) -> Legacy:
        return Legacy(f"{self.text}!" if prompt == CAPITAL else "?")


def blocking(prompt: str) -> str:
    return "Paris"


async def test_the_old_side_may_be_any_function_or_object_that_answers(make: Make, sim: Sim) -> None:
    models = make()

    async def coming(prompt: str) -> str:
        await asyncio.sleep(0)
        return "paris"

    async def result(prompt: str) -> Result:
        return await models.generate_text("openai/gpt-4.1", prompt=prompt)

    new = models.model("openai/gpt-4o", user_id="jane")
    olds: tuple[Any, ...] = (blocking, coming, result, Legacy("Paris"), Legacy("Paris").generate, lambda prompt: coming(prompt))
    for old in olds:
        found = await models.compare(new=new, old=old, prompt=CAPITAL)
        assert found.same is True, old
        assert found.old.ok
    assert found.new.spec == "openai/gpt-4o"
    assert {row.group["user"] for row in models.usage("user") if row.requests > 1} == {"jane"}


async def test_a_blocking_function_keeps_nobody_waiting(make: Make) -> None:
    loop, released = asyncio.get_running_loop(), threading.Event()

    def waits(prompt: str) -> str:
        loop.call_soon_threadsafe(released.set)  # the loop has to run for this function to end
        assert released.wait(10)
        return "Paris"

    found = await make().compare(new="openai/gpt-4o", old=waits, prompt=CAPITAL)
    assert (found.same, found.old.error, found.old.cost_usd) == (True, None, None)
    assert str(found.old.spec).endswith("waits")


async def test_a_function_of_the_library_that_raises_or_gives_nothing_is_a_side_that_failed(make: Make) -> None:
    def broken(prompt: str) -> str:
        raise ConnectionError("no route to host")

    def silent(prompt: str) -> None:
        return None

    found = await make().compare(new="openai/gpt-4o", old=broken, prompt=CAPITAL)
    assert (found.old.error_code, found.old.error) == ("function_failed", "ConnectionError: no route to host")
    assert found.new.text == "Paris"
    found = await make().compare(new=silent, old="openai/gpt-4o", prompt=CAPITAL)
    assert found.new.error_code == "no_answer"


async def test_a_timeout_holds_for_both_sides(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", hang=True)

    async def forever(prompt: str) -> str:
        await asyncio.sleep(30)
        return prompt

    found = await make().compare(new="openai/gpt-4o", old=forever, prompt=CAPITAL, timeout="300ms")
    assert [found.new.error_code, found.old.error_code] == ["timed_out", "timed_out"]
    assert found.why == "new failed (timed_out) and old failed (timed_out)"


async def test_cancelling_a_comparison_cancels_both_sides_upstream(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", hang=True)
    task = asyncio.create_task(make().compare(new="openai/gpt-4o", old="openai/gpt-4o", prompt=CAPITAL))
    await until(lambda: sim.stats.in_flight == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await sim.idle()).cancelled == 2


async def test_the_legs_of_a_race_are_all_in_its_cost(make: Make) -> None:
    race = {"strategy": "consensus", "models": ["openai/gpt-4o", "openai/gpt-4.1", "openai/gpt-4o-mini"]}
    found = await make(tiers={"agreed": race}).compare(new="tier:agreed", old="openai/gpt-4o", prompt=CAPITAL)
    assert found.new.cost_usd is not None
    assert found.new.cost_usd > (found.old.cost_usd or Decimal(0))
    assert (found.new.input_tokens or 0) > (found.old.input_tokens or 0)


async def test_code_without_async_compares_too(make: Make) -> None:
    models = make()

    def ask() -> Comparison:
        try:
            return models.sync.compare(new="openai/gpt-4o", old=blocking, prompt=CAPITAL)
        finally:
            models.sync.close()

    assert (await asyncio.to_thread(ask)).same is True
