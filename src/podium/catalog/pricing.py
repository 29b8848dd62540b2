"""Prices by name: which price holds for a model at a provider, where it is from, and how sure that is.

Theory. Prices lie in layers: what the config says, then the rows that were fetched, then the data that ships with the
program. A name is looked up in all of them as it is written; then by the spellings that price data itself knows (`match`, in
the order of the data); then, where a provider sells another's models, at that other; and only then normalised
(`podium.catalog.price_names`).

Rules.
- Nothing is free by default: an unknown name is None. A model that runs on the user's own machine (`local`, `vllm`) costs 0
  and its source says `local`; a price in the config or `priced_as` comes before that.
- A name that was normalised is marked, with the steps: its price is a guess.
- Rows are read when they are first asked for; a row that cannot be read counts as absent, and `problems` says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Literal, Protocol

from podium.catalog.price_names import LOCAL_KINDS, Guess, guesses, kind_of, split
from podium.catalog.price_rates import Context, Price
from podium.catalog.price_sheet import Row, dump_row
from podium.types import Value

__all__ = ["Found", "Layer", "Price", "PriceBook", "RowLayer", "highest_cost", "price_version"]

_MOST_FOUND = 8192

Via = Literal["config", "name", "spelling", "reseller", "normalised", "local"]
"""How a price was found: said by the config, by its very name, by another spelling that the data knows, at the provider whose
models are resold, by normalising the name, or because the model is the user's own."""


class Layer(Protocol):
    """Rows of one origin, in the order in which their spellings are tried."""

    def row(self, kind: str, model: str) -> Row | None:
        """Return the row of just this name."""
        ...

    def rows(self, kind: str) -> Mapping[str, Row]:
        """Return the rows of a provider kind by the model's part of their names."""
        ...

    def fallbacks(self, kind: str) -> tuple[str, ...]:
        """Return the kinds whose prices hold where this kind has none of its own."""
        ...

    def names(self) -> Iterable[str]:
        """Return all names, as `openai/gpt-4o`."""
        ...


class RowLayer:
    """A layer over rows that are at hand."""

    def __init__(self, rows: Mapping[str, Row], fallbacks: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._kinds: dict[str, dict[str, Row]] = {}
        self._fallbacks = fallbacks or {}
        for name, row in rows.items():
            kind, model = split(name)
            self._kinds.setdefault(kind, {})[model] = row

    def row(self, kind: str, model: str) -> Row | None:
        """Return the row of just this name."""
        return self._kinds.get(kind, {}).get(model)

    def rows(self, kind: str) -> Mapping[str, Row]:
        """Return the rows of a provider kind by the model's part of their names."""
        return self._kinds.get(kind, {})

    def fallbacks(self, kind: str) -> tuple[str, ...]:
        """Return the kinds whose prices hold where this kind has none of its own."""
        return self._fallbacks.get(kind, ())

    def names(self) -> Iterator[str]:
        """Return all names."""
        return (f"{kind}/{model}" for kind, rows in self._kinds.items() for model in rows)


class Found(Value, frozen=True, kw_only=True):
    """A price, and why it is this one."""

    price: Price
    matched_name: str
    """The name under which the price data has it, as `openai/gpt-4o`."""
    normalised: str | None = None
    """The steps that made the asked name the matched one, where data knew it by no spelling: `date`, `prefix, latest`, ..."""
    source: str
    """Where the price is from: `config`, `local`, or the source of its row."""
    version: str
    """Changes when any rate changes; the same terms have the same version everywhere."""
    via: Via = "name"
    priced_as: str | None = None
    """The other model whose price this is, as the config asks."""
    updated_at: str | None = None
    """When the source was asked; None: it is from a package, the config, or local."""


class PriceBook:
    """All prices: `book["openai/gpt-4o"].cost(usage)`, `book.find("openai", "gpt-4o")`."""

    def __init__(
        self,
        layers: Iterable[Layer] = (),
        *,
        overrides: Mapping[str, Row] | None = None,
        priced_as: Mapping[str, str] | None = None,
        clock: Callable[[], float] | None = None,
        problems: Iterable[str] = (),
    ) -> None:
        """Lay the layers one on another, the first on top.

        `overrides` are rows by name, `priced_as` names by name, both from the config; `clock` gives epoch seconds.
        """
        self._layers = tuple(layers)
        self._overrides = {"/".join(split(name)): row for name, row in (overrides or {}).items()}
        self._priced_as = {"/".join(split(name)): other for name, other in (priced_as or {}).items()}
        self._clock = clock
        self._found: dict[tuple[str, str, str | None, tuple[str, ...]], Found | None] = {}
        self.problems = list(problems)
        """What is wrong with the price data, in sentences for the user."""

    def __getitem__(self, name: str) -> Price:
        """Return the price of `provider/model`. Raises `KeyError`, whose message says what to do, for one that has none."""
        found = self.get(name)
        if found is None:
            raise KeyError(
                f"No price is known for {name!r}. Write it as provider/model; look for it with `podium prices show`; get the "
                "latest with `podium prices fetch`, or set one in the config under `prices`."
            )
        return found.price

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def get(self, name: str) -> Found | None:
        """Find the price of `provider/model`; None where there is none."""
        kind, model = split(name)
        return self.find(kind, model) if model else None

    def find(self, kind: str, model: str, *, priced_as: str | None = None, names: tuple[str, ...] = ()) -> Found | None:
        """Find the price of an upstream model at a kind of provider; None where none is known.

        `priced_as` names another model whose price holds (`openai/gpt-4o`). `names` are further names under which the config
        may set this model's price: those of its instance and of its public name, as `openai-eu/fast`.
        """
        key = (kind, model, priced_as, names)
        if key not in self._found:
            if len(self._found) >= _MOST_FOUND:
                self._found.clear()
            known = tuple("/".join(split(name)) for name in names)  # as the config's names were kept
            self._found[key] = self._find(kind_of(kind), model, priced_as, known)
        return self._found[key]

    def names(self) -> list[str]:
        """Return every name that has a row, sorted."""
        return sorted({*self._overrides, *(name for layer in self._layers for name in layer.names())})

    # --- the search -----------------------------------------------------------------------------------------------------

    def _find(self, kind: str, model: str, priced_as: str | None, names: tuple[str, ...]) -> Found | None:
        for name in (*names, f"{kind}/{model}"):
            if (row := self._overrides.get(name)) is not None:
                return self._make(name, row, "config", "config")
        if priced_as is None:
            priced_as = next((self._priced_as[name] for name in (*names, f"{kind}/{model}") if name in self._priced_as), None)
        if priced_as is not None:
            return self._find_other(priced_as)
        if kind in LOCAL_KINDS:
            return self._make(f"{kind}/{model}", FREE, "local", "local")
        if found := self._look(kind, model):
            return found
        for guess in guesses(kind, model):
            if found := self._look(guess.kind, guess.model, guess):
                return found
        return None

    def _find_other(self, name: str) -> Found | None:
        kind, model = split(name)
        if (row := self._overrides.get(f"{kind}/{model}")) is not None:
            found: Found | None = self._make(f"{kind}/{model}", row, "config", "config")
        else:
            found = self._find(kind, model, None, ()) if f"{kind}/{model}" not in self._priced_as else None
        return None if found is None else found.replace(priced_as=name)

    def _look(self, kind: str, model: str, guess: Guess | None = None) -> Found | None:
        """Look a name up as it is, by the data's spellings, and at those whose models this kind resells."""
        for layer in self._layers:
            if (row := layer.row(kind, model)) is not None:
                return self._make(f"{kind}/{model}", row, row.source, "name", guess)
        lower = model.lower()
        for layer in self._layers:
            if found := self._spelled(layer, kind, lower, "spelling", guess):
                return found
        for layer in self._layers:
            for other in layer.fallbacks(kind):
                if found := self._spelled(layer, other, lower, "reseller", guess):
                    return found
        return None

    def _spelled(self, layer: Layer, kind: str, lower: str, via: Via, guess: Guess | None) -> Found | None:
        for name, row in layer.rows(kind).items():
            if row.match.matches(lower) if row.match is not None else name.lower() == lower:
                return self._make(f"{kind}/{name}", row, row.source, via, guess)
        return None

    def _make(self, name: str, row: Row, source: str, via: Via, guess: Guess | None = None) -> Found:
        return Found(
            price=Price(row, self._clock),
            matched_name=name,
            normalised=None if guess is None else guess.steps,
            source=source,
            version=price_version(row),
            via=via if guess is None else "normalised",
            updated_at=row.updated_at,
        )


FREE = Row(input_per_million=Decimal(0), output_per_million=Decimal(0), free=True, source="local")
"""What a model on the user's own machine costs."""


def price_version(row: Row) -> str:
    """Return twelve hexadecimal digits that change when what a row charges changes."""
    return hashlib.sha256(dump_row(row.terms())).hexdigest()[:12]


def highest_cost(
    found: Found,
    input_tokens: int,
    output_tokens: int,
    at: float | None = None,
    context: Context | None = None,
    *,
    searches: int = 0,
) -> Decimal | None:
    """Return the most USD that a request of at most so many tokens in and out can cost (see `Price.highest`); None: unknown."""
    return found.price.highest(input_tokens, output_tokens, at, context, searches=searches)
