"""When a target may be asked again."""

from __future__ import annotations

from podium.errors import Overloaded, Throttled
from podium.routing.strategies.machine import View
from podium.routing.strategies.waits import delay_s, retry_at, timed_out, too_late
from podium.types import Target

A, B = (Target(provider=name, model="m") for name in ("a", "b"))


def test_delays_double_from_half_a_second_to_eight_and_half_of_each_is_drawn() -> None:
    assert [delay_s(retry, 1.0) for retry in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert [delay_s(retry, 0.0) for retry in range(7)] == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert delay_s(10_000, 1.0) == 8.0


def test_a_retry_is_as_late_as_its_delay_the_error_and_the_target_want_it() -> None:
    view = View(now=100.0, deadline=200.0, draw=0.0)
    assert retry_at(A, Overloaded("busy"), 0, view) == 100.25
    assert retry_at(A, Overloaded("busy", retry_after_s=3.0), 0, view) == 103.0
    assert retry_at(A, Overloaded("busy", retry_after_s=0.1), 0, view) == 100.25
    assert retry_at(A, Overloaded("busy", retry_after_s=3.0), 0, view.replace(not_before={A: 150.0, B: 160.0})) == 150.0
    assert retry_at(A, Overloaded("busy"), 0, view.replace(not_before={A: 50.0})) == 100.25


def test_the_error_for_targets_that_are_free_too_late_names_the_first_of_them() -> None:
    error = too_late((A, B), View(now=100.0, deadline=110.0, not_before={A: 190.0, B: 130.0}))
    assert isinstance(error, Throttled)
    assert error.message == ("a/m and b/m asked to be left alone, b/m for another 30.0 s, and the request has 10.0 s left.")
    assert (error.target, error.retry_after_s, error.status, error.retryable) == ("b/m", 30.0, 429, True)


def test_the_error_for_the_end_of_the_time_says_how_long_it_was() -> None:
    error = timed_out("no answer had begun", 90.0, View(now=100.0, deadline=100.0))
    assert str(error).startswith("The request was given 10.0 s; when they were over, no answer had begun.")
    assert error.code == "timed_out"
    assert error.hint is not None
