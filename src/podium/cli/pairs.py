"""A file of prompts for two sides: each line becomes a pair of calls, or an error that names the line.

Theory. As with `podium run`, all is read and checked before anything is sent (`podium.cli.jobs`). The sides are the command's,
so a line says nothing of specs; it may say of what kind it is, and what a right answer contains.

Rules.
- A line may have `id`, `user`, `timeout`, `expect`, and a category in the field that the command names.
- The `key` of a pair is a hash of both sides and all that decides their answers and how these are judged; neither the category
  nor `expect` is in it, for they can be changed without asking again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from podium.cli.jobs import Line, fingerprint, load_settings, read_lines, wanted
from podium.errors import RequestError
from podium.routing.compare import JudgeChoice
from podium.types import Value

if TYPE_CHECKING:
    from podium.engine.models import Models

_FIELDS = ("user", "timeout", "expect")
_OF_RUN = ("spec", "experiment", "pin")


class Sides(Value, frozen=True, kw_only=True):
    """What is compared, and how."""

    old: str
    new: str
    judge: JudgeChoice = "auto"
    answer_pattern: str | None = None


class Pair(Line, frozen=True, kw_only=True):
    """One prompt for both sides."""

    user_id: str | None = None
    timeout: str | int | float | None = None
    category: str = ""
    expect: str | None = None
    """What a right answer contains."""
    ask: dict[str, Any] = {}
    """What `generate_text` takes."""


def read_pairs(
    path: str,
    models: Models,
    sides: Sides,
    *,
    user_id: str | None,
    timeout: str | int | None,
    ask: Mapping[str, Any],
    category: str,
) -> list[Pair]:
    """Read, validate and resolve a file of prompts; `user_id`, `timeout` and `ask` hold where a line says nothing.

    `category` names the field that holds it. Raises `RequestError` and `SpecError` that name file and line.
    """

    def load(number: int, plain: dict[str, Any]) -> Pair:
        pair = _load(number, plain, sides, user_id, timeout, ask, category)
        for spec in (sides.old, sides.new):  # does all that a call does before it sends
            models.stream_text(spec, user_id=pair.user_id, pin=True, timeout=pair.timeout, **pair.ask)
        return pair

    return read_lines(path, load)


def _load(
    number: int,
    plain: dict[str, Any],
    sides: Sides,
    user_id: str | None,
    timeout: str | int | None,
    ask: Mapping[str, Any],
    category: str,
) -> Pair:
    for name in _OF_RUN:
        if plain.get(name) is not None:
            raise RequestError(f"`{name}` has no place here.", param=name, hint="Both sides are named by --old and --new.")
        plain.pop(name, None)
    own = {name: plain.pop(name, None) for name in ("id", *_FIELDS, category)}
    wanted("expect", own["expect"], str)
    wanted(category, own[category], (str, int))
    full = load_settings(plain, ask, (*_FIELDS, category))
    user_id = user_id if own["user"] is None else own["user"]
    return Pair(
        line=number,
        id=own["id"],
        key=fingerprint([sides.to_dict(), user_id, full]),
        user_id=user_id,
        timeout=timeout if own["timeout"] is None else own["timeout"],
        category="" if own[category] is None else str(own[category]),
        expect=own["expect"],
        ask=full,
    )
