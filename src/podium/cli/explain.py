"""`podium explain`: what a spec means here and why, without a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from podium.cli import console
from podium.cli.options import ConfigOption, ExperimentOption, JsonOption, PinOption, SpecArgument, UserOption, config_of
from podium.cli.source import explaining_source, open_models

if TYPE_CHECKING:
    from podium.types import Reasons

_RULES = {
    "target": "a model of a provider, as written",
    "alias": "an alias of the config",
    "tier": "a tier",
    "bare_tier": "a tier, by its name alone",
    "auto_tier": "automatic tier resolution: the model is a tier's first",
    "bare_model": "a model, by its name alone",
    "experiment": "a user's experiment",
    "user_default": "the user's default",
    "default_tier": "the config's default tier",
}


def explain(
    context: typer.Context,
    spec: SpecArgument = None,
    user: UserOption = None,
    experiment: ExperimentOption = None,
    pin: PinOption = False,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what a spec means here, and why. Sends nothing.

    [bold]Examples[/bold]

      podium explain tier:fast

      podium explain gpt-4o

      podium explain user:jane --experiment local_first

      podium explain openai/gpt-4o --pin --json
    """
    with console.errors_as_json(json):
        opened = open_models(config_of(context, config))
        with explaining_source(opened):
            reasons = opened.models.explain(spec or None, user_id=user, experiment=experiment, pin=pin)
    if json:
        console.write_json(reasons.to_dict())
    else:
        _show(reasons, opened.origin)


def _show(reasons: Reasons, origin: str) -> None:
    from rich.table import Table
    from rich.text import Text

    terminal = console.console("out")
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")

    def row(name: str, text: str, style: str = "") -> None:
        table.add_row(name, Text(console.clean(text), style=style))

    row("spec", reasons.spec or "(none)", "bold")
    row("rule", f"{reasons.rule}: {_RULES.get(reasons.rule, '')}".rstrip(": "))
    row("strategy", reasons.strategy)
    for number, target in enumerate(reasons.targets, 1):
        row("targets" if number == 1 else "", f"{number}. {target}", "green")
    for place, step in enumerate(reasons.steps):
        row("steps" if place == 0 else "", step)
    for title, others, style in (("skipped", reasons.skipped, "yellow"), ("not", reasons.considered, "dim")):
        for place, each in enumerate(others):
            row(title if place == 0 else "", f"{each.name}: {each.why}", style)
    row("config", origin)
    terminal.print(table)
