"""`usage(...)`: what was asked, what it cost, and what went wrong, by day, user, model and so on.

Theory. A request is counted where it was answered (else where it was first sent), an attempt where it was sent; so the rows of
any grouping add up to the same total, tags apart: a request with two tags is in two rows.

Rules.
- `since` and `until` are instants, dates or their ISO texts; a date is its first moment in the time zone, `until` is exclusive
  but for a date, whose day it includes.
- `cost_usd` is exact. It has the reserved cost of `unknown` attempts in it; `unknown_usd` says how much that is. `unpriced`
  attempts cost an unknown amount, which is in no sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from difflib import get_close_matches
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from podium.errors import RequestError
from podium.ledger.facts import writable
from podium.ledger.records import usd
from podium.ledger.rows import kept_tag
from podium.ledger.store import GROUPINGS, Grouping, Question, Store, Sums
from podium.types import Usage, Value

Instant = datetime | date | str | float | int
"""A time: an aware or local `datetime`, a `date`, an ISO text of either, or seconds since the epoch."""
Wanted = str | None | Iterable[str | None]


class UsageRow(Value, frozen=True, kw_only=True):
    """The usage of one group."""

    group: dict[str, str | None] = {}
    """What it is of: `{"day": "2026-03-01", "model": "gpt-4o"}`; None: without such a name."""
    requests: int = 0
    errors: int = 0
    """Requests that ended with an error; a caller who left is none."""
    attempts: int = 0
    failed: int = 0
    """Attempts that met an error."""
    unknown: int = 0
    """Attempts whose process died before it could say how they ended."""
    unpriced: int = 0
    """Attempts whose cost is not known, and in no sum."""
    tokens: Usage = Usage()
    cost_usd: Decimal = Decimal(0)
    unknown_usd: Decimal = Decimal(0)
    """The part of `cost_usd` that was reserved by `unknown` attempts, and perhaps never charged."""


def usage(
    store: Store,
    by: Iterable[str] | str = ("day", "model"),
    *,
    since: Instant | None = None,
    until: Instant | None = None,
    where: Mapping[str, Wanted] | None = None,
    tz: str = "UTC",
) -> list[UsageRow]:
    """Return the usage by `by`, in the order of time, then of cost.

    `by` names any of day, month, user, team, provider, model, target, tier, experiment, rollout, arm, tag; none: one row of
    all. `where` keeps what has a value, or one of several (`{"user": "jane", "tag": ["a", "b"]}`). Days are those of `tz`, an
    IANA name. Raises `RequestError` for what cannot be asked, `StoreError` where the store does not answer.
    """
    question = ask(by, since=since, until=until, where=where, tz=tz)
    found = store.usage(question)
    timed = [place for place, name in enumerate(question.by) if name in ("day", "month")]
    ordered = sorted(
        found.items(),
        key=lambda each: (
            [each[0][place] or "" for place in timed],
            -each[1].cost_pico,
            -each[1].counts[0],
            [name or "" for name in each[0]],
        ),
    )
    return [_row(question.by, key, sums) for key, sums in ordered]


def total(rows: Iterable[UsageRow]) -> UsageRow:
    """Return the sum of rows, without a group. Rows by tag may count a request several times."""
    summed = UsageRow()
    for row in rows:
        tokens = {name: getattr(summed.tokens, name) + getattr(row.tokens, name) for name in _TOKENS}
        counts = {name: getattr(summed, name) + getattr(row, name) for name in _COUNTS}
        summed = summed.replace(
            **counts,
            tokens=msgspec.convert(tokens, Usage),
            cost_usd=_plus(summed.cost_usd, row.cost_usd),
            unknown_usd=_plus(summed.unknown_usd, row.unknown_usd),
        )
    return summed


_COUNTS = ("requests", "errors", "attempts", "failed", "unknown", "unpriced")
_TOKENS = Sums.COUNTS[len(_COUNTS) :]


_EXACT = Context(prec=60)


def _plus(a: Decimal, b: Decimal) -> Decimal:
    return _EXACT.add(a, b)


def _row(by: tuple[Grouping, ...], key: tuple[str | None, ...], sums: Sums) -> UsageRow:
    counts = dict(zip(Sums.COUNTS, sums.counts, strict=True))
    return UsageRow(
        group=dict(zip(by, key, strict=True)),
        **{name: counts[name] for name in _COUNTS},
        tokens=msgspec.convert({name: counts[name] for name in _TOKENS}, Usage),
        cost_usd=usd(sums.cost_pico),
        unknown_usd=usd(sums.unknown_pico),
    )


def ask(
    by: Iterable[str] | str,
    *,
    since: Instant | None,
    until: Instant | None,
    where: Mapping[str, Wanted] | None,
    tz: str,
) -> Question:
    """Read what a caller asks. Raises `RequestError` that says what can be asked."""
    names = tuple(each.strip() for each in by.split(",") if each.strip()) if isinstance(by, str) else tuple(by)
    grouping = tuple(dict.fromkeys(_grouping(name, "by") for name in names))
    zone = _zone(tz)
    wanted: dict[Grouping, tuple[str | None, ...]] = {}
    for name, values in (where or {}).items():
        known = _grouping(name, "where")
        if known in ("day", "month"):
            raise RequestError(f"`where` cannot have {name!r}.", param="where", hint="Use `since` and `until`.")
        several = writable((values,) if values is None or isinstance(values, str) else tuple(values))
        wanted[known] = tuple(value and kept_tag(value) if known == "tag" else value for value in several)
    return Question(
        by=grouping,
        since_us=None if since is None else microseconds_of(since, zone, "since"),
        until_us=None if until is None else microseconds_of(until, zone, "until"),
        where=wanted,
        zone=zone.key,
    )


def _grouping(name: str, param: str) -> Grouping:
    for known in GROUPINGS:
        if known == name:
            return known
    near = get_close_matches(name, GROUPINGS, 1, 0.7)
    meant = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(GROUPINGS)}."
    raise RequestError(f"Usage is not kept by {name!r}.", param=param, hint=meant)


def _zone(tz: str) -> ZoneInfo:
    try:
        return ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RequestError(
            f"{tz!r} is no time zone that is known here.", param="tz", hint='Use an IANA name, as "Europe/Berlin", or "UTC".'
        ) from None


def microseconds_of(instant: Instant, zone: ZoneInfo, param: str) -> int:
    """Return an instant in microseconds since the epoch. Raises `RequestError` for what is none."""
    try:
        made = _microseconds(_load_instant(instant, param) if isinstance(instant, str) else instant, zone, param)
    except (OverflowError, ValueError):  # beyond the years that are counted, infinite, or no number
        made = None
    if made is None or not -_FARTHEST_US < made < _FARTHEST_US:
        raise RequestError(
            f"`{param}` is {instant}, which is beyond all that is counted.", param=param, hint="Take a nearer one."
        )
    return made


_FARTHEST_US = 1 << 62


def _microseconds(instant: datetime | date | float, zone: ZoneInfo, param: str) -> int:
    if isinstance(instant, datetime):
        aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=zone)
        return round(aware.timestamp() * 1e6)
    if isinstance(instant, date):
        day = instant + timedelta(days=1) if param == "until" else instant
        return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1_000_000
    return round(instant * 1e6)


def _load_instant(text: str, param: str) -> datetime | date:
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError:
        raise RequestError(
            f"`{param}` is {text!r}, which is no time.", param=param, hint='Write it as "2026-03-01" or "2026-03-01T12:00:00Z".'
        ) from None
