"""Several processes share a data folder, fork, and die."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ledger.made import all_of, record, started
from podium.errors import StoreError
from podium.ledger import Ledger
from podium.ledger.sqlite import SqliteStore
from waiting import wait_until

TESTS = Path(__file__).parents[1]


def worker(folder: Path, first: int, count: int, end: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(TESTS / "ledger" / "worker.py"), str(folder), str(first), str(count), end],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(10)
    if process.stdout is not None:
        process.stdout.close()


@pytest.mark.parametrize("how", ["close", "exit"])
def test_what_four_processes_record_at_once_is_there_once(tmp_path: Path, how: str) -> None:
    workers = [worker(tmp_path, 1000 * number, 300, how) for number in range(4)]
    with Ledger.open(tmp_path) as ledger:
        record(ledger, 9999)
        for each in workers:
            assert said(each) == "ready"
            each.wait(20)
            end(each)
        wait_until(lambda: all_of(ledger).requests >= 1201)
        total = all_of(ledger)
    assert (total.requests, total.attempts, total.unknown, total.errors) == (1201, 1201, 0, 0)
    assert [path.name for path in (tmp_path / "journal").iterdir()] == []


def test_when_the_drainers_process_is_killed_another_takes_over(tmp_path: Path) -> None:
    first = worker(tmp_path, 0, 50, "wait")
    assert said(first) == "elected"
    with Ledger.open(tmp_path) as ledger:
        record(ledger, 5000)
        assert ledger.flush(), "the other process drains for us"
        assert not ledger.statistics().elected
        end(first)
        killed_at = time.monotonic()
        wait_until(lambda: ledger.statistics().elected)
        assert time.monotonic() - killed_at < 5.0
        wait_until(lambda: all_of(ledger).requests == 52)
        total = all_of(ledger)
        assert (total.attempts, total.unknown) == (52, 1)
        assert ledger.statistics().unknown == 1


def test_one_who_only_asks_waits_for_the_other_process_to_drain_and_no_longer(tmp_path: Path) -> None:
    other = worker(tmp_path, 0, 50, "wait")
    assert said(other) == "elected"
    with Ledger.open(tmp_path) as ledger:
        assert ledger.flush()
        assert all_of(ledger).requests == 50
        assert not ledger.statistics().elected
        assert ledger.flush(0.0), "it is known at once that nothing is left"
    end(other)


def test_an_attempt_of_a_killed_process_is_known_when_the_next_process_begins(tmp_path: Path) -> None:
    only = worker(tmp_path, 0, 3, "wait")
    said(only)
    end(only)
    with Ledger.open(tmp_path) as ledger:
        total = all_of(ledger)
    assert (total.requests, total.attempts, total.unknown) == (4, 4, 1)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_records_and_drains_like_any_other_process(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        record(ledger, 0)
        assert ledger.flush()
        ledger.started(started(1))
        child = os.fork()
        if not child:
            status = 1
            try:
                record(ledger, 2)
                # The parent drains as long as it lives: the child's records too.
                status = 0 if ledger.flush() and not ledger.statistics().elected else 2
                ledger.close()
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        record(ledger, 3)
        total = all_of(ledger)
        assert (total.requests, total.attempts, total.unknown) == (3, 3, 0), "the parent's open attempt is still open"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_outlives_its_parent_takes_over_and_finds_what_the_parent_left(tmp_path: Path) -> None:
    """The parent is a process of its own, that forks and dies at once."""
    parent = os.fork()
    if not parent:
        ledger = Ledger.open(tmp_path)
        record(ledger, 0)
        ledger.flush()
        ledger.started(started(1))
        if os.fork():
            os._exit(0)
        record(ledger, 2)
        ledger.flush()
        ledger.close()
        os._exit(0)
    os.waitpid(parent, 0)
    with Ledger.open(tmp_path) as ledger:
        wait_until(lambda: all_of(ledger).requests == 3)
        assert all_of(ledger).unknown == 1


def test_a_ledger_in_memory_answers_the_same_questions_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Ledger.open(None, store="memory:") as ledger:
        for number in range(10):
            record(ledger, number)
        assert all_of(ledger).requests == 10
        assert ledger.statistics().appended == 30
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_in_the_middle_of_a_question_has_a_journal_but_no_store(tmp_path: Path) -> None:
    """SQLite must not be carried through a fork; here it cannot be closed before, since somebody reads."""
    with Ledger.open(tmp_path) as ledger:
        record(ledger, 0)
        assert ledger.flush()
        store = ledger.store
        assert isinstance(store, SqliteStore)
        with store._reading():
            child = os.fork()
        if not child:
            status = 1
            try:
                record(ledger, 1)
                try:
                    ledger.usage()
                except StoreError as error:
                    status = 0 if "was forked while its parent used it" in str(error) else 2
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        wait_until(lambda: all_of(ledger).requests == 2)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_children_forked_at_any_moment_of_a_busy_ledger_work(tmp_path: Path) -> None:
    children = 12
    with Ledger.open(tmp_path) as ledger:
        for number in range(children):
            for each in range(50):
                record(ledger, 1000 * number + each)
            assert ledger._thread is not None
            ledger._thread._wake.set()  # it drains as we fork
            if not (child := os.fork()):
                record(ledger, 1000 * number + 999)
                ledger.usage(wait_s=0.3)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
        wait_until(lambda: all_of(ledger).requests == 51 * children)
        assert all_of(ledger).unknown == 0
