"""`podium metrics` shows what processes counted, as a table, as JSON and as Prometheus reads it."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner, Result

from observe.making import attempt, ended, facts
from podium.cli.main import app
from podium.observe.metrics import Metrics
from podium.observe.share import Publisher
from podium.routing.health import BreakerState
from waiting import wait_until


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder in which a process has counted."""
    monkeypatch.chdir(tmp_path)
    for name in ("PODIUM_CONFIG", "PODIUM_DATA"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "data"
    metrics = Metrics(throttled=lambda: {"openai/gpt-4o": 30.0})
    publisher = Publisher(metrics, folder / "metrics")
    publisher.start()
    metrics.observe(attempt(facts(streamed=True), streamed=True, first_content_s=0.2, duration_s=0.5))
    metrics.observe(attempt(outcome="failed", error_code="throttled", usage=None, cost_pico=0))
    metrics.observe(attempt(attempt=2, cause="retry", provider="local", model="evil\x1b[31m", cost_pico=None))
    metrics.observe(ended())
    metrics.observe(ended(outcome="all_targets_failed"))
    publisher.close()
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["metrics", *arguments])


def test_the_table_has_the_totals_the_targets_and_the_tiers(data: Path) -> None:
    ran = run("--data", str(data))
    assert ran.exit_code == 0
    rows = {line.split("  ")[0].strip(): line.split() for line in ran.stdout.splitlines()}
    assert rows["since start"][2:6] == ["2", "50.0", "%", "1"]
    assert rows["openai/gpt-4o"][1:4] == ["2", "1", "1"]
    assert "500 ms" in ran.stdout
    assert "fast" in rows
    assert "1 throttled" in ran.stdout
    assert "1 all_targets_failed" in ran.stdout
    assert "$0.00045" in ran.stdout
    assert "1 attempt without a known cost" in ran.stdout


def test_a_name_cannot_reach_the_terminal_with_control_characters(data: Path) -> None:
    assert "\x1b" not in run("--data", str(data)).stdout


def test_a_narrow_terminal_shows_whole_figures_in_fewer_columns(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = run("--data", str(data)).stdout
    assert "\u2026" not in shown
    assert "tokens/s" not in shown
    assert "$0.00045" in shown
    assert max(len(line) for line in shown.splitlines() if "data" not in line) <= 80


def test_json_is_the_report_itself(data: Path) -> None:
    report = json.loads(run("--data", str(data), "--json").stdout)
    assert report["overall"]["total"]["requests"] == report["recent"]["total"]["requests"] == 2
    assert report["overall"]["targets"]["openai/gpt-4o"]["cost_pico"] == 450_000_000
    assert report["overall"]["total"]["retries"] == 1
    assert report["processes"] == 0


def test_prometheus_text_is_what_its_parser_reads(data: Path) -> None:
    families = {
        family.name: family for family in text_string_to_metric_families(run("--data", str(data), "--prometheus").stdout)
    }
    assert sum(sample.value for sample in families["podium_requests"].samples) == 2
    assert "gen_ai_client_operation_duration_seconds" in families


def test_the_data_folder_is_that_of_the_config_and_of_the_environment(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("podium.yaml").write_text("providers: {local: {}}\ndata_dir: data\n")
    assert json.loads(run("--json").stdout)["overall"]["total"]["requests"] == 2
    Path("podium.yaml").write_text("providers: {local: {}}\n")
    monkeypatch.setenv("PODIUM_DATA", str(data))
    assert json.loads(run("--json").stdout)["overall"]["total"]["requests"] == 2


def test_an_empty_folder_is_said_to_be_empty(data: Path) -> None:
    (data / "nothing").mkdir()
    ran = run("--data", str(data / "nothing"))
    assert ran.exit_code == 0
    assert "No process with this data folder has answered a request" in ran.stdout


def test_a_folder_that_is_not_there_is_an_error_and_not_an_empty_one(data: Path) -> None:
    ran = run("--data", str(data / "nowhere"))
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "nowhere.\n  Name the folder" in ran.stderr


def test_a_candidate_that_is_down_is_told_with_the_processes_that_found_it_so(data: Path) -> None:
    states: list[BreakerState] = ["open", "closed", "probing"]
    counting = [Metrics(breakers=partial(dict[str, BreakerState], chat=state)) for state in states]
    publishers = [Publisher(metrics, data / "metrics") for metrics in counting]
    try:
        for publisher, metrics in zip(publishers, counting, strict=True):
            publisher.start()
            metrics.observe(ended())
        wait_until(lambda: "and whose share takes legacy: chat in 2 of 3 processes" in run("--data", str(data)).stdout)
    finally:
        for publisher in publishers:
            publisher.close()
    assert "share takes legacy" not in run("--data", str(data)).stdout


def test_options_that_do_not_go_together_are_refused(data: Path) -> None:
    ran = run("--data", str(data), "--prometheus", "--watch")
    assert ran.exit_code == 2
    assert "--prometheus goes with neither" in ran.stderr


def test_files_that_are_not_read_are_named(data: Path) -> None:
    (data / "metrics" / "1-1-torn.json").write_text("{")
    ran = run("--data", str(data))
    assert ran.exit_code == 0
    assert "1-1-torn.json" in ran.stderr


def test_watching_as_json_writes_a_line_each_time(data: Path) -> None:
    command = [sys.executable, "-m", "podium", "metrics", "--data", str(data), "--watch", "--json", "--every", "0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.terminate()
    assert lines[1]["at"] > lines[0]["at"]


def test_watching_in_a_terminal_shows_what_is_counted_meanwhile(data: Path) -> None:
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "podium", "metrics", "--data", str(data), "--watch", "--every", "0.2"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "160", "LINES": "40"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment)
    os.close(theirs)
    try:
        assert "since start" in _until(terminal, "since start")
        metrics = Metrics()
        publisher = Publisher(metrics, data / "metrics", every_s=0.01)
        publisher.start()
        for _ in range(777):
            metrics.observe(ended())
        assert "779" in _until(terminal, "779")
        publisher.close()
    finally:
        process.send_signal(2)
        _, errors = process.communicate(timeout=20)
        os.close(terminal)
    assert process.returncode == 130
    assert b"Traceback" not in errors


def _until(terminal: int, text: str, seconds: float = 20.0) -> str:
    shown = ""
    due = time.monotonic() + seconds
    while text not in shown and time.monotonic() < due:
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 65536).decode("utf-8", "replace")
    return shown
