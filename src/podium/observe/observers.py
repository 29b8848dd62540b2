"""The fan-out: every record to every observer, and no failure of theirs to a request.

Theory. An observer takes records. One that also wants to know when a request begins (a tracer opens its span there, in the
caller's context) has `begin`, and gives an observer for that request alone.

Rules.
- `begin` is called in the caller's task or thread, before anything is launched. The records of a request go to what it
  returned: those of its attempts in any order, each once, and then or in between that of the request.
- An observer that raises is counted (`failures`) and told of once in the log, by the error's type and place: its words might
  quote a payload. The record goes on to the others.
- Observers are called on the event loop: they may not wait.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Sequence
from traceback import extract_tb
from typing import Protocol, runtime_checkable

from podium.observe.record import Observation, RequestFacts


class Observer(Protocol):
    """Takes records."""

    @property
    def name(self) -> str:
        """What failures are counted under."""
        ...

    def observe(self, record: Observation) -> None:
        """Take a record. It must not wait; what it raises is counted and goes no further."""
        ...


@runtime_checkable
class Beginning(Protocol):
    """An observer that wants to know when a request begins."""

    def begin(self, request: RequestFacts) -> Observer:
        """Return who takes the records of this request; called in the caller's context."""
        ...


class Watch(Protocol):
    """Who takes the records of one request."""

    def observe(self, record: Observation) -> None:
        """Pass a record on to all observers."""
        ...


class Observers:
    """Passes each record to all observers. Thread-safe, as they have to be."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._plain: list[Observer] = [each for each in observers if not isinstance(each, Beginning)]
        self._beginning: list[tuple[str, Beginning]] = [(each.name, each) for each in observers if isinstance(each, Beginning)]
        self._failures: dict[str, int] = {}
        self._begin_anew()
        here = weakref.WeakMethod(self._begin_anew)
        os.register_at_fork(after_in_child=lambda: (begin := here()) and begin())

    def _begin_anew(self) -> None:
        """After a fork, in the child: no thread that may have held the lock is there any more."""
        self._counting = threading.RLock()  # the collector may end a request while its thread is in here

    def begin(self, request: RequestFacts) -> Watch:
        """Tell of a request that begins; its records go to what this returns."""
        if not self._beginning:
            return self
        own: list[Observer] = []
        for name, observer in self._beginning:
            try:
                own.append(observer.begin(request))
            except Exception as error:  # noqa: BLE001  an observer's failure must not fail a request: it is counted and logged
                self._note(name, error)
        return _Watch(self, own)

    def observe(self, record: Observation) -> None:
        """Pass a record to the observers that need no beginning."""
        self._pass_on(record, self._plain)

    def _pass_on(self, record: Observation, observers: Sequence[Observer]) -> None:
        for observer in observers:
            try:
                observer.observe(record)
            except Exception as error:  # noqa: BLE001  an observer's failure must not fail a request: it is counted and logged
                self._note(observer.name, error)

    def failures(self) -> dict[str, int]:
        """Return how often each observer failed, by its name."""
        with self._counting:
            return dict(self._failures)

    def _note(self, name: str, error: Exception) -> None:
        with self._counting:
            count = self._failures[name] = self._failures.get(name, 0) + 1
        if count > 1:
            return
        frames = extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
        logging.getLogger("podium").warning(
            "The observer %s failed with %s at %s. The request is not affected; further failures of it are only counted "
            "(`observer_failures` of the metrics).",
            name,
            type(error).__name__,
            place,
        )


class _Watch:
    """The observers of one request."""

    __slots__ = ("_observers", "_own")

    def __init__(self, observers: Observers, own: Sequence[Observer]) -> None:
        self._observers = observers
        self._own = own

    def observe(self, record: Observation) -> None:
        self._observers.observe(record)
        self._observers._pass_on(record, self._own)
