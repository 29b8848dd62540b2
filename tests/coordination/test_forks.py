"""Forks in the middle of the work: SQLite's idea of a file's locks belongs to one process."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podium.coordination.rollouts_memory import MemoryRollouts
from podium.coordination.sqlite import SqliteLeases
from podium.coordination.store import Entry
from podium.errors import StoreError
from podium.observe.observers import Observers
from podium.routing.limits import Limit
from podium.routing.rollout import Rollout

LIMIT = Limit(kind="requests", scope="user", id="jane", period="day", amount=100)
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def take(store: SqliteLeases, amount: int) -> int:
    """Lease so many, and say how many were granted; they replace those of before."""
    now_us = int(time.time() * 1e6)
    day_us = 86_400_000_000
    starts_us = now_us // day_us * day_us
    (answer,) = store.exchange(
        [Entry(limit=LIMIT, starts_us=starts_us, ends_us=starts_us + day_us, keep=0, need=amount, slot=store.take_slot())]
    )
    return answer.granted


class Child:
    """A forked process that does one thing when it is told to, and says what came of it. It ends with its parent, or before."""

    def __init__(self, ready: Callable[[], object], work: Callable[[], object]) -> None:
        told, self._tell = os.pipe()
        self._said, say = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.close(self._tell)  # so that its other end closes when the parent lets go of it
                ready()
                os.write(say, b"ready\n")
                os.read(told, 1)
                os.write(say, f"{work()}\n".encode())
                os.read(told, 1)
            finally:
                os._exit(0)
        os.close(told)
        os.close(say)
        self.says()

    def says(self) -> str:
        return os.read(self._said, 1000).decode().strip()

    def go(self) -> str:
        os.write(self._tell, b".")
        return self.says()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._tell)
        os.waitpid(self.pid, 0)
        os.close(self._said)


@pytest.fixture
def store(tmp_path: Path) -> SqliteLeases:
    made = SqliteLeases(tmp_path / "limits.sqlite3")
    made.attach(create=True)
    return made


def test_what_a_child_takes_after_its_parent_has_left_counts_for_all(store: SqliteLeases) -> None:
    """With the parent's locks in its mind, the child would not keep SQLite from deleting the log that it writes to."""

    def begin() -> None:
        store.forget()
        store.attach(create=False)

    with Child(begin, lambda: take(store, 60)) as child:
        store.close(clean=True)
        assert child.go() == "60"
        other = SqliteLeases(store.path)
        other.attach(create=False)
        assert take(other, 60) == 40
        other.close(clean=True)


def test_the_parent_goes_on_where_it_was(store: SqliteLeases) -> None:
    before = take(store, 10)
    assert before >= 10
    with Child(lambda: None, lambda: None):
        store.tend(time.time())
        assert store.recalled() == []
        assert take(store, 95) >= 95, "its own lease is in nobody's way"
    store.close(clean=True)
    other = SqliteLeases(store.path)
    other.attach(create=False)
    assert take(other, 100) == 100, "all of it was given back"
    other.close(clean=True)


def test_a_child_of_a_fork_in_the_middle_of_a_transaction_leaves_the_file_alone(store: SqliteLeases) -> None:
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with store._transaction():
            inside.set()
            leave.wait(20)

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(20)

    def begin() -> str:
        store.forget()
        try:
            store.attach(create=False)
        except StoreError as error:
            return error.code if "forked while its parent used it" in str(error) else str(error)
        return "attached"

    try:
        with Child(lambda: None, begin) as child:
            assert child.go() == "coordination_lost"
    finally:
        leave.set()
        thread.join()
    assert take(store, 1) >= 1, "and the parent's work goes on"
    store.close(clean=True)


@pytest.mark.parametrize("what", ["ringing", "counting", "telling"])
def test_a_child_waits_for_no_thread_of_its_parents(store: SqliteLeases, what: str) -> None:
    """It would wait for good: the thread is not there."""
    memory, observers = MemoryRollouts(), Observers()
    memory.open({"chat": Rollout(name="chat", legacy="a/b", candidate="a/c")}, who="test")
    assert store._slate is not None

    def forget_and_work() -> object:
        signal.alarm(10)  # ends a child that hangs
        store.forget()
        memory.change("chat", "set", lambda rollout: rollout.replace(percent=5.0), who="test", why=None)
        return observers.failures() or memory.counts("chat", 0) or "done"

    locks: dict[str, Any] = {"ringing": store._slate._bell_lock, "counting": memory._lock, "telling": observers._counting}
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with locks[what]:
            inside.set()
            leave.wait(20)

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(20)
    try:
        with Child(lambda: None, forget_and_work) as child:
            assert child.go() == "done"
    finally:
        leave.set()
        thread.join()
    store.close(clean=True)
