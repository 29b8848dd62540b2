"""The thread that watches the store of rollouts for one process.

Theory. It looks a few times a second whether the file has changed, which costs one read of a shared page and no lock, hands
what it finds to the `Rollouts` that it serves, and adds to the store what those have counted.

Rules. It does not keep them: where nobody else does, it ends. Only its first success may make the file; from then on it
waits until there is one again.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from podium.coordination.rollouts import SqliteRollouts, Watch
from podium.engine.rollouts import me
from podium.errors import StoreError

if TYPE_CHECKING:
    from podium.engine.rollouts import Rollouts

FLUSH_S = 1.0
"""How often counts are added to the store."""
LOOK_WAIT_S = 2.0
"""How long somebody waits for a look."""


class Watching:
    """The thread that looks at the store."""

    def __init__(self, rollouts: Rollouts, path: Path, *, opened: bool = False) -> None:
        self.ready = threading.Event()
        self._over = False
        self._opened = opened
        self._wake = threading.Event()
        self._asked: deque[threading.Event] = deque()
        arguments = (weakref.ref(rollouts), SqliteRollouts(path))
        self._thread = threading.Thread(target=self._serve, args=arguments, name="podium-rollouts", daemon=True)
        self._thread.start()

    def look_now(self) -> None:
        """Look at once, and wait for that."""
        done = threading.Event()
        self._asked.append(done)
        self._wake.set()
        done.wait(LOOK_WAIT_S)

    def stop(self, wait_s: float = LOOK_WAIT_S) -> bool:
        """End it; return whether it has let go of the store."""
        self._over = True
        self._wake.set()
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _serve(self, whose: weakref.ref[Rollouts], store: SqliteRollouts) -> None:
        watch = Watch(store)
        flush_at = 0.0
        while (rollouts := whose()) is not None:
            self._wake.clear()
            over = self._over
            asked = [self._asked.popleft() for _ in range(len(self._asked))]
            try:
                if not self._opened:
                    store.open(rollouts.seeds, who=me())
                    self._opened = True
                rollouts.saw(watch.look())
                if over or time.monotonic() >= flush_at:
                    flush_at = time.monotonic() + FLUSH_S
                    rollouts.flush()
            except StoreError as error:
                rollouts.missed(error)
            self.ready.set()
            for done in asked:
                done.set()
            if over:
                break
            poll_s = rollouts.poll_s
            del rollouts
            self._wake.wait(poll_s)
        watch.close()
