"""The thread that watches the store of rollouts for one process.

Theory. It looks a few times a second whether the file has changed, which costs one read of a shared page and no lock, hands
what it finds to the `Rollouts` that it serves, and adds to the store what those have counted.

Rules. It does not keep them: where nobody else does, it ends. Only its first success may make the file; from then on it
waits until there is one again.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from podium.coordination.rollouts import SqliteRollouts, Watch
from podium.engine.rollout.changes import me
from podium.errors import StoreError

if TYPE_CHECKING:
    from podium.engine.rollout.counts import Counts
    from podium.engine.rollout.rollouts import Rollouts

FLUSH_S = 1.0
"""How often counts are added to the store."""
FIRST_LOOK_WAIT_S = 10.0
"""How long somebody waits for the first look: longer than the store itself does where it is locked, for then it says why."""
LOOK_WAIT_S = 2.0
"""How long somebody waits for a later look."""


class Watching:
    """The thread that looks at the store."""

    def __init__(self, rollouts: Rollouts, path: Path, *, opened: bool = False) -> None:
        self.ready = threading.Event()
        self._over = False
        self._opened = opened
        self._wake = threading.Event()
        self._asked: deque[threading.Event] = deque()
        arguments = (weakref.ref(rollouts), SqliteRollouts(path), rollouts.counts)
        self._thread = threading.Thread(target=self._serve, args=arguments, name="podium-rollouts", daemon=True)
        self._thread.start()
        self._pid = os.getpid()
        self._finalizer = weakref.finalize(rollouts, self._fade)

    def wait(self) -> None:
        """Wait until it has looked once, or it takes too long."""
        self.ready.wait(FIRST_LOOK_WAIT_S)

    def look_now(self) -> None:
        """Look at once, and wait for that."""
        done = threading.Event()
        self._asked.append(done)
        self._wake.set()
        done.wait(LOOK_WAIT_S)

    def _fade(self) -> None:
        """End with the rollouts that it serves, or with the interpreter: what was counted is not to be lost."""
        if self._pid == os.getpid() and threading.current_thread() is not self._thread:
            self.stop()

    def stop(self, wait_s: float = LOOK_WAIT_S) -> bool:
        """End it; return whether it has let go of the store."""
        self._finalizer.detach()
        self._over = True
        self._wake.set()
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _serve(self, whose: weakref.ref[Rollouts], store: SqliteRollouts, counts: Counts) -> None:
        watch = Watch(store)
        flush_at = 0.0
        while not self._over and (rollouts := whose()) is not None:
            self._wake.clear()
            asked = [self._asked.popleft() for _ in range(len(self._asked))]
            self._look(rollouts, store, watch)
            if time.monotonic() >= flush_at:
                flush_at = time.monotonic() + FLUSH_S
                counts.try_to_flush(store)
            self.ready.set()
            for done in asked:
                done.set()
            poll_s = rollouts.poll_s
            del rollouts
            self._wake.wait(poll_s)
        watch.close()
        counts.try_to_flush(store)
        for done in self._asked:
            done.set()

    def _look(self, rollouts: Rollouts, store: SqliteRollouts, watch: Watch) -> None:
        try:
            if not self._opened:
                store.open(rollouts.seeds, who=me())
                self._opened = True
            states = watch.look()
            if states is not None and not rollouts.seeds.keys() <= states.keys():  # made anew by a process with another config
                states = store.open(rollouts.seeds, who=me(), known=rollouts.last_known())
            rollouts.saw(states)
        except StoreError as error:
            rollouts.missed(error, {} if self.ready.is_set() else store.read_copy())
