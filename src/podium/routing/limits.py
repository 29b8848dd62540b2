"""Limits: what may be spent, asked and run at once; their windows, leases and refusals, as arithmetic.

Theory. A limit is a whole number that the uses of one window may not exceed: pico-USD, requests, tokens, or requests running at
once. Whoever may use it holds a lease, a part of it; what was used and what is reserved never exceed the lease, and the leases
and what is spent for good never exceed the limit. So each holder decides alone, and together they keep it exactly.

Rules.
- All amounts are whole numbers; money is pico-USD (1 USD = 10**12).
- Windows are fixed: minutes of the clock, days and months of a timezone. They divide time without a gap and without overlap,
  also where a clock is put forward at midnight or a day is left out. (A fixed minute may see twice its limit in 60 seconds
  across its edge; in return, when it resets is exact.)
- A reservation belongs to the window in which it was made, whenever it is settled.
- A refused amount never changes anything.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from podium.errors import BudgetExceeded, ConfigError, LimitError, RateLimited
from podium.routing.snapshot import Allowance
from podium.types import Value

Kind = Literal["cost_usd", "requests", "tokens", "concurrent"]
Period = Literal["minute", "day", "month"]
Amounts = Mapping[Kind, int]
"""How much of each kind of limit a request needs or has used."""

PICO = 10**12
MOST = 2**63 - 1
"""The largest amount: what a store's integer holds (over 9 million USD)."""
_MINUTE_S = 60
_SHARE = 100
"""The smallest lease of money or tokens is this part of the limit."""


class Limit(Value, frozen=True, kw_only=True):
    """The most of something that a user, a team or the like may use in a window."""

    kind: Kind
    scope: str
    """Whose it is: `user`, `team`, `key`, ...; without a colon."""
    id: str
    """Which one: the user's id, the team's name."""
    amount: int
    """pico-USD for `cost_usd`, else a count."""
    period: Period | None = None
    """None for `concurrent` alone."""
    timezone: str = "UTC"
    """In which days and months begin."""
    key: str = ""
    """Names the limit in a store; made from the other fields (but for the amount, which may change)."""

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= MOST or (self.kind == "concurrent") != (self.period is None) or ":" in self.scope:
            raise ValueError(f"no limit: kind={self.kind} period={self.period} scope={self.scope} amount={self.amount}")
        zone = self.timezone if self.period in ("day", "month") else ""
        key = f"{self.kind}:{self.period or 'now'}:{zone}:{self.scope}:{self.id}"
        msgspec.structs.force_setattr(self, "key", key)

    @property
    def title(self) -> str:
        """The limit in words."""
        what = {"cost_usd": "cost", "requests": "requests", "tokens": "tokens", "concurrent": "requests at once"}[self.kind]
        return f"{what} of {self.scope} {self.id}" + (f" in a {self.period}" if self.period else "")


class Window(NamedTuple):
    """The time in which uses of a limit add up: from `starts_at` up to, not including, `ends_at` (epoch seconds)."""

    starts_at: float
    ends_at: float


ALWAYS = Window(0.0, math.inf)


def window(limit: Limit, at: float) -> Window:
    """Return the window of a limit that an instant lies in. Raises `ConfigError` for a timezone that this system lacks."""
    if limit.period is None:
        return ALWAYS
    if limit.period == "minute":
        start = math.floor(at / _MINUTE_S) * _MINUTE_S
        return Window(float(start), float(start + _MINUTE_S))
    return _calendar_window(limit.period, limit.timezone, at)


def _calendar_window(period: Literal["day", "month"], timezone: str, at: float) -> Window:
    zone = load_timezone(timezone)
    local = datetime.datetime.fromtimestamp(at, zone)
    first = datetime.date(local.year, local.month, local.day if period == "day" else 1)
    # Where a clock is put back over midnight, the local date is no measure of time: the days' first instants are.
    while at < _begins_at(first, zone):
        first = _step(first, period, -1)
    while at >= _begins_at(after := _step(first, period, 1), zone):
        first = after
    return Window(_begins_at(first, zone), _begins_at(after, zone))


def _step(day: datetime.date, period: Literal["day", "month"], by: int) -> datetime.date:
    if period == "day":
        return day + datetime.timedelta(days=by)
    months = day.year * 12 + day.month - 1 + by
    return datetime.date(months // 12, months % 12 + 1, 1)


def _begins_at(day: datetime.date, zone: ZoneInfo) -> float:
    # A midnight that occurs twice is meant the first time (fold=0); one that is skipped, by the offset before the gap, is the
    # instant of the gap, with which the day begins.
    return datetime.datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


@lru_cache(maxsize=256)
def load_timezone(name: str) -> ZoneInfo:
    """Return a timezone by its IANA name. Raises `ConfigError` for one that this system does not know."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"There is no timezone {name!r} on this system.",
            hint="Write one as `Europe/Berlin`; where the system has none at all, install the package tzdata.",
        ) from None


# --- leases -----------------------------------------------------------------------------------------------------------


def unit(limit: Limit) -> int:
    """Return the smallest lease: one request, or a hundredth of an amount of money or tokens."""
    return 1 if limit.kind in ("requests", "concurrent") else max(1, limit.amount // _SHARE)


def slab(remaining: int, need: int, holders: int, unit: int) -> int:
    """Return how much to lease to one of `holders` that needs `need` more, of what remains.

    Half of an even share, so that slabs shrink as the limit is neared (guided self-scheduling, Polychronopoulos & Kuck 1987),
    down to one unit; the last unit goes out need by need. Never more than remains.
    """
    if remaining <= 0:
        return 0
    size = need if remaining <= unit else max(need, unit, remaining // (2 * max(1, holders)))
    return min(size, remaining)


# --- refusals ---------------------------------------------------------------------------------------------------------


def shown(limit: Limit, amount: int) -> Decimal | int:
    """Return an amount as users know it: USD, or a count."""
    return usd(amount) if limit.kind == "cost_usd" else amount


def usd(pico: int) -> Decimal:
    """Return pico-USD as USD, exactly."""
    return Decimal(pico).scaleb(-12)


def pico(amount: Decimal) -> int:
    """Return USD as pico-USD, rounded up: for what must suffice."""
    top, bottom = amount.as_integer_ratio()
    return -(-top * PICO // bottom)


def pico_down(amount: Decimal) -> int:
    """Return USD as pico-USD, rounded down: for what may not be exceeded."""
    top, bottom = amount.as_integer_ratio()
    return min(top * PICO // bottom, MOST)


def dollars(amount: int) -> str:
    """Return pico-USD in words: `$0.05`."""
    return f"${usd(amount).normalize():f}"


def words(limit: Limit, amount: int) -> str:
    """Return an amount in words: `$0.05`, `3 requests`."""
    if limit.kind == "cost_usd":
        return dollars(amount)
    noun = "token" if limit.kind == "tokens" else "request"
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"


def refusal(limit: Limit, asked: int, *, spent: int, reserved: int, at: float, resets_at: float) -> LimitError:
    """Make the error by which a limit refuses a request: `BudgetExceeded` for money, else `RateLimited`."""
    ends = None if math.isinf(resets_at) else resets_at
    never = limit.kind != "cost_usd" and asked > limit.amount
    if never:
        ends, happened = None, "no window has so much"
        todo = "Ask for less (a shorter prompt, a smaller `max_tokens`), or raise the limit."
    elif limit.kind == "concurrent":
        happened = f"{words(limit, reserved)} under way"
        todo = "Ask again when one has ended, or raise the limit."
    else:
        happened = f"spent {words(limit, spent)}, reserved by requests under way {words(limit, reserved)}"
        todo = f"It resets at {_instant(resets_at, limit.timezone)}; ask again then, ask for less, or raise the limit."
    kind = BudgetExceeded if limit.kind == "cost_usd" else RateLimited
    return kind(
        f"The limit of {words(limit, limit.amount)} ({limit.title}) {'is too small' if never else 'is reached'}: {happened}, "
        f"and this request could need {words(limit, asked)}.",
        hint=todo,
        retryable=False if never else None,
        retry_after_s=None if ends is None else max(0.0, ends - at),
        limit=limit.title,
        amount=shown(limit, limit.amount),
        spent=shown(limit, spent),
        reserved=shown(limit, reserved),
        asked=shown(limit, asked),
        resets_at=ends,
    )


def _instant(at: float, timezone: str) -> str:
    return datetime.datetime.fromtimestamp(at, load_timezone(timezone)).isoformat(sep=" ")


# --- whose limits -----------------------------------------------------------------------------------------------------


def limits_of(allowance: Allowance, scope: str, id: str) -> tuple[Limit, ...]:
    """Return the limits of an allowance, as those of a user or a team; money first, since it refuses most."""
    made: list[Limit] = []

    def add(kind: Kind, period: Period | None, amount: int | None) -> None:
        if amount is not None:
            made.append(Limit(kind=kind, scope=scope, id=id, period=period, amount=amount, timezone=allowance.timezone))

    add("cost_usd", "day", None if allowance.cost_day_usd is None else pico_down(allowance.cost_day_usd))
    add("cost_usd", "month", None if allowance.cost_month_usd is None else pico_down(allowance.cost_month_usd))
    add("requests", "minute", allowance.requests_per_minute)
    add("tokens", "minute", allowance.tokens_per_minute)
    add("concurrent", None, allowance.max_concurrent)
    return tuple(made)
