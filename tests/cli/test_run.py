import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import MODULE, Run
from podium.sim import Sim

PARIS = "What is the capital of France?"


@pytest.mark.usefixtures("config")
def test_a_pipe_gets_the_text_and_nothing_else(podium: Run) -> None:
    ran = podium("run", "openai/gpt-4o", PARIS)
    assert (ran.code, ran.out, ran.err) == (0, "Paris\n", "")


@pytest.mark.usefixtures("config")
def test_json_is_the_whole_result_and_its_text(podium: Run) -> None:
    ran = podium("run", "tier:steady", PARIS, "--json")
    result = json.loads(ran.out)
    assert ran.code == 0
    assert result["text"] == "Paris"
    assert result["target"] == {"provider": "anthropic", "model": "claude-haiku-4-5"}
    assert [attempt["outcome"] for attempt in result["attempts"]] == ["failed", "won"]
    assert result["reasons"]["rule"] == "tier"


@pytest.mark.usefixtures("config")
def test_a_prompt_may_come_from_a_file_or_from_stdin(podium: Run, here: Path) -> None:
    (here / "question.txt").write_text(PARIS)
    for ran in (
        podium("run", "openai/gpt-4o", "@question.txt"),
        podium("run", "openai/gpt-4o", "--file", "question.txt"),
        podium("run", "openai/gpt-4o", "-", stdin=PARIS),
        podium("run", "openai/gpt-4o", stdin=PARIS),
    ):
        assert (ran.code, ran.out) == (0, "Paris\n")


@pytest.mark.usefixtures("config")
def test_settings_reach_the_provider(podium: Run, sim: Sim, here: Path) -> None:
    (here / "system.txt").write_text("Be brief.")
    (here / "schema.json").write_text(json.dumps({"type": "object", "properties": {"city": {"type": "string"}}}))
    settings = [
        "--system",
        "@system.txt",
        "--max-tokens",
        "50",
        "--temperature",
        "0.5",
        "--output",
        "@schema.json",
        "--user",
        "ann",
    ]
    ran = podium("run", "openai/gpt-4o", PARIS, *settings)
    assert json.loads(ran.out) == {"city": "Paris"}
    body = sim.requests[-1].body
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["temperature"], 50) == (0.5, body.get("max_tokens") or body.get("max_completion_tokens"))
    assert body["response_format"]["type"] == "json_schema"


@pytest.mark.usefixtures("config")
def test_a_user_and_an_experiment_decide_where_no_spec_does(podium: Run, sim: Sim) -> None:
    assert podium("run", "", PARIS, "--user", "jane", "--experiment", "mine").out == "Paris\n"
    assert podium("run", "user:jane:mine", PARIS).out == "Paris\n"
    assert [request.provider for request in sim.requests] == ["groq", "groq"]


@pytest.mark.usefixtures("config")
def test_pin_asks_the_model_and_not_its_tier(podium: Run, sim: Sim) -> None:
    assert podium("run", "openai/gpt-down", PARIS).out == "Paris\n"
    sim.reset()
    assert podium("run", "openai/gpt-down", PARIS, "--pin", "--timeout", "300ms").code == 1
    assert {request.model for request in sim.requests} == {"gpt-down"}


@pytest.mark.usefixtures("config")
def test_why_says_on_stderr_what_the_spec_became(podium: Run) -> None:
    ran = podium("run", "gpt-4", PARIS, "--why")
    assert ran.out == "Paris\n"
    assert "alias" in ran.err
    assert "openai/gpt-4o" in ran.err


@pytest.mark.usefixtures("config")
def test_a_setting_that_is_not_honoured_is_said_on_stderr_or_fails_under_strict(podium: Run) -> None:
    ran = podium("run", "openai/o4-mini", PARIS, "--temperature", "0.3")
    assert (ran.code, ran.out) == (0, "Paris\n")
    assert "temperature" in ran.err
    assert podium("run", "openai/o4-mini", PARIS, "--temperature", "0.3", "--quiet").err == ""
    strict = podium("run", "openai/o4-mini", PARIS, "--temperature", "0.3", "--strict")
    assert (strict.code, strict.out) == (2, "")
    assert "temperature" in strict.err


@pytest.mark.usefixtures("config")
def test_a_refusal_is_shown_as_what_the_model_said(podium: Run) -> None:
    ran = podium("run", "openai/gpt-refuses", PARIS)
    assert (ran.code, ran.out) == (0, "I'm sorry, but I can't help with that.\n")


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("config")
def test_where_all_targets_fail_each_attempt_is_shown(podium: Run) -> None:
    ran = podium("run", "tier:broken", PARIS, "--timeout", "2s")
    assert (ran.code, ran.out) == (1, "")
    assert "openai/gpt-down " in ran.err
    assert "503" in ran.err


@pytest.mark.usefixtures("config")
def test_an_error_is_json_too_where_json_is_asked_for(podium: Run) -> None:
    ran = podium("run", "tier:fsat", PARIS, "--json")
    error = json.loads(ran.out)["error"]
    assert ran.code == 2
    assert error["code"] == "unknown_spec"
    assert "tier:fast" in error["candidates"]
    failed = podium("run", "openai/gpt-down", "Hello", "--pin", "--timeout", "200ms", "--json")
    assert failed.code == 1
    assert json.loads(failed.out)["error"]["attempts"][0]["target"]["model"] == "gpt-down"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tier:fsat", "Hi"], "tier:fast"),
        (["tier:fast", "Hi", "--timeout", "3"], "3s"),
        (["tier:fast", "Hi", "--output", "yaml"], "json"),
        (["tier:fast", "Hi", "--output", "@none.json"], "none.json"),
        (["tier:fast", "@none.txt"], "none.txt"),
        (["tier:fast", "  "], "empty"),
        (["What is the capital of France?"], "first argument is the SPEC"),
        (["tier:fast", "Hi", "--file", "x.txt"], "two prompts"),
        (["tier:fast", "Hi", "--out", "x.jsonl"], "many prompts"),
        (["tier:fast", "none.jsonl"], "none.jsonl"),
        (["tier:fast", "Hi", "--config", "none.yaml"], "none.yaml"),
        (["tier:fast", "Hi", "--max-tokens", "many"], "--max-tokens"),
        (["tier:fast", "Hi", "--thinking", "a lot", "--nonsense"], "nonsense"),
    ],
)
@pytest.mark.usefixtures("config")
def test_wrong_usage_exits_2_and_says_what_is_wrong(podium: Run, sim: Sim, arguments: list[str], words: str) -> None:
    ran = podium("run", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert sim.stats.requests == 0


@pytest.mark.usefixtures("here")
def test_without_a_config_the_environment_is_one_and_errors_say_that_no_file_was_found(podium: Run) -> None:
    ran = podium("run", "tier:fast", "Hi")
    assert ran.code == 2
    assert "no podium.yaml here" in ran.err
    assert "podium init" in ran.err


def test_the_config_may_be_named_before_the_command_after_it_or_in_the_environment(
    podium: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = config.rename(config.with_name("other.yaml"))
    assert podium("run", "openai/gpt-4o", PARIS).code != 0
    assert podium("--config", str(other), "run", "openai/gpt-4o", PARIS).out == "Paris\n"
    assert podium("run", "openai/gpt-4o", PARIS, "-c", str(other)).out == "Paris\n"
    monkeypatch.setenv("PODIUM_CONFIG", str(other))
    assert podium("run", "openai/gpt-4o", PARIS).out == "Paris\n"


# --- as a process ----------------------------------------------------------------------------------------------------


def test_a_config_may_come_from_stdin_and_is_then_as_one_of_the_current_folder(process: Run, config: Path, here: Path) -> None:
    """Users' files and records are there; `/dev` gets none."""
    written = config.read_text()
    config.unlink()
    for named in ("-", "/dev/stdin"):
        ran = process("run", "openai/gpt-4o", "What is the capital of France?", "-c", named, stdin=written)
        assert (ran.code, ran.out) == (0, "Paris\n")
    assert (here / ".podium" / "ledger.sqlite3").exists()
    assert "1. groq/llama-3.1-8b-instant" in process("explain", "user:jane:mine", "-c", "-", stdin=written).out
    assert process("check", "-", stdin=written).code == 0
    assert "error: this is not YAML" in process("check", "-", stdin="providers: [").out


def test_a_config_from_stdin_is_never_sent_as_the_prompt(here: Path, config: Path, sim: Sim) -> None:
    """A file behind stdin can be read twice: as the prompt, and as the config."""
    asked = sim.stats.requests
    for arguments, named in ((("-", "-c", "-"), None), ((), "-"), (("-c", "/dev/stdin"), None)):
        environment = os.environ | ({} if named is None else {"PODIUM_CONFIG": named})
        with config.open() as stdin:
            ran = subprocess.run(
                [*MODULE, "run", "openai/gpt-4o", *arguments],
                stdin=stdin,
                capture_output=True,
                text=True,
                env=environment,
                check=False,
            )
        assert (ran.returncode, ran.stdout, sim.stats.requests) == (2, "", asked)
        assert "The config and the prompt cannot both come from stdin." in ran.stderr


def test_a_ledger_that_cannot_be_kept_is_said_with_the_answer(process: Run, config: Path, here: Path) -> None:
    (here / "file").write_text("in the way")
    ran = process("run", "openai/gpt-4o", "What is the capital of France?", PODIUM_DATA=str(here / "file" / "data"))
    assert (ran.code, ran.out) == (0, "Paris\n")
    assert "The ledger's folder " in ran.err
    assert "Until then the ledger is in memory, and ends with the process." in ran.err


@pytest.mark.usefixtures("config")
def test_a_terminal_sees_the_answer_and_who_gave_it(terminal: Run) -> None:
    ran = terminal("run", "tier:agreed", PARIS)
    assert ran.code == 0
    assert "Paris\n" in ran.out
    assert "2 of 3 agree" in ran.out
    assert "\x1b[" in ran.out


@pytest.mark.usefixtures("config")
def test_no_color_takes_the_colours_away(terminal: Run) -> None:
    ran = terminal("explain", "tier:fast", NO_COLOR="1")
    assert ran.code == 0
    assert "openai/gpt-4o-mini" in ran.out
    assert not any(f"\x1b[{colour}" in ran.out for colour in range(30, 38))


@pytest.mark.usefixtures("config")
def test_what_a_model_says_cannot_steer_the_terminal(terminal: Run) -> None:
    ran = terminal("run", "openai/gpt-evil", "Hello")
    assert "before]52;c;aGk=after" in ran.out


@pytest.mark.usefixtures("config")
def test_a_process_answers_as_the_command_does_and_stays_quiet_otherwise(process: Run) -> None:
    assert process("run", "openai/gpt-4o", PARIS) == (0, "Paris\n", "")


def test_a_broken_config_is_a_list_of_problems_without_a_traceback(process: Run, here: Path) -> None:
    (here / "podium.yaml").write_text("providers:\n  openai: {apikey_: x}\ntiers:\n  fast: {strategy: rase, models: []}\n")
    ran = process("run", "tier:fast", "Hi")
    assert (ran.code, ran.out) == (2, "")
    assert "podium.yaml:2" in ran.err
    assert "`race`" in ran.err


def test_a_defect_is_one_line_and_a_traceback_only_on_demand(here: Path) -> None:
    code = (
        "from podium.cli import explain, main\n"
        "import sys\n"
        "def broken(*a, **k): raise LookupError('a defect')\n"
        "explain.open_models = broken\n"
        "sys.argv = ['podium', 'explain', 'x']\n"
        "main.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "LookupError: a defect" in done.stderr
    assert "PODIUM_DEBUG=1" in done.stderr
    assert "Traceback" not in done.stderr
    debugged = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PODIUM_DEBUG": "1"}
    )
    assert "Traceback" in debugged.stderr


@pytest.mark.usefixtures("config")
def test_a_reader_that_leaves_is_no_error(here: Path) -> None:
    command = f"{sys.executable} -m podium run openai/gpt-prose 'Tell me of rivers' | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["run", "openai/gpt-4o", "Hi", "--json"], ["explain", "tier:fast"]])
@pytest.mark.usefixtures("config")
def test_a_full_disk_is_a_clear_error(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*MODULE, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "No space is left" in done.stderr
    assert "PODIUM_DEBUG" not in done.stderr


@pytest.mark.usefixtures("config")
def test_a_stream_that_the_caller_closed_is_no_defect() -> None:
    done = subprocess.run(shlex.join([*MODULE, "explain", "tier:fast"]) + " >&-", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
