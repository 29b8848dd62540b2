"""A call that is cancelled after any number of steps of the loop leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from making import Make
from podium import Models, create_models
from podium.errors import ModelsClosed, StreamLeft
from podium.sim import Sim
from podium.types import Result
from waiting import until

STORY = "Tell me a story about ships."
STEPS = [*range(20), *range(20, 100, 16), 150, 200]
"""How long a call may live, in steps of the loop: a whole one takes about a hundred."""

TIERS: dict[str, Any] = {
    "one": {"models": ["openai/gpt-4o"]},
    "race": {"strategy": "race", "models": ["openai/gpt-4o", "groq/llama-3.1-8b"]},
    "fallback": {"strategy": "fallback", "models": ["openrouter/nothing/here", "openai/gpt-4o"]},
    "consensus": {"strategy": "consensus", "models": ["openai/gpt-4o", "groq/gpt-4o", "anthropic/claude-haiku-4-5"]},
}


@pytest.fixture
async def complaints() -> AsyncIterator[list[Any]]:
    """What the loop would have logged: exceptions that nobody asked for, tasks destroyed while pending."""
    heard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    yield heard
    gc.collect()
    assert heard == []


@pytest.fixture
def models(make: Make, sim: Sim) -> Models:
    sim.set("*", length=8, tokens_per_s=1e6, latency_s=0.0)
    return make(tiers=TIERS, providers={"openai": {"max_concurrent": 1}})


async def generate(models: Models, spec: str) -> Result:
    return await models.generate_text(spec, prompt=STORY, pin=True)


async def read(models: Models, spec: str) -> Result:
    stream = models.stream_text(spec, prompt=STORY, pin=True)
    async for _ in stream.text:
        pass
    return await stream.result()


async def hold(models: Models, spec: str) -> Result:
    async with models.stream_text(spec, prompt=STORY, pin=True) as stream:
        return await stream.result()


def running(models: Models) -> int:
    now = models.statistics()
    providers: dict[str, dict[str, int]] = now["providers"]
    return len(models._shared.tasks) + sum(each["running"] + each["waiting"] for each in providers.values())


async def nothing_runs(models: Models) -> None:
    await until(lambda: not running(models))


@pytest.mark.parametrize("spec", [f"tier:{name}" for name in TIERS])
@pytest.mark.parametrize("ask", [generate, read, hold])
async def test_a_call_may_be_cancelled_at_any_step(
    models: Models, sim: Sim, complaints: list[Any], spec: str, ask: Callable[[Models, str], Awaitable[Result]]
) -> None:
    ways: set[str] = set()
    for steps in STEPS:
        tasks = [asyncio.ensure_future(ask(models, spec)) for _ in range(1 + steps % 2)]  # the second waits for a slot
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        done, late = await asyncio.wait(tasks, timeout=2)
        assert not late
        ways |= {
            "cancelled" if task.cancelled() else "answered" for task in done if task.cancelled() or task.exception() is None
        }
        await nothing_runs(models)
    assert "cancelled" in ways
    assert (await sim.idle(timeout=2)).in_flight == 0


# --- Models.close() and the streams of others ------------------------------------------------------------------------


@pytest.fixture
def slow(make: Make, sim: Sim) -> Models:
    sim.set("*", hang=True)
    return make(tiers=TIERS, providers={"openai": {"max_concurrent": 1}}, users={"jane": {"defaults": {"max_concurrent": 1}}})


async def text_of(models: Models, spec: str) -> str:
    return "".join([piece async for piece in models.stream_text(spec, prompt=STORY, pin=True).text])


@pytest.mark.parametrize("spec", [f"tier:{name}" for name in TIERS])
async def test_closing_ends_the_requests_that_still_run_with_an_error_that_says_so(
    slow: Models, complaints: list[Any], spec: str
) -> None:
    waiting = [asyncio.ensure_future(ask(slow, spec)) for ask in (generate, text_of, generate)]
    await until(lambda: slow.statistics()["calls"] >= len(waiting))
    await slow.close()
    ends = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 2)
    assert [type(end) for end in ends] == [ModelsClosed] * 3
    assert running(slow) == 0


async def test_a_stream_that_another_task_closes_ends_for_its_reader_with_an_error_and_no_cancellation(
    slow: Models, complaints: list[Any]
) -> None:
    stream = slow.stream_text("tier:one", prompt=STORY)
    reader = asyncio.ensure_future(anext(aiter(stream)))
    await until(lambda: slow.statistics()["calls"])
    await stream.close()
    with pytest.raises(StreamLeft):
        await asyncio.wait_for(reader, 2)


async def test_a_stream_that_was_closed_is_not_read_as_an_empty_answer(slow: Models, sim: Sim) -> None:
    stream = slow.stream_text("tier:one", prompt=STORY)
    await stream.close()
    with pytest.raises(StreamLeft):
        await anext(aiter(stream))
    with pytest.raises(StreamLeft):
        await stream.result()
    assert sim.stats.requests == 0


async def test_a_result_may_be_asked_for_again_and_texts_only_once(models: Models) -> None:
    stream = models.stream_text("tier:one", prompt=STORY)
    texts = stream.text
    with pytest.raises(StreamLeft, match="only once"):
        _ = stream.text
    told = "".join([piece async for piece in texts])
    assert told
    assert (await stream.result()).text == told
    assert (await stream.result()).text == told


def test_loops_in_several_threads_share_one_models_while_its_providers_change() -> None:
    with Sim(seed=7) as sim:
        models = create_models(providers=sim.providers("openai", "groq"), tiers={"race": TIERS["race"]})
        answers: list[str] = []

        async def ask_many() -> None:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(generate(models, "tier:race")) for _ in range(8)]
            answers.extend(task.result().text for task in asked)

        threads = [threading.Thread(target=asyncio.run, args=(ask_many(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        changes = 0
        while any(thread.is_alive() for thread in threads):
            changes += 1
            models.update_provider("openai", max_concurrent=1 + changes % 3, enabled=bool(changes % 2))
            time.sleep(0.002)
        assert len(answers) == 24
        assert all(answers)
        assert running(models) == 0


def test_a_loop_that_is_taken_down_ends_its_requests_and_frees_their_slots() -> None:
    with Sim(seed=7) as sim:
        sim.set("*", hang=True)
        models = create_models(providers=sim.providers("openai"), users={"jane": {"defaults": {"max_concurrent": 1}}})
        kept: list[Any] = []

        async def leave_it_open() -> None:
            kept.append(aiter(models.stream_text("openai/gpt-4o", user_id="jane", prompt=STORY)))
            reading = asyncio.ensure_future(anext(kept[0]))
            await until(lambda: models.statistics()["calls"] == 1)
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())

        asyncio.run(leave_it_open())
        sim.set("*", hang=False)
        answer = asyncio.run(models.generate_text("openai/gpt-4o", user_id="jane", prompt="What is the capital of France?"))
        assert answer.text == "Paris"
