"""Records as rows of the store, and rows as values again.

Theory. Rows are made a column at a time: in a batch most columns are the same in all rows (no experiment, no error, nothing
cached), so their value is made once, and only what varies is made row by row.

Rules. What a column cannot hold is bounded here, so that no record of a provider's making can stop the drainer: a count of
tokens beyond 2**40 is 2**40, a negative one 0, an amount beyond int64 is unknown, an instant is within the next two centuries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

import msgspec

from podium.ledger.facts import Caller, Ending, Labels, Route, load_caller, load_ending, load_labels, load_route
from podium.ledger.more import RARE_TOKENS, Reported, load_more
from podium.ledger.records import MOST_PICO, Ended, Settled
from podium.ledger.schema import COLUMNS, MOST_TOKENS
from podium.ledger.store import Priced
from podium.types import Usage

_TOKENS = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "input_audio", "output_audio")
_NO_TAGS = "[]"

EARLIEST_S, LATEST_S = -1e9, 9e9
"""No instant is before or after these."""

_dump_json = msgspec.json.Encoder().encode


def microseconds(seconds: float) -> int:
    """Return an instant or a duration in whole microseconds, within what a store can order."""
    if EARLIEST_S < seconds < LATEST_S:
        return round(seconds * 1e6)
    return 0 if seconds != seconds else round(min(max(seconds, EARLIEST_S), LATEST_S) * 1e6)


def kept_tag(tag: str) -> str:
    """Return a tag as every store keeps it: for SQLite's JSON functions a text ends at a NUL, which becomes U+FFFD."""
    return tag.replace("\x00", "\ufffd")


@lru_cache(maxsize=1024)
def kept_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Return tags as every store keeps them, each once."""
    return tuple(dict.fromkeys(map(kept_tag, tags)))


@lru_cache(maxsize=1024)
def tags_text(tags: tuple[str, ...]) -> str:
    """Return tags as a JSON array, each once."""
    return _dump_json(kept_tags(tags)).decode() if tags else _NO_TAGS


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
    """Return attempts as rows of `attempts_apart`."""
    fields = _fields(Settled, attempts)
    fields |= _fields(Route, [load_route(each.route) for each in attempts])
    fields |= _fields(Caller, [load_caller(each.caller) for each in attempts])
    fields |= _fields(Labels, [load_labels(each.labels) for each in attempts])
    fields |= _fields(Ending, [load_ending(each.ending) for each in attempts])
    more = [load_more(each.more) for each in attempts]
    fields |= {name: [each.tokens.get(name, 0) for each in more] for name in RARE_TOKENS}
    fields["losses"] = [each.losses for each in more]
    fields["usage_more"] = [each.usage for each in more]
    return _columns(_OF_ATTEMPTS, fields, len(attempts))


def columns_of_entries(entries: Sequence[Ended]) -> Columns:
    """Return entries as rows of `entries_apart`."""
    return _columns(_OF_ENTRIES, _fields(Ended, entries), len(entries))


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


def tokens_of(settled: Settled) -> tuple[int, ...]:
    """Return the counts of an attempt in the order of their columns, within their bounds."""
    rare = load_more(settled.more).tokens
    counts = (
        settled.input, settled.output, settled.cache_read, settled.cache_write, rare.get("cache_write_1h", 0),
        settled.reasoning, rare.get("input_audio", 0), rare.get("output_audio", 0),
    )  # fmt: skip
    if max(counts) > MOST_TOKENS or min(counts) < 0:
        return tuple(map(bounded, counts))
    return counts


def bounded(count: int) -> int:
    """Return a count of tokens within its bounds."""
    return min(max(count, 0), MOST_TOKENS)


def _usage_more(reported: Reported | None) -> str:
    return "" if reported is None else _dump_json(reported).decode()


def context_text(context: tuple[tuple[str, str], ...]) -> str:
    """Return what chose among a price's variants as a JSON object; empty where nothing did."""
    return _dump_json(dict(context)).decode() if context else ""


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
    **{name: (name, bounded) for name in _TOKENS},
    "started_us": ("started_at", microseconds),
    "requested_us": ("requested_at", microseconds),
    "duration_us": ("duration_s", microseconds),
    "first_content_us": ("first_content_s", _perhaps_microseconds),
    "tags": ("tags", tags_text),
    "usage_more": ("usage_more", _usage_more),
    "context": ("context", context_text),
    "cost_pico": ("cost_pico", amount_of),
    "reserved_pico": ("reserved_pico", amount_of),
}
"""What a column is made of, and how, where it is not a name that may be absent."""
_OF_ATTEMPTS = {name: _MADE.get(name, (name, _name)) for name in COLUMNS["attempts"]}
_OF_ENTRIES = {name: _MADE.get(name, (name, _name)) for name in COLUMNS["entries"]}


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
