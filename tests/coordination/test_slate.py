"""A process's slate: what several threads do with it at once, and whether a clock that is set matters."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from podium.coordination.slate import Peer, Slate
from podium.coordination.sqlite import FROZEN_AFTER_S


@pytest.fixture
def eager() -> Iterator[None]:
    """Threads that take turns far more often than they would: more orders are seen, and nobody waits for a turn."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager")
def test_ringing_a_slate_that_is_being_closed_writes_nowhere_else(tmp_path: Path) -> None:
    """The number of a closed bell is soon another file's."""
    current = Slate(tmp_path)
    over = threading.Event()
    wrong: list[BaseException] = []

    def ring() -> None:
        while not over.is_set():
            try:
                current.ring()
            except OSError as error:
                wrong.append(error)
                return

    ringing = threading.Thread(target=ring)
    ringing.start()
    try:
        for _ in range(200):
            before = current
            before.close()
            readers, writers = os.pipe()
            os.set_blocking(readers, False)
            try:
                before.ring()
                stray = os.read(readers, 1)
            except BlockingIOError:
                stray = b""
            finally:
                os.close(readers)
                os.close(writers)
            assert stray == b""
            current = Slate(tmp_path)
    finally:
        over.set()
        ringing.join()
        current.close()
    assert wrong == []


@pytest.mark.parametrize("by_s", [86400.0, -86400.0, 6.0])
def test_a_clock_that_is_set_makes_nobody_look_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_s: float) -> None:
    slate = Slate(tmp_path)
    peer = Peer(tmp_path, slate.name)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + by_s)
    assert 0 <= peer.beaten_s_ago() < FROZEN_AFTER_S
    slate.beat()
    assert 0 <= peer.beaten_s_ago() < FROZEN_AFTER_S
    peer.close()
    slate.close()
