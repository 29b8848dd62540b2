"""When what happens is on record: before the provider hears of it, and before the caller does, however many ask at once."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from podium import Models, create_models
from podium.errors import LimitError, PodiumError
from podium.ledger import Ended, Settled, Started, frames

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
}
CHUNK = {"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}
STREAMED = {"id": "1", "object": "chat.completion.chunk", "choices": [CHUNK]}
ASKED = 40


def on_record(folder: Path) -> list[Any]:
    """All records that the kernel has."""
    found: list[Any] = []
    for path in (folder / "journal").glob("*.journal"):
        found += frames.read(path.read_bytes(), frames.HEADER_SIZE, final=False).records
    return found


class Provider:
    """Answers, and looks each time how many attempts are on record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.arrived = 0
        self.unannounced = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.arrived += 1
        self.unannounced += sum(isinstance(each, Started) for each in on_record(self.folder)) < self.arrived
        body = await request.json()
        if body["messages"][-1]["content"] == "fail":
            return web.json_response({"error": {"message": "no", "type": "invalid_request_error"}}, status=400)
        if not body.get("stream"):
            return web.json_response(ANSWER)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: " + json.dumps(STREAMED).encode() + b"\n\ndata: [DONE]\n\n")
        return response


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    provider = Provider(tmp_path / "data")
    app = web.Application()
    app.router.add_post("/v1/chat/completions", provider.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provider.port = runner.addresses[0][1]
    yield provider
    await runner.cleanup()


@pytest.fixture
async def models(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Models]:
    monkeypatch.setattr("podium.ledger.journal.GROUP_S", 3600.0)  # nothing is written for want of anything better
    monkeypatch.setattr("podium.ledger.drain_thread.IDLE_S", 3600.0)  # nor is anything taken away
    base_url = f"http://127.0.0.1:{provider.port}/v1"
    async with create_models(
        providers={"openai": {"base_url": base_url, "api_key": "k"}},
        tiers={
            "fast": {"models": ["openai/gpt-4o"], "retries": 0},
            "dear": {"models": ["openai/gpt-4o"], "max_cost": "0.000000001"},
        },
        data_dir=str(provider.folder),
    ) as models:
        yield models


def ends(folder: Path) -> dict[str, str]:
    records = on_record(folder)
    entries = [each.entry for each in records if isinstance(each, Settled) and each.request_duration_s is not None]
    entries += [each for each in records if isinstance(each, Ended)]
    return {each.request_id: each.outcome for each in entries}


@pytest.mark.parametrize("prompt", ["hello", "fail"])
async def test_no_provider_hears_of_an_attempt_and_no_caller_of_an_end_that_is_not_on_record(
    provider: Provider, models: Models, prompt: str
) -> None:
    untold: list[str] = []

    async def ask(number: int) -> None:
        name = f"{prompt}-{number}"
        outcome = "ok"
        try:
            await models.generate_text("tier:fast", prompt=prompt, request_id=name)
        except PodiumError as error:
            outcome = error.code
        if ends(provider.folder).get(name) != outcome:
            untold.append(name)

    await ask(0)
    await asyncio.gather(*(ask(number) for number in range(1, ASKED)))
    assert provider.arrived == ASKED
    assert provider.unannounced == 0
    assert untold == []


async def test_a_stream_that_was_read_to_its_end_is_on_record(provider: Provider, models: Models) -> None:
    untold: list[str] = []

    async def read(number: int) -> None:
        stream = models.stream_text("tier:fast", prompt="hello", request_id=f"stream-{number}")
        async for _ in stream:
            pass
        if ends(provider.folder).get(f"stream-{number}") != "ok":
            untold.append(f"stream-{number}")

    await read(0)
    await asyncio.gather(*(read(number) for number in range(1, ASKED)))
    assert provider.unannounced == 0
    assert untold == []


async def test_a_caller_who_is_refused_is_told_when_it_is_on_record(provider: Provider, models: Models) -> None:
    await models.generate_text("tier:fast", prompt="hello")
    with pytest.raises(LimitError):
        await models.generate_text("tier:dear", prompt="hello", request_id="refused")
    assert ends(provider.folder)["refused"] == "cost_too_high"


async def test_the_result_of_a_stream_opens_no_ledger_that_was_closed(provider: Provider, models: Models) -> None:
    stream = models.stream_text("tier:fast", prompt="hello")
    async for _ in stream:
        pass
    await models.close()
    shutil.rmtree(provider.folder)
    assert (await stream.result()).text == "Hello"
    assert not provider.folder.exists()


async def test_records_of_requests_at_once_share_their_writes(provider: Provider, models: Models) -> None:
    """Else nothing would be gained by keeping them."""
    await models.generate_text("tier:fast", prompt="hello")
    await asyncio.gather(*(models.generate_text("tier:fast", prompt="hello") for _ in range(ASKED)))
    data = b"".join(path.read_bytes() for path in (provider.folder / "journal").glob("*.journal"))
    assert sum(isinstance(each, Started) for each in on_record(provider.folder)) == ASKED + 1
    assert data.count(b"\xab\xc5") < ASKED
