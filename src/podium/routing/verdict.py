"""What the guard's evidence says to do, and the words for it.

Theory. A verdict is a function of the evidence, the step and the clock; it keeps nothing. Whoever steps the ramp asks for it as
often as they like: the evidence allows to be looked at all the time.

Rules.
- In this order: a metric beyond its margin rolls back at once; before the dwell is over nothing else happens; a split of units
  that the share does not explain pauses, because then the arms cannot be compared; the last step holds; all metrics within
  their margins step on; the longest dwell without that pauses.
- The sample ratio waits for the dwell because observations come when requests end: a slow arm's are missing at first. At a step
  in which a breaker sent units of the candidate's to legacy it says nothing.
"""

from __future__ import annotations

import math
from typing import Literal

from podium.routing.eprocess import Logs, Sums, log_evidence, log_mean_exp, sample_ratio_p, total
from podium.routing.guard import METRICS, Evidence, Guard, Metric, Ramp
from podium.types import Value

Action = Literal["roll_back", "step_on", "pause", "hold"]

SAMPLE_RATIO_P = 0.0005
"""A split of units less likely than this is no chance."""

_NAMES: dict[Metric, str] = {"error_rate": "Error rate", "latency": "Latency", "cost": "Cost", "quality": "Quality"}
_UNITS: dict[Metric, str] = {
    "error_rate": "failed",
    "latency": "slower than",
    "cost": "of the cost cap",
    "quality": "short of full quality",
}


class Finding(Value, frozen=True, kw_only=True):
    """What is known of one metric."""

    metric: Metric
    margin: float
    here: Sums
    """The current step's blocks."""
    log_against: float
    """Logarithm of the evidence that the candidate is worse than the margin, over all steps."""
    log_within: float
    """Logarithm of the evidence that it is not, from this step."""
    alarmed: bool
    passed: bool
    words: str


class Verdict(Value, frozen=True, kw_only=True):
    """What to do, and the evidence for it."""

    action: Action
    reason: str
    """One sentence."""
    findings: tuple[Finding, ...]
    sample_ratio_p: float
    """How likely the split of units at this step is; 1.0 where too few were seen to say."""

    @property
    def words(self) -> str:
        """The reason and every metric's evidence, a line each."""
        return "\n".join((self.reason, *(finding.words for finding in self.findings)))


def judge(
    guard: Guard,
    ramp: Ramp,
    evidence: Evidence,
    *,
    step: int,
    ramp_began_at: float,
    step_began_at: float,
    at: float,
    share: float | None = None,
) -> Verdict:
    """Return what the evidence says at an instant.

    `step` counts from 0. `share` is the candidate's true share of the units (0 to 1) where it is not the ramp's percentage: see
    `rollout.share`.
    """
    findings = tuple(
        find(guard, evidence, metric, step=step, ramp_began_at=ramp_began_at) for metric in METRICS if metric in guard.margins
    )
    expected = ramp.percent_at(step) / 100 if share is None else share
    drawn = next((one for one in evidence.drawn if one.step == step), None)
    whole = drawn is not None and not drawn.diverted
    ratio = sample_ratio_p(drawn.candidate, drawn.legacy, expected) if drawn is not None and whole else 1.0

    def says(action: Action, reason: str) -> Verdict:
        return Verdict(action=action, reason=reason, findings=findings, sample_ratio_p=ratio)

    stays = f"at {ramp.percent_at(step):g} %"
    spent = at - step_began_at
    bad = [_NAMES[finding.metric].lower() for finding in findings if finding.alarmed]
    if bad:
        return says(
            "roll_back", f"Roll back: the candidate is worse than legacy by more than the margin in {' and '.join(bad)}."
        )
    if spent < ramp.dwell_s:
        return says("hold", f"Hold {stays}: the dwell has {_span(ramp.dwell_s - spent)} to go.")
    if drawn is not None and ratio < SAMPLE_RATIO_P:
        seen = f"{drawn.candidate:,} of {drawn.candidate + drawn.legacy:,} units"
        return says(
            "pause",
            f"Pause {stays}: {seen} were seen at the candidate where {expected:.2%} were expected (p = {ratio:.1g}); "
            "find out where requests get lost before the arms are compared.",
        )
    if ramp.is_last(step):
        return says("hold", f"Hold {stays}: this is the last step, and the guard keeps watching.")
    if all(finding.passed for finding in findings):
        return says("step_on", f"Step on to {ramp.percent_at(step + 1):g} %: the candidate is within every margin.")
    open_ones = " and ".join(_NAMES[finding.metric].lower() for finding in findings if not finding.passed)
    if spent >= ramp.longest_s:
        return says(
            "pause",
            f"Pause {stays}: after {_span(ramp.longest_s)} there is not enough evidence on {open_ones}, one way or the other; "
            "wait for more traffic, widen the margin, or decide by hand.",
        )
    return says("hold", f"Hold {stays}: more evidence on {open_ones} is needed.")


def find(guard: Guard, evidence: Evidence, metric: Metric, *, step: int, ramp_began_at: float) -> Finding:
    """Return what is known of one guarded metric at a step."""
    by_epoch: dict[int, Logs] = {}
    here = Sums()
    for cell in evidence.cells:
        if cell.metric == metric:
            before = by_epoch.get(cell.epoch)
            by_epoch[cell.epoch] = cell.sums.against if before is None else total((before, cell.sums.against))
            if cell.step == step:
                here = here + cell.sums
    if guard.restart_s is None:
        against = log_mean_exp(total(by_epoch.values()))
    else:
        against = log_evidence(by_epoch, guard.epoch(ramp_began_at))
    within = log_mean_exp(here.within)
    margin = guard.margins[metric]
    return Finding(
        metric=metric,
        margin=margin,
        here=here,
        log_against=against,
        log_within=within,
        alarmed=against >= guard.alarm_at,
        passed=within >= guard.pass_at,
        words=_words(guard, metric, here, against, within),
    )


def _words(guard: Guard, metric: Metric, here: Sums, against: float, within: float) -> str:
    """Say a finding in plain words."""
    if here.candidate_mean is None or here.legacy_mean is None:
        means = "nothing to compare at this step yet"
    else:
        means = (
            f"{here.candidate_mean:.2%} {_unit(guard, metric)} at the candidate ({here.candidate_n:,} seen), "
            f"{here.legacy_mean:.2%} at legacy ({here.legacy_n:,}); the margin is {guard.margins[metric] * 100:g} points"
        )
    return (
        f"{_NAMES[metric]}: {means}. Evidence that it is worse than that: {_odds(against)} "
        f"(rolls back at {_odds(guard.alarm_at)}); that it is not: {_odds(within)} (passes at {_odds(guard.pass_at)})."
    )


def _unit(guard: Guard, metric: Metric) -> str:
    """Say what a share is a share of."""
    if metric != "latency":
        return _UNITS[metric]
    limit = f"legacy's p{guard.latency_share * 100:g}" if guard.latency_limit_s is None else f"{guard.latency_limit_s:g} s"
    return f"{_UNITS[metric]} {limit}"


def _odds(log: float) -> str:
    """Say evidence as odds, the larger side first or second as it is."""
    size = math.exp(min(abs(log), 50.0))
    shown = f"{size:,.0f}" if size >= 10 else f"{size:.1f}"
    shown = f"over {1e9:,.0f}" if size > 1e9 else shown
    return f"{shown} to 1" if log >= 0 else f"1 to {shown}"


def _span(seconds: float) -> str:
    """Say a time in its largest fitting unit."""
    for name, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return "1 second" if 0.5 <= seconds < 1.5 else f"{seconds:.0f} seconds"
