"""Whether a target of choice is down: a circuit breaker over the last half minute.

Theory. A guard weighs arms against each other and takes its time; an outage must not wait for that. A breaker opens after a few
failures in a row, or when too many of the last requests failed, and lets one request try again after a while, which grows with
every failure of such a probe. Half of each wait is drawn (equal jitter), so that many processes do not probe at once.

Rules. It keeps counts per second, not requests. Instants (`at`, monotonic seconds) and draws (0 to 1) are arguments. What ends
while it is open says nothing: it began before.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

BreakerState = Literal["closed", "open", "probing"]
Change = Literal["opened", "reopened", "closed"]

MOST_IN_A_ROW = 5
WINDOW_S = 30
LEAST_SUCCESS = 0.8
LEAST_REQUESTS = 5
FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 300.0
PROBE_WAIT_S = 120.0
"""How long a probe may take before another one is let through."""


class Breaker:
    """Hears how requests end, and says whether the next may be sent."""

    __slots__ = ("_failed_probes", "_in_a_row", "_seconds", "_until", "state")

    def __init__(self) -> None:
        self.state: BreakerState = "closed"
        self._in_a_row = 0
        self._failed_probes = 0
        self._until = 0.0
        self._seconds: deque[list[int]] = deque(maxlen=WINDOW_S)
        """[second, requests, failures], the latest last."""

    def note(self, failed: bool, at: float, draw: float) -> Change | None:
        """Take how a request ended; returns what that changed."""
        if self.state == "open":
            return None
        if self.state == "probing":
            if failed:
                self._failed_probes += 1
                self._open(at, draw)
                return "reopened"
            self._close()
            return "closed"
        self._in_a_row = self._in_a_row + 1 if failed else 0
        second = int(at)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
        self._seconds[-1][1] += 1
        self._seconds[-1][2] += failed
        if failed and (self._in_a_row >= MOST_IN_A_ROW or self._success(at) < LEAST_SUCCESS):
            self._failed_probes = 0
            self._open(at, draw)
            return "opened"
        return None

    def allows(self, at: float) -> bool:
        """Return whether the next request may be sent; where it is open long enough, one may: the probe."""
        if self.state == "closed":
            return True
        if at < self._until:
            return False
        self.state = "probing"
        self._until = at + PROBE_WAIT_S
        return True

    def would_allow(self, at: float) -> bool:
        """Return what `allows` would, without letting a probe through."""
        return self.state == "closed" or at >= self._until

    def wait_s(self, at: float) -> float:
        """Return how long nothing is let through from now on."""
        return 0.0 if self.state == "closed" else max(self._until - at, 0.0)

    def _success(self, at: float) -> float:
        """The share of successes of the window; 1.0 where it has too few requests to say."""
        requests = failures = 0
        for second, count, failed in self._seconds:
            if second > at - WINDOW_S:
                requests += count
                failures += failed
        return 1.0 if requests < LEAST_REQUESTS else 1 - failures / requests

    def _open(self, at: float, draw: float) -> None:
        longest = min(FIRST_WAIT_S * 2.0**self._failed_probes, LONGEST_WAIT_S)
        self.state = "open"
        self._until = at + longest / 2 + draw * longest / 2

    def _close(self) -> None:
        self.state = "closed"
        self._in_a_row = self._failed_probes = 0
        self._seconds.clear()
