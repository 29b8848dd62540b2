"""What a store of the ledger must do, and the values that pass between it and its users.

Theory. The drainer hands a store whole batches: records and, with them, how far each segment has been read. A store takes a
batch entirely or not at all, and takes a record that it has already as if it were not there. So a batch may be given again
after any crash.

Rules. A store raises `StoreError` for what may pass (locked, full, read-only, unreachable): the drainer comes again. What a
store can never take raises `Unstorable`: the drainer sets that record aside and goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from podium.errors import StoreError
from podium.ledger.records import Ended, Payload, Record, Settled
from podium.types import Usage, Value


class Unstorable(StoreError):
    """A batch holds something that this store can never take."""

    code = "unstorable"
    retryable = False


CLOSED_WITHIN_S = 60
"""So long after its request came an attempt may begin, to be found by the same time."""


class Batch:
    """What one transaction brings."""

    __slots__ = ("attempts", "closed", "counts", "entries", "forget", "payloads", "positions", "strange")

    def __init__(self) -> None:
        self.clear()
        self.positions: dict[str, int] = {}
        """Segment -> the byte up to which it has been read."""
        self.forget: list[str] = []
        """Segments that are deleted: their positions are no longer needed."""
        self.counts: dict[str, int] = {}
        """What to add to the store's counters: `torn`, `corrupt`, `set_aside`, `unknown`."""

    def clear(self) -> None:
        """Take all records out."""
        self.attempts: list[Settled] = []
        self.entries: list[Ended] = []
        self.closed: list[Settled] = []
        """Attempts that their requests ended with, and that began soon after those came: each is an entry too."""
        self.strange: list[Settled] = []
        """The same, but begun late, or by another writer than theirs, of which another end may have been told."""
        self.payloads: list[Payload] = []

    def add(self, record: Record) -> None:
        """Add a record; a `Started` alone is nothing that a store keeps."""
        self.add_all((record,))

    def add_all(self, records: Iterable[Record], *, strange: Sequence[Settled] = ()) -> None:
        """Add the records that a store keeps; `strange`: those of them whose requests their writer has not begun."""
        closed = self.closed.append
        for record in records:
            if type(record) is Settled:
                if strange and record in strange:
                    self.strange.append(record)
                elif record.request_duration_s is None:
                    self.attempts.append(record)
                elif 0 <= record.started_at - record.requested_at < CLOSED_WITHIN_S:
                    closed(record)
                else:
                    self.strange.append(record)
            elif type(record) is Ended:
                self.entries.append(record)
            elif type(record) is Payload:
                self.payloads.append(record)

    def records(self) -> list[Record]:
        """All records."""
        return [*self.attempts, *self.entries, *self.closed, *self.strange, *self.payloads]

    def __len__(self) -> int:
        """How many attempts, entries and payloads they are."""
        return len(self.attempts) + len(self.entries) + 2 * (len(self.closed) + len(self.strange)) + len(self.payloads)

    def count(self, name: str, more: int) -> None:
        """Add to a counter."""
        if more:
            self.counts[name] = self.counts.get(name, 0) + more


Grouping = Literal["day", "month", "user", "team", "provider", "model", "target", "tier", "experiment", "rollout", "arm", "tag"]
GROUPINGS: tuple[Grouping, ...] = (
    "day", "month", "user", "team", "provider", "model", "target", "tier", "experiment", "rollout", "arm", "tag",
)  # fmt: skip


class Question(NamedTuple):
    """Which usage is asked for, in the store's terms."""

    by: tuple[Grouping, ...]
    since_us: int | None
    """Inclusive."""
    until_us: int | None
    """Exclusive."""
    where: Mapping[Grouping, tuple[str | None, ...]]
    zone: str
    """IANA name of the time zone that days and months are counted in."""


class Sums:
    """Exact sums of one group."""

    __slots__ = ("cost_pico", "counts", "unknown_pico")

    COUNTS = (
        "requests", "errors", "attempts", "failed", "unknown", "unpriced",
        "input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "input_audio", "output_audio",
    )  # fmt: skip

    def __init__(self) -> None:
        self.counts = [0] * len(self.COUNTS)
        self.cost_pico = 0
        """Of all attempts, `unknown` ones included."""
        self.unknown_pico = 0
        """Of `unknown` attempts alone: reserved, perhaps never charged."""


class Priced(Value, frozen=True, kw_only=True):
    """A settled attempt as it is in the store, for pricing it again."""

    request_id: str
    attempt: int
    requested_at: float
    started_at: float
    provider: str
    model: str
    upstream_model: str | None
    usage: Usage
    cost_pico: int | None
    price_version: str | None
    price_source: str | None
    context: dict[str, str] | None = None
    """What chose among the price's variants."""


class Price(Value, frozen=True, kw_only=True):
    """What an attempt costs by today's prices."""

    cost_pico: int | None
    price_version: str | None = None
    price_source: str | None = None


REPLAY_TAG = "replay"
"""The tag of requests that were asked to be compared with what is on record."""


class Sought(NamedTuple):
    """Which requests on record are wanted."""

    since_us: int | None
    """Inclusive."""
    until_us: int | None
    """Exclusive."""
    rollout: str | None
    """Of this rollout those that took its legacy arm."""
    spec: str | None
    """What their callers wrote."""
    most: int


class Recording(Value, frozen=True, kw_only=True):
    """A request on record, and what it was answered, as far as bodies are kept."""

    request_id: str
    requested_at: float
    spec: str | None
    user_id: str | None
    team: str | None
    rollout: str | None
    arm: str | None
    outcome: str
    """`ok`, or the code of the error that it ended with."""
    duration_s: float
    target: str
    """Who answered, else who was asked first."""
    cost_pico: int | None
    """Of all attempts; None: unknown."""
    input_tokens: int | None
    output_tokens: int | None
    hashed: bool
    """Whether the request's body is known by its hash alone."""
    request: bytes | None
    """A `Request` as JSON; None where it was not kept, or not whole."""
    response: bytes | None
    """The `Response` that was delivered, as JSON."""
    is_cut: bool
    """Whether a body was too long to be kept whole."""


class Store(Protocol):
    """Where the ledger is kept. Every method may block, and is called from threads of the ledger's own or of its user's."""

    def apply(self, batch: Batch) -> None:
        """Take a batch, whole or not at all. Raises `StoreError`, `Unstorable`."""
        ...

    def positions(self) -> dict[str, int]:
        """Return how far each segment has been read."""
        ...

    def counters(self) -> dict[str, int]:
        """Return what was counted over the store's life."""
        ...

    def usage(self, question: Question) -> dict[tuple[str | None, ...], Sums]:
        """Return the sums of each group."""
        ...

    def priced(
        self, *, since_us: int | None, until_us: int | None, after: tuple[int, str, int] | None, most: int
    ) -> list[Priced]:
        """Return settled attempts with usage in the order of their start, those behind `after` (start, id, attempt)."""
        ...

    def reprice(self, changes: Iterable[tuple[Priced, Price]], at: float) -> int:
        """Give attempts their new price, keep the old one in the audit, and correct all sums. Returns how many changed."""
        ...

    def recordings(self, sought: Sought) -> tuple[int, list[Recording]]:
        """Return how many requests fit, and the newest of them in the order of time, with their bodies."""
        ...

    def tidy(self, *, now: float, payload_age_s: float | None, payload_bytes: int | None, most: int) -> int:
        """Delete payloads that are too old or too many, at most `most` of them. Returns how many went."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...
