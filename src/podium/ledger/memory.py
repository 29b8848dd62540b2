"""The ledger of those who want none on disk: exact sums, in memory, and nothing else.

Theory. Without a disk there is no crash to survive and nothing to read again, so a record is added to its sums at once, on its
request's path, in a few microseconds. No thread, no queue, no row is kept: memory is bounded by `RecentSums`, however many
requests there are.

Rules.
- It answers what the tables of sums of a store on disk answer, and more names together; but tags are summed on their own, so a
  question that has them together with other names is refused. `since` and `until` reach to the quarter of an hour.
- There are no attempts to price again, and no payloads.
- It ends with the process; a forked child begins with an empty one.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable
from datetime import datetime
from typing import NoReturn
from zoneinfo import ZoneInfo

from podium.errors import RequestError
from podium.ledger.cells import Cell, add_attempt, add_entry, add_to_sums
from podium.ledger.facts import Caller, Route, load_caller, load_ending, load_labels, load_route, writable
from podium.ledger.journal import weakly
from podium.ledger.recent import MOST_CELLS, Names, RecentSums
from podium.ledger.records import Ended, Late, Payload, Record, Settled
from podium.ledger.rows import amount_of, kept_tags, microseconds, tokens_of
from podium.ledger.store import Batch, Grouping, Price, Priced, Question, Recording, Sought, Sums

_NAMES: tuple[Grouping, ...] = ("provider", "model", "tier", "experiment", "rollout", "arm", "team", "user")
_PEOPLE = (_NAMES.index("team"), _NAMES.index("user"))
_UNTAGGED = ("",)


class MemoryStore:
    """Sums in memory. See `podium.ledger.store.Store`."""

    def __init__(self, most_cells: int = MOST_CELLS) -> None:
        self._most = most_cells
        self._clear()
        os.register_at_fork(after_in_child=weakly(weakref.WeakMethod(self._clear)))

    def _clear(self) -> None:
        self._lock = threading.Lock()
        self._named = RecentSums(_PEOPLE, self._most)
        self._tagged = RecentSums((), self._most)

    def __len__(self) -> int:
        return len(self._named) + len(self._tagged)

    def take(self, record: Record) -> None:
        """Add a record to its sums; it comes once."""
        if isinstance(record, Settled):
            route, caller, ending = load_route(record.route), load_caller(record.caller), load_ending(record.ending)
            names, tags = _names(route, caller), load_labels(record.labels).tags
            tokens, cost_pico = tokens_of(record), amount_of(record.cost_pico)
            with self._lock:
                add_attempt(self._cells(record.started_at, names, tags), ending.outcome, tokens, cost_pico)
                if record.request_duration_s is not None:
                    add_entry(self._cells(record.requested_at, names, tags), ending.request_outcome or "ok")
        elif isinstance(record, Ended):
            with self._lock:
                # What is packed was made writable, and this has to be found under the same names.
                names, tags = tuple(writable(_names(record, record))), tuple(writable(record.tags))
                add_entry(self._cells(record.requested_at, names, tags), record.outcome)

    def _cells(self, at: float, names: Names, tags: tuple[str, ...]) -> list[Cell]:
        """The cells that something of this time adds to."""
        at_us = microseconds(at)
        cells = [self._named.cell(at_us, names)]
        cells += [self._tagged.cell(at_us, (tag,)) for tag in kept_tags(tags or _UNTAGGED)]
        return cells

    def apply(self, batch: Batch) -> None:
        """Take a batch."""
        for record in batch.records():
            self.take(record)

    def positions(self) -> dict[str, int]:
        """There are no segments."""
        return {}

    def counters(self) -> dict[str, int]:
        """Nothing can go wrong here."""
        return {}

    def usage(self, question: Question) -> dict[tuple[str | None, ...], Sums]:
        """Return the sums of each group. Raises `RequestError` for tags together with other names."""
        tagged = _asks_tags(question)
        with self._lock:
            cells = (self._tagged if tagged else self._named).cells(question.since_us, question.until_us)
        known: tuple[Grouping, ...] = ("tag",) if tagged else _NAMES
        zone = ZoneInfo(question.zone)
        days: dict[int, tuple[str, str]] = {}
        groups: dict[tuple[str | None, ...], Sums] = {}
        for moment_us, names, cell in cells:
            if any(_value(each, names, known) not in wanted for each, wanted in _wanted(question)):
                continue
            day = days.get(moment_us)
            if day is None:
                date = datetime.fromtimestamp(moment_us / 1e6, zone).date()
                day = days[moment_us] = (date.isoformat(), f"{date.year:04d}-{date.month:02d}")
            key = tuple(
                day[0] if each == "day" else day[1] if each == "month" else _value(each, names, known) or None
                for each in question.by
            )
            sums = groups.get(key)
            if sums is None:
                sums = groups[key] = Sums()
            add_to_sums(sums, cell)
        return groups

    def priced(
        self, *, since_us: int | None, until_us: int | None, after: tuple[int, str, int] | None, most: int
    ) -> list[Priced]:
        """There are no attempts. Raises `RequestError`."""
        _refuse_reprice()

    def reprice(self, changes: Iterable[tuple[Priced, Price]], at: float) -> int:
        """There are no attempts. Raises `RequestError`."""
        _refuse_reprice()

    def recordings(self, sought: Sought) -> tuple[int, list[Recording]]:
        """There are no requests. Raises `RequestError`."""
        raise RequestError(
            "No request is on record one by one: this ledger is in memory, and keeps sums alone.",
            hint="Keep the ledger on disk, with its texts: set `data_dir` or PODIUM_DATA, and `ledger: {payloads: full}`.",
        )

    def tidy(self, *, now: float, payload_age_s: float | None, payload_bytes: int | None, most: int) -> int:
        """There are no payloads."""
        return 0

    def close(self) -> None:
        """There is nothing to let go of."""


def _names(route: Route | Ended, caller: Caller | Ended) -> Names:
    return (
        route.provider or "", route.model or "", route.tier or "", route.experiment or "", route.rollout or "",
        route.arm or "", caller.team or "", caller.user_id or "",
    )  # fmt: skip


class MemoryJournal:
    """What stands in for a journal where records go straight into their sums."""

    deferred = lost = refused = fsyncs = fsync_errors = waiting = 0

    def __init__(self, store: MemoryStore, problem: str | None = None) -> None:
        self._take = store.take
        self.appended = 0
        self.problem = problem

    def append(self, *records: Record | Late) -> int:
        """Take records."""
        for record in records:
            self.appended += 1
            self._take(record() if callable(record) else record)
        return 0

    def append_body(self, body: Payload) -> int:
        """No body is kept."""
        return 0

    def hand_over(self, number: int) -> None:
        """Nothing waits."""

    def position(self) -> None:
        """There is no segment."""

    def close(self) -> None:
        """There is nothing to close."""


def _asks_tags(question: Question) -> bool:
    """Whether tags are asked. Raises `RequestError` where other names are asked with them."""
    asked = {*question.by, *question.where}
    if "tag" not in asked:
        return False
    others = sorted(asked - {"tag", "day", "month"})
    if others:
        raise RequestError(
            f"Usage by tag and {' and '.join(others)} together is not kept: this ledger is in memory, where tags are summed on "
            "their own.",
            param="by",
            hint="Keep the ledger on disk (`data_dir`, or `store: sqlite`), or ask for tags with days or months alone.",
        )
    if "tag" not in question.by and len(question.where["tag"]) != 1:  # a request with two of them would count twice
        raise RequestError(
            "Usage of any of several tags is not kept: this ledger is in memory, where tags are summed on their own.",
            param="where",
            hint="Keep the ledger on disk (`data_dir`, or `store: sqlite`), or ask for one tag, or by tag.",
        )
    return True


def _wanted(question: Question) -> list[tuple[Grouping, set[str]]]:
    return [(each, {value or "" for value in values}) for each, values in question.where.items()]


def _value(grouping: Grouping, names: Names, known: tuple[Grouping, ...]) -> str:
    if grouping == "target":
        provider, model = names[:2]
        return f"{provider}/{model}" if provider else model
    return names[known.index(grouping)]


def _refuse_reprice() -> NoReturn:
    raise RequestError(
        "What is on record cannot be priced again: this ledger is in memory, and keeps sums alone.",
        hint="Keep the ledger on disk: set `data_dir` or PODIUM_DATA, and `store: sqlite`.",
    )
