"""The ledger as its users see it: record what happens, ask what happened.

Theory. The request's side is a few calls that take a record and return; everything else happens on two threads
that begin with the first record. What the store is, and whether it answers, the request never learns. A ledger in memory has
no threads: its records are in their sums when the call returns.

Rules.
- Whatever records returns the number that `hand_over` knows it by: a ledger that `gathers` keeps records until then.
- `started` may raise `StoreError` (only under `on_full: refuse`, before anything is sent); what comes after it never does.
- A forked child has its own journal and stands for election itself, from its first record on.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from podium.errors import StoreError
from podium.ledger import segments
from podium.ledger.drain_thread import DrainThread, Retention
from podium.ledger.drainer import LOCK_NAME, Drainer
from podium.ledger.journal import Fsync, Journal, OnFull, weakly
from podium.ledger.memory import MemoryJournal, MemoryStore
from podium.ledger.records import Ended, Payload, Settled, Started
from podium.ledger.reprice import Repriced, reprice
from podium.ledger.sqlite import SqliteStore
from podium.ledger.store import Price, Priced, Recording, Sought, Store
from podium.ledger.usage import Instant, UsageRow, Wanted, microseconds_of, usage
from podium.types import Value

Payloads = Literal["none", "hashed", "full"]

JOURNAL_FOLDER = "journal"
PAYLOAD_LIMIT = 2**20
KEPT = Retention()


class Statistics(Value, frozen=True, kw_only=True):
    """How the ledger fares, seen from this process."""

    appended: int
    """Records of this process that are in the journal."""
    deferred: int
    """Records that had to wait in memory, since the disk did not take them."""
    waiting: int
    """Of those, now."""
    lost: int
    """Records that neither the disk nor the memory had room for."""
    refused: int
    """Attempts that were refused, since they could not be recorded."""
    fsyncs: int
    fsync_errors: int
    elected: bool
    """Whether this process drains the folder."""
    drained: int
    """Attempts, entries and payloads that this process has given to the store."""
    store_errors: int
    journal_problem: str | None
    store_problem: str | None
    torn: int
    """Unfinished frames that dead processes left, over the store's life."""
    corrupt: int
    """Damaged places in segments, over the store's life."""
    set_aside: int
    """Records that the store could never take, over its life."""
    unknown: int
    """Attempts whose process died, over the store's life."""


class Ledger:
    """A ledger; `Ledger.open` makes one."""

    def __init__(
        self,
        journal: Journal | MemoryJournal,
        make_drainer: Callable[[Store], Drainer] | None,
        make_store: Callable[[], Store],
        *,
        payloads: Payloads,
        retention: Retention | None,
    ) -> None:
        self._journal = journal
        self.hand_over: Callable[[int], None] = journal.hand_over
        """Sees to it that a record outlives the process; its number is what recording it returned."""
        self.keeps_payloads = payloads != "none"
        """Whether `payload` does anything."""
        self._make_drainer = make_drainer
        self._make_store = make_store
        self._retention = retention
        self._payloads = payloads
        self._closed = False
        self.store = make_store()
        self._begin()
        _watch_forks(self)

    def _begin(self) -> None:
        self._drainer: Drainer | None = None
        self._thread: DrainThread | None = None
        if self._make_drainer is not None:
            self._drainer = self._make_drainer(self.store)
            self._thread = DrainThread(self._drainer, self.store, self._retention)
        self._running = False

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str] | None,
        *,
        store: Literal["sqlite", "memory:"] | Callable[[], Store] = "sqlite",
        fsync: Fsync = "group",
        on_full: OnFull = "continue",
        payloads: Payloads = "none",
        retention: Retention | None = KEPT,
        gathers: bool = False,
        **journal: int,
    ) -> Ledger:
        """Open the ledger of a data folder, which is made where it is not there.

        `store`: `sqlite`, `memory:` (sums alone, nothing on disk, no payloads; `folder` is not used), or a function that makes
        a store of one's own.
        `gathers`: records go to the kernel together, at the next `hand_over` and after a tenth of a second at the latest; else
        each as it comes.
        `journal`: `segment_bytes`, `most_bytes`, `deferred_bytes`. Raises `StoreError` where the folder cannot be made.
        """
        if store == "memory:":
            memory = MemoryStore()
            unkept = None if payloads == "none" else "payloads are not kept in memory"
            return cls(MemoryJournal(memory, unkept), None, lambda: memory, payloads="none", retention=None)
        if folder is None:
            raise StoreError("The ledger has no folder.", retryable=False, hint="Name one, or set `store: memory:`.")
        data = Path(folder)
        journals = data / JOURNAL_FOLDER
        try:
            journals.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The ledger's folder {data} cannot be made: {error.strerror}.",
                retryable=False,
                hint="Set `data_dir` or PODIUM_DATA to a folder that can be written to, or `store: memory:`.",
            ) from None
        make_store: Callable[[], Store] = (lambda: SqliteStore(data, fsync=fsync)) if isinstance(store, str) else store
        return cls(
            Journal(journals, fsync=fsync, on_full=on_full, gathers=gathers, **journal),
            lambda made: Drainer(journals, data / LOCK_NAME, made),
            make_store,
            payloads=payloads,
            retention=retention,
        )

    # --- the request's side ---------------------------------------------------------------------------------------------

    def started(self, record: Started) -> int:
        """Record an attempt, before it is sent. Raises `StoreError` under `on_full: refuse`, where that cannot be done."""
        if not self._running:
            self.start()
        return self._journal.append(record)

    def settled(self, record: Settled | Callable[[], Settled]) -> int:
        """Record how an attempt ended, and perhaps its request with it; a function is called when it is written."""
        if not self._running:
            self.start()
        return self._journal.append(record)

    def ended(self, record: Ended) -> int:
        """Record how a request ended."""
        return self.close_request((), record)

    def close_request(self, settled: Sequence[Settled], ended: Ended) -> int:
        """Record how a request ended, and its attempts that ended with it, in one write."""
        if not self._running:
            self.start()
        return self._journal.append(*settled, ended)

    def payload(self, started: Started, kind: Literal["request", "response"], body: bytes) -> int:
        """Record the body of an attempt's request or answer: its SHA-256, and itself under `payloads: full` (at most 1 MiB)."""
        if not self.keeps_payloads:
            return 0
        if not self._running:
            self.start()
        return self._journal.append_body(
            Payload(
                request_id=started.request_id,
                requested_at=started.requested_at,
                attempt=started.attempt,
                kind=kind,
                at=time.time(),
                sha256=sha256(body).digest(),
                size=len(body),
                body=body[:PAYLOAD_LIMIT] if self._payloads == "full" else None,
            )
        )

    # --- questions ------------------------------------------------------------------------------------------------------

    def usage(
        self,
        by: Iterable[str] | str = ("day", "model"),
        *,
        since: Instant | None = None,
        until: Instant | None = None,
        where: Mapping[str, Wanted] | None = None,
        tz: str = "UTC",
        wait_s: float = 1.0,
    ) -> list[UsageRow]:
        """Return the usage, as `podium.ledger.usage.usage` does, after what was recorded so far is in the store.

        It waits for that at most `wait_s` seconds, and answers with what is there then. It blocks: not for an event loop.
        """
        if wait_s > 0:
            self.flush(wait_s)
        return usage(self.store, by, since=since, until=until, where=where, tz=tz)

    def reprice(
        self,
        price: Callable[[Priced], Price | None],
        *,
        since: Instant | None = None,
        until: Instant | None = None,
        tz: str = "UTC",
        apply: bool = False,
    ) -> list[Repriced]:
        """Price the settled attempts of a time again; without `apply`, only say what would change. It blocks."""
        zone = ZoneInfo(tz)
        return reprice(
            self.store,
            price,
            since_us=None if since is None else microseconds_of(since, zone, "since"),
            until_us=None if until is None else microseconds_of(until, zone, "until"),
            apply=apply,
        )

    def recordings(
        self,
        *,
        since: Instant | None = None,
        until: Instant | None = None,
        rollout: str | None = None,
        spec: str | None = None,
        most: int = 1_000,
        tz: str = "UTC",
        wait_s: float = 1.0,
    ) -> tuple[int, list[Recording]]:
        """Return how many requests fit, and the newest of them in the order of time, with their bodies. It blocks.

        `rollout` keeps those of a rollout's legacy arm, `spec` those whose callers wrote that. Raises `RequestError` for what
        cannot be asked.
        """
        if wait_s > 0:
            self.flush(wait_s)
        zone = ZoneInfo(tz)
        return self.store.recordings(
            Sought(
                None if since is None else microseconds_of(since, zone, "since"),
                None if until is None else microseconds_of(until, zone, "until"),
                rollout,
                spec,
                most,
            )
        )

    def statistics(self) -> Statistics:
        """Say how the ledger fares. Counts over the store's life are 0 where it does not answer."""
        journal, drainer = self._journal, self._drainer
        counters: dict[str, int] = {}
        problem = None if drainer is None else drainer.problem
        try:
            counters = self.store.counters()
        except StoreError as error:
            problem = str(error)
        return Statistics(
            appended=journal.appended,
            deferred=journal.deferred,
            waiting=journal.waiting,
            lost=journal.lost,
            refused=journal.refused,
            fsyncs=journal.fsyncs,
            fsync_errors=journal.fsync_errors,
            elected=drainer is None or drainer.elected,
            drained=journal.appended if drainer is None else drainer.drained,
            store_errors=0 if drainer is None else drainer.store_errors,
            journal_problem=journal.problem,
            store_problem=problem,
            **{name: counters.get(name, 0) for name in ("torn", "corrupt", "set_aside", "unknown")},
        )

    # --- its life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to drain, which else begins with the first record."""
        if not self._closed:
            self._running = True
            if self._thread is not None and not (isinstance(self.store, SqliteStore) and self.store.cut_off):
                self._thread.start()

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until what this process has recorded is in the store; where it has recorded nothing, what others have so far.

        Returns whether it is.
        """
        self.start()
        if self._thread is None or self._drainer is None:
            return True
        until = time.monotonic() + timeout_s
        wanted = self._appended(self._drainer.folder)
        self._thread.stood.wait(timeout_s)
        while True:
            if self._thread.wait_empty(min(0.1, until - time.monotonic())):
                return not self._journal.waiting
            if not self._drainer.elected and self._are_drained(wanted, self._drainer.folder):
                return not self._journal.waiting
            if time.monotonic() >= until:
                return False
            if not self._drainer.elected:
                time.sleep(0.01)

    def _appended(self, folder: Path) -> dict[str, int] | None:
        """How much of which segments is to be waited for; None where that cannot be known."""
        position = self._journal.position()
        if position is not None:
            return {position[0].name: position[1]}
        try:
            return segments.sizes(folder)
        except OSError:
            return None

    def _are_drained(self, wanted: Mapping[str, int] | None, folder: Path) -> bool:
        """Whether another process has read segments so far. It reads those of a writer in their order."""
        try:
            positions = self.store.positions()
            missing = {name for name, size in (wanted or {}).items() if positions.get(name, 0) < size}
            return wanted is not None and (not missing or missing.isdisjoint(segments.sizes(folder)))
        except (StoreError, OSError):
            return False

    def close(self, timeout_s: float = 5.0) -> None:
        """Drain what there is, within `timeout_s`, and let everything go. What is left is drained by whoever comes next."""
        if self._closed:
            return
        self._journal.close()
        self._closed = True
        if self._thread is not None:
            if self._running and timeout_s > 0:
                self._thread.wait_empty(timeout_s)
            self._thread.close(timeout_s)
        self.store.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- forks ----------------------------------------------------------------------------------------------------------

    def _in_child(self) -> None:
        if self._drainer is not None:
            self._drainer.resign()  # its descriptors alone: what the parent locked stays locked
        if not isinstance(self.store, SqliteStore):
            self.store = self._make_store()
        self._begin()


def _watch_forks(ledger: Ledger) -> None:
    os.register_at_fork(after_in_child=weakly(weakref.WeakMethod(ledger._in_child)))
