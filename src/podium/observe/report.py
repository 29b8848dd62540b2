"""What the metrics say: the shape of `get_metrics()`, worked out from series.

Theory. Cells are for counting, rows for reading: a row has one line's figures (a provider's, a tier's), a window all rows of a
time, a report the time since the start and the last five minutes. Everything is plain (`to_dict()` is ready for JSON).

Rules.
- Sums over the rows of `providers`, `models` or `targets` give `total`, but for requests that were never sent; over `tiers` or
  `experiments`, but for requests that name none. A request counts at the target that answered, else at its first.
- `latency_s` and `first_token_s` are what callers saw of requests that were answered; `attempt_latency_s` and
  `attempt_first_token_s` are of upstream calls, and tell providers and models apart.
- None stands for what is not known or not tracked, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Context, Decimal
from typing import TypeVar

from podium.observe.cell import Cell, Label
from podium.observe.sketch import Distribution
from podium.routing.health import BreakerState
from podium.types import Value

K = TypeVar("K")

Breakers = dict[str, dict[BreakerState, int]]
"""By rollout: how many processes' breaker of its candidate is in which state."""


class TokenCounts(Value, frozen=True, kw_only=True):
    """Tokens by kind, in disjoint counts (`podium.types.Usage`)."""

    total: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    input_audio: int = 0
    output_audio: int = 0


class Row(Value, frozen=True, kw_only=True):
    """The figures of one provider, model, target, tier or experiment, or of all."""

    requests: int
    successes: int
    failures: int
    """Requests that ended with an error."""
    cancelled: int
    """Requests that their caller left."""
    errors: dict[str, int]
    """Failed requests, by the code of their error."""
    attempts: int
    """Upstream calls."""
    outcomes: dict[str, int]
    """Attempts by outcome: `won`, `answered`, `lost`, `failed`, `cancelled`, `rejected`, `unknown`."""
    attempt_errors: dict[str, int]
    """Attempts that failed, by the code of their error."""
    retries: int
    fallbacks: int
    hedges: int
    tokens: TokenCounts
    """Of all attempts whose usage is known."""
    estimated: int
    """Attempts whose tokens are an estimate."""
    cost_usd: Decimal | None
    """Exact; of the attempts whose cost is known. None: cost is not tracked."""
    cost_pico: int | None
    """The same in pico-USD (10**-12 USD)."""
    unpriced: int | None
    """Attempts whose cost is not known."""
    latency_s: Distribution | None
    first_token_s: Distribution | None
    attempt_latency_s: Distribution | None
    attempt_first_token_s: Distribution | None
    tokens_per_second: float | None
    """Output tokens of answered attempts over the seconds that they took from launch to end."""


class Window(Value, frozen=True, kw_only=True):
    """All rows of a span of time."""

    since_at: float
    duration_s: float
    total: Row
    providers: dict[str, Row]
    models: dict[str, Row]
    """By model name, over all providers that serve it."""
    targets: dict[str, Row]
    """By `provider/model`."""
    tiers: dict[str, Row]
    experiments: dict[str, Row]


class Report(Value, frozen=True, kw_only=True):
    """What the metrics say at one moment."""

    at: float
    overall: Window
    """Since the start of the (oldest) process."""
    recent: Window
    """The last five minutes, to within half a minute."""
    throttled: dict[str, float]
    """Targets that asked to be left alone, and for how many seconds still."""
    breakers: Breakers
    """By rollout with a guard: in how many processes its candidate's breaker is `closed`, `open` or `probing`."""
    observer_failures: dict[str, int]
    """How often an observer failed, by its name; no request failed for it."""
    processes: int = 1
    """Processes that were counted and live."""


def make_window(
    series: Mapping[Label, Cell], *, since_at: float, until_at: float, track_performance: bool, track_cost: bool
) -> Window:
    """Work out all rows of some series."""

    def row(cell: Cell) -> Row:
        return _row(cell, track_performance, track_cost)

    def rows(cells: Mapping[str | None, Cell]) -> dict[str, Row]:
        return {name: row(cells[name]) for name in sorted(name for name in cells if name is not None)}

    # Few targets have many series, so what targets add up to is worked out from them.
    targets = _grouped(((label.provider, label.model), cell) for label, cell in series.items())
    providers = _grouped((provider, cell) for (provider, _), cell in targets.items())
    total = _grouped((None, cell) for cell in providers.values()).get(None, Cell())
    return Window(
        since_at=since_at,
        duration_s=max(until_at - since_at, 0.0),
        total=row(total),
        providers=rows(providers),
        models=rows(_grouped((model, cell) for (_, model), cell in targets.items())),
        targets=rows({f"{provider}/{model}" if provider else None: cell for (provider, model), cell in targets.items()}),
        tiers=rows(_grouped((label.tier, cell) for label, cell in series.items())),
        experiments=rows(_grouped((label.experiment, cell) for label, cell in series.items())),
    )


def _grouped(cells: Iterable[tuple[K, Cell]]) -> dict[K, Cell]:
    grouped: dict[K, Cell] = {}
    for key, cell in cells:
        if key not in grouped:
            grouped[key] = Cell()
        grouped[key].merge(cell)
    return grouped


def _row(cell: Cell, track_performance: bool, track_cost: bool) -> Row:
    errors = {code: count for code, count in sorted(cell.errors.items()) if code != "cancelled"}
    kinds = {name: getattr(cell, name) for name in TokenCounts.__struct_fields__ if name != "total"}
    return Row(
        requests=cell.requests,
        successes=cell.successes,
        failures=sum(errors.values()),
        cancelled=cell.errors.get("cancelled", 0),
        errors=errors,
        attempts=sum(cell.outcomes.values()),
        outcomes=dict(sorted(cell.outcomes.items())),
        attempt_errors=dict(sorted(cell.attempt_errors.items())),
        retries=cell.causes.get("retry", 0),
        fallbacks=cell.causes.get("fallback", 0),
        hedges=cell.causes.get("hedge", 0),
        tokens=TokenCounts(total=sum(kinds.values()), **kinds),
        estimated=cell.estimated,
        cost_usd=pico_as_usd(cell.cost_pico) if track_cost else None,
        cost_pico=cell.cost_pico if track_cost else None,
        unpriced=cell.unpriced if track_cost else None,
        latency_s=cell.latency.distribution() if track_performance else None,
        first_token_s=cell.first_token.distribution() if track_performance else None,
        attempt_latency_s=cell.attempt_latency.distribution() if track_performance else None,
        attempt_first_token_s=cell.attempt_first_token.distribution() if track_performance else None,
        tokens_per_second=cell.timed_output / cell.timed_s if track_performance and cell.timed_s > 0 else None,
    )


def pico_as_usd(pico: int) -> Decimal:
    """Return an amount of pico-USD in USD, exactly, whatever its size."""
    return Decimal(pico).scaleb(-12, Context(prec=max(28, len(str(pico)) + 1)))
