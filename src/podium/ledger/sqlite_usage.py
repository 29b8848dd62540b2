"""Usage out of the SQLite store: from sums where they answer the question exactly, from rows where they do not.

Theory. A table of sums answers a question when it has every name that is asked for, and its slots of time do not straddle what
is asked apart: the days of the time zone. The whole slots between `since` and `until` come from the sums, the ends
from the rows of those moments alone.

Rules. Both ways give the same figures, always; only the time differs. A question that no sums answer (users by
model, tags by team) reads rows, in the order of time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from podium.ledger.schema import (
    AMOUNTS,
    CLOSED_WITHIN_US,
    COUNTS,
    DAY_US,
    HOUR_US,
    LOW,
    OF_ATTEMPTS,
    OF_ENTRIES,
    QUARTER_US,
    ROLLUPS,
    SUMS,
    TAG,
    TAGGED,
    Rollup,
)
from podium.ledger.store import Grouping, Question, Sums

_COLUMNS = {
    "user": "user_id", "team": "team", "provider": "provider", "model": "model", "tier": "tier",
    "experiment": "experiment", "rollout": "rollout", "arm": "arm", "tag": "tag",
}  # fmt: skip
_TARGET = "CASE provider WHEN '' THEN model ELSE provider || '/' || model END"
_OF_SUMS = tuple(f"SUM({name})" for name in SUMS)

Groups = dict[tuple[str | None, ...], Sums]


class _Source(NamedTuple):
    """A table to read, and how."""

    table: str
    at: str
    """Its column of time, and how many microseconds one of its units is."""
    unit_us: int
    sums: tuple[str, ...]
    rows: bool
    """Whether it has rows, whose tags are an array, rather than sums."""


def answer(connection: sqlite3.Connection, question: Question) -> Groups:
    """Return the sums of each group of a question."""
    zone = ZoneInfo(question.zone)
    timed = "day" in question.by or "month" in question.by
    connection.execute("BEGIN")  # one state of the store for all parts of the answer
    try:
        span = _span(connection, question)
        groups: Groups = {}
        if span is None:
            return groups
        rollup = next((each for each in ROLLUPS if _answers(each, question)), None)
        step_us = _step(span, zone) if timed else DAY_US
        if rollup is None or (timed and step_us < rollup.grain_us):
            _read_rows(connection, question, span, step_us if timed else None, zone, groups)
            return groups
        grain = rollup.grain_us
        begin = -(-span[0] // grain) * grain if question.since_us is not None else span[0] // grain * grain
        end = span[1] // grain * grain if question.until_us is not None else -(-span[1] // grain) * grain
        if begin >= end:
            _read_rows(connection, question, span, step_us if timed else None, zone, groups)
            return groups
        source = _Source(rollup.table, "slot", grain, _OF_SUMS, rows=False)
        _read(connection, question, source, (begin, end), step_us if timed else None, zone, groups)
        for part in ((span[0], begin), (end, span[1])):
            if part[0] < part[1]:
                _read_rows(connection, question, part, step_us if timed else None, zone, groups)
        return groups
    finally:
        connection.execute("ROLLBACK")


def _span(connection: sqlite3.Connection, question: Question) -> tuple[int, int] | None:
    """The time that is asked for and has rows; None where there are none."""
    first, last = question.since_us, question.until_us
    if first is None or last is None:
        ends = connection.execute(
            "SELECT (SELECT MIN(started_us) FROM attempts_apart), (SELECT MIN(requested_us) FROM entries_apart), "
            f"(SELECT MIN(started_us) - {CLOSED_WITHIN_US} FROM closed), (SELECT MAX(started_us) FROM attempts_apart), "
            "(SELECT MAX(requested_us) FROM entries_apart), (SELECT MAX(started_us) FROM closed)"
        ).fetchone()
        known = [each for each in ends if each is not None]
        if not known:
            return None
        first = min(known) if first is None else first
        last = max(known) + 1 if last is None else last
    return (first, last) if first < last else None


def _answers(rollup: Rollup, question: Question) -> bool:
    names = {column for each in (*question.by, *question.where) for column in _columns_of(each)}
    if not names <= set(rollup.keys):
        return False
    # A row has several tags: summed over tags, it would count several times.
    return "tag" not in rollup.keys or "tag" in question.by or len(question.where.get("tag", ())) == 1


def _columns_of(grouping: Grouping) -> tuple[str, ...]:
    if grouping in ("day", "month"):
        return ()
    return ("provider", "model") if grouping == "target" else (_COLUMNS[grouping],)


def _step(span: tuple[int, int], zone: ZoneInfo) -> int:
    """The longest step of time that no midnight of the zone divides, within the span."""
    if zone.key in ("UTC", "Etc/UTC"):
        return DAY_US
    step = DAY_US
    for midnight_us in _midnights(span, zone):
        while midnight_us % step:
            step = HOUR_US if step == DAY_US else QUARTER_US
            if step == QUARTER_US:
                return step
    return step


def _midnights(span: tuple[int, int], zone: ZoneInfo) -> Iterator[int]:
    day = datetime.fromtimestamp(span[0] / 1e6, zone).date()
    last = datetime.fromtimestamp(span[1] / 1e6, zone).date()
    while day <= last + timedelta(days=1):
        midnight = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
        yield round(midnight.timestamp()) * 1_000_000
        day += timedelta(days=1)


def _read_rows(
    connection: sqlite3.Connection,
    question: Question,
    span: tuple[int, int],
    step_us: int | None,
    zone: ZoneInfo,
    groups: Groups,
) -> None:
    for table, at, sums in (("attempts", "started_us", OF_ATTEMPTS), ("entries", "requested_us", OF_ENTRIES)):
        for of in (f"{table}_apart", f"closed_{table}"):
            _read(connection, question, _Source(of, at, 1, sums, rows=True), span, step_us, zone, groups)


def _read(
    connection: sqlite3.Connection,
    question: Question,
    source: _Source,
    span: tuple[int, int],
    step_us: int | None,
    zone: ZoneInfo,
    groups: Groups,
) -> None:
    """Add to the groups what a table has of a span of time; `step_us` is None where nothing is asked by time."""
    by_tag = "tag" in question.by
    names = [_name(each, source) for each in question.by if each not in ("day", "month")]
    step = [] if step_us is None else [f"{source.at} / {step_us // source.unit_us}"]
    selected = [*step, *names]
    conditions = [f"{source.at} >= ?", f"{source.at} < ?"]
    values: list[object] = [span[0] // source.unit_us, span[1] // source.unit_us]
    if source.table == "closed_entries":  # found by the time of their attempts
        conditions += ["started_us >= ?", "started_us < ?"]
        values += [span[0], span[1] + CLOSED_WITHIN_US]
    for grouping, wanted in question.where.items():
        condition, more = _condition(grouping, wanted, source, joined=by_tag)
        conditions.append(condition)
        values += more
    joined = f" {TAGGED}" if by_tag and source.rows else ""
    query = f"SELECT {', '.join((*selected, *source.sums))} FROM {source.table}{joined} WHERE {' AND '.join(conditions)}"
    if selected:
        query += f" GROUP BY {', '.join(str(number + 1) for number in range(len(selected)))}"
    days: dict[int, tuple[str, str]] = {}
    for row in connection.execute(query, values):
        found = iter(row[len(step) : len(selected)])
        day, month = ("", "") if step_us is None else _day(row[0], step_us, zone, days)
        key = tuple(day if each == "day" else month if each == "month" else next(found) or None for each in question.by)
        _add(groups, key, row[len(selected) :])


def _name(grouping: Grouping, source: _Source) -> str:
    if grouping == "target":
        return _TARGET
    return TAG if grouping == "tag" and source.rows else _COLUMNS[grouping]


def _condition(
    grouping: Grouping, wanted: tuple[str | None, ...], source: _Source, *, joined: bool
) -> tuple[str, list[object]]:
    values: list[object] = [each or "" for each in wanted]
    marks = ", ".join("?" * len(values))
    if grouping == "tag" and source.rows and not joined:
        untagged = " OR tags = '[]'" if "" in values else ""
        return f"(EXISTS (SELECT 1 FROM json_each(tags) AS one WHERE one.value IN ({marks})){untagged})", values
    return f"{_name(grouping, source)} IN ({marks})", values


def _day(slot: int, step_us: int, zone: ZoneInfo, known: dict[int, tuple[str, str]]) -> tuple[str, str]:
    names = known.get(slot)
    if names is None:
        day = datetime.fromtimestamp(slot * step_us / 1e6, zone).date()
        names = known[slot] = (day.isoformat(), f"{day.year:04d}-{day.month:02d}")
    return names


def _add(groups: Groups, key: tuple[str | None, ...], row: tuple[int | None, ...]) -> None:
    if not any(row):  # an ungrouped sum of nothing
        return
    sums = groups.get(key)
    if sums is None:
        sums = groups[key] = Sums()
    for index in range(len(COUNTS)):
        sums.counts[index] += row[index] or 0
    cost_hi, cost_lo, unknown_hi, unknown_lo = (each or 0 for each in row[len(COUNTS) : len(COUNTS) + len(AMOUNTS)])
    sums.cost_pico += (cost_hi << LOW) + cost_lo
    sums.unknown_pico += (unknown_hi << LOW) + unknown_lo
