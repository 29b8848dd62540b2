"""How long a rollback takes: from the call until the last of four other processes stops choosing the candidate."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from podium import create_models

_PROGRAM = Path(__file__).parents[1] / "tests" / "engine" / "chooser.py"
_PROCESSES = 4
_TRIALS = 100
_LONGEST_S = 20.0


class _Chooser:
    """A process that chooses all the time."""

    def __init__(self, folder: str) -> None:
        command = [sys.executable, str(_PROGRAM), folder, "10m"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def report(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        report: dict[str, Any] = json.loads(self.process.stdout.readline())
        return report

    def wait_for(self, place: str, arm: str) -> dict[str, Any]:
        """Wait until it takes an arm, and return what it says then."""
        deadline = time.monotonic() + _LONGEST_S
        while (report := self.report())["arms"][place] != arm:
            if time.monotonic() > deadline:
                raise TimeoutError(f"a process did not take the {arm} arm within {_LONGEST_S:g} s")
            time.sleep(0.02)
        return report


def _trials(choosers: list[_Chooser], folder: str) -> tuple[list[float], list[float]]:
    """Roll back and on again, by turns with `disable` and `percent=0`; seconds to the last candidate, and for the change."""
    rollouts = create_models(providers={"local": {}}, rollouts={"chat": {"candidate": "local/new"}}, data_dir=folder).rollouts
    stopped, changed = [], []
    for trial in track(range(_TRIALS), "rollbacks", console=Console(stderr=True), transient=True):
        for chooser in choosers:
            chooser.wait_for("chat bob", "candidate")
        asked_ns = time.monotonic_ns()
        if trial % 2:
            rollouts.disable("chat")
        else:
            rollouts.set("chat", percent=0)
        changed.append((time.monotonic_ns() - asked_ns) / 1e9)
        reports = [chooser.wait_for("chat bob", "legacy") for chooser in choosers]
        last_ns = max(report["last"]["chat bob"] for report in reports)
        stopped.append(max(0, last_ns - asked_ns) / 1e9)
        rollouts.undo("chat")
    rollouts.close()
    return stopped, changed


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        choosers = [_Chooser(folder) for _ in range(_PROCESSES)]
        for chooser in choosers:  # they make the store, and say how its rollouts begin
            chooser.wait_for("chat bob", "candidate")
        stopped, changed = _trials(choosers, folder)
        for chooser in choosers:
            chooser.process.communicate()
    table = Table(
        title=f"{_TRIALS} rollbacks by a fifth process, {_PROCESSES} processes that choose every millisecond",
        caption="aim: p99 <= 1 s, from the call to the last candidate anywhere",
        title_justify="left",
        caption_justify="left",
    )
    for column in ("", "p50", "p90", "p99", "max"):
        table.add_column(column, justify="right" if column else "left")
    for name, values in (("until the last candidate", stopped), ("until the change returns", changed)):
        ordered = sorted(values)
        ranks = [ordered[round(share * (_TRIALS - 1))] for share in (0.5, 0.9, 0.99, 1)]
        table.add_row(name, *(f"{value * 1000:,.0f} ms" for value in ranks))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
