"""Paths, methods, keys and headers are as the providers have them."""

from __future__ import annotations

import io
import json
from typing import Any

import aiohttp
import pytest

from podium.sim import Sim, SimProvider

USER = [{"role": "user", "content": "What is 17 * 23?"}]
CHAT: dict[str, Any] = {"model": "m", "messages": USER}
MESSAGE: dict[str, Any] = {"model": "m", "messages": USER, "max_tokens": 50}
VERSION = {"anthropic-version": "2023-06-01"}


async def ask(
    http: aiohttp.ClientSession, url: str, method: str = "POST", *, headers: dict[str, str] | None = None, **more: Any
) -> tuple[int, Any, Any]:
    async with http.request(method, url, headers=headers or {}, **more) as response:
        content = await response.read()
        return response.status, response.headers, json.loads(content) if content else None


@pytest.mark.parametrize("provider", ["openai", "openrouter", "groq", "local", "vllm", "my-own"])
async def test_openai_chat_is_served_below_any_providers_name(sim: Sim, http: aiohttp.ClientSession, provider: str) -> None:
    url = f"{sim.base_url(provider)}/chat/completions"
    status, _, body = await ask(http, url, json=CHAT, headers={"authorization": "Bearer k"})
    assert (status, body["choices"][0]["message"]["content"]) == (200, "391")
    assert sim.requests[-1].provider == provider


async def test_plain_paths_are_the_default_providers(sim: Sim, http: aiohttp.ClientSession) -> None:
    await ask(http, f"{sim.url}/v1/chat/completions", json=CHAT, headers={"authorization": "Bearer k"})
    await ask(http, f"{sim.url}/v1/messages", json=MESSAGE, headers={"x-api-key": "k", **VERSION})
    assert [exchange.provider for exchange in sim.requests] == ["openai", "anthropic"]
    assert [exchange.status for exchange in sim.requests] == [200, 200]
    _, _, chat = await ask(http, f"{sim.url}/v1/models", "GET", headers={"authorization": "Bearer k"})
    _, _, message = await ask(http, f"{sim.url}/v1/models", "GET", headers={"x-api-key": "k", **VERSION})
    assert (chat["object"], message["has_more"]) == ("list", False)


async def test_a_key_is_needed_and_may_be_wrong(sim: Sim, http: aiohttp.ClientSession) -> None:
    chat, message = f"{sim.base_url()}/chat/completions", f"{sim.base_url('anthropic')}/v1/messages"
    status, _, body = await ask(http, chat, json=CHAT)
    assert (status, body["error"]["message"][:30]) == (401, "You didn't provide an API key.")
    status, _, body = await ask(http, message, json=MESSAGE, headers=VERSION)
    assert (status, body["error"]) == (401, {"type": "authentication_error", "message": "x-api-key header is required"})
    sim.set_provider("openai", keys=("right",))
    sim.set_provider("anthropic", keys=("right",))
    status, _, body = await ask(http, chat, json=CHAT, headers={"authorization": "Bearer wrong-and-secret-0123456789"})
    assert (status, body["error"]["code"]) == (401, "invalid_api_key")
    assert "secret" not in body["error"]["message"]
    status, _, body = await ask(http, message, json=MESSAGE, headers={"x-api-key": "wrong", **VERSION})
    assert (status, body["error"]["message"]) == (401, "invalid x-api-key")
    assert (await ask(http, chat, json=CHAT, headers={"authorization": "Bearer right"}))[0] == 200


async def test_a_local_provider_asks_for_no_key(sim: Sim, http: aiohttp.ClientSession) -> None:
    assert (await ask(http, f"{sim.base_url('local')}/chat/completions", json=CHAT))[0] == 200


async def test_the_version_header_is_needed(sim: Sim, http: aiohttp.ClientSession) -> None:
    url = f"{sim.base_url('anthropic')}/v1/messages"
    status, _, body = await ask(http, url, json=MESSAGE, headers={"x-api-key": "k"})
    assert (status, body["error"]["message"]) == (400, "anthropic-version: header is required")


async def test_unknown_paths_and_wrong_methods_are_refused_in_the_providers_form(sim: Sim, http: aiohttp.ClientSession) -> None:
    status, _, body = await ask(http, f"{sim.base_url()}/chats", headers={"authorization": "Bearer k"})
    assert (status, body["error"]["message"]) == (404, "Invalid URL (POST /openai/v1/chats)")
    status, _, body = await ask(http, f"{sim.base_url()}/chat/completions", "GET", headers={"authorization": "Bearer k"})
    assert (status, body["error"]["code"]) == (405, "method_not_supported")
    status, _, body = await ask(http, f"{sim.url}/openai/v1/messages", json=MESSAGE, headers={"x-api-key": "k", **VERSION})
    assert (status, body["error"]["type"]) == (404, "invalid_request_error"), "OpenAI has no Messages API"
    status, _, body = await ask(http, f"{sim.base_url('anthropic')}/v1/chats", headers={"x-api-key": "k", **VERSION})
    assert (status, body["error"]) == (404, {"type": "not_found_error", "message": "Not Found"})
    status, _, body = await ask(http, f"{sim.base_url('anthropic')}/v1/messages", "GET", headers={"x-api-key": "k"})
    assert (status, body["type"]) == (405, "error")


async def test_a_body_must_be_json_and_not_too_large(sim: Sim, http: aiohttp.ClientSession) -> None:
    chat, message = f"{sim.base_url()}/chat/completions", f"{sim.base_url('anthropic')}/v1/messages"
    keys = {"authorization": "Bearer k", **VERSION}
    for url in (chat, message):
        status, _, body = await ask(http, url, data=b'{"model": ', headers=keys)
        assert status == 400
        assert "JSON" in body["error"]["message"]
    status, _, body = await ask(http, message, data=io.BytesIO(b" " * (33 * 1024 * 1024)), headers=keys)
    assert (status, body["error"]["type"]) == (413, "request_too_large")
    assert sim.stats.refused == 3


async def test_answers_carry_the_headers_of_their_vendors(sim: Sim, http: aiohttp.ClientSession) -> None:
    _, chat, _ = await ask(http, f"{sim.base_url()}/chat/completions", json=CHAT, headers={"authorization": "Bearer k"})
    assert chat["x-request-id"].startswith("req_")
    assert {"openai-processing-ms", "x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens"} <= chat.keys()
    url = f"{sim.base_url('anthropic')}/v1/messages"
    _, message, _ = await ask(http, url, json=MESSAGE, headers={"x-api-key": "k", **VERSION})
    assert {"request-id", "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-tokens-reset"} <= message.keys()
    _, failed, body = await ask(http, url, json={}, headers={"x-api-key": "k", **VERSION})
    assert failed["request-id"] == body["request_id"]


async def test_a_provider_may_speak_both_dialects_and_list_its_models(http: aiohttp.ClientSession) -> None:
    both = SimProvider(dialects=("openai_chat", "anthropic"), models=("m",), only_listed=True)
    async with Sim(providers={"both": both}) as sim:
        keys = {"authorization": "Bearer k", **VERSION}
        assert (await ask(http, f"{sim.url}/both/v1/chat/completions", json=CHAT, headers=keys))[0] == 200
        assert (await ask(http, f"{sim.url}/both/v1/messages", json=MESSAGE, headers=keys))[0] == 200
        status, _, body = await ask(http, f"{sim.url}/both/v1/chat/completions", json={**CHAT, "model": "x"}, headers=keys)
        assert (status, body["error"]["code"]) == (404, "model_not_found")


def test_base_urls_are_as_a_providers_config_takes_them() -> None:
    with Sim() as sim:
        assert sim.base_url("openai") == f"{sim.url}/openai/v1"
        assert sim.base_url("anthropic") == f"{sim.url}/anthropic"
        assert sim.providers("openai", "anthropic") == {
            "openai": {"base_url": f"{sim.url}/openai/v1", "api_key": "sim-openai"},
            "anthropic": {"base_url": f"{sim.url}/anthropic", "api_key": "sim-anthropic"},
        }
