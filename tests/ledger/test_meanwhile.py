"""What others do in the middle of the ledger's work: nothing of it is lost, shown half, or shown to anybody else."""

import os
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ledger.made import NOON, all_of, drain_all, drainer_of, ended, record, request, rows, settled, started
from ledger.test_payloads import payload
from podium.errors import StoreError
from podium.ledger import Ledger, frames
from podium.ledger.drain_thread import DrainThread, Retention
from podium.ledger.drainer import ASIDE_NAME, Drainer
from podium.ledger.journal import Journal
from podium.ledger.payloads import PayloadFile
from podium.ledger.segments import Segment
from podium.ledger.sqlite import FILE_NAME, PAYLOADS_NAME, SqliteStore
from podium.ledger.store import Batch, Question
from waiting import wait_until


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


def open_files() -> list[str]:
    return [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]


@contextmanager
def leading_nowhere(path: Path, away: Path) -> Iterator[None]:
    """Let a link to itself stand in a file's place."""
    path.rename(away)
    path.symlink_to(path.name)
    try:
        yield
    finally:
        path.unlink()
        away.rename(path)


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
        position = made[2].position()
        assert position is not None
        name = position[0].name
        with leading_nowhere(folder / "journal" / name, folder / "away"):
            drainer.drain()
            drainer.drain()
        assert in_store(folder) == ["request-1", "request-2", "request-3"]
        assert [record.getMessage() for record in caplog.records if name in record.getMessage()] == [
            f"The segment {name} cannot be opened: Too many levels of symbolic links. What is in it waits until it can be."
        ]
        drain_all(drainer)
        assert in_store(folder)[3:] == ["request-4"]


def test_a_segment_that_cannot_be_read_holds_up_nobody_else_and_leaves_no_file_open(folder: Path, drainer: Drainer) -> None:
    with journals(folder, 1) as (journal,):
        journal.append(*request(1))
        drain_all(drainer)
        open_before = len(os.listdir("/proc/self/fd"))
        (folder / "journal" / Segment("1-1-strange", 1).name).mkdir()
        for number in (2, 3):
            journal.append(*request(number))
            drainer.drain()
        assert len(os.listdir("/proc/self/fd")) == open_before
        assert in_store(folder) == ["request-1", "request-2", "request-3"]


def test_a_damaged_header_counts_once_however_often_draining_is_taken_up(folder: Path) -> None:
    with journals(folder, 1) as (journal,):
        journal.append(started(1))
        (segment,) = (folder / "journal").iterdir()
        with segment.open("r+b") as file:
            file.write(b"?")
        for _ in range(2):
            drainer, store = drainer_of(folder)
            drain_all(drainer)
            drainer.resign()
            store.close()
        assert rows(folder, "SELECT * FROM counters") == [("corrupt", 1)]


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
    assert drainer.drained == 2
    assert rows(folder, "SELECT request_id FROM attempts") == [("request-6",)]
    assert in_store(folder) == ["request-8"]
    assert rows(folder, "SELECT * FROM counters") == [("set_aside", 1)]
    assert frames.read((folder / ASIDE_NAME).read_bytes(), final=True).records == [huge]
    drainer.resign()
    store.close()


# --- the files ----------------------------------------------------------------------------------------------------------------


EVERYTHING = Question(by=(), since_us=None, until_us=None, where={}, zone="UTC")


def batch_of(*numbers: int, body: bytes | None = None) -> Batch:
    batch = Batch()
    for number in numbers:
        batch.add_all(request(number))
        if body is not None:
            batch.add(payload(number, body))
    return batch


@pytest.mark.parametrize("backup", [False, True], ids=["deleted", "replaced"])
def test_what_comes_after_the_store_was_deleted_or_replaced_is_in_the_file_that_stands_there(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, backup: bool
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    other = SqliteStore(elsewhere, fsync="never")
    other.apply(batch_of(1, body=b"one"))
    other.close()
    store = SqliteStore(folder, fsync="never")
    store.apply(batch_of(2, 3, body=b"two"))
    for name in (FILE_NAME, PAYLOADS_NAME):
        for path in folder.glob(f"{name}*"):
            path.unlink()
        if backup:
            (elsewhere / name).rename(folder / name)
    store.apply(batch_of(4, body=b"four"))
    assert in_store(folder) == [*(["request-1"] if backup else []), "request-4"]
    payloads = PayloadFile(folder / PAYLOADS_NAME)
    assert [bool(payloads.find(f"request-{number}")) for number in (1, 2, 4)] == [backup, False, True]
    store.close()
    assert in_store(folder)[-1] == "request-4"


class Watched(SqliteStore):
    """A store in which something is written while a question is answered."""

    def __init__(self, folder: Path, meanwhile: Callable[[], None]) -> None:
        super().__init__(folder)
        self.meanwhile = meanwhile

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        with super()._reading() as connection:
            self.meanwhile()
            yield connection


def test_a_read_only_store_that_turns_out_to_be_written_to_gives_no_answer(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, mounts: Callable[..., None]
) -> None:
    """It is read without a lock, for there is none to be had: others may write where this process may not."""
    writer = SqliteStore(folder, fsync="never")
    writer.apply(batch_of(*range(200)))
    writer.close()
    view = tmp_path_factory.mktemp("view")
    mounts("--bind", str(folder), str(view))
    mounts("-o", "remount,ro,bind", str(view))

    def write() -> None:
        writer.apply(batch_of(*range(200, 400)))

    def write_and_close() -> None:
        writer.apply(batch_of(*range(400, 600)))
        writer.close()

    assert Watched(view, write).usage(EVERYTHING)[()].counts[0] == 200, "what is in the log alone is of later"
    writer.close()
    with pytest.raises(StoreError, match="was written to while it was read") as raised:
        Watched(view, write_and_close).usage(EVERYTHING)
    assert raised.value.retryable
    assert SqliteStore(view).usage(EVERYTHING)[()].counts[0] == 600


# --- the clock ----------------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_keeps_no_body_longer(drainer: Drainer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.ledger.drain_thread._TIDY_EVERY_S", 0.0)
    store = SqliteStore(folder, fsync="never")
    thread = DrainThread(drainer, store, Retention(age_s=60.0, most_bytes=None))
    for by_s in (86_400.0, 0.0):
        monkeypatch.setattr(time, "time", lambda by_s=by_s: NOON + by_s)
        store.apply(batch_of(-3600, body=b"of an hour ago"))
        thread._pass()
        assert PayloadFile(folder / PAYLOADS_NAME).find("request--3600") == []
    store.close()


@pytest.mark.parametrize("how", ["deleted", "deleted with a link left", "moved"])
def test_a_journal_goes_on_in_another_segment_where_the_present_one_is_gone(folder: Path, tmp_path: Path, how: str) -> None:
    with Ledger.open(folder) as ledger:
        record(ledger, 1)
        assert ledger.flush()
        journal = folder / "journal"
        for segment in journal.iterdir():
            if how == "deleted with a link left":
                (tmp_path / "backup").hardlink_to(segment)
            if how == "moved":
                segment.rename(tmp_path / segment.name)
            else:
                segment.unlink()
        wait_until(lambda: bool(list(journal.iterdir())))
        record(ledger, 2)
        assert ledger.flush()
        assert all_of(ledger).requests == 2


def test_what_comes_while_the_journals_folder_is_gone_waits_until_there_is_one(folder: Path) -> None:
    with Ledger.open(folder) as ledger:
        record(ledger, 1)
        assert ledger.flush()
        (folder / "journal").rename(folder / "elsewhere")
        wait_until(lambda: not any(name.startswith(str(folder / "elsewhere")) for name in open_files()))
        assert ledger.statistics().journal_problem == "No such file or directory"
        record(ledger, 2)
        (folder / "journal").mkdir()
        wait_until(ledger.flush)
        assert all_of(ledger).requests == 2
