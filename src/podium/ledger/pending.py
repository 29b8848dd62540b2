"""What a writer has begun and not told the end of.

Theory. The store holds what is over. What is not is known from the segments alone: the attempts that started and have not
settled, and the requests that they belong to. A drainer keeps that in memory, finds it again by reading the segments that are
left, and needs it for two things: a segment is kept as long as something that began in it is open, and when its writer is dead
each open attempt is `unknown`, at its reserved cost.

Rules.
- Pure: records in, records out. Reading the same records twice changes nothing (the store takes each id once).
- A request whose `Ended` was never written, but whose winner had settled, was answered: its entry says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

import msgspec

from podium.ledger.facts import load_caller, load_ending, load_labels, load_route
from podium.ledger.records import Ended, Record, Settled, Started, end, settle

Key = tuple[str, float]


class _Open:
    """A request that has begun, of which more is known than its first attempt."""

    __slots__ = ("attempts", "ended", "first", "highest", "won")

    def __init__(self, first: Started) -> None:
        self.first = first
        self.attempts = {first.attempt: first}
        self.highest = first.attempt
        self.won: Settled | None = None
        self.ended = False


class Abandoned(NamedTuple):
    """What a dead writer left open."""

    attempts: list[Settled]
    entries: list[Ended]
    corrupt: int
    """Requests of which it cannot be read what they were."""


class Pending:
    """The open requests of one writer."""

    __slots__ = ("_by_segment",)

    def __init__(self) -> None:
        self._by_segment: dict[str, dict[Key, Started | _Open]] = {}
        """By the segment that they began in; nearly every request is one attempt, and only that is kept of it."""

    def follow(self, records: Iterable[Record], segment: str) -> list[Settled]:
        """Follow records that were read from a segment; returns the ends of requests that this writer has not begun.

        A process that was forked ends what its parent had begun.
        """
        strange: list[Settled] = []
        begun = self._by_segment.setdefault(segment, {})
        for record in records:
            if type(record) is Started:
                key = (record.request_id, record.requested_at)
                if len(self._by_segment) > 1 or key in begun:
                    self._start(begun, key, record)
                else:
                    begun[key] = record
            elif type(record) is Settled:
                key = (record.request_id, record.requested_at)
                known = begun.get(key)
                if type(known) is Started and known.attempt == record.attempt and record.request_duration_s is not None:
                    del begun[key]
                elif not self._settle(key, record) and record.request_duration_s is not None:
                    strange.append(record)
            elif type(record) is Ended and (found := self._find((record.request_id, record.requested_at))) is not None:
                self._end(*found, (record.request_id, record.requested_at), ended=True)
        if not begun:
            del self._by_segment[segment]
        return strange

    def _find(self, key: Key) -> tuple[dict[Key, Started | _Open], _Open] | None:
        """The request that has begun, with those of its segment."""
        for begun in self._by_segment.values():
            known = begun.get(key)
            if known is not None:
                request = begun[key] = _Open(known) if isinstance(known, Started) else known
                return begun, request
        return None

    def _start(self, begun: dict[Key, Started | _Open], key: Key, record: Started) -> None:
        """An attempt begins, perhaps not the first one of its request."""
        found = self._find(key)
        if found is None:
            begun[key] = record
            return
        _, request = found
        request.attempts[record.attempt] = record
        request.highest = max(request.highest, record.attempt)

    def _settle(self, key: Key, settled: Settled) -> bool:
        """Settle an attempt; returns whether its request has begun."""
        found = self._find(key)
        if found is None:
            return False
        begun, request = found
        request.attempts.pop(settled.attempt, None)
        with suppress(msgspec.DecodeError):  # the store says what cannot be read
            if load_ending(settled.ending).outcome == "won":
                request.won = settled
        self._end(begun, request, key, ended=settled.request_duration_s is not None)
        return True

    @staticmethod
    def _end(begun: dict[Key, Started | _Open], request: _Open, key: Key, *, ended: bool) -> None:
        request.ended = request.ended or ended
        if request.ended and not request.attempts:
            del begun[key]

    def __len__(self) -> int:
        return sum(map(len, self._by_segment.values()))

    def segments(self) -> set[str]:
        """The segments in which something began that is still open."""
        return {segment for segment, begun in self._by_segment.items() if begun}

    def abandon(self) -> Abandoned:
        """The writer is dead: what is open ends here, and how it ended nobody knows."""
        attempts: list[Settled] = []
        entries: list[Ended] = []
        corrupt = 0
        for begun in self._by_segment.values():
            for known in begun.values():
                request = _Open(known) if isinstance(known, Started) else known
                attempts += map(_unknown, request.attempts.values())
                try:
                    if not request.ended:
                        entries.append(_entry(request))
                except msgspec.DecodeError:
                    corrupt += 1
        self._by_segment.clear()
        return Abandoned(attempts, entries, corrupt)


def _unknown(started: Started) -> Settled:
    return settle(started, outcome="unknown", cost_pico=started.reserved_pico, price_source="reserved", estimated=True)


def _entry(request: _Open) -> Ended:
    won = request.won
    at = request.first if won is None else won
    return end(
        load_route(at.route),
        load_caller(at.caller),
        load_labels(at.labels),
        request_id=at.request_id,
        requested_at=at.requested_at,
        outcome="unknown" if won is None else "ok",
        duration_s=0.0 if won is None else won.started_at + won.duration_s - won.requested_at,
        conversation=at.conversation,
        winner=None if won is None else won.attempt,
        attempts=request.highest,
    )
