"""Where climbs stand, and their evidence: in the file of the rollouts.

Theory. Workers add what they saw, each in one short write transaction: sums merge by addition, and whether a unit counts is for
whoever files it first to say. One process at a time leads: it holds a row for a few seconds and renews it. It need not be
trusted with that, for what it does is one transaction too, in which climb, rollout and evidence are read and the next move is
worked out again; two leaders would only do the work twice.

Rules.
- A climb and its rollout change in one transaction, and the rollout's history says why.
- Unit ids are not kept: the seen-set has 64 bits of a hash of each.
- The trace is thinned as it grows: some hundred points a climb, closer together where it is young.
- Everything here blocks: it is called from threads, and from the command line.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from podium.coordination.rollouts import Action, SqliteRollouts
from podium.errors import RequestError
from podium.routing.climb import LIVE, MEASURING, Climb, Measured, Move
from podium.routing.eprocess import Sums
from podium.routing.guard import Cell, Drawn, Evidence, Metric
from podium.routing.rollout import Rollout
from podium.routing.verdict import Verdict
from podium.types import Value

TRACE_POINTS = 400
"""A point is kept where so much of the climb's time, as one in so many, has passed since the last."""

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS climbs (rollout TEXT NOT NULL, number INTEGER NOT NULL, state BLOB NOT NULL,"
    " PRIMARY KEY (rollout, number)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS climb_cells (rollout TEXT NOT NULL, number INTEGER NOT NULL, metric TEXT NOT NULL,"
    " step INTEGER NOT NULL, epoch INTEGER NOT NULL, sums BLOB NOT NULL,"
    " PRIMARY KEY (rollout, number, metric, step, epoch)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS climb_drawn (rollout TEXT NOT NULL, number INTEGER NOT NULL, step INTEGER NOT NULL,"
    " candidate INTEGER NOT NULL, legacy INTEGER NOT NULL, diverted INTEGER NOT NULL,"
    " PRIMARY KEY (rollout, number, step)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS climb_seen (rollout TEXT NOT NULL, number INTEGER NOT NULL, hash INTEGER NOT NULL,"
    " PRIMARY KEY (rollout, number, hash)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS climb_measured (rollout TEXT NOT NULL, number INTEGER NOT NULL, latency_s REAL, cost_usd REAL)",
    "CREATE INDEX IF NOT EXISTS climb_measured_by_climb ON climb_measured (rollout, number)",
    "CREATE TABLE IF NOT EXISTS climb_traces (rollout TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL,"
    " state BLOB NOT NULL, PRIMARY KEY (rollout, number, at)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS ramp_leader (only INTEGER PRIMARY KEY CHECK (only = 1), holder TEXT NOT NULL,"
    " until REAL NOT NULL)",
)
"""`climbs`: each climb as it stands. `climb_cells`, `climb_drawn`: its evidence. `climb_seen`: hashes of the units that were
counted at a step. `climb_measured`: legacy's answers before step 1. `climb_traces`: the evidence over time, thinned.
`ramp_leader`: which process judges, and until when."""


class Point(Value, frozen=True, kw_only=True):
    """The evidence at an instant, for a drawing of it."""

    at: float
    step: int
    percent: float
    logs: dict[Metric, tuple[float, float]]
    """By metric: the logarithms of the evidence against the candidate, and of that for it."""


class Sample(NamedTuple):
    """What one answer of legacy's showed before step 1."""

    latency_s: float | None
    cost_usd: float | None


class Picture(Value, frozen=True, kw_only=True):
    """A climb and all that is known of it."""

    climb: Climb
    rollout: Rollout
    evidence: Evidence
    measured: Measured


class SqliteRamps:
    """Climbs in the file of the rollouts; each call has a connection of its own."""

    def __init__(self, store: SqliteRollouts) -> None:
        self._store = store

    def picture(self, name: str) -> Picture | None:
        """Return the last climb of a rollout with its evidence; None where there was none. Raises `StoreError`.

        Climb and rollout are of one moment: a step that comes between is no change by hand.
        """
        with self._store.seeing() as db:
            if not _exist(db):
                return None
            climb = _latest(db, name)
            rollout = self._store.read(db).get(name)
            if climb is None or rollout is None:
                return None
            return Picture(climb=climb, rollout=rollout, evidence=_evidence(db, climb), measured=_measured(db, climb))

    def live(self) -> list[Climb]:
        """Return the climbs that hear and judge, one a rollout at most. Raises `StoreError`."""
        with self._store.seeing() as db:
            if not _exist(db):
                return []
            rows = db.execute("SELECT rollout, max(number) FROM climbs GROUP BY rollout").fetchall()
            climbs = (_latest(db, rollout) for rollout, _ in rows)
            return [climb for climb in climbs if climb is not None and climb.is_live]

    def trace(self, climb: Climb) -> list[Point]:
        """Return how the evidence went, the oldest first. Raises `StoreError`."""
        with self._store.reading() as db:
            query = "SELECT state FROM climb_traces WHERE rollout = ? AND number = ? ORDER BY at"
            rows = db.execute(query, (climb.rollout, climb.number)).fetchall()
        return [msgspec.json.decode(state, type=Point) for (state,) in rows]

    def begin(self, name: str, make: Callable[[Rollout, Climb | None], Move], *, who: str, why: str | None) -> Move:
        """Begin a climb; `make` gets the rollout and its last climb. Raises what `make` does, and `StoreError`."""
        with self._store.writing() as db:
            for statement in _SCHEMA:
                db.execute(statement)
            rollout = self._rollout(db, name)
            move = make(rollout, _latest(db, name))
            for table in ("climb_seen", "climb_measured"):
                db.execute(f"DELETE FROM {table} WHERE rollout = ?", (name,))
            self._write(db, None, rollout, move, "ramp", who, why or move.why)
        return move

    def change(
        self, name: str, make: Callable[[Picture], Move], *, who: str, why: str | None = None, action: Action = "ramp"
    ) -> tuple[Move, bool]:
        """Move the last climb of a rollout; returns the move and whether it changed anything.

        Raises what `make` does, `LookupError` where there is no climb, and `StoreError`.
        """
        with self._store.writing() as db:
            climb = _latest(db, name) if _exist(db) else None
            if climb is None:
                raise LookupError(name)
            rollout = self._rollout(db, name)
            evidence, measured = _evidence(db, climb), _measured(db, climb)
            move = make(Picture(climb=climb, rollout=rollout, evidence=evidence, measured=measured))
            changed = move.climb != climb or move.rollout != rollout
            if changed:
                self._write(db, climb, rollout, move, action, who, why or move.why)
        return move, changed

    def _rollout(self, db: sqlite3.Connection, name: str) -> Rollout:
        rollout = self._store.read(db).get(name)
        if rollout is None:
            raise self._store.lost(f"it has no rollout {name}")
        return rollout

    def _write(
        self, db: sqlite3.Connection, before: Climb | None, rollout: Rollout, move: Move, action: Action, who: str, why: str
    ) -> None:
        climb = move.climb
        if climb != before:
            state = msgspec.json.encode(climb)
            db.execute("INSERT OR REPLACE INTO climbs VALUES (?, ?, ?)", (climb.rollout, climb.number, state))
            if climb.status not in LIVE:
                db.execute("DELETE FROM climb_seen WHERE rollout = ? AND number = ?", (climb.rollout, climb.number))
        if move.rollout != rollout:
            self._store.note(db, move.rollout, rollout, action, who, why)

    # --- evidence -------------------------------------------------------------------------------------------------------

    def add(self, climb: Climb, keys: Sequence[str], sum_up: Callable[[list[int]], Evidence]) -> None:
        """File what a worker saw: `sum_up` gets the places of the keys that nobody filed before, and gives their sums.

        A climb that is over takes nothing more. Raises `StoreError`; then nothing was filed.
        """
        whose = (climb.rollout, climb.number)
        with self._store.writing() as db:
            if not _is_live(db, climb):
                return
            evidence = sum_up(_fresh(db, whose, keys))
            for cell in evidence.cells:
                place = (*whose, cell.metric, cell.step, cell.epoch)
                where = "(rollout, number, metric, step, epoch) = (?, ?, ?, ?, ?)"
                row = db.execute(f"SELECT sums FROM climb_cells WHERE {where}", place).fetchone()
                sums = cell.sums if row is None else msgspec.json.decode(row[0], type=Sums) + cell.sums
                db.execute("INSERT OR REPLACE INTO climb_cells VALUES (?, ?, ?, ?, ?, ?)", (*place, msgspec.json.encode(sums)))
            db.executemany(
                "INSERT INTO climb_drawn VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " candidate = candidate + excluded.candidate, legacy = legacy + excluded.legacy,"
                " diverted = diverted + excluded.diverted",
                [(*whose, each.step, each.candidate, each.legacy, each.diverted) for each in evidence.drawn],
            )

    def measure(self, climb: Climb, keys: Sequence[str], samples: Sequence[Sample]) -> None:
        """File what legacy showed before step 1, of units that nobody filed before. Raises `StoreError`."""
        whose = (climb.rollout, climb.number)
        with self._store.writing() as db:
            if not _is_live(db, climb):
                return
            fresh = _fresh(db, whose, keys)
            db.executemany("INSERT INTO climb_measured VALUES (?, ?, ?, ?)", [(*whose, *samples[place]) for place in fresh])

    def mark(self, climb: Climb, verdict: Verdict, percent: float, at: float) -> None:
        """Put the evidence at an instant on the trace, unless it only holds and the last point is near. Raises `StoreError`."""
        whose = (climb.rollout, climb.number)
        with self._store.writing() as db:
            query = "SELECT max(at) FROM climb_traces WHERE rollout = ? AND number = ?"
            last = db.execute(query, whose).fetchone()[0]
            near = last is not None and at - last < (at - climb.began_at) / TRACE_POINTS
            if near and verdict.action == "hold":
                return
            logs = {each.metric: (each.log_against, each.log_within) for each in verdict.findings}
            point = Point(at=at, step=climb.step, percent=percent, logs=logs)
            db.execute("INSERT OR REPLACE INTO climb_traces VALUES (?, ?, ?, ?)", (*whose, at, msgspec.json.encode(point)))

    # --- who judges -----------------------------------------------------------------------------------------------------

    def leader(self) -> tuple[str, float] | None:
        """Return who judges, and until when it is theirs. Raises `StoreError`."""
        with self._store.reading() as db:
            row: tuple[str, float] | None = db.execute("SELECT holder, until FROM ramp_leader").fetchone()
            return row

    def lead(self, holder: str, at: float, until: float) -> bool:
        """Take or renew the leadership; returns whether it is the holder's now. Raises `StoreError`.

        A lease that has twice as long to go as the one that is asked for was taken before the clock was set back, and counts
        for nothing.
        """
        with self._store.writing() as db:
            taken = db.execute(
                "INSERT INTO ramp_leader VALUES (1, :holder, :until) ON CONFLICT DO UPDATE SET holder = :holder, until = :until"
                " WHERE holder = :holder OR until <= :at OR until > :latest",
                {"holder": holder, "at": at, "until": until, "latest": until + (until - at)},
            )
            return taken.rowcount > 0

    def resign(self, holder: str) -> None:
        """Let another process lead at once. Raises `StoreError`."""
        with self._store.writing() as db:
            db.execute("DELETE FROM ramp_leader WHERE holder = ?", (holder,))


def _exist(db: sqlite3.Connection) -> bool:
    """Whether the file has the tables: the first climb makes them."""
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'ramp_leader'").fetchone() is not None


def _latest(db: sqlite3.Connection, name: str) -> Climb | None:
    row = db.execute("SELECT state FROM climbs WHERE rollout = ? ORDER BY number DESC LIMIT 1", (name,)).fetchone()
    try:
        return None if row is None else msgspec.json.decode(row[0], type=Climb)
    except RequestError as error:  # a margin of 101 %, written by something else
        raise msgspec.ValidationError(str(error)) from error


def _is_live(db: sqlite3.Connection, climb: Climb) -> bool:
    """Whether a climb goes on: others may have ended it since it was read."""
    last = _latest(db, climb.rollout)
    return last is not None and last.number == climb.number and last.is_live


def _evidence(db: sqlite3.Connection, climb: Climb) -> Evidence:
    whose = (climb.rollout, climb.number)
    if climb.step == MEASURING:
        return Evidence()
    query = "SELECT metric, step, epoch, sums FROM climb_cells WHERE rollout = ? AND number = ? ORDER BY metric, step, epoch"
    cells = tuple(
        Cell(metric=metric, step=step, epoch=epoch, sums=msgspec.json.decode(sums, type=Sums))
        for metric, step, epoch, sums in db.execute(query, whose).fetchall()
    )
    query = "SELECT step, candidate, legacy, diverted FROM climb_drawn WHERE rollout = ? AND number = ? ORDER BY step"
    drawn = tuple(
        Drawn(step=step, candidate=candidate, legacy=legacy, diverted=diverted)
        for step, candidate, legacy, diverted in db.execute(query, whose).fetchall()
    )
    return Evidence(cells=cells, drawn=drawn)


def _measured(db: sqlite3.Connection, climb: Climb) -> Measured:
    if climb.step != MEASURING:
        return Measured()
    query = "SELECT latency_s, cost_usd FROM climb_measured WHERE rollout = ? AND number = ?"
    rows = db.execute(query, (climb.rollout, climb.number)).fetchall()
    return Measured(
        answers=len(rows),
        latencies_s=tuple(latency for latency, _ in rows if latency is not None),
        costs_usd=tuple(cost for _, cost in rows if cost is not None),
    )


def _fresh(db: sqlite3.Connection, whose: tuple[str, int], keys: Iterable[str]) -> list[int]:
    """File keys as seen; returns the places of those that were not."""
    fresh = []
    for place, key in enumerate(keys):
        digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        row = (*whose, int.from_bytes(digest, "big", signed=True))
        if db.execute("INSERT OR IGNORE INTO climb_seen VALUES (?, ?, ?)", row).rowcount > 0:
            fresh.append(place)
    return fresh
