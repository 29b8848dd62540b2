"""`podium usage`, as a user runs it."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.cells import cell_len

from cli.conftest import Ran, Run, here, podium, terminal
from ledger.made import NOON, ended, record, settled, started
from podium.cli import complete
from podium.cli.usage import NAMES
from podium.ledger import Ledger, UsageRow
from podium.ledger.store import GROUPINGS

__all__ = ["here", "podium", "terminal"]  # fixtures

PRICED = {"openai/gpt-4o": {"input": 2, "output": 10, "cached_input": 1}}
"""USD a million tokens: 100 in, 7 of the cache, 20 out and 3 of reasoning are 200 + 7 + 230 micro-USD."""


@pytest.fixture
def data(here: Path) -> Path:
    """A data folder with two days of usage, beside a config that names it."""
    folder = here / "data"
    with Ledger.open(folder) as ledger:
        three: list[dict[str, Any]] = [
            {"at": NOON, "user_id": "jane", "tags": ("a", "b")},
            {"at": NOON, "user_id": "john", "model": "gpt-4o-mini"},
            {"at": NOON + 2 * 86400, "user_id": "jane\x1b[31m"},
        ]
        for number, facts in enumerate(three):
            first = started(number, **facts)
            ledger.started(first)
            ledger.settled(settled(first, cost_pico=None if number == 1 else 1_500_000_000_000))
            ledger.ended(ended(first, outcome="throttled" if number == 1 else "ok"))
        ledger.started(started(9, at=NOON + 2 * 86400, reserved_pico=250_000_000_000))
    config = {"providers": {"openai": {"api_key": "sk-test"}}, "prices": PRICED, "data_dir": str(folder)}
    (here / "podium.yaml").write_text(yaml.safe_dump(config))
    return folder


def table_of(ran: Ran) -> list[list[str]]:
    return [line.split() for line in ran.out.splitlines()]


def test_usage_is_by_day_and_model_with_a_total(podium: Run, data: Path) -> None:
    ran = podium("usage")
    assert ran.code == 0
    assert table_of(ran) == [
        ["day", "model", "requests", "errors", "attempts", "input", "cached", "output", "cost"],
        ["2026-03-01", "gpt-4o", "1", "-", "1", "107", "7", "23", "$1.5000"],
        ["2026-03-01", "gpt-4o-mini", "1", "1", "1", "107", "7", "23", "?"],
        ["2026-03-03", "gpt-4o", "2", "-", "2", "107", "7", "23", "$1.7500"],
        ["total", "4", "1", "4", "321", "21", "69", "$3.2500"],
    ]
    assert "1 attempt ended nobody knows" in ran.err
    assert "$0.2500" in ran.err
    assert "1 attempt had no known price and is in no sum" in ran.err


def test_json_has_every_amount_exactly_and_no_note_beside_it(podium: Run, data: Path) -> None:
    ran = podium("usage", "--by", "user", "--where", "model=gpt-4o", "--until", "2026-03-01", "--json")
    document = json.loads(ran.out)
    assert document["rows"] == [{"user": "jane", **document["total"]}]
    assert document["total"]["cost_usd"] == "1.500000000000"
    assert ran.err == ""


def test_csv_can_be_read_back(podium: Run, data: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(podium("usage", "--by", "tag", "--csv").out)))
    assert [(row["tag"], row["requests"], row["cost_usd"]) for row in rows] == [
        ("", "3", "1.750000000000"),
        ("a", "1", "1.500000000000"),
        ("b", "1", "1.500000000000"),
    ]


def test_a_name_in_csv_is_no_formula_and_a_number_stays_one(podium: Run, data: Path) -> None:
    names = ("=1+2", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "-12.5", "+3", "a=b")
    with Ledger.open(data) as ledger:
        for number, name in enumerate(names, 100):
            first = started(number, user_id=name)
            ledger.started(first)
            ledger.close_request([settled(first)], ended(first))
    rows = csv.DictReader(io.StringIO(podium("usage", "--by", "user", "--csv").out))
    shown = {row["user"] for row in rows if not row["user"].startswith("j")}
    assert shown == {"'=1+2", "'+cmd|' /C calc'!A0", "'-2+3", "'@SUM(A1)", "'\t=1", "-12.5", "+3", "a=b"}
    plain = json.loads(podium("usage", "--by", "user", "--json").out)["rows"]
    assert set(names) <= {row["user"] for row in plain}


@pytest.mark.parametrize("columns", [48, 60, 80, 100])
def test_a_narrow_terminal_has_fewer_figures_and_cuts_none_and_no_name(terminal: Run, data: Path, columns: int) -> None:
    ran = terminal("usage", COLUMNS=str(columns), NO_COLOR="1")
    plain = re.sub(r"\x1b\[\d*m", "", ran.out)
    lines = plain.splitlines()
    assert "…" not in plain
    assert all(len(line.rstrip()) <= columns for line in lines[:5])
    assert lines[0].split()[:3] == ["day", "model", "requests"]
    assert lines[0].split()[-1] == "cost"
    assert [lines[2].split()[place] for place in (0, 1, -1)] == ["2026-03-01", "gpt-4o-mini", "?"]
    assert ("no room here for cached" in plain) == ("cached" not in lines[0])
    assert ("cached" in lines[0]) == (columns == 100)


@pytest.mark.parametrize("columns", [56, 60, 80, 100])
def test_repricing_too_has_fewer_figures_there_and_whole_names(terminal: Run, data: Path, columns: int) -> None:
    plain = re.sub(r"\x1b\[\d*m", "", terminal("usage", "reprice", COLUMNS=str(columns), NO_COLOR="1").out)
    lines = plain.splitlines()
    assert "…" not in plain
    assert [line.split()[0] for line in lines[:3]] == ["model", "openai/gpt-4o", "openai/gpt-4o-mini"]
    assert ("no room here for attempts" in plain) == ("attempts" not in lines[0]) == (columns < 80)


def test_what_usage_is_kept_by_is_completed_name_after_name(podium: Run) -> None:
    assert NAMES == GROUPINGS
    assert complete.some_of(*NAMES)("day,m") == ["day,month", "day,model"]
    assert complete.some_of(*NAMES)("model,mo") == ["model,month"]
    assert complete.some_of(*NAMES)("te") == ["team"]


def test_the_total_by_tag_counts_each_request_once(podium: Run, data: Path) -> None:
    assert table_of(podium("usage", "--by", "tag"))[-1][:2] == ["total", "4"]


def test_days_are_those_of_the_time_zone(podium: Run, data: Path) -> None:
    out = json.loads(podium("usage", "--by", "day", "--tz", "Pacific/Kiritimati", "--json").out)
    assert [row["day"] for row in out["rows"]] == ["2026-03-02", "2026-03-04"]


def test_some_time_ago_is_a_time(podium: Run, data: Path) -> None:
    with Ledger.open(data) as ledger:
        recent = started(20, at=(datetime.now(UTC) - timedelta(days=2)).timestamp())
        ledger.started(recent)
        ledger.settled(settled(recent))
        ledger.ended(ended(recent))
    out = json.loads(podium("usage", "--by", "", "--since", "3d", "--json").out)
    assert out["total"]["requests"] == 1
    assert podium("usage", "--since", "1d", "--until", "2h").err.startswith("No usage is on record in ")


def test_a_plot_has_a_bar_a_day_and_days_without_usage_too(terminal: Run, data: Path) -> None:
    drawn = terminal("usage", "--plot", NO_COLOR="1").out
    assert "\x1b[3" not in drawn, "NO_COLOR means no colours"
    plain = re.sub(r"\x1b\[\d*m", "", drawn)
    days = [line for line in plain.splitlines() if line.startswith("2026-03")]
    assert [line.split()[:2] for line in days] == [
        ["2026-03-01", "$1.5000"],
        ["2026-03-02", "$0.0000"],
        ["2026-03-03", "$1.7500"],
    ]
    bars = [line.count("█") for line in days]
    assert bars[2] > bars[0] > bars[1] == 0
    assert bars[2] + len("2026-03-03  $1.7500  ") in (99, 100), "the longest bar fills the terminal"
    assert "█ gpt-4o   ▓ gpt-4o-mini" in plain
    assert "\x1b[3" in terminal("usage", "--plot").out


def test_a_plot_may_be_of_requests_and_not_of_what_there_is_none_of(podium: Run, data: Path) -> None:
    ran = podium("usage", "--by", "user", "--plot", "--measure", "requests")
    assert ran.out.startswith("jane ")
    wrong = podium("usage", "--plot", "--measure", "joy")
    assert (wrong.code, "cost, requests or tokens" in wrong.err) == (2, True)


def test_a_plot_stands_in_line_also_where_a_character_takes_two_cells(podium: Run, here: Path) -> None:
    with Ledger.open(here / "data") as ledger:
        for number, user in enumerate(("jane", "日本語のとても長い名前を持つ人です" * 3, "日本")):
            first = started(number, user_id=user)
            ledger.settled(settled(first, cost_pico=10**12))
            ledger.ended(ended(first))
    lines = podium("usage", "--data", "data", "--by", "user", "--plot").out.splitlines()
    assert len({cell_len(line[: line.index("$")]) for line in lines}) == 1
    assert any("…" in line for line in lines)


def test_a_sum_without_groups_is_one_line(podium: Run, data: Path) -> None:
    assert [line[0] for line in table_of(podium("usage", "--by", ""))] == ["requests", "4"]


def test_no_control_character_of_a_name_reaches_the_terminal(terminal: Run, data: Path) -> None:
    for arguments in (["--by", "user"], ["--by", "user", "--plot"]):
        assert "\x1b[31m" not in terminal("usage", *arguments, NO_COLOR="1").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "modle"], "Did you mean 'model'?"),
        (["--where", "user"], "Write --where user=jane."),
        (["--where", "usr=jane"], "Did you mean 'user'?"),
        (["--since", "noon"], "which is no time"),
        (["--since", "7days"], "24h, 7d, 4w"),
        (["--since", "2026-03-31", "--until", "2026-03-01"], "--until 2026-03-01 is not after --since 2026-03-31"),
        (["--since", "1d", "--until", "7d"], "--until 7d is not after --since 1d"),
        (["reprice", "--since", "2026-03-31", "--until", "2026-03-01"], "Change them round."),
        (["reprice", "--tz", "Mars"], "no time zone"),
        (["--data", "podium.yaml"], "There is no data folder podium.yaml."),
        (["--plot", "--csv"], "do not go together"),
        (["--tz", "Mars"], "no time zone"),
        (["--data", "nowhere"], "There is no data folder nowhere."),
    ],
)
def test_what_cannot_be_asked_is_told(podium: Run, data: Path, arguments: list[str], said: str) -> None:
    ran = podium("usage", *arguments)
    assert ran.code == 2
    assert said in ran.err.replace("\n", " ")


def test_nothing_on_record_is_no_error(podium: Run, here: Path) -> None:
    (here / "podium.yaml").write_text(yaml.safe_dump({"providers": {"openai": {"api_key": "k"}}, "data_dir": "none-yet"}))
    ran = podium("usage")
    assert (ran.code, ran.out) == (0, "")
    assert "No usage is on record" in ran.err
    assert not (here / "none-yet").exists(), "asking leaves no folder behind"


def test_a_day_is_a_window(podium: Run, data: Path) -> None:
    ran = podium("usage", "--by", "", "--since", "2026-03-01", "--until", "2026-03-01", "--json")
    assert json.loads(ran.out)["total"]["requests"] == 2


def test_without_a_config_file_it_is_said_that_nothing_is_kept(podium: Run, here: Path) -> None:
    assert podium("usage").err.startswith("Nothing is on record: records are kept beside a config file")


def test_a_file_where_the_data_folder_belongs_is_told_and_is_not_no_usage(podium: Run, here: Path) -> None:
    (here / "podium.yaml").write_text(yaml.safe_dump({"providers": {"openai": {"api_key": "k"}}}))
    (here / ".podium").write_text("")
    ran = podium("usage")
    assert ran.code == 2
    assert ".podium is a file, so nothing can be on record in it." in ran.err


def usage_of(podium: Run) -> dict[str, Any]:
    rows = json.loads(podium("usage", "--by", "model", "--json").out)["rows"]
    return {row["model"]: (row["cost_usd"], row["unpriced"]) for row in rows}


def test_repricing_shows_what_would_change_and_changes_it_when_told(podium: Run, data: Path) -> None:
    before = usage_of(podium)
    ran = podium("usage", "reprice", "--until", "2026-03-02")
    assert ran.code == 0
    assert ["openai/gpt-4o", "1", "1", "$1.5000", "$0.0004", "-", "-"] in table_of(ran)
    assert "--apply changes" in ran.err
    assert usage_of(podium) == before
    assert podium("usage", "reprice", "--until", "2026-03-02", "--apply").code == 0
    after = usage_of(podium)
    assert after["gpt-4o"] == ("1.750437000000", 0)
    again = podium("usage", "reprice", "--until", "2026-03-02", "--apply", "--json")
    assert {each["model"]: each["changed"] for each in json.loads(again.out)["models"]}["gpt-4o"] == 0


@pytest.mark.parametrize("by", ["model", "tag"])
def test_the_total_is_that_of_the_rows_though_more_is_recorded_meanwhile(
    podium: Run, data: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    read = Ledger.usage

    def overtaken(ledger: Ledger, *arguments: Any, **settings: Any) -> list[UsageRow]:
        found = read(ledger, *arguments, **settings)
        monkeypatch.setattr(Ledger, "usage", read)
        record(ledger, 20)
        assert ledger.flush()
        return found

    monkeypatch.setattr(Ledger, "usage", overtaken)
    document = json.loads(podium("usage", "--by", by, "--json").out)
    rows = sum(row["requests"] for row in document["rows"])
    # A request of several tags is in several rows, so their total is asked apart.
    assert (rows, document["total"]["requests"]) == ((4, 4) if by == "model" else (5, 5))
    assert json.loads(podium("usage", "--json").out)["total"]["requests"] == 5
