"""Aliases: where each leads, and whether that exists.

Theory. An alias is another name for a spec: a model, a tier, an experiment, or another alias. Its name may be anything that
callers already write, even `gpt-4` or `openai/gpt-4`, since aliases win over all else.

Rules. A chain of aliases must end. A circle is told once, at the first of its aliases; a dead end at the alias that points
there.
"""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Any

from podium.config.problems import Expanded, Path, kind_of, show, suggestion
from podium.config.routes import check_provider
from podium.config.shape import Reader
from podium.errors import SpecError
from podium.routing.snapshot import Snapshot
from podium.routing.spec import NameSpec, TargetSpec, TierSpec, UserSpec, parse


def read_aliases(reader: Reader, data: dict[str, Any]) -> dict[str, str]:
    """Return the aliases that have the form of one; the others are noted."""
    kept: dict[str, str] = {}
    for name, spec in data.items():
        path = ("aliases", name)
        if not isinstance(spec, str):
            reader.note(path, f"an alias points at a spec, which is text, not {kind_of(spec)}.", "Write `tier:fast`.")
        elif not name or name != name.strip() or name.startswith(("tier:", "user:")):
            reader.note(path, "an alias cannot have this name.", "Use a name that is no spec by itself.")
        else:
            kept[name] = spec
    return kept


def check_aliases(reader: Reader, snapshot: Snapshot, tiers: Collection[str], providers: Collection[str]) -> None:
    """Note the aliases that lead nowhere; `tiers` and `providers` are all that are declared, faulty ones too."""
    order = list(snapshot.aliases)
    for name, spec in snapshot.aliases.items():
        path = ("aliases", name)
        if name in tiers:
            reader.warn(path, f"the alias hides the tier {show(name)}.", f"`tier:{name}` still means the tier.")
        if spec not in snapshot.aliases:
            check_spec(reader, snapshot, spec, path, tiers, providers)
            continue
        seen = [name]
        while spec in snapshot.aliases and spec not in seen:
            seen.append(spec)
            spec = snapshot.aliases[spec]
        if spec == name and order.index(name) == min(order.index(each) for each in seen):
            circle = " -> ".join([*seen, spec])
            reader.note(path, f"aliases go round: {circle}.", "Point one of them at a tier or a model.")


def check_spec(
    reader: Reader, snapshot: Snapshot, spec: str, path: Path, tiers: Collection[str], providers: Collection[str]
) -> None:
    """Note a spec at a path that names nothing; `tiers` and `providers` are all that are declared, faulty ones too."""
    try:
        parsed = parse(spec)
    except SpecError as error:
        words = "the value from the environment is no spec." if isinstance(spec, Expanded) else _lower(error.message)
        reader.note(path, words, "Write `provider/model`, `tier:name` or `user:id:experiment`.")
        return
    match parsed:
        case TierSpec(tier=tier) if tier not in tiers:
            reader.note(path, f"there is no tier {show(tier)}.", suggestion(tier, tiers, "Add it, or point elsewhere."))
        case UserSpec(user_id=user_id) if user_id not in snapshot.users:
            hint = suggestion(user_id, snapshot.users, "It works once that user is loaded.")
            reader.warn(path, f"there is no user {show(user_id)} in this config.", hint)
        case UserSpec(user_id=user_id, experiment=str(experiment)):
            known = snapshot.users[user_id].experiments
            if experiment not in known:
                hint = suggestion(experiment, known, "Add it, or point elsewhere.")
                reader.note(path, f"{show(user_id)} has no experiment {show(experiment)}.", hint)
        case TargetSpec(provider=provider) if not _served(snapshot, spec):
            check_provider(reader, provider, path, providers)
        case NameSpec(name=name) if name not in tiers and not _served(snapshot, name):
            hint = suggestion(name, [*tiers, *snapshot.aliases], "Write `provider/model`, or `tier:name`.")
            reader.note(path, f"{show(name)} is no tier, no alias, and no model that a provider here is known to serve.", hint)
        case _:
            pass


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _served(snapshot: Snapshot, model: str) -> bool:
    """Whether any provider is known to have a model of this name."""
    named = any(
        model in provider.models or any(fnmatchcase(model, glob) for glob in (*provider.owns, *provider.serves))
        for provider in snapshot.providers.values()
    )
    return named or any(target.model == model for tier in snapshot.tiers.values() for target in tier.targets)
