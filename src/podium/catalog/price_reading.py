"""What a reader of price documents gives: rows, refused rows with their reasons, and small tools that readers share.

Theory. Each row of a document is judged alone: it becomes a `Row`, or the reason why it was refused, so that one lie does not
cost the truth around it.

Rules. Numbers stay exact. The first row of a name counts. A reason shows what was found, shortened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import msgspec

from podium.catalog.price_sheet import RATE_NAMES, Row, canonical, refusal

ENCODED = {field.name: field.encode_name for field in msgspec.structs.fields(Row)}
"""The keys of a row in JSON, by field."""
OWN_RATES = frozenset(ENCODED[name] for name in RATE_NAMES)


class RowRefused(Exception):
    """A row that cannot be true; the message says why."""


class Reading:
    """What a document says: rows by name, refused rows with their reasons, and who resells whose models."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.refused: dict[str, str] = {}
        self.unpriced = 0
        """Models of which the document says no price that can be charged by tokens, requests or searches."""
        self.fallbacks: dict[str, tuple[str, ...]] = {}

    def take(self, name: str, make: Callable[[], Row | None]) -> None:
        """Make a row and keep it, or keep the reason why it was refused."""
        try:
            row = make()
        except RowRefused as error:
            self.refused[name] = str(error)
            return
        if row is None:
            self.unpriced += 1
        elif reason := refusal(name, row):
            self.refused[name] = reason
        else:
            self.rows.setdefault(name, row)


def show(value: Any) -> str:
    """Write a value for a reason: short, on one line."""
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:36]}…"


def shifted(rate: Decimal, places: int) -> Decimal:
    """Return a number times a power of ten, exactly."""
    sign, digits, exponent = rate.as_tuple()
    return rate if not isinstance(exponent, int) else Decimal((sign, digits, exponent + places))


def canonical_row(row: Row) -> Row:
    """Return a row whose every rate is written in its shortest form."""

    def rates(each: Any) -> dict[str, Any]:
        return {name: canonical(rate) for name, rate in each.rates().items()}

    def spans(each: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(msgspec.structs.replace(span, **rates(span), tiers=steps(span.tiers)) for span in each)

    def steps(each: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(msgspec.structs.replace(tier, **rates(tier)) for tier in each)

    return msgspec.structs.replace(
        row, **rates(row), tiers=steps(row.tiers), periods=spans(row.periods), variants=spans(row.variants)
    )
