"""Streams that are left early, and what is left behind: nothing."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest

from making import Make
from podium import Models
from podium.engine.attempt import Call
from podium.engine.runner import _ROOM, Run
from podium.errors import StreamLeft
from podium.sim import Sim
from podium.types import Finished, PartDelta, Started
from waiting import until

STORY = "Tell me a long story about ships."


async def test_a_stream_is_events_from_started_to_finished(make: Make) -> None:
    events = [event async for event in make().stream_text("openai/gpt-4o", prompt=STORY)]
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert sum(isinstance(event, PartDelta) for event in events) > 5


@pytest.mark.parametrize("how", ["whole", "streamed", "left"])
async def test_a_request_that_is_over_leaves_nothing_to_the_garbage_collector(make: Make, how: str) -> None:
    """Whatever hangs on a request would wait for the collector with it, and each request would pay for that."""
    models = make()

    async def ask() -> None:
        if how == "whole":
            await models.generate_text("openai/gpt-4o", prompt=STORY)
            return
        async with models.stream_text("openai/gpt-4o", prompt=STORY) as stream:
            async for event in stream:
                if how == "left" and isinstance(event, PartDelta):
                    break

    def left() -> int:
        return sum(isinstance(each, Run | Call) for each in gc.get_objects())

    gc.disable()
    try:
        before = left()
        for _ in range(3):
            await ask()
        await until(lambda: left() <= before)  # what was left is cancelled in turns of its own
    finally:
        gc.enable()


async def test_nothing_is_sent_before_a_stream_is_read(make: Make, sim: Sim) -> None:
    stream = make().stream_text("openai/gpt-4o", prompt=STORY)
    await asyncio.sleep(0.02)
    assert sim.stats.requests == 0
    await stream.close()
    assert sim.stats.requests == 0


async def test_a_stream_can_be_read_once(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", tokens_per_s=50.0)
    stream = make().stream_text("openai/gpt-4o", prompt=STORY)
    async for _ in stream.text:
        break
    with pytest.raises(StreamLeft, match="only once"):
        aiter(stream)
    with pytest.raises(StreamLeft, match="left before its end"):
        await stream.result()


async def test_a_slow_reader_holds_the_upstream_back(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", length=200_000)
    stream = make().stream_text("openai/gpt-4o", prompt=STORY)
    async for _ in stream:
        break_at = sim.stats.tokens
        await asyncio.sleep(0.3)
        assert len(stream._run._ready) <= _ROOM + 1
        assert sim.stats.tokens < 150_000, break_at
        break


async def by_async_with(models: Models, spec: str) -> None:
    async with models.stream_text(spec, prompt=STORY) as stream:
        seen = 0
        async for _ in stream.text:
            seen += 1
            if seen == 5:
                return


async def by_break(models: Models, spec: str) -> None:
    seen = 0
    async for _ in models.stream_text(spec, prompt=STORY).text:
        seen += 1
        if seen == 5:
            break


async def by_cancellation(models: Models, spec: str) -> None:
    half_way = asyncio.Event()

    async def read() -> None:
        seen = 0
        async for _ in models.stream_text(spec, prompt=STORY).text:
            seen += 1
            if seen == 5:
                half_way.set()

    task = asyncio.create_task(read())
    await half_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_an_error_in_the_loop(models: Models, spec: str) -> None:
    with pytest.raises(ZeroDivisionError):
        await divide(models, spec)


async def divide(models: Models, spec: str) -> None:
    async for _ in models.stream_text(spec, prompt=STORY).text:
        1 / 0  # noqa: B018


@pytest.mark.parametrize("leave", [by_async_with, by_break, by_cancellation, by_an_error_in_the_loop])
async def test_leaving_early_closes_the_upstream_connection(
    make: Make, sim: Sim, leave: Callable[[Models, str], Awaitable[None]]
) -> None:
    sim.set("gpt-4o", tokens_per_s=100.0, length=2000)
    await leave(make(), "openai/gpt-4o")
    stats = await sim.idle(timeout=2)
    assert (stats.streams_cancelled, stats.streams_finished) == (1, 0)


async def test_cancelling_a_call_that_waits_for_its_whole_answer_cancels_it_upstream(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", hang=True)
    task = asyncio.create_task(make().generate_text("openai/gpt-4o", prompt=STORY))
    while not sim.stats.in_flight:  # noqa: ASYNC110  the sim has no event for this
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await sim.idle(timeout=2)).cancelled == 1
