"""Pricing history again, by today's prices.

Theory. Prices are published late and corrected; usage is a fact and a price an opinion about it. So every attempt keeps its
usage, and can be priced again; what it cost before stays in the audit (`price_changes`), with its version and source.

Rules. It goes through the store in small steps, each a short transaction, while others write. Without `apply` nothing is
changed and the answer says what would be.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal

from podium.ledger.records import usd
from podium.ledger.rows import microseconds
from podium.ledger.store import Price, Priced, Store
from podium.types import Value

STEP = 500
_REST_S = 0.002
"""Between two steps the drainer may write."""


class Repriced(Value, frozen=True, kw_only=True):
    """What pricing again changed, or would change, of one model."""

    provider: str
    model: str
    attempts: int = 0
    """That were looked at."""
    changed: int = 0
    old_usd: Decimal = Decimal(0)
    new_usd: Decimal = Decimal(0)
    old_unpriced: int = 0
    new_unpriced: int = 0


class _Tally:
    __slots__ = ("attempts", "changed", "new", "new_unpriced", "old", "old_unpriced")

    def __init__(self) -> None:
        self.attempts = self.changed = self.old = self.new = self.old_unpriced = self.new_unpriced = 0


def reprice(
    store: Store,
    price: Callable[[Priced], Price | None],
    *,
    since_us: int | None = None,
    until_us: int | None = None,
    apply: bool = False,
    now: float | None = None,
) -> list[Repriced]:
    """Price the settled attempts of a time again, and return what that changes, by provider and model.

    `price` returns today's price of an attempt; None leaves it as it is. Raises `StoreError`.
    """
    tallies: dict[tuple[str, str], _Tally] = {}
    after: tuple[int, str, int] | None = None
    while step := store.priced(since_us=since_us, until_us=until_us, after=after, most=STEP):
        last = step[-1]
        after = (microseconds(last.started_at), last.request_id, last.attempt)
        changes: list[tuple[Priced, Price]] = []
        for old in step:
            new = price(old)
            tally = tallies.setdefault((old.provider, old.model), _Tally())
            _count(tally, old, new)
            if new is not None and _differs(old, new):
                changes.append((old, new))
        if apply and changes:
            store.reprice(changes, time.time() if now is None else now)
            time.sleep(_REST_S)
    return [
        Repriced(
            provider=provider,
            model=model,
            attempts=tally.attempts,
            changed=tally.changed,
            old_usd=usd(tally.old),
            new_usd=usd(tally.new),
            old_unpriced=tally.old_unpriced,
            new_unpriced=tally.new_unpriced,
        )
        for (provider, model), tally in sorted(tallies.items())
    ]


def _differs(old: Priced, new: Price) -> bool:
    return (old.cost_pico, old.price_version, old.price_source) != (new.cost_pico, new.price_version, new.price_source)


def _count(tally: _Tally, old: Priced, new: Price | None) -> None:
    cost = old.cost_pico if new is None else new.cost_pico
    tally.attempts += 1
    tally.changed += cost != old.cost_pico
    tally.old += old.cost_pico or 0
    tally.new += cost or 0
    tally.old_unpriced += old.cost_pico is None
    tally.new_unpriced += cost is None
