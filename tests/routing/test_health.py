"""A breaker opens on outages, lets one request probe, and waits longer after each probe that fails."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.routing.health import FIRST_WAIT_S, LONGEST_WAIT_S, PROBE_WAIT_S, Breaker


def opened(at: float = 0.0, draw: float = 1.0) -> Breaker:
    breaker = Breaker()
    for _ in range(5):
        breaker.note(True, at, draw)
    return breaker


def test_five_failures_in_a_row_open_it() -> None:
    breaker = Breaker()
    for _ in range(20):
        breaker.note(False, 0.0, 0.0)
    assert [breaker.note(True, 1.0, 0.0) for _ in range(5)] == [None, None, None, None, "opened"]
    assert not breaker.allows(1.1)


def test_more_than_a_fifth_of_failures_in_half_a_minute_opens_it() -> None:
    breaker = Breaker()
    ends = [breaker.note(number % 4 == 0, float(number), 0.0) for number in range(8)]
    assert ends[:4] == [None] * 4
    assert "opened" in ends[4:]


def test_a_fifth_of_failures_or_less_does_not_open_it() -> None:
    breaker = Breaker()
    assert all(breaker.note(number % 5 == 4, number / 10, 0.0) is None for number in range(1000))


def test_failures_of_more_than_half_a_minute_ago_do_not_count() -> None:
    breaker = Breaker()
    for at, failed in (
        (0.0, True),
        (0.0, True),
        (0.0, False),
        (40.0, True),
        (40.0, False),
        (40.0, False),
        (40.0, False),
        (40.0, False),
    ):
        changed = breaker.note(failed, at, 0.0)
        assert changed is None


@pytest.mark.parametrize(("draw", "wait_s"), [(0.0, FIRST_WAIT_S / 2), (1.0, FIRST_WAIT_S)])
def test_half_of_the_wait_is_drawn(draw: float, wait_s: float) -> None:
    breaker = opened(draw=draw)
    assert breaker.wait_s(0.0) == wait_s
    assert not breaker.would_allow(wait_s - 0.01)
    assert breaker.would_allow(wait_s)


def test_one_request_probes_and_its_success_closes_it() -> None:
    breaker = opened()
    assert breaker.allows(5.0)
    assert not breaker.allows(5.1)
    assert breaker.note(False, 5.2, 0.0) == "closed"
    assert breaker.allows(5.3)
    assert breaker.note(True, 5.4, 0.0) is None


def test_each_failed_probe_doubles_the_wait_up_to_five_minutes() -> None:
    breaker, at, waits = opened(), 0.0, []
    for _ in range(9):
        wait_s = breaker.wait_s(at)
        waits.append(wait_s)
        at += wait_s
        assert breaker.allows(at)
        assert breaker.note(True, at, 1.0) == "reopened"
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert max(waits) == LONGEST_WAIT_S


def test_a_probe_that_never_ends_is_followed_by_another() -> None:
    breaker = opened()
    assert breaker.allows(5.0)
    assert not breaker.allows(5.0 + PROBE_WAIT_S - 1)
    assert breaker.allows(5.0 + PROBE_WAIT_S)


def test_what_ends_while_it_is_open_says_nothing() -> None:
    breaker = opened()
    assert breaker.note(False, 1.0, 0.0) is None
    assert breaker.state == "open"


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3), st.floats(0, 1)), max_size=200))
def test_it_never_stays_open_longer_than_five_minutes_and_a_success_of_a_probe_always_closes_it(
    ends: list[tuple[bool, float, float]],
) -> None:
    breaker, at = Breaker(), 0.0
    for failed, later, draw in ends:
        at += later
        breaker.note(failed, at, draw)
        assert breaker.wait_s(at) <= max(LONGEST_WAIT_S, PROBE_WAIT_S)
    at += max(LONGEST_WAIT_S, PROBE_WAIT_S)
    assert breaker.allows(at)
    breaker.note(False, at, 0.0)
    assert breaker.state == "closed"
