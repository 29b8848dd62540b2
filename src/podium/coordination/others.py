"""The other processes that share a coordination file: who lives, what the dead leave, and who is to be woken.

Theory. An owner is a row of the file and a slate beside it. One whose slate's lock is free is dead: what it used is spent, and
so is what it had reserved for requests under way, which may have been served; its requests at once have ended with it, and
what it held beyond that comes back.

Rules.
- All of it happens within the transaction of the store that calls; what touches files or wakes others waits until that is
  committed (`committed`), or is left (`rolled_back`).
- A slate of another boot of the machine may be older than what was leased: all that its process held counts as used.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from podium.coordination.slate import Peer
from podium.coordination.store import Counts
from podium.routing.limits import MOST


class Others:
    """The other owners of a file."""

    def __init__(self, folder: Path, boot: str, counts: Counts) -> None:
        self._folder = folder
        self._boot = boot
        self._counts = counts
        self._peers: dict[int, Peer] = {}
        self._to_ring: dict[int, Peer] = {}
        self._dead: list[int] = []

    def find(self, db: sqlite3.Connection, owner: int) -> Peer | None:
        """Return another process's slate; None where the process has left."""
        row = db.execute("SELECT name FROM owners WHERE id = ?", (owner,)).fetchone()
        if row is None:
            return None
        peer = self._peers.get(owner)
        if peer is None or peer.name != row[0]:  # it had to make a new one
            if peer is not None:
                peer.close()
            peer = self._peers[owner] = Peer(self._folder, row[0])
        return peer

    def look_after(self, db: sqlite3.Connection, me: int) -> bool:
        """Forget those who left; whether any is dead."""
        owners = {row[0] for row in db.execute("SELECT id FROM owners WHERE id <> ?", (me,)).fetchall()}
        for gone in self._peers.keys() - owners:
            self._peers.pop(gone).close()
        return any((peer := self.find(db, owner)) is not None and not peer.alive() for owner in owners)

    def recall(self, db: sqlite3.Connection, me: int, bucket: int, owner: int) -> None:
        """Ask a process for what it does not use of a bucket."""
        db.execute("INSERT OR IGNORE INTO recalls (owner, bucket, asker) VALUES (?, ?, ?)", (owner, bucket, me))
        self._ring(db, owner)
        self._counts.recalls_sent += 1

    def answered(self, db: sqlite3.Connection, me: int, bucket: int) -> None:
        """Say to those who asked this process that it gave back what it does not use."""
        for (asker,) in db.execute("SELECT asker FROM recalls WHERE owner = ? AND bucket = ?", (me, bucket)).fetchall():
            self._ring(db, asker)
        db.execute("DELETE FROM recalls WHERE owner = ? AND bucket = ?", (me, bucket))

    def reap(self, db: sqlite3.Connection, me: int, bucket: int | None = None) -> bool:
        """Settle the dead, all of them or those who hold some of a bucket; whether there were any."""
        query, values = "SELECT id, boot FROM owners WHERE id <> ?", [me]
        if bucket is not None:
            query += " AND id IN (SELECT owner FROM leases WHERE bucket = ?)"
            values.append(bucket)
        found = False
        for owner, boot in db.execute(query, values).fetchall():
            peer = self.find(db, owner)
            if peer is not None and not peer.alive():
                found = True
                self._settle(db, owner, peer if boot == self._boot else None)
                self._dead.append(owner)
        return found

    def _settle(self, db: sqlite3.Connection, owner: int, slate: Peer | None) -> None:
        query = "SELECT l.bucket, l.slot, l.held, b.kind FROM leases l JOIN buckets b ON b.id = l.bucket WHERE l.owner = ?"
        for bucket, slot, held, kind in db.execute(query, (owner,)).fetchall():
            words = slate.read(slot) if slate is not None else None
            if kind != "concurrent":
                spend(db, bucket, held if words is None else max(words[0], 0))
        db.execute("DELETE FROM leases WHERE owner = ?", (owner,))
        for (asker,) in db.execute("SELECT asker FROM recalls WHERE owner = ?", (owner,)).fetchall():
            self._ring(db, asker)
        db.execute("DELETE FROM recalls WHERE owner = ? OR asker = ?", (owner, owner))
        db.execute("DELETE FROM owners WHERE id = ?", (owner,))

    def _ring(self, db: sqlite3.Connection, owner: int) -> None:
        if (peer := self.find(db, owner)) is not None:
            self._to_ring[owner] = peer

    def committed(self) -> None:
        """Do what waited for the transaction's end."""
        for owner, peer in self._to_ring.items():
            if owner not in self._dead:
                peer.ring()
        for owner in self._dead:  # only now is what they used on record elsewhere
            self._peers.pop(owner).close(remove=True)
            self._counts.reaped += 1
        self.rolled_back()

    def rolled_back(self) -> None:
        """Leave what waited for the transaction's end."""
        self._to_ring.clear()
        self._dead.clear()

    def close(self) -> None:
        """Let go of all of them."""
        self.rolled_back()
        for peer in self._peers.values():
            peer.close()
        self._peers.clear()


def spend(db: sqlite3.Connection, bucket: int, amount: int) -> None:
    """Count an amount of a bucket as spent for good."""
    if amount:
        (spent,) = db.execute("SELECT spent FROM buckets WHERE id = ?", (bucket,)).fetchone()
        db.execute("UPDATE buckets SET spent = ? WHERE id = ?", (min(spent + amount, MOST), bucket))
