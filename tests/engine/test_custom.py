"""Providers of one's own: other addresses, other accounts, other names, and keys that nobody sees."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podium import Models, load_models
from podium.sim import Sim

KEY = "house-key-0123456789abcdef"
TEAM = "team-token-9876543210"
CAPITAL = "What is the capital of France?"

_CONFIG = """
providers:
  claude-house:
    dialect: anthropic
    base_url: {url}/anthropic
    api_key: ${{HOUSE_KEY}}
    headers: {{X-Team: "${{TEAM_TOKEN}}", x-region: "eu-${{REGION:-west}}"}}
    models: {{smart: claude-sonnet-4-5, big: {{upstream: claude-opus-4-5, priced_as: anthropic/claude-opus-4-5}}}}
  openai-us: {{kind: openai, base_url: {url}/openai/v1, api_key: us-key-aaaaaaaaaaaaaaaa}}
  openai-eu: {{kind: openai, base_url: {url}/openai/v1/, api_key: eu-key-bbbbbbbbbbbbbbbb}}
  open: {{base_url: {url}/local/v1}}
"""


@pytest.fixture
async def models(sim: Sim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Models]:
    monkeypatch.setenv("HOUSE_KEY", f"{KEY}\n")
    monkeypatch.setenv("TEAM_TOKEN", TEAM)
    (tmp_path / "podium.yaml").write_text(_CONFIG.format(url=sim.url))
    async with load_models(tmp_path / "podium.yaml") as made:
        yield made


async def test_a_provider_of_ones_own_speaks_its_dialect_with_its_key_its_headers_and_its_names(
    models: Models, sim: Sim
) -> None:
    result = await models.generate_text("claude-house/smart", prompt=CAPITAL)
    request = sim.requests[-1]
    assert (result.text, str(result.target)) == ("Paris", "claude-house/smart")
    assert (request.path, request.model) == ("/anthropic/v1/messages", "claude-sonnet-4-5")
    assert "x-api-key" in request.headers
    assert "authorization" not in request.headers
    assert (request.headers["x-team"], request.headers["x-region"]) == (TEAM, "eu-west")


@pytest.mark.parametrize(
    ("spec", "answered"),
    [
        ("smart", "claude-house/smart"),
        ("gpt-4o", "openai-us/gpt-4o"),
        ("openai-eu/gpt-4o", "openai-eu/gpt-4o"),
        ("open/m", "open/m"),
    ],
)
async def test_names_and_instances_find_their_provider(models: Models, spec: str, answered: str) -> None:
    result = await models.generate_text(spec, prompt=CAPITAL)
    assert (result.text, str(result.target)) == ("Paris", answered)


async def test_a_provider_without_a_key_sends_none(models: Models, sim: Sim) -> None:
    await models.generate_text("open/m", prompt=CAPITAL)
    assert not {"authorization", "x-api-key"} & sim.requests[-1].headers.keys()


def test_no_secret_is_in_what_can_be_printed(models: Models) -> None:
    shown = [
        repr(models),
        repr(models.snapshot),
        json.dumps(models.snapshot.to_dict(), default=str),
        repr(models.get_provider_config("claude-house")),
        repr(models.model("smart")),
    ]
    for secret in (KEY, TEAM, "us-key-", "eu-key-"):
        assert not [text for text in shown if secret in text]
