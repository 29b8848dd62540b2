"""From a plan to the machine that carries it out.

Rules. A plan names one of four strategies: `first`, `fallback` and `race` are `Staggered`, `consensus` is `Gather`. Only what
the plan and the request say goes in; a machine is made for one request and thrown away after it.
"""

from __future__ import annotations

from podium.routing.snapshot import Plan
from podium.routing.strategies.machine import Machine
from podium.routing.strategies.staggered import Staggered
from podium.types import Output


def build(plan: Plan, output: Output | None = None) -> Machine:
    """Return the machine for a plan's strategy over its targets.

    `output` is the form that the request asked for: it decides how a consensus with the judge `auto` reads its answers.

    Raises `ConfigError` where a consensus has an answer pattern that is no regular expression.
    """
    strategy = plan.strategy
    if strategy.name == "consensus":
        from podium.routing.strategies.gather import Gather  # judges are heavy, and most requests need none

        return Gather(plan.targets, strategy, skipped=plan.reasons.skipped, output=output)
    return Staggered(plan.targets, strategy.name, retries=strategy.retries, fallback_on=strategy.fallback_on)
