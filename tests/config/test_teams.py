"""Teams, allowances, and users' own keys."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from podium.config import check_files, compile_config, compile_with_warnings, json_schema, load_config, load_user, with_user
from podium.errors import ConfigError
from podium.routing.snapshot import Allowance, Snapshot, Team, User
from podium.types import Secret

PROVIDERS = {"openai": {"api_key": "company"}, "groq": {"enabled": False}, "local": {}}
JANE = """\
team: search
mode: byok
keys: {openai: "${JANE_OPENAI_KEY}"}
timezone: Europe/Berlin
defaults:
  costLimit: 5
  costLimitMonth: $50
  requestsPerMinute: 60
  tokens_per_minute: 100000
  maxConcurrent: 4
"""
KEY = "sk-SECRET-of-jane-0123456789"


def made(**fields: Any) -> Snapshot:
    data = {"providers": PROVIDERS, **fields}
    jsonschema.validate(data, json_schema("config"))
    return compile_config(data, env={})


def words(**fields: Any) -> list[str]:
    """What is said of a config, without the lead."""
    with pytest.raises(ConfigError) as raised:
        compile_config({"providers": PROVIDERS, **fields}, env={})
    return [line.strip() for line in str(raised.value).splitlines()[1:]]


def test_a_team_has_its_allowance_in_either_spelling() -> None:
    written = {"costLimit": 500, "cost_limit_day": "$40", "requestsPerMinute": 600, "tokens_per_minute": 9, "maxConcurrent": 20}
    assert made(teams={"search": written | {"timezone": "America/New_York"}, "free": None}).teams == {
        "search": Team(
            name="search",
            allowance=Allowance(
                cost_day_usd=Decimal(40),
                cost_month_usd=Decimal(500),
                requests_per_minute=600,
                tokens_per_minute=9,
                max_concurrent=20,
                timezone="America/New_York",
            ),
        ),
        "free": Team(name="free"),
    }


def test_a_teams_month_and_a_users_day_may_be_said_in_full() -> None:
    snapshot = made(
        teams={"t": {"cost_limit_month": 3}},
        users={"jane": {"defaults": {"costLimitDay": 2}}, "bob": {"defaults": {"costLimit": 2}}},
    )
    assert snapshot.teams["t"].allowance.cost_month_usd == 3
    assert snapshot.users["jane"].allowance == snapshot.users["bob"].allowance == Allowance(cost_day_usd=Decimal(2))


def test_a_users_file_says_team_keys_mode_and_allowance(tmp_path: Path) -> None:
    (tmp_path / "jane.yaml").write_text(JANE)
    jane = load_user(None, tmp_path / "jane.yaml", env={"JANE_OPENAI_KEY": KEY})
    assert (jane.team, jane.mode, jane.keys) == ("search", "byok", {"openai": Secret(KEY)})
    assert jane.allowance == Allowance(
        cost_day_usd=Decimal(5),
        cost_month_usd=Decimal(50),
        requests_per_minute=60,
        tokens_per_minute=100_000,
        max_concurrent=4,
        timezone="Europe/Berlin",
    )


def test_a_user_who_says_nothing_shares_the_companys_keys() -> None:
    bob = made(users={"bob": {}}).users["bob"]
    assert (bob.mode, bob.keys, bob.team, bob.allowance) == ("shared", {}, None, Allowance())


@pytest.mark.parametrize("name", ["Europe", "UTC+2", "Mars/Olympus", "/etc/localtime", "x" * 500, "\udc80"])
def test_what_is_no_timezone_is_refused(name: str) -> None:
    assert words(teams={"t": {"timezone": name}})[0].startswith("teams.t.timezone: ")


def test_an_own_key_that_is_not_set_is_no_key_and_worth_a_warning(tmp_path: Path) -> None:
    (tmp_path / "podium.yaml").write_text(
        "providers: {openai: {enabled: false}}\nusers:\n  jane:\n    mode: byok\n    keys: {openai: '${JANE_OPENAI_KEY}'}\n"
    )
    snapshot, warnings = compile_with_warnings(load_config(tmp_path / "podium.yaml"), env={})
    assert snapshot.users["jane"].keys == {}
    assert [(problem.line, problem.path, problem.message) for problem in warnings] == [
        (4, "users.jane.mode", "the user has no keys of their own, so only providers that need none can be asked."),
        (5, "users.jane.keys.openai", "the user has no key of their own here: `JANE_OPENAI_KEY` is not set."),
    ]


def test_only_a_users_keys_may_be_missing_from_the_environment() -> None:
    said = words(users={"jane": {"name": "${KEYS}", "experiments": {"keys": {"models": ["openai/${MODEL}"]}}}})
    assert [line.partition(": ")[0] for line in said] == ["users.jane.name", "users.jane.experiments.keys.models[0]"]


def test_an_own_key_in_the_file_is_worth_a_warning_and_is_shown_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "jane.yaml"
    file.write_text(f"experiments: {{}}\nkeys: {{openai: {KEY}}}\nmode: {KEY}\nteam: x{KEY}\nname: 3\n")
    (tmp_path / "podium.yaml").write_text("providers: {openai: {enabled: false}}\nusers: {jane: jane.yaml}\n")
    problems = check_files([tmp_path / "podium.yaml", file], env={})
    assert [problem.path for problem in problems] == ["keys.openai", "mode", "team", "name"]
    assert "SECRET" not in str(problems)
    file.write_text(f"experiments: {{}}\nkeys: {{openai: {KEY}}}\n")
    user = load_user("jane", file)
    assert "SECRET" not in repr(user)


@pytest.mark.parametrize("keys", [KEY, [KEY], {"openai": [KEY]}, {"openai": f"{KEY} {KEY}"}, {KEY: "x"}, {"opnai": KEY}])
def test_a_key_is_in_no_message_however_it_was_written(keys: Any) -> None:
    assert "SECRET" not in "\n".join(words(users={"jane": {"keys": keys}, "bob": {"name": KEY, "mode": "x"}}))


def test_a_user_file_is_checked_against_the_teams_of_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("jane.yaml").write_text(JANE)
    Path("podium.yaml").write_text("providers: {openai: {enabled: false}}\nteams: {serach: {}}\n")
    env = {"JANE_OPENAI_KEY": KEY}
    expected = ["jane.yaml:1: team: there is no team `search`. Did you mean `serach`?"]
    assert [str(problem) for problem in check_files(["podium.yaml", "jane.yaml"], env=env)] == expected
    assert check_files(["jane.yaml"], env=env) == []
    with pytest.raises(ConfigError, match=r"jane\.yaml:1: team: there is no team `search`"):
        load_user(None, "jane.yaml", env=env, providers=["openai"], teams=["serach"])


def test_a_user_with_a_foreign_team_or_key_is_not_added() -> None:
    snapshot = made(teams={"search": {}})
    with pytest.raises(ConfigError) as raised:
        with_user(snapshot, User(id="jane", team="serach", keys={"opnai": Secret("k")}))
    assert [problem.path for problem in raised.value.problems] == ["keys.opnai", "team"]
    assert with_user(snapshot, User(id="jane", team="search")).users["jane"].team == "search"
