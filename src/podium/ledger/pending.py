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
from typing import NamedTuple

from podium.ledger.frames import Opened, Read
from podium.ledger.records import Closed, Ended, Settled, Started

Key = tuple[str, float]


class _Open:
    """A request that has begun."""

    __slots__ = ("attempts", "ended", "first", "highest", "segment", "won")

    def __init__(self, first: Opened, segment: str) -> None:
        self.first = first
        self.segment = segment
        self.attempts: dict[int, Opened] = {}
        self.highest = 0
        self.won: Settled | None = None
        self.ended = False


class Abandoned(NamedTuple):
    """What a dead writer left open."""

    attempts: list[Settled]
    entries: list[Ended]
    corrupt: int
    """Attempts that turned out to be no records of this version."""


class Pending:
    """The open requests of one writer."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[Key, _Open] = {}

    def follow(self, records: Iterable[Read], segment: str) -> None:
        """Follow records that were read from a segment (`frames.load_lazily`)."""
        opened = self._open
        for record in records:
            if type(record) is Opened:
                key = (record.request_id, record.requested_at)
                request = opened.get(key)
                if request is None:
                    request = opened[key] = _Open(record, segment)
                request.attempts[record.attempt] = record
                if record.attempt > request.highest:
                    request.highest = record.attempt
            elif type(record) is Closed:
                self._settle(record.settled, ended=True)
            elif type(record) is Settled:
                self._settle(record, ended=False)
            elif type(record) is Ended:
                key = (record.request_id, record.requested_at)
                request = opened.get(key)
                if request is None:
                    continue
                request.ended = True
                if not request.attempts:
                    del opened[key]

    def _settle(self, settled: Settled, *, ended: bool) -> None:
        of = settled.started
        key = (of.request_id, of.requested_at)
        request = self._open.get(key)
        if request is None:
            return
        request.attempts.pop(of.attempt, None)
        if settled.outcome == "won":
            request.won = settled
        if ended:
            request.ended = True
        if request.ended and not request.attempts:
            del self._open[key]

    def __len__(self) -> int:
        return len(self._open)

    def segments(self) -> set[str]:
        """The segments in which something began that is still open."""
        return {request.segment for request in self._open.values()}

    def abandon(self) -> Abandoned:
        """The writer is dead: what is open ends here, and how it ended nobody knows."""
        attempts: list[Settled] = []
        entries: list[Ended] = []
        corrupt = 0
        for request in self._open.values():
            for each in request.attempts.values():
                started = each.whole()
                if started is None:
                    corrupt += 1
                else:
                    attempts.append(_unknown(started))
            first = request.won.started if request.won is not None else request.first.whole()
            if not request.ended and first is not None:
                entries.append(_entry(request, first))
        self._open.clear()
        return Abandoned(attempts, entries, corrupt)


def _unknown(started: Started) -> Settled:
    return Settled(started=started, outcome="unknown", cost_pico=started.reserved_pico, price_source="reserved", estimated=True)


def _entry(request: _Open, at: Started) -> Ended:
    won = request.won
    return Ended(
        request_id=at.request_id,
        requested_at=at.requested_at,
        outcome="unknown" if won is None else "ok",
        duration_s=0.0 if won is None else at.started_at + won.duration_s - at.requested_at,
        spec=at.spec,
        tier=at.tier,
        experiment=at.experiment,
        user_id=at.user_id,
        team=at.team,
        conversation=at.conversation,
        tags=at.tags,
        winner=None if won is None else at.attempt,
        attempts=request.highest,
        provider=at.provider,
        model=at.model,
        rollout=at.rollout,
        arm=at.arm,
    )
