from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.ledger import pico_usd, usd


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
