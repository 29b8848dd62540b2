"""A `Models` and forks: what is open is let go of before one, and the child begins anew.

Theory. A fork copies the memory and one thread. Locks that another thread held stay locked in the child, and threads that
served are gone. So each part says what it does before, after in the parent and after in the child; here is the order.

Rules. It keeps no `Models` alive.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podium.engine.models import Models


def register(models: Models) -> None:
    """Let a `Models` take part in every fork of this process."""
    this = weakref.ref(models)
    os.register_at_fork(
        before=lambda: _hold_still(this()),
        after_in_parent=lambda: _go_on(this()),
        after_in_child=lambda: _begin_anew(this()),
    )


def _hold_still(models: Models | None) -> None:
    if models is not None:
        models.sync.hold_still()
        models._books.hold_still()
        models.rollouts.hold_still()


def _go_on(models: Models | None) -> None:
    if models is not None:
        models._books.go_on()
        models.rollouts.go_on()
        models.sync.go_on()


def _begin_anew(models: Models | None) -> None:
    """Begin anew in a process that was forked off: what its parent asks is not its own, and nobody here holds a lock."""
    if models is not None:
        models._swap = threading.Lock()
        models._books.begin_anew()
        models._shared.forget_runs()
        models.rollouts.begin_anew()
        models._aside.begin_anew()
        models.sync.forget()
