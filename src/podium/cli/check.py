"""`podium check`: every problem of config and user files, with file and line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from podium.cli import console
from podium.cli.options import ConfigOption, JsonOption, config_of
from podium.cli.source import FILE_NAME, find_config, path_of
from podium.errors import RequestError

if TYPE_CHECKING:
    from podium.config import Problem


def check(
    context: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILES",
            help="Config and user files. Default: the config in use and its users' files.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Let warnings fail too.")] = False,
    schema: Annotated[
        Literal["config", "user"] | None,
        typer.Option("--schema", help="Print the JSON Schema of such a file, for editors, and exit.", show_default=False),
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Check config and user files: list every problem, with its place and a fix.

    Exits 2 where there are errors; with --strict, where there are warnings too.

    [bold]Examples[/bold]

      podium check

      podium check podium.yaml configs/researchers/*.yaml --strict

      podium check --schema config > podium.schema.json
    """
    from podium import config as config_room

    if schema is not None:
        console.write_json(config_room.json_schema(schema))
        return
    if not files:
        found = find_config(config_of(context, config))
        if found is None:
            raise RequestError(
                f"There is no {FILE_NAME} here to check.",
                hint="Name files (`podium check FILES`), or write one: `podium init`.",
            )
        files = [str(found)]
    problems = config_room.check_files([path_of(each) for each in files])
    errors = [problem for problem in problems if problem.severity == "error"]
    bad = bool(errors) or (strict and bool(problems))
    if json:
        console.write_json({"files": files, "ok": not bad, "problems": [problem.to_dict() for problem in problems]})
    else:
        _show(files, problems, len(errors))
    if bad:
        raise typer.Exit(console.USAGE)


def _show(files: list[str], problems: list[Problem], errors: int) -> None:
    from rich.text import Text

    terminal = console.console("out")
    for problem in problems:
        line = Text()
        if problem.file:
            line.append(f"{problem.file}:{problem.line}: " if problem.line else f"{problem.file}: ", style="bold")
        line.append(f"{problem.severity}: ", style="bold red" if problem.severity == "error" else "bold yellow")
        line.append(console.clean(f"{problem.path}: {problem.message}" if problem.path else problem.message))
        if problem.hint:
            line.append(console.clean(f"\n    {problem.hint}"), style="cyan")
        terminal.print(line, soft_wrap=True)
    warnings = len(problems) - errors
    counts = [console.plural(number, noun) for number, noun in ((errors, "error"), (warnings, "warning")) if number]
    what = console.plural(len(files), "file") if len(files) > 1 else files[0]
    terminal.print(f"{what}: {' and '.join(counts) or 'no problems'}.", style="red" if errors else "green", soft_wrap=True)
