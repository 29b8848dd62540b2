"""The journal of one process: records handed to the kernel, in one write for all that were made since the last.

Theory. What a `write` has returned from survives the death of the process; what an `fsync` has returned from survives the
loss of power. A request waits for the first (a few microseconds) and never for the second, which a thread of its own does
for all records of a tenth of a second at once (`fsync: group`).

A write costs more than all else that is done for a record, and a busy process makes several records before anything must be
on record. So a journal that `gathers` keeps records until `hand_over`, which is called before an attempt is sent and before a
caller is told of an end; what nobody asks for goes to the kernel with the next group. With `on_full: refuse` each record is
written as it comes, since an attempt waits for the answer.

A disk that is full, read-only or broken must not stop the work (`on_full: continue`): records then wait in memory, in order,
and go to the disk as soon as it takes them. They are lost only where that room is used up or the process dies first; both the
deferred and the lost are counted. With `on_full: refuse` a new attempt is refused instead, before anything is sent; what
belongs to attempts that were already sent waits in memory all the same.

Rules.
- A write that the disk took only in part is undone, so that no torn frame stays in front of a good one.
- Records that are written together are one frame. Torn by the end of the process it was never written, and nobody had been
  told of any of them; a loss of power may take all of the last group.
- A forked child lets its parent's segment go and begins one of its own at its first record.
- A segment that was deleted under its process, or moved, is followed by another within a second.
- The journal as a whole may be at most `most_bytes`, all processes together, looked at every second.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from podium.errors import StoreError
from podium.ledger.facts import load_route
from podium.ledger.frames import HEADER_SIZE, dump_frame
from podium.ledger.records import Late, Payload, Record, Started
from podium.ledger.segments import Segment, create_segment, new_writer, sizes

Fsync = Literal["group", "never"]
OnFull = Literal["continue", "refuse"]

SEGMENT_BYTES = 64 * 2**20
MOST_BYTES = 16 * 2**30
DEFERRED_BYTES = 64 * 2**20
GROUP_S = 0.1
_LOOK_EVERY = 10
"""The size of the folder is looked at once in so many groups."""
_GATHERED = 64
"""Records that are gathered at most."""

_LOG = logging.getLogger("podium.ledger")


class Journal:
    """An append-only journal in a folder that several processes share."""

    def __init__(
        self,
        folder: Path,
        *,
        fsync: Fsync = "group",
        on_full: OnFull = "continue",
        segment_bytes: int = SEGMENT_BYTES,
        most_bytes: int = MOST_BYTES,
        deferred_bytes: int = DEFERRED_BYTES,
        gathers: bool = False,
    ) -> None:
        self.folder = folder
        self._gathers = gathers and on_full == "continue"
        self._fsync = fsync
        self._on_full = on_full
        self._segment_bytes = segment_bytes
        self._most_bytes = most_bytes
        self._deferred_bytes = deferred_bytes
        self._clear()
        os.register_at_fork(after_in_child=weakly(weakref.WeakMethod(self._forked)))
        self._at_exit = weakly(weakref.WeakMethod(self._end_group))
        atexit.register(self._at_exit)  # a process may end within a group, and close nothing

    def _clear(self) -> None:
        self._lock = threading.RLock()
        self._descriptor: int | None = None
        self._segment = Segment("", 0)
        self._size = 0
        self._dirty = False
        self._named = False
        """Whether a segment's name is newer than what the disk has."""
        self._full = False
        self._gathered: list[Record | Late] = []
        self._most_gathered = 0
        """At so many records they are handed over; 0 where no keeper sees to what nobody asks for."""
        self._handing = False
        self._handed = 0
        """The number of the last record that is not gathered any more."""
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._waiting_bytes = 0
        self._keeper: threading.Thread | None = None
        self._stop = threading.Event()
        self._syncing: int | None = None
        self._closed = False
        self.appended = 0
        """Records that the kernel has taken."""
        self.deferred = 0
        """Records that had to wait in memory."""
        self.waiting = 0
        """Records that wait there now."""
        self.lost = 0
        """Records for which there was no room left in memory either."""
        self.refused = 0
        """Attempts that were refused."""
        self.fsyncs = 0
        self.fsync_errors = 0
        self.problem: str | None = None
        """What the disk said last, as long as it does not take records."""

    # --- appending ------------------------------------------------------------------------------------------------------

    def append(self, *records: Record | Late) -> int:
        """Hand records to the kernel in one write, or gather them; returns the number that `hand_over` knows them by.

        Raises `StoreError` for a `Started` under `on_full: refuse`, where the disk does not take it.
        """
        if not self._gathers:
            with self._lock:
                self._write_now(self._make(records))
            return 0
        # Without the lock: a list grows in one step, and a number read in this order is too high at worst, never too low.
        gathered = self._gathered
        gathered += records
        count = len(gathered)
        number = self._handed + count
        if count >= self._most_gathered:
            with self._lock:
                self._hand_over()
        return number

    def append_body(self, body: Payload) -> int:
        """Append a body, in a frame of its own: it may be long."""
        with self._lock:
            self._hand_over()
            number = self.append(body)
            self._hand_over()
            return number

    def _make(self, gathered: Sequence[Record | Late]) -> list[Record]:
        """Make what is not made yet; one that cannot be made costs the others nothing."""
        records: list[Record] = []
        for each in gathered:
            try:
                records.append(each() if callable(each) else each)
            except Exception:  # noqa: BLE001  a defect in what one says: it is counted, and logged whole
                self.lost += 1
                _LOG.exception("A record of the ledger cannot be made, and is lost.")
        return records

    def _write_now(self, records: Sequence[Record]) -> None:
        if not records:
            return
        frame, count = dump_frame(*records), len(records)
        if self._take(frame, count):
            return
        if self._on_full == "refuse" and isinstance(records[0], Started):
            self.refused += 1
            route = load_route(records[0].route)
            raise StoreError(
                f"{route.provider}/{route.model} was not asked: the ledger in {self.folder} cannot record it ({self.problem}).",
                code="ledger_full",
                hint="Make room on its disk, or set `on_full: continue` to go on without a record.",
            )
        self._defer(frame, count)

    def hand_over(self, number: int) -> None:
        """See to it that the record of this number and all before it are with the kernel, or wait for the disk."""
        if number > self._handed:
            with self._lock:
                self._hand_over()

    def _hand_over(self) -> None:
        if self._handing:  # the collector ended a request in the middle of it: that is taken with the rest
            return
        self._handing = True
        try:
            gathered = self._gathered
            while count := len(gathered):
                try:
                    self._write_now(self._make(gathered[:count]))  # all at once: that is most of what it saves
                finally:  # in this order: see `append`
                    self._handed += count
                    del gathered[:count]
        finally:
            self._handing = False

    def _end_group(self) -> None:
        """Hand over what was gathered, whoever asks for it."""
        if self._gathered:
            with self._lock:
                self._hand_over()

    def _take(self, frame: bytes, count: int) -> bool:
        """Write a frame of so many records behind all that waits; False, with nothing of it written, where that cannot be."""
        if self._waiting:
            self._write_waiting()
        if self._waiting or self._full or not self._write(frame):
            return False
        self.appended += count
        return True

    def _write(self, frame: bytes) -> bool:
        try:
            descriptor = self._descriptor
            if descriptor is None or self._size >= self._segment_bytes:
                descriptor = self._next_segment()
            written = os.write(descriptor, frame)
            if written != len(frame):
                os.ftruncate(descriptor, self._size)
                raise OSError(28, "No space left on device")
        except OSError as error:
            self.problem = error.strerror or str(error)
            return False
        self._size += written
        self._dirty = True
        return True

    def _next_segment(self) -> int:
        """Begin the next segment before the last one is let go: a writer with no locked segment counts as dead."""
        if self._closed:
            raise OSError(9, "The ledger is closed")
        last, segment = self._descriptor, self._segment
        following = Segment(segment.writer or new_writer(), segment.sequence + 1)
        descriptor = create_segment(self.folder, following)
        self._descriptor, self._segment, self._size = descriptor, following, HEADER_SIZE
        self._named = True
        if last is not None:
            if self._fsync == "group":
                self._sync(last)
            os.close(last)
        self._start_keeper()
        return descriptor

    # --- what has to wait -----------------------------------------------------------------------------------------------

    def _defer(self, frame: bytes, count: int) -> None:
        if self._closed or self._waiting_bytes + len(frame) > self._deferred_bytes:
            self.lost += count
            return
        self.deferred += count
        self.waiting += count
        self._waiting.append((frame, count))
        self._waiting_bytes += len(frame)
        self._start_keeper()

    def _write_waiting(self) -> None:
        while self._waiting and not self._full and self._write(self._waiting[0][0]):
            frame, count = self._waiting.popleft()
            self._waiting_bytes -= len(frame)
            self.waiting -= count
            self.appended += count
        if not self._waiting:
            self.problem = None

    # --- the thread that syncs ------------------------------------------------------------------------------------------

    def _start_keeper(self) -> None:
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, args=(self._stop,), name="podium-journal", daemon=True)
            self._keeper.start()
            self._most_gathered = _GATHERED

    def _keep(self, stop: threading.Event) -> None:
        turns = 0
        while not stop.wait(GROUP_S):
            if turns % _LOOK_EVERY == 0:
                self._look_at_size()
                self._look_at_segment()
            turns += 1
            self._end_group()
            if self._waiting:
                with self._lock:
                    self._write_waiting()
            if self._dirty and self._fsync == "group":
                self.sync()

    def _look_at_size(self) -> None:
        try:
            full = sum(sizes(self.folder).values()) >= self._most_bytes
        except OSError as error:
            self.problem = error.strerror
            return
        self._full = full
        if full:
            self.problem = f"the journal has its {self._most_bytes:,} bytes and the store does not take them"

    def _look_at_segment(self) -> None:
        """Go on in another segment where the present one is no longer there: what is written to that nobody would read."""
        with self._lock:
            descriptor = self._descriptor
            try:
                if descriptor is None or self._is_in_place(descriptor):
                    return
            except OSError as error:  # it is looked at again
                self.problem = error.strerror
                return
            _LOG.warning("A segment of %s was deleted or moved, with all in it that no store had yet.", self.folder)
            try:
                self._next_segment()
            except OSError as error:  # the folder is gone as well, perhaps: what comes waits until there is one
                self.problem = error.strerror
                self._descriptor = None
                os.close(descriptor)

    def _is_in_place(self, descriptor: int) -> bool:
        """Whether the segment that is written to stands under its name, where a drainer looks for it."""
        try:
            return os.path.samestat(os.stat(self.folder / self._segment.name), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    def sync(self) -> None:
        """Wait until the disk has all that was appended."""
        with self._lock:
            self._hand_over()
            if self._descriptor is None:
                return
            # A second descriptor, so that nobody waits for the lock while the disk works.
            descriptor = self._syncing = os.dup(self._descriptor)
            self._dirty = False
            named, self._named = self._named, False
        try:
            self._sync(descriptor)
            if named:
                self._sync_names()
        finally:
            with self._lock:
                self._syncing = None
                os.close(descriptor)

    def _sync_names(self) -> None:
        """A segment without its name on the disk would be lost with all that is in it."""
        try:
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            self.fsync_errors += 1
            self.problem = error.strerror
            return
        try:
            self._sync(folder, os.fsync)
        finally:
            os.close(folder)

    def _sync(self, descriptor: int, sync: Callable[[int], None] = os.fdatasync) -> None:
        try:
            sync(descriptor)
        except OSError as error:
            self.fsync_errors += 1
            self.problem = error.strerror
        else:
            self.fsyncs += 1

    # --- its end --------------------------------------------------------------------------------------------------------

    def position(self) -> tuple[Segment, int] | None:
        """The segment that is written to, and its size with all that was appended; None where there is none."""
        with self._lock:
            self._hand_over()
            return None if self._descriptor is None else (self._segment, self._size)

    def close(self) -> None:
        """Write what waits, sync, and let the segment go. Safe to call twice."""
        with self._lock:
            if self._closed:
                return
            self._hand_over()
            self._write_waiting()
            self._closed = True
            self._most_gathered = 0
            self.lost += self.waiting
            self.waiting = 0
            self._waiting.clear()
            self._stop.set()
            keeper = self._keeper
        atexit.unregister(self._at_exit)
        if keeper is not None:
            keeper.join()
        with self._lock:
            if self._descriptor is not None:
                if self._fsync == "group":
                    self.sync()
                os.close(self._descriptor)
                self._descriptor = None

    def _forked(self) -> None:
        """In a forked child: the parent's segment, lock and records are the parent's."""
        closed, inherited = self._closed, (self._descriptor, self._syncing)
        self._clear()
        self._closed = closed
        for descriptor in inherited:
            if descriptor is not None:  # it would keep the parent's lock beyond the parent's life
                os.close(descriptor)


def weakly(method: weakref.WeakMethod[Callable[[], None]]) -> Callable[[], None]:
    """A function that calls a method as long as its object lives, for registers that never forget: it keeps nothing alive."""

    def call() -> None:
        if (living := method()) is not None:
            living()

    return call
