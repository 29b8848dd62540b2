"""What is wrong with the prices of the models that a config uses: missing, stale, or free by mistake.

Theory. A bill is wrong in silence: a model without a price counts as unknown, one whose price is old or 0 counts wrongly. So
the models that the config can ask (of tiers, experiments, aliases and providers) are looked up as a call would, and judged.

Rules.
- Errors: a model without a price, a price of 0 that nobody meant, a price whose source was last asked too long ago.
- Notes: a price that was found only by normalising the name, and one from the bundled data, whose age is that of the package.
- What runs on the user's own machine, or is priced in the config, is never at fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from podium.catalog.price_sheet import free_by_name, is_free
from podium.catalog.pricing import Found, PriceBook
from podium.engine.prices.book import find_target
from podium.engine.prices.sources import BUILT_IN
from podium.routing.snapshot import Experiment, Snapshot, Tier
from podium.types import Target, Value

DAY_S = 86_400.0

Fault = Literal["missing", "free", "stale", "guessed", "bundled", "unreadable"]
_ERRORS = frozenset({"missing", "free", "stale", "unreadable"})


class Finding(Value, frozen=True, kw_only=True):
    """One thing that is wrong with a price, or doubtful."""

    name: str
    """The model, as the config names it; the file, for what is wrong with that."""
    fault: Fault
    message: str
    hint: str

    @property
    def is_error(self) -> bool:
        """Whether it makes bills wrong, rather than doubtful."""
        return self.fault in _ERRORS


def targets_of(snapshot: Snapshot) -> list[Target]:
    """Return every target that a config names, in the order of its tiers, experiments, aliases, rollouts and providers."""
    found: dict[Target, None] = {}
    plans: list[Tier | Experiment] = [*snapshot.tiers.values()]
    for user in snapshot.users.values():
        plans += user.experiments.values()
    for each in plans:
        found |= dict.fromkeys(each.targets)
        if each.strategy.escalate_to is not None:
            found[each.strategy.escalate_to] = None
    arms = [spec for rollout in snapshot.rollouts.values() for spec in (rollout.legacy, rollout.candidate) if spec is not None]
    for spec in (*snapshot.aliases.values(), *arms):
        provider, slash, model = spec.partition("/")
        if slash and provider in snapshot.providers:
            found[Target(provider=provider, model=model)] = None
    for provider_name, settings in snapshot.providers.items():
        found |= dict.fromkeys(Target(provider=provider_name, model=model) for model in settings.models)
    return list(found)


def check_prices(snapshot: Snapshot, book: PriceBook, now: float, longest_s: float) -> list[Finding]:
    """Judge the price of every model that the config names; `longest_s` is the age from which a price is stale."""
    findings: list[Finding] = []
    for target in targets_of(snapshot):
        provider = snapshot.providers.get(target.provider)
        if provider is not None:
            entry = provider.models.get(target.model)
            found = find_target(book, provider, target.model)
            findings += _judge(str(target), found, None if entry is None else entry.priced_as, now, longest_s)
    # Rows are read as they are looked up, and what cannot be read of them is known only now.
    findings += [
        Finding(name="prices", fault="unreadable", message=problem, hint="Run `podium prices fetch`.")
        for problem in book.problems
    ]
    return findings


def _judge(name: str, found: Found | None, priced_as: str | None, now: float, longest_s: float) -> Iterator[Finding]:
    if found is None:
        yield _missing(name, priced_as)
        return
    if found.via in ("local", "config"):
        return
    built_in = any(found.source.startswith(source) for source in BUILT_IN)
    if is_free(found.price.row) and built_in and not free_by_name(found.matched_name):
        yield Finding(
            name=name,
            fault="free",
            message=f"{found.source} says that it costs nothing, and its name does not.",
            hint="Say its price in the config; 0, if it is meant.",
        )
    age_s = None if found.updated_at is None else now - seconds_of(found.updated_at)
    if age_s is not None and age_s > longest_s:
        yield Finding(
            name=name,
            fault="stale",
            message=f"its price was last confirmed {age_s / DAY_S:.0f} days ago ({found.updated_at}, {found.source}).",
            hint="Run `podium prices fetch`, best daily.",
        )
    if found.normalised is not None:
        yield Finding(
            name=name,
            fault="guessed",
            message=f"its name is unknown; it is priced as {found.matched_name} ({found.normalised}).",
            hint="Say `priced_as` in the config if that is right, or its price if it is not.",
        )
    if found.updated_at is None:
        yield Finding(
            name=name,
            fault="bundled",
            message=f"its price is from {found.source}, which is as old as that package.",
            hint="Run `podium prices fetch`.",
        )


def _missing(name: str, priced_as: str | None) -> Finding:
    message, hint = "it has no price", "Fetch prices (`podium prices fetch`), or say one, or `priced_as`, in the config."
    if priced_as is not None:
        message = f"it is priced as {priced_as}, of which no price is known"
        hint = "Name a model of the price data (`podium prices show` finds it), or say its price under `prices`."
    return Finding(name=name, fault="missing", message=f"{message}: what it costs is unknown.", hint=hint)


def seconds_of(instant: str) -> float:
    """Return the epoch seconds of an `updatedAt`; the epoch's beginning where it is no instant, so that it counts as stale."""
    try:
        return datetime.fromisoformat(instant).timestamp()
    except ValueError:
        return 0.0
