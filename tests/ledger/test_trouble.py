"""A store that is locked, read-only or full: requests go on, and the ledger is whole afterwards."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ledger.made import all_of, ended, record, settled, started
from podium.errors import StoreError
from podium.ledger import Ledger
from podium.ledger.sqlite import FILE_NAME
from waiting import wait_until

LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
connection.close()
"""


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            continue


def test_a_store_that_another_process_locks_stops_nobody_and_gets_everything_later(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        record(ledger, 0)
        assert ledger.flush()
        locker = subprocess.Popen(
            [sys.executable, "-c", LOCKER, str(tmp_path / FILE_NAME)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert locker.stdout is not None
        assert locker.stdin is not None
        assert locker.stdout.readline() == "locked\n"
        for number in range(1, 200):
            record(ledger, number)
        assert not ledger.flush(1.5)
        statistics = ledger.statistics()
        assert statistics.store_errors > 0
        assert "locked" in (statistics.store_problem or "")
        assert (statistics.appended, statistics.deferred, statistics.lost) == (600, 0, 0)
        assert all_of(ledger).requests == 1, "it can still be read"
        locker.communicate("\n", timeout=20)
        wait_until(lambda: ledger.flush(0.5))
        assert all_of(ledger).requests == all_of(ledger).attempts == 200
        assert ledger.statistics().store_problem is None


def test_a_store_on_a_read_only_mount_stops_nobody_and_gets_everything_later(
    tmp_path: Path, mounts: Callable[..., None]
) -> None:
    """Only the journal's folder can be written to."""
    Ledger.open(tmp_path).close()
    journal = str(tmp_path / "journal")
    mounts("--bind", str(tmp_path), str(tmp_path))
    mounts("--bind", journal, journal)
    mounts("-o", "remount,ro,bind", str(tmp_path))
    with Ledger.open(tmp_path) as ledger:
        for number in range(20):
            record(ledger, number)
        assert not ledger.flush(1.0)
        assert (ledger.statistics().appended, ledger.statistics().deferred) == (60, 0)
        mounts("-o", "remount,rw,bind", str(tmp_path))
        wait_until(lambda: ledger.flush(0.5))
        assert all_of(ledger).requests == 20


def test_what_is_on_a_read_only_mount_can_be_read(tmp_path: Path, mounts: Callable[..., None]) -> None:
    with Ledger.open(tmp_path) as ledger:
        record(ledger, 0)
    assert not (tmp_path / f"{FILE_NAME}-wal").exists()
    mounts("--bind", str(tmp_path), str(tmp_path))
    mounts("-o", "remount,ro,bind", str(tmp_path))
    with Ledger.open(tmp_path) as ledger:
        (row,) = ledger.usage((), wait_s=0)
    assert row.requests == 1
    asked = [sys.executable, "-m", "podium", "usage", "--data", str(tmp_path), "--by", "user"]
    ran = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert "total" in ran.stdout
    assert "cannot be written by you" in ran.stderr
    assert "cannot be drained" not in ran.stderr


@pytest.mark.parametrize("on_full", ["continue", "refuse"])
def test_a_data_folder_that_is_read_only_as_a_whole_is_dealt_with_as_on_full_says(
    tmp_path: Path, mounts: Callable[..., None], on_full: str
) -> None:
    Ledger.open(tmp_path).close()
    mounts("--bind", str(tmp_path), str(tmp_path))
    mounts("-o", "remount,ro,bind", str(tmp_path))
    with Ledger.open(tmp_path, on_full=on_full) as ledger:  # type: ignore[arg-type]
        if on_full == "refuse":
            with pytest.raises(StoreError, match="Read-only file system"):
                record(ledger, 0)
        else:
            for number in range(20):
                record(ledger, number)
            assert ledger.statistics().waiting == 60
        mounts("-o", "remount,rw,bind", str(tmp_path))
        record(ledger, 100)
        wait_until(lambda: ledger.flush(0.5))
        assert all_of(ledger).requests == (1 if on_full == "refuse" else 21)
        assert ledger.statistics().lost == 0


@pytest.mark.parametrize("on_full", ["continue", "refuse"])
def test_a_full_disk_is_dealt_with_as_on_full_says_and_the_ledger_is_whole_when_there_is_room(
    tmp_path: Path, mounts: Callable[..., None], on_full: str
) -> None:
    mounts("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path))
    with Ledger.open(tmp_path, on_full=on_full) as ledger:  # type: ignore[arg-type]
        sent = 0
        for number in range(50):
            record(ledger, number)
            sent += 1
        assert ledger.flush()
        opened = started(50)
        ledger.started(opened)  # it is under way as the disk fills up
        filler = tmp_path / "filler"
        fill(filler)
        refusals = []
        for number in range(51, 600):
            try:
                record(ledger, number)
                sent += 1
            except StoreError as error:
                refusals.append((error.code, "No space left" in str(error)))
        assert set(refusals) <= {("ledger_full", True)}
        ledger.settled(settled(opened))
        ledger.ended(ended(opened))
        statistics = ledger.statistics()
        assert statistics.lost == 0
        assert statistics.waiting > 0
        if on_full == "continue":
            assert (sent, statistics.refused) == (599, 0)
        else:
            assert statistics.refused == 599 - sent > 0
        filler.unlink()
        wait_until(lambda: ledger.flush(0.5))
        total = all_of(ledger)
        assert (total.requests, total.attempts, total.unknown, total.errors) == (sent + 1, sent + 1, 0, 0)
        assert ledger.statistics().torn == ledger.statistics().corrupt == 0


def test_without_a_folder_that_can_be_made_there_is_a_clear_no(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot be made: Not a directory.*PODIUM_DATA"):
        Ledger.open(tmp_path / "file" / "data")
    with pytest.raises(StoreError, match="no folder"):
        Ledger.open(None)
