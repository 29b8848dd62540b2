import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.made import NOON, settled, started, told_at_once
from podium.catalog.pricing import PriceBook
from podium.engine.prices.book import load_prices
from podium.ledger import Batch, Ended, Price, Priced, Settled, pico_usd, usd
from podium.ledger.reprice import STEP, reprice
from podium.ledger.sqlite import FILE_NAME, SqliteStore
from podium.ledger.store import Sums
from podium.ledger.usage import usage
from podium.types import Usage

VIEWS = ("day", "model", "user", "tag", ("user", "model"), ())
"""Each from another table of sums, and two from rows."""


def batch_of(attempts: Iterable[Settled], *, at_once: bool) -> Batch:
    """Attempts; every other one, or none, with the end of its request."""
    batch = Batch()
    for number, each in enumerate(attempts):
        end = Ended(request_id=each.request_id, requested_at=each.requested_at, outcome="ok", winner=1, attempts=1)
        batch.add(told_at_once(each, end) if at_once and number % 2 else each)
    return batch


@pytest.fixture(params=[False, True], ids=["apart", "some at once"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path, fsync="never")
    attempts = [
        settled(started(0, tags=("a",))),
        settled(started(1, model="gpt-4o-mini", user_id="john", tags=("a", "b")), cost_pico=None, price_version=None),
        settled(started(2), outcome="unknown", usage=None, cost_pico=9_000_000),
        settled(started(3), outcome="failed", usage=None, cost_pico=0),
    ]
    store.apply(batch_of(attempts, at_once=request.param))
    yield store
    store.close()


def audit(folder: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        return connection.execute(
            "SELECT request_id, old_cost_pico, old_version, old_source, new_cost_pico, new_version, new_source "
            "FROM price_changes ORDER BY changed_us, request_id"
        ).fetchall()


def dear(_: Priced) -> Price:
    return Price(cost_pico=7_000_000, price_version="2026-03", price_source="file")


def test_without_apply_nothing_changes_and_the_answer_says_what_would(store: SqliteStore, tmp_path: Path) -> None:
    before = [usage(store, by) for by in VIEWS]
    found = reprice(store, dear)
    assert [(each.model, each.attempts, each.changed, each.old_usd, each.new_usd) for each in found] == [
        ("gpt-4o", 1, 1, usd(5_000_000), usd(7_000_000)),
        ("gpt-4o-mini", 1, 1, Decimal(0), usd(7_000_000)),
    ]
    assert [(each.old_unpriced, each.new_unpriced) for each in found] == [(0, 0), (1, 0)]
    assert [usage(store, by) for by in VIEWS] == before
    assert audit(tmp_path) == []


def test_what_was_metered_and_settled_gets_its_new_price_and_the_old_one_is_kept(store: SqliteStore, tmp_path: Path) -> None:
    reprice(store, dear, apply=True)
    assert audit(tmp_path) == [
        ("request-0", 5_000_000, "2026-02", "bundled", 7_000_000, "2026-03", "file"),
        ("request-1", None, "", "bundled", 7_000_000, "2026-03", "file"),
    ]
    for by in ("day", "model", "user", ("user", "model"), ()):
        assert sum(row.cost_usd for row in usage(store, by)) == usd(7_000_000 * 2 + 9_000_000), by
        assert sum(row.unpriced for row in usage(store, by)) == 0
    assert {row.group["tag"]: row.cost_usd for row in usage(store, "tag")} == {
        "a": usd(14_000_000),
        "b": usd(7_000_000),
        None: usd(9_000_000),
    }


def test_a_second_time_changes_nothing_and_a_third_with_no_price_makes_it_unknown(store: SqliteStore, tmp_path: Path) -> None:
    reprice(store, dear, apply=True)
    reprice(store, dear, apply=True)
    assert len(audit(tmp_path)) == 2
    reprice(store, lambda old: Price(cost_pico=None) if old.model == "gpt-4o" else None, apply=True)
    assert len(audit(tmp_path)) == 3
    assert {row.group["model"]: (row.unpriced, row.cost_usd) for row in usage(store, "model")} == {
        "gpt-4o": (1, usd(9_000_000)),
        "gpt-4o-mini": (0, usd(7_000_000)),
    }


def test_a_time_bounds_what_is_priced_again(store: SqliteStore, tmp_path: Path) -> None:
    reprice(store, dear, since_us=round((NOON + 1) * 1e6), until_us=round((NOON + 2) * 1e6), apply=True)
    assert [row[0] for row in audit(tmp_path)] == ["request-1"]


def test_a_price_is_told_all_that_pricing_needs() -> None:
    store = SqliteStore(None)
    metered = Usage(input=1, output=2, cache_write_1h=3, reported_cost_usd=Decimal("0.001"), extra={"openrouter": {"x": 1}})
    store.apply(
        batch_of([settled(started(number, upstream_model="gpt-4o-2024"), usage=metered) for number in (0, 1)], at_once=True)
    )
    seen: list[Priced] = []

    def look(old: Priced) -> None:
        seen.append(old)

    reprice(store, look)
    assert [(old.usage, old.upstream_model, old.provider, old.started_at) for old in seen] == [
        (metered, "gpt-4o-2024", "openai", NOON + 0.001),
        (metered, "gpt-4o-2024", "openai", NOON + 1.001),
    ]
    store.close()


def test_an_attempt_that_was_priced_meanwhile_is_left_alone(store: SqliteStore, tmp_path: Path) -> None:
    stale = store.priced(since_us=None, until_us=None, after=None, most=10)
    reprice(store, dear, apply=True)
    late = Price(cost_pico=1, price_version="late")
    assert store.reprice([(old, late) for old in stale], NOON) == 0
    assert len(audit(tmp_path)) == 2


@settings(max_examples=25)
@given(st.lists(st.tuples(*[st.none() | st.integers(0, 10**6) | st.just(2**63 - 1)] * 2), min_size=1, max_size=20))
def test_whatever_prices_were_and_become_the_sums_are_those_of_the_rows(prices: list[tuple[int | None, int | None]]) -> None:
    store = SqliteStore(None)
    attempts = [
        settled(started(number, user_id=f"u{number % 3}", tags=("a", "b")[: number % 3]), cost_pico=old)
        for number, (old, _) in enumerate(prices)
    ]
    store.apply(batch_of(attempts, at_once=True))
    new = {f"request-{number}": amount for number, (_, amount) in enumerate(prices)}
    reprice(store, lambda old: Price(cost_pico=new[old.request_id], price_version="new"), apply=True)
    expected = sum(amount or 0 for amount in new.values())
    unpriced = sum(amount is None for amount in new.values())
    for by in ("day", "user", ("user", "model")):
        rows = usage(store, by)
        assert sum(int(row.cost_usd.scaleb(12)) for row in rows) == expected
        assert sum(row.unpriced for row in rows) == unpriced
    store.close()


def test_many_attempts_are_priced_in_steps_each_once() -> None:
    store = SqliteStore(None)
    # Many at one instant: a step may end among them.
    attempts = (settled(started(number, at=NOON + number // 400)) for number in range(2 * STEP + 7))
    store.apply(batch_of(attempts, at_once=True))
    found = reprice(store, dear, apply=True)
    assert [(each.attempts, each.changed) for each in found] == [(2 * STEP + 7, 2 * STEP + 7)]
    assert usage(store, ())[0].cost_usd == usd(7_000_000 * (2 * STEP + 7))
    store.close()


# --- by the same prices -------------------------------------------------------------------------------------------------

CHANGES = [
    datetime(2026, 10, 12, tzinfo=UTC),
    datetime(2026, 10, 14, 0, 30, tzinfo=UTC),
    datetime(2026, 10, 14, 16, 30, tzinfo=UTC),
]
"""When service tiers got prices of their own, and when DeepSeek's days and nights begin."""
COUNTS = st.sampled_from([0, 1, 7, 200_000, 200_001, 2**40])
SAID = st.sampled_from([None, 0, 1, 3, 2.0, "2", -1, 2**70]).map(
    lambda said: {"server_tool_use": {"web_search_requests": said}}
)


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return load_prices(None)


@settings(max_examples=200)
@given(
    st.builds(
        Usage,
        **dict.fromkeys(Sums.COUNTS[Sums.COUNTS.index("input") :], COUNTS),
        extra=st.just({}) | st.fixed_dictionaries({"anthropic": SAID}),
        reported_cost_usd=st.sampled_from([None, Decimal(0)]),
    ),
    st.sampled_from(["anthropic/claude-sonnet-4-5", "openai/gpt-5", "google/gemini-2.5-pro", "deepseek/deepseek-chat"]),
    st.builds(
        lambda change, apart: change.timestamp() + apart,
        st.sampled_from(CHANGES),
        st.sampled_from([0.0, -1e-6, 1e-6, -2.4e-7, -0.5]) | st.floats(-9e6, 9e6),
    ),
    st.sampled_from([None, {"service_tier": "flex"}, {"service_tier": "priority"}, {"speed": "fast"}]),
)
def test_what_is_on_record_costs_by_the_same_price_what_it_cost(
    book: PriceBook, used: Usage, name: str, at: float, context: dict[str, str] | None
) -> None:
    price = book[name]
    cost = pico_usd(price.cost(used, at, context))
    attempts = [
        settled(started(number, at=at, started_at=at), usage=used, cost_pico=cost, context=context) for number in (0, 1)
    ]
    store = SqliteStore(None)
    store.apply(batch_of(attempts, at_once=True))
    found = store.priced(since_us=None, until_us=None, after=None, most=3)
    store.close()
    again = [pico_usd(price.cost(old.usage, old.started_at, old.context)) for old in found]
    assert again == [old.cost_pico for old in found] == [cost, cost]
