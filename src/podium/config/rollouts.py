"""Rollouts: how each begins, and whether what it names exists.

Theory. A config says how a rollout starts; its store says how it stands (`podium.coordination.rollouts`). What is wrong with
one is told here all the same, before anything starts by it.

Rules.
- A spec is decided by one rollout at most.
- A rollout that names specs to decide for has a candidate; one that only calls by its name use may leave that to them.
- Arms are specs of this config. What `match` names may be anything that callers write: names of the legacy system too.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

from podium.config.aliases import check_spec
from podium.config.problems import Path, show
from podium.config.providers import check_name
from podium.config.sections import RolloutSection, RuleSection
from podium.config.shape import Reader
from podium.routing.rollout import Rollout, Rule
from podium.routing.snapshot import Snapshot


def compile_rollouts(reader: Reader, data: dict[str, Any]) -> dict[str, Rollout]:
    """Make all rollouts of a config; faults are noted."""
    compiled: dict[str, Rollout] = {}
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
    return compiled


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
        if rollout.legacy is not None and rollout.legacy == rollout.candidate:
            reader.warn(path, "both arms are the same spec.", "Let `candidate` name what is new.")
