"""`podium rollout`: each command, what it says, its JSON, its errors, and what a shell completes."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.conftest import Run
from cli.test_complete import complete_each

ROLLOUTS: dict[str, Any] = {
    "chat": {
        "match": ["gpt-4"],
        "legacy": "openai/gpt-4o",
        "candidate": "tier:steady",
        "percent": 10,
        "test_users": ["ann", "Jörg 😀"],
        "rules": [{"team": "search", "percent": 50}, {"user": "bob", "tag": "batch", "arm": "legacy"}],
    },
    "plain": {"candidate": "openai/gpt-4o-mini", "hash": "legacy_js", "unit": "team"},
}


@pytest.fixture
def rolling(config: Path) -> Path:
    """A config with two rollouts."""
    written = yaml.safe_load(config.read_text())
    written |= {"rollouts": ROLLOUTS, "data_dir": str(config.parent / "data")}
    config.write_text(yaml.safe_dump(written, allow_unicode=True))
    return config


@pytest.fixture(autouse=True)
def log_is_as_it_was() -> Any:
    """No command may leave a handler behind."""
    before = list(logging.getLogger("podium.rollouts").handlers)
    yield
    assert logging.getLogger("podium.rollouts").handlers == before


def test_list_shows_how_all_stand(rolling: Path, podium: Run) -> None:
    ran = podium("rollout", "list")
    assert [line.split() for line in ran.out.splitlines()] == [
        ["name", "percent", "moved", "by", "enabled", "legacy", "candidate", "test", "users"],
        ["chat", "10", "%", "hand", "yes", "openai/gpt-4o", "tier:steady", "ann,", "Jörg", "😀"],
        ["plain", "0", "%", "hand", "yes", "(yours)", "openai/gpt-4o-mini"],
    ]
    assert (ran.code, ran.err) == (0, "")
    assert [each["name"] for each in json.loads(podium("rollout", "list", "--json").out)["rollouts"]] == ["chat", "plain"]


def test_list_folds_test_users_in_a_narrow_terminal_and_cuts_none(rolling: Path, podium: Run, terminal: Run) -> None:
    podium("rollout", "add-user", "chat", "researcher-of-many-questions")
    shown = terminal("rollout", "list", COLUMNS="80", NO_COLOR="1").out
    assert "…" not in shown
    assert "researcher-of-many-questions" in "".join(line[60:].strip() for line in shown.splitlines()).replace("\x1b[0m", "")


def test_show_says_what_a_rollout_is_what_calls_took_and_its_last_change(rolling: Path, podium: Run) -> None:
    for user in ("ann", "nobody"):
        assert podium("run", "--spec", "gpt-4", "--user", user, "Hello").code in (0, 2)
    lines = podium("rollout", "show", "chat").out.splitlines()
    assert lines[0] == "chat"
    shown = {line[2:14].strip(): line[15:] for line in lines[1:] if line[2:3].strip()}
    assert shown["percent"] == "10 % of each user"
    assert shown["match"] == "gpt-4"
    assert shown["test users"] == "ann, Jörg 😀"
    assert shown["rules"] == "team search: 50 %; user bob and tag batch: legacy"
    assert shown["draws by"] == "sha256, salt chat"
    assert shown["last change"].endswith("began as the config says, at 10 %")
    plain = podium("rollout", "show", "plain").out
    assert "your own function, or what the call means without the rollout" in plain
    assert "legacy_js" in plain
    assert "salt" not in plain


def test_set_enable_disable_users_and_undo_change_what_they_say(rolling: Path, podium: Run) -> None:
    def said(*arguments: str) -> str:
        ran = podium("rollout", *arguments)
        assert (ran.code, ran.err) == (0, ""), ran
        return ran.out

    assert said("set", "chat", "25", "--why", "a quiet week") == "chat gives the candidate to 25 %, and 2 test users.\n"
    assert said("set", "chat", "33.5%") == "chat gives the candidate to 33.5 %, and 2 test users.\n"
    assert said("add-user", "chat", "cleo") == "chat gives the candidate to 33.5 %, and 3 test users.\n"
    assert said("remove-user", "chat", "ann") == "chat gives the candidate to 33.5 %, and 2 test users.\n"
    assert said("disable", "chat") == "chat is disabled: everybody gets legacy (it is set to 33.5 %).\n"
    assert said("undo", "chat") == "Took back change 7. chat gives the candidate to 33.5 %, and 2 test users.\n"
    said("disable", "chat")
    assert said("enable", "chat") == "chat gives the candidate to 33.5 %, and 2 test users.\n"
    said("set", "chat", "--candidate", "openai/gpt-4o-mini", "--legacy", "tier:steady")
    shown = json.loads(said("show", "chat", "--json"))
    assert (shown["rollout"]["candidate"], shown["rollout"]["legacy"]) == ("openai/gpt-4o-mini", "tier:steady")
    assert said("set", "plain", "5") == "plain gives the candidate to 5 %.\n"


def test_history_says_when_who_what_and_why_the_latest_first(rolling: Path, podium: Run) -> None:
    podium("rollout", "set", "chat", "25", "--who", "ops", "--why", "a quiet\nweek")
    podium("rollout", "add-user", "chat", "cleo")
    podium("rollout", "undo", "chat", "--why", "a slip")
    podium("rollout", "set", "plain", "1")
    lines = podium("rollout", "history", "chat").out.splitlines()
    assert [line.split("  ", 2)[-1].split(": ", 1)[1] for line in lines] == [
        "undid change 4: test_users -cleo (a slip)",
        "add user: test_users +cleo",
        "set: percent 10 -> 25 (a quiet week)",
        "began as the config says, at 10 %",
    ]
    assert " ops: set" in lines[2]
    every = podium("rollout", "history", "-n", "2").out.splitlines()
    assert [line.split()[1] for line in every] == ["plain:", "chat:"]
    changes = json.loads(podium("rollout", "history", "chat", "--json").out)["changes"]
    assert [change["action"] for change in changes] == ["undo", "add_user", "set", "seed"]
    assert changes[0]["undoes"] == changes[1]["id"]
    assert changes[2]["before"]["percent"] == 10


def test_many_test_users_are_not_all_listed(rolling: Path, podium: Run) -> None:
    written = yaml.safe_load(rolling.read_text())
    written["rollouts"]["many"] = {"candidate": "tier:steady", "test_users": [f"user-{number}" for number in range(20_000)]}
    rolling.write_text(yaml.safe_dump(written))
    assert podium("rollout", "add-user", "many", "one-more").out.endswith("0 %, and 20,001 test users.\n")
    assert podium("rollout", "history", "many").out.splitlines()[0].endswith("test_users +one-more")
    for command in (("list",), ("show", "many"), ("history", "many")):
        assert len(podium("rollout", *command).out) < 3000


def test_a_change_that_changes_nothing_is_said_and_not_recorded(rolling: Path, podium: Run) -> None:
    assert podium("rollout", "set", "chat", "10").out == "chat gives the candidate to 10 %, and 2 test users.\n"
    assert len(podium("rollout", "history", "chat").out.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "chta"), "There is no rollout `chta`.\n  Did you mean `chat`?"),
        (("history", "zzz"), "There is no rollout `zzz`.\n  There are: chat, plain."),
        (("set", "chat"), "Nothing to set was given.\n  Give `percent`, `candidate` or `legacy`."),
        (("set", "chat", "101"), "`percent`: `101` is no percentage.\n  Write a number from 0 to 100."),
        (("set", "chat", "lots"), "`percent`: `lots` is no percentage.\n  Write a number from 0 to 100, as `25` or `12.5%`."),
        (("set", "plain", "2.5"), "draws by `legacy_js`, which knows whole percents only."),
        (("set", "chat", "--candidate", "tier:stedy"), "There is no tier `stedy`.\n  Did you mean `steady`?"),
        (("remove-user", "chat", "anne"), "`anne` is no test user of `chat`.\n  Did you mean `ann`?"),
        (("add-user", "chat", " "), "`user_id` must be text, not ' '."),
        (("disable", "chat", "--who", ""), "`who` must be text, not empty."),
        (("undo", "chat"), "no change that could be undone.\n  See its history: `podium rollout history chat`."),
        (("show", "chat", "--window", "soon"), "`window`: `soon` is not a duration."),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do_in_words_and_as_json(
    rolling: Path, podium: Run, arguments: tuple[str, ...], words: str
) -> None:
    ran = podium("rollout", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    told = podium("rollout", *arguments, "--json")
    assert told.code == 2
    assert words.split("\n")[0] in json.loads(told.out)["error"]["message"]


def test_a_config_without_rollouts_or_without_a_folder_is_told(config: Path, podium: Run) -> None:
    assert podium("rollout", "list").out == "No rollouts. Declare them under `rollouts:` in the config.\n"
    assert "Declare it under `rollouts:`" in podium("rollout", "disable", "chat").err


def test_without_a_config_file_there_are_no_rollouts_and_that_is_why(here: Path, podium: Run) -> None:
    for arguments in (("list",), ("show", "chat"), ("set", "chat", "25")):
        ran = podium("rollout", *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert "no podium.yaml here.\n  Name a config with --config, or write one: `podium init`." in ran.err


def test_a_store_that_is_damaged_is_told_once_and_shown_as_last_known(rolling: Path, process: Run) -> None:
    assert process("rollout", "disable", "chat").code == 0
    (rolling.parent / "data" / "rollouts.sqlite3").write_bytes(b"no database at all" * 100)
    listed = process("rollout", "list")
    assert listed.code == 0
    assert "chat   10 %     hand      no" in listed.out
    assert listed.err.count("cannot be used: file is not a database") == 1
    assert "What is shown is the last known state." in listed.err
    refused = process("rollout", "enable", "chat")
    assert refused.code == 1
    assert refused.err.count("cannot be used: file is not a database") == 1
    assert "made again by `podium rollout list`, from its copy" in refused.err
    (rolling.parent / "data" / "rollouts.sqlite3").unlink()
    assert "chat   10 %     hand      no" in process("rollout", "list").out
    assert "began from the last known state" in process("rollout", "history", "chat").out


def test_show_tells_what_was_changed_in_the_config_in_vain(rolling: Path, podium: Run) -> None:
    podium("rollout", "list")
    written = yaml.safe_load(rolling.read_text())
    written["rollouts"]["chat"]["rules"] = []
    rolling.write_text(yaml.safe_dump(written))
    assert "says rules differently now, which is not followed" in podium("rollout", "show", "chat").out
    assert "differently" not in podium("rollout", "show", "plain").out


def test_escapes_in_names_and_reasons_reach_no_terminal(rolling: Path, podium: Run, terminal: Run) -> None:
    podium("rollout", "add-user", "chat", "we\x1b[31mird", "--why", "why\x1b]52;c;aGk=\x07 not")
    commands = (("list",), ("show", "chat"), ("history", "chat"))
    with ThreadPoolExecutor() as at_once:
        all_shown = list(at_once.map(lambda command: terminal("rollout", *command, NO_COLOR="1").out, commands))
    for shown in all_shown:
        assert "we[31mird" in shown.replace("\n", "")
        assert "\x1b]" not in shown
        assert "\x1b[31m" not in shown


def test_color_is_for_terminals_that_want_it(rolling: Path, terminal: Run, process: Run) -> None:
    assert "\x1b[" in terminal("rollout", "list").out
    assert "\x1b[3" not in terminal("rollout", "list", NO_COLOR="1").out
    assert "\x1b" not in process("rollout", "list").out


@pytest.mark.usefixtures("rolling")
def test_rollouts_users_and_specs_are_completed() -> None:
    completed = {
        "podium rollout show ": ["chat", "plain"],
        "podium rollout disable ch": ["chat"],
        "podium rollout history p": ["plain"],
        "podium rollout add-user chat ja": ["jane"],
        "podium rollout set chat --candidate tier:st": ["tier:steady"],
    }
    *found, names = complete_each(*completed, "podium rollout ")
    assert found == list(completed.values())
    assert {"list", "show", "set", "enable", "disable", "add-user", "remove-user", "undo", "history"} <= set(names)


# --- a config that was changed after its rollout began ------------------------------------------------------------------


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
