"""What a config says of prices, of the ledger and of where files are."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from podium import create_models
from podium.catalog.price_import import load_override
from podium.catalog.price_sheet import RATE_NAMES
from podium.config import compile_config, compile_with_warnings, json_schema, load_config
from podium.config.sections import PriceSection
from podium.errors import ConfigError
from podium.routing.snapshot import LedgerSettings, Snapshot


def made(**fields: Any) -> Snapshot:
    data = {"providers": {"openai": {"enabled": False}}, **fields}
    jsonschema.validate(data, json_schema("config"))
    return compile_config(data, env={})


def from_yaml(text: str, folder: Path, env: dict[str, str] | None = None) -> Snapshot:
    (folder / "podium.yaml").write_text(f"providers: {{openai: {{enabled: false}}}}\n{text}")
    return compile_config(load_config(folder / "podium.yaml"), env=env or {})


def words(**fields: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        compile_config({"providers": {"openai": {"enabled": False}}, **fields}, env={})
    return str(raised.value)


# --- Prices ----------------------------------------------------------------------------------------------------------


def test_a_price_has_the_rates_that_the_catalog_knows() -> None:
    assert [key.removesuffix("_per_million") for key in RATE_NAMES] == list(PriceSection.model_fields)


def test_prices_are_exact_as_written_in_either_spelling(tmp_path: Path) -> None:
    text = "prices:\n  openai/gpt-4o: {input: 0.1, output: 10, cachedInput: $1.250, cache_write_1h: '0.30000000000000000001'}\n"
    prices = from_yaml(text, tmp_path).prices
    assert prices == {
        "openai/gpt-4o": {
            "input": Decimal("0.1"),
            "output": Decimal(10),
            "cached_input": Decimal("1.25"),
            "cache_write_1h": Decimal("0.30000000000000000001"),
        }
    }
    assert load_override("openai/gpt-4o", prices["openai/gpt-4o"]).cached_input_per_million == Decimal("1.25")
    assert made(prices={"openai/x": {"cacheWrite1h": 0, "per_web_search": 0.01}}).prices == {
        "openai/x": {"cache_write_1h": Decimal(0), "per_web_search": Decimal("0.01")}
    }


@pytest.mark.parametrize(
    ("name", "price", "said"),
    [
        ("gpt-4o", {"input": 1}, "prices.gpt-4o: `gpt-4o` does not say which provider. Write `openai/gpt-4o`."),
        ("openai/x", {}, 'prices["openai/x"]: the price says nothing; give at least `input` and `output`'),
        ("openai/x", {"inptu": 1}, 'prices["openai/x"].inptu: there is no such key. Did you mean `input`?'),
        ("openai/x", {"input": -1}, 'prices["openai/x"].input: `-1` is not a price in USD. Write 0 or more; 0 is free.'),
        ("openai/x", {"input": "cheap"}, 'prices["openai/x"].input: `cheap` is not a price in USD.'),
        ("openai/x", {"input": True}, 'prices["openai/x"].input: a price cannot be true or false.'),
        ("openai/x", {"input": 10**9}, 'prices["openai/x"]: the price cannot be: input is 1000000000'),
        ("openai/x", 2.5, 'prices["openai/x"]: this must be a mapping, not a number.'),
    ],
)
def test_a_price_that_cannot_be_is_told_at_its_place(name: str, price: Any, said: str) -> None:
    assert said in words(prices={name: price})


def test_a_price_of_no_provider_is_worth_a_warning() -> None:
    data = {
        "providers": {"house": {"base_url": "http://localhost/v1"}},
        "prices": {"hose/x": {"input": 1}, "xai/y": {"input": 1}},
    }
    _, warnings = compile_with_warnings(data, env={})
    assert [str(problem) for problem in warnings] == [
        'prices["hose/x"]: warning: there is no provider `hose`, so this price is never used. Did you mean `house`?'
    ]


# --- The ledger ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "store"),
    [("none", "none"), ("memory", "memory"), ("memory:", "memory"), ({"store": "memory:"}, "memory"), (None, "sqlite"),
     ({}, "sqlite")],
)  # fmt: skip
def test_the_ledger_may_be_written_short(written: Any, store: str) -> None:
    assert made(ledger=written).ledger == LedgerSettings(store=store)  # type: ignore[arg-type]


def test_the_ledgers_settings_arrive_in_either_spelling(tmp_path: Path) -> None:
    text = "ledger: {store: sqlite, fsync: never, onFull: refuse, payloads: hashed, keep: 90d, keep_size: 5GB}\n"
    assert from_yaml(text, tmp_path).ledger == LedgerSettings(
        store="sqlite", fsync="never", on_full="refuse", payloads="hashed", keep_s=90 * 86400.0, keep_bytes=5 * 10**9
    )


@pytest.mark.parametrize(
    ("written", "size"),
    [("500MB", 500_000_000), ("1.5 kB", 1500), ("1GiB", 2**30), (4096, 4096), ("4096", 4096), ("2TB", 2 * 10**12)],
)
def test_a_size_is_bytes_or_says_its_unit(written: Any, size: int) -> None:
    assert made(ledger={"keepSize": written, "payloads": "full"}).ledger.keep_bytes == size


@pytest.mark.parametrize(
    "written", [0, -1, "5 G", "big", True, [], "0.5B", 1.5, 10**30, "99999999TB", "", 10**400, float("inf")]
)
def test_anything_else_is_no_size(written: Any) -> None:
    assert "ledger.keep_size: " in words(ledger={"keep_size": written})


@pytest.mark.parametrize(
    ("ledger", "said"),
    [
        ("sqllite", "ledger.store: `sqllite` is not one of `sqlite`, `memory` or `none`. Did you mean `sqlite`?"),
        (False, "ledger: the ledger cannot be `false`. Write `ledger: none` to keep no record."),
        ([], "ledger: this must be a mapping, not a list."),
        ({"fsnyc": "never"}, "ledger.fsnyc: there is no such key. Did you mean `fsync`?"),
        ({"keep": 90}, "ledger.keep: `90` would be milliseconds. Did you mean `90d`?"),
        ({"keep": "long"}, "ledger.keep: `long` is not a duration. Write `90d`, `12h`, or a number of milliseconds."),
        ({"payloads": "all"}, "ledger.payloads: `all` is not one of `none`, `hashed` or `full`."),
    ],
)
def test_a_ledger_that_cannot_be_is_told_with_a_fix(ledger: Any, said: str) -> None:
    assert said in words(ledger=ledger)


def test_settings_of_the_ledger_without_effect_are_worth_a_warning() -> None:
    data = {"providers": {"local": {}}, "ledger": {"store": "sqlite", "keep": "90d"}}
    _, warnings = compile_with_warnings(data, env={})
    assert [str(problem) for problem in warnings] == [
        "ledger: warning: there is no folder for the records, so they are kept in memory. Add `data_dir:`.",
        "ledger.keep: warning: no payloads are kept, so this has no effect. Set `payloads: full`, or remove it.",
    ]


def test_what_happens_without_a_price_and_without_coordination_is_said_in_the_config() -> None:
    default, other = made(), made(unpriced="allow", onLost="continue")
    assert (default.unpriced, default.on_lost) == ("refuse", None)
    assert (other.unpriced, other.on_lost) == ("allow", "continue")
    assert "on_lost: `ignore` is not one of `refuse` or `continue`." in words(on_lost="ignore")


# --- Files -----------------------------------------------------------------------------------------------------------


def test_a_config_file_has_its_data_beside_it_and_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    (folder / "podium.yaml").write_text("providers: {local: {}}\n")
    snapshot = compile_config(load_config("project/podium.yaml"), env={})
    assert snapshot.data_dir == str(folder / ".podium")
    assert [file.name for file in folder.iterdir()] == ["podium.yaml"]


def test_the_data_folder_is_the_configs_else_the_environments(tmp_path: Path) -> None:
    env = {"PODIUM_DATA": str(tmp_path / "elsewhere")}
    assert from_yaml("", tmp_path, env).data_dir == str(tmp_path / "elsewhere")
    assert from_yaml("dataDir: data\n", tmp_path, env).data_dir == str(tmp_path / "data")
    assert from_yaml("data_dir: /var/podium\n", tmp_path, env).data_dir == "/var/podium"
    assert from_yaml("data_dir: ~/podium\n", tmp_path, env).data_dir == str(Path.home() / "podium")


def test_a_config_that_is_no_file_keeps_its_records_in_memory_unless_a_folder_is_named(tmp_path: Path) -> None:
    assert made().data_dir is None
    assert made(data_dir=str(tmp_path)).data_dir == str(tmp_path)
    assert compile_config({"dataDir": tmp_path}, env={}).data_dir == str(tmp_path)
    assert compile_config({}, env={"PODIUM_DATA": str(tmp_path)}).data_dir == str(tmp_path)


def test_the_file_of_fetched_prices_is_used_once_it_is_there(tmp_path: Path) -> None:
    usual = tmp_path / "pricing-cache.json"
    assert from_yaml("", tmp_path).pricing_cache == str(usual), "it may be written while we run"
    usual.mkdir()
    assert from_yaml("", tmp_path).pricing_cache is None
    usual.rmdir()
    usual.write_text("{}")
    assert from_yaml("", tmp_path).pricing_cache == str(tmp_path / "pricing-cache.json")
    assert from_yaml("pricingCache: prices/all.json\n", tmp_path).pricing_cache == str(tmp_path / "prices" / "all.json")


def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        from_yaml("data_dir: podium.yaml\npricing_cache: .\n", tmp_path)
    assert [(problem.line, problem.path, problem.message) for problem in raised.value.problems] == [
        (2, "data_dir", "`podium.yaml` is a file, not a folder."),
        (3, "pricing_cache", "`.` is a folder, not a file."),
    ]
    assert "data_dir: " in words(data_dir="x\0y")


def test_python_code_may_say_all_of_it_in_either_spelling(tmp_path: Path) -> None:
    snake = create_models(
        providers={"openai": {"api_key": "k"}},
        users={"jane": {"team": "search", "keys": {"openai": "janes"}}},
        teams={"search": {"cost_limit": 100}},
        prices={"openai/gpt-4o": {"cached_input": 1.25}},
        ledger="none",
        data_dir=tmp_path,
        on_lost="refuse",
    ).snapshot
    camel = create_models(
        providers={"openai": {"apiKey": "k"}},
        users={"jane": {"team": "search", "keys": {"openai": "janes"}}},
        teams={"search": {"costLimit": "$100"}},
        prices={"openai/gpt-4o": {"cachedInput": 1.25}},
        ledger={"store": "none"},
        dataDir=str(tmp_path),
        onLost="refuse",
    ).snapshot
    assert snake == camel
    assert snake.data_dir == str(tmp_path)
    assert snake.users["jane"].team == "search"
