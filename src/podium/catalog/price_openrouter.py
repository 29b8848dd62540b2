"""OpenRouter's public list of models (https://openrouter.ai/docs/api-reference/list-available-models), read into rows.

Rules.
- It counts USD per token, request and search, as text.
- Its zeros say nothing, except for `prompt` and `completion`: it lists `internal_reasoning: 0` for models whose reasoning it
  charges as completion.
- `overrides` are prices from a number of prompt tokens on, that number included. Any other condition refuses the row.
- A negative price (of a router that chooses among models) is refused like any lie: what it will cost is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from podium.catalog.price_reading import ENCODED, Reading, RowRefused, canonical_row, shifted, show
from podium.catalog.price_sheet import Row, free_by_name, is_token_rate

_OPENROUTER = {
    "prompt": "input_per_million",
    "completion": "output_per_million",
    "input_cache_read": "cached_input_per_million",
    "input_cache_write": "cache_write_per_million",
    "input_cache_write_1h": "cache_write_1h_per_million",
    "internal_reasoning": "reasoning_per_million",
    "audio": "input_audio_per_million",
    "audio_output": "output_audio_per_million",
    "request": "per_request",
    "web_search": "per_web_search",
}
_ALWAYS_SAID = frozenset({"prompt", "completion"})
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d{1,3})?")


def read_openrouter(models: Iterable[Any], source: str, updated_at: str | None) -> Reading:
    """Read the list at OpenRouter's `/api/v1/models`."""
    reading = Reading()
    for model in models:
        name = f"openrouter/{model.get('id')}" if isinstance(model, dict) else f"openrouter/{show(model)}"
        reading.take(name, lambda name=name, model=model: _openrouter_row(name, model, source, updated_at))  # type: ignore[misc]
    return reading


def _openrouter_row(name: str, model: Any, source: str, updated_at: str | None) -> Row:
    if not isinstance(model, dict) or not isinstance(model.get("pricing"), dict):
        raise RowRefused("it says no `pricing`")
    pricing = model["pricing"]
    tiers = []
    for override in pricing.get("overrides") or ():
        start = override.get("min_prompt_tokens") if isinstance(override, dict) else None
        if type(start) is not int or (unknown := set(override) - set(_OPENROUTER) - _UNCHARGED - {"min_prompt_tokens"}):
            raise RowRefused(f"it costs otherwise under a condition that is not known: {show(unknown if start else override)}")
        tiers.append({"above": start - 1, **dict(_openrouter_rates(override))})
    document: dict[str, Any] = dict(_openrouter_rates(pricing)) | {"tiers": tiers, "source": source, "updatedAt": updated_at}
    slug = model.get("canonical_slug")
    if isinstance(slug, str) and slug != model["id"]:
        document["match"] = {"or": [{"equals": model["id"]}, {"equals": slug}]}
    other = {key: str(pricing[key]) for key in sorted(_UNCHARGED & set(pricing))}
    row = msgspec.convert(document | {"other": other}, Row)
    zero = all(rate == 0 for rate in row.rates().values())
    return canonical_row(msgspec.structs.replace(row, free=zero and free_by_name(name)))


_UNCHARGED = frozenset({"image", "image_token", "image_output", "input_audio_cache", "discount"})


def _openrouter_rates(pricing: Mapping[str, Any]) -> Iterator[tuple[str, Decimal]]:
    for key, field in _OPENROUTER.items():
        value = pricing.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal) or not _is_number(value):
            raise RowRefused(f"{key} is {show(value)}, which is no number")
        rate = Decimal(value)
        if rate or key in _ALWAYS_SAID or not rate.is_finite():
            yield ENCODED[field], shifted(rate, 6) if is_token_rate(field) else rate


def _is_number(value: str | int | Decimal) -> bool:
    return not isinstance(value, str) or _NUMBER.fullmatch(value) is not None
