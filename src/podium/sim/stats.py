"""What a sim has served, to whom, and how each exchange ended.

Theory. An exchange is opened when a request arrives and closed exactly once, with an outcome; every count is taken at one of
these two instants, so that `requests == finished + refused + cancelled + broken + stopped + in_flight`, always.

Rules.
- Outcomes: `finished` (the whole answer was sent), `refused` (an error status was), `cancelled` (the client left first),
  `broken` (the sim cut or spoiled the answer, as it was told to), `stopped` (the sim was closed first).
- A stream counts as begun once its request is accepted, before its first token; begun = finished + cancelled + broken +
  stopped + still running.
- Keys are kept as masks and header values that hold them are masked.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Literal

from podium.types import Value

Outcome = Literal["running", "finished", "refused", "cancelled", "broken", "stopped"]

_SECRET_HEADERS = frozenset(("authorization", "x-api-key", "api-key", "proxy-authorization", "cookie"))


class Exchange:
    """One request and what became of it."""

    __slots__ = (
        "agent",
        "body",
        "dialect",
        "duration_s",
        "fault",
        "first_token_s",
        "headers",
        "input_tokens",
        "key",
        "method",
        "model",
        "number",
        "outcome",
        "path",
        "provider",
        "started_at",
        "status",
        "stream",
        "tokens",
        "user",
    )

    def __init__(self, *, number: int, method: str, path: str, headers: Mapping[str, str], key: str, started_at: float) -> None:
        self.number = number
        """Counts the requests from 1, in the order of their arrival."""
        self.method = method
        self.path = path
        self.headers = {name: "…" if name in _SECRET_HEADERS else value for name, value in headers.items()}
        """With lower-case names; secrets are masked."""
        self.key = key
        """A mask of the API key; "" where there was none."""
        self.agent = headers.get("user-agent", "")
        self.started_at = started_at
        self.provider = ""
        self.dialect = ""
        self.model = ""
        self.user = ""
        """`user` of the body, or `metadata.user_id`."""
        self.body: Any = None
        """The body that was sent, parsed; None where it was no JSON."""
        self.stream = False
        """Whether a stream was asked for and accepted."""
        self.status: int | None = None
        """The status that was sent; None until then."""
        self.outcome: Outcome = "running"
        self.fault: str | None = None
        """The fault that struck: `hang`, `stall_after`, `failure_rate`, ..."""
        self.input_tokens = 0
        self.tokens = 0
        """Output tokens that were sent, hidden thoughts included."""
        self.first_token_s: float | None = None
        """Seconds from arrival to the first token."""
        self.duration_s: float | None = None
        """Seconds from arrival to the end."""

    def __repr__(self) -> str:
        return f"<Exchange {self.number} {self.provider}/{self.model} {self.status} {self.outcome} {self.tokens} tokens>"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


class Stats(Value, frozen=True, kw_only=True):
    """Counts at one instant."""

    requests: int = 0
    in_flight: int = 0
    finished: int = 0
    refused: int = 0
    cancelled: int = 0
    """The client left before the answer was whole, streamed or not."""
    cancelled_waiting: int = 0
    """Of those, before the first token."""
    broken: int = 0
    stopped: int = 0
    streams_begun: int = 0
    streams_finished: int = 0
    streams_cancelled: int = 0
    streams_broken: int = 0
    streams_stopped: int = 0
    input_tokens: int = 0
    """Of accepted requests."""
    tokens: int = 0
    """Output tokens that were sent."""
    by_provider: dict[str, int] = {}
    by_model: dict[str, int] = {}
    """By `provider/model`."""
    by_key: dict[str, int] = {}
    by_agent: dict[str, int] = {}
    by_user: dict[str, int] = {}
    by_status: dict[int, int] = {}
    """By status sent; requests that were cancelled before have none."""

    @property
    def streams_running(self) -> int:
        """Streams that are neither whole nor ended otherwise."""
        ended = self.streams_finished + self.streams_cancelled + self.streams_broken + self.streams_stopped
        return self.streams_begun - ended


def mask_key(key: str) -> str:
    """Return a form that tells two keys apart and gives neither away: a short hash."""
    return f"key-{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}" if key else ""


class Book:
    """Keeps the counts. It is written on the server's loop only, and may be read from any thread."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._waiting: list[Callable[[], object]] = []
        self._number = 0
        self._all_running = 0
        self.reset()

    def reset(self) -> None:
        """Forget all counts and exchanges; what runs now is not counted when it ends."""
        self.last: deque[Exchange] = deque(maxlen=self._keep)
        self._counts: Counter[str] = Counter()
        self._by: dict[str, Counter[Any]] = {
            name: Counter() for name in ("provider", "model", "key", "agent", "user", "status")
        }
        self._since = self._number
        self._in_flight = 0

    def open(self, *, method: str, path: str, headers: Mapping[str, str], key: str, at: float) -> Exchange:
        """Note that a request has arrived."""
        self._number += 1
        self._all_running += 1
        self._in_flight += 1
        exchange = Exchange(number=self._number, method=method, path=path, headers=headers, key=mask_key(key), started_at=at)
        self.last.append(exchange)
        self._counts["requests"] += 1
        self._by["key"][exchange.key] += 1
        self._by["agent"][exchange.agent] += 1
        return exchange

    def know_provider(self, exchange: Exchange) -> None:
        """Note that an exchange's provider is known."""
        if exchange.number > self._since:
            self._by["provider"][exchange.provider] += 1

    def know_model(self, exchange: Exchange) -> None:
        """Note that an exchange's model and user are known."""
        if exchange.number <= self._since:
            return
        if exchange.model:
            self._by["model"][f"{exchange.provider}/{exchange.model}"] += 1
        if exchange.user:
            self._by["user"][exchange.user] += 1

    def accept(self, exchange: Exchange) -> None:
        """Note that an exchange's request is accepted and its answer begins to be made."""
        if exchange.number <= self._since:
            return
        self._counts["input_tokens"] += exchange.input_tokens
        if exchange.stream:
            self._counts["streams_begun"] += 1

    def close(self, exchange: Exchange, outcome: Outcome, at: float) -> None:
        """Note how an exchange ended; a second end is not counted."""
        if exchange.outcome != "running":
            return
        exchange.outcome = outcome
        exchange.duration_s = at - exchange.started_at
        self._all_running -= 1
        if exchange.number > self._since:
            self._count_end(exchange, outcome)
        if not self._all_running:
            waiting, self._waiting = self._waiting, []
            for call in waiting:
                call()

    def _count_end(self, exchange: Exchange, outcome: Outcome) -> None:
        self._in_flight -= 1
        self._counts[outcome] += 1
        if exchange.stream:
            self._counts[f"streams_{outcome}"] += 1
        if outcome == "cancelled" and exchange.first_token_s is None:
            self._counts["cancelled_waiting"] += 1
        self._counts["tokens"] += exchange.tokens
        if exchange.status is not None:
            self._by["status"][exchange.status] += 1

    def when_idle(self, call: Callable[[], object]) -> None:
        """Call once no exchange is running; at once, if none is."""
        if self._all_running:
            self._waiting.append(call)
        else:
            call()

    @property
    def number(self) -> int:
        """How many requests have arrived since the start, resets included."""
        return self._number

    def stats(self) -> Stats:
        """Return the counts of this instant."""
        counts = {name: number for name, number in dict(self._counts).items() if name in Stats.__struct_fields__}
        by = {f"by_{name}": dict(counter) for name, counter in self._by.items()}
        plain: dict[str, Any] = {"in_flight": self._in_flight, **counts, **by}
        return Stats(**plain)
