"""The price data that ships with genai-prices, as a layer of a `PriceBook`.

Theory. The package is data and some logic; only the data is used here, and only when a price is first asked for that no other
layer has: to import it costs tens of milliseconds. Its models become rows a provider at a time.

Rules. What cannot be read of it is absent, and counted; a zero in it is meant, for a person has checked and released it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, time
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from podium.catalog.price_genai import read_genai
from podium.catalog.price_names import kind_of
from podium.catalog.price_reading import Reading
from podium.catalog.price_sheet import Row

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

PACKAGE = "genai-prices"


def bundled_source() -> str:
    """Name the bundled data and its version, as rows and `podium prices show` do: `genai-prices 0.2.3, bundled`."""
    return f"{PACKAGE} {version(PACKAGE)}, bundled"


class BundledLayer:
    """The bundled rows, made when they are first asked for.

    Thread-safe without a lock, which a fork could leave held for good: who comes at the same moment gets the same rows.
    """

    def __init__(self) -> None:
        self._providers: dict[str, Provider] | None = None
        self._rows: dict[str, dict[str, Row]] = {}

    def _load(self) -> dict[str, Provider]:
        if self._providers is None:
            from genai_prices.data import providers

            self._providers = {kind_of(provider.id): provider for provider in providers}
        return self._providers

    def row(self, kind: str, model: str) -> Row | None:
        """Return the row of just this name."""
        return self.rows(kind).get(model)

    def rows(self, kind: str) -> Mapping[str, Row]:
        """Return the rows of a provider kind by the model's part of their names."""
        rows = self._rows.get(kind)
        if rows is None:
            provider = self._load().get(kind)
            read = {} if provider is None else read_genai([_plain(provider)], bundled_source(), None, curated=True).rows
            rows = self._rows.setdefault(kind, {name.partition("/")[2]: row for name, row in read.items()})
        return rows

    def fallbacks(self, kind: str) -> tuple[str, ...]:
        """Return the kinds whose prices hold where this kind has none of its own."""
        provider = self._load().get(kind)
        return tuple(map(kind_of, provider.fallback_model_providers or ())) if provider is not None else ()

    def names(self) -> Iterator[str]:
        """Return all names."""
        kinds = tuple(self._load())
        return (f"{kind}/{model}" for kind in kinds for model in self.rows(kind))


def read_bundled() -> Reading:
    """Read the whole bundled data at once."""
    from genai_prices.data import providers

    return read_genai(map(_plain, providers), bundled_source(), None, curated=True)


# --- the package's objects as its own JSON ---------------------------------------------------------------------------


def _plain(provider: Provider) -> dict[str, Any]:
    return {
        "id": provider.id,
        "fallback_model_providers": provider.fallback_model_providers,
        "models": [_plain_model(model) for model in provider.models],
    }


def _plain_model(model: ModelInfo) -> dict[str, Any]:
    prices: Any = _plain_prices(model.prices) if not isinstance(model.prices, list) else [_plain_span(p) for p in model.prices]
    return {
        "id": model.id,
        "match": _plain_clause(model.match),
        "prices": prices,
        "price_variants": [_plain_span(each) | {"when": each.when} for each in model.price_variants or ()],
    }


def _plain_span(span: Any) -> dict[str, Any]:
    constraint = span.constraint
    return {
        "prices": _plain_prices(span.prices),
        "constraint": None if constraint is None else {name: _plain_time(value) for name, value in vars(constraint).items()},
    }


def _plain_time(value: date | time) -> str:
    return value.isoformat()


def _plain_prices(prices: ModelPrice) -> dict[str, Any]:
    return {name: _plain_rate(rate) for name, rate in vars(prices).items() if rate is not None}


def _plain_rate(rate: Any) -> Any:
    if isinstance(rate, Decimal):
        return rate
    return {"base": rate.base, "tiers": [{"start": tier.start, "price": tier.price} for tier in rate.tiers]}


def _plain_clause(clause: Any) -> dict[str, Any]:
    """`ClauseOr(or_=[...])` as `{"or": [...]}`, `ClauseEquals(equals=...)` as `{"equals": ...}`."""
    ((name, value),) = vars(clause).items()
    return {name.rstrip("_"): [_plain_clause(each) for each in value] if isinstance(value, list) else value}
