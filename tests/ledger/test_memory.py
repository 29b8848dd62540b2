"""The ledger in memory: exact sums of everything, in bounded room."""

import os
import sys
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.made import NOON, closed, ended, record, request, settled, started, told_at_once
from podium.errors import RequestError
from podium.ledger import Batch, Ended, Ledger, Price, Settled, UsageRow, total, usd
from podium.ledger.cells import add_attempt
from podium.ledger.memory import MemoryStore
from podium.ledger.recent import FINE_DAYS, OTHER, RecentSums
from podium.ledger.sqlite import SqliteStore
from podium.ledger.usage import usage
from podium.types import Usage

DAY_S = 86400.0
QUARTER_S = 900.0
BEGIN = datetime(2026, 3, 27, tzinfo=UTC).timestamp()
NAMES = st.sampled_from(["", "x", "y"]).map(lambda name: name or None)
MOMENTS = st.floats(BEGIN, BEGIN + 5 * DAY_S, allow_nan=False).map(lambda moment: round(moment, 3))
QUARTERS = st.integers(0, 5 * 96).map(lambda number: BEGIN + number * QUARTER_S)
NAMED = ["user", "team", "provider", "model", "target", "tier", "experiment", "rollout", "arm"]
ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati", "Australia/Eucla"]
COUNTS = st.integers(0, 50) | st.just(2**41) | st.just(-3)


@st.composite
def facts(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "at": draw(MOMENTS),
        "provider": draw(st.sampled_from(["p", "q"])),
        "model": draw(st.sampled_from(["m", "n"])),
        "tags": tuple(draw(st.lists(st.sampled_from(["s", "t", "", "s\x00t", "\ud800"]), max_size=3))),
        **{name: draw(NAMES) for name in ("user_id", "team", "tier", "experiment", "rollout", "arm")},
    }


@st.composite
def endings(draw: st.DrawFn) -> dict[str, Any]:
    counts = {name: draw(COUNTS) for name in ("input", "output", "cache_read", "cache_write", "reasoning", "input_audio")}
    return {
        "outcome": draw(st.sampled_from(["won", "failed", "unknown", "lost"])),
        "cost_pico": draw(st.none() | st.integers(0, 10**9) | st.just(2**63 - 1) | st.just(2**63)),
        "usage": draw(st.none() | st.just(msgspec.convert(counts, Usage))),
    }


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    timed = draw(st.lists(st.sampled_from(["day", "month"]), max_size=2, unique=True))
    values = st.lists(st.sampled_from(["p", "m", "x", "y", "q/n", None]), max_size=3)
    if draw(st.booleans()):
        tagged = draw(st.booleans())
        by = [*timed, *(["tag"] if tagged else [])]
        tags = st.lists(st.sampled_from(["s", "t", None, "s\x00t", "\ud800"]), min_size=1, max_size=3 if tagged else 1)
        where = draw(st.fixed_dictionaries({"tag": tags}) | st.just({}))
    else:
        by = [*timed, *draw(st.lists(st.sampled_from(NAMED), max_size=4, unique=True))]
        where = draw(st.dictionaries(st.sampled_from(NAMED), values, max_size=2))
    return {
        "by": draw(st.permutations(by)),
        "where": where,
        "since": draw(st.none() | QUARTERS),
        "until": draw(st.none() | QUARTERS),
        "tz": draw(st.sampled_from(ZONES)),
    }


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(facts(), endings(), st.sampled_from(["ok", "throttled", "cancelled"]), st.booleans()), max_size=12),
    st.lists(questions(), min_size=1, max_size=4),
)
def test_it_answers_every_question_that_it_takes_as_sqlite_does(
    made: list[tuple[dict[str, Any], dict[str, Any], str, bool]], asked: list[dict[str, Any]]
) -> None:
    batch = Batch()
    for number, (fact, ending, outcome, at_once) in enumerate(made):
        first = started(number, **fact)
        attempt, entry = settled(first, **ending), ended(first, outcome=outcome)
        batch.add_all((told_at_once(attempt, entry),) if at_once else (attempt, entry))
    on_disk, in_memory = SqliteStore(None), MemoryStore()
    on_disk.apply(batch)
    in_memory.apply(batch)
    for each in asked:
        assert usage(in_memory, **each) == usage(on_disk, **each)
    on_disk.close()


def test_half_a_character_is_one_name_however_its_requests_were_told() -> None:
    facts: dict[str, Any] = {"tags": ("half \ud800",), "user_id": "\ud800", "team": "\udfff"}
    store = made_of(closed(started(0, **facts)), settled(started(1, **facts)), ended(started(1, **facts)))
    for by, name in (("tag", "half \ud800"), ("user", "\ud800"), ("team", "\udfff")):
        (row,) = usage(store, by)
        assert (row.requests, row.attempts, row.group[by]) == (2, 2, name.encode("utf-8", "replace").decode())
        assert usage(store, by, where={by: name}) == [row]


def made_of(*records: Settled | Ended, most: int = 20_000) -> MemoryStore:
    store = MemoryStore(most)
    for each in records:
        store.take(each)
    return store


def requests_of(rows: Iterable[UsageRow], name: str) -> dict[str | None, int]:
    return {row.group[name]: row.requests for row in rows}


@pytest.mark.parametrize(
    ("by", "where"),
    [(("tag", "user"), {}), ("user", {"tag": "a"}), ("tag", {"model": "gpt-4o"}), ("day", {"tag": ["a", "b"]})],
)
def test_tags_together_with_other_names_are_refused_with_what_to_do(by: Any, where: dict[str, Any]) -> None:
    store = made_of(ended(started(tags=("a", "b"))))
    with pytest.raises(RequestError, match=r"in memory.*Keep the ledger on disk"):
        usage(store, by, where=where)


def test_what_is_in_memory_cannot_be_priced_again() -> None:
    with Ledger.open(None, store="memory:") as ledger:
        record(ledger, 0)
        with pytest.raises(RequestError, match=r"keeps sums alone.*on disk"):
            ledger.reprice(lambda old: Price(cost_pico=1))


def test_payloads_are_not_kept_and_the_statistics_say_so() -> None:
    with Ledger.open(None, store="memory:", payloads="full") as ledger:
        assert not ledger.keeps_payloads
        ledger.payload(started(), "request", b"secret")
        facts = ledger.statistics()
        assert (facts.appended, facts.journal_problem) == (0, "payloads are not kept in memory")


def test_a_record_is_counted_when_the_call_returns_and_no_thread_is_started() -> None:
    before = threading.active_count()
    with Ledger.open(None, store="memory:") as ledger:
        first, settlement, end = request(tags=("a",))
        ledger.started(first)
        assert usage(ledger.store, ()) == []
        ledger.close_request([settlement], end)
        (row,) = usage(ledger.store, "tag")
        assert (row.group["tag"], row.requests, row.attempts, row.cost_usd) == ("a", 1, 1, usd(5_000_000))
        assert threading.active_count() == before


def test_records_of_many_threads_all_count() -> None:
    with Ledger.open(None, store="memory:") as ledger:

        def work() -> None:
            for each in range(500):
                record(ledger, each)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [(row.requests, row.attempts) for row in ledger.usage(())] == [(4000, 4000)]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_begins_with_an_empty_one() -> None:
    with Ledger.open(None, store="memory:") as ledger:
        record(ledger, 0)
        if not (child := os.fork()):
            status = 1
            try:
                record(ledger, 1)
                status = 0 if [row.requests for row in ledger.usage(())] == [1] else 2
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert [row.requests for row in ledger.usage(())] == [1]


# --- bounded ----------------------------------------------------------------------------------------------------------


def test_two_hundred_thousand_requests_over_fifty_keys_take_no_more_room_than_a_thousand() -> None:
    records = [request(number, user_id=f"user-{number % 50}", tags=(f"tag-{number % 7}",)) for number in range(1000)]
    with Ledger.open(None, store="memory:") as ledger:

        def ask(times: int) -> None:
            for _ in range(times):
                for first, settlement, end in records:
                    ledger.started(first)
                    ledger.close_request([settlement], end)

        ask(1)
        cells = len(ledger.store)  # type: ignore[arg-type]
        before = sys.getallocatedblocks()
        ask(200)
        grown = sys.getallocatedblocks() - before
        assert [row.requests for row in ledger.usage(())] == [201_000]
        assert len(ledger.store) == cells  # type: ignore[arg-type]
    assert grown < 2000, "blocks of memory: a sum that no longer is a small int has one of its own, a request would have many"


def test_quarters_of_long_ago_become_days_of_utc_and_keep_their_names() -> None:
    days = 3 * FINE_DAYS
    records = [ended(started(number, at=NOON + number * DAY_S / 4, user_id=f"user-{number % 2}")) for number in range(4 * days)]
    store = made_of(*records)
    assert len(store) < 2 * (4 * FINE_DAYS + 2 * 2 * FINE_DAYS) + 20
    assert requests_of(usage(store, "user"), "user") == {"user-0": 2 * days, "user-1": 2 * days}
    by_day = list(requests_of(usage(store, "day"), "day").values())
    assert by_day == [2, *[4] * (days - 1), 2]
    # In another time zone the merged days have the same requests, the recent ones their own.
    abroad = usage(store, "day", tz="Pacific/Kiritimati")
    assert total(abroad).requests == 4 * days
    assert [row.requests for row in abroad][5:20] == [4] * 15


def test_a_record_that_comes_late_is_counted_in_its_merged_day() -> None:
    store = made_of(ended(started(0)), ended(started(1, at=NOON + 100 * DAY_S)), ended(started(2)))
    assert list(requests_of(usage(store, "day"), "day").values()) == [2, 1]


def test_where_there_is_no_room_the_oldest_lose_their_quarters_then_their_names() -> None:
    store = MemoryStore(150)
    for number in range(400):
        store.take(ended(started(number, at=NOON + number * QUARTER_S, user_id=f"user-{number}")))
    assert len(store) <= 2 * 165
    found = requests_of(usage(store, "user"), "user")
    assert sum(found.values()) == 400
    assert found["user-399"] == 1, "the newest has its name"
    assert "user-0" not in found
    assert found[OTHER] > 200
    assert total(usage(store, "day")).requests == 400
    assert len(usage(store, "day")) == 5, "and each its day"


def test_what_has_no_room_of_its_own_keeps_its_model_and_counts_under_another_user() -> None:
    records = [ended(started(0, user_id=f"user-{number}", model=f"model-{number % 3}")) for number in range(500)]
    store = made_of(*records, most=100)
    users = requests_of(usage(store, "user"), "user")
    assert len(users) == 101
    assert users[OTHER] == 400
    models = requests_of(usage(store, "model"), "model")
    assert sorted(models.values()) == [166, 167, 167]


def test_names_without_end_are_counted_in_bounded_room_and_exactly_in_total() -> None:
    attempts = [
        settled(started(number, model=f"model-{number}", tags=(f"tag-{number}",)), cost_pico=2**62 + number)
        for number in range(3000)
    ]
    store = made_of(*attempts, most=200)
    assert len(store) <= 2 * 220 + 10
    (row,) = usage(store, ())
    assert row.cost_usd == usd(sum(2**62 + number for number in range(3000)))
    assert {each.group["model"] for each in usage(store, "model")} > {OTHER, "model-0"}
    assert total(usage(store, "tag")).attempts == 3000


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 90 * 96), st.integers(0, 30), st.integers(0, 2**64)), max_size=150), st.integers(2, 30)
)
def test_whatever_comes_no_sum_is_lost_and_no_more_cells_are_made_than_there_is_room_for(
    made: list[tuple[int, int, int]], most: int
) -> None:
    sums = RecentSums((), most)
    for quarter, name, amount in made:
        add_attempt([sums.cell(quarter * 900_000_000 + 5, (str(name),))], "won", (1, 0, 0), amount)
    cells = [cell for _, _, cell in sums.cells(None, None)]
    assert len(cells) == len(sums)
    assert sum(map(sum, cells)) == 2 * len(made) + sum(amount for _, _, amount in made)
    slots = len({quarter for quarter, _, _ in made}) + 90
    assert len(sums) <= most + most // 10 + slots
