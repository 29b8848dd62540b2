"""Every config of the integration guide, as YAML with its camelCase keys and as Python dicts."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from podium.config import check_files, compile_config, load_config, load_user, with_user
from podium.routing.snapshot import Snapshot
from podium.types import Secret, Target

ENV = {name: f"key-of-{name.lower()}" for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY", "GROQ_API_KEY")}

PROVIDERS = """\
providers:
  openai:
    id: openai
    apiKey: ${OPENAI_API_KEY}
    enabled: true
  anthropic:
    id: anthropic
    apiKey: ${ANTHROPIC_API_KEY}
    enabled: true
  openrouter:
    id: openrouter
    apiKey: ${OPENROUTER_API_KEY}
    baseUrl: 'https://openrouter.ai/api/v1'
    enabled: true
  groq:
    id: groq
    apiKey: ${GROQ_API_KEY}
    baseUrl: 'https://api.groq.com/openai/v1'
    enabled: true
  local:
    id: local
    baseUrl: 'http://localhost:11434/v1'
    enabled: false # Enable when Ollama is running
trackPerformance: true
trackCost: true
"""

TIERS = """\
tiers:
  fast:
    strategy: race
    models:
      - { provider: openai, model: gpt-4o-mini }
      - { provider: groq, model: llama-3.1-8b }
  medium:
    strategy: first
    models:
      - { provider: openai, model: gpt-4o }
  high:
    strategy: first
    models:
      - { provider: anthropic, model: claude-3.5-sonnet }
defaultTier: fast
"""

JOHN = """\
name: "John's Research Config"
experiments:
  local_first:
    strategy: fallback
    providers:
      - local/llama-3.3
      - openrouter/google/gemini-2.0-flash
defaults:
  experiment: local_first
"""


def from_yaml(text: str, folder: Path) -> Snapshot:
    (folder / "podium.yaml").write_text(text)
    return compile_config(load_config(folder / "podium.yaml"), env=ENV)


def snake(value: Any) -> Any:
    names = {"apiKey": "api_key", "baseUrl": "base_url", "trackPerformance": "track_performance", "trackCost": "track_cost"}
    names["defaultTier"] = "default_tier"
    return {names.get(key, key): snake(item) for key, item in value.items()} if isinstance(value, dict) else value


@pytest.fixture(params=["yaml", "camel dict", "snake dict"])
def snapshot(request: pytest.FixtureRequest, tmp_path: Path) -> Snapshot:
    if request.param == "yaml":
        return from_yaml(PROVIDERS + TIERS, tmp_path)
    data = yaml.safe_load(PROVIDERS + TIERS)
    return compile_config(data if request.param == "camel dict" else snake(data), env=ENV)


def test_phase_1_has_five_providers_and_only_the_disabled_one_cannot_be_asked(snapshot: Snapshot) -> None:
    assert list(snapshot.providers) == ["openai", "anthropic", "openrouter", "groq", "local"]
    assert {name for name, provider in snapshot.providers.items() if provider.unusable} == {"local"}
    assert "disabled" in str(snapshot.providers["local"].unusable)
    assert snapshot.providers["anthropic"].api_key == Secret("key-of-anthropic_api_key")
    assert snapshot.providers["groq"].base_url == "https://api.groq.com/openai/v1"
    assert (snapshot.providers["anthropic"].dialect, snapshot.providers["anthropic"].auth) == ("anthropic", "x-api-key")
    assert snapshot.track_performance
    assert snapshot.track_cost


def test_phase_2_has_its_tiers_in_order_and_a_default(snapshot: Snapshot) -> None:
    assert [(name, tier.strategy.name) for name, tier in snapshot.tiers.items()] == [
        ("fast", "race"),
        ("medium", "first"),
        ("high", "first"),
    ]
    assert snapshot.tiers["fast"].targets == (
        Target(provider="openai", model="gpt-4o-mini"),
        Target(provider="groq", model="llama-3.1-8b"),
    )
    assert snapshot.default_tier == "fast"


def test_phase_3s_file_is_loaded_under_the_id_that_is_given(snapshot: Snapshot, tmp_path: Path) -> None:
    file = tmp_path / "john.yaml"
    file.write_text(JOHN)
    user = load_user("researcher-john", file)
    assert (user.id, user.name, user.default_experiment) == ("researcher-john", "John's Research Config", "local_first")
    experiment = user.experiments["local_first"]
    assert experiment.strategy.name == "fallback"
    assert experiment.targets == (
        Target(provider="local", model="llama-3.3"),
        Target(provider="openrouter", model="google/gemini-2.0-flash"),
    )
    after = with_user(snapshot, user)
    assert after.users["researcher-john"] == user
    assert after.version == snapshot.version + 1
    assert snapshot.users == {}


def test_a_config_may_name_johns_file(tmp_path: Path) -> None:
    (tmp_path / "configs" / "researchers").mkdir(parents=True)
    (tmp_path / "configs" / "researchers" / "john.yaml").write_text(JOHN)
    by_id = from_yaml(PROVIDERS + TIERS + "users: {researcher-john: ./configs/researchers/john.yaml}\n", tmp_path)
    assert list(by_id.users) == ["researcher-john"]
    by_glob = from_yaml(PROVIDERS + TIERS + "users: configs/researchers/*.yaml\n", tmp_path)
    assert list(by_glob.users) == ["john"]


def test_keys_that_the_environment_lacks_leave_their_providers_out_and_load_the_rest() -> None:
    for nothing in (None, "", "  "):
        data = {"providers": {"openai": {"id": "openai", "apiKey": nothing, "enabled": True}, "local": {"id": "local"}}}
        snapshot = compile_config(data, env={})
        assert snapshot.providers["openai"].unusable == "no API key: set OPENAI_API_KEY (or api_key: in the config)"
        assert snapshot.providers["local"].unusable is None


def test_the_check_warns_of_missing_keys_and_of_the_race_that_answers_for_one_model(tmp_path: Path) -> None:
    file = tmp_path / "podium.yaml"
    file.write_text(PROVIDERS + TIERS)
    problems = check_files([file], env={name: value for name, value in ENV.items() if name != "GROQ_API_KEY"})
    assert [(problem.line, problem.path, problem.severity) for problem in problems] == [
        (15, "providers.groq", "warning"),
        (27, "tiers.fast", "warning"),
    ]
    assert "GROQ_API_KEY" in problems[0].message
    assert "`gpt-4o-mini`" in problems[1].message
    assert "bills multiply" in problems[1].message


@pytest.mark.parametrize("strategy", ["first", "fallback", "race", "consensus"])
def test_each_strategy_loads(strategy: str, tmp_path: Path) -> None:
    text = f"{PROVIDERS}tiers: {{t: {{strategy: {strategy}, models: [openai/gpt-4o, groq/llama-3.1-8b]}}}}\n"
    assert from_yaml(text, tmp_path).tiers["t"].strategy.name == strategy
