"""What runs find around them: the state that they began with, and what all runs of a `Models` share.

Theory. A `State` is a snapshot and what is worked out from it once. `Shared` outlives snapshots: the transport, who asked to be
left alone, slots, and the tasks at work. An `Around` puts both together for one run.

Rules. Endpoints are kept by target, and by user where the user brings a key of their own. Instants are on `time.monotonic`,
which all loops share. A process that is forked off has none of its parent's requests, so it begins with free slots.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from podium.engine.endpoint import Endpoint
from podium.engine.slots import Slots, Spare
from podium.engine.transport import Transport
from podium.routing.keys import key_for, own_key
from podium.routing.resolve import Resolver
from podium.routing.snapshot import Plan, Snapshot
from podium.types import Target

if TYPE_CHECKING:
    from podium.engine.runner import Run

LONGEST_LEAVE_S = 3600.0
"""Nobody is left alone for longer, whatever it asked for."""


class State:
    """A snapshot and what is worked out from it once."""

    __slots__ = ("endpoints", "resolver", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.resolver = Resolver(snapshot)
        self.endpoints: dict[tuple[Target, str | None], Endpoint] = {}


class Shared:
    """What all runs of a `Models` share."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.leave_alone: dict[Target, float] = {}
        self.provider_slots: dict[str, Slots] = {}
        self.user_slots: dict[str, Slots] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.runs: set[Run] = set()
        """The runs that have begun and not ended."""

    def forget_runs(self) -> None:
        """Begin anew in a process that was forked off."""
        self.provider_slots.clear()
        self.user_slots.clear()
        self.tasks.clear()
        self.runs.clear()

    def slots_of_user(self, user_id: str | None, snapshot: Snapshot) -> Slots | None:
        """The slots of a user, if there is a limit."""
        user = snapshot.users.get(user_id) if user_id is not None else None
        limit = None if user is None else user.allowance.max_concurrent
        if user is None or limit is None:
            return None
        slots = self.user_slots.get(user.id)
        return slots if slots is not None and slots.limit == limit else slots_in(self.user_slots, user.id, "User", limit)

    def statistics(self) -> dict[str, Any]:
        """What runs at this moment."""

        def counts(table: dict[str, Slots]) -> dict[str, dict[str, int]]:
            return {name: {"running": slots.running, "waiting": slots.waiting} for name, slots in dict(table).items()}

        return {"calls": len(self.tasks), "providers": counts(self.provider_slots), "users": counts(self.user_slots)}

    def throttled(self) -> dict[str, float]:
        """Targets that asked to be left alone, and the seconds that remain."""
        now = time.monotonic()
        return {str(target): until - now for target, until in dict(self.leave_alone).items() if until > now}


class Around:
    """What one run finds around it."""

    __slots__ = ("_give_way", "_plan", "_shared", "_spares", "_state", "runs", "transport")

    def __init__(self, shared: Shared, state: State, plan: Plan) -> None:
        self._shared = shared
        self._state = state
        self._plan = plan
        self.transport = shared.transport
        self.runs = shared.runs
        self._give_way: Callable[[], object] | None = None
        self._spares: list[tuple[str, Spare]] = []

    def endpoint(self, target: Target) -> Endpoint:
        """Where a target is reached, with the key that this run's user asks with."""
        snapshot = self._state.snapshot
        user = snapshot.users.get(self._plan.user_id) if self._plan.user_id is not None else None
        provider = snapshot.providers[target.provider]
        place = (target, user.id if user is not None and own_key(provider, user) is not None else None)
        endpoint = self._state.endpoints.get(place)
        if endpoint is None:
            endpoint = self._state.endpoints[place] = Endpoint(provider, target, key_for(provider, user))
        return endpoint

    def provider_slots(self, provider: str) -> Slots | Spare | None:
        """The provider's slots, if it has a limit."""
        slots = self._slots_of(provider)
        if slots is None or self._give_way is None:
            return slots
        taken = next((each for each in self._spares if each[0] == provider), None)
        if taken is None:
            return Spare(slots, self._give_way)
        self._spares.remove(taken)
        return taken[1]

    def _slots_of(self, provider: str) -> Slots | None:
        limit = self._state.snapshot.providers[provider].max_concurrent
        if limit is None:
            return None
        return slots_in(self._shared.provider_slots, provider, "Provider", limit)

    def take_spares(self, providers: Iterable[str], give_way: Callable[[], object]) -> list[Spare] | None:
        """Take a slot of each of these for a run that nobody waits for; None where one has none to spare.

        `give_way` ends the run, and is called once somebody needs a slot. Whoever takes them releases all of them in the end.
        """
        self._give_way = give_way
        taken: list[Spare] = []
        for provider in providers:
            if (slots := self._slots_of(provider)) is None:
                continue
            spare = Spare(slots, give_way)
            if not spare.take():
                for each in taken:
                    each.release()
                return None
            taken.append(spare)
            self._spares.append((provider, spare))
        return taken

    def not_before(self) -> Mapping[Target, float]:
        """Targets that asked to be left alone, and until when."""
        table = self._shared.leave_alone
        if table:
            now = time.monotonic()
            for target in [target for target, until in table.items() if until <= now]:
                table.pop(target, None)
        return table

    def leave_alone(self, target: Target, seconds: float) -> None:
        """Note that a target asked to be left alone."""
        self._shared.leave_alone[target] = time.monotonic() + min(seconds, LONGEST_LEAVE_S)

    def adopt(self, task: asyncio.Task[None]) -> None:
        """Keep a task from being collected before it ends."""
        self._shared.tasks.add(task)
        task.add_done_callback(self._shared.tasks.discard)


def slots_in(table: dict[str, Slots], name: str, whose: str, limit: int) -> Slots:
    """Return the slots of a name with this limit, made where there are none; `whose` says what the name is one of."""
    slots = table.get(name)
    if slots is None:
        slots = table.setdefault(name, Slots(f"{whose} {name}", limit))
    elif slots.limit != limit:
        slots.set_limit(limit)
    return slots
