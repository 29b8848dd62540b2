from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.made import started
from podium.ledger import pico_usd, settle, usd
from podium.ledger.more import beyond_counts
from podium.types import Extra, Usage


@pytest.mark.parametrize(
    ("amount", "pico"),
    [
        ("0", 0),
        ("0.000000000001", 1),
        ("0.0000000000005", 0),
        ("0.0000000000015", 2),
        ("0.0000000000025", 2),
        ("0.00000000000250000000000000000000000000001", 3),
        ("1234.5", 1_234_500_000_000_000),
        ("9223372.036854775807", 2**63 - 1),
    ],
)
def test_money_is_rounded_half_even_to_whole_pico_usd(amount: str, pico: int) -> None:
    assert pico_usd(Decimal(amount)) == pico


@pytest.mark.parametrize("amount", ["9223372.036854775808", "1e999999", "NaN", "Infinity"])
def test_an_amount_that_no_int64_holds_is_unknown(amount: str) -> None:
    assert pico_usd(Decimal(amount)) is None


def test_unknown_stays_unknown() -> None:
    assert pico_usd(None) is None


@given(st.integers(-(10**40), 10**40))
def test_a_sum_of_any_size_is_shown_exactly(pico: int) -> None:
    assert Fraction(usd(pico)) == Fraction(pico, 10**12)


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_an_amount_comes_back_as_it_went(pico: int) -> None:
    assert pico_usd(usd(pico)) == pico


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"openai_chat": {"prompt_tokens": 5, "total_tokens": 6, "prompt_tokens_details": {"cached_tokens": 0}}}, {}),
        (
            {"openai_chat": {"prompt_tokens": 5, "cost_details": {"upstream": 1}}},
            {"openai_chat": {"cost_details": {"upstream": 1}}},
        ),
        (
            {"openai_chat": {"prompt_tokens_details": {"cached_tokens": 1, "image_tokens": 2}}},
            {"openai_chat": {"prompt_tokens_details": {"cached_tokens": 1, "image_tokens": 2}}},
        ),
        (
            {"anthropic": {"input_tokens": 5, "server_tool_use": {"web_search_requests": 2}}},
            {"anthropic": {"server_tool_use": {"web_search_requests": 2}}},
        ),
        ({"odd": "words"}, {"odd": "words"}),
        ({"anthropic": {"cache_creation": {"ephemeral_5m_input_tokens": 1}}, "x": {"y": None}}, {"x": {"y": None}}),
    ],
)
def test_of_what_a_provider_says_of_usage_all_is_kept_that_the_counts_do_not_say(said: Extra, kept: Extra) -> None:
    assert beyond_counts(said) == kept
    record = settle(started(), outcome="won", usage=Usage(input=5, extra=said))
    assert record.usage == Usage(input=5, extra=kept)


USAGES = st.builds(
    Usage,
    **{name: st.integers(0, 2**40) for name in ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning")},
    **{name: st.integers(0, 2**40) for name in ("input_audio", "output_audio")},
    reported_cost_usd=st.none() | st.decimals(0, 1, allow_nan=False, places=6),
    extra=st.just({}) | st.just({"x": {"odd": "\ud800"}}),
)


@given(st.none() | USAGES)
def test_any_usage_comes_back_as_it_went(usage: Usage | None) -> None:
    record = settle(started(), outcome="won", usage=usage)
    if usage is not None and usage.extra:
        usage = usage.replace(extra={"x": {"odd": "?"}})
    assert record.usage == usage


def test_what_json_cannot_say_is_kept_as_its_text() -> None:
    """A function may answer in a provider's place, and say anything of its usage."""
    record = settle(started(), outcome="won", usage=Usage(input=5, extra={"x": {"odd": Path("there")}}))
    assert record.usage == Usage(input=5, extra={"x": {"odd": "there"}})
