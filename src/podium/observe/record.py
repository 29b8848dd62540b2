"""What is observed: one frozen record an attempt, one a request.

Theory. Whoever observes sees facts, never payloads: a record has names, counts, instants and codes, but no text that a caller
or a model wrote, no provider's words and no key. What all attempts of a request share is written once, when it begins
(`RequestFacts`), and each record points to it.

Rules.
- Instants are seconds since the epoch, durations seconds, money int pico-USD (1 USD = 10**12). A cost of None is unknown; what
  is known to be free costs 0.
- A request is counted once, at the target that answered, else at its first one, so that sums over providers and models add up.
- A shadow is no caller's request: its arm says so (`candidate_shadow`), it has no user, and whoever counts requests leaves it
  out. Its attempts are upstream calls like others.
- `timed=False` on a request (its user's `performance_tracking: false`) means that none of its durations may be kept, shown or
  sent anywhere. Its counts, tokens and cost may.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Literal
from urllib.parse import urlsplit

from podium.routing.snapshot import SHADOW_ARMS
from podium.types import Outcome, Target, Usage, Value

PICO = 10**12
"""Pico-USD in one USD."""

AttemptOutcome = Outcome | Literal["unknown"]
"""How an attempt ended; `unknown` where nobody could say."""

Cause = Literal["first", "retry", "fallback", "hedge", "parallel", "escalation", "judge", "shadow"]
"""Why an attempt was launched: as the request's first; again, at a target asked before; at the next target of a fallback; at
another one because the first was slow; beside others (race, consensus); to settle a dispute; to judge; or for a shadow, which
nobody waits for, whichever of these it was."""

ANSWERED: frozenset[str] = frozenset({"won", "answered"})
"""Outcomes of attempts whose answer is whole."""


class RequestFacts(Value, frozen=True, kw_only=True):
    """What is known of a request when it begins."""

    request_id: str
    started_at: float
    spec: str | None = None
    """What the caller wrote."""
    rule: str | None = None
    strategy: str | None = None
    tier: str | None = None
    experiment: str | None = None
    rollout: str | None = None
    arm: str | None = None
    user_id: str | None = None
    team: str | None = None
    conversation: str | None = None
    tags: tuple[str, ...] = ()
    streamed: bool = False
    """Whether the caller reads the answer as it comes."""
    timed: bool = True
    """Whether its durations may be observed."""

    @property
    def is_shadow(self) -> bool:
        """Whether nobody waits for it: a rollout's other arm was asked too, in the background."""
        return self.arm in SHADOW_ARMS


class AttemptRecord(Value, frozen=True, kw_only=True):
    """One upstream call, when it is over."""

    request: RequestFacts
    attempt: int
    """Counts the attempts of a request from 1."""
    provider: str
    """The account's name in the config."""
    model: str
    outcome: AttemptOutcome
    started_at: float
    duration_s: float = 0.0
    first_content_s: float | None = None
    """Seconds from the launch to the first content."""
    cause: Cause = "first"
    role: str = "answer"
    kind: str = ""
    """The provider's kind, a row of the catalog: `openai`, `anthropic`, ..."""
    upstream_model: str | None = None
    """The model's name as it was sent."""
    response_model: str | None = None
    """The model that answered, in the provider's words."""
    dialect: str | None = None
    server_address: str | None = None
    server_port: int | None = None
    streamed: bool = False
    """Whether this call was streamed, which it may be where the caller does not stream."""
    error_code: str | None = None
    usage: Usage | None = None
    estimated: bool = False
    """Whether `usage` is an estimate, the provider having given none."""
    cost_pico: int | None = None
    reserved_pico: int | None = None
    price_version: str | None = None
    price_source: str | None = None
    finish_reason: str | None = None
    upstream_id: str | None = None
    losses: int = 0
    """How many settings the target could not honour."""


class RequestRecord(Value, frozen=True, kw_only=True):
    """One request, when it is over."""

    request: RequestFacts
    outcome: str
    """`ok`, `cancelled` where the caller left, or the code of the error that it ended with."""
    duration_s: float = 0.0
    first_content_s: float | None = None
    """Seconds from the call to the first content of the answer, where the caller streams."""
    provider: str | None = None
    """Of the attempt that answered, else of the first one. None: nothing was launched."""
    model: str | None = None
    kind: str = ""
    winner: int | None = None
    """The number of the attempt that answered."""
    attempts: int = 0
    response_model: str | None = None
    upstream_id: str | None = None
    finish_reason: str | None = None


Observation = AttemptRecord | RequestRecord


def cause_of(number: int, target: Target, asked: Collection[Target], *, role: str, strategy: str | None) -> Cause:
    """Say why an attempt was launched; `asked` are the targets of the request's earlier attempts."""
    if role in ("judge", "escalation"):
        return "judge" if role == "judge" else "escalation"
    if number == 1:
        return "first"
    if target in asked:
        return "retry"
    match strategy:
        case "race" | "consensus":
            return "parallel"
        case "hedge":
            return "hedge"
        case _:
            return "fallback"


@lru_cache(maxsize=256)
def server_of(base_url: str) -> tuple[str | None, int | None]:
    """Return host and port of a base URL, the scheme's own port where none is written."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        return None, None
    return parts.hostname, port or {"https": 443, "http": 80}.get(parts.scheme)
