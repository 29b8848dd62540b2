"""Teams and allowances: who counts together, and how much they may use.

Theory. A user and a team have the same limits in other words: `cost_limit` is a user's day and a team's month, as budgets are
given. Both become an `Allowance`, in which nothing is short.

Rules. A limit that is not written is none. Days and months begin in the timezone of whom they belong to.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from podium.config.problems import Path, choices, show, suggestion
from podium.config.providers import check_name
from podium.config.sections import DefaultsSection, TeamSection
from podium.config.shape import Reader
from podium.routing.snapshot import Allowance, Team


class Known(NamedTuple):
    """The names that a user's config may refer to."""

    providers: Collection[str] = ()
    teams: Collection[str] = ()


def compile_teams(reader: Reader, data: dict[str, Any]) -> dict[str, Team]:
    """Make all teams of a config; faults are noted."""
    compiled: dict[str, Team] = {}
    for name, values in data.items():
        path = ("teams", name)
        check_name(reader, path, name, "a team")
        section = reader.read(TeamSection, {} if values is None else values, path)
        if section is not None:
            compiled[name] = Team(name=name, allowance=_of_team(section))
    return compiled


def of_user(section: DefaultsSection, timezone: str) -> Allowance:
    """Return what a user may use."""
    return Allowance(
        cost_day_usd=section.cost_limit,
        cost_month_usd=section.cost_limit_month,
        requests_per_minute=section.requests_per_minute,
        tokens_per_minute=section.tokens_per_minute,
        max_concurrent=section.max_concurrent,
        timezone=timezone,
    )


def _of_team(section: TeamSection) -> Allowance:
    return Allowance(
        cost_day_usd=section.cost_limit_day,
        cost_month_usd=section.cost_limit,
        requests_per_minute=section.requests_per_minute,
        tokens_per_minute=section.tokens_per_minute,
        max_concurrent=section.max_concurrent,
        timezone=section.timezone,
    )


def check_team(reader: Reader, name: str, path: Path, teams: Collection[str]) -> None:
    """Note a team that does not exist."""
    if name not in teams:
        known = f"Use {choices(teams)}." if teams else "Declare it under `teams:`."
        reader.note(path, f"there is no team {show(name)}.", suggestion(name, teams, known))
