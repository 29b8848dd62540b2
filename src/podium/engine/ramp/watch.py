"""The thread that works for a process's climbs.

Rules. It begins with the first news of a climb, does not keep its `Ramps` (where nobody else does, it ends), and files what was
heard last before it ends, be it with the interpreter. A store that does not answer is told once, and tried again every second.
"""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from podium.engine.ramp.work import RampWork
from podium.errors import StoreError

if TYPE_CHECKING:
    from podium.engine.ramp.ramps import Ramps

_END_WAIT_S = 5.0
_log = logging.getLogger("podium.rollouts")


class RampWatch:
    """The thread, and its end."""

    def __init__(self, ramps: Ramps, path: Path, beat_s: float) -> None:
        self._over = threading.Event()
        self.work = RampWork(path)
        self.failures = 0
        self._thread = threading.Thread(target=self._serve, args=(weakref.ref(ramps), beat_s), name="podium-ramps", daemon=True)
        self._thread.start()
        this = weakref.ref(self)
        self._at_exit = lambda: (watch := this()) and watch.stop()
        atexit.register(self._at_exit)

    def stop(self, wait_s: float = _END_WAIT_S) -> bool:
        """End it; return whether it has let go of the store."""
        atexit.unregister(self._at_exit)
        self._over.set()
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _serve(self, whose: weakref.ref[Ramps], beat_s: float) -> None:
        well = True
        while True:
            over = self._over.wait(beat_s)
            ramps = whose()
            if ramps is None:
                return
            try:
                if over:
                    self.work.end(ramps.hearing.news)
                else:
                    self.work.beat(ramps.hearing.news)
                well = True
            except StoreError as error:
                self.failures += 1
                if well:
                    _log.warning("Ramps wait for their store; what they hear is kept. %s", error)
                well = False
            if over:
                return
            del ramps
