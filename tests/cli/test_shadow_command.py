"""Shadows on the command line: `podium rollout show` says what became of them, `podium usage` that they are in its sums."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.conftest import Run
from podium import load_models

CAPITAL = "What is the capital of France?"


def declare(config: Path, **shadow: Any) -> None:
    """Let a config have a rollout whose calls are all shadowed, and one without shadows."""
    written = yaml.safe_load(config.read_text())
    written["data_dir"] = str(config.parent / "data")
    written["rollouts"] = {
        "chat": {
            "match": ["chat"],
            "legacy": "openai/gpt-4o",
            "candidate": "anthropic/claude-haiku-4-5",
            "shadow": {"sample": "100%", "budget_usd_per_day": 20, **shadow},
        },
        "plain": {"match": ["plain"], "legacy": "openai/gpt-4o", "candidate": "tier:fast"},
    }
    config.write_text(yaml.safe_dump(written))


def ask(config: Path, *prompts: str, **settings: Any) -> None:
    models = load_models(config)
    with models.sync:
        for prompt in prompts:
            models.sync.generate_text("chat", prompt=prompt, user_id="jane", **settings)


@pytest.fixture
def shadowed(config: Path) -> Path:
    """A config after three calls, two of which got the same answer from both arms."""
    declare(config)
    ask(config, CAPITAL, "What is 2 + 2?", "Tell me about ships.")
    ask(config, CAPITAL, extra={"openai_chat": {"store": True}})
    return config


def test_show_says_what_became_of_shadows(shadowed: Path, podium: Run) -> None:
    lines = podium("rollout", "show", "chat").out.splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith("  shadow "))
    assert lines[at].split(None, 1)[1] == "100 % of answered calls, up to $20 a day"
    assert lines[at + 1].strip().startswith("3 sent in the last 24h for $0.00")
    assert lines[at + 1].endswith(": 2 of 3 the same (66.7 %)")
    assert "of the words are in both answers" in lines[at + 2]
    assert lines[at + 3].endswith("s on average")
    assert lines[at + 4].strip() == "skipped: 1 (refers to what a provider keeps)"


def test_show_as_json_has_the_settings_and_every_count(shadowed: Path, podium: Run) -> None:
    told = json.loads(podium("rollout", "show", "chat", "--json").out)["shadow"]
    assert told["settings"] == {"sample": 100.0, "budget_usd_per_day": "20", "max_concurrent": 8}
    counts = {name: told["usage"][name] for name in ("sent", "same", "different", "not_compared", "failed", "cut_off")}
    assert counts == {"sent": 3, "same": 2, "different": 1, "not_compared": 0, "failed": 0, "cut_off": 0}
    assert told["usage"]["skipped"] == {"provider_state": 1}


def test_show_of_a_rollout_without_shadows_says_nothing_of_them(shadowed: Path, podium: Run) -> None:
    assert "shadow" not in podium("rollout", "show", "plain").out


def test_show_of_a_rollout_that_nobody_asked_yet_says_how_it_would_be_shadowed(config: Path, podium: Run) -> None:
    declare(config, sample="2.5%", budget_usd_per_day="$0.50")
    out = podium("rollout", "show", "chat").out
    assert "2.5 % of answered calls, up to $0.50 a day" in out
    assert "0 sent in the last 24h\n" in out


def test_usage_says_that_shadows_are_in_its_sums_and_tells_them_apart_by_arm(shadowed: Path, podium: Run) -> None:
    ran = podium("usage")
    assert "3 shadows of rollouts" in ran.err
    assert "--by rollout,arm" in ran.err
    by_arm = podium("usage", "--by", "rollout,arm")
    assert "3 shadows" not in by_arm.err
    rows = {line.split()[1]: line.split()[2] for line in by_arm.out.splitlines() if line.startswith("chat")}
    assert rows == {"legacy": "4", "candidate_shadow": "3"}


def test_usage_of_a_user_has_none_of_the_shadows(shadowed: Path, podium: Run) -> None:
    ran = podium("usage", "--where", "user=jane", "--json")
    document = json.loads(ran.out)
    assert (document["total"]["requests"], document["shadows"]) == (4, None)
    assert "shadows" not in podium("usage", "--by", "model", "--where", "user=jane").err


def test_usage_as_json_has_the_shadows_part(shadowed: Path, podium: Run) -> None:
    document = json.loads(podium("usage", "--json").out)
    assert (document["total"]["requests"], document["shadows"]["requests"]) == (7, 3)
