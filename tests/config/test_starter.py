"""The starter config and the JSON Schemas."""

import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from podium.config import check_files, compile_config, json_schema, load_config, starter
from podium.config.sections import ConfigSection, DefaultsSection, ExperimentSection, ProviderSection, TierSection, UserSection
from podium.config.shape import spellings
from podium.errors import ConfigError

ENV = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY", "GROQ_API_KEY"), "a-key-0123456789")


EXAMPLE = re.compile(r"^( *)# ( *[a-z][\w/-]*:( .*)?)$")


def with_examples() -> str:
    """The starter with its commented examples in force (of the two forms of `users:`, the one by id)."""
    lines = [EXAMPLE.sub(r"\1\2", line) for line in starter().splitlines()]
    return "\n".join(line for line in lines if not line.startswith("users: configs"))


def test_the_starter_has_no_problem_where_its_keys_are_set(tmp_path: Path) -> None:
    (tmp_path / "podium.yaml").write_text(starter())
    assert check_files([tmp_path / "podium.yaml"], env=ENV) == []


def test_the_starter_has_no_error_where_no_key_is_set(tmp_path: Path) -> None:
    (tmp_path / "podium.yaml").write_text(starter())
    problems = check_files([tmp_path / "podium.yaml"], env={})
    assert problems
    assert {problem.severity for problem in problems} == {"warning"}


def test_the_starters_commented_examples_work(tmp_path: Path) -> None:
    (tmp_path / "podium.yaml").write_text(with_examples())
    (tmp_path / "configs" / "researchers").mkdir(parents=True)
    (tmp_path / "configs" / "researchers" / "john.yaml").write_text("experiments: {e: {providers: [house/x]}}\n")
    env = ENV | {"OPENAI_EU_API_KEY": "k-eu", "HOUSE_API_KEY": "k-house", "JANE_OPENAI_KEY": "k-jane"}
    assert [str(problem) for problem in check_files([tmp_path / "podium.yaml"], env=env)] == []
    snapshot = compile_config(load_config(tmp_path / "podium.yaml"), env=env)
    assert {"openai-eu", "house"} <= set(snapshot.providers)
    assert {"careful", "agreed"} <= set(snapshot.tiers)
    assert snapshot.tiers["agreed"].max_cost_usd == Decimal("0.10")
    assert snapshot.aliases == {"gpt-4": "tier:high"}
    assert list(snapshot.users) == ["researcher-john", "researcher-jane"]
    assert snapshot.users["researcher-jane"].mode == "byok"
    assert snapshot.teams["search"].allowance.cost_month_usd == 500
    rollout = snapshot.rollouts["chat"]
    assert (rollout.legacy, rollout.candidate, rollout.percent) == ("openai/gpt-4o", "tier:high", 0)
    assert (rollout.test_users, rollout.rules[0].team) == (("researcher-john",), "search")
    assert set(snapshot.courses) == set(snapshot.shadows) == {"chat"}
    assert snapshot.prices == {"house/large": {"input": Decimal("0.5"), "output": Decimal("1.5")}}
    assert (snapshot.ledger.payloads, snapshot.ledger.keep_bytes, snapshot.data_dir) == (
        "hashed",
        5 * 10**9,
        str(tmp_path / ".podium"),
    )


def test_the_starter_holds_the_guides_config() -> None:
    snapshot = compile_config(yaml.safe_load(starter()), env=ENV)
    assert list(snapshot.providers) == ["openai", "anthropic", "openrouter", "groq", "local"]
    assert [(name, tier.strategy.name) for name, tier in snapshot.tiers.items()] == [
        ("fast", "race"),
        ("medium", "first"),
        ("high", "first"),
    ]
    assert snapshot.default_tier == "fast"
    assert not snapshot.providers["local"].enabled


@pytest.mark.parametrize("which", ["config", "user"])
def test_a_schema_is_one_and_every_reference_in_it_leads_somewhere(which: Any) -> None:
    schema = json_schema(which)
    jsonschema.Draft202012Validator.check_schema(schema)

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [each for item in value.values() for each in references(item)]
        return [each for item in value for each in references(item)] if isinstance(value, list) else []

    assert references(schema)
    assert all(reference.removeprefix("#/$defs/") in schema["$defs"] for reference in references(schema))


def test_the_schema_knows_both_spellings_of_every_key() -> None:
    config, user = json_schema("config"), json_schema("user")
    assert set(config["properties"]) == set(spellings(ConfigSection))
    assert set(user["properties"]) == set(spellings(UserSection))
    for section in (TierSection, ExperimentSection, DefaultsSection, ProviderSection):
        body = config["$defs"][section.__name__]
        assert set(body.get("properties") or body["anyOf"][0]["properties"]) == set(spellings(section))


@pytest.mark.parametrize(
    "data",
    [
        {"providers": {"openai": None, "groq": {"apiKey": "${K}", "enabled": "${ON}", "maxConcurrent": 3, "models": ["a"]}}},
        {"providers": {"local": {"models": {"a": "b", "c": {"upstream": "d", "pricedAs": "openai/x"}}, "timeout": "30s"}}},
        {"tiers": {"t": {"models": ["local/x", {"provider": "local", "model": "y"}], "maxCost": "$1"}}},
        {"users": {"a": {"experiments": {"e": {"models": ["local/x"]}}, "defaults": {"costLimit": 1}}}},
        {"tiers": {"t": {"strategy": "consensus", "models": ["local/x", "local/y"], "fields": ["a"], "schema": {}}}},
    ],
)
def test_what_the_loader_takes_the_schema_takes(data: dict[str, Any]) -> None:
    data = {"providers": {"local": {}}, **data}
    compile_config(data, env=ENV | {"K": "k", "ON": "true"})
    jsonschema.validate(data, json_schema("config"))


@pytest.mark.parametrize(
    "data",
    [
        {"provider": {}},
        {"providers": {"openai": {"timeOut": 300}}},
        {"providers": {"openai": {"timeout": 30}}},
        {"providers": {"openai": {"enabled": "yes"}}},
        {"tiers": {"t": {"strategy": "fallbck", "models": ["openai/x"]}}},
        {"tiers": {"t": {"models": ["gpt-4o"]}}},
        {"tiers": {"t": {}}},
        {"users": {"a": {"experiments": {"e": {"strategy": "race"}}}}},
    ],
)
def test_what_the_schema_refuses_the_loader_refuses(data: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, json_schema("config"))
    with pytest.raises(ConfigError):
        compile_config(data, env=ENV)


def test_the_starter_and_johns_file_satisfy_their_schemas() -> None:
    jsonschema.validate(yaml.safe_load(starter()), json_schema("config"))
    john = {
        "name": "J",
        "experiments": {"e": {"strategy": "fallback", "providers": ["local/x"]}},
        "defaults": {"experiment": "e"},
    }
    jsonschema.validate(john, json_schema("user"))


def test_importing_the_config_room_brings_in_no_client_and_no_event_loop() -> None:
    code = "import sys, podium.config; print({'aiohttp', 'asyncio', 'jsonschema'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_every_key_of_the_schemas_says_what_it_is_for() -> None:
    schema = json_schema("config")
    for name, body in {"root": schema, **schema["$defs"]}.items():
        for key, field in (body.get("properties") or body["anyOf"][0]["properties"]).items():
            told = "description" in field or "$ref" in field or name == "TargetSection"
            assert told, f"{name}.{key}"
