"""What the leaves of a config mean."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from podium.config import compile_config, compile_with_warnings, load_config
from podium.errors import ConfigError
from podium.routing.snapshot import ModelEntry, Provider, Snapshot, Tier
from podium.types import Secret, Target

ENV = {"OPENAI_API_KEY": "an-openai-key", "GROQ_API_KEY": "a-groq-key"}


def provider(fields: dict[str, Any], name: str = "openai", env: dict[str, str] | None = None) -> Provider:
    return compile_config({"providers": {name: fields}}, env=ENV if env is None else env).providers[name]


def tier(**fields: Any) -> Tier:
    data = {"providers": {"openai": {}, "groq": {}}, "tiers": {"t": {"models": ["openai/a", "groq/b", "groq/c"]} | fields}}
    return compile_config(data, env=ENV).tiers["t"]


def from_yaml(text: str, folder: Path, env: dict[str, str] | None = None) -> Snapshot:
    (folder / "podium.yaml").write_text(text)
    return compile_config(load_config(folder / "podium.yaml"), env=ENV if env is None else env)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(100, 0.1), (30_000, 30.0), (1500.5, 1.5005), ("800ms", 0.8), ("30s", 30.0), ("1.5 s", 1.5), ("5m", 300.0), ("1h", 3600.0),
     ("1.5d", 129_600.0), ("30000", 30.0), (Decimal(250), 0.25)],
)  # fmt: skip
def test_a_duration_is_milliseconds_or_says_its_unit(written: Any, seconds: float) -> None:
    assert provider({"timeout": written}).timeout_s == pytest.approx(seconds)


@pytest.mark.parametrize("written", [99, 30, 1, 0.5, "30", 0, -1, "-3s", "1w", "", "s", [], {}, True, 1e300, 10**400, "9" * 30])
def test_anything_else_is_no_duration(written: Any) -> None:
    with pytest.raises(ConfigError, match=r"providers\.openai\.timeout: "):
        provider({"timeout": written})


@pytest.mark.parametrize(
    ("written", "usd"),
    [
        (0.1, "0.1"),
        (1, "1"),
        ("$0.05", "0.05"),
        ("0.30", "0.30"),
        (0.07, "0.07"),
        ("5 USD", "5"),
        (Decimal("0.000001"), "0.000001"),
    ],
)
def test_money_is_exact(written: Any, usd: str) -> None:
    assert tier(max_cost=written).max_cost_usd == Decimal(usd)


def test_money_in_yaml_is_exact(tmp_path: Path) -> None:
    text = (
        "providers: {openai: {}}\ntiers:\n  a: {maxCost: 0.1, models: [openai/x]}\n  b: {max_cost: $0.05, models: [openai/x]}\n"
    )
    tiers = from_yaml(text, tmp_path).tiers
    assert (tiers["a"].max_cost_usd, tiers["b"].max_cost_usd) == (Decimal("0.1"), Decimal("0.05"))


@pytest.mark.parametrize("written", [0, -1, "free", True, [], "1e3", float("inf"), 10**9, 10**500, "$", 1e-13])
def test_anything_else_is_no_money(written: Any) -> None:
    with pytest.raises(ConfigError, match=r"tiers\.t\.max_cost: "):
        tier(max_cost=written)


def test_targets_may_be_texts_mappings_or_values() -> None:
    models: list[Any] = ["groq/meta-llama/x:1", {"provider": "groq", "model": "y"}, Target(provider="openai", model="z")]
    assert [str(target) for target in tier(models=models).targets] == ["groq/meta-llama/x:1", "groq/y", "openai/z"]


def test_a_tier_without_a_strategy_is_first_and_may_have_several_models() -> None:
    made = tier()
    assert (made.strategy.name, len(made.targets), made.auto) == ("first", 3, True)


def test_a_strategys_own_keys_arrive_in_either_spelling() -> None:
    made = tier(
        strategy="consensus", judge="json", fields={"total": 0.5, "date": 0}, schema={"type": "object"}, minAnswers=1, quorum=3,
        on_insufficient="best", onDisagree="escalate", escalateTo="openai/big", retries=0, timeout="9s", auto=False,
    ).strategy  # fmt: skip
    assert (made.judge, made.fields, made.schema) == ("json", {"total": 0.5, "date": 0.0}, {"type": "object"})
    assert (made.min_answers, made.quorum, made.retries) == (1, 3, 0)
    assert (made.on_insufficient, made.on_disagree, made.escalate_to) == (
        "best",
        "escalate",
        Target(provider="openai", model="big"),
    )
    assert tier(strategy="consensus", judge="json", fields=["a", "b"]).strategy.fields == {"a": 0.0, "b": 0.0}
    assert tier(strategy="consensus", answer_pattern=r"= (\d+)$").strategy.answer_pattern == r"= (\d+)$"


def test_a_fallback_may_say_after_which_errors_it_moves_on() -> None:
    assert tier(strategy="fallback", fallbackOn=["overloaded", "timed_out", "rate_limited"]).strategy.fallback_on == (
        "overloaded",
        "timed_out",
        "rate_limited",
    )
    assert tier(strategy="fallback").strategy.fallback_on is None


def test_a_schema_is_kept_as_it_is_written() -> None:
    schema = {"type": "object", "properties": {"maxCost": {"type": "number"}, "max_cost": {"type": "number"}}}
    assert tier(strategy="consensus", schema=schema).strategy.schema == schema


def test_public_model_names_map_to_upstream_names_and_prices() -> None:
    written = {"a": "b", "c": {"upstream": "d", "pricedAs": "openai/gpt-4o"}, "e/f": "g", "h": {"pricedAs": "openai/gpt-4o"}}
    assert provider({"models": written}).models == {
        "h": ModelEntry(upstream="h", priced_as="openai/gpt-4o"),
        "a": ModelEntry(upstream="b"),
        "c": ModelEntry(upstream="d", priced_as="openai/gpt-4o"),
        "e/f": ModelEntry(upstream="g"),
    }
    assert provider({"models": ["x", "y"]}).models == {"x": ModelEntry(upstream="x"), "y": ModelEntry(upstream="y")}


def test_a_provider_with_a_foreign_name_is_an_instance_of_its_kind() -> None:
    eu = provider({"kind": "openai", "baseUrl": "https://eu.example/v1/", "apiKey": "eu-key"}, name="openai-eu")
    assert (eu.kind, eu.base_url, eu.api_key, eu.dialect) == (
        "openai",
        "https://eu.example/v1",
        Secret("eu-key"),
        "openai_chat",
    )
    assert "gpt-[0-9]*" in eu.owns


def test_a_custom_provider_needs_no_key_and_may_speak_another_dialect() -> None:
    house = provider({"base_url": "http://localhost:9000/v1"}, name="house")
    assert (house.kind, house.dialect, house.auth, house.unusable) == ("custom", "openai_chat", "bearer", None)
    proxy = provider({"base_url": "https://proxy.example", "dialect": "anthropic", "api_key": "k"}, name="proxy")
    assert (proxy.dialect, proxy.auth) == ("anthropic", "x-api-key")


def test_a_kind_that_is_spoken_to_in_another_dialect_is_sent_its_key_as_that_dialect_wants_it() -> None:
    assert provider({"dialect": "anthropic", "api_key": "k"}, name="deepseek").auth == "x-api-key"
    assert provider({"dialect": "openai_chat", "api_key": "k"}, name="anthropic").auth == "bearer"
    assert provider({"dialect": "anthropic"}, name="local").auth == "none"


def test_a_custom_provider_that_names_a_missing_key_is_keyless() -> None:
    house = provider({"base_url": "https://x.example/v1", "api_key": "${HOUSE_KEY}"}, name="house")
    assert house.unusable == "no API key: set HOUSE_KEY (or api_key: in the config)"
    assert house.key_variable == "HOUSE_KEY"


def test_a_key_given_to_the_local_kind_is_sent_as_a_bearer_token() -> None:
    assert provider({}, name="local").auth == "none"
    assert provider({"api_key": "k"}, name="local").auth == "bearer"


def test_gemini_takes_the_first_of_its_variables_that_is_set() -> None:
    first = provider({}, "gemini", {"GOOGLE_API_KEY": "two", "GEMINI_API_KEY": "one"})
    second = provider({}, "gemini", {"GOOGLE_API_KEY": "two", "GEMINI_API_KEY": ""})
    neither = provider({}, "gemini", {})
    assert (first.api_key, first.key_variable) == (Secret("one"), "GEMINI_API_KEY")
    assert (second.api_key, second.key_variable) == (Secret("two"), "GOOGLE_API_KEY")
    assert neither.unusable == "no API key: set GEMINI_API_KEY or GOOGLE_API_KEY (or api_key: in the config)"


def test_a_key_is_stripped_and_a_secret_is_taken_as_it_is() -> None:
    assert provider({"api_key": " sk-abc\n"}).api_key == Secret("sk-abc")
    assert provider({"api_key": Secret("sk-abc")}).api_key == Secret("sk-abc")


def test_any_text_may_refer_to_the_environment(tmp_path: Path) -> None:
    text = (
        "providers:\n"
        "  openai: {api_key: '${MY_KEY}', base_url: '${SCHEME:-https}://${HOST}/v1', timeout: '${T:-30s}',\n"
        "    enabled: '${ON}', max_concurrent: '${N}', headers: {x-team: '${TEAM:-a}', x-raw: '$${TEAM} costs $5'}}\n"
    )
    env = {"MY_KEY": "k-1", "HOST": "h.example", "ON": "true", "N": "7", "TEAM": ""}
    made = from_yaml(text, tmp_path, env).providers["openai"]
    assert (made.api_key, made.key_variable, made.base_url) == (Secret("k-1"), "MY_KEY", "https://h.example/v1")
    assert (made.timeout_s, made.enabled, made.max_concurrent) == (30.0, True, 7)
    assert {name: value.reveal() for name, value in made.headers.items()} == {"x-team": "a", "x-raw": "${TEAM} costs $5"}


def test_a_key_with_nothing_under_it_counts_as_left_out(tmp_path: Path) -> None:
    text = "providers:\n  openai:\n  groq:\n    timeout:\n    models:\naliases:\nusers:\ntiers:\n"
    snapshot = from_yaml(text, tmp_path)
    assert list(snapshot.providers) == ["openai", "groq"]
    assert snapshot.providers["groq"].timeout_s is None


def test_yaml_words_stay_words(tmp_path: Path) -> None:
    text = "providers: {local: {models: {no: yes, on: 'null', 12:30: 2024-01-01}}}\n"
    assert {name: entry.upstream for name, entry in from_yaml(text, tmp_path).providers["local"].models.items()} == {
        "no": "yes",
        "on": "null",
        "12:30": "2024-01-01",
    }


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    text = (
        "providers:\n  openai: &one {timeout: 30s, max_concurrent: 3}\n"
        "  groq: {<<: *one, timeout: 5s}\n  xai: {<<: [*one, {enabled: false}]}\n"
    )
    providers = from_yaml(text, tmp_path).providers
    assert (providers["groq"].timeout_s, providers["groq"].max_concurrent) == (5.0, 3)
    assert (providers["xai"].timeout_s, providers["xai"].enabled) == (30.0, False)


def test_aliases_may_point_at_anything_that_a_caller_may_write() -> None:
    aliases = {
        "gpt-4": "tier:high", "openai/gpt-4": "smart", "smart": "high", "cheap": "gpt-4o-mini", "one": "groq/x",
        "j": "user:jane:e", "router": "openrouter/auto",
    }  # fmt: skip
    data = {
        "providers": {"openai": {}, "groq": {}, "openrouter": {}},
        "tiers": {"high": {"models": ["openai/gpt-4o"]}},
        "users": {"jane": {"experiments": {"e": {"models": ["groq/x"]}}}},
        "aliases": aliases,
    }
    assert compile_config(data, env=ENV).aliases == aliases


def test_the_switches_of_the_config_are_kept() -> None:
    made = compile_config({"providers": {"local": {}}, "autoTiers": False, "trackCost": False, "track_performance": False})
    assert (made.auto_tiers, made.track_cost, made.track_performance, made.version) == (False, False, False, 0)


def test_a_key_in_the_file_is_worth_a_warning_but_not_for_an_address_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "podium.yaml").write_text(
        "providers:\n  openai: {api_key: sk-abc}\n  vllm: {api_key: EMPTY}\n  groq: {api_key: '${GROQ_API_KEY}'}\n"
    )
    _, warnings = compile_with_warnings(load_config(tmp_path / "podium.yaml"), env=ENV)
    assert [(problem.line, problem.path) for problem in warnings] == [(2, "providers.openai.api_key")]
    _, warnings = compile_with_warnings({"providers": {"openai": {"api_key": "sk-abc"}}}, env=ENV)
    assert warnings == ()
