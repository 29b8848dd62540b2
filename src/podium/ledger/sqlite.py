"""The default store: one SQLite file in WAL mode, beside it another for payloads.

Theory. One process writes (the drainer of the folder), any number read. WAL lets them read while it writes. Each batch is one
transaction: rows, sums, counters and positions together.

Rules.
- What may pass becomes `StoreError`, and the connection is opened anew next time; what can never be stored, `Unstorable`.
- A file that was deleted or replaced is let go at the next write, and what stands there, or is made there, is gone on with.
- With `fsync: group` a commit waits for the disk (`synchronous=FULL`): a segment is deleted only after its rows are safe.
- `:memory:` is a store without a file: the same tables, one connection.
- No connection to a file lives through a fork: SQLite in the child would take the parent's locks for its own, and read memory
  that others truncate (https://sqlite.org/howtocorrupt.html, 2.6). Where one cannot be closed in time, the child has no store.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from podium.errors import StoreError
from podium.ledger import sqlite_recordings, sqlite_reprice, sqlite_rows, sqlite_usage
from podium.ledger.journal import weakly
from podium.ledger.payloads import PayloadFile
from podium.ledger.place import Place, place_of
from podium.ledger.schema import MIGRATIONS
from podium.ledger.sqlite_closed import SharedFacts
from podium.ledger.store import Batch, Price, Priced, Question, Recording, Sought, Sums, Unstorable

FILE_NAME = "ledger.sqlite3"
PAYLOADS_NAME = "payloads.sqlite3"

_BUSY_S = 0.25
"""How long SQLite itself waits for a lock; the drainer has more patience and keeps nobody waiting."""
_FORK_WAIT_S = 1.0

_NEVER = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    ValueError,
    msgspec.DecodeError,
)


class SqliteStore:
    """The ledger in an SQLite file of `folder`; in memory where that is None."""

    def __init__(self, folder: Path | None, *, fsync: Literal["group", "never"] = "group") -> None:
        self.path = None if folder is None else folder / FILE_NAME
        self._fsync = fsync
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._place: Place | None = None
        self._shared = SharedFacts()
        self._payloads = PayloadFile(None if folder is None else folder / PAYLOADS_NAME)
        self._reading_ended = threading.Condition()
        self._readers = 0
        self.cut_off = False
        """Whether this process was forked in the middle of the parent's work, and may not touch the files."""
        if folder is not None:
            os.register_at_fork(
                before=weakly(weakref.WeakMethod(self._before_fork)),
                after_in_parent=weakly(weakref.WeakMethod(self._in_parent)),
                after_in_child=weakly(weakref.WeakMethod(self._in_child)),
            )

    # --- forks ----------------------------------------------------------------------------------------------------------

    def _before_fork(self) -> None:
        """Let nobody work, and close what is open."""
        self._paused = self._lock.acquire(timeout=_FORK_WAIT_S)
        self._reading_ended.acquire()
        quiet = self._reading_ended.wait_for(lambda: not self._readers, _FORK_WAIT_S)
        self._quiet = self._payloads.pause(_FORK_WAIT_S) and self._paused and quiet
        if self._paused and self._connection is not None:
            self._connection.close()
            self._connection = None

    def _in_parent(self) -> None:
        self._payloads.go_on()
        self._reading_ended.release()
        if self._paused:
            self._lock.release()

    def _in_child(self) -> None:
        self.cut_off = not self._quiet
        self._abandoned, self._connection = self._connection, None  # not closed: that would be work on the parent's files
        self._payloads.begin_anew()
        self._shared.forget()
        self._lock = threading.RLock()
        self._reading_ended = threading.Condition()
        self._readers = 0

    def _check_cut_off(self) -> None:
        if self.cut_off:
            raise StoreError(
                f"The ledger's store {self.path} cannot be used in this process: it was forked while its parent used it.",
                retryable=False,
                hint="Records go to the journal all the same. Fork before the first request, or spawn.",
            )

    # --- the writer's connection ----------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is alone in writing; rolled back, and the connection dropped, where it fails."""
        self._check_cut_off()
        with self._lock:
            try:
                if self._connection is not None and place_of(self.path) != self._place:
                    self._drop()
                connection = self._connection
                if connection is None:
                    self._shared.forget()
                    connection = self._connection = self._open()
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except _NEVER as error:
                self._drop()
                raise Unstorable(f"The ledger cannot store a record: {error}.") from error
            except sqlite3.Error as error:
                self._drop()
                raise self._trouble(error) from error
            except BaseException:
                self._drop()
                raise

    def _drop(self) -> None:
        self._shared.forget()
        connection = self._connection
        if connection is None:
            return
        if self.path is None:  # a store in memory goes with its connection
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return
        self._connection = None
        connection.close()

    def _trouble(self, error: sqlite3.Error) -> StoreError:
        return StoreError(
            f"The ledger's store {self.path or ':memory:'} does not answer: {error}.",
            hint="Podium goes on and the journal keeps what the store does not take; see to the file, its disk and its rights.",
        )

    def _check_unchanged(self, found: tuple[int, ...] | None) -> None:
        """See that a store that was read without a lock is as it was found. Raises `StoreError`."""
        if found is not None and self.path is not None and found != _state_of(self.path):
            raise StoreError(
                f"The ledger's store {self.path} was written to while it was read, so what was found there may be wrong.",
                hint="Ask again. Its folder cannot be written to by you, and so not be locked against whoever can.",
            )

    def _open(self) -> sqlite3.Connection:
        name = ":memory:" if self.path is None else os.fspath(self.path)
        place = place_of(self.path)
        connection = sqlite3.connect(name, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            if self.path is not None:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(f"PRAGMA synchronous={'FULL' if self._fsync == 'group' else 'NORMAL'}")
                connection.execute("PRAGMA wal_autocheckpoint=4000")
            connection.execute("PRAGMA cache_size=-32000")
            connection.execute("PRAGMA temp_store=MEMORY")
            migrate(connection, name)
        except BaseException:
            connection.close()
            raise
        self._place = place or place_of(self.path)
        return connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection to read with; None where there is no store yet."""
        self._check_cut_off()
        found: tuple[int, ...] | None = None
        with self._reading_ended:
            self._readers += 1
        try:
            if self.path is None:
                with self._lock:
                    if self._connection is None:
                        self._connection = self._open()
                    yield self._connection
                return
            if not self.path.exists():
                yield None
                return
            found = _unguarded(self.path)
            with closing(sqlite3.connect(_address(self.path, still=found is not None), uri=True, timeout=5.0)) as connection:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version < len(MIGRATIONS):
                    with self._writing():  # it is of an older release: bring it up to date first
                        pass
                _refuse_newer(version, str(self.path))
                yield connection
            self._check_unchanged(found)
        except sqlite3.Error as error:
            self._check_unchanged(found)  # that alone would look like damage
            raise self._trouble(error) from error
        finally:
            with self._reading_ended:
                self._readers -= 1
                self._reading_ended.notify_all()

    # --- what a store does ----------------------------------------------------------------------------------------------

    def apply(self, batch: Batch) -> None:
        """Take a batch, whole or not at all. Raises `StoreError`, `Unstorable`."""
        if batch.payloads:
            self._payloads.add(batch.payloads)
        with self._writing() as connection:
            sqlite_rows.take(connection, batch, self._shared)
            connection.executemany(
                "INSERT INTO positions VALUES (?, ?) ON CONFLICT (segment) DO UPDATE SET position = excluded.position",
                batch.positions.items(),
            )
            connection.executemany("DELETE FROM positions WHERE segment = ?", [(name,) for name in batch.forget])
            connection.executemany(
                "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                batch.counts.items(),
            )

    def positions(self) -> dict[str, int]:
        """Return how far each segment has been read."""
        return self._pairs("SELECT segment, position FROM positions")

    def counters(self) -> dict[str, int]:
        """Return what was counted over the store's life."""
        return self._pairs("SELECT name, value FROM counters")

    def _pairs(self, query: str) -> dict[str, int]:
        with self._reading() as connection:
            return {} if connection is None else dict(connection.execute(query).fetchall())

    def usage(self, question: Question) -> dict[tuple[str | None, ...], Sums]:
        """Return the sums of each group. Raises `StoreError`."""
        with self._reading() as connection:
            return {} if connection is None else sqlite_usage.answer(connection, question)

    def priced(
        self, *, since_us: int | None, until_us: int | None, after: tuple[int, str, int] | None, most: int
    ) -> list[Priced]:
        """Return settled attempts with usage in the order of their start, those behind `after` (start, id, attempt)."""
        with self._reading() as connection:
            return [] if connection is None else sqlite_reprice.priced(connection, since_us, until_us, after, most)

    def reprice(self, changes: Iterable[tuple[Priced, Price]], at: float) -> int:
        """Give attempts their new price, keep the old one in the audit, and correct all sums. Returns how many changed."""
        with self._writing() as connection:
            return sqlite_reprice.reprice(connection, changes, at)

    def recordings(self, sought: Sought) -> tuple[int, list[Recording]]:
        """Return how many requests fit, and the newest of them in the order of time, with their bodies."""
        with self._reading() as connection:
            return (0, []) if connection is None else sqlite_recordings.recordings(connection, self._payloads, sought)

    def tidy(self, *, now: float, payload_age_s: float | None, payload_bytes: int | None, most: int) -> int:
        """Delete payloads that are too old or too many, at most `most` of them. Returns how many went."""
        return self._payloads.tidy(now=now, age_s=payload_age_s, most_bytes=payload_bytes, most=most)

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._payloads.close()


def _unguarded(path: Path) -> tuple[int, ...] | None:
    """The state of a store that has to be read without a lock: it has no log, and this process can make none."""
    if os.access(path.parent, os.W_OK) or path.with_name(f"{path.name}-wal").exists():
        return None
    return _state_of(path)


def _state_of(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _address(path: Path, *, still: bool) -> str:
    """The address of a store to read from; `still`: it is expected not to change meanwhile."""
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if still else ''}"


def migrate(connection: sqlite3.Connection, name: str, upto: int = len(MIGRATIONS)) -> None:
    """Bring the tables up to date, one transaction a step. Raises `StoreError` for a file of a newer release."""
    while (version := connection.execute("PRAGMA user_version").fetchone()[0]) < upto:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been here first.
            if connection.execute("PRAGMA user_version").fetchone()[0] == version:
                for statement in MIGRATIONS[version]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    _refuse_newer(version, name)


def _refuse_newer(version: int, name: str) -> None:
    if version > len(MIGRATIONS):
        raise StoreError(
            f"The ledger {name} has tables of version {version}; this Podium knows {len(MIGRATIONS)}.",
            code="store_too_new",
            retryable=False,
            hint="Run the newer Podium that made it.",
        )
