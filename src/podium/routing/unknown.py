"""The errors for names that a snapshot does not know: each says what was asked, what lies near, and how to define it.

Rules. Candidates are specs that can be written as they stand, the nearest first. A message quotes a caller's text only as
`quote` shows it.
"""

from __future__ import annotations

from collections.abc import Iterable

from podium.catalog.providers import kinds
from podium.errors import SpecError
from podium.routing.snapshot import Snapshot, User
from podium.routing.spec import TargetSpec, UserSpec, quote
from podium.routing.spelling import joined, nearest, nearest_first


def listed(names: Iterable[str], *, word: str = "or") -> str:
    """Return names as a message lists them: "`a`, `b` or `c`"."""
    return joined(map(quote, names), word=word)


def _advice(near: tuple[str, ...], candidates: tuple[str, ...], word: str, define: str) -> str:
    if near:
        return f"Did you mean {listed(near)}? {define}"
    return f"{_known(candidates[:5], word)}. {define}" if candidates else f"There are no {word}. {define}"


def _known(names: tuple[str, ...], word: str) -> str:
    return f"The {word} are {listed(names, word='and')}" if len(names) > 1 else f"The only {word[:-1]} is {listed(names)}"


def unknown_tier(snapshot: Snapshot, name: str) -> SpecError:
    """Make the error for a tier that is not defined."""
    tiers = nearest_first(name, snapshot.tiers)
    define = "A tier is defined under `tiers:` in the config."
    return SpecError(
        f"There is no tier {quote(name)}.",
        hint=_advice(nearest(name, tiers), tiers, "tiers", define),
        candidates=tuple(f"tier:{each}" for each in tiers),
        param="model",
    )


def unknown_provider(snapshot: Snapshot, name: str) -> SpecError:
    """Make the error for a provider that is not in the config."""
    names = nearest_first(str(name), snapshot.providers)
    define = "A provider is declared under `providers:` in the config."
    return SpecError(
        f"There is no provider {quote(str(name))}.",
        hint=_advice(nearest(str(name), names), names, "providers", define),
        candidates=names,
        param="provider_id",
    )


def unknown_user(snapshot: Snapshot, user_id: str) -> SpecError:
    """Make the error for a user without a config, whose experiment was asked for."""
    users = nearest_first(user_id, snapshot.users)
    define = "A user's file is loaded with `load_user_config(user_id, path)`, or named under `users:` in the config."
    return SpecError(
        f"There is no config of a user {quote(user_id)}.",
        hint=_advice(nearest(user_id, users), users, "users", define),
        candidates=tuple(f"user:{each}" for each in users),
        param="user_id",
    )


def unknown_experiment(user_id: str, user: User, name: str) -> SpecError:
    """Make the error for an experiment that a user does not have."""
    names = nearest_first(name, user.experiments)
    define = f"An experiment is defined under `experiments:` in {user.source or 'the file of this user'}."
    return SpecError(
        f"User {quote(user_id)} has no experiment {quote(name)}.",
        hint=_advice(nearest(name, names), names, "experiments", define),
        candidates=tuple(f"user:{user_id}:{each}" for each in names),
        param="experiment",
    )


def no_default_experiment(spec: UserSpec, user: User) -> SpecError:
    """Make the error for `user:id` where the user has no default experiment."""
    names = tuple(f"user:{spec.user_id}:{each}" for each in user.experiments)
    instead = f", or write {listed(names[:5])}" if names else ""
    return SpecError(
        f"{quote(str(spec))} asks for the default experiment of user {quote(spec.user_id)}, who has none.",
        hint=f"Set `defaults: {{experiment: ...}}` in {user.source or 'the file of this user'}{instead}.",
        candidates=names[:10],
        param="model",
    )


def experiment_of_nobody(name: str) -> SpecError:
    """Make the error for `experiment=` with neither a spec nor a user."""
    return SpecError(
        f"experiment={quote(name)} was asked for, without a spec and without a user whose it could be.",
        hint=f"Pass user_id= too, or write the spec {quote(f'user:<id>:{name}')}.",
        param="user_id",
    )


def no_default(snapshot: Snapshot) -> SpecError:
    """Make the error for no spec where there is no default either."""
    tiers = tuple(f"tier:{name}" for name in snapshot.tiers)
    example = f", as {listed(tiers[:5])}" if tiers else ""
    return SpecError(
        "No spec was given, and there is neither a default experiment of the user nor a default tier.",
        hint=f"Write a spec{example}, or set `default_tier` in the config.",
        candidates=tiers[:10],
        param="model",
    )


def alias_circle(names: Iterable[str]) -> SpecError:
    """Make the error for aliases that never end."""
    circle = list(names)
    return SpecError(
        f"The alias {quote(circle[0])} points in a circle: {' -> '.join(map(quote, circle))}.",
        hint="Let one of them point at a tier, a model or an experiment.",
        param="model",
    )


def unknown_name(
    snapshot: Snapshot, text: str, models: Iterable[str], spec: TargetSpec | None, user_id: str | None
) -> SpecError:
    """Make the error for a name that is nothing.

    `models` are the model names that the snapshot spells out; `spec` is set where the text could have been `provider/model`;
    `user_id` is the user who asks, if the snapshot knows them.
    """
    tiers = [*snapshot.tiers, *(f"tier:{name}" for name in snapshot.tiers)]
    near = nearest(text, [*snapshot.aliases, *tiers, *models, *(f"user:{name}" for name in snapshot.users)])
    if user_id is not None and text in snapshot.users[user_id].experiments:
        near = (f"user:{user_id}:{text}", *near)
    if spec is not None and spec.provider in kinds():
        return _undeclared(spec, near)
    if spec is not None:
        near = (*(f"{name}/{spec.model}" for name in nearest(spec.provider, snapshot.providers)), *near)
        happened = f"There is no provider {quote(spec.provider)}, and no provider is known to serve a model {quote(text)}."
        write = f"Write it as {quote(f'provider/{text}')} if it is a model's name"
    elif text in snapshot.providers:
        happened = f"{quote(text)} is a provider; which of its models is meant?"
        write = f"Write {quote(f'{text}/<model>')}"
    else:
        happened = f"{quote(text)} is no alias, no tier, and no model that an enabled provider is known to serve."
        write = f"Write {quote(f'provider/{text}')} if it is a model's name"
    meant = f"Did you mean {listed(near)}? " if near else ""
    providers = nearest_first(spec.provider if spec else text, snapshot.providers)
    known = _known(providers, "providers") if providers else "There are no providers yet"
    return SpecError(happened, hint=f"{meant}{write}. {known}.", candidates=near, param="model")


def _undeclared(spec: TargetSpec, near: tuple[str, ...]) -> SpecError:
    """A provider that Podium knows and the config does not."""
    row = kinds()[spec.provider]
    key = f" and set {listed(row.key_variables)}" if row.key_required else ""
    meant = f" Or did you mean {listed(near)}?" if near else ""
    return SpecError(
        f"{quote(str(spec))} was asked for, but provider {quote(spec.provider)} is not in the config.",
        hint=f"Add {quote(f'{spec.provider}: {{}}')} under `providers:`{key}.{meant}",
        candidates=near,
        param="model",
    )
