"""What is kept and what it is reckoned by: prices, the ledger, and where their files are.

Theory. A config says prices in USD per million tokens, as vendors print them; whether such a price can be is the catalog's
business, so each is shown to `load_override`, and what the snapshot keeps is what that takes.

Rules.
- A path counts from the config's own folder and is absolute from then on; `~` is the home folder. Nothing is made here.
- The data folder is what the config says, else what PODIUM_DATA says, else `.podium` beside the config file; a config that is
  no file has none, and keeps its records in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path as FilePath
from typing import Any, cast

from pydantic_core import PydanticCustomError

from podium.catalog.price_import import load_override
from podium.catalog.providers import kinds
from podium.config.problems import show, suggestion
from podium.config.sections import HeadSection, LedgerSection, PriceSection
from podium.config.shape import Reader
from podium.config.values import split_target
from podium.routing.snapshot import LedgerSettings

DATA_VARIABLE = "PODIUM_DATA"
"""The environment variable that names the data folder where the config does not."""
DATA_FOLDER = ".podium"
PRICING_CACHE = "pricing-cache.json"


def compile_prices(reader: Reader, data: dict[str, Any], providers: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the config's prices by name, in the form that `catalog.price_import.load_override` takes; faults are noted."""
    compiled: dict[str, dict[str, Any]] = {}
    for name, values in data.items():
        path = ("prices", name)
        try:
            provider = split_target(name)["provider"]
        except PydanticCustomError as error:
            context = error.context or {}
            reader.note(path, context["message"], context["hint"])
            continue
        if provider not in providers and provider not in kinds():
            hint = suggestion(provider, [*providers, *kinds()], "Begin with the name of a provider.")
            reader.warn(path, f"there is no provider {show(provider)}, so this price is never used.", hint)
        section = reader.read(PriceSection, {} if values is None else values, path)
        if section is None or not reader.is_whole(path):
            continue
        rates = {key: rate for key in PriceSection.model_fields if (rate := getattr(section, key)) is not None}
        try:
            load_override(name, rates)
        except ValueError as error:
            words = str(error).removeprefix(f"The price of {name} ").replace("_per_million", "")
            reader.note(path, f"the price {words}", "Write USD per million tokens, as `{input: 2.5, output: 10}`.")
        else:
            compiled[name] = rates
    return compiled


def compile_ledger(reader: Reader, data: Any, data_dir: str | None) -> LedgerSettings:
    """Return how records are kept; faults are noted."""
    path = ("ledger",)
    section = reader.read(LedgerSection, {} if data is None else data, path)
    if section is None:
        return LedgerSettings()
    if section.store == "sqlite" and "store" in section.model_fields_set and data_dir is None:
        reader.warn(path, "there is no folder for the records, so they are kept in memory.", "Add `data_dir:`.")
    for field in ("keep", "keep_size"):
        if section.payloads == "none" and getattr(section, field) is not None and reader.is_whole(path):
            reader.warn((*path, field), "no payloads are kept, so this has no effect.", "Set `payloads: full`, or remove it.")
    return LedgerSettings(
        store=cast(Any, section.store),
        fsync=cast(Any, section.fsync),
        on_full=cast(Any, section.on_full),
        payloads=cast(Any, section.payloads),
        keep_s=section.keep,
        keep_bytes=section.keep_size,
    )


def find_data_dir(reader: Reader, head: HeadSection, values: Mapping[str, str]) -> str | None:
    """Return the data folder's path; None where records are kept in memory."""
    if head.data_dir is not None:
        return _path(reader, "data_dir", head.data_dir, is_folder=True)
    if named := values.get(DATA_VARIABLE, "").strip():
        return str(FilePath(named).absolute())
    if reader.document.file is None or not reader.document.written:
        return None
    return str((reader.document.directory / DATA_FOLDER).absolute())


def find_pricing_cache(reader: Reader, head: HeadSection) -> str | None:
    """Return the path of the file of fetched prices, be it there or not; None for a config that is no file and names none."""
    if head.pricing_cache is not None:
        return _path(reader, "pricing_cache", head.pricing_cache, is_folder=False)
    usual = reader.document.directory / PRICING_CACHE
    return str(usual.absolute()) if reader.document.written and not usual.is_dir() else None


def _path(reader: Reader, key: str, written: str, *, is_folder: bool) -> str:
    """Make a path absolute; one that is already there, and of the other sort, is noted."""
    path = reader.document.directory / written
    try:
        if written == "~" or written.startswith("~/"):
            path = FilePath(written).expanduser()
        path = path.absolute()
        if is_folder and path.exists() and not path.is_dir():
            reader.note((key,), f"{show(written)} is a file, not a folder.", "Name a folder; it is made where it is missing.")
        elif not is_folder and path.is_dir():
            reader.note((key,), f"{show(written)} is a folder, not a file.", f"Name a file: `{PRICING_CACHE}`.")
    except (OSError, RuntimeError) as error:  # a name that is too long, a folder that is closed to us, a user without a home
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is no path"
        reader.note((key,), f"{show(written)} cannot be looked at: {reason}.", "Name another place, or check who may read it.")
    return str(path)
