import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.made import NOON, ended, settled, started
from podium.errors import StoreError
from podium.ledger import Batch, RequestEnd, Settled, usd
from podium.ledger.schema import MIGRATIONS, ROLLUPS
from podium.ledger.sqlite import FILE_NAME, SqliteStore, migrate
from podium.ledger.usage import usage
from podium.types import Usage


def batch_of(first: int, count: int) -> Batch:
    batch = Batch()
    starts = [started(number) for number in range(first, first + count)]
    batch.attempts, batch.entries = [settled(each) for each in starts], [ended(each) for each in starts]
    return batch


def test_a_store_of_the_version_before_is_brought_up_to_date_with_its_rows(tmp_path: Path) -> None:
    """Made by the steps up to the last but one, filled, and then opened by this release."""
    path = tmp_path / FILE_NAME
    last = len(MIGRATIONS)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, str(path), upto=last - 1)
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        columns = {table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")] for (table,) in tables}
        assert "closed" not in columns
    full = SqliteStore(tmp_path / "new", fsync="never")
    (tmp_path / "new").mkdir()
    full.apply(batch_of(0, 3))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("ATTACH ? AS new", (str(full.path),))
        for table, names in columns.items():
            listed = ", ".join(names)
            connection.execute(f"INSERT INTO main.{table} ({listed}) SELECT {listed} FROM new.{table}")
    full.close()
    store = SqliteStore(tmp_path, fsync="never")
    assert [row.requests for row in usage(store, "model")] == [3], "a reader brings it up to date too"
    store.apply(batch_of(2, 2))
    assert [row.requests for row in usage(store, "model")] == [4]
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (last,)
        assert connection.execute("SELECT request_id FROM attempts ORDER BY 1").fetchall() == [
            (f"request-{number}",) for number in range(4)
        ]


def test_each_step_of_the_tables_can_be_taken_alone(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    for version in range(1, len(MIGRATIONS) + 1):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            migrate(connection, str(path), upto=version)
            assert connection.execute("PRAGMA user_version").fetchone() == (version,)


def test_a_store_of_a_newer_release_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("PRAGMA user_version = 99")
    store = SqliteStore(tmp_path)
    for ask in (lambda: store.apply(batch_of(0, 1)), lambda: store.positions()):
        with pytest.raises(StoreError, match=r"version 99.*Run the newer Podium") as caught:
            ask()
        assert caught.value.code == "store_too_new"
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,)


def test_a_file_that_is_no_database_is_a_store_in_trouble(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 100)
    store = SqliteStore(tmp_path)
    with pytest.raises(StoreError, match="does not answer: file is not a database"):
        store.apply(batch_of(0, 1))
    with pytest.raises(StoreError, match="does not answer"):
        store.counters()


def test_a_batch_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, fsync="never")
    batch = batch_of(0, 50)
    batch.attempts[40] = settled(started(40), losses=2**63)
    with pytest.raises(StoreError):
        store.apply(batch)
    assert usage(store) == []
    store.apply(batch_of(0, 50))
    assert usage(store, ())[0].attempts == 50
    store.close()


def test_the_same_batch_twice_is_as_once_and_the_sums_are_those_of_the_rows(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, fsync="never")
    for first in (0, 0, 20, 10):
        store.apply(batch_of(first, 30))
    assert [(row.requests, row.attempts, row.cost_usd) for row in usage(store, "user")] == [(50, 50, usd(50 * 5_000_000))]
    store.close()


def test_a_record_that_comes_twice_in_one_batch_counts_once() -> None:
    store = SqliteStore(None)
    batch = batch_of(0, 2)
    batch.attempts.append(batch.attempts[0])
    store.apply(batch)
    assert usage(store, ())[0].attempts == 2
    store.close()


def test_an_id_that_is_used_twice_names_two_requests() -> None:
    store = SqliteStore(None)
    batch = Batch()
    for at in (NOON, NOON + 1):
        first = started(0, at=at, request_id="the same")
        batch.attempts.append(settled(first))
        batch.entries.append(ended(first))
    store.apply(batch)
    assert usage(store, ())[0].requests == 2
    assert usage(store, ())[0].attempts == 2
    store.close()


def test_a_count_of_tokens_that_cannot_be_is_bounded() -> None:
    store = SqliteStore(None)
    batch = Batch()
    absurd = settled(started(0)).usage
    assert absurd is not None
    batch.attempts = [settled(started(0), usage=absurd.replace(input=2**62, output=-5))]
    store.apply(batch)
    tokens = usage(store, ())[0].tokens
    assert (tokens.input, tokens.output) == (2**40, 0)
    store.close()


_NAMES = st.sampled_from(["gpt-4o", "o3", "sonnet"])
_PERHAPS = st.none() | st.sampled_from(["x", "y"])
_COUNTS = st.integers(-1, 5)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Few values each, so that columns are the same in all rows, in some and in none."""
    batch = Batch()
    for number in range(draw(st.integers(0, 6))):
        of = started(
            number,
            model=draw(_NAMES),
            experiment=draw(_PERHAPS),
            user_id=draw(_PERHAPS),
            tags=tuple(draw(st.lists(st.sampled_from(["a", "b", ""]), max_size=3))),
            streamed=draw(st.booleans()),
            reserved_pico=draw(st.none() | st.just(2**63)),
        )
        usage = st.builds(
            Usage, input=_COUNTS, output=_COUNTS, reasoning=_COUNTS, reported_cost_usd=st.none() | st.just(Decimal(1))
        )
        facts = {
            "outcome": draw(st.sampled_from(["won", "failed", "unknown"])),
            "usage": draw(st.none() | usage),
            "cost_pico": draw(st.none() | st.integers(0, 3)),
            "first_content_s": draw(st.none() | st.just(0.25)),
            "losses": draw(st.integers(0, 1)),
        }
        match draw(st.sampled_from(["closed", "apart", "open"])):
            case "closed":
                how = RequestEnd(draw(_NAMES), 0.6, answered=draw(st.booleans()), attempts=1)
                batch.add(settled(of, **facts, request=how))
            case "apart":
                batch.add_all([settled(of, **facts), ended(of, provider=None, model=draw(_PERHAPS))])
            case _:
                batch.add(settled(of, **facts))
    return batch


def _tables(store: SqliteStore) -> list[list[Any]]:
    with store._reading() as connection:
        assert connection is not None
        names = ("attempts", "entries", *(rollup.table for rollup in ROLLUPS))
        return [sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names]


@given(batches())
def test_records_of_one_batch_are_stored_as_each_alone_would_be_and_told_apart_as_told_at_once(batch: Batch) -> None:
    together, singly, apart = SqliteStore(None), SqliteStore(None), SqliteStore(None)
    together.apply(batch)
    for record in batch.records():
        single = Batch()
        single.add(record)
        singly.apply(single)
        parts = Batch()
        if isinstance(record, Settled) and record.request_duration_s is not None:
            parts.add_all((record.alone(), record.entry))
        else:
            parts.add(record)
        apart.apply(parts)
    assert _tables(together) == _tables(singly) == _tables(apart)
    for store in (together, singly, apart):
        store.close()


def test_readers_read_while_a_batch_is_being_written(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, fsync="never")
    store.apply(batch_of(0, 10))
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert [row.requests for row in usage(store, "user")] == [10]
        with pytest.raises(StoreError, match="locked"):
            store.apply(batch_of(10, 10))
        other.execute("ROLLBACK")
    store.apply(batch_of(10, 10))
    assert [row.requests for row in usage(store, "user")] == [20]
    store.close()
