"""What the sim served is counted exactly, and a client's leaving at once."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

import podium.sim
from podium.errors import ConfigError
from podium.sim import Sim, SimModel, Stats, serve

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Tell me about tides."}]}
KEY = {"authorization": "Bearer sk-sim"}


def whole(stats: Stats) -> bool:
    """Say whether every request and every stream is in exactly one count."""
    ended = stats.finished + stats.refused + stats.cancelled + stats.broken + stats.stopped
    streams = stats.streams_finished + stats.streams_cancelled + stats.streams_broken + stats.streams_stopped
    return stats.requests == ended + stats.in_flight and stats.streams_begun == streams + stats.streams_running


async def until(true: Callable[[], bool]) -> float:
    """Wait until something holds, and return how long that took."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < 5
        await asyncio.sleep(0.001)
    return time.monotonic() - begun


@pytest.mark.parametrize(
    "settings",
    [
        SimModel(latency_s=30),
        SimModel(hang=True),
        SimModel(stall_after=3),
        SimModel(tokens_per_s=1),
    ],
    ids=["waiting", "hanging", "stalled", "streaming"],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_clients_leaving_is_counted_at_once(
    sim: Sim, http: aiohttp.ClientSession, settings: SimModel, stream: bool
) -> None:
    sim.set("gpt-4o", settings)

    async def ask() -> None:
        async with http.post(f"{sim.base_url()}/chat/completions", json={**CHAT, "stream": stream}, headers=KEY) as response:
            await response.read()

    task = asyncio.create_task(ask())
    await until(lambda: sim.stats.in_flight == 1)
    await asyncio.sleep(0.02)
    task.cancel()
    # It takes a millisecond or two; the bound leaves room for a busy machine, and is far below every wait of the sim's own.
    assert await until(lambda: sim.stats.cancelled == 1) < 0.5
    stats = sim.stats
    assert (stats.in_flight, stats.streams_cancelled) == (0, int(stream))
    assert whole(stats)


async def test_500_streams_at_once_are_counted_exactly(sim: Sim, http: aiohttp.ClientSession) -> None:
    """A third is read to the end, a third left half way, a third cancelled before the first token."""
    sim.set("slow", SimModel(latency_s=60))
    sim.set("long", SimModel(tokens_per_s=40, length=4000))
    sim.set("gpt-4o", SimModel(tokens_per_s=40, length=60))

    async def ask(number: int) -> int:
        model = ("gpt-4o", "long", "slow")[number % 3]
        body = {**CHAT, "model": model, "stream": True, "user": f"user-{number % 3}"}
        got = 0
        async with http.post(f"{sim.base_url()}/chat/completions", json=body, headers=KEY) as response:
            async for line in response.content:
                got += line.startswith(b"data: ")
                if number % 3 == 1 and got > 20:
                    return got
        return got

    tasks = [asyncio.create_task(ask(number)) for number in range(500)]
    await until(lambda: sim.stats.streams_begun == 500)
    for task in tasks[2::3]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    stats = await sim.idle()
    assert (stats.streams_begun, stats.streams_finished, stats.streams_cancelled) == (500, 167, 333)
    assert stats.cancelled_waiting == 166
    assert stats.by_user == {"user-0": 167, "user-1": 167, "user-2": 166}
    assert stats.tokens == sum(exchange.tokens for exchange in sim.requests)
    assert whole(stats)


async def test_what_is_delivered_is_what_is_counted(sim: Sim, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{sim.base_url()}/chat/completions", json=CHAT, headers=KEY) as response:
        usage = (await response.json())["usage"]
    stats = await sim.idle()
    assert (stats.input_tokens, stats.tokens) == (usage["prompt_tokens"], usage["completion_tokens"])


async def test_requests_are_counted_by_whom_they_came_from(sim: Sim, http: aiohttp.ClientSession) -> None:
    async def ask(key: str, agent: str, body: Any) -> int:
        headers = {"authorization": f"Bearer {key}", "user-agent": agent}
        async with http.post(f"{sim.base_url('groq')}/chat/completions", json=body, headers=headers) as response:
            return response.status

    statuses = [await ask("key-one", "a/1", CHAT), await ask("key-two", "a/1", CHAT), await ask("key-two", "b/2", {})]
    assert statuses == [200, 200, 400]
    stats = sim.stats
    assert stats.by_provider == {"groq": 3}
    assert stats.by_model == {"groq/gpt-4o": 2}
    assert sorted(stats.by_key.values()) == [1, 2]
    assert not any("one" in key or "two" in key for key in stats.by_key)
    assert stats.by_agent == {"a/1": 2, "b/2": 1}
    assert stats.by_status == {200: 2, 400: 1}


async def test_the_counts_can_be_had_over_http(sim: Sim, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{sim.base_url()}/chat/completions", json=CHAT, headers=KEY) as response:
        await response.read()
    async with http.get(f"{sim.url}/_sim/stats") as response:
        assert (await response.json())["finished"] == 1
    async with http.get(f"{sim.url}/_sim/requests") as response:
        listed = await response.json()
    assert listed[0]["body"] == CHAT
    assert "sk-sim" not in json.dumps(listed)
    async with http.post(f"{sim.url}/_sim/reset") as response:
        assert (await response.json())["requests"] == 0
    assert sim.requests == ()


async def test_only_so_many_requests_are_kept(http: aiohttp.ClientSession) -> None:
    async with Sim(keep=3) as sim:
        for _ in range(5):
            async with http.post(f"{sim.base_url()}/chat/completions", json=CHAT, headers=KEY) as response:
                await response.read()
        assert [exchange.number for exchange in sim.requests] == [3, 4, 5]
        assert sim.stats.requests == 5


async def test_a_reset_forgets_what_still_runs(sim: Sim, http: aiohttp.ClientSession) -> None:
    sim.set("gpt-4o", hang=True)
    task = asyncio.create_task(http.post(f"{sim.base_url()}/chat/completions", json=CHAT, headers=KEY).__aenter__())
    await until(lambda: sim.stats.in_flight == 1)
    sim.reset()
    task.cancel()
    assert await sim.idle() == Stats()


async def test_what_runs_when_the_sim_ends_is_counted_as_stopped(http: aiohttp.ClientSession) -> None:
    async with Sim(default=SimModel(hang=True)) as sim:
        task = asyncio.create_task(http.post(f"{sim.base_url()}/chat/completions", json=CHAT, headers=KEY).__aenter__())
        await until(lambda: sim.stats.in_flight == 1)
    with pytest.raises(aiohttp.ClientError):
        await task
    assert (sim.stats.stopped, sim.stats.cancelled, sim.stats.in_flight) == (1, 0, 0)


def test_a_sim_on_its_own_thread_can_be_reset() -> None:
    with Sim() as sim:
        request = urllib.request.Request(f"{sim.base_url('local')}/chat/completions", json.dumps(CHAT).encode())
        with urllib.request.urlopen(request) as response:
            assert response.status == 200
        assert sim.wait_idle().requests == 1
        sim.reset()
        assert sim.stats == Stats()


def test_all_public_names_can_be_had() -> None:
    assert podium.sim.__all__ == dir(podium.sim)
    assert all(getattr(podium.sim, name) for name in podium.sim.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Simulator'"):
        podium.sim.Simulator  # noqa: B018


def test_a_sim_serves_until_it_is_told_to_stop() -> None:
    enough = threading.Event()
    seen: list[str] = []

    def ready(sim: Sim) -> None:
        seen.append(sim.base_url())
        enough.set()

    assert serve(Sim(), ready=ready, until=enough) == Stats()
    assert seen[0].startswith("http://127.0.0.1:")


def test_a_taken_port_is_named() -> None:
    with Sim() as sim, pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{sim.port}"), Sim(port=sim.port):
        pass


def test_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot listen on port 99999"):
        Sim(port=99_999)
