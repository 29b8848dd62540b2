"""`podium prices`: fetch what models cost, show a price and where it is from, check those of the config.

Rules. What a command finds goes to stdout, what went wrong on the way to stderr. `fetch --every` ends with 0 when it is told to
stop, for that is how it ends.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import console
from podium.cli.options import ConfigOption, JsonOption, QuietOption, config_of
from podium.cli.source import open_models
from podium.errors import PodiumError, RequestError

if TYPE_CHECKING:
    from rich.table import Table

    from podium.catalog.price_sheet import Rates
    from podium.catalog.pricing import Found, PriceBook
    from podium.engine.price_fetch import Change, Fetched
    from podium.engine.price_sources import Source

DEFAULT_FILE = "pricing-cache.json"
_SHOWN = 20

app = typer.Typer(
    name="prices",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    help="What models cost: fetch prices, show one, check those that the config uses.",
)

FileOption = Annotated[
    str, typer.Option("--file", "-f", metavar="PATH", help="The file of fetched prices; the bundled data lies below it.")
]


@app.command()
def fetch(
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            "-s",
            metavar="NAME|URL|FILE",
            help="A URL or file of your own, or one of openrouter, genai-prices, bundled. May be repeated; of several that "
            "price a model the first in this order counts: your own as given, openrouter, genai-prices, bundled. Those three "
            "are asked too unless one of them is named.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[bool, typer.Option("--only", help="Ask nothing but what --source names.")] = False,
    out: Annotated[str, typer.Option("--out", "-o", metavar="PATH", help="The file to write.")] = DEFAULT_FILE,
    every: Annotated[
        str | None,
        typer.Option("--every", metavar="TIME", help="Fetch again and again, as every 24h, until stopped.", show_default=False),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch prices and write them to a file: what changed is said, and a source that fails keeps what it gave last.

    Exits 1 only where nothing could be used; the file then stays as it was. Made for cron.

    [bold]Examples[/bold]

      podium prices fetch

      podium prices fetch --source our-prices.json --out /var/lib/podium/pricing-cache.json

      podium prices fetch --every 24h
    """
    from podium.engine.price_sources import find_sources

    if only and not source:
        raise RequestError("--only leaves no source to ask.", hint="Name what to ask with --source.")
    sources = find_sources(tuple(source or ()), only=only)
    if every is None:
        with console.errors_as_json(json):
            _tell(asyncio.run(_fetch(sources, out)), json, quiet)
        return
    asyncio.run(_keep_fetching(sources, out, _period(every, "--every", least_s=60), json, quiet))


async def _fetch(sources: tuple[Source, ...], out: str) -> Fetched:
    from podium.engine.price_fetch import fetch_prices

    return await fetch_prices(sources, Path(out), time.time())


async def _keep_fetching(sources: tuple[Source, ...], out: str, every_s: float, json: bool, quiet: bool) -> None:
    """Fetch now and every so often, until a signal says to stop; a fetch that fails is told and tried again in time."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        while not stop.is_set():
            began = loop.time()
            fetching = asyncio.ensure_future(_fetch(sources, out))
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait((fetching, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not fetching.done():
                fetching.cancel()
                await asyncio.gather(fetching, return_exceptions=True)
                break
            try:
                _tell(fetching.result(), json, quiet, one_line=True)
            except PodiumError as error:
                console.show_error(error)
            try:
                await asyncio.wait_for(stop.wait(), max(0.0, every_s - (loop.time() - began)))
            except TimeoutError:
                continue
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _period(written: str, option: str, least_s: float) -> float:
    """Read `30m`, `24h` or `7d` as seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", written.strip())
    seconds = float(match[1]) * {"m": 60, "h": 3600, "d": 86_400}[match[2]] if match else 0.0
    if not least_s <= seconds <= 366 * 86_400:
        raise RequestError(f"{option} is {written!r}, which is no time of use.", hint="Write it as 30m, 24h or 7d.")
    return seconds


def _tell(fetched: Fetched, json: bool, quiet: bool, *, one_line: bool = False) -> None:
    """Say what a fetch did."""
    if json:
        if one_line:
            import json as writer

            console.write_out(writer.dumps(fetched.to_dict(), ensure_ascii=False) + "\n")
        else:
            console.write_json(fetched.to_dict())
    for answer in fetched.sources:
        if answer.error is not None:
            kept = f"; {console.plural(answer.kept, 'price')} of it kept" if answer.kept else ""
            console.say(f"{answer.source}: {answer.error}{kept}.", "yellow")
        elif answer.refused and not quiet:
            console.say(f"{answer.source}: {console.plural(len(answer.refused), 'row')} refused.", "yellow")
            for name, reason in list(answer.refused.items())[:_SHOWN]:
                console.say(f"  {console.short(name, 80)}: {console.short(reason, 200)}", "dim")
            _say_rest(len(answer.refused))
    if fetched.note and not quiet:
        console.say(fetched.note, "yellow")
    if not json and not quiet:
        _tell_changes(fetched)


def _tell_changes(fetched: Fetched) -> None:
    terminal = console.console("out")
    for answer in fetched.sources:
        if answer.error is None:
            terminal.print(f"{answer.source}: {console.plural(answer.rows, 'price')}", style="dim")
    if not fetched.first:
        for sign, style, changes in (
            ("+", "green", fetched.added),
            ("-", "red", fetched.removed),
            ("~", "yellow", fetched.changed),
        ):
            for change in changes[:_SHOWN]:
                terminal.print(f"{sign} {console.clean(change.name)}{_difference(change)}", style=style, soft_wrap=True)
            if len(changes) > _SHOWN:
                terminal.print(f"  and {len(changes) - _SHOWN:,} more", style="dim")
    told = (
        "written for the first time"
        if fetched.first
        else f"{len(fetched.added):,} added, {len(fetched.removed):,} removed, {len(fetched.changed):,} changed"
    )
    terminal.print(f"{console.plural(fetched.models, 'price')} in {fetched.path}: {told}.", soft_wrap=True)


def _say_rest(count: int) -> None:
    if count > _SHOWN:
        console.say(f"  and {count - _SHOWN:,} more", "dim")


def _difference(change: Change) -> str:
    """What changed, as `inputPerMillion 2.5 -> 2`; the plain rates for what came or went."""
    before, after = change.before or {}, change.after or {}
    keys = [
        key for key in (*before, *(key for key in after if key not in before)) if key.endswith(("Million", "Request", "Search"))
    ]
    if change.before is None or change.after is None:
        return "".join(f"  {key} {(before or after)[key]}" for key in keys[:3])
    words = [f"  {key} {_or_none(before.get(key))} -> {_or_none(after.get(key))}" for key in keys]
    others = [key for key in (*before, *after) if key not in keys]
    return "".join(words) + (f"  {', '.join(dict.fromkeys(others))} changed" if others else "")


def _or_none(value: Any) -> str:
    return "none" if value is None else str(value)


# --- show ------------------------------------------------------------------------------------------------------------


@app.command()
def show(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="provider/model, as openai/gpt-4o.")],
    file: FileOption = DEFAULT_FILE,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what a model costs: every rate, where it is from, when that was asked, and how the name was found.

    Exits 1 where no price is known.

    [bold]Examples[/bold]

      podium prices show openai/gpt-4o

      podium prices show anthropic/claude-sonnet-4-5 --json
    """
    from podium.engine.prices import find_target, load_prices

    with console.errors_as_json(json):
        opened = open_models(config_of(context, config))
        book = load_prices(file)
        name, slash, rest = model.partition("/")
        provider = opened.models.snapshot.providers.get(name)
        found = find_target(book, provider, rest) if provider is not None and slash else book.get(model)
        for problem in book.problems:
            console.say(problem, "yellow")
        if found is None:
            raise PodiumError(f"No price is known for {model}.", code="unpriced", hint=_near(book, model))
    if json:
        console.write_json(_document(model, found))
    else:
        _print_price(model, found)


def _near(book: PriceBook, model: str) -> str:
    names = book.names()
    ends = {name.partition("/")[2]: name for name in reversed(names)}
    near = get_close_matches(model, names, 3, 0.75) or [ends[end] for end in get_close_matches(model, list(ends), 3, 0.75)]
    meant = f"Did you mean {', '.join(near)}? " if near else ""
    return f"{meant}Fetch prices with `podium prices fetch`, or say one in the config."


def _document(model: str, found: Found) -> dict[str, Any]:
    import msgspec

    from podium.catalog.price_sheet import dump_row

    return {
        "name": model,
        "matched_name": found.matched_name,
        "via": found.via,
        "normalised": found.normalised,
        "priced_as": found.priced_as,
        "source": found.source,
        "updated_at": found.updated_at,
        "version": found.version,
        "period": found.price.period(time.time()),
        "price": msgspec.json.decode(dump_row(found.price.row)),
    }


_VIA = {
    "config": "the config says its price",
    "name": "known by this name",
    "spelling": "a spelling that the data knows",
    "reseller": "known at the provider whose model it is",
    "normalised": "known only after normalising the name: a guess",
    "local": "runs on your own machine, so it costs nothing",
}


def _print_price(model: str, found: Found) -> None:
    from rich.table import Table

    terminal = console.console("out")
    terminal.print(console.clean(found.matched_name), style="bold")
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_row("asked", f"{console.clean(model)} ({_VIA[found.via]})")
    if found.normalised is not None:
        facts.add_row("normalised", found.normalised, style="yellow")
    if found.priced_as is not None:
        facts.add_row("priced as", found.priced_as)
    facts.add_row("source", console.clean(found.source))
    if found.via not in ("local", "config"):
        facts.add_row("confirmed", found.updated_at or "with the release of that package")
    facts.add_row("version", found.version)
    terminal.print(facts)
    row = found.price.row
    active = found.price.period(time.time())
    for number, span in enumerate(row.spans()):
        table = _rates_table(span)
        title = _when(span) if row.periods else "USD"
        terminal.print()
        terminal.print(f"{title}{' (now)' if row.periods and number == active else ''}", style="bold")
        terminal.print(table)
    for variant in (each for each in row.variants if each.rates()):
        terminal.print()
        terminal.print(f"{', '.join(f'{k}: {v}' for k, v in variant.when.items())}, {_when(variant)}", style="bold")
        terminal.print(_rates_table(variant))
    if row.other:
        terminal.print()
        terminal.print(f"Not charged here: {', '.join(f'{key} {value}' for key, value in row.other.items())}", style="dim")


_WORDS = {
    "input_per_million": "input",
    "output_per_million": "output",
    "cached_input_per_million": "read from a cache",
    "cache_write_per_million": "written to a cache",
    "cache_write_1h_per_million": "written for an hour",
    "reasoning_per_million": "reasoning",
    "input_audio_per_million": "audio in",
    "output_audio_per_million": "audio out",
    "per_request": "a request",
    "per_web_search": "a web search",
}


def _when(span: Any) -> str:
    words = [f"from {span.since}"] if span.since else []
    words += [f"daily {span.daily[0]} to {span.daily[1]} UTC"] if span.daily else []
    return " ".join(words) or "always"


def _rates_table(span: Any) -> Table:
    from rich.table import Table

    tiers: list[tuple[str, Rates]] = [("", span), *((f"above {tier.above:,} tokens in", tier) for tier in span.tiers)]
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=len(tiers) > 1, header_style="dim")
    table.add_column("")
    for title, _ in tiers:
        table.add_column(title, justify="right")
    table.add_column("")
    for field, words in _WORDS.items():
        rates = [getattr(rates, field) for _, rates in tiers]
        if any(rate is not None for rate in rates):
            unit = "a million tokens" if field.endswith("_per_million") else ""
            table.add_row(words, *(f"${rate:f}" if rate is not None else "" for rate in rates), unit)
    return table


# --- check -----------------------------------------------------------------------------------------------------------


@app.command()
def check(
    context: typer.Context,
    file: FileOption = DEFAULT_FILE,
    max_age: Annotated[str, typer.Option("--max-age", metavar="TIME", help="The age from which a price is stale.")] = "7d",
    strict: Annotated[bool, typer.Option("--strict", help="Let notes fail too.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Check the prices of the models that the config names: missing, stale, or free by mistake.

    Exits 1 where there is one of these; with --strict, where there are notes too (a guessed name, a bundled price).

    [bold]Examples[/bold]

      podium prices check

      podium prices check --max-age 2d --strict
    """
    from podium.engine.price_check import check_prices, targets_of
    from podium.engine.prices import load_prices

    with console.errors_as_json(json):
        longest_s = _period(max_age, "--max-age", least_s=60)
        opened = open_models(config_of(context, config))
        snapshot = opened.models.snapshot
        findings = check_prices(snapshot, load_prices(file), time.time(), longest_s)
    bad = any(finding.is_error or strict for finding in findings)
    models = len(targets_of(snapshot))
    if json:
        rows = [finding.to_dict() | {"severity": "error" if finding.is_error else "note"} for finding in findings]
        console.write_json({"ok": not bad, "models": models, "file": file, "findings": rows})
    else:
        terminal = console.console("out")
        for finding in findings:
            style = "red" if finding.is_error else "yellow"
            terminal.print(f"{finding.name}: {console.clean(finding.message)}", style=style, soft_wrap=True)
            terminal.print(f"  {finding.hint}", style="dim", soft_wrap=True)
        errors = sum(finding.is_error for finding in findings)
        told = (
            f"{console.plural(errors, 'error')}, {console.plural(len(findings) - errors, 'note')}"
            if findings
            else "all is well"
        )
        terminal.print(f"{console.plural(models, 'model')} of {opened.origin}: {told}.", soft_wrap=True)
        if not models:
            console.say(
                "The config names no model in tiers, experiments, aliases or providers, so nothing was looked up.", "dim"
            )
    if bad:
        raise typer.Exit(console.FAILED)
