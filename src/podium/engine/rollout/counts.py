"""How often each arm was chosen, until the store of rollouts has it.

Theory. A call adds one to a sum in memory; whoever has time adds the sums to the store, where those of all processes meet.

Rules. The lock is held for as long as an addition takes, never while the store works: calls would wait for it. What the store
did not take is kept.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from podium.errors import StoreError

if TYPE_CHECKING:
    from podium.coordination.rollouts import Counted, Store

_log = logging.getLogger("podium.rollouts")


class Counts:
    """Sums by rollout, minute, and arm or name of a count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        """Held while the store works: whoever reads its counts next finds what was on its way there."""
        self._sums: dict[Counted, int] = {}
        self.failures = 0
        """How often the store did not take them since it last did."""

    def add(self, name: str, what: str, amount: int = 1) -> bool:
        """Count a choice of an arm, or what became of a shadow; return whether it is the first of its minute."""
        place = (name, int(time.time() // 60), what)
        with self._lock:
            count = self._sums.get(place, 0)
            self._sums[place] = count + amount
        return not count

    def flush(self, store: Store) -> None:
        """Add them to the store. Raises `StoreError`; nothing is lost then."""
        with self._flushing:
            with self._lock:
                sums, self._sums = self._sums, {}
            if not sums:
                return
            try:
                store.add_counts(sums)
            except StoreError:
                with self._lock:
                    for place, count in sums.items():
                        self._sums[place] = self._sums.get(place, 0) + count
                raise
            self.failures = 0

    def try_to_flush(self, store: Store) -> None:
        """Add them to the store, or log why not, once until it goes well again."""
        try:
            self.flush(store)
        except StoreError as error:
            self.failures += 1
            if self.failures == 1:
                _log.warning("%s What rollouts choose is counted in memory until then.", error.message)

    def forget(self) -> None:
        """Begin anew in a process that was forked off: these are its parent's."""
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._sums = {}
        self.failures = 0
