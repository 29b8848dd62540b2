"""Leases in SQLite: the store that processes of one machine share, its own file, apart from the ledger.

Theory. One short write transaction an exchange (`BEGIN IMMEDIATE`, WAL). Beside the file lies a folder with a slate a process
(`podium.coordination.slate`): its lock says who lives, its words what each has used, its bell wakes a holder from which
something is wanted back.

Rules.
- The file is the one that was opened: where another, or none, stands in its place, it is lost, and nothing more is leased
  from it. Only a start creates it; whoever is running waits until there is one.
- Waiting for a lock is bounded, and repeated at short intervals, since SQLite's own waiting grows to 100 ms.
- A slate of an earlier boot of the machine may be older than what was leased: all that its process held counts as used.
- No connection lives through a fork: SQLite in the child would take the parent's locks for its own
  (https://sqlite.org/howtocorrupt.html, 2.6), and write where nobody reads when the parent has left. The parent opens its own
  again; where it cannot be closed in time, the child has no store.
- Transactions are not flushed one by one (`synchronous=NORMAL`): no death of a process loses one, a crash of the machine may
  lose the last moments.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from podium.coordination.others import Others, spend
from podium.coordination.patience import patiently
from podium.coordination.slate import Slate
from podium.coordination.store import Answer, Attached, Counts, Entry
from podium.errors import StoreError
from podium.routing.limits import MOST, slab, unit

_FORK_WAIT_S = 1.0
LOCK_WAIT_S = 1.0
"""How long a locked file is waited for before it counts as lost."""
FROZEN_AFTER_S = 5.0
"""A process that has not been at work for so long (stopped, swapped out) is not asked to give anything back."""
_KEEP_PAST_S = {"minute": 3600, "day": 62 * 86400, "month": 400 * 86400}
_APPLICATION_ID = 0x506F644C
_SCHEMA = (
    "CREATE TABLE owners (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, pid INTEGER NOT NULL,"
    " boot TEXT NOT NULL)",
    "CREATE TABLE buckets (id INTEGER PRIMARY KEY, key TEXT NOT NULL, kind TEXT NOT NULL, starts_us INTEGER NOT NULL,"
    " drop_us INTEGER NOT NULL, spent INTEGER NOT NULL DEFAULT 0, UNIQUE (key, starts_us))",
    "CREATE INDEX buckets_by_end ON buckets (drop_us)",
    "CREATE TABLE leases (bucket INTEGER NOT NULL, owner INTEGER NOT NULL, slot INTEGER NOT NULL, held INTEGER NOT NULL,"
    " PRIMARY KEY (bucket, owner)) WITHOUT ROWID",
    "CREATE INDEX leases_by_owner ON leases (owner)",
    "CREATE TABLE recalls (owner INTEGER NOT NULL, bucket INTEGER NOT NULL, asker INTEGER NOT NULL,"
    " PRIMARY KEY (owner, bucket, asker)) WITHOUT ROWID",
    "CREATE TABLE identity (id TEXT NOT NULL)",
    "INSERT INTO identity VALUES (hex(randomblob(16)))",
    f"PRAGMA application_id = {_APPLICATION_ID}",
)


class SqliteLeases:
    """The store of leases at a path. See `podium.coordination.store.Store`."""

    def __init__(self, path: Path, *, lock_wait_s: float = LOCK_WAIT_S) -> None:
        self.path = path
        self.folder = path.with_name(path.name + ".owners")
        self.counts = Counts()
        self._lock_wait_s = lock_wait_s
        self._db: sqlite3.Connection | None = None
        self._place: tuple[int, int] | None = None
        self._identity: str | None = None
        self._slate: Slate | None = None
        self._fresh_slots = False
        """Whether the slate is another than at the last attach that succeeded."""
        self._me = 0
        self._boot = _boot_id()
        self._others = Others(self.folder, self._boot, self.counts)
        self._seen: set[int] = set()
        """Buckets of which this process knows that others need them."""
        self._inherited: list[sqlite3.Connection] = []
        self._using = threading.RLock()
        """Held while the connection is used, so that a fork can wait for it."""
        self._held = False
        """Whether a fork holds it just now."""
        self._closed_for_fork = False
        self._quiet = True
        self._cut_off = False
        """Whether this process was forked in the middle of its parent's work, and may not touch the file."""
        self._watch_forks()

    # --- forks ----------------------------------------------------------------------------------------------------------

    def _watch_forks(self) -> None:
        here = weakref.ref(self)

        def in_turn(step: Callable[[SqliteLeases], None]) -> Callable[[], None]:
            return lambda: step(store) if (store := here()) is not None else None

        os.register_at_fork(
            before=in_turn(SqliteLeases._before_fork),
            after_in_parent=in_turn(SqliteLeases._in_parent),
            after_in_child=in_turn(SqliteLeases._in_child),
        )

    def _before_fork(self) -> None:
        self._held = self._quiet = self._using.acquire(timeout=_FORK_WAIT_S)
        if self._quiet and self._db is not None:
            self._db.close()
            self._db = None
            self._closed_for_fork = True

    def _in_parent(self) -> None:
        if self._held:  # not where it was made while the fork was on its way
            self._held = False
            self._using.release()

    def _in_child(self) -> None:
        self._using = threading.RLock()
        self._held = self._closed_for_fork = False
        self._cut_off = self._cut_off or not self._quiet

    def _connected(self) -> sqlite3.Connection:
        """The connection, opened again where a fork closed it. Raises `StoreError`, `sqlite3.Error`, `OSError`."""
        if self._db is None and self._closed_for_fork:
            self._closed_for_fork = False
            if _place(self.path) != self._place:
                raise self._replaced()
            self._connect(create=False)
        if self._db is None:
            raise self._lost(OSError("it is not open"))
        return self._db

    # --- beginning and end ----------------------------------------------------------------------------------------------

    def attach(self, *, create: bool) -> Attached:
        """Open the file and enter it, again where it was lost. Raises `StoreError`."""
        with self._using:
            return self._attach(create=create)

    def _attach(self, *, create: bool) -> Attached:
        if self._cut_off:
            raise self._lost(OSError("this process was forked while its parent used it"))
        self._hang_up()
        try:
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            elif not self.path.exists():
                raise self._replaced()
            self._connect(create=create)
            if self._slate is None or not self._slate.stands():
                self._drop_slate()
                self._slate = Slate(self.folder)
                self._fresh_slots = True
            with self._transaction() as db:
                identity = _make(db)
                fresh_file = identity != self._identity
                self._enter(db, fresh_file)
                self._others.reap(db, self._me)
        except (sqlite3.Error, OSError) as error:
            self._hang_up()
            raise self._lost(error) from error
        except StoreError:
            self._hang_up()
            raise
        self._identity = identity
        fresh_slots, self._fresh_slots = self._fresh_slots, False
        return Attached(fresh_file=fresh_file, fresh_slots=fresh_slots)

    def _connect(self, *, create: bool) -> None:
        uri = f"{self.path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
        place = _place(self.path) if self.path.exists() else None  # one that is put there meanwhile is another
        self._db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=0)
        self._place = place or _place(self.path)
        self._patiently("SELECT count(*) FROM sqlite_master")
        _check_kind(self._db, self.path)
        self._patiently("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")

    def _enter(self, db: sqlite3.Connection, fresh_file: bool) -> None:
        assert self._slate is not None
        values = (self._slate.name, os.getpid(), self._boot)
        if not fresh_file and self._me:
            changed = db.execute("UPDATE owners SET name = ?, pid = ?, boot = ? WHERE id = ?", (*values, self._me))
            if changed.rowcount:
                return
        # A name that is there already is this process's, in a file that was put back; its leases there are of another time.
        db.execute("DELETE FROM leases WHERE owner = (SELECT id FROM owners WHERE name = ?)", values[:1])
        db.execute("INSERT OR IGNORE INTO owners (name, pid, boot) VALUES (?, ?, ?)", values)
        (self._me,) = db.execute("SELECT id FROM owners WHERE name = ?", values[:1]).fetchone()

    def _hang_up(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):  # it is lost already
                self._db.close()
        self._db = None
        self._closed_for_fork = False
        self._others.close()
        self._seen.clear()

    def _drop_slate(self, *, remove: bool = True) -> None:
        if self._slate is not None:
            self._slate.close(remove=remove)
        self._slate = None

    def close(self, *, clean: bool) -> None:
        """Leave: a clean one as if it had never been there; else another process, or the next one, settles what is left."""
        with self._using:
            self._close(clean=clean)

    def _close(self, *, clean: bool) -> None:
        left = False
        if clean and (self._db is not None or self._closed_for_fork):
            with contextlib.suppress(StoreError):  # then the next one to come finds the slate without its lock
                with self._transaction() as db:
                    db.execute("DELETE FROM owners WHERE id = ?", (self._me,))
                    db.execute("DELETE FROM leases WHERE owner = ?", (self._me,))
                    db.execute("DELETE FROM recalls WHERE owner = ?", (self._me,))
                left = True
        self._hang_up()
        self._drop_slate(remove=left)

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's. Its connection must neither be used nor closed here."""
        if self._db is not None:
            self._inherited.append(self._db)
        self._db = None
        self._hang_up()
        if self._slate is not None:
            self._slate.forget()
        self._slate = self._place = self._identity = None
        self._me = 0

    # --- transactions ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One write transaction on the file that was opened. Raises `StoreError`, with nothing changed."""
        with self._using:
            yield from self._transact()

    def _transact(self) -> Iterator[sqlite3.Connection]:
        try:
            db = self._connected()
            if _place(self.path) != self._place:
                raise self._replaced()
            self._patiently("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                self._others.rolled_back()
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError) as error:
            raise self._lost(error) from error
        self._others.committed()

    def _patiently(self, statement: str) -> None:
        assert self._db is not None
        self.counts.waits_for_lock += patiently(self._db, statement, self._lock_wait_s)

    def _lost(self, error: Exception) -> StoreError:
        return StoreError(
            f"The coordination file {self.path} cannot be used: {error}.",
            code="coordination_lost",
            hint="Is it locked, gone, on a full or read-only disk? Limits are leased again as soon as it can be used.",
        )

    def _replaced(self) -> StoreError:
        return StoreError(
            f"The coordination file {self.path}, or this process's part of {self.folder}, was deleted or replaced.",
            code="coordination_lost",
            hint="Put it back, or start a process anew, which makes it; what is used meanwhile counts then.",
        )

    # --- exchanges ------------------------------------------------------------------------------------------------------

    def exchange(self, entries: Sequence[Entry]) -> list[Answer]:
        """Keep, lease and give back, all at once. Raises `StoreError`."""
        self.counts.exchanges += 1
        with self._transaction() as db:
            holders = db.execute("SELECT count(*) FROM owners").fetchone()[0]
            answers = [self._serve(db, entry, holders) for entry in entries]
            for bucket in self._seen:
                self._others.answered(db, self._me, bucket)
        self._seen.clear()
        self.counts.leases += sum(answer.granted > 0 for answer in answers)
        return answers

    def _serve(self, db: sqlite3.Connection, entry: Entry, holders: int) -> Answer:
        bucket = self._bucket(db, entry)
        if entry.spent is not None:
            db.execute("DELETE FROM leases WHERE bucket = ? AND owner = ?", (bucket, self._me))
            if entry.limit.kind != "concurrent":
                spend(db, bucket, entry.spent)
            else:  # with nobody left, there is nothing to keep
                db.execute("DELETE FROM buckets WHERE id = ? AND id NOT IN (SELECT bucket FROM leases)", (bucket,))
            return Answer()
        answer = Answer()
        limit = entry.limit
        remaining = limit.amount - entry.keep - self._taken(db, bucket)
        if remaining < entry.need and self._others.reap(db, self._me, bucket):
            remaining = limit.amount - entry.keep - self._taken(db, bucket)
        if entry.need > 0:
            answer.granted = slab(remaining, entry.need, holders, unit(limit))
        db.execute(
            "INSERT INTO leases (bucket, owner, slot, held) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (bucket, owner) DO UPDATE SET held = excluded.held, slot = excluded.slot",
            (bucket, self._me, entry.slot, min(entry.keep + answer.granted, MOST)),
        )
        if answer.granted < entry.need:
            self._look_around(db, bucket, answer)
        return answer

    def _bucket(self, db: sqlite3.Connection, entry: Entry) -> int:
        place = (entry.limit.key, entry.starts_us)
        row = db.execute("SELECT id FROM buckets WHERE key = ? AND starts_us = ?", place).fetchone()
        if row is None:
            drop_us = min(entry.ends_us + _KEEP_PAST_S.get(entry.limit.period or "", 0) * 1_000_000, MOST)
            query = "INSERT INTO buckets (key, kind, starts_us, drop_us) VALUES (?, ?, ?, ?)"
            return db.execute(query, (entry.limit.key, entry.limit.kind, entry.starts_us, drop_us)).lastrowid or 0
        return int(row[0])

    def _taken(self, db: sqlite3.Connection, bucket: int) -> int:
        """What is spent for good and what others hold; summed here, where no sum is too large."""
        rows = db.execute("SELECT spent FROM buckets WHERE id = ?", (bucket,)).fetchall()
        rows += db.execute("SELECT held FROM leases WHERE bucket = ? AND owner <> ?", (bucket, self._me)).fetchall()
        return sum(row[0] for row in rows)

    def _look_around(self, db: sqlite3.Connection, bucket: int, answer: Answer) -> None:
        """Find out what the other holders do with theirs, and ask those for it who use less than they hold."""
        answer.spent = db.execute("SELECT spent FROM buckets WHERE id = ?", (bucket,)).fetchone()[0]
        rows = db.execute("SELECT owner, slot, held FROM leases WHERE bucket = ? AND owner <> ?", (bucket, self._me)).fetchall()
        for owner, slot, held in rows:
            peer = self._others.find(db, owner)
            words = None if peer is None else peer.read(slot)
            used, spent = words if words is not None else (held, held)
            answer.spent += spent
            answer.reserved += used - spent
            if held > used and peer is not None and peer.beaten_s_ago() < FROZEN_AFTER_S:
                answer.recallable += held - used
                self._others.recall(db, self._me, bucket, owner)

    def recalled(self) -> list[tuple[str, int]]:
        """Return the buckets of which others need what this process does not use. Raises `StoreError`."""
        query = "SELECT DISTINCT b.id, b.key, b.starts_us FROM recalls r JOIN buckets b ON b.id = r.bucket WHERE r.owner = ?"
        try:
            with self._using:
                rows = self._connected().execute(query, (self._me,)).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise self._lost(error) from error
        self._seen = {row[0] for row in rows}
        return [(row[1], row[2]) for row in rows]

    def tend(self, now_s: float) -> None:
        """Beat, take back what dead processes hold, and drop what is long past. Raises `StoreError`."""
        if self._slate is not None:
            self._slate.beat()
        now_us = int(now_s * 1e6)
        try:
            with self._using:
                db = self._connected()
                if _place(self.path) != self._place or self._slate is None or not self._slate.stands():
                    raise self._replaced()
                due = self._others.look_after(db, self._me)
                due = due or db.execute("SELECT 1 FROM buckets WHERE drop_us < ? LIMIT 1", (now_us,)).fetchone() is not None
        except (sqlite3.Error, OSError) as error:
            raise self._lost(error) from error
        if due:
            with self._transaction() as db:
                self._others.reap(db, self._me)
                db.execute("DELETE FROM buckets WHERE drop_us < ? AND id NOT IN (SELECT bucket FROM leases)", (now_us,))

    # --- the slate ------------------------------------------------------------------------------------------------------

    def wait(self, timeout_s: float) -> None:
        """Sleep until somebody rings, or for so long."""
        if self._slate is None:
            time.sleep(min(timeout_s, 0.02))
        else:
            self._slate.wait(timeout_s)

    def wake(self) -> None:
        """End a `wait`, from any thread."""
        slate = self._slate
        if slate is not None:
            slate.ring()

    def words(self, slot: int) -> memoryview:
        """Return the two words of a slot."""
        if self._slate is None:
            raise self._lost(OSError("it is not open"))
        return self._slate.words(slot)

    def take_slot(self) -> int:
        """Return a free slot. Raises `StoreError` where there is no room for one."""
        try:
            if self._slate is None:
                raise self._lost(OSError("it is not open"))
            return self._slate.take_slot()
        except OSError as error:
            raise self._lost(error) from error

    def free_slot(self, slot: int) -> None:
        """Give a slot back."""
        if self._slate is not None:
            self._slate.free_slot(slot)


def _check_kind(db: sqlite3.Connection, path: Path) -> None:
    """Look whether a file is ours, or empty. Raises `StoreError` for one that is something else."""
    # In this order: another process that lays it out just now writes both at once.
    filled = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if filled and db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise StoreError(f"{path} is no coordination file.", hint="Give limits a file of their own.")


def _make(db: sqlite3.Connection) -> str:
    """Lay out a file that is empty, and return its identity."""
    if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        for statement in _SCHEMA:
            db.execute(statement)
    return str(db.execute("SELECT id FROM identity").fetchone()[0])


def _place(path: Path) -> tuple[int, int]:
    """Which file stands at a path. Raises `OSError` where there is none."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _boot_id() -> str:
    """Tell one boot of the machine from the next, where the system says it (Linux); else text that is always the same."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
