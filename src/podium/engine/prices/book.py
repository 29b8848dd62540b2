"""Prices for calls: the price book made of the config's prices, the file of fetched prices, and the bundled data.

Theory. What is asked for on the way of a request must be at hand: the file is read as bytes whose rows are decoded when they
are asked for, and the bundled data is imported only for a name that the file does not have.

Rules. Prices never stand in the way of a call: a file that cannot be read leaves the bundled data, and the book's `problems`
say so. Only what the config itself says wrongly is an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from podium.catalog.price_import import load_override
from podium.catalog.price_names import kind_of, split
from podium.catalog.price_sheet import Heading, NotPrices, Row, load_heading, load_row, refusal
from podium.catalog.pricing import Found, PriceBook
from podium.engine.prices.bundle import BundledLayer
from podium.errors import ConfigError
from podium.routing.snapshot import Provider

FILE_NAME = "pricing-cache.json"


class FileLayer:
    """The rows of a price file, decoded when they are first asked for.

    Thread-safe without a lock, which a fork could leave held for good: who comes at the same moment gets the same rows.
    """

    def __init__(self, heading: Heading, problems: list[str], file: str) -> None:
        self.heading = heading
        self._problems = problems
        self._file = file
        self._rows: dict[str, dict[str, Row]] = {}
        self._raw: dict[str, dict[str, Any]] = {}
        for name, raw in heading.models.items():
            kind, model = split(name)
            self._raw.setdefault(kind, {})[model] = raw

    def row(self, kind: str, model: str) -> Row | None:
        """Return the row of just this name; the others of its kind stay unread."""
        raw = self._raw.get(kind, {}).get(model)
        return None if raw is None else self._load(f"{kind}/{model}", raw)

    def rows(self, kind: str) -> Mapping[str, Row]:
        """Return the rows of a provider kind by the model's part of their names."""
        rows = self._rows.get(kind)
        if rows is None:
            rows = self._rows.setdefault(kind, dict(self._read(kind)))
        return rows

    def _read(self, kind: str) -> Iterator[tuple[str, Row]]:
        for model, raw in self._raw.get(kind, {}).items():
            if (row := self._load(f"{kind}/{model}", raw)) is not None:
                yield model, row

    def _load(self, name: str, raw: Any) -> Row | None:
        """One row; None for one that cannot be used, which is told once."""
        try:
            row = load_row(raw)
            reason = refusal(name, row)
        except NotPrices as error:
            reason = str(error)
        if reason is None:
            return row
        problem = f"The price of {name} in {self._file} is passed over: {reason}. `podium prices fetch` mends it."
        if problem not in self._problems:
            self._problems.append(problem)
        return None

    def fallbacks(self, kind: str) -> tuple[str, ...]:
        """Return the kinds whose prices hold where this kind has none of its own."""
        return tuple(kind_of(other) for other in self.heading.fallbacks.get(kind, ()))

    def names(self) -> Iterator[str]:
        """Return all names."""
        return (f"{kind}/{model}" for kind, models in self._raw.items() for model in models)


def load_prices(
    cache_path: str | PathLike[str] | None = None,
    overrides: Mapping[str, Mapping[str, Any] | str] | None = None,
    *,
    bundled: bool = True,
    clock: Callable[[], float] = time.time,
) -> PriceBook:
    """Make the price book of a config.

    `cache_path` is what `podium prices fetch` wrote; where there is none, only the bundled data holds (`bundled=False` leaves
    it out). `overrides` maps names (`openai/gpt-4o`) to USD per million tokens (`{"input": 2.5, "output": 10}`, more in
    `load_override`), or to the name of the model whose price holds. Raises `ConfigError` for an override that cannot be.
    """
    problems: list[str] = []
    layers: list[FileLayer | BundledLayer] = []
    if cache_path is not None and (layer := _open(Path(cache_path), problems)) is not None:
        layers.append(layer)
    if bundled:
        layers.append(BundledLayer())
    rows: dict[str, Row] = {}
    priced_as: dict[str, str] = {}
    wrong = []
    for name, said in (overrides or {}).items():
        try:
            if isinstance(said, str):
                priced_as[name] = said
            elif set(said) == {"priced_as"} and isinstance(said["priced_as"], str):
                priced_as[name] = said["priced_as"]
            else:
                rows[name] = load_override(name, said)
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise ConfigError(" ".join(wrong), hint="Mend the config's `prices`; they are USD per million tokens.")
    book = PriceBook(layers, overrides=rows, priced_as=priced_as, clock=clock)
    book.problems = problems
    return book


def find_target(book: PriceBook, provider: Provider, model: str) -> Found | None:
    """Find the price of a provider's public model name, as a call to it finds it."""
    entry = provider.models.get(model)
    upstream = model if entry is None else entry.upstream
    return book.find(
        provider.kind,
        upstream,
        priced_as=None if entry is None else entry.priced_as,
        names=(f"{provider.name}/{model}", f"{provider.name}/{upstream}"),
    )


def _open(path: Path, problems: list[str]) -> FileLayer | None:
    """Open a price file; where it cannot be, say so in `problems`. A file that is not there yet is no problem."""
    try:
        return FileLayer(load_heading(path.read_bytes()), problems, path.name)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except NotPrices as error:
        reason = f"it is no price file ({error})"
    problems.append(f"{path} is passed over: {reason}. Bundled prices hold; `podium prices fetch` writes it anew.")
    return None
