"""What a change makes of a rollout, whether what was given for it makes sense, and who makes it.

Rules. A function here checks what is given at once, and returns what the store applies to the rollout as it stands by then:
somebody else may have changed it meanwhile. What is set by hand is no ramp's any more.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from typing import Any

from pydantic_core import PydanticCustomError

from podium.config.values import percent as load_percent
from podium.engine.slips import refused
from podium.errors import RequestError
from podium.routing.rollout import Rollout
from podium.routing.spec import quote
from podium.routing.spelling import nearest

Make = Callable[[Rollout], Rollout]


def setting(
    name: str, check: Callable[[str], object], *, percent: float | str | None, candidate: str | None, legacy: str | None
) -> Make:
    """Set what is given; `check` raises for a spec that means nothing. Raises `RequestError` and `SpecError`."""
    changes: dict[str, Any] = {}
    if percent is not None:
        try:
            changes["percent"] = load_percent(percent)
        except PydanticCustomError as error:
            raise refused("percent", error) from None
    for arm, spec in (("candidate", candidate), ("legacy", legacy)):
        if spec is not None:
            _check_text(arm, spec)
            check(spec)
            changes[arm] = spec
    if not changes:
        raise RequestError("Nothing to set was given.", hint="Give `percent`, `candidate` or `legacy`.")

    def make(rollout: Rollout) -> Rollout:
        if rollout.hash == "legacy_js" and changes.get("percent", 0) % 1:
            words = f"Rollout {quote(name)} draws by `legacy_js`, which knows whole percents only."
            raise RequestError(words, param="percent", hint="Give a whole number.")
        return rollout.replace(**changes, stage=None)

    return make


def adding(user_id: str) -> Make:
    """Add a test user. Raises `RequestError` for an id that is none."""
    _check_text("user_id", user_id)
    return lambda rollout: rollout.replace(test_users=tuple(dict.fromkeys((*rollout.test_users, user_id))))


def removing(name: str, user_id: str) -> Make:
    """Remove a test user; the change raises `RequestError` where they are none."""

    def make(rollout: Rollout) -> Rollout:
        if user_id not in rollout.test_users:
            near = nearest(user_id, rollout.test_users, most=1)
            hint = f"Did you mean {quote(near[0])}?" if near else f"See `podium rollout show {name}`."
            raise RequestError(f"{quote(user_id)} is no test user of {quote(name)}.", param="user_id", hint=hint)
        return rollout.replace(test_users=tuple(each for each in rollout.test_users if each != user_id))

    return make


def check_words(who: object, why: object) -> None:
    """Check who changes something, and why; both may be left out. Raises `RequestError`."""
    for name, words in (("who", who), ("why", why)):
        if words is not None:
            _check_text(name, words)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        found = "empty" if value == "" else repr(value)
        raise RequestError(f"`{name}` must be text, not {found}.", param=name, hint="Give a text that is not empty.")


def me() -> str:
    """Who changes something, where nobody says so: this account of the machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's account may have no name
        return f"uid {os.getuid()}"
