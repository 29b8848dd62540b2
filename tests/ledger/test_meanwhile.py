"""What others do in the middle of the ledger's work: nothing of it is lost, shown half, or shown to anybody else."""

import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ledger.made import drain_all, drainer_of, ended, request, settled, started
from podium.errors import StoreError
from podium.ledger import frames
from podium.ledger.drainer import ASIDE_NAME, Drainer
from podium.ledger.journal import Journal
from podium.ledger.sqlite import FILE_NAME, SqliteStore
from podium.ledger.store import Batch


@pytest.fixture
def drainer(folder: Path) -> Iterator[Drainer]:
    drainer, store = drainer_of(folder)
    yield drainer
    drainer.resign()
    store.close()


@contextmanager
def journals(folder: Path, count: int) -> Iterator[list[Journal]]:
    made = [Journal(folder / "journal", fsync="never") for _ in range(count)]
    yield made
    for each in made:
        each.close()


@contextmanager
def one_descriptor_left() -> Iterator[None]:
    """Let this process open one more file, and no other."""
    free = [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]
    for each in free:
        os.close(each)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[1], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        return connection.execute(query).fetchall()


def in_store(folder: Path) -> list[str]:
    return [row[0] for row in rows(folder, "SELECT request_id FROM entries ORDER BY requested_us")]


# --- draining ---------------------------------------------------------------------------------------------------------------


def test_what_was_read_before_something_failed_is_read_again(folder: Path, drainer: Drainer) -> None:
    with journals(folder, 2) as (living, dead):
        living.append(*request(1))
        drain_all(drainer)
        living.append(*request(2))
        dead.append(*request(3))
        dead.close()  # whether it is dead is looked up in the folder
        with one_descriptor_left(), pytest.raises(OSError, match="Too many open files"):
            drainer.drain()
        drain_all(drainer)
        assert in_store(folder) == ["request-1", "request-2", "request-3"]


def test_a_segment_that_cannot_be_opened_holds_up_nobody_else(
    folder: Path, drainer: Drainer, caplog: pytest.LogCaptureFixture
) -> None:
    with journals(folder, 3) as made:
        made[0].append(*request(1))
        drain_all(drainer)
        for number, journal in enumerate(made, 2):
            journal.append(*request(number))
        with one_descriptor_left():
            drainer.drain()
        assert in_store(folder) == ["request-1", "request-2", "request-3"]
        assert [record.getMessage().partition(" cannot")[2] for record in caplog.records] == [
            " be opened: Too many open files. What is in it waits until it can be."
        ]
        drain_all(drainer)
        assert in_store(folder)[3:] == ["request-4"]


def test_whoever_takes_up_draining_leaves_no_file_open_where_that_fails(folder: Path) -> None:
    with journals(folder, 3) as made:
        for number, journal in enumerate(made):
            journal.append(*request(number))
        drainer, store = drainer_of(folder)
        open_before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with one_descriptor_left(), pytest.raises(OSError, match="Too many open files"):
                drainer.drain()
            assert len(os.listdir("/proc/self/fd")) == open_before
        drain_all(drainer)
        assert in_store(folder) == ["request-0", "request-1", "request-2"]
        drainer.resign()
        store.close()


class Locked(SqliteStore):
    """A store that another process locks after it was asked so often."""

    locked_at = -1
    asked = 0

    def apply(self, batch: Batch) -> None:
        self.asked += 1
        if self.asked == self.locked_at:
            raise StoreError("The store is locked.")
        super().apply(batch)


@pytest.mark.parametrize("locked_at", [2, 3, 4, 5])
def test_a_store_that_is_locked_while_records_are_given_singly_gets_the_rest_later(folder: Path, locked_at: int) -> None:
    store = Locked(folder, fsync="never")
    store.locked_at = locked_at
    drainer = Drainer(folder / "journal", folder / "drainer.lock", store)
    drainer.elect()
    huge = settled(started(7), losses=2**63)
    with journals(folder, 1) as (journal,):
        journal.append(settled(started(6)), huge, ended(started(8)))
        with pytest.raises(StoreError, match="locked"):
            drain_all(drainer)
        drain_all(drainer)
    assert rows(folder, "SELECT request_id FROM attempts") == [("request-6",)]
    assert in_store(folder) == ["request-8"]
    assert rows(folder, "SELECT * FROM counters") == [("set_aside", 1)]
    assert frames.read((folder / ASIDE_NAME).read_bytes(), final=True).records == [huge]
    drainer.resign()
    store.close()
