"""Windows, leases and refusals as arithmetic."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from podium.errors import BudgetExceeded, ConfigError, RateLimited
from podium.routing.limits import (
    ALWAYS,
    MOST,
    PICO,
    Kind,
    Limit,
    Period,
    limits_of,
    pico,
    pico_down,
    refusal,
    slab,
    unit,
    usd,
    window,
)
from podium.routing.snapshot import Allowance

# Among them: midnights that are skipped (Beirut, Asuncion, Sao Paulo), clocks put back over midnight (St. John's), a day left
# out (Apia), offsets of three quarters of an hour, and half an hour of summer time.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Beirut",
    "America/Asuncion",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Africa/Cairo",
)
INSTANTS = st.floats(min_value=0, max_value=2.5e9, allow_nan=False)


def limit(kind: Kind = "cost_usd", period: Period | None = "day", amount: int = PICO, timezone: str = "UTC") -> Limit:
    return Limit(kind=kind, scope="user", id="jane", amount=amount, period=period, timezone=timezone)


def at(zone: str, *fields: int, fold: int = 0) -> float:
    return datetime.datetime(*fields, tzinfo=ZoneInfo(zone), fold=fold).timestamp()  # type: ignore[arg-type,misc]


@given(INSTANTS, st.sampled_from(ZONES), st.sampled_from(("day", "month")))
@example(1_325_239_200.0, "Pacific/Apia", "day")  # the instant at which the 30th of December 2011 was left out
@example(1_162_092_660.0, "America/St_Johns", "day")  # a clock put back from 0:01 to 23:01
def test_windows_divide_time_without_a_gap_and_without_overlap(
    instant: float, zone: str, period: Literal["day", "month"]
) -> None:
    mine = limit(period=period, timezone=zone)
    here = window(mine, instant)
    assert here.starts_at <= instant < here.ends_at
    assert window(mine, here.ends_at).starts_at == here.ends_at
    assert window(mine, here.starts_at) == here
    assert window(mine, math.nextafter(here.ends_at, 0)) == here


@given(INSTANTS)
def test_a_minute_is_a_minute_of_the_clock(instant: float) -> None:
    here = window(limit("requests", "minute"), instant)
    assert here.starts_at <= instant < here.ends_at == here.starts_at + 60
    assert here.starts_at % 60 == 0


def test_a_day_has_23_and_25_hours_where_clocks_change() -> None:
    berlin = limit(timezone="Europe/Berlin")
    for day, hours in (((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 6, 1), 24)):
        here = window(berlin, at("Europe/Berlin", *day, 12))
        assert here.starts_at == at("Europe/Berlin", *day)
        assert here.ends_at - here.starts_at == hours * 3600


def test_a_day_whose_midnight_is_skipped_begins_at_the_gap() -> None:
    beirut = limit(timezone="Asia/Beirut")
    here = window(beirut, at("Asia/Beirut", 2024, 3, 31, 12))
    assert datetime.datetime.fromtimestamp(here.starts_at, ZoneInfo("Asia/Beirut")).hour == 1
    assert here.ends_at - here.starts_at == 23 * 3600


def test_a_month_is_that_of_its_timezone() -> None:
    instant = at("UTC", 2026, 11, 30, 20)
    assert window(limit(period="month", timezone="Asia/Tokyo"), instant).starts_at == at("Asia/Tokyo", 2026, 12, 1)
    assert window(limit(period="month"), instant).starts_at == at("UTC", 2026, 11, 1)
    december = window(limit(period="month"), at("UTC", 2026, 12, 31, 23))
    assert december.ends_at == at("UTC", 2027, 1, 1)


def test_what_runs_at_once_has_no_window() -> None:
    assert window(limit("concurrent", None), 5.0) == ALWAYS == (0.0, math.inf)


def test_an_unknown_timezone_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match=r"no timezone 'Mars/Olympus'.*Europe/Berlin"):
        window(limit(timezone="Mars/Olympus"), 0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": -1},
        {"amount": MOST + 1},
        {"period": None},
        {"kind": "concurrent"},
        {"scope": "user:x"},
    ],
)
def test_what_is_no_limit_cannot_be_made(wrong: dict[str, object]) -> None:
    fields: dict[str, object] = {"kind": "requests", "scope": "user", "id": "jane", "amount": 5, "period": "day"}
    with pytest.raises(ValueError, match="no limit"):
        Limit(**{**fields, **wrong})  # type: ignore[arg-type]


def test_limits_that_differ_in_anything_but_their_amount_have_different_keys() -> None:
    others = [
        limit(),
        limit(period="month"),
        limit("tokens"),
        limit(timezone="Asia/Tokyo"),
        limit().replace(id="jane:2"),
        limit().replace(scope="team"),
    ]
    assert len({other.key for other in others}) == len(others)
    assert limit(amount=7).key == limit().key


AMOUNTS = st.integers(min_value=0, max_value=MOST)


@given(
    remaining=st.integers(min_value=-MOST, max_value=MOST),
    need=AMOUNTS,
    holders=st.integers(min_value=0, max_value=64),
    unit=st.integers(min_value=1, max_value=MOST),
)
def test_a_slab_never_exceeds_what_remains_and_covers_the_need_where_it_can(
    remaining: int, need: int, holders: int, unit: int
) -> None:
    size = slab(remaining, need, holders, unit)
    assert 0 <= size <= max(0, remaining)
    assert size >= min(need, max(0, remaining))


@given(amount=st.integers(min_value=200, max_value=10**6), holders=st.integers(min_value=1, max_value=16))
def test_slabs_shrink_to_one_unit_near_the_limit(amount: int, holders: int) -> None:
    mine = limit("requests", "day", amount)
    remaining, sizes = amount, []
    while remaining:
        sizes.append(slab(remaining, 1, holders, unit(mine)))
        remaining -= sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1
    assert sizes[0] == amount // (2 * holders)


def test_the_smallest_lease_is_one_request_or_a_hundredth_of_an_amount() -> None:
    assert unit(limit("requests", "minute", 5000)) == unit(limit("concurrent", None, 10)) == 1
    assert unit(limit("cost_usd", "day", 5 * PICO)) == 5 * PICO // 100
    assert unit(limit("tokens", "minute", 90)) == 1


@given(st.decimals(min_value=0, max_value=9_000_000, places=15))
def test_money_becomes_pico_usd_upwards_for_what_must_suffice_and_downwards_for_what_may_not_be_exceeded(
    amount: Decimal,
) -> None:
    exact = amount * PICO
    assert pico(amount) - 1 < exact <= pico(amount)
    assert pico_down(amount) <= exact < pico_down(amount) + 1
    assert usd(pico_down(amount)) <= amount <= usd(pico(amount))


def test_a_refusal_of_money_says_what_was_spent_and_when_it_resets() -> None:
    now = at("Europe/Berlin", 2026, 11, 23, 18)
    mine = limit(amount=5 * PICO, timezone="Europe/Berlin")
    error = refusal(mine, PICO // 10, spent=4 * PICO, reserved=PICO - 1, at=now, resets_at=window(mine, now).ends_at)
    assert isinstance(error, BudgetExceeded)
    assert (error.amount, error.spent, error.asked) == (Decimal(5), Decimal(4), Decimal("0.1"))
    assert error.reserved == Decimal("0.999999999999")
    assert error.resets_at == at("Europe/Berlin", 2026, 11, 24)
    assert error.retry_after_s == 6 * 3600
    assert "2026-11-24 00:00:00+01:00" in str(error)
    assert error.to_dict()["reserved"] == "0.999999999999"
    assert error.status == 402


def test_a_refusal_of_a_rate_can_be_retried_when_it_resets() -> None:
    error = refusal(limit("requests", "minute", 3), 1, spent=2, reserved=1, at=30.0, resets_at=60.0)
    assert isinstance(error, RateLimited)
    assert error.retryable
    assert (error.amount, error.spent, error.reserved, error.asked) == (3, 2, 1, 1)
    assert (error.resets_at, error.retry_after_s) == (60.0, 30.0)


def test_a_refusal_of_what_no_window_has_room_for_asks_nobody_to_come_again() -> None:
    error = refusal(limit("tokens", "minute", 100), 4641, spent=0, reserved=0, at=30.0, resets_at=60.0)
    assert str(error) == (
        "The limit of 100 tokens (tokens of user jane in a minute) is too small: no window has so much, and this request could "
        "need 4641 tokens. Ask for less (a shorter prompt, a smaller `max_tokens`), or raise the limit."
    )
    assert (error.retryable, error.retry_after_s, error.resets_at) == (False, None, None)


def test_a_refusal_of_too_many_at_once_says_how_many_run_and_never_resets() -> None:
    error = refusal(limit("concurrent", None, 3), 1, spent=0, reserved=3, at=30.0, resets_at=math.inf)
    assert isinstance(error, RateLimited)
    assert error.resets_at is error.retry_after_s is None
    assert "3 requests under way" in str(error)
    assert "resets_at" not in error.to_dict()


def test_an_allowance_becomes_the_limits_it_names() -> None:
    allowance = Allowance(
        cost_day_usd=Decimal("1.50"),
        cost_month_usd=Decimal(20),
        requests_per_minute=60,
        tokens_per_minute=90_000,
        max_concurrent=4,
        timezone="Asia/Tokyo",
    )
    made = [(each.kind, each.period, each.amount) for each in limits_of(allowance, "team", "search")]
    assert made == [
        ("cost_usd", "day", 3 * PICO // 2),
        ("cost_usd", "month", 20 * PICO),
        ("requests", "minute", 60),
        ("tokens", "minute", 90_000),
        ("concurrent", None, 4),
    ]
    assert {each.timezone for each in limits_of(allowance, "team", "search")} == {"Asia/Tokyo"}
    assert limits_of(Allowance(), "user", "jane") == ()
