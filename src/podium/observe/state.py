"""What one process has counted, as plain data: to be written, read by another process, and added up.

Theory. A state is a process's base (all that is older than five minutes) and its ring of slices. States add up series by
series; slices are numbered by the wall clock, so a reader knows which of them are recent, however old the state is.

Rules. States of another `version` are not read. `make_report` and `everything` add up any number of states.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import msgspec

from podium.observe.cell import Cell, Label
from podium.observe.report import Breakers, Report, make_window
from podium.routing.health import BreakerState

VERSION = 1
SLICE_S = 30
RING = 10
"""Slices that are recent: the present one and nine before it, 270 to 300 seconds."""


class Series(msgspec.Struct, array_like=True):
    """A label and its cell."""

    label: Label
    cell: Cell


class Slice(msgspec.Struct, array_like=True):
    """What happened in one slice of time; `slot` counts slices since the epoch."""

    slot: int
    series: list[Series]


class State(msgspec.Struct, kw_only=True):
    """All that a process has counted."""

    version: int = VERSION
    pid: int
    started_at: float
    written_at: float
    track_performance: bool = True
    track_cost: bool = True
    kinds: dict[str, str] = {}
    """The kind of each provider."""
    throttled: dict[str, float] = {}
    """Targets that asked to be left alone, and until when."""
    breakers: Breakers = {}
    observer_failures: dict[str, int] = {}
    base: list[Series] = []
    slices: list[Slice] = []

    def end(self) -> None:
        """Forget what held only as long as the process lived."""
        self.throttled = {}
        self.breakers = {}


def slot_at(instant: float) -> int:
    """Return the number of the slice that an instant falls into."""
    return int(instant) // SLICE_S


def everything(states: Iterable[State]) -> dict[Label, Cell]:
    """Add up all that was ever counted, by label."""
    merged: dict[Label, Cell] = {}
    for state in states:
        _add(merged, state.base)
        for piece in state.slices:
            _add(merged, piece.series)
    return merged


def recently(states: Iterable[State], now: float) -> dict[Label, Cell]:
    """Add up what was counted in the last slices, by label."""
    merged: dict[Label, Cell] = {}
    oldest = slot_at(now) - RING
    for state in states:
        for piece in state.slices:
            if piece.slot > oldest:
                _add(merged, piece.series)
    return merged


def _add(merged: dict[Label, Cell], series: Iterable[Series]) -> None:
    for each in series:
        cell = merged.get(each.label)
        if cell is None:
            cell = merged[each.label] = Cell()
        cell.merge(each.cell)


def kinds_of(states: Iterable[State]) -> dict[str, str]:
    """Return the kind of each provider."""
    kinds: dict[str, str] = {}
    for state in states:
        kinds |= state.kinds
    return kinds


def throttled_of(states: Iterable[State], now: float) -> dict[str, float]:
    """Return the targets that are left alone by any process, and for how many seconds still."""
    throttled: dict[str, float] = {}
    for state in states:
        for target, until in state.throttled.items():
            if until > now:
                throttled[target] = max(throttled.get(target, 0.0), until - now)
    return dict(sorted(throttled.items()))


def breakers_of(states: Iterable[State]) -> Breakers:
    """Return in how many processes each rollout's breaker is how."""
    breakers: Breakers = {}
    for state in states:
        for rollout, processes in state.breakers.items():
            counts = breakers.setdefault(rollout, dict.fromkeys(get_args(BreakerState), 0))
            for name, count in processes.items():
                counts[name] = counts.get(name, 0) + count
    return dict(sorted(breakers.items()))


def failures_of(states: Iterable[State]) -> dict[str, int]:
    """Return how often each observer failed."""
    failures: dict[str, int] = {}
    for state in states:
        for name, count in state.observer_failures.items():
            failures[name] = failures.get(name, 0) + count
    return dict(sorted(failures.items()))


def combine(states: Sequence[State], now: float) -> State:
    """Add up states into one, what is no longer recent in its base."""
    oldest = slot_at(now) - RING
    base: dict[Label, Cell] = {}
    ring: dict[int, dict[Label, Cell]] = {}
    for state in states:
        _add(base, state.base)
        for piece in state.slices:
            _add(ring.setdefault(piece.slot, {}) if piece.slot > oldest else base, piece.series)
    return State(
        pid=0,
        started_at=min((state.started_at for state in states), default=now),
        written_at=max((state.written_at for state in states), default=now),
        track_performance=any(state.track_performance for state in states),
        track_cost=any(state.track_cost for state in states),
        kinds=kinds_of(states),
        throttled={target: now + seconds for target, seconds in throttled_of(states, now).items()},
        breakers=breakers_of(states),
        observer_failures=failures_of(states),
        base=as_series(base),
        slices=[Slice(slot, as_series(cells)) for slot, cells in sorted(ring.items())],
    )


def as_series(cells: Mapping[Label, Cell]) -> list[Series]:
    """Return cells by label as plain data, without copying them."""
    return [Series(label, cell) for label, cell in cells.items()]


def make_report(states: Sequence[State], *, now: float | None = None, processes: int | None = None) -> Report:
    """Add up the states of any number of processes into a report.

    `now` is the time since the epoch, None the present; `processes` says how many live, None: all of them.
    """
    at = time.time() if now is None else now
    started_at = min((state.started_at for state in states), default=at)
    performance = any(state.track_performance for state in states)
    cost = any(state.track_cost for state in states)
    recent_from = max(started_at, float((slot_at(at) - RING + 1) * SLICE_S))
    return Report(
        at=at,
        overall=make_window(
            everything(states), since_at=started_at, until_at=at, track_performance=performance, track_cost=cost
        ),
        recent=make_window(
            recently(states, at), since_at=recent_from, until_at=at, track_performance=performance, track_cost=cost
        ),
        throttled=throttled_of(states, at),
        breakers=breakers_of(states),
        observer_failures=failures_of(states),
        processes=len(states) if processes is None else processes,
    )
