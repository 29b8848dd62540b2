"""`podium compare` against simulated providers: its files, its bound of money, its words and its exit codes."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import MODULE, Run
from cli.test_batch import read, sums, write_prompts
from podium.cli.files import check_files
from podium.sim import Sim
from waiting import wait_until

OLD, NEW = "openai/gpt-4o", "groq/llama-3.1-8b-instant"
SIDES = ("--old", OLD, "--new", NEW)


@pytest.fixture
def behave(sim: Sim) -> Iterator[Callable[..., None]]:
    """Let a simulated model behave otherwise until the test ends."""
    changed: list[str] = []

    def change(model: str, **behaviour: Any) -> None:
        sim.set(model, **behaviour)
        changed.append(model)

    yield change
    for model in changed:
        sim.unset(model)


@pytest.mark.usefixtures("config")
def test_every_prompt_is_asked_of_both_sides_and_what_they_come_to_is_said(podium: Run, here: Path, sim: Sim) -> None:
    write_prompts(here / "q.jsonl", *sums(6))
    ran = podium("compare", "q.jsonl", *SIDES, "--out", "o.jsonl")
    assert ran.code == 0
    assert sorted(request.provider for request in sim.requests) == ["groq"] * 6 + ["openai"] * 6
    results = read(here / "o.jsonl")
    assert [(each["id"], each["same"], each["ok"]) for each in results] == [(f"q{n}", True, True) for n in range(6)]
    assert results[0]["prompt"] == "What is 0 * 3?"
    assert (results[0]["old"]["target"], results[0]["new"]["target"]) == (OLD, NEW)
    assert "New is cheaper" in ran.out
    assert "Same answer: 6 of 6 (100%)." in ran.out
    assert "6 of 6 prompts compared" in ran.err


@pytest.mark.usefixtures("config")
def test_figures_as_json_are_those_of_the_file_of_results(podium: Run, here: Path, behave: Callable[..., None]) -> None:
    behave("openai/gpt-4o", answer="3")
    write_prompts(here / "q.jsonl", *[{**row, "category": "even" if n % 2 == 0 else "odd"} for n, row in enumerate(sums(5))])
    found = json.loads(podium("compare", "q.jsonl", *SIDES, "--out", "o.jsonl", "--json").out)
    results = read(here / "o.jsonl")
    summary = found["summary"]
    assert (found["old"], found["new"], found["prompts"], found["compared"]) == (OLD, NEW, 5, 5)
    assert summary["same"] == sum(each["same"] is True for each in results) == 1
    for side in ("old", "new"):
        assert Decimal(summary[side]["cost_usd"]) == sum(Decimal(each[side]["cost_usd"]) for each in results)
    assert [(each["name"], each["same"], each["different"]) for each in summary["categories"]] == [
        ("even", 0, 3),
        ("odd", 1, 1),
    ]


@pytest.mark.usefixtures("config")
def test_what_is_right_decides_where_prompts_say_it(podium: Run, here: Path, behave: Callable[..., None]) -> None:
    behave(NEW, answer="I do not know.")
    write_prompts(here / "q.jsonl", *[{**row, "expect": str(3 * n)} for n, row in enumerate(sums(8))])
    ran = podium("compare", "q.jsonl", *SIDES, "-o", "o.jsonl", "--json")
    summary = json.loads(ran.out)["summary"]
    assert (summary["verdict"], summary["headline"]) == ("old", "Old is better: it is right more often.")
    assert [each["right"] for each in read(here / "o.jsonl")] == [{"old": True, "new": False}] * 8


@pytest.mark.usefixtures("config")
def test_a_second_run_asks_nothing_and_leaves_the_file_as_it_is(podium: Run, here: Path, sim: Sim) -> None:
    write_prompts(here / "q.jsonl", *sums(3))
    first = podium("compare", "q.jsonl", *SIDES, "-o", "o.jsonl")
    before = (here / "o.jsonl").read_bytes()
    sim.reset()
    again = podium("compare", "q.jsonl", *SIDES, "-o", "o.jsonl")
    assert (again.code, again.out, sim.stats.requests) == (0, first.out, 0)
    assert (here / "o.jsonl").read_bytes() == before
    assert "3 of 3 prompts are compared in o.jsonl and kept" in again.err


@pytest.mark.usefixtures("config")
def test_categories_and_right_answers_can_be_changed_without_asking_again(podium: Run, here: Path, sim: Sim) -> None:
    write_prompts(here / "q.jsonl", *sums(2))
    podium("compare", "q.jsonl", *SIDES, "-o", "o.jsonl")
    sim.reset()
    write_prompts(here / "q.jsonl", *[{**row, "kind": "sum", "expect": "3"} for row in sums(2)])
    ran = podium("compare", "q.jsonl", *SIDES, "-o", "o.jsonl", "--category", "kind", "--json")
    assert sim.stats.requests == 0
    assert json.loads(ran.out)["summary"]["categories"][0]["name"] == "sum"
    assert [each["right"]["new"] for each in read(here / "o.jsonl")] == [False, True]


@pytest.mark.usefixtures("config")
def test_results_of_other_sides_or_another_judge_are_never_overwritten(podium: Run, here: Path, sim: Sim) -> None:
    write_prompts(here / "q.jsonl", *sums(2))
    podium("compare", "q.jsonl", *SIDES, "-o", "o.jsonl")
    before = (here / "o.jsonl").read_bytes()
    sim.reset()
    for arguments in (["--old", NEW, "--new", OLD], [*SIDES, "--judge", "json"], [*SIDES, "--max-tokens", "9"]):
        ran = podium("compare", "q.jsonl", *arguments, "-o", "o.jsonl")
        assert ran.code == 2
        assert "--fresh" in ran.err
    assert "podium compare" in podium("compare", "q.jsonl", *SIDES, "-o", "podium.yaml").err
    assert ((here / "o.jsonl").read_bytes(), sim.stats.requests) == (before, 0)


@pytest.mark.usefixtures("config")
def test_a_failure_is_a_result_that_is_kept_until_it_is_to_be_tried_again(
    podium: Run, here: Path, sim: Sim, behave: Callable[..., None]
) -> None:
    write_prompts(here / "q.jsonl", *sums(2))
    behave(NEW, status=400)
    first = podium("compare", "q.jsonl", *SIDES, "-o", "o.jsonl")
    assert first.code == 1  # one side answered nothing
    assert [(each["ok"], each["same"]) for each in read(here / "o.jsonl")] == [(False, None)] * 2
    behave(NEW, status=None)
    sim.reset()
    assert podium("compare", "q.jsonl", *SIDES, "-o", "o.jsonl").code == 1
    assert sim.stats.requests == 0
    assert podium("compare", "q.jsonl", *SIDES, "-o", "o.jsonl", "--retry-failed").code == 0
    assert sim.stats.requests == 4
    assert [each["ok"] for each in read(here / "o.jsonl")] == [True, True]


def test_a_key_that_is_refused_ends_the_run_and_is_nobodys_failure(
    podium: Run, here: Path, config: Path, behave: Callable[..., None]
) -> None:
    write_prompts(here / "q.jsonl", *sums(3))
    behave(NEW, status=401)
    ran = podium("compare", "q.jsonl", *SIDES, "-o", "o.jsonl", "--concurrency", "1")
    assert (ran.code, ran.out) == (1, "")
    assert "Stopped at line 1, for that says nothing about new" in ran.err
    assert "0 of 3 prompts are compared in o.jsonl" in ran.err
    assert read(here / "o.jsonl") == []


def test_a_limit_of_the_user_ends_the_run_and_is_nobodys_failure(podium: Run, here: Path, config: Path) -> None:
    (here / "jane.yaml").write_text("experiments: {}\ndefaults: {requests_per_minute: 1}\n")
    write_prompts(here / "q.jsonl", *sums(2), {"prompt": "Hello", "user": "jane"})
    ran = podium("compare", "q.jsonl", *SIDES, "-o", "o.jsonl", "--concurrency", "1")
    assert ran.code == 1
    assert "Stopped at line 3" in ran.err
    assert "user jane" in ran.err
    assert [each["id"] for each in read(here / "o.jsonl")] == ["q0", "q1"]


# --- money -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("config")
def test_without_a_terminal_a_run_ends_before_it_could_pass_its_bound_and_a_later_one_goes_on(
    podium: Run, here: Path, sim: Sim
) -> None:
    write_prompts(here / "q.jsonl", *sums(6))
    command = ("compare", "q.jsonl", *SIDES, "-o", "o.jsonl", "--max-tokens", "100")
    ran = podium(*command, "--max-cost", "0.0025", "--json")
    found = json.loads(ran.out)
    done = found["compared"]
    assert ran.code == 1
    assert 0 < done < 6
    assert found["error"]["code"] == "max_cost_reached"
    assert "--yes" in found["error"]["hint"]
    assert len(read(here / "o.jsonl")) == done
    assert sum(Decimal(each[side]["cost_usd"]) for each in read(here / "o.jsonl") for side in ("old", "new")) <= Decimal(
        "0.0025"
    )
    sim.reset()
    assert podium(*command, "--max-cost", "0.0001", "--yes").code == 0
    assert sim.stats.requests == 2 * (6 - done)
    assert len(read(here / "o.jsonl")) == 6


@pytest.mark.usefixtures("config")
def test_a_bound_that_the_first_prompt_could_pass_sends_nothing(podium: Run, here: Path, sim: Sim) -> None:
    write_prompts(here / "q.jsonl", *sums(2))
    ran = podium("compare", "q.jsonl", *SIDES, "--max-cost", "$0.0001")
    assert (ran.code, ran.out, sim.stats.requests) == (1, "", 0)
    assert "0 of 2 prompts are compared" in ran.err


@pytest.mark.usefixtures("config")
def test_a_bound_cannot_be_kept_where_nobody_knows_the_price(podium: Run, here: Path, sim: Sim) -> None:
    write_prompts(here / "q.jsonl", *sums(1))
    unpriced = ("compare", "q.jsonl", "--old", OLD, "--new", "openai/no-such-model-yet")
    ran = podium(*unpriced, "--max-cost", "5")
    assert (ran.code, sim.stats.requests) == (2, 0)
    assert "openai/no-such-model-yet: it has no price" in ran.err
    assert podium(*unpriced).code == 0
    assert podium(*unpriced, "--max-cost", "5", "--yes").code == 0


def answering(answers: str, *arguments: str) -> tuple[int, str]:
    """Run a command in a terminal in which somebody answers its questions."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [*MODULE, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "COLUMNS": "100"}
    )
    os.close(theirs)
    shown, left = b"", list(answers)
    while select.select([ours], [], [], 30)[0]:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # all have left the terminal
            break
        shown += piece
        if left and shown.rstrip().endswith(b"[y/N]:"):
            os.write(ours, left.pop(0).encode() + b"\n")
            shown += b"\n"
    os.close(ours)
    return child.wait(10), shown.decode()


@pytest.mark.parametrize(("answers", "code"), [("yyyyyyyy", 0), ("n", 1), ("\x04", 130)])
@pytest.mark.usefixtures("config")
def test_in_a_terminal_somebody_is_asked_before_more_is_spent(here: Path, answers: str, code: int) -> None:
    write_prompts(here / "q.jsonl", *sums(6))
    command = ("compare", "q.jsonl", *SIDES, "-o", "o.jsonl", "--max-tokens", "100", "--max-cost", "0.0025")
    found, shown = answering(answers, *command)
    assert found == code, shown
    assert "Spend up to" in shown
    assert (len(read(here / "o.jsonl")) == 6) == (code == 0)


# --- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"prompt": "x", "spec": "tier:fast"}', "--old and --new"),
        ('{"prompt": "x", "categroy": "a"}', "`category`"),
        ('{"prompt": "x", "expect": 3}', "`expect` is a number"),
        ('{"prompt": "x", "category": [1]}', "`category` is a list"),
        ('{"prompt": "x", "model": "gpt-4o"}', "`model`"),
        ('{"messages": []}', "messages"),
    ],
)
@pytest.mark.usefixtures("config")
def test_a_malformed_line_is_named_before_anything_is_sent(podium: Run, here: Path, sim: Sim, line: str, words: str) -> None:
    (here / "q.jsonl").write_text('{"prompt": "x"}\n' + line + "\n")
    ran = podium("compare", "q.jsonl", *SIDES, "-o", "o.jsonl")
    assert (ran.code, ran.out, sim.stats.requests) == (2, "", 0)
    assert "q.jsonl:2: " in ran.err
    assert words in ran.err
    assert not (here / "o.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--old", "tier:fsat", "--new", NEW), "tier:fast"),
        ((*SIDES, "--judge", "fair"), "auto, exact and json"),
        ((*SIDES, "--answer-pattern", "("), "is no regular expression"),
        ((*SIDES, "--max-cost", "much"), "--max-cost 2.50"),
        ((*SIDES, "--max-cost", "-1"), "--max-cost 2.50"),
        ((*SIDES, "--out", "q.jsonl"), "file of the prompts itself"),
        ((*SIDES, "--report", "q.jsonl"), "file of the prompts itself"),
        ((*SIDES, "--out", "x", "--report", "./x"), "same file"),
        ((*SIDES, "--report", "no/such/folder/r.html"), "no/such/folder"),
        ((*SIDES, "--report", "podium.yaml"), "a file that is no report"),
        ((*SIDES, "--report", "."), "The report .: Is a directory."),
        ((*SIDES, "--report", "/proc/r.html"), "The report /proc/r.html: "),
        (("--old", OLD), "--new"),
    ],
)
@pytest.mark.usefixtures("config")
def test_wrong_options_are_told_before_anything_is_sent(
    podium: Run, here: Path, sim: Sim, arguments: tuple[str, ...], words: str
) -> None:
    write_prompts(here / "q.jsonl", *sums(1))
    ran = podium("compare", "q.jsonl", *arguments)
    assert (ran.code, sim.stats.requests) == (2, 0)
    assert words in ran.err
    assert read(here / "q.jsonl") == sums(1)


def test_a_report_may_go_to_a_pipe() -> None:
    reader, writer = os.pipe()
    check_files(None, None, f"/dev/fd/{writer}")
    os.close(writer)
    assert os.read(reader, 1) == b""
    os.close(reader)


# --- its end, and its looks -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("config")
def test_ctrl_c_leaves_a_whole_file_cancels_the_rest_and_says_how_to_go_on(here: Path, sim: Sim) -> None:
    write_prompts(here / "q.jsonl", *sums(5))
    command = [*MODULE, "compare", "q.jsonl", "--old", OLD, "--new", "openai/gpt-slow", "-o", "o.jsonl", "--timeout", "60s"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: sim.stats.finished == 5 and sim.stats.in_flight == 5)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=20)
    assert (child.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "0 of 5 prompts are compared, and kept in o.jsonl" in err
    assert "podium compare q.jsonl" in err
    assert (here / "o.jsonl").read_bytes() == b""
    assert sim.wait_idle().cancelled == 5


@pytest.mark.usefixtures("config")
def test_what_was_compared_before_ctrl_c_is_kept_and_only_the_rest_is_asked_after_it(podium: Run, here: Path, sim: Sim) -> None:
    write_prompts(here / "q.jsonl", *sums(5))
    late = ("compare", "q.jsonl", "--old", OLD, "--new", "openai/gpt-late", "-o", "o.jsonl", "--concurrency", "1")
    child = subprocess.Popen([*MODULE, *late], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    file = here / "o.jsonl"
    wait_until(lambda: file.exists() and len(file.read_bytes().splitlines()) >= 2)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    kept = read(here / "o.jsonl")
    assert child.returncode == 130
    assert f"{len(kept)} of 5 prompts are compared" in err
    sim.wait_idle()
    sim.reset()
    assert podium(*late).code == 0
    assert sim.stats.requests == 2 * (5 - len(kept))
    assert [each["id"] for each in read(here / "o.jsonl")] == [f"q{n}" for n in range(5)]
    assert read(here / "o.jsonl")[: len(kept)] == kept


@pytest.mark.usefixtures("config")
def test_a_terminal_shows_progress_and_no_color_is_kept(terminal: Run, here: Path) -> None:
    write_prompts(here / "q.jsonl", *sums(4))
    slow = ("compare", "q.jsonl", "--old", "openai/gpt-late", "--new", NEW, "--concurrency", "1")
    with ThreadPoolExecutor() as both:
        colourful, plain = both.submit(terminal, *slow), both.submit(terminal, *slow, NO_COLOR="1")
    assert colourful.result().code == 0
    assert "2/4" in colourful.result().out
    assert "\x1b[33m" in colourful.result().out
    assert "\x1b[33m" not in plain.result().out


@pytest.mark.usefixtures("config")
def test_control_characters_of_an_answer_do_not_reach_the_terminal(terminal: Run, here: Path) -> None:
    write_prompts(here / "q.jsonl", {"prompt": "Hello", "category": "a\x1b]0;b\x07c"})
    ran = terminal("compare", "q.jsonl", "--old", "openai/gpt-evil", "--new", NEW, "--report", "r.html")
    assert ran.code == 0
    assert "\x1b]0;" not in ran.out
    assert "\x1b" not in (here / "r.html").read_text()
