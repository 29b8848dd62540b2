"""Options that several commands share, each written once."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from podium.cli import complete

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="PATH",
        help="Config file, - for stdin. Default: $PODIUM_CONFIG, else ./podium.yaml, else the keys in the environment.",
        show_default=False,
    ),
]
SpecArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="SPEC",
        help="What to ask: provider/model, tier:NAME, user:NAME:EXPERIMENT, an alias, or a model's name. "
        'Left out (or ""): the default of the user or of the config.',
        autocompletion=complete.specs,
        show_default=False,
    ),
]
UserOption = Annotated[
    str | None,
    typer.Option("--user", "-u", metavar="ID", help="Who asks.", autocompletion=complete.users, show_default=False),
]
ExperimentOption = Annotated[
    str | None,
    typer.Option(
        "--experiment",
        "-e",
        metavar="NAME",
        help="The user's experiment, where SPEC names none.",
        autocompletion=complete.experiments,
        show_default=False,
    ),
]
PinOption = Annotated[bool, typer.Option("--pin", help="Take a model's name as written: no automatic tier.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Write one JSON document on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]

_ASKING = "The request"
SystemOption = Annotated[
    str | None,
    typer.Option(
        "--system",
        "-s",
        metavar="TEXT",
        help="Instructions for the model; @FILE reads them from a file.",
        rich_help_panel=_ASKING,
    ),
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option("--max-tokens", metavar="N", min=1, help="The most tokens the answer may have.", rich_help_panel=_ASKING),
]
TemperatureOption = Annotated[
    float | None,
    typer.Option("--temperature", "-t", metavar="T", min=0, help="0 is steady, higher is freer.", rich_help_panel=_ASKING),
]
ThinkingOption = Annotated[
    str | None,
    typer.Option(
        "--thinking",
        metavar="HOW",
        help="How much to reason first: low, medium, high, or a number of tokens.",
        rich_help_panel=_ASKING,
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="FORM",
        help="The answer's form: json, or @schema.json for a JSON Schema.",
        rich_help_panel=_ASKING,
    ),
]
TimeoutOption = Annotated[
    str | None,
    typer.Option(
        "--timeout", metavar="TIME", help="For the whole request: 30s, 800ms, or milliseconds.", rich_help_panel=_ASKING
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="Fail where a model cannot honour a setting, rather than say so.", rich_help_panel=_ASKING),
]

OutOption = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="PATH",
        help="Write the results to this file; run again to go on where it stopped.",
        show_default=False,
    ),
]
ConcurrencyOption = Annotated[int, typer.Option("--concurrency", metavar="N", min=1, max=1000, help="Prompts asked at once.")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Ask everything again, and replace what --out holds.")]
ReportOption = Annotated[
    str | None,
    typer.Option("--report", metavar="PATH", help="Write a report for the browser: one HTML file.", show_default=False),
]
JudgeOption = Annotated[
    str,
    typer.Option(
        "--judge",
        metavar="NAME",
        help="Who says what is the same: auto, exact, json.",
        autocompletion=complete.one_of("auto", "exact", "json"),
    ),
]
PatternOption = Annotated[
    str | None,
    typer.Option(
        "--answer-pattern",
        metavar="REGEX",
        help="Compare only what this matches: its first group, else all of it.",
        show_default=False,
    ),
]
MaxCostOption = Annotated[
    str | None,
    typer.Option(
        "--max-cost", metavar="USD", help="Ask, or end, before this run could spend more than that.", show_default=False
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: spend more than --max-cost where it takes more.")]
RetryFailedOption = Annotated[
    bool, typer.Option("--retry-failed", help="Ask again the prompts of --out on which a side failed.")
]


class Group(TyperGroup):
    """A group of commands whose help shows a flag as one, and not as `--json <bool>`: it takes no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options of the group itself."""
        return _as_flags(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command of the group."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _as_flags(command.get_params(ctx))
        return command


def _as_flags(parameters: list[Any]) -> list[Any]:
    for each in parameters:
        if getattr(each, "is_bool_flag", False):
            each.metavar = ""
    return parameters


def config_of(context: typer.Context, given: str | None) -> str | None:
    """Return the config that was named, after the command or before it."""
    return given or (context.obj if isinstance(context.obj, str) else None)
