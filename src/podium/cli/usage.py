"""`podium usage`: what was asked, what it cost and what went wrong, out of the ledger; and pricing it again.

Rules. The table rounds for the eye; CSV and JSON have every amount exactly. What is in no sum, or in one by reservation only,
is said on stderr.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from podium.cli import complete, console
from podium.cli.options import ConfigOption, Group, JsonOption, config_of
from podium.cli.source import open_models
from podium.errors import RequestError

if TYPE_CHECKING:
    from podium.engine.models import Models
    from podium.ledger import Ledger, Price, Priced, Repriced, UsageRow

NAMES = ("day", "month", "user", "team", "provider", "model", "target", "tier", "experiment", "rollout", "arm", "tag")
"""What usage is kept by."""
_MEASURES = ("cost", "requests", "tokens")
_AGO = re.compile(r"(\d{1,4})([hdw])")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a formula begins with: users choose names, and a table of them is opened in a spreadsheet."""
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_AGO_S = {"h": 3600, "d": 86400, "w": 7 * 86400}

app = typer.Typer(
    cls=Group,
    invoke_without_command=True,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)

SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help="From when on: 2026-03-01, 2026-03-01T12:00Z, or 24h, 7d, 4w ago.", show_default=False
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Until when; a date includes its day.", show_default=False),
]
ZoneOption = Annotated[str, typer.Option("--tz", metavar="ZONE", help="Time zone of the days: an IANA name.")]
DataOption = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR", help="The data folder. Default: the config's.", show_default=False),
]


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


@app.command("reprice")
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
    with console.errors_as_json(json), _Asked(config or before[0], data or before[1]) as asked:
        price = _pricing(asked.models)
        found = asked.ledger.reprice(price, **load_window(since, until, tz), apply=apply)
    if json:
        console.write_json({"applied": apply, "models": [each.to_dict() for each in found]})
        return
    _show_repriced(found, apply)


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
    with _Asked(config, data) as asked:
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


class _Asked:
    """The ledger that a command asks, opened for as long as it does."""

    ledger: Ledger

    def __init__(self, config: str | None, data: str | None) -> None:
        self._config = config
        self._data = data
        self.folder: str | None = data
        self.wait_s = 1.0
        """How long to wait for what was just recorded."""

    @cached_property
    def models(self) -> Models:
        """What the config knows, prices among it."""
        return open_models(self._config).models

    def __enter__(self) -> _Asked:
        from podium.ledger import Ledger

        if self.folder is None:
            self.folder = self.models.snapshot.data_dir
        elif not Path(self.folder).is_dir():
            raise RequestError(f"There is no data folder {self.folder}.", hint="Name the folder that has ledger.sqlite3.")
        if self.folder is not None and Path(self.folder).exists() and not Path(self.folder).is_dir():
            raise RequestError(
                f"The data folder {self.folder} is a file, so nothing can be on record in it.",
                hint="Move that file away, or set `data_dir` to a folder.",
            )
        there = self.folder is not None and Path(self.folder).is_dir()
        self.ledger = Ledger.open(self.folder) if there else Ledger.open(None, store="memory:")
        if self.folder is not None and there and not os.access(self.folder, os.W_OK):
            self.wait_s = 0.0  # an auditor's copy: nobody here can move what is in the journals
            console.say(
                f"{self.folder} cannot be written by you: what is in its journals and not yet in the ledger is left out."
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.close()


def load_window(since: str | None, until: str | None, tz: str) -> dict[str, Any]:
    """Return `since`, `until` and `tz` as the ledger takes them; `7d` is so long ago.

    Raises `RequestError` for what is no time or no zone, and for a window that ends before it begins.
    """
    from podium.ledger.usage import ask

    window: dict[str, Any] = {"since": _instant(since), "until": _instant(until), "tz": tz}
    try:
        question = ask((), where=None, **window)
    except RequestError as error:
        if error.param in ("since", "until"):
            error.hint = "Write 2026-03-01 or 2026-03-01T12:00Z, or how long ago: 24h, 7d, 4w."
        raise
    begin, end = question.since_us, question.until_us
    if begin is not None and end is not None and begin >= end:
        raise RequestError(
            f"--until {until} is not after --since {since}, so nothing lies between them.",
            param="until",
            hint="Change them round.",
        )
    return window


def _instant(text: str | None) -> str | float | None:
    if text is not None and (ago := _AGO.fullmatch(text)):
        return time.time() - int(ago[1]) * _AGO_S[ago[2]]
    return text


def _where(pairs: list[str]) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise RequestError(f"--where {pair} has no value.", hint="Write --where user=jane.")
        found.setdefault(name, []).append(value or None)
    return found


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
