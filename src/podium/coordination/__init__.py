"""Limits that hold across processes: leases of what remains, out of which each process decides in memory.

What the engine does with this room:

    coordinator = Coordinator.open(Path(data_dir) / "coordination.sqlite", on_lost=snapshot.on_lost)    # None: in memory
    limits = Limits(coordinator, snapshot)                          # `limits.swap(snapshot)` when the config changes

    # before a run begins (`podium.engine.estimate` makes the estimate, only where it is needed)
    bound = estimate(request, plan, snapshot, prices, at=now) if limits.concerns(user, team, plan.max_cost_usd) else None
    what = dict(user_id=user, team=team, estimate=bound, at=now, max_cost_usd=plan.max_cost_usd)
    spending = limits.at_once(**what)                               # nearly always; None: it takes more than that
    if spending is None:
        spending = await limits.reserve(**what, tighten=partial(estimate, ..., exact=True) if can_tighten(...) else None)
    # set `spending.max_tokens` in the request, if it is not None, and add `spending.losses` to the result's

    # at each launch, where `spending.purse` is not None
    if spending.purse.launch(attempt, target) is None: the attempt is Rejected with spending.purse.refusal(target)
    spending.purse.settle(attempt, cost_pico, billable=...)         # cost None: not known

    # at the end, whatever it was
    spending.settle(tokens=...)                                     # or spending.release(), where nothing was sent
    coordinator.close()                                             # blocks for a moment: on a thread

`coordinator.statistics()` says what was leased, recalled, refused and lost.
"""

from podium.coordination.accounts import Reservation
from podium.coordination.coordinator import Coordinator
from podium.coordination.limits import Limits, Spending

__all__ = ["Coordinator", "Limits", "Reservation", "Spending"]
