"""Rollouts in a config: what they become; what is said of faults is in `broken.txt`."""

from decimal import Decimal
from typing import Any

import jsonschema
import pytest

from podium.config import compile_config, json_schema
from podium.routing.rollout import Rollout, Rule
from podium.routing.snapshot import Shadow

PROVIDERS = {"openai": {"api_key": "k"}, "local": {}}
TIERS = {"high": {"models": ["openai/gpt-4.1"], "auto": False}}


def made(**rollouts: Any) -> dict[str, Rollout]:
    data = {"providers": PROVIDERS, "tiers": TIERS, "rollouts": rollouts}
    jsonschema.validate(data, json_schema("config"))
    return compile_config(data, env={}).rollouts


def test_a_rollout_has_every_key_in_either_spelling() -> None:
    whole = {
        "match": ["gpt-4", "openai/gpt-4o"],
        "legacy": "openai/gpt-4o",
        "candidate": "tier:high",
        "percent": "12.5%",
        "testUsers": ["ann", "Jörg 😀"],
        "rules": [{"team": "search", "percent": 50}, {"user": "bob", "tag": "batch", "arm": "legacy"}],
        "unit": "conversation",
        "salt": "chat-v2",
        "enabled": False,
    }
    expected = Rollout(
        name="chat",
        match=("gpt-4", "openai/gpt-4o"),
        legacy="openai/gpt-4o",
        candidate="tier:high",
        percent=12.5,
        test_users=("ann", "Jörg 😀"),
        rules=(Rule(team="search", percent=50.0), Rule(user="bob", tag="batch", arm="legacy")),
        unit="conversation",
        salt="chat-v2",
        enabled=False,
    )
    assert made(chat=whole)["chat"] == expected
    snake = {("test_users" if key == "testUsers" else key): value for key, value in whole.items()}
    assert made(chat=snake)["chat"] == expected


def test_what_is_left_out_begins_at_nobody_by_users_with_a_salt_of_its_own() -> None:
    rollouts = made(chat={"candidate": "tier:high"}, search=None)
    assert rollouts["chat"] == Rollout(name="chat", candidate="tier:high", percent=0.0, unit="user", salt="chat", enabled=True)
    assert rollouts["search"].salt == "search"
    assert rollouts["search"].candidate == ""


@pytest.mark.parametrize(
    ("written", "percent"),
    [(0, 0.0), (100, 100.0), (0.01, 0.01), ("25", 25.0), (" 25 % ", 25.0), ("33.33%", 33.33), (7.0, 7.0)],
)
def test_a_percentage_is_a_number_or_text(written: Any, percent: float) -> None:
    assert made(chat={"percent": written})["chat"].percent == percent


def test_match_may_name_what_only_the_legacy_system_knows() -> None:
    assert made(chat={"match": ["gpt-4-legacy", "tier:old"], "candidate": "tier:high"})["chat"].match[0] == "gpt-4-legacy"


def test_an_arm_may_be_an_alias_a_tier_a_model_or_a_users_experiment() -> None:
    data = {
        "providers": PROVIDERS,
        "tiers": TIERS,
        "aliases": {"new": "tier:high"},
        "users": {"jane": {"experiments": {"mine": {"models": ["local/x"]}}}},
        "rollouts": {
            "a": {"legacy": "openai/gpt-4o", "candidate": "new"},
            "b": {"legacy": "high", "candidate": "user:jane:mine"},
        },
    }
    rollouts = compile_config(data, env={}).rollouts
    assert [rollout.candidate for rollout in rollouts.values()] == ["new", "user:jane:mine"]


def test_a_shadow_stands_beside_its_rollout_and_a_rollout_without_one_has_none() -> None:
    chat = {"candidate": "tier:high", "shadow": {"sample": "5%", "budgetUsdPerDay": "$20"}}
    data = {"providers": PROVIDERS, "tiers": TIERS, "rollouts": {"chat": chat, "search": {"candidate": "tier:high"}}}
    jsonschema.validate(data, json_schema("config"))
    shadows = compile_config(data, env={}).shadows
    assert shadows == {"chat": Shadow(sample=5.0, budget_usd_per_day=Decimal(20), max_concurrent=8)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"percent": 101},
        {"shadow": {"sample": 5}},
        {"unit": "usr"},
        {"rules": [{"arm": "new"}]},
        {"prcent": 1},
        {"test_users": [1]},
        ["gpt-4"],
    ],
)
def test_the_json_schema_refuses_what_the_config_refuses(wrong: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"providers": PROVIDERS, "rollouts": {"chat": wrong}}, json_schema("config"))
