"""What an observer was told, and what it adds up to: the books, worked out the slow way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from podium.ledger import UsageRow
from podium.observe.record import AttemptRecord, Observation, RequestRecord
from podium.types import Usage

TOKENS = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "input_audio", "output_audio")


class Told:
    """An observer that keeps what it is told."""

    name = "told"

    def __init__(self) -> None:
        self.attempts: list[AttemptRecord] = []
        self.requests: list[RequestRecord] = []

    def observe(self, record: Observation) -> None:
        if isinstance(record, AttemptRecord):
            self.attempts.append(record)
        else:
            self.requests.append(record)


Figures = tuple[int, ...]
"""Requests, errors, attempts, failed, unpriced, then `TOKENS`, then pico-USD."""
Group = tuple[str | None, ...]


def written(text: str | None) -> str | None:
    """A name as it is kept: half a surrogate pair has no UTF-8, and SQLite's JSON ends a text at a NUL."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def kept_tags(tags: Iterable[str]) -> list[str | None]:
    named = [(written(tag) or "").replace("\x00", "\ufffd") or None for tag in tags]
    return list(dict.fromkeys(named)) or [None]


def names_of(record: Observation, at: float, zone: str) -> dict[str, str | None]:
    day = datetime.fromtimestamp(round(at * 1e6) / 1e6, ZoneInfo(zone)).date()
    facts = record.request
    return {
        "day": day.isoformat(), "month": f"{day:%Y-%m}", "user": facts.user_id, "team": written(facts.team),
        "provider": record.provider, "model": record.model, "tier": facts.tier, "experiment": facts.experiment,
        "rollout": facts.rollout, "arm": facts.arm,
        "target": None if record.provider is None else f"{record.provider}/{record.model}",
    }  # fmt: skip


def figures_of(record: Observation) -> Figures:
    if isinstance(record, RequestRecord):
        return (1, int(record.outcome not in ("ok", "cancelled"))) + (0,) * (4 + len(TOKENS))
    tokens = [0 if record.usage is None else getattr(record.usage, name) for name in TOKENS]
    return (0, 0, 1, int(record.outcome == "failed"), int(record.cost_pico is None), *tokens, record.cost_pico or 0)


def expected(
    told: Told, by: tuple[str, ...], zone: str = "UTC", where: Mapping[str, tuple[str | None, ...]] | None = None
) -> dict[Group, Figures]:
    """The figures of each group; `where` keeps what has one of the values of each name."""
    groups: dict[Group, Figures] = {}
    records: list[Observation] = [*told.attempts, *told.requests]
    for record in records:
        at = record.started_at if isinstance(record, AttemptRecord) else record.request.started_at
        names = names_of(record, at, zone)
        tags = kept_tags(record.request.tags)
        if not all(set(tags if name == "tag" else (names[name],)) & set(wanted) for name, wanted in (where or {}).items()):
            continue
        for group in dict.fromkeys(tuple(tag if name == "tag" else names[name] for name in by) for tag in tags):
            groups[group] = added(groups.get(group), figures_of(record))
    return groups


def added(sums: Figures | None, more: Figures) -> Figures:
    return more if sums is None else tuple(map(int.__add__, sums, more))


def found(rows: Iterable[UsageRow]) -> dict[Group, Figures]:
    return {tuple(row.group.values()): of_row(row) for row in rows}


def of_row(row: UsageRow) -> Figures:
    tokens = [getattr(row.tokens, name) for name in TOKENS]
    cost = row.cost_usd.scaleb(12)
    assert cost == int(cost)
    assert not row.unknown
    assert not row.unknown_usd
    return (row.requests, row.errors, row.attempts, row.failed, row.unpriced, *tokens, int(cost))


def cost_by(rates: dict[str, Any], usage: Usage) -> Decimal | None:
    """What a usage costs by the rates of the config, in USD a million tokens; None where it has what they do not say."""
    parents = {
        "cached_input": "input", "cache_write": "input", "cache_write_1h": "cache_write", "reasoning": "output",
        "input_audio": "input", "output_audio": "output",
    }  # fmt: skip
    counts = {
        "input": usage.input, "output": usage.output, "cached_input": usage.cache_read, "cache_write": usage.cache_write,
        "cache_write_1h": usage.cache_write_1h, "reasoning": usage.reasoning, "input_audio": usage.input_audio,
        "output_audio": usage.output_audio,
    }  # fmt: skip
    exact = {name: Decimal(str(rate)) for name, rate in rates.items()}
    for name, parent in parents.items():
        exact.setdefault(name, exact[parent])
    cost = sum((count * exact[name] for name, count in counts.items()), Decimal(0)) / 10**6 + exact.get(
        "per_request", Decimal(0)
    )
    searches = usage.extra.get("anthropic", {}).get("server_tool_use", {}).get("web_search_requests", 0)
    if not searches:
        return cost
    return cost + searches * exact["per_web_search"] if "per_web_search" in exact else None
