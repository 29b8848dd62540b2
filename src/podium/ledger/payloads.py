"""Bodies of requests and answers, in a file of their own.

Theory. Payloads are large, wanted for a while, and private; entries are small and kept. In a file of their own they can be
deleted, and the file made smaller, without a word to the ledger. They are written before the batch that brings them is
committed, and taken once by their id, so a batch that comes again changes nothing.

Rules. Retention works in small steps, each a short transaction: the oldest first, until none is too old and the sum of sizes
fits. Bodies are compressed where that makes them smaller.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple
from zlib import compress, decompress

from podium.errors import StoreError
from podium.ledger.place import Place, place_of
from podium.ledger.records import Payload
from podium.ledger.rows import microseconds
from podium.ledger.store import Unstorable

_TABLES = (
    """CREATE TABLE IF NOT EXISTS payloads (
        at_us INTEGER NOT NULL, request_id TEXT NOT NULL, attempt INTEGER NOT NULL, kind TEXT NOT NULL,
        requested_us INTEGER NOT NULL, sha256 BLOB NOT NULL, size INTEGER NOT NULL, packed INTEGER NOT NULL, body BLOB,
        PRIMARY KEY (at_us, request_id, attempt, kind))""",
    "CREATE INDEX IF NOT EXISTS payloads_of_request ON payloads (request_id)",
    "CREATE TABLE IF NOT EXISTS kept (one INTEGER PRIMARY KEY CHECK (one = 1), bytes INTEGER NOT NULL)",
    "INSERT OR IGNORE INTO kept VALUES (1, 0)",
)
_OVERHEAD = 200
"""Bytes that a row costs beside its body, about."""
_PAGES = 500
"""Pages that one step of retention gives back to the file system."""


class KeptPayload(NamedTuple):
    """A payload as it is in the store."""

    request_id: str
    attempt: int
    kind: str
    at: float
    sha256: bytes
    size: int
    body: bytes | None
    requested_us: int

    @property
    def is_cut(self) -> bool:
        """Whether the body is not whole."""
        return self.body is not None and len(self.body) < self.size


class PayloadFile:
    """The payloads of a ledger; in memory where `path` is None."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._place: Place | None = None
        self._abandoned: sqlite3.Connection | None = None
        self._paused = False

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is not None and place_of(self.path) != self._place:
                    self._drop()
                connection = self._connection or self._open()
                self._connection = connection
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except (OverflowError, ValueError) as error:
                self._drop()
                raise Unstorable(f"The ledger cannot store a payload: {error}.") from error
            except sqlite3.Error as error:
                self._drop()
                raise self._trouble(error) from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that waits for no writer; in memory, the only one there is."""
        if self.path is None:
            with self._writing() as connection:
                yield connection
            return
        try:
            with closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise self._trouble(error) from error

    def _trouble(self, error: sqlite3.Error) -> StoreError:
        return StoreError(
            f"The ledger's payloads {self.path or ':memory:'} do not answer: {error}.",
            hint="Podium goes on; see to the file, its disk and its rights.",
        )

    def _open(self) -> sqlite3.Connection:
        name = ":memory:" if self.path is None else os.fspath(self.path)
        place = place_of(self.path)
        connection = sqlite3.connect(name, timeout=0.25, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            if self.path is not None:
                connection.execute("PRAGMA journal_mode=WAL")
                os.chmod(self.path, 0o600)
            for statement in _TABLES:
                connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        self._place = place or place_of(self.path)
        return connection

    def _drop(self) -> None:
        connection = self._connection
        if connection is None:
            return
        if self.path is None:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return
        self._connection = None
        connection.close()

    def add(self, payloads: Sequence[Payload]) -> None:
        """Take payloads, each once."""
        with self._writing() as connection:
            added = 0
            for each in payloads:
                body, packed = each.body, False
                if body is not None and len(small := compress(body, 1)) < len(body):
                    body, packed = small, True
                row = (
                    microseconds(each.at), each.request_id, each.attempt, each.kind,
                    microseconds(each.requested_at), each.sha256, each.size, packed, body,
                )  # fmt: skip
                taken = connection.execute("INSERT OR IGNORE INTO payloads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row).rowcount
                added += taken * (_OVERHEAD + len(body or b""))
            connection.execute("UPDATE kept SET bytes = bytes + ?", (added,))

    def tidy(self, *, now: float, age_s: float | None, most_bytes: int | None, most: int) -> int:
        """Delete the oldest payloads that are too old or too many, at most `most`. Returns how many went."""
        if (age_s is None and most_bytes is None) or (self.path is not None and not self.path.exists()):
            return 0
        oldest_us = -(2**62) if age_s is None else microseconds(now - age_s)
        with self._writing() as connection:
            kept = connection.execute("SELECT bytes FROM kept").fetchone()[0]
            excess = 0 if most_bytes is None else kept - most_bytes
            rows = connection.execute(
                "SELECT rowid, at_us, ifnull(length(body), 0) FROM payloads ORDER BY at_us LIMIT ?", (most,)
            ).fetchall()
            gone = []
            for rowid, at_us, size in rows:
                if at_us >= oldest_us and excess <= 0:
                    break
                gone.append((rowid,))
                excess -= size + _OVERHEAD
                kept -= size + _OVERHEAD
            if not gone:
                return 0
            connection.executemany("DELETE FROM payloads WHERE rowid = ?", gone)
            connection.execute("UPDATE kept SET bytes = ?", (kept,))
        self._shrink()
        return len(gone)

    def _shrink(self) -> None:
        with self._lock:
            if self._connection is None:
                return
            try:
                # A script: a plain execute takes the first step alone, which is one page.
                self._connection.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
            except sqlite3.Error as error:
                raise self._trouble(error) from error

    def find(self, request_id: str) -> list[KeptPayload]:
        """Return the payloads of a request, in the order of time."""
        if self.path is not None and not self.path.exists():
            return []
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT request_id, attempt, kind, at_us, sha256, size, packed, body, requested_us FROM payloads "
                "WHERE request_id = ? ORDER BY at_us",
                (request_id,),
            ).fetchall()
        return [
            KeptPayload(found, attempt, kind, at_us / 1e6, sha256, size, decompress(body) if packed else body, requested_us)
            for found, attempt, kind, at_us, sha256, size, packed, body, requested_us in rows
        ]

    def pause(self, timeout_s: float) -> bool:
        """Before a fork: let nobody work, and close the file. Returns whether that was done in time."""
        self._paused = self._lock.acquire(timeout=timeout_s)
        if self._paused:
            self.close()
        return self._paused

    def go_on(self) -> None:
        """After a fork, in the parent."""
        if self._paused:
            self._lock.release()

    def begin_anew(self) -> None:
        """After a fork, in the child."""
        self._abandoned, self._connection = self._connection, None
        self._lock = threading.RLock()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
