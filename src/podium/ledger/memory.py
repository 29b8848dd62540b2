"""The ledger of those who want none on disk: records wait in a queue, and the store is in memory.

Rules. It keeps the same tables, answers the same questions and costs the request less; it ends with the process, and each
process has its own. A queue that nobody empties holds at most `_MOST` records; what does not fit is counted as lost.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Sequence

from podium.errors import StoreError
from podium.ledger.journal import in_child
from podium.ledger.records import Record
from podium.ledger.store import Batch, Store, Unstorable

_MOST = 1_000_000
_BATCH = 2000


class MemoryJournal:
    """A queue of records."""

    def __init__(self) -> None:
        self._clear()
        os.register_at_fork(after_in_child=in_child(weakref.WeakMethod(self._clear)))

    def _clear(self) -> None:
        self.queue: deque[Record] = deque()
        self.appended = 0
        self.deferred = self.lost = self.refused = self.fsyncs = self.fsync_errors = self.waiting = 0
        self.problem: str | None = None

    def append(self, record: Record) -> bool:
        """Take a record; False where it is lost."""
        if len(self.queue) >= _MOST:
            self.lost += 1
            return False
        self.appended += 1
        self.queue.append(record)
        return True

    def append_all(self, records: Sequence[Record]) -> bool:
        """Take records; False where one is lost."""
        return not [record for record in records if not self.append(record)]

    def position(self) -> None:
        """There is no segment."""

    def sync(self) -> None:
        """There is nothing to sync."""

    def close(self) -> None:
        """There is nothing to close."""


class MemoryDrainer:
    """Moves what is in the queue into the store of this process."""

    def __init__(self, journal: MemoryJournal, store: Store) -> None:
        self._journal = journal
        self._store = store
        self.elected = True
        self.drained = 0
        self.store_errors = 0
        self.problem: str | None = None

    def elect(self) -> bool:
        """There is nobody else."""
        return True

    def drain(self) -> bool:
        """Give the store what is in the queue, up to a batch. Returns whether there is more."""
        queue, batch = self._journal.queue, Batch()
        while queue and len(batch) < _BATCH:
            batch.add(queue.popleft())
        try:
            self._store.apply(batch)
        except Unstorable as error:
            self._note(error)
            for record in batch.records():
                single = Batch()
                single.add(record)
                try:
                    self._store.apply(single)
                except Unstorable:
                    self._journal.lost += 1
        except StoreError as error:
            self._note(error)
            queue.extendleft(batch.records())
            raise
        self.drained += len(batch)
        return bool(queue)

    def _note(self, error: StoreError) -> None:
        self.store_errors += 1
        self.problem = str(error)

    def resign(self) -> None:
        """There is nothing to let go."""
