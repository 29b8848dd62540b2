"""The files of the journal: their names, who owns them, and whether the owner lives.

Theory. Each process writes segments of its own, one after the other: `<writer>.<sequence>.journal`. The owner holds a lock
(flock) on the segment that it writes to, and makes the next one, locked, before it lets the last one go. So a writer lives
as long as one of its segments is locked, and the kernel itself says when it is gone.

Rules.
- A segment appears under its name only when it is locked and has its header (`.new` until then).
- "Nobody locks it" is believed only after the folder has been listed again: the owner may have gone on to its next segment.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from pathlib import Path
from typing import NamedTuple

from podium.ledger.frames import HEADER

SUFFIX = ".journal"
_NEW = ".new"
_ABANDONED_S = 60.0


class Segment(NamedTuple):
    """A segment's place in the order of its writer."""

    writer: str
    sequence: int

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.writer}.{self.sequence:08d}{SUFFIX}"


def new_writer() -> str:
    """Return a name that no other process of this folder has: pid, start in microseconds, chance."""
    return f"{os.getpid()}-{time.time_ns() // 1000}-{secrets.token_hex(4)}"


def segment_of(name: str) -> Segment | None:
    """Read a file's name; None where it is no segment."""
    if not name.endswith(SUFFIX):
        return None
    writer, _, sequence = name[: -len(SUFFIX)].rpartition(".")
    return Segment(writer, int(sequence)) if writer and sequence.isdecimal() else None


def list_segments(folder: Path) -> dict[str, list[Segment]]:
    """Return the segments of each writer, in their order."""
    found: dict[str, list[Segment]] = {}
    for name in os.listdir(folder):
        if (segment := segment_of(name)) is not None:
            found.setdefault(segment.writer, []).append(segment)
    for segments in found.values():
        segments.sort()
    return dict(sorted(found.items()))


def sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of each segment, by its name."""
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX):
                try:
                    found[entry.name] = entry.stat().st_size
                except FileNotFoundError:  # drained and deleted meanwhile
                    continue
    return found


def create_segment(folder: Path, segment: Segment) -> int:
    """Make a segment, locked and with its header; returns the descriptor to append to. Raises `OSError`."""
    path = folder / segment.name
    fresh = path.with_name(path.name + _NEW)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.write(descriptor, HEADER) != len(HEADER):
            raise OSError(28, "No space left on device", str(path))
        os.rename(fresh, path)
    except OSError:
        os.close(descriptor)
        fresh.unlink(missing_ok=True)
        raise
    return descriptor


def is_locked(descriptor: int) -> bool:
    """Say whether another holds the lock of this open file. Where nobody does, the caller holds it from now on."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def unlock(descriptor: int) -> None:
    """Let go of what `is_locked` took."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def sweep(folder: Path, now: float) -> None:
    """Delete segments that their maker died over before they had a name."""
    for name in os.listdir(folder):
        if name.endswith(SUFFIX + _NEW):
            path = folder / name
            try:
                if now - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()
            except FileNotFoundError:
                continue
