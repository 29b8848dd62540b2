"""The metrics of this process: cheap to record, exact to add up.

Theory. Recording touches one cell, that of the record's label in the present slice (half a minute); everything else is left to
the reader. Whoever reads seals the present slice, which costs the recorders one assignment, and folds what is sealed outside of
their lock: into the ring of the last ten slices (the last five minutes), and from there into the base (all before).
"Since the start" is base and ring together, so nothing is recorded twice.

Rules.
- `observe` is safe from any thread, and never waits for a reader that merges.
- At most `max_series` labels are kept apart; what comes after them is counted under `(other)`, for a caller may ask for any
  model's name.
- With `track_performance=False` no duration is kept; with `track_cost=False` no cost is; `timed=False` on a request does the
  first for that request.
- Slices are numbered by the wall clock, so that those of several processes meet; a clock set back never opens an older slice.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping

import msgspec

from podium.observe.cell import Cell, Label
from podium.observe.record import AttemptRecord, Observation
from podium.observe.report import Report
from podium.observe.state import RING, SLICE_S, Slice, State, as_series, make_report, slot_at
from podium.routing.health import BreakerState

OTHER = "(other)"
"""The name under which labels beyond the limit are counted."""
_UNFOLDED = 20
"""Sealed slices that may lie about before a recorder folds them itself, as nobody reads."""


class Metrics:
    """Counts what it observes, by provider, model, tier and experiment. An `Observer`; thread-safe.

    `throttled` gives the targets that asked to be left alone and the seconds that remain, `breakers` how each rollout's breaker
    is, `failures` how often each observer failed (all are asked when somebody reads); `clock` is the time since the epoch.
    """

    name = "metrics"

    def __init__(
        self,
        *,
        track_performance: bool = True,
        track_cost: bool = True,
        throttled: Callable[[], Mapping[str, float]] = dict,
        breakers: Callable[[], Mapping[str, BreakerState]] = dict,
        failures: Callable[[], Mapping[str, int]] = dict,
        max_series: int = 500,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.track_performance = track_performance
        self.track_cost = track_cost
        self._throttled = throttled
        self._breakers = breakers
        self._failures = failures
        self._max_series = max_series
        self._clock = clock
        self.on_change: Callable[[], None] | None = None
        """Called at the first record after each `state()`, in the recorder's thread: it must be cheap."""
        self.reset()
        # A process that is forked off begins at zero, so that no count is in two processes, and with locks that nobody holds.
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _reset(this()))

    def reset(self) -> None:
        """Forget everything, and begin again."""
        # Reentrant: the collector may end an abandoned request, and so record it, while its thread records another.
        self._recording = threading.RLock()
        self._reading = threading.RLock()
        self.started_at = self._clock()
        self._changed = False
        self._slot = slot_at(self.started_at)
        self._present: dict[Label, Cell] = {}
        self._sealed: list[tuple[int, dict[Label, Cell]]] = []
        self._labels: set[Label] = set()
        self._kinds: dict[str, str] = {}
        self._ring: dict[int, dict[Label, Cell]] = {}
        self._base: dict[Label, Cell] = {}

    # --- recording ------------------------------------------------------------------------------------------------------

    def observe(self, record: Observation) -> None:
        """Count a record."""
        request = record.request
        label = (record.provider, record.model, request.tier, request.experiment)
        timed = self.track_performance and request.timed
        slot = int(self._clock()) // SLICE_S
        with self._recording:
            if slot > self._slot:
                self._seal()
                self._slot = slot
            cell = self._present.get(label)  # type: ignore[call-overload]  # a plain tuple is the same key, and made faster
            if cell is None:
                cell = self._open(Label(*label), record.kind)
            if type(record) is AttemptRecord:
                cell.add_attempt(record, timed=timed, priced=self.track_cost)
            elif not request.is_shadow:
                cell.add_request(record, timed=timed)
        if not self._changed:
            self.touch()
        if len(self._sealed) > _UNFOLDED and self._reading.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._reading.release()

    def touch(self) -> None:
        """Take it that a state would say something new, as after a record: a breaker has changed, say."""
        if not self._changed:
            self._changed = True
            if self.on_change is not None:
                self.on_change()

    def _open(self, label: Label, kind: str) -> Cell:
        if label not in self._labels:
            if len(self._labels) >= self._max_series:
                label = Label(OTHER, OTHER, OTHER if label.tier else None, OTHER if label.experiment else None)
            self._labels.add(label)
            if label.provider is not None and kind:
                self._kinds.setdefault(label.provider, kind)
        cell = self._present.get(label)
        if cell is None:
            cell = self._present[label] = Cell()
        return cell

    def _seal(self) -> None:
        if self._present:
            self._sealed.append((self._slot, self._present))
            self._present = {}

    # --- reading --------------------------------------------------------------------------------------------------------

    def _fold(self) -> None:
        """Take what is sealed into the ring, and what has left the ring into the base. Only under the readers' lock."""
        with self._recording:
            sealed, self._sealed = self._sealed, []
        for slot, cells in sealed:
            _merge(self._ring.setdefault(slot, {}), cells)
        oldest = slot_at(self._clock()) - RING
        for slot in [slot for slot in self._ring if slot <= oldest]:
            _merge(self._base, self._ring.pop(slot))

    def _view(self) -> State:
        """All that is counted so far, without copying: to be used under the readers' lock only."""
        now = self._clock()
        self._changed = False  # before the sealing: what comes after it is news
        with self._recording:
            self._seal()
            kinds = dict(self._kinds)
        self._fold()
        return State(
            pid=os.getpid(),
            started_at=self.started_at,
            written_at=now,
            track_performance=self.track_performance,
            track_cost=self.track_cost,
            kinds=kinds,
            throttled={target: now + seconds for target, seconds in self._throttled().items()},
            breakers={rollout: {state: 1} for rollout, state in self._breakers().items()},
            observer_failures=dict(self._failures()),
            base=as_series(self._base),
            slices=[Slice(slot, as_series(cells)) for slot, cells in sorted(self._ring.items())],
        )

    def snapshot(self) -> Report:
        """Return what this process has counted: since its start, and in the last five minutes."""
        with self._reading:
            return make_report([self._view()], now=self._clock())

    def encode_state(self) -> bytes:
        """Return all that is counted as JSON, for another process (`State`)."""
        with self._reading:
            return msgspec.json.encode(self._view())

    def state(self) -> State:
        """Return a copy of all that is counted."""
        return msgspec.json.decode(self.encode_state(), type=State)


def _reset(metrics: Metrics | None) -> None:
    if metrics is not None:
        metrics.reset()


def _merge(cells: dict[Label, Cell], more: dict[Label, Cell]) -> None:
    for label, cell in more.items():
        known = cells.get(label)
        if known is None:
            cells[label] = cell  # its slice is sealed and given up, so it may be taken as it is
        else:
            known.merge(cell)
