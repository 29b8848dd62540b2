"""Shadows: which answered calls the other arm of their rollout is asked too, and which never.

Theory. A shadow asks the other arm the same request after the caller has an answer, so that the two can be compared while
nobody depends on the second. It is drawn by a hash of the request's id: that needs no chance, every process says the same of
one id, and a request that is sent again under its id is not drawn again.

Rules.
- A request that refers to what a provider keeps (a stored response, an uploaded file), or lets a provider execute something
  (its own tools), is no shadow: asked twice it would do twice, or mean something else.
- A shadow's entry is no user's: it has an arm of its own (`candidate_shadow`, `legacy_shadow`), and neither user nor team.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Literal

from podium.routing.limits import Limit, pico_down
from podium.routing.rollout import Arm
from podium.routing.snapshot import Shadow, ShadowArm, User
from podium.types import Media, Opaque, Part, Request, ToolResult

Unfit = Literal["provider_state", "provider_tools"]

_BUCKETS = 10_000
_STATE = frozenset({"previous_response_id", "conversation", "store", "background", "container"})
"""Settings that refer to, or make, something that a provider keeps."""
_TOOLS = frozenset({"web_search_options", "plugins", "mcp_servers"})
"""Settings that let a provider execute something."""


def drawn(rollout: str, shadow: Shadow, request_id: str) -> bool:
    """Return whether a request is shadowed, by its id."""
    if shadow.sample <= 0:
        return False
    digest = sha256(f"shadow:{rollout}:{request_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _BUCKETS < round(shadow.sample * 100)


def unfit(request: Request) -> Unfit | None:
    """Return why a request can never be a shadow; None: it can."""
    if any(isinstance(tool, Opaque) for tool in request.tools):
        return "provider_tools"
    for fields in request.extra.values():
        if any(fields.get(name) for name in _STATE):
            return "provider_state"
        if any(fields.get(name) for name in _TOOLS):
            return "provider_tools"
    if any(_kept(message.parts) for message in request.messages):
        return "provider_state"
    return None


def _kept(parts: Iterable[Part]) -> bool:
    """Whether some part is something that one provider alone has, or can read."""
    for part in parts:
        if isinstance(part, Opaque) or (isinstance(part, Media) and part.file_id is not None):
            return True
        if isinstance(part, ToolResult) and _kept(part.parts):
            return True
    return False


def other(arm: Arm) -> Arm:
    """Return the arm that a call did not take."""
    return "legacy" if arm == "candidate" else "candidate"


def entered_as(arm: Arm) -> ShadowArm:
    """Return the arm that a shadow's entry has."""
    return "legacy_shadow" if arm == "legacy" else "candidate_shadow"


def brings_a_key(user: User | None, providers: Iterable[str]) -> bool:
    """Return whether asking these providers for a user would be at the user's own expense, or without their leave."""
    return user is not None and (user.mode == "byok" or any(provider in user.keys for provider in providers))


def budget(rollout: str, shadow: Shadow) -> Limit:
    """Return what the shadows of a rollout may cost, as a limit of theirs alone."""
    amount = pico_down(shadow.budget_usd_per_day)
    return Limit(kind="cost_usd", scope="shadow", id=rollout, period="day", amount=amount)
