"""Whether a candidate may go on: the guard of a ramp.

Theory. A ramp raises the candidate's share step by step. After each request the guard knows a little more about failures,
latency, cost and quality of both arms; `eprocess` turns that into two amounts of evidence a metric: that the candidate is worse
by more than the margin (roll back), and that it is not (step on). Both may be looked at at any time.

Rules.
- Each metric becomes a loss in [0, 1]: failed or not; latency over legacy's p95 or not; cost as a share of a cap, and capped
  there; 1 - quality. The cap is legacy's p99, or twice its mean where that is more: where all calls cost much the same, a
  candidate that costs ten times as much would else hit the cap that legacy hits, and look alike. Both limits are frozen before
  step 1 (`Baseline`): a limit that follows the traffic follows the candidate too. A margin is in the same units: 0.01 is one
  failure more in a hundred, or one hundredth of the cap.
- Only units that were drawn by their bucket are observed (`Decision.by`): test users and rules are no sample. Each counts once
  a ramp step: sticky users repeat themselves, and two of a hundred who fail half their requests would look like a bad arm.
- alpha is split over the metrics: the chance that a harmless candidate is ever rolled back stays under alpha for all of them
  together. beta is not: every metric must pass, so the chance of passing a bad one is under beta anyway.
- Evidence to roll back runs over all steps and restarts at fixed hours of the wall clock (`Guard.restart_s`). Evidence to step
  on is the current step's alone.
- What merges. A block is one worker's: it opens with that worker's first observation, closes with the one that gives it both
  arms, and is filed under the step it belongs to and the epoch it opened in. Closed blocks are sums, and the `merge` of the
  workers' evidence is that of one worker who saw the same blocks. Open blocks do not merge; a worker that ends without
  handing over `open_blocks` loses at most one block a metric and step, chosen by the order of the arms and by no outcome.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, MutableSet
from decimal import Decimal
from typing import Literal, get_args

import msgspec

from podium.errors import RequestError
from podium.routing.eprocess import Sums, stakes
from podium.routing.rollout import Arm
from podium.types import Value

Metric = Literal["error_rate", "latency", "cost", "quality"]
METRICS: tuple[Metric, ...] = get_args(Metric)


class Guard(Value, frozen=True, kw_only=True):
    """What a candidate is held to.

    Raises `RequestError` for margins outside 0 to 1 and for chances that are not between 0 and 1.
    """

    margins: dict[Metric, float] = msgspec.field(default_factory=lambda: {"error_rate": 0.01})
    """By how much the candidate may be worse in each metric, in units of the loss; a metric that is missing is not guarded."""
    alpha: float = 0.01
    """The chance that a candidate within all margins is ever rolled back, at most."""
    beta: float = 0.05
    """The chance that a step passes a candidate that is beyond a margin, at most."""
    restart_s: float | None = 3600.0
    """The length of an epoch. None: one game from beginning to end, which sees a bad start somewhat sooner and a late
    regression much later."""
    latency_share: float = 0.95
    """Which of legacy's percentiles is the limit on latency, as a share."""
    latency_limit_s: float | None = None
    """A limit on latency that does not depend on legacy."""

    def __post_init__(self) -> None:
        if not self.margins:
            raise _wrong("margins", "A guard watches no metric", f"Give one of {', '.join(METRICS)} a margin.")
        for metric, margin in self.margins.items():
            if metric not in METRICS:
                raise _wrong("margins", f"A guard watches {metric!r}", f"Use one of {', '.join(METRICS)}.")
            if not 0 <= margin < 1:
                raise _wrong("margins", f"The margin of {metric} is {margin}", "Use a number from 0 to 1: 0.01 is one point.")
        for name, chance in (("alpha", self.alpha), ("beta", self.beta)):
            if not 0 < chance < 1:
                raise _wrong(name, f"A guard's {name} is {chance}", "Use a number between 0 and 1, as 0.01.")
        if self.restart_s is not None and not 0 < self.restart_s < math.inf:
            raise _wrong(
                "restart_s", f"A guard restarts every {self.restart_s} s", "Use a positive number of seconds, or None."
            )
        if not 0 < self.latency_share < 1:
            raise _wrong(
                "latency_share", f"A guard's latency is over percentile {self.latency_share}", "Use a share, as 0.95 for p95."
            )
        if self.latency_limit_s is not None and not 0 < self.latency_limit_s < math.inf:
            raise _wrong(
                "latency_limit_s", f"A guard's latency is over {self.latency_limit_s} s", "Use a positive number of seconds."
            )

    @property
    def alarm_at(self) -> float:
        """The log evidence at which a metric rolls back: log of the metrics over alpha."""
        return math.log(len(self.margins) / self.alpha)

    @property
    def pass_at(self) -> float:
        """The log evidence at which a metric passes a step: log of 1 over beta."""
        return -math.log(self.beta)

    @property
    def measures(self) -> tuple[Metric, ...]:
        """The metrics whose limits come from legacy's answers before step 1."""
        fixed = self.latency_limit_s is not None
        return tuple(each for each in self.margins if each == "cost" or (each == "latency" and not fixed))

    def epoch(self, at: float) -> int:
        """Return the number of the epoch of an instant, the same for every worker."""
        return 0 if self.restart_s is None else math.floor(at / self.restart_s)


class Ramp(Value, frozen=True, kw_only=True):
    """The shares that a candidate climbs through.

    Raises `RequestError` for shares that do not rise, and for times and holdouts that make no sense.
    """

    steps: tuple[float, ...] = (1, 5, 10, 25, 50, 100)
    """Percent, rising."""
    dwell_s: float = 1800.0
    """How long a step lasts at least."""
    longest_s: float = 86400.0
    """How long a step waits for evidence at most, before it pauses and says so."""
    holdout: float = 1.0
    """Percent that stays on legacy to the end: at 100 % no block ever closes, and nothing is guarded any more."""
    samples: int = 200
    """From how many units' answers legacy's limits are frozen."""

    def __post_init__(self) -> None:
        falls = any(low >= high for low, high in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or falls or self.steps[0] <= 0 or self.steps[-1] > 100:
            raise _wrong("steps", f"A ramp's steps are {list(self.steps)}", "Use percentages that rise, from over 0 up to 100.")
        if not 0 <= self.dwell_s <= self.longest_s:
            raise _wrong(
                "longest_s", f"A ramp dwells {self.dwell_s} s and at longest {self.longest_s} s", "Let the longest be longer."
            )
        if not 0 <= self.holdout < 100:
            raise _wrong("holdout", f"A ramp holds out {self.holdout} %", "Use a percentage from 0 to under 100.")
        if self.samples < 1:
            raise _wrong("samples", f"A ramp measures legacy by {self.samples} answers", "Use a whole number from 1 on.")

    def percent_at(self, step: int) -> float:
        """Return the candidate's share in percent at a step, counted from 0: the step's, less what is held out."""
        return min(self.steps[step], 100 - self.holdout)

    def is_last(self, step: int) -> bool:
        """Return whether no step comes after this one."""
        return step >= len(self.steps) - 1


class Baseline(Value, frozen=True, kw_only=True):
    """What legacy was like before step 1. None: not known, and the metric cannot be observed."""

    latency_s: float | None = None
    """Its 95th percentile, or what `Guard` says instead."""
    cost_usd: float | None = None
    """The cap on costs: its 99th percentile, or twice its mean where that is more."""


class Observation(Value, frozen=True, kw_only=True):
    """What one request showed; None for what it did not.

    A request that failed has no latency: a quick failure is no quick answer. Quality that a judge finds later comes in an
    observation of its own, with nothing else.
    """

    arm: Arm
    unit_id: str
    """Who was drawn for."""
    failed: bool | None = None
    latency_s: float | None = None
    cost_usd: Decimal | float | None = None
    quality: float | None = None
    """0 to 1, 1 is best."""

    def key(self, step: int) -> str:
        """Return under what the seen-set knows this observation: the unit and the step, a judge's finding apart."""
        late = self.failed is None and self.latency_s is None and self.cost_usd is None
        return f"{step}:quality:{self.unit_id}" if late else f"{step}:request:{self.unit_id}"


class Cell(Value, frozen=True, kw_only=True):
    """The closed blocks of one metric, step and epoch."""

    metric: Metric
    step: int
    epoch: int
    sums: Sums


class Drawn(Value, frozen=True, kw_only=True):
    """How many units were seen in each arm at a step."""

    step: int
    candidate: int = 0
    legacy: int = 0
    diverted: int = 0
    """Drawn for a candidate that was down, and sent to legacy: no sample."""


class OpenBlock(msgspec.Struct, kw_only=True):
    """A block that still lacks an arm."""

    metric: Metric
    step: int
    epoch: int
    candidate_n: int = 0
    candidate_sum: float = 0.0
    legacy_n: int = 0
    legacy_sum: float = 0.0


class Evidence(Value, frozen=True, kw_only=True):
    """All that a guard has seen, in sums; sorted, so that equal evidence is equal."""

    cells: tuple[Cell, ...] = ()
    drawn: tuple[Drawn, ...] = ()


def merge(parts: Iterable[Evidence]) -> Evidence:
    """Add the evidence of several workers, or of several stretches of time, in any order."""
    cells: dict[tuple[Metric, int, int], Sums] = {}
    drawn: dict[int, Drawn] = {}
    for part in parts:
        for cell in part.cells:
            key = (cell.metric, cell.step, cell.epoch)
            cells[key] = cells[key] + cell.sums if key in cells else cell.sums
        for one in part.drawn:
            before = drawn.get(one.step, Drawn(step=one.step))
            drawn[one.step] = Drawn(
                step=one.step,
                candidate=before.candidate + one.candidate,
                legacy=before.legacy + one.legacy,
                diverted=before.diverted + one.diverted,
            )
    return Evidence(
        cells=tuple(Cell(metric=m, step=s, epoch=e, sums=cells[m, s, e]) for m, s, e in sorted(cells)),
        drawn=tuple(drawn[step] for step in sorted(drawn)),
    )


def freeze(latencies_s: Iterable[float], costs_usd: Iterable[Decimal | float], *, latency_share: float = 0.95) -> Baseline:
    """Return legacy's limits from its answers before step 1.

    Latency: its 95th percentile (nearest rank), or what `latency_share` says. Cost: its 99th, or twice its mean where that is
    more.
    """
    costs = [float(cost) for cost in costs_usd]
    dearest = _percentile(costs, 0.99)
    cap = None if dearest is None else max(dearest, 2 * math.fsum(costs) / len(costs))
    return Baseline(latency_s=_percentile(latencies_s, latency_share), cost_usd=cap)


def losses(observation: Observation, baseline: Baseline) -> dict[Metric, float]:
    """Reduce an observation to losses in [0, 1]; metrics that it or the baseline does not know are missing."""
    found: dict[Metric, float] = {}
    if observation.failed is not None:
        found["error_rate"] = 1.0 if observation.failed else 0.0
    if observation.latency_s is not None and baseline.latency_s is not None and not observation.failed:
        found["latency"] = 1.0 if observation.latency_s > baseline.latency_s else 0.0
    if observation.cost_usd is not None and baseline.cost_usd is not None:
        cost, cap = float(observation.cost_usd), baseline.cost_usd
        # Where legacy costs nothing, any price at all is beyond the cap.
        found["cost"] = max(min(cost, cap), 0.0) / cap if cap > 0 else float(cost > 0)
    if observation.quality is not None:
        found["quality"] = 1.0 - min(max(observation.quality, 0.0), 1.0)
    return found


class Tally:
    """One worker's running sums: takes observations, gives evidence.

    It holds what was not yet taken and the blocks that are open; `open_blocks()` of one that ends starts the next.
    """

    def __init__(self, guard: Guard, baseline: Baseline, open_blocks: Iterable[OpenBlock] = ()) -> None:
        self.guard = guard
        self.baseline = baseline
        self._stakes = {metric: stakes(margin) for metric, margin in guard.margins.items()}
        self._open = {(block.metric, block.step): block for block in open_blocks}
        self._closed: dict[tuple[Metric, int, int], Sums] = {}
        self._drawn: dict[int, list[int]] = {}

    def observe(self, observation: Observation, *, step: int, at: float, seen: MutableSet[str]) -> bool:
        """Take one observation of a unit that was drawn by its bucket; returns whether it counts.

        `step` is the ramp step in which its arm was decided, `at` the wall clock's time. `seen` holds the keys of what was
        counted before, by any worker, and gets this one's.
        """
        key = observation.key(step)
        if key in seen:
            return False
        seen.add(key)
        if observation.failed is not None:
            self._drawn.setdefault(step, [0, 0])[observation.arm == "legacy"] += 1
        for metric, loss in losses(observation, self.baseline).items():
            if metric in self._stakes:
                self._add(metric, step, observation.arm, loss, at)
        return True

    def take(self) -> Evidence:
        """Return what was gathered since the last call, to be merged with what was taken before."""
        evidence = Evidence(
            cells=tuple(Cell(metric=m, step=s, epoch=e, sums=self._closed[m, s, e]) for m, s, e in sorted(self._closed)),
            drawn=tuple(Drawn(step=step, candidate=n[0], legacy=n[1]) for step, n in sorted(self._drawn.items())),
        )
        self._closed, self._drawn = {}, {}
        return evidence

    def open_blocks(self) -> tuple[OpenBlock, ...]:
        """Return the blocks that lack an arm, to start another tally with."""
        return tuple(msgspec.structs.replace(block) for block in self._open.values())

    def _add(self, metric: Metric, step: int, arm: Arm, loss: float, at: float) -> None:
        block = self._open.get((metric, step))
        if block is None:
            block = self._open[metric, step] = OpenBlock(metric=metric, step=step, epoch=self.guard.epoch(at))
        if arm == "candidate":
            block.candidate_n += 1
            block.candidate_sum += loss
        else:
            block.legacy_n += 1
            block.legacy_sum += loss
        if block.candidate_n and block.legacy_n:
            del self._open[metric, step]
            self._close(block)

    def _close(self, block: OpenBlock) -> None:
        beyond = block.candidate_sum / block.candidate_n - block.legacy_sum / block.legacy_n - self.guard.margins[block.metric]
        shares = self._stakes[block.metric]
        sums = Sums(
            blocks=1,
            candidate_n=block.candidate_n,
            candidate_sum=block.candidate_sum,
            legacy_n=block.legacy_n,
            legacy_sum=block.legacy_sum,
            against=tuple(math.log1p(share * beyond) for share in shares),
            within=tuple(math.log1p(-share * beyond) for share in shares),
        )
        key = (block.metric, block.step, block.epoch)
        before = self._closed.get(key)
        self._closed[key] = sums if before is None else before + sums


def _percentile(values: Iterable[float], share: float) -> float | None:
    ranked = sorted(values)
    return ranked[math.ceil(share * len(ranked)) - 1] if ranked else None


def _wrong(param: str, what: str, hint: str) -> RequestError:
    return RequestError(f"{what}.", param=param, hint=hint)
