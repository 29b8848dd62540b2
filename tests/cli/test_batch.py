import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import MODULE, Run
from podium.sim import Sim
from waiting import wait_until


def write_prompts(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sums(count: int) -> list[dict[str, Any]]:
    return [{"id": f"q{number}", "prompt": f"What is {number} * 3?"} for number in range(count)]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.usefixtures("config")
def test_each_prompt_has_a_result_line_in_order(podium: Run, here: Path) -> None:
    rows = sums(10)
    rows[0]["spec"] = "openai/gpt-late"
    write_prompts(here / "q.jsonl", *rows)
    ran = podium("run", "openai/gpt-4o", "q.jsonl")
    results = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.code == 0
    assert [(result["id"], result["text"]) for result in results] == [(f"q{n}", str(n * 3)) for n in range(10)]
    assert results[0]["target"] == "openai/gpt-late"
    assert "10 of 10 prompts answered" in ran.err
    assert podium("run", "openai/gpt-4o", "q.jsonl", "--out", "o.jsonl").out == ""
    assert [result["id"] for result in read(here / "o.jsonl")] == [f"q{n}" for n in range(10)]


@pytest.mark.usefixtures("config")
def test_a_line_may_be_a_text_a_conversation_or_have_settings_of_its_own(podium: Run, here: Path, sim: Sim) -> None:
    (here / "q.jsonl").write_bytes(
        b"\xef\xbb\xbf"
        + "\n".join(
            [
                '"What is the capital of France?"',
                "",
                '{"messages": [{"role": "user", "content": "What is the capital of Italy?"}], "max_tokens": 9}',
                '{"prompt": "What is the capital of Spain?", "user": "jane", "experiment": "mine", "spec": "user:jane"}',
                '{"prompt": "What is the capital of Japan?", "system": null, "temperature": 0}',
            ]
        ).encode()
    )
    ran = podium("run", "openai/gpt-4o", "@q.jsonl", "--system", "Be brief.", "--quiet", "--concurrency", "1")
    results = [json.loads(line) for line in ran.out.splitlines()]
    assert [result["text"] for result in results] == ["Paris", "Rome", "Madrid", "Tokyo"]
    assert [result["line"] for result in results] == [1, 3, 4, 5]
    assert [request.provider for request in sim.requests] == ["openai", "openai", "groq", "openai"]
    assert sim.requests[0].body["messages"][0]["content"] == "Be brief."
    assert ran.err == ""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"prompt": "x"', "not JSON"),
        ("[1]", "a list"),
        ('{"prompt": "x", "tmperature": 1}', "`temperature`"),
        ('{"prompt": "x", "model": "gpt-4o"}', "`spec`"),
        ('{"prompt": "x", "spec": "tier:fsat"}', "tier:fast"),
        ('{"prompt": "x", "temperature": "hot"}', "temperature"),
        ('{"prompt": "x", "timeout": "3 parsecs"}', "parsecs"),
        ('{"prompt": "x", "user": 7}', "`user`"),
        ('{"prompt": "x", "pin": 1}', "`pin`"),
        ('{"prompt": "x", "id": true}', "`id`"),
        ('{"id": 3}', "prompt"),
        ('{"prompt": "x", "id": "first"}', "line 1"),
        ("\udcff", "not UTF-8 text"),
        ('{"prompt": "caf\udce9"}', "not UTF-8 text.\n  Save the file as UTF-8."),
    ],
)
@pytest.mark.usefixtures("config")
def test_a_malformed_line_is_named_before_anything_is_sent(podium: Run, here: Path, sim: Sim, line: str, words: str) -> None:
    (here / "q.jsonl").write_bytes(b'{"prompt": "x", "id": "first"}\n\n' + line.encode("utf-8", "surrogateescape") + b"\n")
    ran = podium("run", "tier:fast", "q.jsonl", "--out", "o.jsonl")
    assert (ran.code, ran.out) == (2, "")
    assert "q.jsonl:3: " in ran.err
    assert words in ran.err
    assert sim.stats.requests == 0
    assert not (here / "o.jsonl").exists()


@pytest.mark.usefixtures("config")
def test_a_file_of_podium_compare_can_be_asked_as_it_is(podium: Run, here: Path) -> None:
    """What is expected and of what kind a prompt is are no part of it: nothing is asked again where they change."""
    write_prompts(here / "q.jsonl", {"prompt": "What is the capital of France?", "category": "capitals", "expect": "Paris"})
    assert podium("run", "openai/gpt-4o", "q.jsonl", "--out", "o.jsonl").code == 0
    assert [line["text"] for line in read(here / "o.jsonl")] == ["Paris"]
    write_prompts(here / "q.jsonl", {"prompt": "What is the capital of France?"})
    assert "1 of 1 prompt is answered" in podium("run", "openai/gpt-4o", "q.jsonl", "--out", "o.jsonl").err


@pytest.mark.usefixtures("config")
def test_an_empty_file_a_missing_one_and_one_that_is_its_own_output_are_errors(podium: Run, here: Path) -> None:
    (here / "empty.jsonl").write_text("\n\n")
    assert "holds no prompts" in podium("run", "tier:fast", "empty.jsonl").err
    assert podium("run", "tier:fast", "none.jsonl").code == 2
    write_prompts(here / "q.jsonl", *sums(1))
    assert podium("run", "tier:fast", "q.jsonl", "--out", "q.jsonl").code == 2
    assert read(here / "q.jsonl") == sums(1)
    assert podium("run", "tier:fast", "q.jsonl", "--out", "no/such/folder/o.jsonl").code == 2


@pytest.mark.usefixtures("config")
def test_a_failed_prompt_is_a_result_fails_the_command_and_is_asked_again(podium: Run, here: Path, sim: Sim) -> None:
    rows = sums(4)
    rows[1] |= {"spec": "openai/gpt-down-now", "timeout": "2s"}
    write_prompts(here / "q.jsonl", *rows)
    ran = podium("run", "openai/gpt-4o", "q.jsonl", "-o", "o.jsonl")
    results = read(here / "o.jsonl")
    assert ran.code == 1
    assert [result["ok"] for result in results] == [True, False, True, True]
    assert results[1]["error"]["target"] == "openai/gpt-down-now"
    assert "3 of 4 prompts answered, 1 failed" in ran.err
    assert "line 2" in ran.err
    sim.reset()
    sim.set("openai/gpt-down-now", status=None)
    again = podium("run", "openai/gpt-4o", "q.jsonl", "-o", "o.jsonl")
    sim.unset("openai/gpt-down-now")
    assert again.code == 0
    assert [request.model for request in sim.requests] == ["gpt-down-now"]
    assert [(each["id"], each["ok"], each["text"]) for each in read(here / "o.jsonl")] == [
        ("q0", True, "0"), ("q1", True, "3"), ("q2", True, "6"), ("q3", True, "9"),
    ]  # fmt: skip


@pytest.mark.usefixtures("config")
def test_a_run_that_is_complete_sends_nothing_and_leaves_the_file_as_it_is(podium: Run, here: Path, sim: Sim) -> None:
    write_prompts(here / "q.jsonl", *sums(3))
    podium("run", "openai/gpt-4o", "q.jsonl", "-o", "o.jsonl")
    before, asked = (here / "o.jsonl").read_bytes(), sim.stats.requests
    ran = podium("run", "openai/gpt-4o", "q.jsonl", "-o", "o.jsonl")
    assert ran.code == 0
    assert "3 of 3 prompts" in ran.err
    assert ((here / "o.jsonl").read_bytes(), sim.stats.requests) == (before, asked)


@pytest.mark.parametrize("torn", [1, 40, -1])
@pytest.mark.usefixtures("config")
def test_a_torn_last_line_is_asked_again(podium: Run, here: Path, sim: Sim, torn: int) -> None:
    write_prompts(here / "q.jsonl", *sums(3))
    podium("run", "openai/gpt-4o", "q.jsonl", "-o", "o.jsonl")
    lines = (here / "o.jsonl").read_bytes().splitlines(keepends=True)
    (here / "o.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][: torn if torn > 0 else len(lines[2]) - 2])
    sim.reset()
    ran = podium("run", "openai/gpt-4o", "q.jsonl", "-o", "o.jsonl")
    assert ran.code == 0
    assert "torn off" in ran.err
    assert sim.stats.requests == 1
    assert [result["text"] for result in read(here / "o.jsonl")] == ["0", "3", "6"]


@pytest.mark.usefixtures("config")
def test_a_last_line_that_lacks_only_its_newline_is_kept(podium: Run, here: Path, sim: Sim) -> None:
    write_prompts(here / "q.jsonl", *sums(3))
    podium("run", "openai/gpt-4o", "q.jsonl", "-o", "o.jsonl")
    whole = (here / "o.jsonl").read_bytes()
    (here / "o.jsonl").write_bytes(whole.rstrip(b"\n"))
    sim.reset()
    podium("run", "openai/gpt-4o", "q.jsonl", "-o", "o.jsonl")
    assert sim.stats.requests == 0
    assert (here / "o.jsonl").read_bytes() == whole


@pytest.mark.usefixtures("config")
def test_prompts_that_are_added_or_moved_are_told_from_those_answered(podium: Run, here: Path, sim: Sim) -> None:
    plain = [{"prompt": f"What is {number} * 3?"} for number in range(4)]
    write_prompts(here / "q.jsonl", plain[1], plain[3], plain[1])
    podium("run", "openai/gpt-4o", "q.jsonl", "-o", "o.jsonl")
    sim.reset()
    write_prompts(here / "q.jsonl", plain[0], plain[1], plain[1], plain[2], plain[3])
    podium("run", "openai/gpt-4o", "q.jsonl", "-o", "o.jsonl")
    assert sim.stats.requests == 2
    assert [(each["line"], each["text"]) for each in read(here / "o.jsonl")] == [
        (1, "0"),
        (2, "3"),
        (3, "3"),
        (4, "6"),
        (5, "9"),
    ]


@pytest.mark.usefixtures("config")
def test_answers_to_other_prompts_and_other_files_are_never_overwritten(podium: Run, here: Path, sim: Sim) -> None:
    write_prompts(here / "q.jsonl", *sums(2))
    podium("run", "openai/gpt-4o", "q.jsonl", "-o", "o.jsonl")
    before = (here / "o.jsonl").read_bytes()
    sim.reset()
    for arguments in (["openai/gpt-4o", "--temperature", "1"], ["openai/gpt-4.1"]):
        ran = podium("run", arguments[0], "q.jsonl", "-o", "o.jsonl", *arguments[1:])
        assert ran.code == 2
        assert "--fresh" in ran.err
    (here / "notes.txt").write_text("my notes\n")
    assert "notes.txt:1" in podium("run", "openai/gpt-4o", "q.jsonl", "-o", "notes.txt").err
    assert (here / "notes.txt").read_text() == "my notes\n"
    assert ((here / "o.jsonl").read_bytes(), sim.stats.requests) == (before, 0)
    assert podium("run", "openai/gpt-4.1", "q.jsonl", "-o", "o.jsonl", "--fresh").code == 0
    assert {each["target"] for each in read(here / "o.jsonl")} == {"openai/gpt-4.1"}


@pytest.mark.usefixtures("config")
def test_no_more_prompts_are_asked_at_once_than_allowed(podium: Run, here: Path, sim: Sim) -> None:
    write_prompts(here / "q.jsonl", *[{"prompt": f"Say '{n}'", "spec": "openai/gpt-late"} for n in range(6)])
    began = time.monotonic()
    assert podium("run", "", "q.jsonl", "--concurrency", "2").code == 0
    assert time.monotonic() - began >= 3 * 0.4


@pytest.mark.usefixtures("config")
def test_json_puts_the_whole_result_into_each_line(podium: Run, here: Path) -> None:
    write_prompts(here / "q.jsonl", *sums(1))
    result = json.loads(podium("run", "openai/gpt-4o", "q.jsonl", "--json").out)
    assert result["result"]["reasons"]["rule"] == "target"
    assert result["text"] == "0"


def interrupted(here: Path, sim: Sim, *arguments: str, by: int = signal.SIGINT, ignored: bool = False) -> tuple[int, str, str]:
    """Start a batch of which two prompts hang, and send it a signal once the others are answered.

    `ignored`: it is started with SIGINT ignored, as a shell does in the background.
    """
    rows = sums(6)
    for number in (1, 4):
        rows[number]["spec"] = "openai/gpt-slow"
    write_prompts(here / "q.jsonl", *rows)
    command = [*MODULE, "run", "openai/gpt-4o", "q.jsonl", *arguments]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if ignored else None
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    if ignored:
        signal.signal(signal.SIGINT, before)
    wait_until(lambda: sim.stats.finished >= 4 and sim.stats.in_flight == 2)
    time.sleep(0.2)
    child.send_signal(by)
    out, err = child.communicate(timeout=20)
    assert "Traceback" not in err
    return child.returncode, out, err


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_batch_that_is_told_to_terminate_settles_what_runs(podium: Run, here: Path, sim: Sim, ignored: bool) -> None:
    with (here / "podium.yaml").open("a") as config:
        config.write("data_dir: data\n")
    code, _, err = interrupted(here, sim, by=signal.SIGTERM, ignored=ignored)
    assert code == 130
    assert "4 of 6 prompts" in err
    assert sim.wait_idle().cancelled == 2
    total = json.loads(podium("usage", "--json").out)["total"]
    assert (total["attempts"], total["unknown"], total["unpriced"]) == (6, 0, 2), "no price of gpt-slow is known"


@pytest.mark.usefixtures("config")
def test_ctrl_c_keeps_what_is_done_cancels_the_rest_and_says_how_to_go_on(podium: Run, here: Path, sim: Sim) -> None:
    code, out, err = interrupted(here, sim, "--out", "o.jsonl")
    assert (code, out) == (130, "")
    assert "4 of 6 prompts" in err
    assert "podium run openai/gpt-4o q.jsonl --out o.jsonl" in err
    assert [result["id"] for result in read(here / "o.jsonl")] == ["q0", "q2", "q3", "q5"]
    assert sim.wait_idle().cancelled == 2
    sim.reset()
    sim.set("openai/gpt-slow", latency_s=0.0)
    again = podium("run", "openai/gpt-4o", "q.jsonl", "--out", "o.jsonl")
    sim.set("openai/gpt-slow", latency_s=30.0)
    assert again.code == 0
    assert sim.stats.requests == 2
    assert [(each["id"], each["text"]) for each in read(here / "o.jsonl")] == [(f"q{n}", str(n * 3)) for n in range(6)]
    assert sorted(each.name for each in here.iterdir() if "o.jsonl" in each.name) == ["o.jsonl"]


@pytest.mark.usefixtures("config")
def test_ctrl_c_without_a_file_says_what_would_have_kept_the_answers(here: Path, sim: Sim) -> None:
    code, out, err = interrupted(here, sim)
    assert code == 130
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["q0"]
    assert "--out" in err


@pytest.mark.usefixtures("config")
def test_a_terminal_shows_progress_and_then_the_sum(terminal: Run, here: Path) -> None:
    write_prompts(here / "q.jsonl", *[{"prompt": f"Say '{n}'", "spec": "openai/gpt-late"} for n in range(3)])
    ran = terminal("run", "", "q.jsonl", "--out", "o.jsonl", "--concurrency", "1")
    assert ran.code == 0
    assert "2/3" in ran.out
    assert "3 of 3 prompts answered" in ran.out
