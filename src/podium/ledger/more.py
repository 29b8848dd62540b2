"""What few attempts have, as JSON: rare counts of tokens, what providers say beyond counts, losses.

Theory. A record has a field for what nearly every attempt has. The rest is one text that is hardly ever there, and that goes
into the store as it is, without being read on its way.

Rules.
- Of what a provider says of usage only that is kept which the counts do not say: nearly all answers repeat them, zeros
  included.
- Nothing that a provider or a function says may cost the record: what JSON cannot say is kept as its text.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from podium.ledger.facts import writable
from podium.types import Extra, Usage

RARE_TOKENS = ("cache_write_1h", "input_audio", "output_audio")
"""Counts of a `Usage` that a `Settled` has no field for."""


class Reported(msgspec.Struct, frozen=True, gc=False):
    """What a provider says of usage beyond tokens."""

    reported_cost_usd: Decimal | None = None
    extra: dict[str, Any] = {}


class More(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What few attempts have."""

    tokens: dict[str, int] = {}
    """Counts that have no field of their own, by their names in `Usage`."""
    usage: Reported | None = None
    losses: int = 0


_NO_MORE = More()
_HAS_TOKENS = '{"tokens":'
_decode = msgspec.json.Decoder(More).decode
_encode = msgspec.json.Encoder(enc_hook=str).encode


def load_more(text: str | None) -> More:
    """Return what a `Settled` has in `more`. Raises `msgspec.DecodeError`."""
    return _NO_MORE if text is None else _decode(text)


def rare_tokens(text: str | None) -> dict[str, int]:
    """Return the `tokens` of what a `Settled` has in `more`: few have any, and all of it takes long to read."""
    return _decode(text).tokens if text is not None and text.startswith(_HAS_TOKENS) else _NO_MORE.tokens


_COUNTED = frozenset({
    "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details",
    "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation",
    "cached_tokens", "audio_tokens", "reasoning_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens",
    "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens",
})  # fmt: skip
"""What providers count that a `Usage` has in its fields, or that is a part of those."""


def beyond_counts(said: Extra) -> Extra:
    """Return what providers say of usage, by dialect, without what is in the counts."""
    kept: Extra = {}
    for dialect, facts in said.items():
        if not isinstance(facts, dict):
            kept[dialect] = facts
            continue
        for key, value in facts.items():
            if key not in _COUNTED or (type(value) is dict and not _COUNTED.issuperset(value)):
                kept.setdefault(dialect, {})[key] = value
    return kept


def dump_more(usage: Usage | None, losses: int) -> str | None:
    """Return a `More` as JSON; None where there is nothing of it."""
    rare = reported = None
    if usage is not None:
        if usage.cache_write_1h or usage.input_audio or usage.output_audio:
            rare = {name: count for name in RARE_TOKENS if (count := getattr(usage, name))}
        extra = beyond_counts(usage.extra) if usage.extra else {}
        if extra or usage.reported_cost_usd is not None:
            reported = Reported(usage.reported_cost_usd, extra)
    if not (rare or reported or losses):
        return None
    more = More(rare or {}, reported, losses)
    try:
        return _encode(more).decode()
    except UnicodeEncodeError:
        return _encode(writable(msgspec.to_builtins(more, enc_hook=str))).decode()
