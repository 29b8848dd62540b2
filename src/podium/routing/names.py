"""Whose model a bare model name is.

Theory. A bare model name (`gpt-4o`) says nothing of its provider, so it is looked up in what the snapshot says of its
providers. Each provider makes at most one claim on a name, the strongest that it has:

    OWN          the name matches a glob of the kind's own models (`gpt-*` is openai's)
    LISTED       the provider's `models` lists it
    SERVED       a tier or an alias asks this provider for it, or it matches a glob of what the kind is known to serve
    EXPERIMENT   only an experiment of a user asks this provider for it

Rules.
- Only enabled providers are looked at; where none of them has a claim, the disabled ones are, so that the caller learns what to
  enable and a tier that begins with such a model still answers by its other targets. A missing key takes no claim away: a
  name must not move to another account, and its bill, because a variable is not set.
- The strongest claim wins. Of several instances of one kind that own or list a name the first declared wins (each `custom`
  endpoint is a kind of its own). Any other two equal claims are ambiguous, which is an error that lists them.
- What an experiment claims counts last, so that one user's file cannot take a name away that the config settles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum
from fnmatch import fnmatchcase, translate

from podium.errors import SpecError
from podium.routing.snapshot import Provider, Snapshot
from podium.routing.spec import quote
from podium.routing.unknown import listed
from podium.types import Target, Value


class Strength(IntEnum):
    """How strong a provider's claim on a model name is; less is stronger."""

    OWN = 0
    LISTED = 1
    SERVED = 2
    EXPERIMENT = 3


class Claim(Value, frozen=True, kw_only=True):
    """A provider's claim on a model name."""

    target: Target
    strength: Strength
    how: str
    """What the claim rests on, to be said behind "the model is ..."."""
    enabled: bool


class Finding(Value, frozen=True, kw_only=True):
    """The claim that won, and the others, each with why it did not."""

    claim: Claim
    others: tuple[tuple[Claim, str], ...]


class Names:
    """The model names of a snapshot, ready to be looked up."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._globs = [
            (name, provider, _alternatives(provider.owns), _alternatives(provider.serves))
            for name, provider in snapshot.providers.items()
        ]
        self._declared: dict[str, dict[str, str]] = {}
        self._tried: dict[str, dict[str, str]] = {}
        for tier_name, tier in snapshot.tiers.items():
            self._declare(self._declared, tier.targets, f"asked for by tier {quote(tier_name)}")
        for alias, text in snapshot.aliases.items():
            provider_name, slash, model = text.partition("/")
            if slash and model and provider_name in snapshot.providers:
                aliased = Target(provider=provider_name, model=model)
                self._declare(self._declared, (aliased,), f"what the alias {quote(alias)} points at")
        for user_id, user in snapshot.users.items():
            for experiment_name, experiment in user.experiments.items():
                how = f"asked for by experiment {quote(experiment_name)} of user {quote(user_id)}"
                self._declare(self._tried, experiment.targets, how)

    @staticmethod
    def _declare(table: dict[str, dict[str, str]], targets: Iterable[Target], how: str) -> None:
        for target in targets:
            table.setdefault(target.model, {}).setdefault(target.provider, how)

    def models(self) -> list[str]:
        """Return every model name that the snapshot spells out."""
        listed = [model for provider in self._snapshot.providers.values() for model in provider.models]
        return list(dict.fromkeys([*listed, *self._declared, *self._tried]))

    def claims(self, model: str) -> list[Claim]:
        """Return the claims on a model name, in the order of the providers' declaration."""
        declared, tried = self._declared.get(model, {}), self._tried.get(model, {})
        claims = []
        for name, provider, owns, serves in self._globs:
            if owns is not None and owns.match(model):
                strength, how = Strength.OWN, f"its own ({quote(_matching(provider.owns, model))})"
            elif model in provider.models:
                strength, how = Strength.LISTED, "listed in its `models`"
            elif name in declared:
                strength, how = Strength.SERVED, declared[name]
            elif serves is not None and serves.match(model):
                strength, how = Strength.SERVED, f"among those it serves ({quote(_matching(provider.serves, model))})"
            elif name in tried:
                strength, how = Strength.EXPERIMENT, tried[name]
            else:
                continue
            target = Target(provider=name, model=model)
            claims.append(Claim(target=target, strength=strength, how=how, enabled=provider.enabled))
        return claims

    def find(self, model: str) -> Finding | None:
        """Return whose model a bare name is; None where no provider has a claim.

        Raises `SpecError` (code `ambiguous_spec`, status 400) where several have equal claims.
        """
        claims = self.claims(model)
        if not claims:
            return None
        pool = [claim for claim in claims if claim.enabled] or claims
        strongest = min(claim.strength for claim in pool)
        equals = [claim for claim in pool if claim.strength is strongest]
        won = equals[0]
        if len(equals) > 1 and not (strongest <= Strength.LISTED and len({self._kind(claim) for claim in equals}) == 1):
            raise _ambiguous(model, equals)
        others = tuple((claim, _why_not(claim, won)) for claim in claims if claim is not won)
        return Finding(claim=won, others=others)

    def _kind(self, claim: Claim) -> tuple[str, str]:
        kind = self._snapshot.providers[claim.target.provider].kind
        return (kind, claim.target.provider if kind == "custom" else "")


def _why_not(claim: Claim, won: Claim) -> str:
    provider = quote(won.target.provider)
    if won.enabled and not claim.enabled:
        return "the provider is disabled"
    if claim.strength is not won.strength:
        return f"it is {claim.how}, but for provider {provider} it is {won.how}, which is the stronger claim"
    return f"provider {provider} is of the same kind and declared before it"


def _ambiguous(model: str, claims: list[Claim]) -> SpecError:
    candidates = tuple(str(claim.target) for claim in claims)
    listing = "; ".join(f"for provider {quote(claim.target.provider)} it is {claim.how}" for claim in claims)
    return SpecError(
        f"The model name {quote(model)} could be a model of {len(claims)} providers: {listing}.",
        hint=f"Write one of {listed(candidates)}, or make {quote(model)} an alias of one of them.",
        candidates=candidates,
        code="ambiguous_spec",
        status=400,
        param="model",
    )


def _alternatives(globs: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(translate(glob) for glob in globs)) if globs else None


def _matching(globs: tuple[str, ...], model: str) -> str:
    return next(glob for glob in globs if fnmatchcase(model, glob))


def why_unusable(provider: Provider) -> str | None:
    """Return why a provider cannot be asked; None: it can."""
    return provider.unusable or (None if provider.enabled else "the provider is disabled")
