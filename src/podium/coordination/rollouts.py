"""Where rollouts stand: the store that the processes of one machine share, its own file (or memory: `rollouts_memory`).

Theory. A config's file says how a rollout begins (the seed); from then on the store says how it stands. Each change is one
short write transaction that keeps what was before, so that it can be undone. Every process watches the file (`Watch`): a
connection's `data_version` tells without a lock that somebody has committed, and a revision that it was a rollout's change.

Rules.
- The history is only ever added to: an undo is a change too, and says which one it takes back.
- Beside the file lies a copy of the state as it is last known. A rollout that the file does not have begins as the copy says,
  without a copy as whoever opens the file last knew it, and only then as the config says: what was disabled stays disabled.
- Only a start makes the file (`open`). Who watches a file that is gone waits until there is one again.
- Counts of what was chosen are sums per minute, to which each process adds.
- Everything here blocks: it is called from threads, and from the command line.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from podium.coordination.patience import patiently
from podium.errors import RequestError, StoreError
from podium.routing.rollout import Rollout
from podium.types import Value

States = dict[str, Rollout]
"""Rollouts by name; never changed, always replaced."""
Action = Literal["seed", "restore", "set", "enable", "disable", "add_user", "remove_user", "undo", "ramp"]
Counted = tuple[str, int, str]
"""A rollout, a minute (since the epoch), an arm or the name of another count."""

LOCK_WAIT_S = 3.0
"""How long a change waits for a file that another process writes to."""
COUNT_WAIT_S = 0.5
"""How long counts wait for it; they can be added later."""
KEEP_COUNTS_MIN = 31 * 24 * 60
_APPLICATION_ID = 0x506F6452
_SCHEMA = (
    "CREATE TABLE rollouts (name TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE history (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, action TEXT NOT NULL, at REAL NOT NULL,"
    " who TEXT NOT NULL, why TEXT, before BLOB, after BLOB NOT NULL, undoes INTEGER)",
    "CREATE INDEX history_by_name ON history (name, id)",
    "CREATE TABLE choices (name TEXT NOT NULL, minute INTEGER NOT NULL, arm TEXT NOT NULL, count INTEGER NOT NULL,"
    " PRIMARY KEY (name, minute, arm)) WITHOUT ROWID",
    "CREATE TABLE revision (number INTEGER NOT NULL)",
    "INSERT INTO revision VALUES (0)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
)


class Change(Value, frozen=True, kw_only=True):
    """One change of a rollout: what, who, when and why."""

    id: int
    """Counts the changes of all rollouts of a store."""
    name: str
    action: Action
    at: float
    """Seconds since the epoch."""
    who: str
    why: str | None = None
    before: Rollout | None = None
    """None: the rollout began here."""
    after: Rollout
    undoes: int | None = None
    """The id of the change that this one takes back."""


class Store(Protocol):
    """What keeps rollouts."""

    def open(self, seeds: Mapping[str, Rollout], *, who: str, known: Mapping[str, Rollout] | None = None) -> States:
        """Make the store where there is none, and begin the rollouts that it does not know. Raises `StoreError`.

        `known` is how they stood when whoever opens it saw them last.
        """
        ...

    def change(
        self, name: str, action: Action, make: Callable[[Rollout], Rollout], *, who: str, why: str | None
    ) -> tuple[Rollout, States]:
        """Change one rollout, and put that on record, unless nothing changes. Raises what `make` does, and `StoreError`."""
        ...

    def undo(self, name: str, *, who: str, why: str | None) -> tuple[Change, States]:
        """Take back the last change that is not taken back. Raises `RequestError` where there is none, and `StoreError`."""
        ...

    def history(self, name: str | None, most: int) -> list[Change]:
        """Return the last changes, of one rollout or of all, the latest first. Raises `StoreError`."""
        ...

    def add_counts(self, counts: Mapping[Counted, int]) -> None:
        """Add what was chosen. Raises `StoreError`."""
        ...

    def counts(self, name: str, since_min: int) -> dict[str, int]:
        """Return how often each arm was chosen from a minute on. Raises `StoreError`."""
        ...


def taken_back(changes: Iterable[Change], name: str) -> Change:
    """Return the last change of a rollout that is not taken back; `changes` come the latest first.

    Raises `RequestError` where there is none.
    """
    gone: set[int] = set()
    for change in changes:
        if change.undoes is not None:
            gone.add(change.undoes)
        elif change.id not in gone and change.before is not None:
            return change
    raise RequestError(
        f"The rollout {name} has no change that could be undone.", hint=f"See its history: `podium rollout history {name}`."
    )


def restored(change: Change, now: Rollout | None) -> Rollout:
    """Return what was before a change. A ramp that has gone on since then holds it no more."""
    assert change.before is not None
    same = now is not None and change.before.stage == now.stage
    return change.before if same else change.before.replace(stage=None)


class SqliteRollouts:
    """Rollouts in a file that processes share; each call has a connection of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.copy = path.with_name(path.stem + ".known.json")
        """The state as it is last known, for a start that finds no store."""
        self.lock_wait_s = LOCK_WAIT_S
        """How long to wait for somebody else's transaction."""

    # --- connections ----------------------------------------------------------------------------------------------------

    def connect(self, *, create: bool = False, wait_s: float | None = None) -> sqlite3.Connection:
        """Open the file. Raises `StoreError` where it is gone, unreadable or something else."""
        wait_s = self.lock_wait_s if wait_s is None else wait_s
        try:
            if not create and not self.path.exists():
                raise self.lost("it is gone")
            uri = f"{self.path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
            db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=wait_s)
        except (sqlite3.Error, OSError) as error:
            raise self.lost(error) from error
        try:
            if _is_empty(db):
                if not create:
                    raise self.lost("it is empty")
                self._lay_out(db, wait_s)
            if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
                raise StoreError(f"{self.path} is no store of rollouts.", hint="Give rollouts a file of their own.")
        except sqlite3.Error as error:
            db.close()
            raise self.lost(error) from error
        except StoreError:
            db.close()
            raise
        return db

    @staticmethod
    def _lay_out(db: sqlite3.Connection, wait_s: float) -> None:
        patiently(db, "PRAGMA journal_mode=WAL", wait_s)
        db.execute("BEGIN IMMEDIATE")
        if _is_empty(db):  # nobody was faster
            for statement in _SCHEMA:
                db.execute(statement)
        db.execute("COMMIT")

    @contextlib.contextmanager
    def reading(self, *, create: bool = False, wait_s: float | None = None) -> Iterator[sqlite3.Connection]:
        """Open the file for a moment. Raises `StoreError`."""
        with contextlib.closing(self.connect(create=create, wait_s=wait_s)) as db:
            try:
                yield db
            except (sqlite3.Error, OSError, msgspec.DecodeError) as error:
                raise self.lost(error) from error

    @contextlib.contextmanager
    def seeing(self) -> Iterator[sqlite3.Connection]:
        """Open the file for several reads of one state, whatever is written meanwhile. Raises `StoreError`."""
        with self.reading() as db:
            db.execute("BEGIN")
            yield db  # what is only read ends with the connection

    @contextlib.contextmanager
    def writing(self, *, wait_s: float | None = None) -> Iterator[sqlite3.Connection]:
        """Open the file for one write transaction, which what raises takes back. Raises `StoreError`."""
        with self.reading(wait_s=wait_s) as db, _transaction(db):
            yield db

    def lost(self, error: object) -> StoreError:
        """Make the error for a store that does not answer."""
        return StoreError(
            f"The store of rollouts {self.path} cannot be used: {error}.",
            code="rollouts_lost",
            hint="Is it locked, damaged, on a full or read-only disk? One that is gone or removed is made again by "
            "`podium rollout list`, from its copy.",
        )

    # --- the state ------------------------------------------------------------------------------------------------------

    def open(self, seeds: Mapping[str, Rollout], *, who: str, known: Mapping[str, Rollout] | None = None) -> States:
        """Make the store where there is none, and begin the rollouts that it does not know. Raises `StoreError`."""
        with contextlib.suppress(OSError):  # what comes next says what is wrong with the folder
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.reading(create=True) as db:
            states = _states(db)
            if states and seeds.keys() <= states.keys():  # then it may be read-only, or busy
                return states
            with _transaction(db):
                states = _states(db)
                last = {**(known or {}), **self.read_copy(needed=not states)}
                for name, rollout in {**seeds, **last}.items():
                    if name not in states:
                        _note(db, rollout, None, "restore" if name in last else "seed", who, None)
                        states[name] = rollout
                self._write_copy(states)
        return states

    def read_copy(self, *, needed: bool = False) -> States:
        """Return what the copy says; nothing where there is none, or, unless it is `needed`, where it cannot be read.

        Raises `StoreError`.
        """
        try:
            return msgspec.json.decode(self.copy.read_bytes(), type=States)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, RequestError) as error:
            if not needed:  # the next change writes it anew
                return {}
            words = f"The store of rollouts {self.path} is gone, and its copy {self.copy} cannot be read: {error}."
            raise StoreError(words, hint="Remove the copy to begin with what the config says.") from error

    def _write_copy(self, states: States) -> None:
        fresh = self.copy.with_name(f"{self.copy.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            fresh.write_bytes(msgspec.json.encode(states))
            fresh.replace(self.copy)
        except OSError:  # a full disk, mostly: half a copy is of use to nobody
            fresh.unlink(missing_ok=True)
            raise

    def read(self, db: sqlite3.Connection) -> States:
        """Return the state as a connection sees it."""
        return _states(db)

    def note(self, db: sqlite3.Connection, after: Rollout, before: Rollout, action: Action, who: str, why: str | None) -> None:
        """Change one rollout, and put that on record, in a write transaction that is under way."""
        _note(db, after, before, action, who, why)
        self._write_copy(_states(db))

    def change(
        self, name: str, action: Action, make: Callable[[Rollout], Rollout], *, who: str, why: str | None
    ) -> tuple[Rollout, States]:
        """Change one rollout, and put that on record. Raises what `make` does, and `StoreError`."""
        with self.writing() as db:
            states = _states(db)
            before = states.get(name)
            if before is None:
                raise self.lost(f"it has no rollout {name}")
            after = make(before)
            if after != before:
                _note(db, after, before, action, who, why)
                states[name] = after
                self._write_copy(states)
        return after, states

    def undo(self, name: str, *, who: str, why: str | None) -> tuple[Change, States]:
        """Take back the last change that is not taken back. Raises `RequestError` and `StoreError`."""
        with self.writing() as db:
            states = _states(db)
            last = taken_back(_history(db, name, -1), name)
            before = restored(last, states.get(name))
            change = _note(db, before, states.get(name), "undo", who, why, last.id)
            states[name] = before
            self._write_copy(states)
        return change, states

    def history(self, name: str | None, most: int) -> list[Change]:
        """Return the last changes, the latest first. Raises `StoreError`."""
        with self.reading() as db:
            return list(_history(db, name, most))

    # --- counts ---------------------------------------------------------------------------------------------------------

    def add_counts(self, counts: Mapping[Counted, int]) -> None:
        """Add what was chosen. Raises `StoreError`."""
        oldest = int(time.time() // 60) - KEEP_COUNTS_MIN
        with self.reading(wait_s=COUNT_WAIT_S) as db:
            db.execute("PRAGMA synchronous=NORMAL")  # a crash of the machine may cost the last seconds' counts
            with _transaction(db):
                db.executemany(
                    "INSERT INTO choices VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
                    [(*place, count) for place, count in counts.items()],
                )
                names = {name for name, _, _ in counts}
                db.executemany("DELETE FROM choices WHERE name = ? AND minute < ?", [(name, oldest) for name in names])

    def counts(self, name: str, since_min: int) -> dict[str, int]:
        """Return how often each arm was chosen from a minute on. Raises `StoreError`."""
        with self.reading() as db:
            query = "SELECT arm, sum(count) FROM choices WHERE name = ? AND minute >= ? GROUP BY arm"
            return dict(db.execute(query, (name, since_min)).fetchall())


class Watch:
    """Tells when a file of rollouts has changed. For one thread."""

    def __init__(self, store: SqliteRollouts) -> None:
        self._store = store
        self._db: sqlite3.Connection | None = None
        self._place: tuple[int, int] | None = None
        self._version = self._revision = -1

    def look(self) -> States | None:
        """Return the state where it is not the one of the last look; None: nothing has changed. Raises `StoreError`."""
        try:
            found = os.stat(self._store.path)
            place = (found.st_dev, found.st_ino)
            if self._db is None or place != self._place:
                self.close()
                self._db, self._place = self._store.connect(), place
                self._version = self._revision = -1
            version = self._db.execute("PRAGMA data_version").fetchone()[0]
            if version == self._version:
                return None
            # Both are read after the version: what comes later has another one.
            revision = self._db.execute("SELECT number FROM revision").fetchone()[0]
            states = None if revision == self._revision else self._store.read(self._db)
            self._version, self._revision = version, revision
        except (sqlite3.Error, OSError, msgspec.DecodeError) as error:
            self.close()
            raise self._store.lost("it is gone" if isinstance(error, FileNotFoundError) else error) from error
        except StoreError:
            self.close()
            raise
        return states

    def close(self) -> None:
        """Let go of the file."""
        db, self._db = self._db, None
        if db is not None:
            db.close()


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """A write transaction, which alone may change the copy too."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _is_empty(db: sqlite3.Connection) -> bool:
    return not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def _states(db: sqlite3.Connection) -> States:
    found = [_load(state) for (state,) in db.execute("SELECT state FROM rollouts ORDER BY name").fetchall()]
    return {rollout.name: rollout for rollout in found}


def _load(state: bytes) -> Rollout:
    try:
        return msgspec.json.decode(state, type=Rollout)
    except RequestError as error:  # a share of 101 %, written by something else
        raise msgspec.ValidationError(str(error)) from error


def _note(
    db: sqlite3.Connection,
    after: Rollout,
    before: Rollout | None,
    action: Action,
    who: str,
    why: str | None,
    undoes: int | None = None,
) -> Change:
    at = time.time()
    blobs = (None if before is None else msgspec.json.encode(before), msgspec.json.encode(after))
    db.execute("INSERT INTO rollouts VALUES (?, ?) ON CONFLICT DO UPDATE SET state = excluded.state", (after.name, blobs[1]))
    number = db.execute(
        "INSERT INTO history (name, action, at, who, why, before, after, undoes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (after.name, action, at, who, why, *blobs, undoes),
    ).lastrowid
    db.execute("UPDATE revision SET number = number + 1")
    return Change(
        id=number or 0, name=after.name, action=action, at=at, who=who, why=why, before=before, after=after, undoes=undoes
    )


def _history(db: sqlite3.Connection, name: str | None, most: int) -> Iterator[Change]:
    """Read changes, the latest first; `most` -1: all."""
    rows = db.execute(
        "SELECT id, name, action, at, who, why, before, after, undoes FROM history"
        " WHERE :name IS NULL OR name = :name ORDER BY id DESC LIMIT :most",
        {"name": name, "most": most},
    )
    for number, rollout, action, at, who, why, before, after, undoes in rows.fetchall():
        yield Change(
            id=number,
            name=rollout,
            action=action,
            at=at,
            who=who,
            why=why,
            before=None if before is None else _load(before),
            after=_load(after),
            undoes=undoes,
        )
