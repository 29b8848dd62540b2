"""`podium prices`: fetch what models cost, show a price and where it is from, check those of the config.

Rules. What a command finds goes to stdout, what went wrong on the way to stderr. `fetch --every` ends with 0 when it is told to
stop, for that is how it ends.
"""

from __future__ import annotations

import re
import time
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli import console
from podium.cli.options import ConfigOption, Group, JsonOption, QuietOption, config_of
from podium.cli.price_words import price_document, print_price, tell
from podium.cli.source import Opened, open_models
from podium.errors import PodiumError, RequestError

if TYPE_CHECKING:
    from podium.catalog.pricing import PriceBook
    from podium.engine.prices.fetch import Fetched
    from podium.engine.prices.sources import Source

FILE_NAME = "pricing-cache.json"

app = typer.Typer(
    cls=Group,
    name="prices",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    help="""Fetch what models cost, show a price and where it is from, check the prices of the config's models.

[bold]Examples[/bold]

  podium prices fetch

  podium prices show openai/gpt-4o

  podium prices check""",
)

FileOption = Annotated[
    str | None,
    typer.Option(
        "--file",
        "-f",
        metavar="PATH",
        help="The file of fetched prices. Default: the config's `pricing_cache`, else pricing-cache.json beside it.",
        show_default=False,
    ),
]


def _file(given: str | None, opened: Opened) -> str:
    """The file of fetched prices: the one that is named, the config's, or the usual one; written as one would from here."""
    if given:
        return given
    path, here = Path(opened.models.snapshot.pricing_cache or FILE_NAME), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


@app.command()
def fetch(
    context: typer.Context,
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
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="The file to write. Default: the config's `pricing_cache`, else pricing-cache.json beside it.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option("--every", metavar="TIME", help="Fetch again and again, as every 24h, until stopped.", show_default=False),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Fetch prices and write them to a file: what changed is said, and a source that fails keeps what it gave last.

    Exits 1 only where nothing could be used; the file then stays as it was. Made for cron.

    [bold]Examples[/bold]

      podium prices fetch

      podium prices fetch --source our-prices.json --out /var/lib/podium/pricing-cache.json

      podium prices fetch --every 24h
    """
    import asyncio

    from podium.engine.prices.sources import find_sources

    if only and not source:
        raise RequestError("--only leaves no source to ask.", hint="Name what to ask with --source.")
    sources = find_sources(tuple(source or ()), only=only)
    with console.errors_as_json(json):
        every_s = None if every is None else _period(every, "--every", least_s=60)
        path = out or _file(None, open_models(config_of(context, config)))
        if every_s is None:
            tell(asyncio.run(_fetch(sources, path)), json, quiet)
            return
    asyncio.run(_keep_fetching(sources, path, every_s, json, quiet))


async def _fetch(sources: tuple[Source, ...], out: str) -> Fetched:
    from podium.engine.prices.fetch import fetch_prices

    return await fetch_prices(sources, Path(out), time.time())


async def _keep_fetching(sources: tuple[Source, ...], out: str, every_s: float, json: bool, quiet: bool) -> None:
    """Fetch now and every so often, until a signal says to stop; a fetch that fails is told and tried again in time."""
    import asyncio
    import signal

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
                tell(fetching.result(), json, quiet, one_line=True)
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
        least = f" (from {least_s / 60:g}m on)" if match and least_s else ""
        raise RequestError(f"{option} is {written!r}, which is no time of use.", hint=f"Write it as 30m, 24h or 7d{least}.")
    return seconds


# --- show ------------------------------------------------------------------------------------------------------------


@app.command()
def show(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="provider/model, as openai/gpt-4o.")],
    file: FileOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what a model costs: every rate, where it is from, when that was asked, and how the name was found.

    Exits 1 where no price is known.

    [bold]Examples[/bold]

      podium prices show openai/gpt-4o

      podium prices show anthropic/claude-sonnet-4-5 --json
    """
    from podium.engine.prices.book import find_target, load_prices

    with console.errors_as_json(json):
        opened = open_models(config_of(context, config))
        book = load_prices(_file(file, opened), opened.models.snapshot.prices)
        name, slash, rest = model.partition("/")
        provider = opened.models.snapshot.providers.get(name)
        found = find_target(book, provider, rest) if provider is not None and slash else book.get(model)
        for problem in book.problems:
            console.say(problem, "yellow")
        if found is None:
            raise PodiumError(f"No price is known for {model}.", code="unpriced", hint=_near(book, model))
    if json:
        console.write_json(price_document(model, found))
    else:
        print_price(model, found)


def _near(book: PriceBook, model: str) -> str:
    names = book.names()
    ends = {name.partition("/")[2]: name for name in reversed(names)}
    near = get_close_matches(model, names, 3, 0.75) or [ends[end] for end in get_close_matches(model, list(ends), 3, 0.75)]
    meant = f"Did you mean {', '.join(near)}? " if near else ""
    return f"{meant}Fetch prices with `podium prices fetch`, or say one in the config."


# --- check -----------------------------------------------------------------------------------------------------------


@app.command()
def check(
    context: typer.Context,
    file: FileOption = None,
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
    from podium.engine.prices.book import load_prices
    from podium.engine.prices.check import check_prices, targets_of

    with console.errors_as_json(json):
        longest_s = _period(max_age, "--max-age", least_s=60)
        opened = open_models(config_of(context, config))
        snapshot = opened.models.snapshot
        path = _file(file, opened)
        findings = check_prices(snapshot, load_prices(path, snapshot.prices), time.time(), longest_s)
    bad = any(finding.is_error or strict for finding in findings)
    models = len(targets_of(snapshot))
    if json:
        rows = [finding.to_dict() | {"severity": "error" if finding.is_error else "note"} for finding in findings]
        console.write_json({"ok": not bad, "models": models, "file": path, "findings": rows})
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
