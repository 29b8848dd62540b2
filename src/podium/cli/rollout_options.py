"""What the commands of `podium rollout` share: their options, and the rollouts that they work on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from podium.cli import complete, console
from podium.cli.options import config_of
from podium.cli.source import FILE_NAME, open_models
from podium.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium.engine.rollout.rollouts import Rollouts

T = TypeVar("T")

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The rollout, as the config names it.", autocompletion=complete.rollouts)
]
WhyOption = Annotated[str | None, typer.Option("--why", metavar="TEXT", help="Why, for the history.", show_default=False)]
WhoOption = Annotated[
    str | None,
    typer.Option("--who", metavar="NAME", help="Who, for the history. Default: your account's name.", show_default=False),
]
WindowOption = Annotated[
    str, typer.Option("--window", "-w", metavar="TIME", help="How far back calls are counted, as 1h or 7d.")
]


def with_rollouts(context: typer.Context, json: bool, config: str | None, work: Callable[[Rollouts], T]) -> T:
    """Do something with the rollouts of the config."""
    with console.errors_as_json(json):
        opened = open_models(config_of(context, config))
        models, rollouts = opened.models, opened.models.rollouts
        if opened.path is None:
            raise RequestError(
                f"There are no rollouts, for there is no {FILE_NAME} here.",
                hint="Name a config with --config, or write one: `podium init`.",
            )
        if rollouts.exist and models.snapshot.data_dir is None:
            raise RequestError(
                "This config has no data folder, so its rollouts live in each process alone.", hint="Set `data_dir`."
            )
        with _told_once():
            try:
                found = work(rollouts)
                why = rollouts.statistics().get("why")
            finally:
                rollouts.close()
    if why is not None:
        console.say(f"Warning: {why}\n  What is shown is the last known state.", "yellow")
    return found


@contextmanager
def _told_once() -> Iterator[None]:
    """Keep what rollouts log off the terminal, unless somebody asked for logs: the command itself says what is wrong."""
    log = logging.getLogger("podium.rollouts")
    quiet = logging.NullHandler()
    log.addHandler(quiet)
    try:
        yield
    finally:
        log.removeHandler(quiet)
