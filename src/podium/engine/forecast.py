"""The most that a call can cost, before it is made.

Theory. It is the bound that limits reserve (`engine/estimate.py`, `routing/spending.py`): every target of the plan asked once,
with the longest answer that it can give. So it is many times what most calls cost, and no call costs more, but for retries of
attempts that failed and were charged all the same, and models of which nobody knows how long their answers can be.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING

from podium.engine.estimate import estimate
from podium.errors import CostTooHigh
from podium.routing.limits import usd
from podium.routing.spending import decide, max_cost
from podium.types import Request, Value

if TYPE_CHECKING:
    from podium.engine.models import Models


class Forecast(Value, frozen=True, kw_only=True):
    """The most that a call can cost."""

    usd: Decimal
    """Of the targets whose cost has a bound."""
    unknown: tuple[str, ...] = ()
    """The targets whose cost has none, each with the reason."""


def forecast(models: Models, spec: str | None, request: Request, *, user_id: str | None, pin: bool) -> Forecast:
    """Return the most that a request can cost. Prices are loaded on the first call, which takes a moment.

    Raises `SpecError` for a spec that means nothing, `AllTargetsFailed` for one of which nobody can be asked.
    """
    plan, _ = models._plan(models._state, spec, user_id, None, pin)
    if not models.snapshot.track_cost:
        return Forecast(usd=Decimal(0), unknown=tuple(f"{target}: costs are not tracked" for target in plan.targets))
    bound = estimate(request, plan, models.snapshot, models.pricing, at=time.time())
    unknown = tuple(f"{leg.target}: {leg.why}" for leg in bound.legs if leg.cost is None)
    try:
        return Forecast(usd=usd(decide(bound, max_cost(plan.max_cost_usd)).pico), unknown=unknown)
    except CostTooHigh:  # the call itself will be refused, and then costs nothing
        return Forecast(usd=Decimal(0), unknown=unknown)
