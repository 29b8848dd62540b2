"""What others write about prices, read into rows: the one door for price documents, whoever wrote them.

Theory. Three formats say prices (Podium's own, the data of genai-prices, OpenRouter's list of models), and a document shows by
its shape which it is.

Rules. Numbers are read as exact decimals, never as floats. In Podium's own format a rate that is text is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from podium.catalog.price_genai import read_genai
from podium.catalog.price_names import kind_of
from podium.catalog.price_openrouter import read_openrouter
from podium.catalog.price_reading import OWN_RATES, Reading, RowRefused, canonical_row, show
from podium.catalog.price_sheet import RATE_NAMES, NotPrices, Row, canonical, refusal


def parse(data: bytes) -> Any:
    """Parse JSON with exact decimals; `NaN` and `Infinity` pass, to be refused by row. Raises `NotPrices`."""
    try:
        return json.loads(data, parse_float=Decimal, parse_int=_int, parse_constant=Decimal)
    except (ValueError, InvalidOperation, RecursionError) as error:
        raise NotPrices(f"it is not JSON ({' '.join(str(error).split())[:120]})") from None


def _int(digits: str) -> int | Decimal:
    return int(digits) if len(digits) < 40 else Decimal(digits)


def read(document: Any, source: str, updated_at: str | None) -> Reading:
    """Read a parsed document of any of the three formats. Raises `NotPrices` where it has none of their shapes."""
    if isinstance(document, list) and document and all(isinstance(each, dict) and "models" in each for each in document):
        return read_genai(document, source, updated_at)
    if isinstance(document, dict):
        if isinstance(document.get("data"), list):
            return read_openrouter(document["data"], source, updated_at)
        if isinstance(document.get("models"), dict):
            return read_own(document["models"], source, updated_at)
    raise NotPrices(
        'it has none of the known shapes: {"models": {"openai/gpt-4o": {"inputPerMillion": 2.5, ...}}}, the providers of '
        "genai-prices, or OpenRouter's list of models"
    )


def read_own(models: Mapping[str, Any], source: str, updated_at: str | None) -> Reading:
    """Read rows in the format of `pricing-cache.json`."""
    reading = Reading()
    for name, raw in models.items():
        provider, slash, model = str(name).partition("/")
        reading.take(f"{kind_of(provider)}{slash}{model}", lambda raw=raw: _own_row(raw, source, updated_at))  # type: ignore[misc]
    return reading


def _own_row(raw: Any, source: str, updated_at: str | None) -> Row:
    if not isinstance(raw, dict):
        raise RowRefused("it is no object")
    _no_text(raw)
    try:
        row = msgspec.convert(raw, Row)
    except (msgspec.ValidationError, RecursionError) as error:
        raise RowRefused(str(error)) from None
    return canonical_row(msgspec.structs.replace(row, source=source, updated_at=updated_at))


def _no_text(raw: Mapping[str, Any]) -> None:
    """Refuse rates that are no JSON numbers, wherever they stand in a row."""
    for key, value in raw.items():
        if key in OWN_RATES and (isinstance(value, bool) or not isinstance(value, int | Decimal | None)):
            raise RowRefused(f"{key} is {show(value)}, which is no number")
        for inner in value if key in ("tiers", "periods", "variants") and isinstance(value, list) else ():
            if isinstance(inner, dict):
                _no_text(inner)


def load_override(name: str, prices: Mapping[str, Any]) -> Row:
    """Make a row of a price in the config: USD per million tokens under `input`, `output`, `cached_input`, `cache_write`,
    `cache_write_1h`, `reasoning`, `input_audio` and `output_audio`, USD each under `per_request` and `per_web_search`.

    Zeros are meant. Raises `ValueError` that says what is wrong.
    """
    known = {field.removesuffix("_per_million"): field for field in RATE_NAMES}
    rates: dict[str, Any] = {}
    for key, value in prices.items():
        if key not in known:
            raise ValueError(f"The price of {name} has an unknown key {key!r}; known are {', '.join(known)}.")
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise ValueError(f"The price of {name} says {key}: {show(value)}, which is no number.")
        rates[known[key]] = canonical(Decimal(str(value)))
    row = Row(**rates, free=True, source="config")
    if not rates:
        raise ValueError(f"The price of {name} says nothing; give at least `input` and `output`, in USD per million tokens.")
    if reason := refusal(name, row):
        raise ValueError(f"The price of {name} cannot be: {reason}.")
    return row
