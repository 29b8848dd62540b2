"""CPU of one in-process call, whole answer and stream, beside the openai SDK and a bare aiohttp post."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import aiohttp
from openai import AsyncOpenAI

from bench.paired import Contender, compare
from bench.upstream import upstream
from podium import create_models

CALLS = 2000
CONCURRENCY = 16
_MESSAGES = [{"role": "user", "content": "Say something about a fox."}]


async def _load(call: Callable[[], Awaitable[object]]) -> float:
    """CPU microseconds of this process a call, at a fixed concurrency."""

    async def worker() -> None:
        for _ in range(CALLS // CONCURRENCY):
            await call()

    await call()
    began = time.process_time()
    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return (time.process_time() - began) / CALLS * 1e6


def main() -> None:
    """Measure and print."""
    with upstream() as base_url:

        async def podium() -> float:
            async with create_models(providers={"openai": {"base_url": base_url, "api_key": "bench"}}) as models:
                return await _load(lambda: models.generate_text("openai/gpt-4o-mini", prompt="Say something about a fox."))

        async def openai() -> float:
            async with AsyncOpenAI(base_url=base_url, api_key="bench", max_retries=0) as client:
                return await _load(lambda: client.chat.completions.create(model="gpt-4o-mini", messages=_MESSAGES))  # type: ignore[arg-type]

        async def bare() -> float:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

                async def call() -> None:
                    body = {"model": "gpt-4o-mini", "messages": _MESSAGES}
                    async with session.post(f"{base_url}/chat/completions", json=body) as response:
                        await response.json()

                return await _load(call)

        compare(
            f"CPU of one call, {CALLS} calls at concurrency {CONCURRENCY}, 1.1 kB answers",
            [
                Contender(name="podium", measure=lambda: asyncio.run(podium())),
                Contender(name="openai SDK", measure=lambda: asyncio.run(openai())),
                Contender(name="bare aiohttp", measure=lambda: asyncio.run(bare())),
            ],
            rounds=5,
            unit="us",
            aim="aim: a call <= 300 us",
        )


if __name__ == "__main__":
    main()
