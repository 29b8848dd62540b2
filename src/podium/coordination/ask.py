"""A reservation that waits for the leasing thread.

Theory. It is made in an event loop and resolved from the leasing thread. Whoever asked may leave meanwhile: what was given
then is given back, by whoever learns of it last.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from podium.coordination.accounts import Asked, Reservation

T = TypeVar("T")

RECALL_WAIT_S = 1.0
"""How long a request waits for what other processes were asked to give back."""


class Ask:
    """What is asked, at what time, and for how long it may wait where a limit is reached."""

    __slots__ = ("abandoned", "asked", "at", "deadline", "future", "patient_until", "reservation")

    def __init__(self, asked: Asked, at: float, wait_s: float) -> None:
        self.asked = asked
        self.at = at
        self.future: asyncio.Future[Reservation] = asyncio.get_running_loop().create_future()
        now = time.monotonic()
        self.deadline = now + RECALL_WAIT_S
        self.patient_until = now + wait_s
        self.reservation: Reservation | None = None
        self.abandoned = False
        """Whether nobody waits any more."""

    def resolve(self, reservation: Reservation) -> None:
        """Give it what it waits for; where its loop is gone, that is given back."""
        self.reservation = reservation
        self._tell(self._set_result, reservation)
        if self.abandoned:
            reservation.release()

    def refuse(self, error: BaseException) -> None:
        """Tell it that there is nothing to wait for."""
        self._tell(self._set_error, error)

    def _set_result(self, reservation: Reservation) -> None:
        if not self.future.done():
            self.future.set_result(reservation)

    def _set_error(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def _tell(self, setter: Callable[[T], None], news: T) -> None:
        try:
            self.future.get_loop().call_soon_threadsafe(setter, news)
        except RuntimeError:  # the loop is closed
            self.abandoned = True
