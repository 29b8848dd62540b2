"""How much a run may spend: nothing is asked that could make it more.

Theory. The most that a pair of calls can cost is reserved before it is sent, and settled at what it did cost. Where the next
reservation does not fit, it waits for those under way to be settled; where none is, the bound is reached.

Rules. Once reached, a bound stays reached, so that prompts are not asked out of order for being cheap. A cost that is not known
counts as what was reserved.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal


class Bound:
    """What is left of an amount; None: anything may be spent. Of one event loop."""

    def __init__(self, limit_usd: Decimal | None) -> None:
        self.limit_usd = limit_usd
        self.spent_usd = Decimal(0)
        self._reserved_usd = Decimal(0)
        self.needed_usd: Decimal | None = None
        """What the first that did not fit needs; None: the bound is not reached."""
        self._settled = asyncio.Condition()

    async def reserve(self, highest_usd: Decimal) -> bool:
        """Set aside the most that something can cost, as soon as it fits. Returns whether it may be done."""
        if self.limit_usd is None:
            return True
        async with self._settled:
            while self.needed_usd is None:
                if self.spent_usd + self._reserved_usd + highest_usd <= self.limit_usd:
                    self._reserved_usd += highest_usd
                    return True
                if not self._reserved_usd:
                    self.needed_usd = highest_usd
                    self._settled.notify_all()
                    break
                await self._settled.wait()
        return False

    async def settle(self, highest_usd: Decimal, cost_usd: Decimal | None) -> None:
        """Say what it did cost."""
        async with self._settled:
            self.spent_usd += highest_usd if cost_usd is None else cost_usd
            if self.limit_usd is not None:
                self._reserved_usd -= highest_usd
            self._settled.notify_all()

    def raise_by(self, more_usd: Decimal) -> None:
        """Allow so much more."""
        if self.limit_usd is not None:
            self.limit_usd += more_usd
        self.needed_usd = None
