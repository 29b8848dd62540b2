"""Requests out of the ledger with their bodies: which are found, and what is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ledger.made import NOON, ended, settled, started, told_at_once
from podium.errors import RequestError
from podium.ledger import REPLAY_TAG, Ledger, Recording
from podium.ledger.facts import load_route
from podium.ledger.ledger import PAYLOAD_LIMIT


def take(ledger: Ledger, number: int, *, bodies: bool = True, end: dict[str, Any] | None = None, **facts: Any) -> None:
    """Record a request with one attempt, its question and its answer."""
    first = started(number, **{"spec": "gpt-4", "rollout": "chat", "arm": "legacy", **facts})
    ledger.started(first)
    if bodies:
        ledger.payload(first, "request", f"question {number}".encode())
        ledger.payload(first, "response", f"answer {number}".encode())
    attempt, entry = settled(first), ended(first, spec=load_route(first.route).spec, **(end or {}))
    if number % 2:
        ledger.settled(told_at_once(attempt, entry))
    else:
        ledger.close_request([attempt], entry)


def found(ledger: Ledger, **sought: Any) -> list[str]:
    assert ledger.flush()
    return [each.request_id for each in ledger.recordings(**sought)[1]]


def names(*numbers: int) -> list[str]:
    return [f"request-{number}" for number in numbers]


def test_a_request_is_found_with_its_bodies_its_time_its_tokens_and_its_cost(tmp_path: Path) -> None:
    with Ledger.open(tmp_path, payloads="full") as ledger:
        take(ledger, 1)
        assert ledger.flush()
        total, [only] = ledger.recordings(rollout="chat")
    assert total == 1
    assert only == Recording(
        request_id="request-1", requested_at=NOON + 1, spec="gpt-4", user_id="jane", team="blue", rollout="chat", arm="legacy",
        outcome="ok", duration_s=0.6, target="openai/gpt-4o", cost_pico=5_000_000, input_tokens=107, output_tokens=23,
        hashed=False, request=b"question 1", response=b"answer 1", is_cut=False,
    )  # fmt: skip


def test_the_newest_come_and_in_the_order_of_time(tmp_path: Path) -> None:
    with Ledger.open(tmp_path, payloads="full") as ledger:
        for number in (3, 1, 4, 2):
            take(ledger, number)
        assert found(ledger, rollout="chat", most=2) == names(3, 4)
        assert ledger.recordings(rollout="chat", most=2)[0] == 4
        assert found(ledger, since=NOON + 2, until=NOON + 4) == names(2, 3)
        assert found(ledger, until="2026-03-01") == names(1, 2, 3, 4)
        assert found(ledger, since="2026-03-02") == []


def test_only_what_was_answered_in_the_old_way_is_found(tmp_path: Path) -> None:
    with Ledger.open(tmp_path, payloads="full") as ledger:
        take(ledger, 1)
        take(ledger, 2, arm="candidate")
        take(ledger, 3, arm="legacy_shadow", rollout="chat")
        take(ledger, 4, rollout=None, arm=None)
        take(ledger, 5, rollout="search")
        take(ledger, 6, tags=(REPLAY_TAG, "nightly"))
        take(ledger, 7, end={"outcome": "cancelled", "winner": None})
        take(ledger, 8, end={"outcome": "rate_limited", "winner": None, "attempts": 0})
        take(ledger, 9, end={"outcome": "overloaded", "winner": None})
        take(ledger, 10, spec="gpt-5")
        assert found(ledger, rollout="chat") == names(1, 9, 10)
        assert found(ledger, spec="gpt-4") == names(1, 4, 5, 9)
        assert found(ledger, rollout="chat", spec="gpt-5") == names(10)
        failed = ledger.recordings(rollout="chat", most=10)[1][1]
        assert (failed.outcome, failed.request, failed.response) == ("overloaded", b"question 9", None)


def test_the_costs_of_all_attempts_are_summed_and_one_that_is_not_known_makes_the_sum_unknown(tmp_path: Path) -> None:
    with Ledger.open(tmp_path, payloads="full") as ledger:
        for number, second in ((1, 7_000_000), (2, None)):
            tries = [started(number, attempt=attempt, rollout="chat", arm="legacy") for attempt in (1, 2)]
            for each, cost in zip(tries, (5_000_000, second), strict=True):
                ledger.started(each)
                ledger.payload(each, "request", b"question")
                ledger.payload(each, "response", b"answer of attempt %d" % each.attempt)
                ledger.settled(settled(each, cost_pico=cost))
            ledger.ended(ended(tries[1]))
        assert ledger.flush()
        one, two = ledger.recordings(rollout="chat")[1]
    assert (one.cost_pico, two.cost_pico) == (12_000_000, None)
    assert (one.input_tokens, one.output_tokens) == (214, 46)
    assert one.response == b"answer of attempt 2"  # the winner's


def test_an_id_that_was_used_twice_names_two_requests(tmp_path: Path) -> None:
    with Ledger.open(tmp_path, payloads="full") as ledger:
        for number in (1, 2):
            take(ledger, number, request_id="same")
        assert ledger.flush()
        both = ledger.recordings(rollout="chat")[1]
    assert [(each.request, each.response) for each in both] == [(b"question 1", b"answer 1"), (b"question 2", b"answer 2")]


@pytest.mark.parametrize("payloads", ["none", "hashed"])
def test_a_body_that_was_not_kept_is_missing_and_said_to_be_hashed_where_it_was(tmp_path: Path, payloads: Any) -> None:
    with Ledger.open(tmp_path, payloads=payloads) as ledger:
        take(ledger, 1)
        assert ledger.flush()
        [only] = ledger.recordings(rollout="chat")[1]
    assert (only.request, only.response, only.hashed) == (None, None, payloads == "hashed")


def test_a_body_that_was_cut_is_not_given_out_as_if_it_were_whole(tmp_path: Path) -> None:
    with Ledger.open(tmp_path, payloads="full") as ledger:
        first = started(1, rollout="chat", arm="legacy")
        ledger.started(first)
        ledger.payload(first, "request", b"x" * (PAYLOAD_LIMIT + 1))
        ledger.payload(first, "response", b"answer")
        ledger.settled(settled(first))
        ledger.ended(ended(first))
        assert ledger.flush()
        [only] = ledger.recordings(rollout="chat")[1]
    assert (only.is_cut, only.request, only.response) == (True, None, b"answer")


def test_a_ledger_in_memory_has_no_requests_and_says_what_keeps_them() -> None:
    with Ledger.open(None, store="memory:") as ledger, pytest.raises(RequestError, match="keeps sums alone") as caught:
        ledger.recordings(rollout="chat")
    assert "payloads: full" in str(caught.value.hint)


def test_a_folder_without_a_ledger_yet_has_none(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        assert ledger.recordings(rollout="chat", wait_s=0) == (0, [])
