"""Facts that many attempts have in common, packed: where a request was sent, who asked, and how it ended.

Theory. Of all that is on record of an attempt little is its own: its id, times, tokens and cost. The rest is one of a few
combinations. So each combination is packed once, records carry the packed bytes as they are, and whoever reads many records
looks at each combination once. A record still says everything, and depends on no other.

Rules.
- A new field goes to the end of its kind, with a default: what was packed before is read as if it had that.
- The same facts are the same bytes, within a release.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import msgspec

from podium.types import Outcome

AttemptOutcome = Outcome | Literal["unknown"]
"""How an attempt ended; `unknown` where its process died before it could say."""

_KEPT = 4096
"""Combinations of a kind that are remembered."""


class Route(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where an attempt was sent, and what led there."""

    provider: str
    model: str
    role: str = "answer"
    upstream_model: str | None = None
    dialect: str | None = None
    spec: str | None = None
    rule: str | None = None
    strategy: str | None = None
    tier: str | None = None
    experiment: str | None = None
    rollout: str | None = None
    arm: str | None = None
    streamed: bool = False


class Caller(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who asked."""

    user_id: str | None = None
    team: str | None = None


class Labels(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a caller has written on it."""

    tags: tuple[str, ...] = ()


class Ending(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How an attempt ended, and its request, where that ended with it."""

    outcome: AttemptOutcome
    error_code: str | None = None
    finish_reason: str | None = None
    price_version: str | None = None
    price_source: str | None = None
    context: tuple[tuple[str, str], ...] = ()
    """What chose among the price's variants: the service that answered (`(("service_tier", "flex"),)`)."""
    metered: bool = False
    """Whether its usage is known, or estimated."""
    estimated: bool = False
    """Whether its usage is Podium's estimate, the provider having given none."""
    request_outcome: str | None = None
    """The request's: `ok`, or the code of the error that it ended with; None: it did not end with this attempt."""
    answered: bool = False
    """Whether this attempt answered the request."""
    attempts: int = 1
    """The request's."""


_ENCODE = msgspec.msgpack.Encoder().encode

load_route = lru_cache(maxsize=_KEPT)(msgspec.msgpack.Decoder(Route).decode)
"""Return the `Route` that was packed. Raises `msgspec.DecodeError`."""
load_caller = lru_cache(maxsize=_KEPT)(msgspec.msgpack.Decoder(Caller).decode)
"""Return the `Caller` that was packed. Raises `msgspec.DecodeError`."""
load_labels = lru_cache(maxsize=_KEPT)(msgspec.msgpack.Decoder(Labels).decode)
"""Return the `Labels` that were packed. Raises `msgspec.DecodeError`."""
load_ending = lru_cache(maxsize=_KEPT)(msgspec.msgpack.Decoder(Ending).decode)
"""Return the `Ending` that was packed. Raises `msgspec.DecodeError`."""


@lru_cache(maxsize=4 * _KEPT)
def pack(facts: Route | Caller | Labels | Ending) -> bytes:
    """Return facts, packed."""
    try:
        return _ENCODE(facts)
    except (UnicodeEncodeError, OverflowError, TypeError):
        return _ENCODE(writable(msgspec.structs.astuple(facts)))


def writable(plain: Any) -> Any:
    """Return plain data as it can be encoded.

    A lone surrogate has no UTF-8, an integer of more than 64 bits no place, and a kind of string of somebody's own is no string
    to an encoder; an odd one must not cost the record.
    """
    if isinstance(plain, str):
        return plain.encode("utf-8", "replace").decode()
    if isinstance(plain, int):
        return min(max(plain, -(2**63)), 2**63 - 1)
    if isinstance(plain, list | tuple):
        return [writable(each) for each in plain]
    if isinstance(plain, dict):
        return {writable(name): writable(value) for name, value in plain.items()}
    return plain if plain is None or isinstance(plain, float | bytes) else str(plain)
