"""How metrics look in a terminal: a line of where they are from, the totals, then targets, tiers and experiments.

Rules. Names come from callers and configs, so they are cleaned of control characters. What is not known is a dash.
A narrow terminal gets fewer columns, not narrower ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from podium.cli import console

if TYPE_CHECKING:
    from podium.observe.report import Report, Row, Window
    from podium.observe.sketch import Distribution
    from podium.routing.health import BreakerState

_UNKNOWN = "-"
_MOST_ERRORS = 8
_WIDE = 120


def render(report: Report, folder: Path, width: int) -> RenderableType:
    """Draw a report for a terminal of some width."""
    parts: list[RenderableType] = [_head(report, folder)]
    if not report.overall.total.attempts and not report.overall.total.requests:
        parts.append(
            Text("No process with this data folder has answered a request lately, or `metrics` sharing is off.", style="yellow")
        )
        return Group(*parts)
    parts.append(Text())
    spans = {"last 5 min": report.recent.total, "since start": report.overall.total}
    parts.append(_table("", _REQUESTS, spans, width))
    window, span = (report.recent, "last 5 min") if report.recent.total.attempts else (report.overall, "since start")
    parts += [Text(), _table(f"target, {span}", _ATTEMPTS, window.targets, width)]
    for title, rows in ((f"tier, {span}", window.tiers), (f"experiment, {span}", window.experiments)):
        if rows:
            parts += [Text(), _table(title, _REQUESTS, rows, width)]
    if notes := _notes(report, window, span):
        parts += [Text(), *notes]
    return Group(*parts)


def _head(report: Report, folder: Path) -> Text:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(report.overall.since_at))
    text = Text({0: "No process is running", 1: "1 process"}.get(report.processes, f"{report.processes} processes"))
    text.append(f"; {time.strftime('%H:%M:%S', time.localtime(report.at))}, since {since}, {folder}", style="dim")
    return text


class _Column(NamedTuple):
    title: str
    figure: Callable[[Row], str | Text]
    always: bool = False
    """Whether it is there in a narrow terminal too."""


_TOKENS = _Column("tokens", lambda row: f"{row.tokens.total:,}")
_COST = _Column("cost", lambda row: _cost(row.cost_usd), always=True)
_REQUESTS = (
    _Column("requests", lambda row: f"{row.requests:,}", always=True),
    _Column("ok", lambda row: _share(row.successes, row.requests), always=True),
    _Column("failed", lambda row: _alarming(row.failures), always=True),
    _Column("left", lambda row: f"{row.cancelled:,}"),
    _Column("p50", lambda row: _quantile(row.latency_s, "p50"), always=True),
    _Column("p95", lambda row: _quantile(row.latency_s, "p95"), always=True),
    _Column("p99", lambda row: _quantile(row.latency_s, "p99")),
    _Column("first p50", lambda row: _quantile(row.first_token_s, "p50")),
    _Column("retries", lambda row: f"{row.retries:,}"),
    _Column("fallbacks", lambda row: f"{row.fallbacks:,}"),
    _Column("hedges", lambda row: f"{row.hedges:,}"),
    _TOKENS,
    _COST,
)
_ATTEMPTS = (
    _Column("attempts", lambda row: f"{row.attempts:,}", always=True),
    _Column("answered", lambda row: f"{row.outcomes.get('won', 0) + row.outcomes.get('answered', 0):,}"),
    _Column("failed", lambda row: _alarming(row.outcomes.get("failed", 0)), always=True),
    _Column("lost", lambda row: f"{row.outcomes.get('lost', 0):,}"),
    _Column("p50", lambda row: _quantile(row.attempt_latency_s, "p50"), always=True),
    _Column("p95", lambda row: _quantile(row.attempt_latency_s, "p95"), always=True),
    _Column("p99", lambda row: _quantile(row.attempt_latency_s, "p99")),
    _Column("first p50", lambda row: _quantile(row.attempt_first_token_s, "p50")),
    _Column("first p95", lambda row: _quantile(row.attempt_first_token_s, "p95")),
    _Column("tokens/s", lambda row: _UNKNOWN if row.tokens_per_second is None else f"{row.tokens_per_second:,.0f}"),
    _TOKENS,
    _COST,
)


def _table(title: str, columns: Sequence[_Column], rows: Mapping[str, Row], width: int) -> Table:
    shown = [column for column in columns if column.always or width >= _WIDE]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(title, overflow="fold")
    for column in shown:
        table.add_column(column.title, justify="right", no_wrap=True)
    for name, row in rows.items():
        table.add_row(console.clean(name), *(column.figure(row) for column in shown))
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
    if down := {name: states for name, states in report.breakers.items() if states["open"] or states["probing"]}:
        told = ", ".join(f"{console.clean(name)} in {_processes(states)}" for name, states in down.items())
        notes.append(Text(f"Candidates that are down, and whose share takes legacy: {told}", style="yellow"))
    if report.overall.total.unpriced:
        notes.append(Text(f"{console.plural(report.overall.total.unpriced, 'attempt')} without a known cost", style="yellow"))
    if report.observer_failures:
        failed = ", ".join(f"{console.clean(name)} {count:,} times" for name, count in report.observer_failures.items())
        notes.append(Text(f"Observers that failed: {failed}", style="yellow"))
    return notes


def _processes(states: Mapping[BreakerState, int]) -> str:
    """In how many processes a breaker is not closed."""
    every = sum(states.values())
    return f"{states['open'] + states['probing']:,} of {every:,} process{'' if every == 1 else 'es'}"


def _quantile(distribution: Distribution | None, name: Literal["p50", "p95", "p99"]) -> str:
    return _UNKNOWN if distribution is None else console.seconds(getattr(distribution, name))


def _share(part: int, whole: int) -> str:
    """Of all, rounded down: only what never failed is 100 %."""
    return _UNKNOWN if whole == 0 else f"{part * 1000 // whole / 10:.1f} %"


def _alarming(count: int) -> Text:
    return Text(f"{count:,}", style="red" if count else "")


def _cost(amount_usd: Decimal | None) -> str:
    """For the eye: cents, or the first figures of what is less."""
    if amount_usd is None:
        return _UNKNOWN
    if 0 < amount_usd < Decimal("0.000001"):
        return "<$0.000001"
    return f"${amount_usd:,.2f}" if amount_usd >= 1 or amount_usd == 0 else f"${amount_usd:.6f}".rstrip("0")
