"""The language between a strategy and the runner that performs it.

Theory. A strategy never waits and never sends. It is told what happened (a signal) and answers what to do (actions); the
runner is the only place that awaits. So a strategy is tested in virtual time, and a run is the sequence of its signals.

Rules.
- The runner answers every `Launch` with exactly one of `Rejected`, `Done` and `Errored`, unless it was told to `Cancel` the
  attempt: then nothing more is said of it. `FirstContent` may come once, before `Done` or `Errored`.
- At most one of `Commit` and `Deliver`; nothing is launched after it. After `Commit`, the attempt's events are the caller's
  answer: its `Done` ends the request, its `Errored` is answered with `Fail`.
- A request ends with the `Done` of the committed attempt, with `Deliver`, or with `Fail`; what still ran has been cancelled.
- `Expired` is the whole request's timeout: the machine must end at once, with what it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from podium.errors import PodiumError
from podium.types import Consensus, Outcome, Response, Target, Value


class View(Value, frozen=True, kw_only=True):
    """What a strategy may know of the world when it decides."""

    now: float
    """Seconds on a clock that never goes back."""
    deadline: float
    """When `Expired` will come, on the same clock."""
    draw: float = 0.5
    """A random number in [0, 1), fresh for each view."""
    not_before: Mapping[Target, float] = {}
    """Targets that asked to be left alone (Retry-After), and until when, on the same clock."""


class Launch(Value, frozen=True, kw_only=True):
    """Ask a target. `attempt` is a fresh number, counting from 1."""

    attempt: int
    target: Target
    role: str = "answer"


class Cancel(Value, frozen=True, kw_only=True):
    """Stop an attempt that runs, upstream too. `outcome` is how it is settled."""

    attempt: int
    outcome: Outcome = "lost"


class Wake(Value, frozen=True, kw_only=True):
    """Send `Woke(id)` at an instant."""

    id: int
    at: float


class Commit(Value, frozen=True, kw_only=True):
    """From now on this attempt is the answer: pass its events to the caller."""

    attempt: int


class Deliver:
    """End with this answer (of attempt `attempt`), chosen from several."""

    __slots__ = ("attempt", "consensus", "response")

    def __init__(self, *, attempt: int, response: Response, consensus: Consensus) -> None:
        self.attempt = attempt
        self.response = response
        self.consensus = consensus


class Fail:
    """End with this error; None: all attempts failed, and the runner makes the error from them."""

    __slots__ = ("consensus", "error")

    def __init__(self, *, error: PodiumError | None = None, consensus: Consensus | None = None) -> None:
        self.error = error
        self.consensus = consensus


Action = Launch | Cancel | Wake | Commit | Deliver | Fail


class Rejected:
    """A limit of Podium's own refused the attempt before anything was sent."""

    __slots__ = ("attempt", "error")

    def __init__(self, attempt: int, error: PodiumError) -> None:
        self.attempt = attempt
        self.error = error


class FirstContent:
    """The attempt gave its first content: text, a tool call, or reasoning where the caller is to see it."""

    __slots__ = ("attempt",)

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt


class Done:
    """The attempt's answer is whole."""

    __slots__ = ("attempt", "response")

    def __init__(self, attempt: int, response: Response) -> None:
        self.attempt = attempt
        self.response = response


class Errored:
    """The attempt failed."""

    __slots__ = ("attempt", "error")

    def __init__(self, attempt: int, error: PodiumError) -> None:
        self.attempt = attempt
        self.error = error


class Woke:
    """The instant of a `Wake` has come."""

    __slots__ = ("id",)

    def __init__(self, id: int) -> None:
        self.id = id


class Abandoned:
    """The caller left."""

    __slots__ = ()


class Expired:
    """The whole request's time is over."""

    __slots__ = ()


Signal = Rejected | FirstContent | Done | Errored | Woke | Abandoned | Expired


class Machine(Protocol):
    """A strategy at work on one request."""

    def begin(self, view: View) -> list[Action]:
        """Return the first actions."""
        ...

    def handle(self, signal: Signal, view: View) -> list[Action]:
        """Take a signal and return what to do about it."""
        ...
