"""What a kind of provider is: address, dialect, authentication, and whose model names are whose.

Theory. Most providers speak one of a few dialects and differ in facts alone, so a provider is a row of `providers.toml` and
not a module. `routing` reads `owns` and `serves` to say which provider a bare model name means.

Rules. The table is read once, when first asked for, and never changed. Globs are matched with case, as model names are.
"""

from __future__ import annotations

import tomllib
from datetime import date
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from podium.types import Value

Auth = Literal["bearer", "x-api-key", "none"]

CUSTOM = "custom"
"""The kind of a provider that is in no row: any endpoint with a `base_url`."""


class Kind(Value, frozen=True, kw_only=True):
    """One row of `providers.toml`."""

    base_url: str
    dialect: str
    auth: Auth
    key_variables: tuple[str, ...]
    """Environment variables that usually hold the key; the first that is set counts."""
    key_required: bool = True
    owns: tuple[str, ...] = ()
    """Globs of its own model names."""
    serves: tuple[str, ...] = ()
    """Globs of further model names that it is known to serve."""
    docs: str = ""
    """The vendor's page behind the row."""
    checked: date | None = None
    """When the row was last compared with that page."""


@cache
def kinds() -> dict[str, Kind]:
    """Return all provider kinds by name, in the order of the file."""
    text = resources.files("podium.catalog").joinpath("providers.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Kind])
