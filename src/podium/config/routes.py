"""Tiers and experiments: from their sections to strategies and targets, with what only holds across keys.

Theory. A tier and an experiment are the same thing under two names: a strategy over targets, with limits. What a single key
may hold is said in `sections`; here is what keys may say together, and whether the providers exist.

Rules. A strategy's own keys belong to it alone: a `quorum` on a race would promise what nobody keeps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, cast

from podium import errors
from podium.config.problems import Path, choices, show, suggestion
from podium.config.sections import ExperimentSection, RouteSection, TargetSection, TierSection
from podium.config.shape import Reader
from podium.routing.snapshot import Experiment, Strategy, StrategyName, Tier
from podium.types import Target

_CONSENSUS = frozenset({"consensus"})
OWNERS = {
    "fallback_on": frozenset({"fallback"}),
    "judge": _CONSENSUS,
    "answer_pattern": _CONSENSUS,
    "fields": _CONSENSUS,
    "answer_schema": _CONSENSUS,
    "min_answers": _CONSENSUS,
    "quorum": _CONSENSUS,
    "on_insufficient": _CONSENSUS,
    "on_disagree": _CONSENSUS,
    "escalate_to": _CONSENSUS,
}
"""The strategies that a key belongs to; a key that is not here belongs to all."""

_JUDGES = {"answer_pattern": "exact", "fields": "json", "answer_schema": "json"}


def error_codes() -> frozenset[str]:
    """Return the codes of the errors that an attempt may end with."""

    def below(kind: type[errors.PodiumError]) -> Iterator[type[errors.PodiumError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    roots = (errors.ProviderError, errors.UnrepresentableError, errors.LimitError)
    return frozenset(kind.code for root in roots for kind in below(root))


def compile_tier(reader: Reader, name: str, section: TierSection, path: Path, providers: Collection[str]) -> Tier:
    """Make a `Tier`; faults are noted."""
    targets = _targets(reader, section.models, (*path, "models"), providers)
    return Tier(
        name=name,
        strategy=_strategy(reader, section, path, len(targets), providers),
        targets=targets,
        timeout_s=section.timeout,
        max_cost_usd=section.max_cost,
        auto=section.auto,
    )


def compile_experiment(
    reader: Reader, name: str, section: ExperimentSection, path: Path, providers: Collection[str] | None
) -> Experiment:
    """Make an `Experiment`; faults are noted. Without `providers`, nothing is said of whether they exist."""
    targets = _targets(reader, section.providers, (*path, "providers"), providers)
    return Experiment(
        name=name,
        strategy=_strategy(reader, section, path, len(targets), providers),
        targets=targets,
        timeout_s=section.timeout,
        max_cost_usd=section.max_cost,
    )


def check_provider(reader: Reader, name: str, path: Path, providers: Collection[str]) -> None:
    """Note a provider that does not exist."""
    if name not in providers:
        known = f"Use {choices(providers)}." if providers else "Declare it under `providers:`."
        reader.note(path, f"there is no provider {show(name)}.", suggestion(name, providers, known))


def _target(reader: Reader, section: TargetSection, path: Path, providers: Collection[str] | None) -> Target:
    if providers is not None:
        check_provider(reader, section.provider, path, providers)
    return Target(provider=section.provider, model=section.model)


def _targets(
    reader: Reader, sections: list[TargetSection], path: Path, providers: Collection[str] | None
) -> tuple[Target, ...]:
    return tuple(_target(reader, section, (*path, place), providers) for place, section in enumerate(sections))


def _strategy(reader: Reader, section: RouteSection, path: Path, count: int, providers: Collection[str] | None) -> Strategy:
    if "strategy" in section.model_fields_set or reader.is_whole(path):
        _check_keys(reader, section, path)
    if section.strategy == "consensus" and count and reader.is_whole(path):
        _check_consensus(reader, section, path, count)
    if section.fallback_on is not None and not section.fallback_on and reader.is_whole(path):
        reader.note((*path, "fallback_on"), "the list is empty: nothing would move on.", "Name error codes, or leave it out.")
    for place, code in enumerate(section.fallback_on or ()):
        if code not in error_codes():
            hint = suggestion(code, error_codes(), f"Use {choices(sorted(error_codes()))}.")
            reader.note((*path, "fallback_on", place), f"there is no error code {show(code)}.", hint)
    escalate_to = section.escalate_to
    return Strategy(
        name=cast(StrategyName, section.strategy),
        retries=section.retries,
        fallback_on=None if section.fallback_on is None else tuple(section.fallback_on),
        judge=cast(Any, section.judge),
        answer_pattern=section.answer_pattern,
        fields=section.fields,
        schema=section.answer_schema,
        min_answers=section.min_answers,
        quorum=section.quorum,
        on_insufficient=cast(Any, section.on_insufficient),
        on_disagree=cast(Any, section.on_disagree),
        escalate_to=_target(reader, escalate_to, (*path, "escalate_to"), providers) if escalate_to else None,
    )


def _check_keys(reader: Reader, section: RouteSection, path: Path) -> None:
    for field, owners in OWNERS.items():
        if field in section.model_fields_set and section.strategy not in owners:
            key = type(section).model_fields[field].alias or field
            words = f"`{key}` belongs to the strategy {choices(sorted(owners))}, and this is `{section.strategy}`."
            reader.note((*path, key), words, f"Remove it, or set `strategy: {min(owners)}`.")


def _check_consensus(reader: Reader, section: RouteSection, path: Path, count: int) -> None:
    given = section.model_fields_set
    if count < 2:
        reader.note(path, "a consensus needs at least 2 models.", "Add a model, or set `strategy: first`.")
        return
    for field in ("quorum", "min_answers"):
        wanted = getattr(section, field)
        if wanted is not None and wanted > count:
            reader.note((*path, field), f"{wanted} is more than the {count} models here.", f"Write at most {count}.")
    for field, judge in _JUDGES.items():
        if field in given and section.judge not in ("auto", judge):
            key = type(section).model_fields[field].alias or field
            reader.note((*path, key), f"the judge `{section.judge}` does not use this.", f"Remove it, or set `judge: {judge}`.")
    if section.on_disagree == "escalate" and section.escalate_to is None:
        reader.note((*path, "on_disagree"), "there is nothing to escalate to.", "Add `escalate_to: provider/model`.")
    if section.on_disagree not in (None, "escalate") and section.escalate_to is not None:
        words = f"this is never asked, since `on_disagree` is `{section.on_disagree}`."
        reader.note((*path, "escalate_to"), words, "Remove one of the two, or set `on_disagree: escalate`.")


def duplicate_of(targets: tuple[Target, ...]) -> Target | None:
    """Return a target that comes twice, if one does."""
    return next((target for place, target in enumerate(targets) if target in targets[:place]), None)
