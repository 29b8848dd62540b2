"""The drainer: moves what the journals of all processes say into the store.

Theory. Of all processes that share a folder one drains, elected by a lock (flock) that the kernel takes back when the process
ends; the others look every quarter of a second whether it is free. The holder reads each segment from where the store says it
has been read, gives the store a batch, and with it the new position. A batch that fails is not remembered as read: it is
given again. So the journal waits for the store, and a request waits for neither.

Rules.
- A writer none of whose segments is locked is dead: an unfinished frame at its end is torn, and what it left open is
  `unknown`. Its segments are deleted when they are read to their end, that is in the store, and nothing in them is open.
- A segment of a newer version is left for a drainer that knows it; one that cannot be opened now waits, and holds up its own
  writer alone.
- What was read and could not be given, whatever came between, is read again from where the store has it.
- Work is done in small pieces, between which other threads run; a store in trouble is asked again after 0.1 s, then ever
  later, up to 2 s.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from podium.errors import StoreError
from podium.ledger import frames, segments
from podium.ledger.pending import Pending
from podium.ledger.records import Record, Settled
from podium.ledger.segments import Segment
from podium.ledger.store import Batch, Store, Unstorable

LOCK_NAME = "drainer.lock"
ASIDE_NAME = "set-aside.frames"
_SWEEP_S = 30.0

_PIECE = 512 * 1024
"""Bytes of a segment that are read at once."""
_BATCH = 16_000
"""Records of a segment that a transaction takes, about."""
_SLICE = 600
"""Records that are decoded before other threads may run: less than a millisecond of work. Whoever lets the interpreter go waits
for it, and is woken in vain each time that a busy loop reads or writes: more slices cost both threads more."""

_LOG = logging.getLogger("podium.ledger")


class _File:
    """A segment that is being read."""

    __slots__ = ("descriptor", "known", "load", "name", "position", "segment", "stuck_at", "version", "whole")

    def __init__(self, segment: Segment, descriptor: int, position: int) -> None:
        self.segment = segment
        self.name = segment.name
        self.descriptor = descriptor
        self.position = position
        self.version = frames.version_of(os.pread(descriptor, frames.HEADER_SIZE, 0))
        self.load = frames.loader_of(self.version)
        self.known = False
        """Whether its header was looked at, and is of no newer version."""
        self.whole = False
        """Whether it is read to its end, and nothing will be added."""
        self.stuck_at: int | None = None
        """The size that it had when an unfinished frame was met at `position`."""


class _Writer:
    """A process whose segments are read."""

    __slots__ = ("files", "pending")

    def __init__(self) -> None:
        self.pending = Pending()
        self.files: dict[Segment, _File] = {}

    def close(self) -> None:
        """Let its files go."""
        for file in self.files.values():
            os.close(file.descriptor)


class Drainer:
    """Drains a folder's journal into a store, as long as it holds the folder's lock. Made for one thread."""

    def __init__(self, folder: Path, lock_path: Path, store: Store) -> None:
        self.folder = folder
        self._lock_path = lock_path
        self._store = store
        self._lock: int | None = None
        self._writers: dict[str, _Writer] | None = None
        self._forget: list[str] = []
        self._barred: set[str] = set()
        """Segments of which was told that they cannot be opened."""
        self._held: tuple[Batch, list[tuple[_Writer, _File]]] | None = None
        """What the store has not taken yet, and the segments that can be deleted when it has."""
        self._aside = lock_path.with_name(ASIDE_NAME)
        self._swept_at = -_SWEEP_S
        self.drained = 0
        """Attempts, entries and payloads that this process has given to the store."""
        self.store_errors = 0
        self.problem: str | None = None
        """What the store said last, as long as it is in trouble."""

    # --- the election ---------------------------------------------------------------------------------------------------

    @property
    def elected(self) -> bool:
        """Whether this process drains the folder."""
        return self._lock is not None

    def elect(self) -> bool:
        """Take the folder's lock, if nobody has it. Returns whether it is ours."""
        if self._lock is not None:
            return True
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def resign(self) -> None:
        """Let all files go, the lock last."""
        self._let_go()
        self._held = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _let_go(self) -> None:
        for writer in (self._writers or {}).values():
            writer.close()
        self._writers = None

    # --- a pass ---------------------------------------------------------------------------------------------------------

    def drain(self) -> bool:
        """Read what there is, up to a batch a segment, and give it to the store. Returns whether there may be more.

        Raises `StoreError` where the store does not take it: the batch is kept and given again. Raises `OSError` where the
        journal cannot be read.
        """
        if self._held is not None:
            self._give(*self._held)
            return True
        batch = Batch()
        try:
            more = self._read_all(batch)
        except BaseException:  # what was read so far is not given, and is to be read again
            self._let_go()
            raise
        batch.forget, self._forget = self._forget, []
        self._give(batch, self._deletable())
        if (now := time.monotonic()) - self._swept_at > _SWEEP_S:
            self._swept_at = now
            segments.sweep(self.folder, time.time())
        return more

    def _give(self, batch: Batch, gone: list[tuple[_Writer, _File]]) -> None:
        self._held = (batch, gone)
        try:
            if len(batch) or batch.positions or batch.forget or batch.counts:
                self._store.apply(batch)
        except Unstorable as error:
            self._count(error)
            self._give_singly(batch)
        except StoreError as error:
            self._count(error)
            raise
        self._held = None
        self.problem = None
        self.drained += len(batch)
        self._delete(gone)

    def _count(self, error: StoreError) -> None:
        self.store_errors += 1
        if self.problem is None:
            _LOG.warning("%s", error)
        self.problem = str(error)

    def _give_singly(self, batch: Batch) -> None:
        """Give the store one record at a time, and set aside those that it can never take."""
        records, strange = deque(batch.records()), batch.strange
        batch.clear()
        try:
            while records:
                self._give_one(records[0], strange, batch)
                records.popleft()
        finally:  # what the store does not take just now is given again
            batch.add_all(records, strange=strange)
        self._store.apply(batch)

    def _give_one(self, record: Record, strange: Sequence[Settled], batch: Batch) -> None:
        single = Batch()
        single.add_all((record,), strange=strange)
        try:
            self._store.apply(single)
            self.drained += len(single)
        except Unstorable as error:
            with self._aside.open("ab") as aside:
                aside.write(frames.dump_frame(record))
            batch.count("set_aside", 1)
            _LOG.error("%s It is kept in %s.", error, self._aside)

    def _take_up(self) -> dict[str, _Writer]:
        """Begin where the last drainer, perhaps another process, has ended: find again what is open."""
        positions = self._store.positions()
        writers = self._writers = {}
        listed = segments.list_segments(self.folder)
        names = {each.name for found in listed.values() for each in found}
        self._forget = [name for name in positions if name not in names]
        for name, found in listed.items():
            writer = writers[name] = _Writer()
            if self._open_all(writer, found, positions):
                for file in writer.files.values():
                    self._read_again(writer, file)
            else:  # read from its beginning later, since what is open can only be found in order
                writer.close()
                del writers[name]
        return writers

    def _read_again(self, writer: _Writer, file: _File) -> None:
        at = frames.HEADER_SIZE
        while at < file.position:
            data = self._piece(file, at, file.position)
            start = 0
            while start < len(data):
                ends = at + len(data) >= file.position
                reading = frames.read(data, start, final=ends, most=_SLICE, load=file.load)
                if not reading.consumed:
                    break
                writer.pending.follow(reading.records, file.name)
                start += reading.consumed
                time.sleep(0)
            at += start or len(data)

    def _open(self, segment: Segment, position: int) -> _File | None:
        """Open a segment; None where it is gone, or cannot be opened and read now."""
        try:
            descriptor = os.open(self.folder / segment.name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                file = _File(segment, descriptor, position)
            except OSError:
                os.close(descriptor)
                raise
        except FileNotFoundError:
            return None
        except OSError as error:  # another user's, one file too many, or none that can be read
            if segment.name not in self._barred:
                self._barred.add(segment.name)
                words = "The segment %s cannot be opened: %s. What is in it waits until it can be."
                _LOG.warning(words, segment.name, error.strerror)
            return None
        self._barred.discard(segment.name)
        return file

    def _piece(self, file: _File, at: int, size: int) -> bytes:
        """The next bytes of a segment: one frame at least, if its head can be believed."""
        told = frames.size_told(os.pread(file.descriptor, frames.HEAD_SIZE, at))
        return os.pread(file.descriptor, min(max(_PIECE, told), size - at), at)

    # --- reading --------------------------------------------------------------------------------------------------------

    def _read_all(self, batch: Batch) -> bool:
        """Read on in the segments of all writers, up to a batch each. Returns whether there may be more."""
        writers = self._take_up() if self._writers is None else self._writers
        more = False
        for name, found in segments.list_segments(self.folder).items():
            more |= self._read_writer(writers.setdefault(name, _Writer()), found, batch)
        return more

    def _read_writer(self, writer: _Writer, found: list[Segment], batch: Batch) -> bool:
        """Read a writer's segments in their order. Returns whether there may be more."""
        if not self._open_all(writer, found):
            return False
        newest = max(found)
        dead = self._is_dead(writer, newest)
        if dead is None:  # it went on to another segment meanwhile: the next pass sees it
            return True
        more = False
        for segment in found:
            file = writer.files[segment]
            if not file.whole:
                more |= self._read_file(writer, file, batch, final=dead or segment != newest)
            if not file.whole:
                break  # what comes later is read later: in order
        if dead and all(writer.files[segment].whole for segment in found) and len(writer.pending):
            abandoned = writer.pending.abandon()
            batch.attempts += abandoned.attempts
            batch.entries += abandoned.entries
            batch.count("unknown", len(abandoned.attempts))
            batch.count("corrupt", abandoned.corrupt)
            batch.positions.setdefault(newest.name, writer.files[newest].position)
        return more

    def _open_all(self, writer: _Writer, found: list[Segment], positions: Mapping[str, int] | None = None) -> bool:
        """Open a writer's segments that are not open yet; whether all of them are now."""
        for segment in found:
            if segment not in writer.files:
                file = self._open(segment, (positions or {}).get(segment.name, 0))
                if file is None:
                    return False
                writer.files[segment] = file
        return True

    def _is_dead(self, writer: _Writer, newest: Segment) -> bool | None:
        """Whether a writer is gone; None where it turns out to have a newer segment."""
        if segments.is_locked(writer.files[newest].descriptor):
            return False
        if max(segments.list_segments(self.folder).get(newest.writer, [newest])) != newest:
            segments.unlock(writer.files[newest].descriptor)
            return None
        return True

    def _read_file(self, writer: _Writer, file: _File, batch: Batch, *, final: bool) -> bool:
        """Read on in a segment, up to a batch. Returns whether there may be more."""
        size = os.fstat(file.descriptor).st_size
        if not file.known and not self._read_header(file, batch, size):
            return False
        taken = 0
        while file.position < size:
            if taken >= _BATCH:
                return True
            data = self._piece(file, file.position, size)
            ends = file.position + len(data) >= size
            found = self._read_piece(writer, file, data, batch, final=final and ends)
            if found < 0 and not ends:  # damage: look for the next frame in all that is left
                data = os.pread(file.descriptor, size - file.position, file.position)
                found = self._read_piece(writer, file, data, batch, final=final)
            if found < 0 and not self._skip(file, data, size, batch):
                return False
            taken += max(found, 0)
        file.whole = final
        return False

    def _read_piece(self, writer: _Writer, file: _File, data: bytes, batch: Batch, *, final: bool) -> int:
        """Take the records of a piece; returns how many, or -1 where not one byte of it could be read."""
        start = taken = 0
        while start < len(data):
            reading = frames.read(data, start, final=final, most=_SLICE, load=file.load)
            if not reading.consumed:
                break
            batch.add_all(reading.records, strange=writer.pending.follow(reading.records, file.name))
            batch.count("corrupt", reading.corrupt)
            batch.count("torn", reading.torn)
            start += reading.consumed
            taken += len(reading.records)
            time.sleep(0)  # between two slices other threads may run
        if start:
            file.stuck_at = None
            self._advance(file, start, batch)
        return taken if start else -1

    def _read_header(self, file: _File, batch: Batch, size: int) -> bool:
        if file.version is None:
            # A segment gets its name only with its header: this one was damaged. Its frames may still be good.
            if file.position < frames.HEADER_SIZE:  # else it was counted when it was read first
                _LOG.warning("The segment %s has no header.", file.segment.name)
                batch.count("corrupt", 1)
        elif file.version > frames.VERSION:
            return False
        file.known = True
        if file.position < frames.HEADER_SIZE:
            file.position = min(frames.HEADER_SIZE, size)
            batch.positions[file.name] = file.position
        return True

    def _advance(self, file: _File, more: int, batch: Batch) -> None:
        file.position += more
        batch.positions[file.name] = file.position

    def _skip(self, file: _File, data: bytes, size: int, batch: Batch) -> bool:
        """Deal with a frame that is not whole yet, in a segment that is written to. Returns whether reading may go on."""
        grown = file.stuck_at is not None and size > file.stuck_at
        file.stuck_at = size
        # Where a whole frame follows one that is not, that one never will be.
        found = frames.resume(data) if grown else None
        if found is None:
            return False
        batch.count("corrupt", 1)
        self._advance(file, found, batch)
        return True

    # --- deleting -------------------------------------------------------------------------------------------------------

    def _deletable(self) -> list[tuple[_Writer, _File]]:
        gone: list[tuple[_Writer, _File]] = []
        for writer in (self._writers or {}).values():
            held = writer.pending.segments()
            gone += [(writer, file) for file in writer.files.values() if file.whole and file.name not in held]
        return gone

    def _delete(self, gone: list[tuple[_Writer, _File]]) -> None:
        for writer, file in gone:
            (self.folder / file.segment.name).unlink(missing_ok=True)
            os.close(file.descriptor)
            del writer.files[file.segment]
            self._forget.append(file.segment.name)
        if self._writers is not None:
            for name in [name for name, writer in self._writers.items() if not writer.files]:
                del self._writers[name]
