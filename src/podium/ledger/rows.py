"""Records as rows of the store, and rows as values again.

Theory. Rows are made a column at a time: in a batch most columns are the same in all rows (no experiment, no error, nothing
cached), so their value is made once, and only what varies is made row by row.

Rules. What a column cannot hold is bounded here, so that no record of a provider's making can stop the drainer: a count of
tokens beyond 2**40 is 2**40, a negative one 0, an amount beyond int64 is unknown, an instant is within the next two centuries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import repeat
from typing import Any

import msgspec

from podium.ledger.records import MOST_PICO, Closed, Ended, Settled, Started
from podium.ledger.schema import COLUMNS
from podium.ledger.store import Priced
from podium.types import Usage

_MOST_TOKENS = 2**40
_LONGEST_US = 2**53
_TOKENS = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "input_audio", "output_audio")
_NO_TOKENS = (0,) * len(_TOKENS)
_NO_USAGE = Usage()
_NO_TAGS = "[]"

_dump_json = msgspec.json.Encoder().encode


def microseconds(seconds: float) -> int:
    """Return an instant or a duration in whole microseconds, within what a store can order."""
    if -1e9 < seconds < 9e9:
        return round(seconds * 1e6)
    return 0 if seconds != seconds else round(min(max(seconds, -1e9), 9e9) * 1e6)


@lru_cache(maxsize=1024)
def tags_text(tags: tuple[str, ...]) -> str:
    """Return tags as a JSON array, each once."""
    if not tags:
        return _NO_TAGS
    return _dump_json(list(dict.fromkeys(tags)) if len(tags) > 1 else tags).decode()


class Columns:
    """A batch of rows of one table, column by column."""

    __slots__ = ("count", "own", "same")

    def __init__(self, count: int) -> None:
        self.count = count
        self.same: dict[str, Any] = {}
        """The values of columns that are the same in all rows."""
        self.own: dict[str, Sequence[Any]] = {}
        """The values of all others, row by row."""

    def __len__(self) -> int:
        return self.count

    def each(self, name: str) -> Iterable[Any]:
        """A column's value in each row."""
        return self.own[name] if name in self.own else repeat(self.same[name], self.count)

    def only(self, places: Sequence[int]) -> Columns:
        """Some of the rows."""
        some = Columns(len(places))
        some.same = dict(self.same)
        some.own = {name: [column[place] for place in places] for name, column in self.own.items()}
        return some


def columns_of_attempts(attempts: Sequence[Settled]) -> Columns:
    """Return attempts as rows of `attempts`."""
    fields = _fields(Started, [each.started for each in attempts])
    fields |= _fields(Settled, attempts)
    usages = [each.usage for each in attempts]
    fields |= _fields(Usage, [_NO_USAGE if usage is None else usage for usage in usages])
    fields["metered"] = [usage is not None for usage in usages]
    fields["usage_more"] = list(zip(fields["reported_cost_usd"], fields["extra"], strict=True))
    return _columns(_OF_ATTEMPTS, fields, len(attempts))


def columns_of_entries(entries: Sequence[Ended]) -> Columns:
    """Return entries as rows of `entries`."""
    return _columns(_OF_ENTRIES, _fields(Ended, entries), len(entries))


def columns_of_closed(closed: Sequence[Closed]) -> tuple[Columns, Columns]:
    """Return requests that ended with an attempt as rows of `attempts` and of `entries`, which have most columns in common."""
    attempts = columns_of_attempts([each.settled for each in closed])
    fields = _fields(Closed, closed)
    answered = zip(attempts.each("attempt"), fields["answered"], strict=True)
    fields["winner"] = [attempt if has_answered else None for attempt, has_answered in answered]
    entries = _columns(_OF_CLOSED, fields, len(closed))
    for name in _IN_COMMON:
        if name in attempts.same:
            entries.same[name] = attempts.same[name]
        else:
            entries.own[name] = attempts.own[name]
    return attempts, entries


def _fields(kind: type[msgspec.Struct], records: Iterable[msgspec.Struct]) -> dict[str, Sequence[Any]]:
    """The values of each field."""
    values = list(zip(*map(msgspec.structs.astuple, records), strict=True))
    return dict(zip(kind.__struct_fields__, values or repeat(()), strict=False))


def _columns(table: Mapping[str, tuple[str, Callable[[Any], Any]]], fields: dict[str, Sequence[Any]], count: int) -> Columns:
    """Columns of a table from fields of records; what is the same everywhere is made once."""
    columns = Columns(count)
    for name, (field, make) in table.items():
        values = fields[field]
        if not values:
            columns.own[name] = ()
            continue
        first = values[0]
        # The ends of a column tell most that vary. NULL and '' are different; 0, 0.0 and False are stored alike.
        if first == values[-1] and values.count(first) == count:
            columns.same[name] = make(first)
        else:
            columns.own[name] = [make(value) for value in values]
    return columns


def tokens_of(usage: Usage | None) -> tuple[int, ...]:
    """Return the counts of a usage in the order of their columns, within their bounds."""
    if usage is None:
        return _NO_TOKENS
    counts = (
        usage.input, usage.output, usage.cache_read, usage.cache_write,
        usage.cache_write_1h, usage.reasoning, usage.input_audio, usage.output_audio,
    )  # fmt: skip
    if max(counts) > _MOST_TOKENS or min(counts) < 0:
        return tuple(map(_token_count, counts))
    return counts


def _token_count(count: int) -> int:
    return min(max(count, 0), _MOST_TOKENS)


def _usage_more(more: tuple[Decimal | None, dict[str, Any]]) -> str:
    reported_cost_usd, extra = more
    if reported_cost_usd is None and not extra:
        return ""
    return _dump_json({"reported_cost_usd": reported_cost_usd, "extra": extra}).decode()


def _context(context: Mapping[str, str] | None) -> str:
    return _dump_json(context).decode() if context else ""


def amount_of(pico: int | None) -> int | None:
    """Return an amount of money; None where no store can hold it."""
    return None if pico is None or abs(pico) > MOST_PICO else pico


def _as_it_is(value: Any) -> Any:
    return value


def _name(value: str | None) -> str:
    return value or ""


def _perhaps_microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else microseconds(seconds)


_MADE: dict[str, tuple[str, Callable[[Any], Any]]] = {
    **{name: (name, _as_it_is) for name in ("request_id", "outcome", "attempt", "attempts", "winner", "losses")},
    **{name: (name, _as_it_is) for name in ("streamed", "metered", "estimated")},
    **{name: (name, _token_count) for name in _TOKENS},
    "started_us": ("started_at", microseconds),
    "requested_us": ("requested_at", microseconds),
    "duration_us": ("duration_s", microseconds),
    "first_content_us": ("first_content_s", _perhaps_microseconds),
    "tags": ("tags", tags_text),
    "usage_more": ("usage_more", _usage_more),
    "context": ("context", _context),
    "cost_pico": ("cost_pico", amount_of),
    "reserved_pico": ("reserved_pico", amount_of),
}
"""What a column is made of, and how, where it is not a name that may be absent."""
_OF_ATTEMPTS = {name: _MADE.get(name, (name, _name)) for name in COLUMNS["attempts"]}
_OF_ENTRIES = {name: _MADE.get(name, (name, _name)) for name in COLUMNS["entries"]}
_OF_CLOSED = {name: made for name, made in _OF_ENTRIES.items() if made[0] in (*Closed.__struct_fields__, "winner")}
_IN_COMMON = tuple(_OF_ENTRIES.keys() - _OF_CLOSED.keys())


PRICED_COLUMNS = (
    "started_us", "request_id", "attempt", "requested_us", "provider", "model", "upstream_model",
    *_TOKENS, "usage_more", "cost_pico", "price_version", "price_source", "context",
)  # fmt: skip


def load_priced(row: tuple[Any, ...]) -> Priced:
    """Return a row of `PRICED_COLUMNS` as a value."""
    started_us, request_id, attempt, requested_us, provider, model, upstream_model = row[:7]
    more, cost_pico, version, source, context = row[15:]
    usage = msgspec.convert(
        {**(msgspec.json.decode(more) if more else {}), **dict(zip(_TOKENS, row[7:15], strict=True))}, Usage
    )
    return Priced(
        request_id=request_id,
        attempt=attempt,
        requested_at=requested_us / 1e6,
        started_at=started_us / 1e6,
        provider=provider,
        model=model,
        upstream_model=upstream_model or None,
        usage=usage,
        cost_pico=cost_pico,
        price_version=version or None,
        price_source=source or None,
        context=msgspec.json.decode(context) if context else None,
    )
