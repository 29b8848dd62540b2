"""A process's slate: what it has used of its leases, in shared memory that outlives it, with a lock and a bell.

Theory. What a process decides in memory must be known after its death. So it writes two words a lease, `used` and `spent`,
into a mapped file: a plain store, no system call; the pages belong to the kernel, so kill -9 loses nothing (only a crash of the
machine does). The process holds an flock on the file as long as it lives, and the kernel gives that up however it dies: a slate
whose lock can be taken is a dead process's.

Rules.
- `used` alone says what counts (it includes what is reserved) and is one aligned word, so that no death can tear it.
- The file's room is written before it is mapped: a full disk is an error then, never a fault of memory later.
- The bell is a FIFO beside it: one byte wakes its owner's leasing thread. Where a bell cannot be had, its owner looks often.
- A beat is told by the clock that nobody sets, which all processes of a machine share.
- Slates, locks and bells are of one machine, like the WAL of SQLite.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import select
import threading
import time
import uuid
from pathlib import Path
from sys import byteorder

from podium.routing.limits import MOST

_MAGIC = int.from_bytes(b"podium\x00\x01", "little")
_CHUNK = 65536
"""A multiple of every page size."""
_WORDS = _CHUNK // 8
_PER_CHUNK = _WORDS // 2
_HEADER_SLOTS = 2
_BLIND_POLL_S = 0.02
MISSING_S = 3.0
"""Longer than a process takes to notice that its slate is gone."""

Words = memoryview
"""A part of a slate as signed 64-bit words."""


class Slate:
    """This process's slate. Raises `OSError` where it cannot be made."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.path = folder / f"{self.name}.slate"
        self._bell_path = folder / f"{self.name}.bell"
        self._chunks: list[tuple[mmap.mmap, Words]] = []
        self._free: list[int] = []
        self._bell = -1
        self._bell_lock = threading.Lock()
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._grow()
        except BaseException:
            self.close()
            raise
        self._free = [slot for slot in self._free if slot >= _HEADER_SLOTS]
        self._chunks[0][1][0] = _MAGIC
        self.beat()
        with contextlib.suppress(OSError):  # then without a bell, see `wait`
            os.mkfifo(self._bell_path, 0o600)
            self._bell = os.open(self._bell_path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def _grow(self) -> None:
        at = len(self._chunks) * _CHUNK
        if os.pwrite(self._fd, bytes(_CHUNK), at) != _CHUNK:
            raise OSError(f"no room for {self.path}")
        chunk = mmap.mmap(self._fd, _CHUNK, offset=at)
        first = len(self._chunks) * _PER_CHUNK
        self._chunks.append((chunk, memoryview(chunk).cast("q")))
        self._free = list(range(first + _PER_CHUNK - 1, first - 1, -1))

    def stands(self) -> bool:
        """Whether the file can still be found by the others."""
        try:
            found = os.stat(self.path)
        except OSError:
            return False
        return self._fd >= 0 and found.st_ino == os.fstat(self._fd).st_ino

    def take_slot(self) -> int:
        """Return a free slot, both its words 0. Raises `OSError` where there is no room for more."""
        if not self._free:
            self._grow()
        return self._free.pop()

    def free_slot(self, slot: int) -> None:
        """Give a slot back."""
        words = self.words(slot)
        words[0] = words[1] = 0
        self._free.append(slot)

    def words(self, slot: int) -> Words:
        """Return the two words of a slot."""
        at = slot % _PER_CHUNK * 2
        return self._chunks[slot // _PER_CHUNK][1][at : at + 2]

    def beat(self) -> None:
        """Note that the leasing thread is at work."""
        self._chunks[0][1][1] = int(time.monotonic() * 1_000_000)

    # --- the bell -------------------------------------------------------------------------------------------------------

    def wait(self, timeout_s: float) -> None:
        """Sleep until the bell rings, or for so long; whoever has no bell looks after 20 ms."""
        if self._bell < 0:
            time.sleep(min(timeout_s, _BLIND_POLL_S))
            return
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if poll.poll(max(0, int(timeout_s * 1000 + 0.999))):
            with contextlib.suppress(BlockingIOError):
                os.read(self._bell, 4096)

    def ring(self) -> None:
        """Wake this process's own leasing thread."""
        with self._bell_lock, contextlib.suppress(BlockingIOError):  # full of rings already
            if self._bell >= 0:
                os.write(self._bell, b"\0")

    def close(self, *, remove: bool = True) -> None:
        """Give up the lock and the memory; the files are removed where nobody needs to read them."""
        if remove:
            for path in (self.path, self._bell_path):
                with contextlib.suppress(OSError):
                    path.unlink()
        with self._bell_lock:  # whoever rings must not write into what is opened next under this number
            for fd in (self._bell, self._fd):
                if fd >= 0:
                    os.close(fd)
            self._bell = self._fd = -1
        self._chunks.clear()

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's, which keeps its lock, memory and files."""
        self._bell_lock = threading.Lock()  # a thread of the parent's may have held it
        self.close(remove=False)


class Peer:
    """Another process's slate. `alive()` says whether its process lives; `read` what it has used."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._path = folder / f"{name}.slate"
        self._bell_path = folder / f"{name}.bell"
        self._bell = -1
        self._fd = -1
        self._missed_at = 0.0
        self._find()

    def _find(self) -> bool:
        if self._fd < 0:
            with contextlib.suppress(OSError):
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return self._fd >= 0

    def alive(self) -> bool:
        """Whether the process lives. A dead one's lock is held from then on until `close`, so that one reaper alone has it.

        One whose slate was taken away may live: it has time to notice and make another before it counts as dead.
        """
        if not self._find():
            now = time.monotonic()
            self._missed_at = self._missed_at or now
            return now - self._missed_at < MISSING_S
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

    def read(self, slot: int) -> tuple[int, int] | None:
        """Return `used` and `spent` of a slot; None where they cannot be known."""
        if self._fd < 0:
            return None
        offset = slot // _PER_CHUNK * _CHUNK + slot % _PER_CHUNK * 16
        words = os.pread(self._fd, 16, offset)
        if len(words) < 16:
            return None
        return int.from_bytes(words[:8], byteorder, signed=True), int.from_bytes(words[8:], byteorder, signed=True)

    def beaten_s_ago(self) -> float:
        """Seconds since the process's leasing thread last said that it is at work."""
        header = self.read(0)
        return float("inf") if header is None or header[0] != _MAGIC else time.monotonic() - header[1] / 1_000_000

    def ring(self) -> None:
        """Wake its leasing thread, if it has a bell."""
        try:
            if self._bell < 0:
                self._bell = os.open(self._bell_path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(self._bell, b"\0")
        except BlockingIOError:
            return  # full of rings already
        except OSError:  # nobody listens any more
            self._hang_up()

    def _hang_up(self) -> None:
        if self._bell >= 0:
            os.close(self._bell)
            self._bell = -1

    def close(self, *, remove: bool = False) -> None:
        """Let go of it; `remove` deletes the files of a dead process."""
        if remove:
            for path in (self._path, self._bell_path):
                with contextlib.suppress(OSError):
                    path.unlink()
        self._hang_up()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def cap(words: int) -> int:
    """Return an amount as a word can hold it."""
    return words if words <= MOST else MOST
