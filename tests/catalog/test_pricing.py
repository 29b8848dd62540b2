"""Which price holds for a name, and what a row may not say."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from podium.catalog.price_import import load_override, parse, read
from podium.catalog.price_names import guesses
from podium.catalog.price_rates import Price, nothing
from podium.catalog.price_reading import Reading
from podium.catalog.price_sheet import Clause, NotPrices, Period, Row, Tier, Variant, load_row
from podium.catalog.pricing import PriceBook, RowLayer, highest_cost
from podium.types import Usage

D = Decimal


def row(inputs: str, outputs: str | None = None, **more: Any) -> Row:
    return Row(input_per_million=D(inputs), output_per_million=None if outputs is None else D(outputs), **more)


BOOK = PriceBook(
    [
        RowLayer(
            {
                "openai/gpt-4o": row(
                    "2.5", "10", match=Clause(any_of=(Clause(equals="gpt-4o"), Clause(equals="gpt-4o-2024-08-06")))
                ),
                "openai/gpt-4o-2024-05-13": row("5", "15"),
                "openai/text-embedding-3-small": row("0.02"),
                "anthropic/claude-x": row("3", "15", match=Clause(starts_with="claude-x")),
                "google/gemini-3": row("1", "2"),
                "groq/llama-3.1-8b": row("0.05", "0.08"),
                "openrouter/openai/gpt-4o": row("2.6", "10.4"),
                "openrouter/deepseek/r1": row("0.4", "2"),
            },
            fallbacks={"azure": ("openai",)},
        ),
    ],
    overrides={"openai/gpt-4o-ours": row("1", "1", source="config"), "local/gemma": row("0.1", "0.1", source="config")},
    priced_as={"openai/ft:ours": "openai/gpt-4o", "openai/loop": "openai/loop"},
)


@pytest.mark.parametrize(
    ("kind", "model", "matched", "normalised", "via"),
    [
        ("openai", "gpt-4o", "openai/gpt-4o", None, "name"),
        ("openai", "gpt-4o-2024-05-13", "openai/gpt-4o-2024-05-13", None, "name"),
        ("openai", "gpt-4o-2024-08-06", "openai/gpt-4o", None, "spelling"),
        ("openai", "GPT-4o", "openai/gpt-4o", None, "spelling"),
        ("openai", "gpt-4o-2031-01-01", "openai/gpt-4o", "date", "normalised"),
        ("openai", "gpt-4o-20240806", "openai/gpt-4o", "date", "normalised"),
        ("openai", "gpt-4o-0806", "openai/gpt-4o", "date", "normalised"),
        ("openai", "gpt-4o@20240806", "openai/gpt-4o", "date", "normalised"),
        ("openai", "gpt-4o-latest", "openai/gpt-4o", "latest", "normalised"),
        ("openai", "gpt-4o-128k", "openai/gpt-4o", "size", "normalised"),
        ("openai", "openai/gpt-4o", "openai/gpt-4o", "prefix", "normalised"),
        ("openai", "openai/gpt-4o-128k-latest", "openai/gpt-4o", "prefix, latest, size", "normalised"),
        ("gemini", "models/gemini-3", "gemini/gemini-3", "prefix", "normalised"),
        ("google", "gemini-3", "gemini/gemini-3", None, "name"),
        ("anthropic", "claude-x-20991231", "anthropic/claude-x", None, "spelling"),
        ("groq", "llama-3.1:8b", "groq/llama-3.1-8b", "size", "normalised"),
        ("azure", "gpt-4o", "openai/gpt-4o", None, "reseller"),
        ("openrouter", "openai/gpt-4o", "openrouter/openai/gpt-4o", None, "name"),
        ("openrouter", "openai/gpt-4o:nitro", "openrouter/openai/gpt-4o", "routing suffix", "normalised"),
        ("openrouter", "anthropic/claude-x-9", "anthropic/claude-x", "the vendor's price", "normalised"),
        ("openrouter", "google/gemini-3:online", "gemini/gemini-3", "routing suffix, the vendor's price", "normalised"),
        ("local", "anything:70b", "local/anything:70b", None, "local"),
        ("vllm", "meta/llama", "vllm/meta/llama", None, "local"),
        ("local", "gemma", "local/gemma", None, "config"),
        ("openai", "gpt-4o-ours", "openai/gpt-4o-ours", None, "config"),
    ],
)
def test_a_name_is_found_as_the_table_says(kind: str, model: str, matched: str, normalised: str | None, via: str) -> None:
    found = BOOK.find(kind, model)
    assert found is not None
    assert (found.matched_name, found.normalised, found.via) == (matched, normalised, via)


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("openai", "gpt-5"),
        ("openai", "gpt-4"),
        ("groq", "llama-3.1-70b"),
        ("openrouter", "deepseek/r1:free"),
        ("openrouter", "openai/gpt-9:free"),
        ("together", "openai/gpt-4o"),
        ("custom", "gpt-4o"),
        ("openai", ""),
        ("openai", "loop"),
    ],
)
def test_what_no_data_knows_has_no_price(kind: str, model: str) -> None:
    assert BOOK.find(kind, model) is None


def test_a_free_spelling_is_never_priced_as_the_paid_model() -> None:
    assert all(not guess.model.endswith("r1") for guess in guesses("openrouter", "deepseek/r1:free"))


def test_a_number_of_parameters_is_never_taken_off() -> None:
    assert {guess.model for guess in guesses("groq", "llama-3.1-70b-latest")} == {"llama-3.1-70b"}


def test_priced_as_takes_the_other_models_price_and_says_so() -> None:
    for found in (BOOK.find("openai", "ft:ours"), BOOK.find("custom", "mine", priced_as="openai/gpt-4o")):
        assert found is not None
        assert (found.matched_name, found.priced_as) == ("openai/gpt-4o", "openai/gpt-4o")
    local = BOOK.find("local", "llama", priced_as="openai/gpt-4o")
    assert local is not None
    assert local.price.cost(Usage(input=1_000_000)) == D("2.5")


def test_priced_as_may_name_a_price_of_the_config() -> None:
    found = BOOK.find("custom", "mine", priced_as="openai/gpt-4o-ours")
    assert found is not None
    assert found.source == "config"


def test_priced_as_an_unknown_model_is_no_price() -> None:
    assert BOOK.find("local", "llama", priced_as="openai/gpt-9") is None


def test_the_config_may_name_a_model_by_its_instance() -> None:
    book = PriceBook(overrides={"openai-eu/fast": row("7", "8", source="config")})
    found = book.find("openai", "gpt-4o", names=("openai-eu/fast",))
    assert found is not None
    assert found.price.cost(Usage(input=1_000_000)) == 7


def test_a_local_model_costs_nothing_and_says_that_it_is_local() -> None:
    found = BOOK.find("local", "llama3.3:70b")
    assert found is not None
    assert found.source == "local"
    assert found.price.cost(Usage(input=10**9, output=10**9, reasoning=5, input_audio=3)) == 0


def test_a_book_is_a_mapping_of_names_whose_missing_names_say_what_to_do() -> None:
    assert BOOK["openai/gpt-4o"].cost(Usage(input=1_000, output=100)) == D("0.0035")
    assert "openai/gpt-4o" in BOOK
    assert "openai/gpt-9" not in BOOK
    assert BOOK.get("gpt-4o") is None
    with pytest.raises(KeyError, match="podium prices fetch"):
        BOOK["openai/gpt-9"]
    assert {"openai/gpt-4o", "gemini/gemini-3", "local/gemma"} <= set(BOOK.names())


def test_the_upper_layer_counts() -> None:
    book = PriceBook([RowLayer({"openai/a": row("1", "1", source="up")}), RowLayer({"openai/a": row("2", "2", source="down")})])
    found = book.get("openai/a")
    assert found is not None
    assert found.source == "up"


def test_the_version_of_a_price_changes_with_what_is_charged_and_with_nothing_else() -> None:
    def version(each: Row) -> str:
        found = PriceBook([RowLayer({"openai/a": each})]).get("openai/a")
        assert found is not None
        return found.version

    plain = row("1", "2", source="here", updated_at="2026-01-01T00:00:00Z")
    assert version(plain) == version(row("1", "2", source="there", match=Clause(equals="a"), other={"pages": "3"}))
    assert version(plain) != version(row("1", "3"))
    assert version(plain) != version(row("1", "2", tiers=(Tier(above=5, input_per_million=D(2)),)))


def test_output_that_has_no_rate_makes_the_cost_unknown_rather_than_nothing() -> None:
    price = BOOK["openai/text-embedding-3-small"]
    assert price.cost(Usage(input=1_000_000)) == D("0.02")
    assert price.cost(Usage(input=1_000_000, output=1)) is None
    assert price.cost_pico(Usage(output=1)) is None
    found = BOOK.get("openai/text-embedding-3-small")
    assert found is not None
    assert highest_cost(found, 10, 1) is None
    assert highest_cost(found, 10, 0) == D("0.0000002")


def test_web_searches_are_charged_as_anthropic_counts_them() -> None:
    usage = Usage(input=1000, extra={"anthropic": {"server_tool_use": {"web_search_requests": 3}}})
    price = Price(row("1", "5", per_web_search=D("0.01")))
    assert price.cost(usage) == D("0.031")
    assert Price(row("1", "5")).cost(usage) is None
    assert price.highest(1000, 0, searches=3) == D("0.031")


def test_a_price_that_depends_on_time_asks_for_it_unless_it_has_a_clock() -> None:
    dated = row("1", "1", periods=(Period(input_per_million=D(1)), Period(since="2026-01-01", input_per_million=D(2))))
    with pytest.raises(ValueError, match="say `at`"):
        Price(dated).cost(Usage(input=1))
    assert Price(dated, lambda: 1_767_225_599.0).cost(Usage(input=1_000_000)) == 1
    assert Price(dated, lambda: 1_767_225_600.0).cost(Usage(input=1_000_000)) == 2


def test_a_price_of_the_past_does_not_raise_the_highest_cost_and_one_that_begins_tomorrow_does() -> None:
    dated = row(
        "9",
        "9",
        periods=(
            Period(input_per_million=D(9)),
            Period(since="2026-01-01", input_per_million=D(1)),
            Period(since="2026-06-01", input_per_million=D(2)),
        ),
    )
    march, last_of_may = 1_772_323_200.0, 1_780_185_600.0
    assert Price(dated).highest(1_000_000, 0, march) == 1
    assert Price(dated).highest(1_000_000, 0, last_of_may) == 2


def test_a_price_is_steady_unless_time_or_size_changes_it_and_what_is_free_is_nothing() -> None:
    steady = Price(row("1", "2", per_request=D("0.01"))).steady
    assert steady is not None
    assert steady(1000, 10) == 10**10 + 1000 * 10**6 + 10 * 2 * 10**6
    assert Price(row("0", "0", free=True)).steady is nothing
    assert Price(row("0", "0", free=True, per_request=D(1))).steady is not nothing
    assert Price(row("1", None)).steady is None
    assert Price(row("1", "2", tiers=(Tier(above=5, input_per_million=D(2)),))).steady is None
    assert Price(row("1", "1", periods=(Period(input_per_million=D(1)), Period(since="2026-01-01")))).steady is None


def test_a_variant_replaces_only_the_rates_that_it_names() -> None:
    priced = row(
        "2", "10", cached_input_per_million=D(1), variants=(Variant(when={"service_tier": "flex"}, input_per_million=D(1)),)
    )
    usage = Usage(input=1_000_000, output=1_000_000, cache_read=1_000_000)
    assert Price(priced).cost(usage) == 13
    assert Price(priced).cost(usage, context={"service_tier": "flex"}) == 12
    assert Price(priced).cost(usage, context={"service_tier": "auto"}) == 13


# --- lies ------------------------------------------------------------------------------------------------------------

GOOD = '"openai/good": {"inputPerMillion": 2.50, "outputPerMillion": 10}'


def own(rows: str) -> Reading:
    return read(parse(f'{{"models": {{{GOOD}, {rows}}}}}'.encode()), "file", "2026-11-23T00:00:00Z")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('{"inputPerMillion": -1}', "negative"),
        ('{"inputPerMillion": "2.5"}', "no number"),
        ('{"inputPerMillion": "cheap"}', "no number"),
        ('{"inputPerMillion": true}', "no number"),
        ('{"inputPerMillion": NaN}', "no number"),
        ('{"inputPerMillion": Infinity}', "no number"),
        ('{"inputPerMillion": 1e400}', "more than"),
        ('{"inputPerMillion": 10000.01}', "more than"),
        ('{"perRequest": 101}', "more than"),
        ('{"inputPerMillion": 1e-400}', "decimals"),
        ('{"inputPerMillion": ' + "9" * 5000 + "}", "more than"),
        ("{}", "no rate"),
        ("7", "no object"),
        ('{"inputPerMillion": [1]}', "no number"),
        ('{"inputPerMillion": 1, "tiers": [{"above": 5, "inputPerMillion": -2}]}', "negative"),
        ('{"inputPerMillion": 1, "tiers": [{"above": 5, "inputPerMillion": "2"}]}', "no number"),
        ('{"inputPerMillion": 1, "tiers": [{"inputPerMillion": 2}]}', "above"),
        ('{"inputPerMillion": 1, "tiers": [{"above": -3, "inputPerMillion": 2}]}', "tier begins"),
        ('{"inputPerMillion": 1, "periods": [{"from": "2026-01-01", "inputPerMillion": 2}]}', "first period"),
        ('{"inputPerMillion": 1, "periods": [{}, {"from": "soon", "inputPerMillion": 2}]}', "no day"),
        ('{"inputPerMillion": 1, "periods": [{}, {"from": "2026-02-30", "inputPerMillion": 2}]}', "no day"),
        ('{"inputPerMillion": 1, "periods": [{}, {"daily": ["25:00", "3:00"], "inputPerMillion": 2}]}', "no time"),
        ('{"inputPerMillion": 1, "match": {"regex": "(a+)+$"}}', "repeats"),
        ('{"inputPerMillion": 1, "match": {"regex": "("}}', "is none"),
        ('{"inputPerMillion": 1, "match": {}}', "exactly one"),
        (
            '{"inputPerMillion": 1, "variants": [{"when": {"a": "b"}, "tiers": [{"above": 1, "inputPerMillion": 1}]}]}',
            "tier only",
        ),
    ],
)
def test_a_row_that_lies_is_refused_with_its_reason_and_the_others_stand(bad: str, reason: str) -> None:
    reading = own(f'"openai/bad": {bad}')
    assert set(reading.rows) == {"openai/good"}
    assert reason in reading.refused["openai/bad"]
    assert str(reading.rows["openai/good"].input_per_million) == "2.5"


@pytest.mark.parametrize("name", ["gpt-4o", "", "openai/" + "x" * 300, "openai/a\\u001b[2J"])
def test_a_row_without_a_proper_name_is_refused(name: str) -> None:
    reading = own(f'"{name}": {{"inputPerMillion": 1}}')
    assert len(reading.refused) == 1


@pytest.mark.parametrize(
    "text", ["", "<html>", "[]", "[1]", "{}", '{"models": []}', "null", '"x"', "[" * 100_000, '{"a": \xff}']
)
def test_a_document_that_says_no_prices_is_refused_whole(text: str) -> None:
    with pytest.raises(NotPrices):
        read(parse(text.encode("latin-1")), "file", None)


def test_numbers_stay_exact() -> None:
    reading = own('"openai/fine": {"inputPerMillion": 0.123456789012345678901234, "outputPerMillion": 1e-7}')
    fine = reading.rows["openai/fine"]
    assert fine.input_per_million == D("0.123456789012345678901234")
    assert Price(fine).cost(Usage(input=3, output=1)) == D("0.000000370370467037037036703702")


def test_a_row_that_the_file_reader_cannot_read_says_why() -> None:
    with pytest.raises(NotPrices, match="inputPerMillion"):
        load_row(b'{"inputPerMillion": [1]}')


# --- OpenRouter ------------------------------------------------------------------------------------------------------


def openrouter(**pricing: Any) -> Reading:
    models = [{"id": "v/model", "canonical_slug": "v/model-0101", "pricing": pricing}]
    return read(parse(json.dumps({"data": models}).encode()), "openrouter", None)


def test_openrouters_prices_are_per_token_and_its_zeros_say_nothing() -> None:
    reading = openrouter(
        prompt="0.0000025",
        completion="0.00001",
        request="0",
        internal_reasoning="0",
        input_cache_read="0.00000125",
        image="0.003",
    )
    made = reading.rows["openrouter/v/model"]
    assert made.rates() == {"input_per_million": D("2.5"), "output_per_million": D(10), "cached_input_per_million": D("1.25")}
    assert made.other == {"image": "0.003"}
    assert Price(made).cost(Usage(reasoning=1_000_000)) == 10
    assert made.match is not None
    assert made.match.matches("v/model-0101")


def test_openrouters_overrides_become_tiers_that_begin_at_their_threshold() -> None:
    price = Price(
        openrouter(
            prompt="0.000001", completion="0.000004", overrides=[{"min_prompt_tokens": 200_000, "prompt": "0.000002"}]
        ).rows["openrouter/v/model"]
    )
    assert price.cost(Usage(input=199_999)) == D("0.199999")
    assert price.cost(Usage(input=200_000, output=1)) == D("0.400004")


@pytest.mark.parametrize(
    ("pricing", "reason"),
    [
        ({"prompt": "-1", "completion": "-1"}, "negative"),
        ({"prompt": "cheap", "completion": "0.1"}, "no number"),
        ({"prompt": "NaN", "completion": "0"}, "no number"),
        ({"prompt": "0.1", "completion": "1"}, "more than"),
        ({"prompt": "0.000001", "completion": "0", "overrides": [{"weekday": "sunday", "prompt": "0"}]}, "not known"),
        ({"prompt": "0.000001", "completion": "0", "overrides": [{"min_prompt_tokens": 5, "weekday": 1}]}, "not known"),
        ({}, "no rate"),
    ],
)
def test_a_lie_of_openrouters_is_refused(pricing: dict[str, Any], reason: str) -> None:
    reading = openrouter(**pricing)
    assert not reading.rows
    assert reason in reading.refused["openrouter/v/model"]


# --- genai-prices ----------------------------------------------------------------------------------------------------


def genai(prices: Any, **more: Any) -> Reading:
    model = {"id": "m", "match": {"equals": "m"}, "prices": prices, **more}
    return read(parse(json.dumps([{"id": "x-ai", "models": [model]}]).encode()), "genai-prices", None)


def test_times_of_day_with_a_zone_are_brought_to_utc() -> None:
    said = [
        {"prices": {"input_mtok": 1, "output_mtok": 1}},
        {
            "constraint": {"start_time": "00:30:00+08:00", "end_time": "08:30:00+08:00"},
            "prices": {"input_mtok": 2, "output_mtok": 2},
        },
    ]
    assert genai(said).rows["xai/m"].periods[1].daily == ("16:30", "00:30")


@pytest.mark.parametrize(
    ("prices", "reason"),
    [
        ({"input_mtok": "1"}, "no number"),
        ({"input_mtok": {"base": 1, "tiers": [{"price": 2}]}}, "no start"),
        ([{"constraint": {"weekday": 1}, "prices": {"input_mtok": 1}}], "not known"),
        ([], "no rate"),
        (None, "no object"),
        ({"input_mtok": -1}, "negative"),
    ],
)
def test_a_lie_in_genai_prices_is_refused(prices: Any, reason: str) -> None:
    reading = genai(prices)
    assert reason in reading.refused["xai/m"]


def test_a_model_that_genai_prices_charges_by_other_units_alone_has_no_price() -> None:
    reading = genai({"audio_hours": 0.111})
    assert (reading.rows, reading.refused, reading.unpriced) == ({}, {}, 1)


# --- the config --------------------------------------------------------------------------------------------------------


def test_a_price_of_the_config_is_in_usd_per_million_and_exact() -> None:
    made = load_override("openai/x", {"input": 0.075, "output": 3, "cached_input": D("0.01"), "per_request": 0.002})
    assert Price(made).cost(Usage(input=10, output=1, cache_read=1)) == D("0.00200376")
    assert load_override("openai/x", {"input": 0, "output": 0}).free


@pytest.mark.parametrize(
    ("prices", "words"),
    [
        ({"inptu": 1}, "inptu"),
        ({"input": "1"}, "no number"),
        ({"input": -1}, "negative"),
        ({"input": float("nan")}, "no number"),
        ({}, "says nothing"),
        ({"input": 99_999}, "more than"),
    ],
)
def test_a_price_of_the_config_that_cannot_be_says_why(prices: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_override("openai/x", prices)
