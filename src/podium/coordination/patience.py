"""Waits for a file of SQLite's that somebody else is at.

Theory. SQLite's own timeout does not hold for everything: of several processes that make a file at once it lets one change the
journal's mode, and tells the others at once that the file is locked. So whoever begins tries again, until its time is over.
"""

from __future__ import annotations

import random
import sqlite3
import time


def patiently(db: sqlite3.Connection, statement: str, wait_s: float) -> int:
    """Execute a statement, and return how often it had to wait. Raises `sqlite3.Error`, also where the time is over."""
    deadline = time.monotonic() + wait_s
    waits = 0
    while True:
        try:
            db.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            if time.monotonic() >= deadline:
                raise
        else:
            return waits
        waits += 1
        time.sleep(random.uniform(0.0002, 0.001))
