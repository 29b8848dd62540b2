"""Which file stands at a path.

Theory. SQLite goes on in the file that it opened, also where that was deleted or another was put in its place: what is written
there nobody ever reads. So whoever keeps a connection looks before each write whether the file is still that one.

Rules. The place is noted before the file is opened, or, where there is none yet, at once after: a file that takes its place in
between is found out at the next look.
"""

from __future__ import annotations

import os
from pathlib import Path

Place = tuple[int, int]
"""A device, and the number of a file on it; no other file has that as long as somebody has it open."""


def place_of(path: Path | None) -> Place | None:
    """Return which file stands at a path; None: there is none, or none that can be seen, or no path (a store in memory)."""
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
