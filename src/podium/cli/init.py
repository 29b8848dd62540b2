"""`podium init`: a commented config to begin with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from podium.cli import console
from podium.cli.source import FILE_NAME, naming_file
from podium.errors import RequestError


def init(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Where to write it.")] = Path(FILE_NAME),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented starter config.

    A file that is there is never replaced without --force.

    [bold]Examples[/bold]

      podium init

      podium init configs/podium.yaml
    """
    from podium import config

    target = path / FILE_NAME if path.is_dir() else path
    with naming_file(target, "The config"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("w" if force else "x", encoding="utf-8") as file:
                file.write(config.starter())
        except FileExistsError:
            raise RequestError(f"{target} is there already.", hint="Give another path, or --force to replace it.") from None
    named = "" if target == Path(FILE_NAME) else f" --config {os.fspath(target)}"
    console.write_out(
        f"Wrote {target}.\n\n"
        "Next:\n"
        "  1. Set a key, for instance: export OPENAI_API_KEY=...\n"
        f"  2. podium{named} check                     is the config right?\n"
        f"  3. podium{named} providers                 who can be asked?\n"
        f'  4. podium{named} run tier:fast "Hello!"    ask\n\n'
        "No key? `podium demo` needs none.\n"
    )
