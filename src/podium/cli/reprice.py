"""`podium usage reprice`: price what is on record again, by today's prices.

Rules. Nothing changes without `--apply`. What a provider itself said that it cost stays, and so does a price that is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli import console
from podium.cli.on_record import Asked, DataOption, SinceOption, UntilOption, ZoneOption, load_window
from podium.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from podium.engine.models import Models
    from podium.ledger import Price, Priced, Repriced


def reprice(
    context: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    tz: ZoneOption = "UTC",
    apply: Annotated[bool, typer.Option("--apply", help="Change the ledger. Without it: only show what would change.")] = False,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Price what is on record again, by today's prices.

    It changes nothing without --apply; then every attempt keeps what it had cost before in the ledger's price_changes. What a
    provider itself said that it cost stays, and so does what an attempt had reserved whose end nobody knows.

    [bold]Examples[/bold]

      podium usage reprice --since 2026-03-01

      podium usage reprice --since 30d --apply
    """
    before = context.obj if isinstance(context.obj, tuple) else (None, None)
    with console.errors_as_json(json), Asked(config or before[0], data or before[1]) as asked:
        price = _pricing(asked.models)
        found = asked.ledger.reprice(price, **load_window(since, until, tz), apply=apply)
    if json:
        console.write_json({"applied": apply, "models": [each.to_dict() for each in found]})
        return
    _show_repriced(found, apply)


def _pricing(models: Models) -> Callable[[Priced], Price | None]:
    """Today's price of an attempt; None for what its provider priced itself, and for a provider that the config has no more."""
    from podium.engine.prices.book import find_target
    from podium.ledger import Price, pico_usd

    def price(old: Priced) -> Price | None:
        provider = models.snapshot.providers.get(old.provider)
        if provider is None or old.usage.reported_cost_usd:  # a report of 0 is priced like none
            return None
        found = find_target(models.pricing, provider, old.model)
        if found is None:  # what it cost by a price that is gone is still the best that is known
            return None
        cost = found.price.cost(old.usage, old.started_at, old.context)
        return Price(cost_pico=pico_usd(cost), price_version=found.version, price_source=found.source)

    return price


def _show_repriced(found: list[Repriced], applied: bool) -> None:
    from podium.cli import usage_table

    if not found:
        console.say("No attempt on record has a usage that could be priced.")
        return
    if dropped := usage_table.show_repriced(console.console("out"), found):
        console.say(f"There is no room here for {', '.join(dropped)}: --json has all.", "dim")
    changed = sum(each.changed for each in found)
    if not applied and changed:
        console.say(f"Nothing is changed yet: --apply changes {console.plural(changed, 'attempt')}.", "yellow")
