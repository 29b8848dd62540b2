"""A simulated model fails as it was told to, and the same way each time."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import Any

import aiohttp
import openai
import pytest

from podium.errors import ConfigError
from podium.sim import Sim, SimModel, SimProvider, chance, lifelike
from podium.sim.stats import Exchange

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Tell me about tides."}]}
MESSAGE = {**CHAT, "max_tokens": 500}
KEY = {"authorization": "Bearer sk-sim", "anthropic-version": "2023-06-01"}


async def post(http: aiohttp.ClientSession, sim: Sim, body: dict[str, Any] = CHAT, path: str = "") -> tuple[int, Any, bytes]:
    async with http.post(path or f"{sim.base_url('openai')}/chat/completions", json=body, headers=KEY) as response:
        return response.status, response.headers, await response.read()


async def anthropic_post(http: aiohttp.ClientSession, sim: Sim, body: dict[str, Any] = MESSAGE) -> tuple[int, Any, bytes]:
    return await post(http, sim, body, f"{sim.base_url('anthropic')}/v1/messages")


async def test_a_throttle_says_when_to_come_back(sim: Sim, http: aiohttp.ClientSession) -> None:
    sim.set("gpt-4o", throttle_rate=1, retry_after_s=2.5)
    status, headers, body = await post(http, sim)
    assert (status, headers["retry-after"], headers["retry-after-ms"]) == (429, "2", "2500")
    assert json.loads(body)["error"]["code"] == "rate_limit_exceeded"
    status, headers, body = await anthropic_post(http, sim)
    assert (status, headers["retry-after"]) == (429, "2")
    assert json.loads(body)["error"]["type"] == "rate_limit_error"


async def test_a_share_of_the_requests_fails_with_the_usual_statuses(sim: Sim, http: aiohttp.ClientSession) -> None:
    sim.set("gpt-4o", failure_rate=0.3)
    statuses = [(await post(http, sim))[0] for _ in range(200)]
    assert 40 <= sum(status != 200 for status in statuses) <= 80
    assert set(statuses) == {200, 500, 503, 529}
    assert sim.stats.by_status == {status: statuses.count(status) for status in set(statuses)}


async def test_a_run_repeats_whatever_the_order_of_its_requests(http: aiohttp.ClientSession) -> None:
    bodies = [{**CHAT, "messages": [{"role": "user", "content": f"Tell me about tide {n % 20}."}]} for n in range(60)]
    settings = {"gpt-4o": SimModel(failure_rate=0.4, throttle_rate=0.2)}

    async def run(seed: int, reverse: bool, together: bool) -> dict[str, list[int]]:
        async with Sim(models=settings, seed=seed) as sim:
            turn = bodies[::-1] if reverse else bodies
            if together:
                await asyncio.gather(*(post(http, sim, body) for body in turn))
            else:
                for body in turn:
                    await post(http, sim, body)
            seen: dict[str, list[int]] = {}
            for exchange in sim.requests:
                seen.setdefault(exchange.body["messages"][0]["content"], []).append(exchange.status or 0)
            return seen

    first = await run(1, reverse=False, together=False)
    assert await run(1, reverse=True, together=False) == first
    assert {prompt: sorted(each) for prompt, each in (await run(1, reverse=False, together=True)).items()} == {
        prompt: sorted(each) for prompt, each in first.items()
    }
    assert await run(2, reverse=False, together=False) != first
    assert any(len(set(each)) > 1 for each in first.values()), "a retry draws afresh"


async def test_a_reset_makes_the_same_requests_fail_again(sim: Sim, http: aiohttp.ClientSession) -> None:
    sim.set("gpt-4o", failure_rate=0.5)
    first = [(await post(http, sim))[0] for _ in range(20)]
    sim.reset()
    assert sim.stats.requests == 0
    assert [(await post(http, sim))[0] for _ in range(20)] == first


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hang_accepts_and_says_nothing(sim: Sim, http: aiohttp.ClientSession, stream: bool) -> None:
    sim.set("gpt-4o", hang=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await post(http, sim, {**CHAT, "stream": stream})
    stats = await sim.idle()
    assert (stats.cancelled, stats.cancelled_waiting, stats.streams_cancelled) == (1, 1, int(stream))
    assert (sim.requests[0].fault, sim.requests[0].status) == ("hang", None)


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
async def test_a_stall_falls_silent_after_its_tokens(sim: Sim, http: aiohttp.ClientSession, dialect: str) -> None:
    sim.set("gpt-4o", stall_after=4)
    provider, path = ("openai", "chat/completions") if dialect == "openai_chat" else ("anthropic", "v1/messages")
    got = b""

    async def listen() -> None:
        nonlocal got
        async with http.post(f"{sim.base_url(provider)}/{path}", json={**MESSAGE, "stream": True}, headers=KEY) as response:
            async for chunk in response.content.iter_any():
                got += chunk

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(listen(), 0.15)
    marks = got.count(b'"content":"') - 1 if dialect == "openai_chat" else got.count(b"text_delta")
    assert marks == 4
    await sim.idle()
    assert (sim.requests[0].tokens, sim.requests[0].fault, sim.requests[0].outcome) == (4, "stall_after", "cancelled")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("count", [0, 3, 100_000])
async def test_a_break_cuts_the_connection(sim: Sim, http: aiohttp.ClientSession, stream: bool, count: int) -> None:
    sim.set("gpt-4o", break_after=count)
    with pytest.raises(aiohttp.ClientPayloadError):
        await post(http, sim, {**CHAT, "stream": stream})
    stats = await sim.idle()
    assert (stats.broken, stats.cancelled, stats.streams_broken) == (1, 0, int(stream))


async def test_the_sdks_raise_where_a_stream_breaks(sim: Sim) -> None:
    sim.set("gpt-4o", break_after=3)
    got = []

    async def listen() -> None:
        async with openai.AsyncOpenAI(base_url=sim.base_url(), api_key="k", max_retries=0) as client:
            async for chunk in await client.chat.completions.create(**CHAT, stream=True):  # type: ignore[call-overload]
                got.append(chunk)  # noqa: PERF401 - a comprehension would lose what came before the error

    with pytest.raises(openai.APIConnectionError):
        await listen()
    assert len(got) == 4


async def test_malformed_events_come_in_mid_stream(sim: Sim, http: aiohttp.ClientSession) -> None:
    sim.set("gpt-4o", malformed_after=2)
    _, _, chat = await post(http, sim, {**CHAT, "stream": True})
    _, _, message = await anthropic_post(http, sim, {**MESSAGE, "stream": True})
    assert b"data: }{" in chat
    assert b"[DONE]" not in chat
    assert b"message_stop" not in message
    _, _, body = await post(http, sim)
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)
    assert sim.stats.broken == 3


async def test_an_error_event_ends_a_stream_without_a_success(sim: Sim, http: aiohttp.ClientSession) -> None:
    sim.set("gpt-4o", error_after=2)
    _, _, chat = await post(http, sim, {**CHAT, "stream": True})
    assert b'"error"' in chat
    assert b"[DONE]" not in chat
    _, _, message = await anthropic_post(http, sim, {**MESSAGE, "stream": True})
    assert b"overloaded_error" in message
    assert b"message_stop" not in message
    assert (await post(http, sim))[0] == 503
    assert (await anthropic_post(http, sim))[0] == 529


@pytest.mark.parametrize("stream", [False, True])
async def test_wrong_json_is_json_of_no_dialect(sim: Sim, http: aiohttp.ClientSession, stream: bool) -> None:
    sim.set("gpt-4o", wrong_json=True)
    status, headers, body = await post(http, sim, {**CHAT, "stream": stream})
    assert (status, headers["content-type"]) == (200, "application/json")
    assert "choices" not in json.loads(body)


async def test_a_fault_strikes_its_share_of_the_requests(sim: Sim, http: aiohttp.ClientSession) -> None:
    sim.set("gpt-4o", wrong_json=True, fault_rate=0.5)
    answers = [b"choices" in (await post(http, sim))[2] for _ in range(100)]
    assert 30 <= sum(answers) <= 70


async def test_an_empty_answer_is_well_formed(sim: Sim, http: aiohttp.ClientSession) -> None:
    sim.set("gpt-4o", empty=True)
    chat, message = json.loads((await post(http, sim))[2]), json.loads((await anthropic_post(http, sim))[2])
    assert not chat["choices"][0]["message"].get("content")
    assert chat["usage"]["completion_tokens"] == message["usage"]["output_tokens"] == 0
    assert message["content"] == []


async def test_a_model_takes_its_time(sim: Sim, http: aiohttp.ClientSession) -> None:
    sim.set("gpt-4o", latency_s=0.1, tokens_per_s=200, length=40)
    begun = time.monotonic()
    await post(http, sim, {**CHAT, "stream": True})
    took = time.monotonic() - begun
    exchange: Exchange = sim.requests[0]
    expected = 0.1 + (exchange.tokens - 1) / 200
    assert exchange.first_token_s is not None
    assert 0.1 <= exchange.first_token_s < 1
    assert expected <= took < expected + 1
    begun = time.monotonic()
    await post(http, sim)
    assert expected <= time.monotonic() - begun < expected + 1


def test_latencies_are_lognormal() -> None:
    drawn = sorted(chance.lognormal(0.2, 0.5, "latency", number) for number in range(4000))
    assert statistics.median(drawn) == pytest.approx(0.2, rel=0.05)
    assert drawn[int(0.8413 * 4000)] / 0.2 == pytest.approx(2.718**0.5, rel=0.08)


async def test_settings_hold_from_the_next_request_on(sim: Sim, http: aiohttp.ClientSession) -> None:
    assert (await post(http, sim))[0] == 200
    sim.set("openai/*", status=503)
    assert (await post(http, sim))[0] == 503
    sim.set("gpt-4o", status=None)
    assert (await post(http, sim))[0] == 200, "a plain name comes before a glob"
    sim.set("openai/gpt-4o", answer="as told")
    assert sim.model("openai/gpt-4o").answer == "as told"
    assert b"as told" in (await post(http, sim))[2]
    sim.unset("openai/gpt-4o")
    sim.unset("gpt-4o")
    assert (await post(http, sim))[0] == 503
    assert (await anthropic_post(http, sim))[0] == 200, "another provider is not meant"


@pytest.mark.parametrize(
    "wrong",
    [
        {"failure_rate": 1.5},
        {"latency_s": -1},
        {"tokens_per_s": 0},
        {"status": 200},
        {"stall_after": -1},
        {"length": 0},
        {"speed": 3},
    ],
    ids=str,
)
def test_a_wrong_setting_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Sim().set("gpt-4o", **wrong)


def test_settings_may_be_plain_dicts_and_are_checked() -> None:
    assert Sim(models={"m": {"latency_s": 0.5}}).model("m").latency_s == 0.5
    with pytest.raises(ConfigError, match="The simulated model 'm' is wrong"):
        Sim(models={"m": {"latency": 0.5}})
    with pytest.raises(ConfigError, match="The simulated provider 'p' is wrong"):
        Sim(providers={"p": {"only": True}})


def test_a_providers_keys_are_in_no_repr() -> None:
    assert "sk-very-secret" not in repr(SimProvider(keys=("sk-very-secret",)))


def test_a_lifelike_model_is_the_same_each_time_and_small_ones_are_faster() -> None:
    assert lifelike("gpt-4o-mini") == lifelike("gpt-4o-mini")
    assert lifelike("gpt-4o-mini").latency_s < lifelike("claude-opus-4").latency_s
