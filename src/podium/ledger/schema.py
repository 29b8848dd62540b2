"""The tables of the SQLite store, and the statements that fill them.

Theory. Nearly every request is one row of `closed`, an attempt and an entry at once, that refers to what many requests have in
common: `routes`, `callers`, `labels`, `endings`. Attempts that did not end with their request, and such requests, have rows of
their own in `attempts_apart` and `entries_apart`. All of them are clustered by time: new rows go to the end of the tree,
whatever ids look like, and an id finds its row there, since a record has the same instant each time it is read. The views
`attempts` and `entries` show every attempt and every request alike. Three tables of sums answer the usual questions without
reading rows; they are changed in the transaction that changes the rows, so they are always exactly the sums of the rows.

Rules.
- Sums are added up before they come here, one row for each key of a batch; `added` does the same for rows that are in a table.
- Absent names are '' (NULLs are never equal, and sums need keys); an unknown amount is NULL.
- An amount of money is one int64 a row. Sums are kept in two columns, `hi * 2**32 + lo`, and are exact up to 2**95 pico-USD.
- A change of a table is a new migration at the end; those before it never change.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

from podium.ledger.cells import FINE_OUTCOMES
from podium.ledger.store import CLOSED_WITHIN_S

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
QUARTER_US = 900_000_000
"""All offsets of time zones since 1972 are multiples of a quarter of an hour."""

MOST_TOKENS = 2**40
"""No count of tokens is larger."""
LOW = 32
LOW_MASK = (1 << LOW) - 1

ATTEMPTS = """
started_us INTEGER NOT NULL, request_id TEXT NOT NULL, attempt INTEGER NOT NULL, requested_us INTEGER NOT NULL,
role TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, upstream_model TEXT NOT NULL, dialect TEXT NOT NULL,
spec TEXT NOT NULL, tier TEXT NOT NULL, experiment TEXT NOT NULL, rollout TEXT NOT NULL, arm TEXT NOT NULL,
user_id TEXT NOT NULL, team TEXT NOT NULL, conversation TEXT NOT NULL, tags TEXT NOT NULL, streamed INTEGER NOT NULL,
outcome TEXT NOT NULL, error_code TEXT NOT NULL, duration_us INTEGER NOT NULL, first_content_us INTEGER,
metered INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL, cache_read INTEGER NOT NULL,
cache_write INTEGER NOT NULL, cache_write_1h INTEGER NOT NULL, reasoning INTEGER NOT NULL, input_audio INTEGER NOT NULL,
output_audio INTEGER NOT NULL, usage_more TEXT NOT NULL, estimated INTEGER NOT NULL, cost_pico INTEGER,
reserved_pico INTEGER, price_version TEXT NOT NULL, price_source TEXT NOT NULL, finish_reason TEXT NOT NULL,
upstream_id TEXT NOT NULL, losses INTEGER NOT NULL
"""
ATTEMPTS_LATER = "context TEXT NOT NULL DEFAULT ''"
"""Added by a later migration: what chose among the price's variants, as JSON."""
ATTEMPTS_KEY = "started_us, request_id, attempt"

ENTRIES = """
requested_us INTEGER NOT NULL, request_id TEXT NOT NULL, spec TEXT NOT NULL, rule TEXT NOT NULL, strategy TEXT NOT NULL,
tier TEXT NOT NULL, experiment TEXT NOT NULL, user_id TEXT NOT NULL, team TEXT NOT NULL, conversation TEXT NOT NULL,
tags TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, rollout TEXT NOT NULL, arm TEXT NOT NULL,
outcome TEXT NOT NULL, duration_us INTEGER NOT NULL, winner INTEGER, attempts INTEGER NOT NULL
"""
ENTRIES_KEY = "requested_us, request_id"


ROUTES = """
provider TEXT NOT NULL, model TEXT NOT NULL, role TEXT NOT NULL, upstream_model TEXT NOT NULL, dialect TEXT NOT NULL,
spec TEXT NOT NULL, rule TEXT NOT NULL, strategy TEXT NOT NULL, tier TEXT NOT NULL, experiment TEXT NOT NULL,
rollout TEXT NOT NULL, arm TEXT NOT NULL, streamed INTEGER NOT NULL
"""
CALLERS = "user_id TEXT NOT NULL, team TEXT NOT NULL"
LABELS = "tags TEXT NOT NULL"
ENDINGS = """
outcome TEXT NOT NULL, error_code TEXT NOT NULL, finish_reason TEXT NOT NULL, price_version TEXT NOT NULL,
price_source TEXT NOT NULL, context TEXT NOT NULL, metered INTEGER NOT NULL, estimated INTEGER NOT NULL,
request_outcome TEXT NOT NULL, answered INTEGER NOT NULL, attempts INTEGER NOT NULL
"""
CLOSED = """
started_us INTEGER NOT NULL, request_id TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 1, requested_us INTEGER NOT NULL,
route INTEGER NOT NULL, caller INTEGER NOT NULL, labels INTEGER NOT NULL, ending INTEGER NOT NULL,
duration_s REAL NOT NULL, request_duration_s REAL NOT NULL, first_content_s REAL, input INTEGER NOT NULL,
output INTEGER NOT NULL, cache_read INTEGER NOT NULL DEFAULT 0, cache_write INTEGER NOT NULL DEFAULT 0,
reasoning INTEGER NOT NULL DEFAULT 0, cost_pico INTEGER, reserved_pico INTEGER, upstream_id TEXT, conversation TEXT, more TEXT
"""
"""`more` is a `podium.ledger.more.More` as JSON."""
CLOSED_WITHIN_US = CLOSED_WITHIN_S * 1_000_000
"""An attempt in `closed` began at most so long after its request came: so its time finds both."""


def columns_of(declaration: str) -> tuple[str, ...]:
    """Return the names of the columns that a table declares."""
    return tuple(column.split()[0] for column in declaration.replace("\n", " ").split(","))


_SHARED = (("routes", ROUTES), ("callers", CALLERS), ("labels", LABELS), ("endings", ENDINGS))

COLUMNS = {
    "attempts": columns_of(f"{ATTEMPTS}, {ATTEMPTS_LATER}"),
    "entries": columns_of(ENTRIES),
    **{table: columns_of(declaration) for table, declaration in (*_SHARED, ("closed", CLOSED))},
}
"""The names of all columns of a table or view, those of later migrations among them."""


COUNTS = (
    "requests", "errors", "attempts", "failed", "unknown", "unpriced",
    "input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "input_audio", "output_audio",
)  # fmt: skip
AMOUNTS = ("cost_hi", "cost_lo", "unknown_hi", "unknown_lo")
SUMS = COUNTS + AMOUNTS

OF_ATTEMPTS = (
    "0", "0", "COUNT(*)", "SUM(outcome = 'failed')", "SUM(outcome = 'unknown')", "SUM(cost_pico IS NULL)",
    "SUM(input)", "SUM(output)", "SUM(cache_read)", "SUM(cache_write)", "SUM(cache_write_1h)", "SUM(reasoning)",
    "SUM(input_audio)", "SUM(output_audio)",
    f"COALESCE(SUM(cost_pico >> {LOW}), 0)",
    f"COALESCE(SUM(cost_pico & {LOW_MASK}), 0)",
    f"COALESCE(SUM((outcome = 'unknown') * (cost_pico >> {LOW})), 0)",
    f"COALESCE(SUM((outcome = 'unknown') * (cost_pico & {LOW_MASK})), 0)",
)  # fmt: skip
"""What rows of attempts add to each of `SUMS`."""

OF_ENTRIES = ("COUNT(*)", f"SUM(outcome NOT IN {FINE_OUTCOMES})") + ("0",) * (len(SUMS) - 2)


def slot_of(at: int, grain: int) -> int:
    """Return the slot that a time is in: divided as SQLite divides, towards 0."""
    return at // grain if at >= 0 else -(-at // grain)


class Rollup(NamedTuple):
    """A table of sums."""

    table: str
    grain_us: int
    """The length of a slot of time; `slot` counts them from the epoch."""
    keys: tuple[str, ...]

    @property
    def key(self) -> str:
        """Its primary key."""
        return ", ".join(("slot", *self.keys))


BY_MODEL = Rollup("usage_by_model", HOUR_US, ("provider", "model", "tier", "experiment", "rollout", "arm"))
BY_USER = Rollup("usage_by_user", DAY_US, ("team", "user_id"))
BY_TAG = Rollup("usage_by_tag", DAY_US, ("tag",))
ROLLUPS = (BY_MODEL, BY_USER, BY_TAG)
"""Each is smaller than those before it is worth trying for; the first that has all that is asked for answers."""

TAGGED = "LEFT JOIN json_each(tags) AS each_tag"
TAG = "COALESCE(each_tag.value, '')"
"""A row without tags counts under the empty tag."""


def added(rollup: Rollup, source: str, at: str, sums: tuple[str, ...]) -> str:
    """Return the statement that adds the rows of a table to a rollup."""
    keys = [TAG if key == "tag" else key for key in rollup.keys]
    tagged = f" {TAGGED}" if "tag" in rollup.keys else ""
    names = ", ".join(("slot", *rollup.keys, *SUMS))
    values = ", ".join((f"{at} / {rollup.grain_us}", *keys, *sums))
    groups = ", ".join(str(number + 1) for number in range(len(keys) + 1))
    given = {name for name, value in zip(SUMS, sums, strict=True) if value != "0"}
    return (
        f"INSERT INTO {rollup.table} ({names}) SELECT {values} FROM {source}{tagged} WHERE true GROUP BY {groups} "
        + _adding(rollup, given)
    )


def _adding(rollup: Rollup, given: Collection[str]) -> str:
    """What an insertion does where there is such a row: it adds the sums that are given."""
    updates = ", ".join(
        [f"{name} = {name} + excluded.{name}" for name in COUNTS if name in given]
        + [
            f"{kind}_hi = {kind}_hi + excluded.{kind}_hi + (({kind}_lo + excluded.{kind}_lo) >> {LOW}), "
            f"{kind}_lo = ({kind}_lo + excluded.{kind}_lo) & {LOW_MASK}"
            for kind in ("cost", "unknown")
            if f"{kind}_hi" in given
        ]
    )
    return f"ON CONFLICT ({rollup.key}) DO UPDATE SET {updates}"


def marks(width: int, count: int) -> str:
    """Return the `VALUES` of so many rows of so many parameters."""
    return "VALUES " + ", ".join([f"({', '.join('?' * width)})"] * count)


@lru_cache(maxsize=128)
def adding(rollup: Rollup, count: int) -> str:
    """Return the statement that adds so many rows of sums, all their columns given, to a rollup."""
    return f"INSERT INTO {rollup.table} {marks(1 + len(rollup.keys) + len(SUMS), count)} " + _adding(rollup, SUMS)


def _rollup_table(rollup: Rollup) -> str:
    keys = "".join(f"{key} TEXT NOT NULL, " for key in rollup.keys)
    sums = ", ".join(f"{name} INTEGER NOT NULL" for name in SUMS)
    return f"CREATE TABLE {rollup.table} (slot INTEGER NOT NULL, {keys}{sums}, PRIMARY KEY ({rollup.key})) WITHOUT ROWID"


def _shared_table(table: str, declaration: str) -> str:
    return f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {declaration}, UNIQUE ({', '.join(COLUMNS[table])}))"


_CLOSED_FROM = (
    "closed LEFT JOIN routes ON routes.id = closed.route LEFT JOIN callers ON callers.id = closed.caller "
    "LEFT JOIN labels ON labels.id = closed.labels LEFT JOIN endings ON endings.id = closed.ending"
)
"""Each is there. An outer join keeps SQLite to this order, time first, and is left out where nothing of it is asked
(https://sqlite.org/optoverview.html#omitnoopjoin)."""


def _count_of(name: str) -> str:
    return f"MIN(MAX(COALESCE(json_extract(more, '$.tokens.{name}'), 0), 0), {MOST_TOKENS})"


def _whole_us(column: str) -> str:
    return f"CAST(ROUND({column} * 1e6) AS INTEGER)"


_MORE = {
    **{name: _count_of(name) for name in ("cache_write_1h", "input_audio", "output_audio")},
    "usage_more": "COALESCE(json_extract(more, '$.usage'), '')",
    "losses": "COALESCE(json_extract(more, '$.losses'), 0)",
    "upstream_id": "COALESCE(upstream_id, '')",
    "conversation": "COALESCE(conversation, '')",
}
_OF_CLOSED = {
    "attempts": {
        **_MORE,
        "duration_us": _whole_us("duration_s"),
        "first_content_us": _whole_us("first_content_s"),
    },
    "entries": {
        "conversation": _MORE["conversation"],
        "outcome": "request_outcome",
        "duration_us": _whole_us("request_duration_s"),
        "winner": "CASE WHEN answered THEN attempt END",
    },
}


def _views(name: str) -> tuple[str, ...]:
    """The views of what is in `closed`, and of that together with what is apart."""
    columns = ", ".join(COLUMNS[name])
    made = ", ".join(
        f"{_OF_CLOSED[name][column]} AS {column}" if column in _OF_CLOSED[name] else column for column in COLUMNS[name]
    )
    more = "" if "started_us" in COLUMNS[name] else ", started_us"
    return (
        f"CREATE VIEW closed_{name} AS SELECT {made}{more} FROM {_CLOSED_FROM}",
        f"CREATE VIEW {name} AS SELECT {columns} FROM {name}_apart UNION ALL SELECT {columns} FROM closed_{name}",
    )


MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"CREATE TABLE attempts ({ATTEMPTS}, PRIMARY KEY ({ATTEMPTS_KEY})) WITHOUT ROWID",
        f"CREATE TABLE entries ({ENTRIES}, PRIMARY KEY ({ENTRIES_KEY})) WITHOUT ROWID",
        *(_rollup_table(rollup) for rollup in ROLLUPS),
        "CREATE TABLE positions (segment TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    ),
    (
        # What an attempt had cost before it was priced again, one row a change.
        """CREATE TABLE price_changes (
            started_us INTEGER NOT NULL, request_id TEXT NOT NULL, attempt INTEGER NOT NULL, changed_us INTEGER NOT NULL,
            old_cost_pico INTEGER, old_version TEXT NOT NULL, old_source TEXT NOT NULL,
            new_cost_pico INTEGER, new_version TEXT NOT NULL, new_source TEXT NOT NULL,
            PRIMARY KEY (started_us, request_id, attempt, changed_us)) WITHOUT ROWID""",
    ),
    (f"ALTER TABLE attempts ADD COLUMN {ATTEMPTS_LATER}",),
    (
        *(f"ALTER TABLE {name} RENAME TO {name}_apart" for name in ("attempts", "entries")),
        *(_shared_table(*each) for each in _SHARED),
        f"CREATE TABLE closed ({CLOSED}, PRIMARY KEY ({ATTEMPTS_KEY})) WITHOUT ROWID",
        *(view for name in ("attempts", "entries") for view in _views(name)),
    ),
)
"""Each brings the tables from its number to the next; `PRAGMA user_version` tells how many have been applied."""
