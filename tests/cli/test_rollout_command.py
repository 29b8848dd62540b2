"""What `podium rollout show` says of a config that was changed after its rollout began."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.conftest import Run


@pytest.fixture
def begun(config: Path, podium: Run) -> Path:
    declare(config)
    podium("rollout", "list")
    return config


def declare(config: Path, **changes: Any) -> None:
    written = yaml.safe_load(config.read_text())
    written["data_dir"] = str(config.parent / "data")
    written["rollouts"] = {"chat": {"match": ["chat"], "legacy": "openai/gpt-4o", "candidate": "tier:fast", **changes}}
    config.write_text(yaml.safe_dump(written))


def test_a_config_that_is_as_it_was_is_not_spoken_of(begun: Path, podium: Run) -> None:
    podium("rollout", "set", "chat", "25")
    assert "config" not in podium("rollout", "show", "chat").out
    assert json.loads(podium("rollout", "show", "chat", "--json").out)["config_not_followed"] == []


def test_what_the_config_says_differently_and_is_not_followed_is_named(begun: Path, podium: Run) -> None:
    declare(begun, percent=10, match=["chat", "talk"])
    shown = podium("rollout", "show", "chat").out
    assert "percent      0 % of each user" in shown
    words = "says match, percent differently now, which is not followed: `podium rollout set`, or a new name"
    assert f"config       {words}" in shown
    podium("rollout", "set", "chat", "10")
    assert json.loads(podium("rollout", "show", "chat", "--json").out)["config_not_followed"] == ["match"]
