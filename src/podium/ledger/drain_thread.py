"""The thread that drains: stands for election, drains, waits, and never gives up.

Rules. What goes wrong in the store or on its disk is counted and tried again, first after 0.1 s, then ever later, up to 2 s.
Whatever ends the thread, it lets the lock go, so that another process can go on.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import NamedTuple, Protocol

from podium.errors import StoreError
from podium.ledger.store import Store

ELECTION_S = 0.25
IDLE_S = 1.0
"""Between two passes, unless somebody asks: the more a pass finds, the less of its fixed cost each record bears."""
_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 2.0
_TIDY_EVERY_S = 10.0
_TIDY_STEP = 200

_LOG = logging.getLogger("podium.ledger")


class Drains(Protocol):
    """What the thread drives."""

    @property
    def elected(self) -> bool:
        """Whether it is the one that drains."""
        ...

    def elect(self) -> bool:
        """Become the one that drains, if nobody is."""
        ...

    def drain(self) -> bool:
        """Drain some; says whether there may be more."""
        ...

    def resign(self) -> None:
        """Let another drain."""
        ...


class Retention(NamedTuple):
    """How long payloads are kept, and how many bytes of them; None: without end."""

    age_s: float | None = 30 * 86400.0
    most_bytes: int | None = 2**30


class DrainThread:
    """Runs a drainer."""

    def __init__(self, drainer: Drains, store: Store, retention: Retention | None) -> None:
        self._drainer = drainer
        self._store = store
        self._retention = retention
        self._wake = threading.Event()
        self._stop = False
        self._thread: threading.Thread | None = None
        self.stood = threading.Event()
        """Whether it has stood for election: another process drains, then, or we do."""
        self._passed = threading.Condition()
        self._passes = 0
        """Passes that were begun."""
        self._emptied = 0
        """The last pass after which nothing was left."""
        self._tidied_at = -_TIDY_EVERY_S

    def start(self) -> None:
        """Begin to drain."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="podium-drainer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._stand()
        finally:
            self._drainer.resign()

    def _stand(self) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while not self._stop:
            wait_s = ELECTION_S
            try:
                is_elected = self._drainer.elect()
                self.stood.set()
                if is_elected:
                    wait_s = 0.0 if self._pass() else IDLE_S
                backoff_s = _FIRST_BACKOFF_S
            except (StoreError, OSError) as error:
                if isinstance(error, OSError):
                    _LOG.warning("The ledger's journal cannot be drained now: %s", error)
                wait_s = backoff_s
                backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)
            if wait_s:
                self._wake.wait(wait_s)
                self._wake.clear()

    def _pass(self) -> bool:
        with self._passed:
            self._passes += 1
            number = self._passes
        more = self._drainer.drain()
        if not more:
            with self._passed:
                self._emptied = number
                self._passed.notify_all()
            self._tidy()
        return more

    def _tidy(self) -> None:
        begun_at = time.monotonic()
        if self._retention is None or begun_at - self._tidied_at < _TIDY_EVERY_S:
            return
        age_s, most_bytes = self._retention
        gone = self._store.tidy(now=time.time(), payload_age_s=age_s, payload_bytes=most_bytes, most=_TIDY_STEP)
        if gone < _TIDY_STEP:  # else there is more to do in the next pass
            self._tidied_at = begun_at

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until a pass that begins after now has left nothing; False where the time is over, or we do not drain."""
        until = time.monotonic() + timeout_s
        with self._passed:
            after = self._passes
            while self._emptied <= after:
                left = until - time.monotonic()
                if left <= 0 or self._thread is None or not self._drainer.elected:
                    return False
                self._wake.set()
                self._passed.wait(min(left, 0.05))
        return True

    def close(self, timeout_s: float) -> None:
        """Stop; what is not drained stays in the journal."""
        self._stop = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
