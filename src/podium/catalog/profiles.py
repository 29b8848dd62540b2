"""What a family of models takes and refuses: the facts by which a codec writes a request for it.

Theory. Within one dialect, models differ: reasoning models refuse a temperature, one vendor wants tool-call ids of nine
characters, another counts answers by another field. These are facts about families of names, so they are rows of
`profiles.toml`: globs of provider kinds and of upstream model names, and a `Profile`. The first row that matches is the
profile; a row says everything and inherits nothing, so that each can be read alone.

Rules. A model that no row matches has the plain `Profile()`. Globs are matched with case. The caller caches what it asks often.
"""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources

import msgspec

from podium.types import Profile, Value


class _Row(Value, frozen=True, kw_only=True):
    """One `[[profile]]` of `profiles.toml`."""

    kinds: tuple[str, ...]
    models: tuple[str, ...]
    facts: Profile
    source: str
    """Where the facts are from."""


Rows = tuple[tuple[str, str, Profile], ...]
"""(glob of provider kinds, glob of upstream model names, profile): the form of `Snapshot.profiles`."""


@cache
def _rows() -> tuple[_Row, ...]:
    text = resources.files("podium.catalog").joinpath("profiles.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text)["profile"], tuple[_Row, ...])


@cache
def rows() -> Rows:
    """Return the whole table, first match first."""
    return tuple((kind, model, row.facts) for row in _rows() for kind in row.kinds for model in row.models)


def profile(kind: str, upstream_model: str, table: Rows | None = None) -> Profile:
    """Return the profile of an upstream model at a kind of provider; `table` stands in for the packaged one."""
    for kind_glob, model_glob, facts in rows() if table is None else table:
        if fnmatchcase(kind, kind_glob) and fnmatchcase(upstream_model, model_glob):
            return facts
    return Profile()
