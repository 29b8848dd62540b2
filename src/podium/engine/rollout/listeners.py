"""Who wants to hear of rollouts: that some have changed, that their store is lost, that it answers again.

Rules. Listeners are called in the thread that found out, mostly the one that watches the store: they may not wait. A listener
that raises is told of in the log, and the others hear it all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal, Protocol

What = Literal["changed", "lost", "found"]

_log = logging.getLogger("podium.rollouts")


class Listener(Protocol):
    """Hears of rollouts."""

    def __call__(self, what: What, rollouts: Sequence[str], why: str) -> object:
        """Take what happened: which rollouts have changed, or why the store is lost."""
        ...


class Listeners:
    """All who listen."""

    def __init__(self) -> None:
        self._all: tuple[Listener, ...] = ()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, listener: Listener) -> None:
        """Let somebody hear of what happens from now on."""
        self._all = (*self._all, listener)

    def remove(self, listener: Listener) -> None:
        """Let somebody hear no more."""
        self._all = tuple(each for each in self._all if each != listener)

    def tell(self, what: What, rollouts: Sequence[str] = (), why: str = "") -> None:
        """Tell everybody."""
        for listener in self._all:
            try:
                listener(what, rollouts, why)
            except Exception:  # noqa: BLE001  a listener's defect must not end the watching; it is logged whole
                _log.exception("What listens to rollouts failed (%s).", what)
