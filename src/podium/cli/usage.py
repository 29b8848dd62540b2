"""`podium usage`: what was asked, what it cost and what went wrong, out of the ledger.

Rules. The table rounds for the eye; CSV and JSON have every amount exactly. What is in no sum, or in one by reservation only,
is said on stderr.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from podium.cli import complete, console, reprice
from podium.cli.on_record import Asked, DataOption, SinceOption, UntilOption, ZoneOption, load_window
from podium.cli.options import ConfigOption, Group, JsonOption, config_of
from podium.errors import RequestError

if TYPE_CHECKING:
    from podium.ledger import Ledger, UsageRow

NAMES = ("day", "month", "user", "team", "provider", "model", "target", "tier", "experiment", "rollout", "arm", "tag")
"""What usage is kept by."""
_MEASURES = ("cost", "requests", "tokens")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a formula begins with: users choose names, and a table of them is opened in a spreadsheet."""
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")

app = typer.Typer(
    cls=Group,
    invoke_without_command=True,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
app.command("reprice")(reprice.reprice)


@app.callback()
def usage(
    context: typer.Context,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            "-b",
            metavar="NAMES",
            help=f"Any of {', '.join(NAMES)}, with commas.",
            autocompletion=complete.some_of(*NAMES),
        ),
    ] = "day,model",
    since: SinceOption = None,
    until: UntilOption = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", "-w", metavar="NAME=VALUE", help="Only what has this value; several of one name: any of them.",
            show_default=False, autocompletion=complete.one_of(*(f"{name}=" for name in NAMES[2:])),
        ),
    ] = None,
    tz: ZoneOption = "UTC",
    plot: Annotated[bool, typer.Option("--plot", "-p", help="Draw it in the terminal.")] = False,
    measure: Annotated[
        str,
        typer.Option(
            "--measure", metavar="NAME", help="What to draw: cost, requests or tokens.",
            autocompletion=complete.one_of(*_MEASURES),
        ),
    ] = "cost",
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV on stdout.")] = False,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:  # fmt: skip
    """Show requests, tokens, cost and errors by day, user, model and so on.

    A request counts where it was answered, an attempt where it was sent. A request with two tags is in the row of each.

    [bold]Examples[/bold]

      podium usage --since 7d

      podium usage --by user,model --since 2026-03-01 --until 2026-03-31 --tz Europe/Berlin --csv

      podium usage --by day,tag --where team=search --plot

      podium usage reprice --since 2026-03-01
    """
    if context.invoked_subcommand is not None:
        context.obj = (config_of(context, config), data)
        return
    with console.errors_as_json(json):
        _check_form(measure, plot=plot, csv=csv, json=json)
        arguments = {**load_window(since, until, tz), "where": _where(where or [])}
        found = _find(config_of(context, config), data, by, arguments)
    if json:
        _write_json(found)
    elif csv:
        _write_csv(found.rows, found.names)
    elif not found.rows:
        console.say(_nothing(found.folder))
    elif plot:
        _draw(found, measure)
    else:
        _show(found)
    if not json:
        _say_doubts(found)


def _check_form(measure: str, *, plot: bool, csv: bool, json: bool) -> None:
    """See that one form is wanted, and can be made. Raises `RequestError`."""
    if plot + csv + json > 1:
        raise RequestError("--plot, --csv and --json do not go together.", hint="Take one of them.")
    if measure not in _MEASURES:
        raise RequestError(f"--measure {measure} cannot be drawn.", hint="Draw cost, requests or tokens.")


class _Found(NamedTuple):
    """What is on record for a question."""

    folder: str | None
    rows: list[UsageRow]
    summed: UsageRow | None
    """All of it; None: nothing is."""
    shadows: UsageRow | None
    """What of it nobody waited for."""

    @property
    def names(self) -> list[str]:
        return list(self.rows[0].group) if self.rows else []


def _find(config: str | None, data: str | None, by: str, arguments: dict[str, Any]) -> _Found:
    with Asked(config, data) as asked:
        rows = asked.ledger.usage(by, wait_s=asked.wait_s, **arguments)
        return _Found(
            rows=rows,
            summed=_sum_up(rows, asked.ledger, arguments),
            shadows=_shadows(asked.ledger, arguments),
            folder=asked.folder,
        )


def _sum_up(rows: list[UsageRow], ledger: Ledger, arguments: dict[str, Any]) -> UsageRow | None:
    """What the rows come to; asked apart only where one request may be in several: more may be on record by then."""
    from podium.ledger import total

    if rows and "tag" in rows[0].group:
        return next(iter(ledger.usage((), wait_s=0, **arguments)), None)
    return total(rows) if rows else None


def _where(pairs: list[str]) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise RequestError(f"--where {pair} has no value.", hint="Write --where user=jane.")
        found.setdefault(name, []).append(value or None)
    return found


# --- what is written ---------------------------------------------------------------------------------------------------


def _plain(row: UsageRow) -> dict[str, Any]:
    tokens = row.tokens
    return {
        **row.group,
        "requests": row.requests,
        "errors": row.errors,
        "attempts": row.attempts,
        "failed": row.failed,
        "unknown": row.unknown,
        "unpriced": row.unpriced,
        "input": tokens.input,
        "output": tokens.output,
        "cache_read": tokens.cache_read,
        "cache_write": tokens.cache_write,
        "cache_write_1h": tokens.cache_write_1h,
        "reasoning": tokens.reasoning,
        "input_audio": tokens.input_audio,
        "output_audio": tokens.output_audio,
        "cost_usd": f"{row.cost_usd:f}",
        "unknown_usd": f"{row.unknown_usd:f}",
    }


def _write_json(found: _Found) -> None:
    console.write_json(
        {
            "rows": [_plain(row) for row in found.rows],
            "total": None if found.summed is None else _plain(found.summed),
            "shadows": None if found.shadows is None else _plain(found.shadows),
        }
    )


def _draw(found: _Found, measure: str) -> None:
    from podium.cli import usage_table

    usage_table.plot(console.console("out"), found.rows, found.names, measure)


def _show(found: _Found) -> None:
    from podium.cli import usage_table
    from podium.ledger import UsageRow

    dropped = usage_table.show(console.console("out"), found.rows, found.names, found.summed or UsageRow())
    if dropped:
        console.say(f"There is no room here for {', '.join(dropped)}: --csv and --json have all.", "dim")


def _write_csv(rows: list[UsageRow], names: list[str]) -> None:
    import csv
    import io

    from podium.ledger import UsageRow

    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=[*names, *_plain(UsageRow())], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**_plain(row), **{name: _as_text(value) for name, value in row.group.items()}})
    console.write_out(text.getvalue())


def _as_text(name: str | None) -> str | None:
    """A name that a spreadsheet shows as it is: one that would be a formula there begins with an apostrophe."""
    if name is None or not name.startswith(_FORMULA) or _NUMBER.fullmatch(name):
        return name
    return f"'{name}"


def _nothing(folder: str | None) -> str:
    if folder is not None:
        return f"No usage is on record in {folder} for that."
    return "Nothing is on record: records are kept beside a config file, and there is none. `podium init` writes one."


def _shadows(ledger: Ledger, arguments: dict[str, Any]) -> UsageRow | None:
    """What of the sums nobody waited for; None: nothing, or the question names an arm itself."""
    from podium.routing.snapshot import SHADOW_ARMS

    where = arguments["where"]
    if "arm" in where:
        return None
    found = ledger.usage((), wait_s=0, **{**arguments, "where": {**where, "arm": sorted(SHADOW_ARMS)}})
    return found[0] if found and found[0].attempts else None


def _say_shadows(shadows: UsageRow) -> None:
    from podium.cli.usage_table import money

    console.say(
        f"{console.plural(shadows.requests, 'shadow')} of rollouts ({money(shadows.cost_usd)}) are in these sums, which nobody "
        "waited for: `--by rollout,arm` tells them apart."
    )


def _say_doubts(found: _Found) -> None:
    """Say what is in no sum, or in one that may be misread."""
    from podium.cli.usage_table import money

    summed = found.summed
    if summed is None or not found.rows:
        return
    if summed.unknown:
        console.say(
            f"How {console.plural(summed.unknown, 'attempt')} ended nobody knows: their process died. "
            f"They count at the {money(summed.unknown_usd)} that they had reserved.",
            "yellow",
        )
    if summed.unpriced:
        are = "is" if summed.unpriced == 1 else "are"
        console.say(
            f"{console.plural(summed.unpriced, 'attempt')} had no known price and {are} in no sum: `podium prices check`, then "
            "`podium usage reprice`.",
            "yellow",
        )
    if found.shadows is not None and not {"arm", "user"} & set(found.names):
        _say_shadows(found.shadows)
