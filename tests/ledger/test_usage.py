from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.made import NOON, ended, settled, started, told_at_once
from podium.errors import RequestError
from podium.ledger import Batch, Ended, Settled, UsageRow, total, usd
from podium.ledger.sqlite import SqliteStore
from podium.ledger.usage import usage
from podium.types import Usage

DAY_S = 86400.0


def batch_of(attempts: Iterable[Settled], entries: Iterable[Ended], *, at_once: Iterable[int] = ()) -> Batch:
    """A batch of both; the attempts at these places end with their entry, told in one record."""
    told, apart = list(attempts), {(each.request_id, each.winner): each for each in entries}
    for place in at_once:
        entry = apart.pop((told[place].request_id, told[place].attempt), None) if place < len(told) else None
        if entry is not None:
            told[place] = told_at_once(told[place], entry)
    batch = Batch()
    batch.add_all((*told, *apart.values()))
    return batch


def store_of(attempts: Iterable[Settled], entries: Iterable[Ended], *, at_once: Iterable[int] = ()) -> SqliteStore:
    store = SqliteStore(None)
    store.apply(batch_of(attempts, entries, at_once=at_once))
    return store


def figures(rows: list[UsageRow], *names: str) -> dict[tuple[str | None, ...], tuple[Any, ...]]:
    return {tuple(row.group.values()): tuple(getattr(row, name) for name in names) for row in rows}


@pytest.fixture(params=[(), (1, 2, 3), (2,)], ids=["apart", "at once", "mixed"])
def small(request: pytest.FixtureRequest) -> Iterator[SqliteStore]:
    """Two days, two users, a retry on another model, a failure, an unknown and an unpriced attempt, tags."""
    first = started(0, at=NOON, tags=("a", "b"))
    second = started(0, at=NOON, attempt=2, model="gpt-4o-mini", tags=("a", "b"))
    third = started(1, at=NOON + DAY_S, user_id="john", team=None, provider="anthropic", model="claude", tags=("b",))
    fourth = started(2, at=NOON + DAY_S, rollout="move", arm="candidate", experiment="mine", tier=None)
    store = store_of(
        [
            settled(first, outcome="failed", usage=None, cost_pico=0, error_code="overloaded"),
            settled(second, cost_pico=2_000_000_000_000),
            settled(third, outcome="unknown", usage=None, cost_pico=3_000_000_000_000),
            settled(fourth, cost_pico=None),
        ],
        [ended(second), ended(third, outcome="unknown"), ended(fourth, outcome="throttled")],
        at_once=request.param,
    )
    yield store
    store.close()


def test_a_request_is_counted_where_it_was_answered_and_an_attempt_where_it_was_sent(small: SqliteStore) -> None:
    rows = usage(small, "model")
    assert figures(rows, "requests", "errors", "attempts", "failed", "unknown", "unpriced") == {
        ("gpt-4o",): (1, 1, 2, 1, 0, 1),
        ("gpt-4o-mini",): (1, 0, 1, 0, 0, 0),
        ("claude",): (1, 0, 1, 0, 1, 0),
    }
    assert figures(rows, "cost_usd", "unknown_usd") == {
        ("gpt-4o",): (Decimal(0), Decimal(0)),
        ("gpt-4o-mini",): (Decimal(2), Decimal(0)),
        ("claude",): (Decimal(3), Decimal(3)),
    }
    assert {row.group["model"]: row.tokens.total for row in rows} == {"gpt-4o": 130, "gpt-4o-mini": 130, "claude": 0}


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("day", {("2026-03-01",): 1, ("2026-03-02",): 2}),
        ("month", {("2026-03",): 3}),
        ("user", {("jane",): 2, ("john",): 1}),
        ("team", {("blue",): 2, (None,): 1}),
        ("provider", {("openai",): 2, ("anthropic",): 1}),
        ("target", {("openai/gpt-4o",): 1, ("openai/gpt-4o-mini",): 1, ("anthropic/claude",): 1}),
        ("tier", {("fast",): 2, (None,): 1}),
        ("experiment", {(None,): 2, ("mine",): 1}),
        ("rollout", {(None,): 2, ("move",): 1}),
        ("arm", {(None,): 2, ("candidate",): 1}),
        ("tag", {("a",): 1, ("b",): 2, (None,): 1}),
        ("user, tag", {("jane", "a"): 1, ("jane", "b"): 1, ("john", "b"): 1, ("jane", None): 1}),
        ("", {(): 3}),
    ],
)
def test_usage_is_kept_by_each_grouping(small: SqliteStore, by: str, groups: dict[tuple[str | None, ...], int]) -> None:
    assert {key: found[0] for key, found in figures(usage(small, by), "requests").items()} == groups


@pytest.mark.parametrize(
    ("where", "requests"),
    [
        ({"user": "jane"}, 2),
        ({"user": ["jane", "john"]}, 3),
        ({"team": None}, 1),
        ({"model": "gpt-4o-mini"}, 1),
        ({"target": "anthropic/claude"}, 1),
        ({"tag": "b"}, 2),
        ({"tag": ["a", "b"]}, 2),
        ({"tag": None}, 1),
        ({"tag": ["a", None]}, 2),
        ({"user": "jane", "tag": "b"}, 1),
        ({"user": "nobody"}, 0),
    ],
)
def test_where_keeps_what_has_one_of_the_values_once(small: SqliteStore, where: dict[str, Any], requests: int) -> None:
    assert sum(row.requests for row in usage(small, (), where=where)) == requests


def test_an_empty_store_has_no_usage() -> None:
    assert usage(SqliteStore(None)) == []


def test_rows_are_in_the_order_of_time_then_of_cost(small: SqliteStore) -> None:
    assert [tuple(row.group.values()) for row in usage(small, ("day", "model"))] == [
        ("2026-03-01", "gpt-4o-mini"),
        ("2026-03-01", "gpt-4o"),
        ("2026-03-02", "claude"),
        ("2026-03-02", "gpt-4o"),
    ]


def test_days_are_those_of_the_time_zone(small: SqliteStore) -> None:
    # NOON is 12:00 in UTC: the next day already on Kiritimati (UTC+14).
    assert list(figures(usage(small, "day", tz="Pacific/Kiritimati"))) == [("2026-03-02",), ("2026-03-03",)]
    assert list(figures(usage(small, "day", tz="Asia/Kathmandu"))) == [("2026-03-01",), ("2026-03-02",)]


def test_a_date_is_its_whole_day_in_the_time_zone(small: SqliteStore) -> None:
    assert total(usage(small, "day", since="2026-03-01", until="2026-03-01")).requests == 1
    assert total(usage(small, "day", since=date(2026, 3, 2))).requests == 2
    assert total(usage(small, "day", since="2026-03-02", until="2026-03-02", tz="Pacific/Kiritimati")).requests == 1
    assert total(usage(small, "user", until=datetime(2026, 3, 1, 12, tzinfo=UTC))).requests == 0
    assert total(usage(small, "user", until="2026-03-01T12:00:00.000001+00:00")).requests == 1
    assert total(usage(small, "user", since=NOON + 1)).requests == 2


def test_a_summer_times_change_does_not_shift_a_day() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    moments = [
        datetime(2026, 3, 28, 0, 30),
        datetime(2026, 3, 29, 0, 30),
        datetime(2026, 3, 29, 23, 30),
        datetime(2026, 3, 30, 0, 30),
    ]
    starts = [started(number, at=moment.replace(tzinfo=berlin).timestamp()) for number, moment in enumerate(moments)]
    store = store_of([], [ended(each) for each in starts])
    assert figures(usage(store, "day", tz="Europe/Berlin"), "requests") == {
        ("2026-03-28",): (1,),
        ("2026-03-29",): (2,),
        ("2026-03-30",): (1,),
    }


def test_a_tag_with_a_nul_is_its_own_in_every_time_zone() -> None:
    """In whole days of UTC the sums answer, in others the rows, whose tags SQLite would read to the NUL alone."""
    starts = [started(0, tags=("a",)), started(1, tags=("a\x00b",)), started(2, tags=("a\x00c",))]
    store = store_of(map(settled, starts), map(ended, starts), at_once=[0, 1])
    for zone in ZONES:
        rows = usage(store, ("day", "tag"), tz=zone)
        assert {row.group["tag"]: row.requests for row in rows} == {"a": 1, "a\ufffdb": 1, "a\ufffdc": 1}
    for where in ({"tag": "a\x00b"}, {"tag": "a\x00b", "user": "jane"}, {"tag": ["a\ufffdb", "nobody's"]}):
        assert total(usage(store, (), where=where)).requests == 1


def test_half_a_character_can_be_asked_for() -> None:
    first = started(0, user_id="\ud800", tags=("\ud800",))
    store = store_of([settled(first)], [ended(first)])
    for where in ({"user": "\ud800"}, {"tag": "\ud800"}, {"tag": ["\ud800", "x"]}):
        assert total(usage(store, (), where=where)).requests == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "modle"}, "Did you mean 'model'"),
        ({"where": {"day": "2026-03-01"}}, "Use `since` and `until`"),
        ({"where": {"colour": "red"}}, "There are: day, month"),
        ({"tz": "Mars/Olympus"}, "no time zone"),
        ({"tz": "../etc/passwd"}, "no time zone"),
        ({"since": "yesterday"}, "which is no time"),
        ({"until": "9999-12-31"}, "`until` is 9999-12-31, which is beyond all that is counted"),
        ({"since": 1e300}, "beyond all"),
        ({"since": float("nan")}, "beyond all"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        usage(SqliteStore(None), **arguments)


def test_sums_beyond_int64_are_exact() -> None:
    most = 2**63 - 1
    amounts = [most] * 5 + [most - 7, 1]
    attempts = [settled(started(number), cost_pico=amount) for number, amount in enumerate(amounts)]
    store = store_of(attempts[:3], [])
    batch = Batch()
    batch.attempts = attempts[3:]
    store.apply(batch)
    expected = usd(sum(amounts))
    assert sum(amounts) > 2**65
    for by in ("day", "user", "tag", ("user", "model"), ()):
        assert [row.cost_usd for row in usage(store, by)] == [expected], by
    assert total(usage(store, "model")).cost_usd == expected


# --- sums against rows ------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["", "x", "y"]).map(lambda name: name or None)
BEGIN = datetime(2026, 3, 27, tzinfo=UTC).timestamp()
MOMENTS = st.floats(BEGIN, BEGIN + 5 * DAY_S, allow_nan=False).map(lambda moment: round(moment, 3))
GROUPINGS = ["day", "month", "user", "team", "provider", "model", "target", "tier", "experiment", "rollout", "arm", "tag"]
ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati"]


@st.composite
def facts(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "at": draw(MOMENTS),
        "provider": draw(st.sampled_from(["p", "q"])),
        "model": draw(st.sampled_from(["m", "n"])),
        "tags": tuple(draw(st.lists(st.sampled_from(["s", "t"]), max_size=2))),
        **{name: draw(NAMES) for name in ("user_id", "team", "tier", "experiment", "rollout", "arm")},
    }


AMOUNTS = st.one_of(st.none(), st.integers(0, 10**9), st.just(2**63 - 1))
OUTCOMES = st.sampled_from(["won", "failed", "unknown"])


def group_of(each: dict[str, Any], by: list[str], at: float, zone: str) -> list[tuple[str | None, ...]]:
    """The groups that something counts in, worked out the slow way."""
    day = datetime.fromtimestamp(at, ZoneInfo(zone)).date()
    known = {
        **each, "user": each["user_id"], "day": day.isoformat(), "month": f"{day:%Y-%m}",
        "target": f"{each['provider']}/{each['model']}",
    }  # fmt: skip
    tags = list(dict.fromkeys(each["tags"])) or [None]
    return list(dict.fromkeys(tuple(tag if name == "tag" else known[name] for name in by) for tag in tags))


@settings(max_examples=150)
@given(
    st.lists(st.tuples(facts(), AMOUNTS, OUTCOMES, st.sampled_from(["ok", "throttled", "cancelled"])), max_size=12),
    st.lists(st.sampled_from(GROUPINGS), max_size=3, unique=True),
    st.tuples(st.none() | MOMENTS, st.none() | MOMENTS),
    st.sampled_from(ZONES),
    st.integers(0, 12),
    st.sets(st.integers(0, 11)),
    st.sampled_from([0.001, 30.0, 59.9995, 61.0]),
)
def test_any_usage_is_that_of_its_rows(
    made: list[tuple[dict[str, Any], int | None, str, str]],
    by: list[str],
    span: tuple[float | None, float | None],
    zone: str,
    cut: int,
    at_once: set[int],
    late_s: float,
) -> None:
    """However it was told, and however late attempts began."""
    expected: dict[tuple[str | None, ...], list[int]] = {}
    attempts, entries, numbers = [], [], count()
    for each, amount, outcome, end in made:
        first = started(next(numbers), started_at=each["at"] + late_s, **each)
        attempts.append(settled(first, cost_pico=amount, outcome=outcome, usage=Usage(input=5, output=2)))
        entries.append(ended(first, outcome=end))
        for at, kind in ((first.started_at, "attempt"), (first.requested_at, "entry")):
            if (span[0] is not None and round(at * 1e6) < round(span[0] * 1e6)) or (
                span[1] is not None and round(at * 1e6) >= round(span[1] * 1e6)
            ):
                continue
            for group in group_of(each, by, at, zone):
                sums = expected.setdefault(group, [0] * 8)
                if kind == "entry":
                    sums[0] += 1
                    sums[1] += end == "throttled"
                else:
                    sums[2] += 1
                    sums[3] += outcome == "failed"
                    sums[4] += amount is None
                    sums[5] += 5
                    sums[6] += amount or 0
                    sums[7] += (amount or 0) * (outcome == "unknown")
    store = store_of(attempts[:cut], entries[:cut], at_once=at_once)
    store.apply(batch_of(attempts, entries, at_once=at_once))  # the first ones a second time
    found = {
        tuple(row.group.values()): [
            row.requests, row.errors, row.attempts, row.failed, row.unpriced, row.tokens.input,
            int(row.cost_usd.scaleb(12)), int(row.unknown_usd.scaleb(12)),
        ]
        for row in usage(store, by, since=span[0], until=span[1], tz=zone)
    }  # fmt: skip
    store.close()
    assert found == expected


def test_a_wide_span_of_days_is_cut_at_its_ends_exactly(tmp_path: Path) -> None:
    starts = [started(number, at=NOON + number * 3600.5) for number in range(400)]
    store = SqliteStore(tmp_path, fsync="never")
    store.apply(batch_of(map(settled, starts), map(ended, starts), at_once=range(0, 400, 3)))
    for first in range(0, 300, 37):
        since = NOON + first * 3600.5 - 1
        until = since + 100 * 3600.5
        for by in ("user", "model", "tag", ("user", "model"), "day"):
            rows = usage(store, by, since=since, until=until)
            assert (total(rows).requests, total(rows).attempts) == (100, 100), (first, by)
    days = {(datetime.fromtimestamp(NOON, UTC).date() + timedelta(days=number)).isoformat() for number in range(18)}
    assert {row.group["day"] for row in usage(store, "day")} == days
    store.close()
