"""A runner without waiting: drives a strategy's machine through a scripted world, and holds it to the contract.

`World` is the runner's side of `machine.py`: it sends signals, performs actions, keeps count of every attempt and writes down
each breach of the contract in `violations`. `play` moves it through virtual time by a script of what each target does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

from podium.errors import PodiumError
from podium.routing.strategies.machine import (
    Abandoned,
    Action,
    Cancel,
    Commit,
    Deliver,
    Done,
    Errored,
    Expired,
    Fail,
    FirstContent,
    Launch,
    Machine,
    Rejected,
    Signal,
    View,
    Wake,
    Woke,
)
from podium.types import Choice, Finish, Response, Target, Text


def answer(text: str) -> Response:
    """A whole answer of one text."""
    return Response(choices=(Choice(parts=(Text(text=text),), finish=Finish(reason="stop")),))


YES = answer("yes")


class Act(NamedTuple):
    """What a target does with one attempt: content after `first_s` (inf: none), then after `end_s` an answer or an error."""

    first_s: float = 0.1
    end_s: float = 1.0
    error: PodiumError | None = None
    response: Response = YES
    rejected: bool = False


Script = Mapping[Target, Sequence[Act]]
"""What a target does with its first attempt, its second, ...; the last act repeats."""


class Launched(NamedTuple):
    """A launch as it was performed."""

    at: float
    attempt: int
    target: Target
    role: str
    blocked: frozenset[Target]
    """The targets that were not to be asked at that instant."""


class World:
    """The runner's side of one request."""

    def __init__(
        self,
        machine: Machine,
        *,
        deadline: float = 600.0,
        not_before: Mapping[Target, float] | None = None,
        draw: Callable[[], float] = lambda: 0.5,
    ) -> None:
        self.machine = machine
        self.now = 0.0
        self.deadline = deadline
        self.not_before = dict(not_before or {})
        self.draw = draw
        self.running: dict[int, Launch] = {}
        self.wakes: dict[int, float] = {}
        self.launches: list[Launched] = []
        self.endings: dict[int, str] = {}
        """From attempt to how it ended: `done`, `errored`, `rejected`, or the outcome of its `Cancel`."""
        self.errors: dict[int, PodiumError] = {}
        self.committed: int | None = None
        self.delivered: Deliver | None = None
        self.failure: Fail | None = None
        self.ended: str | None = None
        """`done`, `delivered`, `failed` or `abandoned`."""
        self.most_running = 0
        self.violations: list[str] = []
        self._wake_ids: set[int] = set()

    def view(self) -> View:
        return View(now=self.now, deadline=self.deadline, draw=self.draw(), not_before=self.not_before)

    def begin(self) -> list[Action]:
        actions = self.machine.begin(self.view())
        self._perform(actions, None)
        self._check()
        return actions

    def send(self, signal: Signal) -> list[Action]:
        """Tell the machine what happened, and perform what it wants."""
        just_done = None
        if isinstance(signal, Done):
            just_done = signal.attempt
            self._end_attempt(signal.attempt, "done")
        elif isinstance(signal, Errored | Rejected):
            launch = self._end_attempt(signal.attempt, "errored" if isinstance(signal, Errored) else "rejected")
            self.errors[signal.attempt] = signal.error
            if launch is not None and signal.error.retry_after_s is not None:
                until = self.now + signal.error.retry_after_s
                self.not_before[launch.target] = max(until, self.not_before.get(launch.target, 0.0))
        elif isinstance(signal, Woke):
            self.wakes.pop(signal.id, None)
        actions = self.machine.handle(signal, self.view())
        self._perform(actions, just_done)
        if isinstance(signal, Abandoned):
            self._end("abandoned")
        elif just_done is not None and just_done == self.committed:
            self._end("done")
        elif isinstance(signal, Expired) and self.ended is None:
            self.violations.append("it did not end when the time was over")
        self._check()
        return actions

    def _end_attempt(self, attempt: int, ending: str) -> Launch | None:
        if attempt in self.endings:
            self.violations.append(f"attempt {attempt} ended twice")
        self.endings[attempt] = ending
        return self.running.pop(attempt, None)

    def _end(self, how: str) -> None:
        if self.ended is not None:
            self.violations.append(f"it ended twice: {self.ended}, then {how}")
        self.ended = how

    def _perform(self, actions: list[Action], just_done: int | None) -> None:
        for action in actions:
            if self.ended is not None:
                self.violations.append(f"{type(action).__name__} after the end")
            match action:
                case Launch():
                    self._launch(action)
                case Cancel():
                    if action.attempt not in self.running:
                        self.violations.append(f"it cancelled attempt {action.attempt}, which does not run")
                    self._end_attempt(action.attempt, action.outcome)
                case Wake():
                    if action.at < self.now or action.id in self._wake_ids:
                        self.violations.append(f"a wake is past or repeated: {action}")
                    self._wake_ids.add(action.id)
                    self.wakes[action.id] = action.at
                case Commit():
                    if self.committed is not None:
                        self.violations.append("it committed twice")
                    if action.attempt not in self.running and action.attempt != just_done:
                        self.violations.append(f"it committed attempt {action.attempt}, which does not run")
                    self.committed = action.attempt
                case Deliver():
                    if self.endings.get(action.attempt) != "done":
                        self.violations.append(f"it delivered attempt {action.attempt}, which is not whole")
                    self.delivered = action
                    self._end("delivered")
                case Fail():
                    self.failure = action
                    self._end("failed")

    def _check(self) -> None:
        """Look at what holds after each step."""
        if self.committed is not None and any(attempt != self.committed for attempt in self.running):
            self.violations.append("a loser runs on after the commit")
        if self.ended is not None and self.running:
            self.violations.append("something runs on after the end")
        if self.ended is None and not self.running and not self.wakes:
            self.violations.append("it waits for nothing")

    def _launch(self, launch: Launch) -> None:
        if launch.attempt != len(self.launches) + 1:
            self.violations.append(f"attempt {launch.attempt} is not the next number")
        if self.committed is not None:
            self.violations.append("it launched after the commit")
        if self.now >= self.deadline:
            self.violations.append("it launched after the deadline")
        if self.not_before and self.not_before.get(launch.target, 0.0) > self.now:
            self.violations.append(f"it asked {launch.target} before its time")
        blocked = frozenset(target for target, until in self.not_before.items() if until > self.now)
        self.launches.append(Launched(self.now, launch.attempt, launch.target, launch.role, blocked))
        self.running[launch.attempt] = launch
        self.most_running = max(self.most_running, len(self.running))


def play(world: World, script: Script, *, abandon_at: float = inf) -> World:
    """Move a world through virtual time until its request ends; the deadline and the caller's leaving come when they come."""
    heap: list[tuple[float, int, Signal]] = [(world.deadline, 0, Expired())]
    if abandon_at < inf:
        heappush(heap, (abandon_at, 1, Abandoned()))
    order = 1
    asked: dict[Target, int] = {}
    actions = world.begin()
    while True:
        for action in actions:
            if isinstance(action, Launch):
                count = asked.get(action.target, 0)
                asked[action.target] = count + 1
                acts = script[action.target]
                act = acts[min(count, len(acts) - 1)]
                order += 2
                if act.first_s <= act.end_s and act.first_s < inf and not act.rejected:
                    heappush(heap, (world.now + act.first_s, order, FirstContent(action.attempt)))
                if act.end_s < inf:
                    heappush(heap, (world.now + act.end_s, order + 1, _last_signal(action.attempt, act)))
            elif isinstance(action, Wake):
                order += 2
                heappush(heap, (action.at, order, Woke(action.id)))
        if world.ended is not None:
            return world
        at, _, signal = heappop(heap)
        world.now = at
        if isinstance(signal, FirstContent | Done | Errored | Rejected) and signal.attempt not in world.running:
            actions = []  # cancelled: nothing more is said of it
            continue
        actions = world.send(signal)


def _last_signal(attempt: int, act: Act) -> Signal:
    if act.error is None:
        return Done(attempt, act.response)
    return Rejected(attempt, act.error) if act.rejected else Errored(attempt, act.error)
