"""`podium demo`: thirty questions through every way of asking, over real HTTP, without a key."""

from __future__ import annotations

from typing import Annotated

import typer

from podium.cli import console
from podium.cli.options import JsonOption

_PAUSE_S = 0.7


def demo(
    real: Annotated[
        bool, typer.Option("--real", help="Use the providers whose keys are in the environment; costs a few cents.")
    ] = False,
    no_pause: Annotated[bool, typer.Option("--no-pause", help="Do not stop between the parts to let them be read.")] = False,
    json: JsonOption = False,
) -> None:
    """See Podium at work: 30 questions through a race, a fallback, a consensus, a model's name and an experiment.

    Everything runs on this machine: the providers are simulated, and asked over real HTTP. No key, no network.

    [bold]Examples[/bold]

      podium demo

      podium demo --real

      podium demo --json | jq .routes
    """
    from podium.cli import play

    show = play.Show(json=json, pause_s=0.0 if no_pause or json or not console.is_terminal("out") else _PAUSE_S)
    with console.errors_as_json(json):
        played = play.perform(show, real=real)
    show.end(played, real=real)
    if any(one.result is None for one in played):
        raise typer.Exit(console.FAILED)
