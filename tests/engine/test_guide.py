"""The guide's configs, as YAML with its camelCase keys, answer over HTTP; so do the four strategies."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from podium import AllTargetsFailed, Models, load_models
from podium.sim import Sim

CAPITAL = "What is the capital of France?"

GUIDE = """
providers:
  openai: {{id: openai, apiKey: "${{OPENAI_API_KEY}}", baseUrl: "{openai}", enabled: true}}
  anthropic: {{id: anthropic, apiKey: "${{ANTHROPIC_API_KEY}}", baseUrl: "{anthropic}", enabled: true}}
  openrouter: {{id: openrouter, apiKey: "${{OPENROUTER_API_KEY}}", baseUrl: "{openrouter}", enabled: true}}
  groq: {{id: groq, apiKey: "${{GROQ_API_KEY}}", baseUrl: "{groq}", enabled: true}}
  local: {{id: local, baseUrl: "{local}", enabled: false}}
tiers:
  fast:
    strategy: race
    models:
      - {{provider: openai, model: gpt-4o-mini}}
      - {{provider: groq, model: llama-3.1-8b}}
  medium:
    strategy: first
    models:
      - {{provider: openai, model: gpt-4o}}
  high:
    strategy: first
    models:
      - {{provider: anthropic, model: claude-3.5-sonnet}}
  safe:
    strategy: fallback
    models: [local/llama-3.3, openrouter/google/gemini-2.0-flash]
    maxCost: 0.05
    timeout: 20s
  sure:
    strategy: consensus
    models: [openai/gpt-4.1, groq/llama-3.3-70b, anthropic/claude-3.5-haiku]
    minAnswers: 2
    onDisagree: plurality
defaultTier: fast
trackPerformance: true
trackCost: true
users:
  researcher-john: configs/researchers/john.yaml
"""

JOHN = """
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


@pytest.fixture
def sim() -> Iterator[Sim]:
    with Sim(seed=7) as running:
        yield running


@pytest.fixture
def models(sim: Sim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Models]:
    for name in ("OPENAI", "ANTHROPIC", "OPENROUTER"):
        monkeypatch.setenv(f"{name}_API_KEY", f"sim-key-of-{name.lower()}")
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    names = ("openai", "anthropic", "openrouter", "groq", "local")
    (tmp_path / "podium.yaml").write_text(GUIDE.format(**{name: sim.base_url(name) for name in names}))
    researchers = tmp_path / "configs" / "researchers"
    researchers.mkdir(parents=True)
    (researchers / "john.yaml").write_text(JOHN)
    made = load_models(tmp_path / "podium.yaml")
    with made.sync:
        yield made


@pytest.mark.parametrize(
    ("spec", "target"),
    [
        ("openai/gpt-4", "openai/gpt-4"),
        ("tier:fast", "openai/gpt-4o-mini"),
        ("tier:medium", "openai/gpt-4o"),
        ("tier:high", "anthropic/claude-3.5-sonnet"),
        ("tier:safe", "openrouter/google/gemini-2.0-flash"),
        ("tier:sure", "openai/gpt-4.1"),
        ("gpt-4o", "openai/gpt-4o"),
        (None, "openai/gpt-4o-mini"),
        ("user:researcher-john:local_first", "openrouter/google/gemini-2.0-flash"),
        ("user:researcher-john", "openrouter/google/gemini-2.0-flash"),
    ],
)
def test_every_spec_of_the_guide_is_answered_by_whom_it_names(models: Models, spec: str | None, target: str) -> None:
    result = models.sync.generate_text(spec, prompt=CAPITAL)
    assert result.text == "Paris"
    if spec != "tier:sure":
        assert str(result.target) == target
    else:
        assert result.consensus is not None
        assert (result.consensus.n_configured, result.consensus.quorum_met) == (3, True)


def test_disabled_and_keyless_providers_are_skipped_with_their_reason(models: Models) -> None:
    skipped = {each.name: each.why for spec in ("tier:fast", "tier:safe") for each in models.explain(spec).skipped}
    assert "GROQ_API_KEY" in skipped["groq/llama-3.1-8b"]
    assert "disabled" in skipped["local/llama-3.3"]


def test_only_a_plan_with_no_target_left_fails(models: Models, sim: Sim) -> None:
    with pytest.raises(AllTargetsFailed, match="disabled"):
        models.sync.generate_text("local/qwen3", prompt=CAPITAL)
    assert sim.stats.requests == 0
