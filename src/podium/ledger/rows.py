"""Records as rows of the store, and rows as values again.

Rules. What a column cannot hold is bounded here, so that no record of a provider's making can stop the drainer: a count of
tokens beyond 2**40 is 2**40, a negative one 0, an amount beyond int64 is unknown, an instant is within the next two centuries.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from podium.ledger.records import MOST_PICO, Closed, Ended, Settled
from podium.ledger.store import Priced
from podium.types import Usage

_MOST_TOKENS = 2**40
_LONGEST_US = 2**53
_TOKENS = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "input_audio", "output_audio")
_NO_TOKENS = (0,) * len(_TOKENS)
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


def attempt_row(settled: Settled) -> tuple[Any, ...]:
    """Return an attempt as a row of `attempts`, in the order of its columns."""
    s = settled.started
    usage = settled.usage
    return (
        microseconds(s.started_at), s.request_id, s.attempt, microseconds(s.requested_at),
        s.role, s.provider, s.model, s.upstream_model or "", s.dialect or "",
        s.spec or "", s.tier or "", s.experiment or "", s.rollout or "", s.arm or "",
        s.user_id or "", s.team or "", s.conversation or "", tags_text(s.tags), s.streamed,
        settled.outcome, settled.error_code or "", microseconds(settled.duration_s),
        None if settled.first_content_s is None else microseconds(settled.first_content_s),
        usage is not None, *tokens_of(usage),
        "" if usage is None else _usage_more(usage), settled.estimated, amount_of(settled.cost_pico),
        amount_of(s.reserved_pico), settled.price_version or "", settled.price_source or "", settled.finish_reason or "",
        settled.upstream_id or "", settled.losses,
    )  # fmt: skip


def closed_rows(closed: Closed) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the row of the attempt and that of the entry."""
    row = attempt_row(closed.settled)
    (
        _, request_id, attempt, requested_us, _, provider, model, _, _, spec, tier, experiment, rollout, arm, user_id, team,
        conversation, tags, *_,
    ) = row  # fmt: skip
    return row, (
        requested_us, request_id, spec, closed.rule or "", closed.strategy or "",
        tier, experiment, user_id, team, conversation,
        tags, provider, model, rollout, arm,
        closed.outcome, microseconds(closed.duration_s), attempt if closed.answered else None, closed.attempts,
    )  # fmt: skip


def entry_row(entry: Ended) -> tuple[Any, ...]:
    """Return an entry as a row of `entries`, in the order of its columns."""
    return (
        microseconds(entry.requested_at), entry.request_id, entry.spec or "", entry.rule or "", entry.strategy or "",
        entry.tier or "", entry.experiment or "", entry.user_id or "", entry.team or "", entry.conversation or "",
        tags_text(entry.tags), entry.provider or "", entry.model or "", entry.rollout or "", entry.arm or "",
        entry.outcome, microseconds(entry.duration_s), entry.winner, entry.attempts,
    )  # fmt: skip


def tokens_of(usage: Usage | None) -> tuple[int, ...]:
    """Return the counts of a usage in the order of their columns, within their bounds."""
    if usage is None:
        return _NO_TOKENS
    counts = (
        usage.input, usage.output, usage.cache_read, usage.cache_write,
        usage.cache_write_1h, usage.reasoning, usage.input_audio, usage.output_audio,
    )  # fmt: skip
    if max(counts) > _MOST_TOKENS or min(counts) < 0:
        return tuple(min(max(count, 0), _MOST_TOKENS) for count in counts)
    return counts


def _usage_more(usage: Usage) -> str:
    if usage.reported_cost_usd is None and not usage.extra:
        return ""
    return _dump_json({"reported_cost_usd": usage.reported_cost_usd, "extra": usage.extra}).decode()


def amount_of(pico: int | None) -> int | None:
    """Return an amount of money; None where no store can hold it."""
    return None if pico is None or abs(pico) > MOST_PICO else pico


PRICED_COLUMNS = (
    "started_us", "request_id", "attempt", "requested_us", "provider", "model", "upstream_model",
    *_TOKENS, "usage_more", "cost_pico", "price_version", "price_source",
)  # fmt: skip


def load_priced(row: tuple[Any, ...]) -> Priced:
    """Return a row of `PRICED_COLUMNS` as a value."""
    started_us, request_id, attempt, requested_us, provider, model, upstream_model = row[:7]
    more, cost_pico, version, source = row[15:]
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
    )
