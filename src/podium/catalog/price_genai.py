"""The data of genai-prices (https://github.com/pydantic/genai-prices), read into rows.

Rules.
- It counts USD per million tokens and per thousand requests or searches; its tiers by rate become tiers by threshold.
- What it charges beyond tokens, requests and searches is kept in `other`. A model of which nothing else is said has no price;
  where nothing is said at all, it is free if its name says so (`:free`), else it has no price either.
- A condition that is not known refuses the row: a price that holds at other times than it says would be a lie.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import msgspec

from podium.catalog.price_names import kind_of
from podium.catalog.price_reading import ENCODED, OWN_RATES, Reading, RowRefused, canonical_row, shifted, show
from podium.catalog.price_sheet import Row, free_by_name, is_token_rate

_GENAI = {
    "input_mtok": "input_per_million",
    "output_mtok": "output_per_million",
    "cache_read_mtok": "cached_input_per_million",
    "cache_write_mtok": "cache_write_per_million",
    "cache_write_5m_mtok": "cache_write_per_million",
    "cache_write_1h_mtok": "cache_write_1h_per_million",
    "output_reasoning_mtok": "reasoning_per_million",
    "input_audio_mtok": "input_audio_per_million",
    "output_audio_mtok": "output_audio_per_million",
    "requests_kcount": "per_request",
    "web_searches_kcount": "per_web_search",
}


def read_genai(providers: Iterable[Any], source: str, updated_at: str | None, *, curated: bool = False) -> Reading:
    """Read the providers of genai-prices. `curated`: a zero is meant, for a person has checked and released it."""
    reading = Reading()
    for provider in providers:
        if not isinstance(provider, dict) or not isinstance(provider.get("id"), str):
            reading.refused[show(provider)] = "it is no provider with an id"
            continue
        kind = kind_of(provider["id"])
        resold = provider.get("fallback_model_providers")
        if isinstance(resold, list | tuple):
            reading.fallbacks[kind] = tuple(kind_of(other) for other in resold if isinstance(other, str))
        models = provider.get("models")
        for model in models if isinstance(models, list) else ():
            name = f"{kind}/{model.get('id')}" if isinstance(model, dict) else f"{kind}/{show(model)}"
            reading.take(name, lambda name=name, model=model: _genai_row(name, model, source, updated_at, curated))  # type: ignore[misc]
    return reading


def _genai_row(name: str, model: Any, source: str, updated_at: str | None, curated: bool) -> Row | None:
    if not isinstance(model, dict):
        raise RowRefused("it is no object")
    said = model.get("prices")
    periods = [_genai_span(each) for each in said] if isinstance(said, list) else [_genai_span({"prices": said})]
    if not periods:
        raise RowRefused("it has no rate")
    first = periods[0]
    other = first.pop("other")
    charges = [key for span in periods for key in span if key in OWN_RATES]
    if not charges:
        if other or not free_by_name(name):
            return None
        first |= {"inputPerMillion": Decimal(0), "outputPerMillion": Decimal(0)}
    document: dict[str, Any] = {key: first[key] for key in first if key in OWN_RATES or key == "tiers"}
    if len(periods) > 1:
        document["periods"] = [{key: span[key] for key in span if key != "other"} for span in periods]
    if variants := model.get("price_variants"):
        document["variants"] = [_genai_variant(each) for each in variants]
    document |= {"match": model.get("match"), "source": source, "updatedAt": updated_at}
    try:
        row = msgspec.convert(document | {"other": other}, Row)
    except (msgspec.ValidationError, RecursionError) as error:
        raise RowRefused(str(error)) from None
    zero = all(rate == 0 for rate in row.rates().values())
    return canonical_row(msgspec.structs.replace(row, free=zero and (curated or free_by_name(name))))


def _genai_span(raw: Any) -> dict[str, Any]:
    """One price of genai-prices with its condition, in the keys of our own format."""
    if not isinstance(raw, dict) or not isinstance(raw.get("prices"), dict):
        raise RowRefused("its prices are no object")
    span: dict[str, Any] = {"other": {}} | _genai_condition(raw.get("constraint"))
    tiers: dict[int, dict[str, Any]] = {}
    for key, value in raw["prices"].items():
        if value is None:
            continue
        field = _GENAI.get(key)
        if field is None:
            span["other"][key] = json.dumps(value, default=str) if isinstance(value, dict) else str(value)
            continue
        if key == "cache_write_mtok" and "cache_write_5m_mtok" in raw["prices"]:
            continue
        tiered = isinstance(value, dict)
        span[ENCODED[field]] = _rate(key, value.get("base") if tiered else value, field)
        for tier in value.get("tiers", ()) if tiered else ():
            if not isinstance(tier, dict) or type(tier.get("start")) is not int:
                raise RowRefused(f"a tier of {key} has no start")
            tiers.setdefault(tier["start"], {"above": tier["start"]})[ENCODED[field]] = _rate(key, tier.get("price"), field)
    if tiers:
        span["tiers"] = [tiers[start] for start in sorted(tiers)]
    return span


def _rate(key: str, value: Any, field: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise RowRefused(f"{key} is {show(value)}, which is no number")
    return Decimal(value) if is_token_rate(field) else shifted(Decimal(value), -3)


def _genai_condition(constraint: Any) -> dict[str, Any]:
    if constraint is None:
        return {}
    if isinstance(constraint, dict) and set(constraint) == {"start_date"}:
        return {"from": str(constraint["start_date"])}
    if isinstance(constraint, dict) and set(constraint) == {"start_time", "end_time"}:
        return {"daily": [_utc(constraint["start_time"]), _utc(constraint["end_time"])]}
    raise RowRefused(f"it holds under a condition that is not known: {show(constraint)}")


def _utc(written: Any) -> str:
    """A time of day in UTC; without a zone it is UTC."""
    try:
        parsed = time.fromisoformat(written)
    except (TypeError, ValueError):
        raise RowRefused(f"{show(written)} is no time of day") from None
    if parsed.tzinfo is not None:
        parsed = datetime.combine(date(1970, 1, 2), parsed).astimezone(UTC).time()
    return parsed.isoformat("minutes" if not parsed.second and not parsed.microsecond else "auto")


def _genai_variant(raw: Any) -> dict[str, Any]:
    span = _genai_span(raw)
    span.pop("other")
    if not isinstance(raw.get("when"), dict) or not raw["when"]:
        raise RowRefused("a variant does not say when it holds")
    return span | {"when": raw["when"]}
