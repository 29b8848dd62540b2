import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from cli.conftest import Run
from podium.sim import Sim

BROKEN = """\
providers:
  openai: {api_key: x, enabeld: true}
tiers:
  fast:
    strategy: rase
    models: [openai/gpt-4o-mini, opneai/gpt-4o]
"""


# --- explain ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("config")
def test_explain_shows_rule_strategy_and_targets_and_sends_nothing(podium: Run, sim: Sim) -> None:
    ran = podium("explain", "tier:steady")
    assert ran.code == 0
    for words in ("tier", "fallback", "1. openai/gpt-down", "2. anthropic/claude-haiku-4-5"):
        assert words in ran.out
    assert sim.stats.requests == 0


@pytest.mark.usefixtures("config")
def test_explain_as_json_is_the_reasons(podium: Run) -> None:
    reasons = json.loads(podium("explain", "openai/gpt-down", "--json").out)
    assert (reasons["rule"], reasons["strategy"]) == ("auto_tier", "fallback")
    pinned = json.loads(podium("explain", "openai/gpt-down", "--pin", "--json").out)
    assert (pinned["rule"], len(pinned["targets"])) == ("target", 1)
    user = json.loads(podium("explain", "user:jane", "--experiment", "mine", "--json").out)
    assert user["targets"] == [{"provider": "groq", "model": "llama-3.1-8b-instant"}]
    default = json.loads(podium("explain", "--json").out)
    assert default["rule"] == "default_tier"


def test_explain_shows_what_is_skipped_and_why(podium: Run, here: Path) -> None:
    (here / "podium.yaml").write_text(
        "providers: {openai: {}, groq: {api_key: gsk-123456789012345678901234}}\n"
        "tiers: {fast: {strategy: race, models: [openai/gpt-4o-mini, groq/llama-3.1-8b-instant]}}\n"
    )
    ran = podium("explain", "tier:fast")
    assert "skipped" in ran.out
    assert "OPENAI_API_KEY" in ran.out
    assert "gsk-123456789012345678901234" not in ran.out


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_lists_every_problem_with_its_place_and_exits_2(podium: Run, here: Path) -> None:
    (here / "podium.yaml").write_text(BROKEN)
    ran = podium("check")
    assert ran.code == 2
    for words in ("podium.yaml:2: error", "`enabled`", "podium.yaml:5: error", "`race`", "`openai`", "3 errors"):
        assert words in ran.out
    document = json.loads(podium("check", "--json").out)
    assert document["ok"] is False
    assert {problem["line"] for problem in document["problems"]} == {2, 5, 6}


@pytest.mark.usefixtures("config")
def test_check_of_a_good_config_says_so(podium: Run) -> None:
    ran = podium("check", "podium.yaml", "jane.yaml")
    assert (ran.code, "no problems" in ran.out) == (0, True)


def test_check_lets_warnings_pass_unless_strict(podium: Run, here: Path) -> None:
    (here / "podium.yaml").write_text("providers: {openai: {}}\n")
    assert podium("check").code == 0
    assert "warning" in podium("check").out
    assert podium("check", "--strict").code == 2


def test_check_of_nothing_says_what_to_do(podium: Run) -> None:
    ran = podium("check")
    assert ran.code == 2
    assert "podium init" in ran.err


def test_check_of_a_file_that_is_not_there_or_no_yaml_is_a_problem(podium: Run, here: Path) -> None:
    assert podium("check", "none.yaml").code == 2
    (here / "binary.yaml").write_bytes(b"\xff\x00\x01")
    assert podium("check", "binary.yaml").code == 2


def test_the_schemas_are_json_schemas_that_take_what_init_writes(podium: Run, here: Path) -> None:
    podium("init")
    starter = yaml.safe_load((here / "podium.yaml").read_text())
    schema = json.loads(podium("check", "--schema", "config").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(starter, schema)
    jsonschema.Draft202012Validator.check_schema(json.loads(podium("check", "--schema", "user").out))


# --- providers -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_without_a_file_the_providers_are_those_whose_key_is_set_and_local(
    podium: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "gsk_abcdefghijklmnopqrstuvwxyz1234")
    ran = podium("providers", "--json")
    rows = {row["name"]: row for row in json.loads(ran.out)["providers"]}
    assert list(rows) == ["groq", "local"]
    assert rows["groq"]["usable"]
    assert "gsk_" not in ran.out
    shown = podium("providers")
    assert "the environment" in shown.err
    assert "abcdefgh" not in shown.out
    assert "OPENAI_API_KEY" in shown.err


def test_providers_says_why_one_cannot_be_asked(podium: Run, here: Path) -> None:
    (here / "podium.yaml").write_text(
        "providers:\n  openai: {}\n  groq: {api_key: secret-key-of-twenty-letters, enabled: false}\n  local: {}\n"
    )
    ran = podium("providers")
    assert "OPENAI_API_KEY" in ran.out
    assert "disabled" in ran.out
    assert "secret-key" not in ran.out
    rows = {row["name"]: row for row in json.loads(podium("providers", "--json").out)["providers"]}
    assert [rows[name]["usable"] for name in ("openai", "groq", "local")] == [False, False, True]


# --- init ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_providers_are_whole_in_a_narrow_terminal(terminal: Run, podium: Run, columns: int) -> None:
    podium("init")
    shown = terminal("providers", COLUMNS=str(columns), NO_COLOR="1").out
    assert "…" not in shown
    for words in ("OPENAI_API_KEY unset", "https://openrouter.ai/api/v1", "http://localhost:11434/v1", "no, disabled"):
        assert words in shown
    assert ("key, base_url" in shown) == (columns < 100)


def test_init_writes_a_config_that_is_good_and_says_what_comes_next(podium: Run, here: Path) -> None:
    ran = podium("init")
    assert ran.code == 0
    assert "podium check" in ran.out
    checked = podium("check")
    assert checked.code == 0
    assert "error" not in checked.out


def test_init_never_overwrites_without_force(podium: Run, here: Path) -> None:
    (here / "podium.yaml").write_text("mine")
    ran = podium("init")
    assert (ran.code, ran.out) == (2, "")
    assert "--force" in ran.err
    assert (here / "podium.yaml").read_text() == "mine"
    assert podium("init", "--force").code == 0
    assert (here / "podium.yaml").read_text() != "mine"


def test_init_takes_a_path_or_a_folder(podium: Run, here: Path) -> None:
    assert podium("init", "configs/mine.yaml").code == 0
    assert podium("--config", "configs/mine.yaml", "check").code == 0
    (here / "folder").mkdir()
    podium("init", "folder")
    assert (here / "folder" / "podium.yaml").is_file()
    (here / "file").write_text("")
    assert podium("init", "file/podium.yaml").code == 2
