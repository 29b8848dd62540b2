"""`podium metrics`: what the running processes of a data folder have counted, live where it is watched.

Rules. It only reads: no process is asked, and none is slowed. What it shows is at most about a second old.
"""

from __future__ import annotations

import json as json_codec
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Never

import typer

from podium.cli import console
from podium.cli.options import ConfigOption, config_of
from podium.cli.source import open_models
from podium.errors import RequestError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from podium.observe.report import Report
    from podium.observe.share import Found

FOLDER = "metrics"
"""Of the data folder."""


def metrics(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option("--every", metavar="SECONDS", help="How often, with --watch.", min=0.2)] = 1.0,
    json: Annotated[bool, typer.Option("--json", help="Write JSON on stdout; with --watch, one line each time.")] = False,
    prometheus: Annotated[bool, typer.Option("--prometheus", help="Write the text that Prometheus scrapes.")] = False,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DIR", help="The data folder. Default: the config's.", show_default=False),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Show what the running processes count: requests, errors, tokens, cost, latency.

    All processes of the data folder, added up: the last five minutes, and since the start.
    Times of targets are of upstream calls, all others of whole requests.
    [bold]podium usage[/bold] has the history.

    [bold]Examples[/bold]

      podium metrics

      podium metrics --watch

      podium metrics --prometheus > /var/lib/node_exporter/podium.prom
    """
    with console.errors_as_json(json):
        if prometheus and (json or watch):
            raise RequestError("--prometheus goes with neither --json nor --watch.", hint="Take one of them.")
        folder = _folder(data, config_of(context, config))
        found = _read(folder)
    if prometheus:
        _write_prometheus(found)
    elif watch:
        _watch(folder, every, json)
    elif json:
        _write_json(found)
    else:
        from podium.cli import metrics_table

        terminal = console.console("out")
        terminal.print(metrics_table.render(_report(found), folder, terminal.width))
    if found.unreadable:
        console.say(f"Not read, as they are no metrics of this version: {', '.join(found.unreadable)}.", "yellow")


def _folder(data: str | None, config: str | None) -> Path:
    if data is not None and not Path(data).is_dir():
        raise RequestError(f"There is no data folder {data}.", hint="Name the folder that `data_dir` of the config names.")
    if data is not None:
        return Path(data) / FOLDER
    opened = open_models(config)
    data_dir = opened.models.snapshot.data_dir
    if data_dir is None:
        raise RequestError(
            f"There is no data folder in {opened.origin}, so processes do not share their metrics.",
            hint="Set `data_dir` or PODIUM_DATA, or name the folder with --data.",
        )
    return Path(data_dir) / FOLDER


def _read(folder: Path) -> Found:
    from podium.observe.share import read_folder

    try:
        return read_folder(folder)
    except OSError as error:
        raise RequestError(
            f"The metrics in {folder} cannot be read: {error.strerror}.", hint="Check the path and who may read it."
        ) from None


def _report(found: Found) -> Report:
    from podium.observe.state import make_report

    return make_report(found.states, processes=found.live)


def _write_prometheus(found: Found) -> None:
    from podium.observe.prometheus import prometheus_text
    from podium.observe.state import combine

    console.write_out(prometheus_text(combine(found.states, time.time())))


def _write_json(found: Found) -> None:
    console.write_json(_report(found).to_dict())


def _write_json_line(found: Found) -> None:
    console.write_out(json_codec.dumps(_report(found).to_dict(), ensure_ascii=False) + "\n")


def _watch(folder: Path, every_s: float, as_json: bool) -> None:
    from podium.cli import metrics_table

    if as_json:
        _again(every_s, lambda: _write_json_line(_read(folder)))
    terminal = console.console("out")

    def render() -> RenderableType:
        return metrics_table.render(_report(_read(folder)), folder, terminal.width)

    if not terminal.is_terminal:
        _again(every_s, lambda: terminal.print(render()))
    from rich.live import Live

    with Live(console=terminal, screen=True, auto_refresh=False) as live:
        _again(every_s, lambda: live.update(render(), refresh=True))


def _again(every_s: float, show: Callable[[], None]) -> Never:
    while True:
        show()
        time.sleep(every_s)
