"""A rollback between real processes: all of them stop. And what they do when the store is deleted under them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.chooser import ROLLOUTS
from waiting import wait_until

PROGRAM = Path(__file__).parent / "chooser.py"
PROCESSES = 4


class Chooser:
    """A process that chooses all the time."""

    def __init__(self, folder: Path, max_stale: str) -> None:
        self._log = (folder / f"log{id(self)}").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder / "data"), max_stale],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def report(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        report: dict[str, Any] = json.loads(self.process.stdout.readline())
        return report

    def arm(self, rollout: str, user: str) -> str:
        return str(self.report()["arms"][f"{rollout} {user}"])

    def log(self) -> list[str]:
        self._log.seek(0)
        return self._log.read().splitlines()

    def end(self) -> None:
        with self.process:
            pass
        self._log.close()


@pytest.fixture
def choosers(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[list[Chooser]]:
    """Four processes over one data folder, each of which has seen its store."""
    made = [Chooser(tmp_path, getattr(request, "param", "10m")) for _ in range(PROCESSES)]
    assert all(chooser.arm("chat", "bob") == "candidate" for chooser in made)
    yield made
    for chooser in made:
        chooser.end()


def podium(folder: Path, *arguments: str) -> None:
    """Run a command as a fifth process."""
    config = folder / "podium.yaml"
    config.write_text(yaml.safe_dump({"providers": {"local": {}}, "rollouts": ROLLOUTS, "data_dir": str(folder / "data")}))
    command = [sys.executable, "-m", "podium", "--config", str(config), *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=60, env={**os.environ, "NO_COLOR": "1"})


def all_arms(choosers: list[Chooser], rollout: str, user: str) -> set[str]:
    return {chooser.arm(rollout, user) for chooser in choosers}


def test_disable_stops_everybody_everywhere_and_set_0_everybody_but_the_test_users(
    choosers: list[Chooser], tmp_path: Path
) -> None:
    for order, testers in ((("disable", "chat"), "legacy"), (("set", "chat", "0"), "candidate")):
        podium(tmp_path, "rollout", *order, "--why", "a rollback")
        wait_until(lambda: all_arms(choosers, "chat", "bob") == {"legacy"})
        wait_until(lambda testers=testers: all_arms(choosers, "chat", "ann") == {testers})  # type: ignore[misc]
        stopped = time.monotonic_ns()
        assert all_arms(choosers, "half", "ann") == {"candidate"}, "another rollout is none of its business"
        assert all(chooser.report()["last"]["chat bob"] < stopped for chooser in choosers)
        podium(tmp_path, "rollout", "enable", "chat")
        podium(tmp_path, "rollout", "set", "chat", "100")
        wait_until(lambda: all_arms(choosers, "chat", "bob") == {"candidate"})


@pytest.mark.parametrize("choosers", ["1500ms"], indirect=True)
def test_a_store_that_is_deleted_under_them_leaves_all_arms_until_max_stale_then_legacy_but_at_100_percent(
    choosers: list[Chooser], tmp_path: Path
) -> None:
    deleted = time.monotonic()
    for file in (tmp_path / "data").glob("rollouts*"):
        file.unlink()
    wait_until(lambda: all(any("it is gone" in line for line in chooser.log()) for chooser in choosers))
    if time.monotonic() - deleted < 1:  # a machine that is too busy proves nothing here
        assert all_arms(choosers, "half", "ann") == {"candidate"}
    wait_until(lambda: all_arms(choosers, "half", "ann") == {"legacy"})
    for chooser in choosers:
        assert chooser.report()["last"]["half ann"] / 1e9 > deleted + 1, "it kept its arm at first"
        assert chooser.arm("done", "bob") == chooser.arm("chat", "bob") == "candidate"
        assert any("`max_stale` (1.5 s): every rollout gives legacy now" in line for line in chooser.log())
    podium(tmp_path, "rollout", "list")
    wait_until(lambda: all_arms(choosers, "half", "ann") == {"candidate"})
    assert all(chooser.log()[-1] == "The store of rollouts answers again." for chooser in choosers)
