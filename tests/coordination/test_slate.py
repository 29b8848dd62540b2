"""A process's slate: what several threads do with it at once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from podium.coordination.slate import Slate


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
