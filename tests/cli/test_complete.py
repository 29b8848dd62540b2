import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.conftest import Run
from podium.cli.main import app

BROKEN = [b"", b"[", b"tiers: 3", b"tiers: [a, b]\nusers: [1]", b"\xff\xfe", b"users: /absolute/*.yaml", b"&a [*a]", b"- 1"]


def complete(line: str) -> list[str]:
    """What bash would be offered for the last word of a line."""
    environment = os.environ | {"_PODIUM_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    code = "import sys; sys.argv[0] = 'podium'; from podium.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stderr == ""
    return done.stdout.split()


def complete_each(*lines: str) -> list[list[str]]:
    """What bash would be offered for each of some lines."""
    with ThreadPoolExecutor() as at_once:
        return list(at_once.map(complete, lines))


@pytest.mark.usefixtures("config")
def test_specs_users_and_experiments_are_completed_from_the_config() -> None:
    completed = {
        "podium run tier:": ["tier:fast", "tier:steady", "tier:agreed", "tier:broken"],
        "podium explain user:": ["user:jane", "user:jane:mine"],
        "podium explain --user ja": ["jane"],
        "podium explain --user jane --experiment m": ["mine"],
        "podium compare q.jsonl --old tier:s": ["tier:steady"],
        "podium compare q.jsonl --new tier:a": ["tier:agreed"],
    }
    *found, models = complete_each(*completed, "podium run openai/gpt")
    assert found == list(completed.values())
    assert "openai/gpt-4o-mini" in models


def test_names_that_never_change_are_completed_too(here: Path) -> None:
    assert complete("podium compare --judge ") == ["auto", "exact", "json"]
    assert complete("podium replay --by t") == ["target", "team"]
    (here / "podium.yaml").write_text("rollouts: {chat: {}, search: {}}")
    assert complete("podium replay --rollout c") == ["chat"]


def test_a_named_config_is_the_one_that_is_completed_from(podium: Run, config: Path) -> None:
    config.rename(config.with_name("other.yaml"))
    assert complete("podium run tier:") == []
    assert len(complete("podium --config other.yaml run tier:")) == 4


@pytest.mark.parametrize("content", BROKEN)
def test_a_strange_config_completes_nothing_and_says_nothing(
    here: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "podium.yaml").write_bytes(content)
    command: Any = typer.main.get_command(app)
    context = command.make_context("podium", ["explain"], resilient_parsing=True)
    inner = command.commands["explain"].make_context("explain", [], parent=context, resilient_parsing=True)
    for parameter in command.commands["explain"].params:
        found = parameter.shell_complete(inner, "tier:")
        assert all(item.type == "file" or not item.value.startswith("tier:") for item in found)
    assert capfd.readouterr() == ("", "")
