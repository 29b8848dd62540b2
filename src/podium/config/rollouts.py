"""Rollouts: how each begins, and whether what it names exists.

Theory. A config says how a rollout starts; its store says how it stands (`podium.coordination.rollouts`). What is wrong with
one is told here all the same, before anything starts by it.

Rules.
- A spec is decided by one rollout at most.
- A rollout that names specs to decide for has a candidate; one that only calls by its name use may leave that to them.
- What shadows cost is bounded, so it must be known: costs are tracked.
- Arms are specs of this config. What `match` names may be anything that callers write: names of the legacy system too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias, cast

from podium.config.aliases import check_spec
from podium.config.problems import Path, show
from podium.config.providers import check_name
from podium.config.sections import (
    CostGuardSection,
    ErrorRateGuardSection,
    GuardSection,
    LatencyGuardSection,
    QualityGuardSection,
    RampSection,
    RolloutSection,
    RuleSection,
)
from podium.config.shape import Reader
from podium.config.values import LEGACY_PERCENTILES
from podium.routing.climb import Course
from podium.routing.guard import Guard, Metric, Ramp
from podium.routing.rollout import Rollout, Rule
from podium.routing.snapshot import Shadow, Snapshot

Fault: TypeAlias = tuple[Path, str, str]
"""Where, what, and what to do."""
Margin: TypeAlias = ErrorRateGuardSection | LatencyGuardSection | CostGuardSection | QualityGuardSection


class Moves(NamedTuple):
    """What a config says of its rollouts, by name."""

    rollouts: dict[str, Rollout]
    courses: dict[str, Course]
    """Of those that have a ramp or a guard."""
    shadows: dict[str, Shadow]


def compile_rollouts(reader: Reader, data: dict[str, Any]) -> Moves:
    """Make all rollouts of a config; faults are noted."""
    compiled: dict[str, Rollout] = {}
    courses: dict[str, Course] = {}
    shadows: dict[str, Shadow] = {}
    owners: dict[str, str] = {}
    for name, values in data.items():
        path = ("rollouts", name)
        check_name(reader, path, name, "a rollout")
        section = reader.read(RolloutSection, {} if values is None else values, path)
        if section is None or not name:
            continue
        _check_shares(reader, section, path)
        for place, spec in enumerate(section.match):
            if owners.setdefault(spec, name) != name:
                reader.note(
                    (*path, "match", place),
                    f"the rollout {show(owners[spec])} decides for {show(spec)} too.",
                    "Keep one of them.",
                )
        if section.match and section.candidate is None and reader.is_whole(path):
            reader.note(path, "`candidate` is missing.", "Write the spec that is to answer for what `match` names.")
        rules = (_rule(reader, rule, (*path, "rules", place)) for place, rule in enumerate(section.rules))
        compiled[name] = Rollout(
            name=name,
            match=tuple(str(spec) for spec in section.match),
            legacy=section.legacy,
            candidate=section.candidate or "",
            percent=section.percent,
            test_users=tuple(section.test_users),
            rules=tuple(rule for rule in rules if rule is not None),
            unit=cast(Any, section.unit),
            salt=section.salt or "",
            hash=cast(Any, section.hash),
            enabled=section.enabled,
        )
        if section.ramp is not None or section.guard is not None:
            course = _course(reader, section, path)
            if course is not None:
                courses[name] = course
        if section.shadow is not None:
            shadows[name] = Shadow(
                sample=section.shadow.sample,
                budget_usd_per_day=section.shadow.budget_usd_per_day,
                max_concurrent=section.shadow.max_concurrent,
            )
    return Moves(compiled, courses, shadows)


def _check_shares(reader: Reader, section: RolloutSection, path: Path) -> None:
    """Note what a hash with 100 buckets cannot do."""
    if section.hash != "legacy_js":
        return
    if section.salt is not None:
        reader.note((*path, "salt"), "`legacy_js` draws without a salt.", "Remove it, or leave `hash` out.")
    shares = [(section.percent, (*path, "percent"))]
    shares += [(rule.percent or 0.0, (*path, "rules", place, "percent")) for place, rule in enumerate(section.rules)]
    for share, place in shares:
        if share != int(share):
            reader.note(place, f"{show(share)} is no whole percent, as `legacy_js` draws.", "Write a whole number.")


def _course(reader: Reader, section: RolloutSection, path: Path) -> Course | None:
    """Make a ramp and its guard; faults are noted, and then there is none."""
    ramp = section.ramp or RampSection()
    guard = section.guard or GuardSection()
    faults = [("ramp", fault) for fault in _ramp_faults(ramp, section.hash)]
    faults += [("guard", fault) for fault in _guard_faults(guard)]
    for key, (place, message, hint) in faults:
        reader.note((*path, key, *place), message, hint)
    if faults:
        return None
    if ramp.holdout == 0 and ramp.steps[-1] == 100:
        reader.warn((*path, "ramp", "holdout"), "at 100 % nothing is guarded any more.", "Hold out a little: `holdout: 1%`.")
    margins: dict[Metric, float] = {}
    for metric, part in _margins(guard):
        if part is not None:
            margins[metric] = part.margin
    over = guard.latency.over if guard.latency is not None else "legacy p95"
    return Course(
        ramp=Ramp(
            steps=tuple(ramp.steps),
            dwell_s=ramp.dwell,
            longest_s=ramp.longest,
            holdout=ramp.holdout,
            samples=ramp.samples,
        ),
        guard=Guard(
            margins=margins or {"error_rate": 0.01},
            alpha=guard.alpha,
            beta=guard.beta,
            latency_share=LEGACY_PERCENTILES[over] if isinstance(over, str) else 0.95,
            latency_limit_s=None if isinstance(over, str) else over,
        ),
        judge=None if guard.quality is None else guard.quality.judge,
        sample=0.0 if guard.quality is None else guard.quality.sample,
    )


def _ramp_faults(ramp: RampSection, hash: str) -> Iterator[Fault]:
    """What is wrong with a ramp."""
    steps = ramp.steps
    if not steps or steps[0] <= 0 or any(low >= high for low, high in pairwise(steps)):
        yield ("steps",), "the steps do not rise from over 0.", "Write them as `[1, 5, 10, 25, 50, 100]`."
    if ramp.dwell > ramp.longest:
        yield ("longest",), "this is shorter than the `dwell` of a step.", "Let `longest` be longer."
    if ramp.holdout >= 100:
        yield ("holdout",), "this keeps everybody at legacy.", "Write a few percent, as `1%`."
    if hash == "legacy_js":
        shares: list[tuple[Path, float]] = [(("steps", place), share) for place, share in enumerate(steps)]
        for place, share in (*shares, (("holdout",), ramp.holdout)):
            if share != int(share):
                yield place, f"{show(share)} is no whole percent, as `legacy_js` draws.", "Write a whole number."


def _margins(guard: GuardSection) -> tuple[tuple[Metric, Margin | None], ...]:
    """What a guard may watch, and what is said of each."""
    return (("error_rate", guard.error_rate), ("latency", guard.latency), ("cost", guard.cost), ("quality", guard.quality))


def _guard_faults(guard: GuardSection) -> Iterator[Fault]:
    """What is wrong with a guard."""
    for key, chance in (("alpha", guard.alpha), ("beta", guard.beta)):
        if not 0 < chance < 1:
            yield (key,), "a chance is over 0 % and under 100 %.", "Write `1%`."
    for key, part in _margins(guard):
        if part is not None and part.margin >= 1:
            yield (key, "margin"), "a margin of 100 % guards nothing.", f"Write `1%`, or leave `{key}` out."


def _rule(reader: Reader, section: RuleSection, path: Path) -> Rule | None:
    if section.user is None and section.team is None and section.tag is None:
        reader.note(path, "this rule is for nobody.", "Add `user`, `team` or `tag`.")
    elif (section.percent is None) == (section.arm is None):
        reader.note(path, "a rule has a `percent` or an `arm`, and not both.", "Write one of them.")
    else:
        return Rule(
            user=section.user,
            team=section.team,
            tag=section.tag,
            percent=section.percent,
            arm=cast(Any, section.arm),
        )
    return None


def check_rollouts(reader: Reader, snapshot: Snapshot, tiers: Collection[str], providers: Collection[str]) -> None:
    """Note the arms that lead nowhere; `tiers` and `providers` are all that are declared, faulty ones too."""
    for name, rollout in snapshot.rollouts.items():
        path = ("rollouts", name)
        for key, spec in (("legacy", rollout.legacy), ("candidate", rollout.candidate)):
            if spec and spec not in snapshot.aliases:
                check_spec(reader, snapshot, spec, (*path, key), tiers, providers)
        course = snapshot.courses.get(name)
        if course is not None and course.judge is not None and course.judge not in snapshot.aliases:
            check_spec(reader, snapshot, course.judge, (*path, "guard", "quality", "judge"), tiers, providers)
        if rollout.legacy is not None and rollout.legacy == rollout.candidate:
            reader.warn(path, "both arms are the same spec.", "Let `candidate` name what is new.")
        if name in snapshot.shadows and not snapshot.track_cost:
            words = "a shadow keeps to its budget, and with `track_cost: false` nobody knows what it costs."
            reader.note((*path, "shadow"), words, "Track costs, or remove it.")
