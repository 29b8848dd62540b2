"""How metrics look in a terminal: a line of where they are from, the totals, then targets, tiers and experiments.

Rules. Names come from callers and configs, so they are cleaned of control characters. What is not known is a dash.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from podium.cli import console

if TYPE_CHECKING:
    from podium.observe.report import Report, Row, Window
    from podium.observe.sketch import Distribution

_UNKNOWN = "-"
_MOST_ERRORS = 8
_TIMES = ("p50", "p95", "p99", "first p50")


def render(report: Report, folder: Path) -> RenderableType:
    """Draw a report."""
    parts: list[RenderableType] = [_head(report, folder)]
    if not report.overall.total.attempts and not report.overall.total.requests:
        parts.append(
            Text("No process with this data folder has answered a request lately, or `metrics` sharing is off.", style="yellow")
        )
        return Group(*parts)
    parts.append(Text())
    spans = {"last 5 min": report.recent.total, "since start": report.overall.total}
    parts.append(_requests("", spans))
    window, span = (report.recent, "last 5 min") if report.recent.total.attempts else (report.overall, "since start")
    parts += [Text(), _attempts(f"target, {span}", window.targets)]
    for title, rows in ((f"tier, {span}", window.tiers), (f"experiment, {span}", window.experiments)):
        if rows:
            parts += [Text(), _requests(title, rows)]
    if notes := _notes(report, window, span):
        parts += [Text(), *notes]
    return Group(*parts)


def _head(report: Report, folder: Path) -> Text:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(report.overall.since_at))
    text = Text({0: "No process is running", 1: "1 process"}.get(report.processes, f"{report.processes} processes"))
    text.append(f"; {time.strftime('%H:%M:%S', time.localtime(report.at))}, since {since}, {folder}", style="dim")
    return text


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(title, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _requests(title: str, rows: Mapping[str, Row]) -> Table:
    counts = ("requests", "ok", "failed", "left")
    table = _table(title, (*counts, *_TIMES, "retries", "fallbacks", "hedges", "tokens", "cost"))
    for name, row in rows.items():
        p50, p95, p99 = _quantiles(row.latency_s)
        table.add_row(
            console.clean(name),
            f"{row.requests:,}",
            _share(row.successes, row.requests),
            _alarming(row.failures),
            f"{row.cancelled:,}",
            p50,
            p95,
            p99,
            _quantiles(row.first_token_s)[0],
            f"{row.retries:,}",
            f"{row.fallbacks:,}",
            f"{row.hedges:,}",
            f"{row.tokens.total:,}",
            _cost(row.cost_usd),
        )
    return table


def _attempts(title: str, rows: Mapping[str, Row]) -> Table:
    table = _table(title, ("attempts", "answered", "failed", "lost", *_TIMES, "first p95", "tokens/s", "tokens", "cost"))
    for name, row in rows.items():
        p50, p95, p99 = _quantiles(row.attempt_latency_s)
        first_p50, first_p95, _ = _quantiles(row.attempt_first_token_s)
        table.add_row(
            console.clean(name),
            f"{row.attempts:,}",
            f"{row.outcomes.get('won', 0) + row.outcomes.get('answered', 0):,}",
            _alarming(row.outcomes.get("failed", 0)),
            f"{row.outcomes.get('lost', 0):,}",
            p50,
            p95,
            p99,
            first_p50,
            first_p95,
            _UNKNOWN if row.tokens_per_second is None else f"{row.tokens_per_second:,.0f}",
            f"{row.tokens.total:,}",
            _cost(row.cost_usd),
        )
    return table


def _notes(report: Report, window: Window, span: str) -> list[RenderableType]:
    notes: list[RenderableType] = []
    for title, errors in (
        ("Failed requests", window.total.errors),
        ("Failed attempts", window.total.attempt_errors),
    ):
        if errors:
            most = sorted(errors.items(), key=lambda item: -item[1])[:_MOST_ERRORS]
            notes.append(Text(f"{title}, {span}: " + ", ".join(f"{count:,} {console.clean(code)}" for code, count in most)))
    if report.throttled:
        left = ", ".join(f"{console.clean(target)} for {console.seconds(s)}" for target, s in report.throttled.items())
        notes.append(Text(f"Left alone, as they asked for it: {left}", style="yellow"))
    if report.overall.total.unpriced:
        notes.append(Text(f"{console.plural(report.overall.total.unpriced, 'attempt')} without a known cost", style="yellow"))
    if report.observer_failures:
        failed = ", ".join(f"{console.clean(name)} {count:,} times" for name, count in report.observer_failures.items())
        notes.append(Text(f"Observers that failed: {failed}", style="yellow"))
    return notes


def _quantiles(distribution: Distribution | None) -> tuple[str, str, str]:
    if distribution is None:
        return _UNKNOWN, _UNKNOWN, _UNKNOWN
    return console.seconds(distribution.p50), console.seconds(distribution.p95), console.seconds(distribution.p99)


def _share(part: int, whole: int) -> str:
    """Of all, rounded down: only what never failed is 100 %."""
    return _UNKNOWN if whole == 0 else f"{part * 1000 // whole / 10:.1f} %"


def _alarming(count: int) -> Text:
    return Text(f"{count:,}", style="red" if count else "")


def _cost(amount_usd: Decimal | None) -> str:
    """For the eye: cents, or the first figures of what is less."""
    if amount_usd is None:
        return _UNKNOWN
    return f"${amount_usd:,.2f}" if amount_usd >= 1 or amount_usd == 0 else f"${amount_usd:.6f}".rstrip("0")
