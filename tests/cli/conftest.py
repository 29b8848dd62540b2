"""What the command line's tests share: an empty folder, simulated providers, and three ways to run a command."""

import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from typer.testing import CliRunner

from podium.catalog.providers import kinds
from podium.cli.main import app
from podium.sim import Sim, SimModel

MODULE = [sys.executable, "-m", "podium"]


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and an environment without keys."""
    monkeypatch.chdir(tmp_path)
    for kind in kinds().values():
        for variable in kind.key_variables:
            monkeypatch.delenv(variable, raising=False)
    for variable in ("PODIUM_CONFIG", "PODIUM_DEBUG", "FORCE_COLOR", "NO_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "COLUMNS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return tmp_path


@pytest.fixture(scope="session")
def shared_sim() -> Iterator[Sim]:
    models = {
        "openai/gpt-slow": SimModel(latency_s=30),
        "openai/gpt-prose": SimModel(latency_s=0.05, tokens_per_s=200, length=60),
        "openai/gpt-down*": SimModel(status=503),
        "openai/gpt-wrong": SimModel(answer="Lyon"),
        "openai/gpt-evil": SimModel(answer="before\x1b]52;c;aGk=\x07after"),
        "openai/gpt-refuses": SimModel(refuse=True),
        "openai/gpt-late": SimModel(latency_s=0.4),
    }
    with Sim(models=models, seed=3) as sim:
        yield sim


@pytest.fixture
def sim(shared_sim: Sim) -> Sim:
    """Simulated providers that have served nothing yet."""
    shared_sim.wait_idle()
    shared_sim.reset()
    return shared_sim


@pytest.fixture
def config(here: Path, sim: Sim) -> Path:
    """A `podium.yaml` over the simulated providers, and a researcher's file."""
    (here / "jane.yaml").write_text(
        yaml.safe_dump({"experiments": {"mine": {"strategy": "first", "providers": ["groq/llama-3.1-8b-instant"]}}})
    )
    written: dict[str, Any] = {
        "providers": sim.providers("openai", "anthropic", "groq"),
        "tiers": {
            "fast": {"strategy": "race", "models": ["openai/gpt-4o-mini", "openai/gpt-slow"], "auto": False},
            "steady": {"strategy": "fallback", "models": ["openai/gpt-down", "anthropic/claude-haiku-4-5"]},
            "agreed": {
                "strategy": "consensus",
                "models": ["openai/gpt-4o", "anthropic/claude-x", "openai/gpt-wrong"],
                "auto": False,
            },
            "broken": {"strategy": "fallback", "models": ["openai/gpt-down", "openai/gpt-down-too"]},
        },
        "default_tier": "fast",
        "aliases": {"gpt-4": "openai/gpt-4o"},
        "users": {"jane": "jane.yaml"},
    }
    path = here / "podium.yaml"
    path.write_text(yaml.safe_dump(written, sort_keys=False))
    return path


@pytest.fixture
def podium(here: Path) -> Run:
    """Run a command in this process."""

    def run(*arguments: str, stdin: str | bytes | None = None) -> Ran:
        result = CliRunner().invoke(app, list(arguments), input=stdin, prog_name="podium")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def process(here: Path) -> Run:
    """Run a command as a process of its own, without a terminal."""

    def run(*arguments: str, stdin: str = "", **environment: str) -> Ran:
        done = subprocess.run(
            [*MODULE, *arguments], input=stdin, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def terminal(here: Path) -> Run:
    """Run a command as a process of its own in a terminal of 100 columns; all that it shows is its `out`."""

    def run(*arguments: str, **environment: str) -> Ran:
        ours, theirs = pty.openpty()
        size = {"COLUMNS": "100", "LINES": "40"}
        child = subprocess.Popen(
            [*MODULE, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **size, **environment}
        )
        os.close(theirs)
        shown = b""
        while select.select([ours], [], [], 30)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says that all have left the terminal with an EIO
                break
            if not piece:
                break
            shown += piece
        os.close(ours)
        return Ran(child.wait(10), shown.decode().replace("\r\n", "\n"), "")

    return run
