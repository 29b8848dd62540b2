"""The metrics as families of samples: the model of Prometheus.

Theory. Histograms are cut out of the sketches: their bounds are those of OpenTelemetry's conventions, which are bounds of the
sketches' buckets too, so their counts are exact.

Rules.
- What the conventions name has their name, as OpenTelemetry's exporter would write it; the rest begins with `podium_`.
- Labels are names from the config and of models (`Metrics` bounds how many); never a user, a request or a payload.
- Attempts that were overtaken or left are counted, but have no duration: it would say how patient the others were.
- What is not tracked has no family, and no zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from podium.observe.cell import Cell, Label, TokenHistogram
from podium.observe.metrics import Metrics
from podium.observe.names import (
    DURATION,
    DURATION_BOUNDS,
    DURATION_STEPS,
    FIRST_CHUNK,
    OPERATION,
    TOKEN_USAGE,
    USAGE_BOUNDS,
    provider_name,
)
from podium.observe.report import TokenCounts, pico_as_usd
from podium.observe.sketch import Sketch
from podium.observe.state import State, everything

Labels = dict[str, str]


class Sample(NamedTuple):
    """One line: a suffix of the family's name, labels, and the value as it is written."""

    suffix: str
    labels: Labels
    value: str


class Family(NamedTuple):
    """One metric with all its samples."""

    name: str
    kind: str
    """`counter`, `gauge` or `histogram`."""
    help: str
    samples: list[Sample]


def families(source: Metrics | State) -> Iterator[Family]:
    """Give the families of what a process has counted, or of a state (`state.combine` adds up several)."""
    state = source.state() if isinstance(source, Metrics) else source
    series = everything([state])
    yield from _requests(series)
    yield from _attempts(series)
    yield from _tokens(series)
    if state.track_cost:
        yield from _costs(series)
    if state.track_performance:
        yield from _durations(series)
        yield from _operations(series, state.kinds)
    yield from _usage(series, state.kinds)
    left = [Sample("", _target(target), repr(max(until - state.written_at, 0.0))) for target, until in state.throttled.items()]
    yield from _family(
        "podium_target_throttled_seconds", "gauge", "How long a target that asked to be left alone still will be.", left
    )
    breakers = [
        Sample("", {"rollout": rollout, "state": name}, str(count))
        for rollout, processes in state.breakers.items()
        for name, count in processes.items()
    ]
    yield from _family(
        "podium_rollout_breakers", "gauge", "Processes whose breaker of a rollout's candidate is in this state.", breakers
    )
    failures = [Sample("", {"observer": name}, str(count)) for name, count in sorted(state.observer_failures.items())]
    yield from _family("podium_observer_failures_total", "counter", "Records that an observer failed over.", failures)
    started = [Sample("", {}, repr(state.started_at))]
    yield from _family("podium_start_time_seconds", "gauge", "When counting began, in seconds since the epoch.", started)


def _family(name: str, kind: str, meaning: str, samples: Iterable[Sample]) -> Iterator[Family]:
    listed = list(samples)
    if listed:
        yield Family(name, kind, meaning, listed)


def _target(target: str) -> Labels:
    provider, _, model = target.partition("/")
    return {"provider": provider, "model": model}


def _labels(label: Label, **more: str) -> Labels:
    """A series' labels; Prometheus holds an empty label for a missing one."""
    return {name: value for name, value in (label._asdict() | more).items() if value}


def _counter(
    name: str, meaning: str, series: Mapping[Label, Cell], counts: Callable[[Cell], Iterable[tuple[Labels, int]]]
) -> Iterator[Family]:
    """A counter of all series; `counts` gives (labels, count) of a cell. A count of zero has no line."""
    return _family(
        name,
        "counter",
        meaning,
        (
            Sample("", _labels(label, **more), str(count))
            for label, cell in series.items()
            for more, count in counts(cell)
            if count
        ),
    )


def _requests(series: Mapping[Label, Cell]) -> Iterator[Family]:
    def outcomes(cell: Cell) -> Iterator[tuple[Labels, int]]:
        yield {"outcome": "ok"}, cell.successes
        for code, count in sorted(cell.errors.items()):
            yield {"outcome": code}, count

    yield from _counter(
        "podium_requests_total",
        "Requests that are over, by outcome: ok, cancelled, or an error's code. Each counts at the target that answered, else "
        "at its first.",
        series,
        outcomes,
    )


def _attempts(series: Mapping[Label, Cell]) -> Iterator[Family]:
    yield from _counter(
        "podium_attempts_total",
        "Upstream calls, by outcome.",
        series,
        lambda cell: (({"outcome": outcome}, count) for outcome, count in sorted(cell.outcomes.items())),
    )
    yield from _counter(
        "podium_attempt_errors_total",
        "Upstream calls that failed, by the code of their error.",
        series,
        lambda cell: (({"error_type": code}, count) for code, count in sorted(cell.attempt_errors.items())),
    )
    for cause, plural in (("retry", "retries"), ("fallback", "fallbacks"), ("hedge", "hedges"), ("shadow", "shadows")):
        yield from _counter(
            f"podium_{plural}_total",
            f"Upstream calls whose cause is {cause}.",
            series,
            partial(_caused, cause),
        )


def _caused(cause: str, cell: Cell) -> list[tuple[Labels, int]]:
    return [({}, cell.causes.get(cause, 0))]


def _tokens(series: Mapping[Label, Cell]) -> Iterator[Family]:
    kinds = [name for name in TokenCounts.__struct_fields__ if name != "total"]
    yield from _counter(
        "podium_tokens_total",
        "Tokens, in disjoint kinds.",
        series,
        lambda cell: (({"kind": kind}, getattr(cell, kind)) for kind in kinds),
    )


def _costs(series: Mapping[Label, Cell]) -> Iterator[Family]:
    yield from _family(
        "podium_cost_usd_total",
        "counter",
        "Cost of upstream calls, where it is known.",
        (
            Sample("", _labels(label), format(pico_as_usd(cell.cost_pico), "f"))
            for label, cell in series.items()
            if sum(cell.outcomes.values()) > cell.unpriced
        ),
    )
    yield from _counter(
        "podium_unpriced_attempts_total",
        "Upstream calls whose cost is not known.",
        series,
        lambda cell: [({}, cell.unpriced)],
    )


def _durations(series: Mapping[Label, Cell]) -> Iterator[Family]:
    latencies: dict[tuple[str, str], Sketch] = {}
    first_tokens: dict[tuple[str, str], Sketch] = {}
    for label, cell in series.items():
        goal = (label.tier or "", label.experiment or "")
        latencies.setdefault(goal, Sketch()).merge(cell.latency)
        first_tokens.setdefault(goal, Sketch()).merge(cell.first_token)
    for name, meaning, sketches in (
        ("podium_request_duration_seconds", "Time of answered requests, from the call to the end.", latencies),
        (
            "podium_request_time_to_first_token_seconds",
            "Time of answered, streamed requests, from the call to the first content.",
            first_tokens,
        ),
    ):
        samples = (
            sample
            for (tier, experiment), sketch in sketches.items()
            for sample in _sketch_samples(sketch, {"tier": tier, "experiment": experiment})
        )
        yield from _family(name, "histogram", meaning, samples)


def _operations(series: Mapping[Label, Cell], kinds: Mapping[str, str]) -> Iterator[Family]:
    durations: dict[tuple[str, str, str], Sketch] = {}
    chunks: dict[tuple[str, str, str], Sketch] = {}
    for label, cell in series.items():
        if label.provider is None or label.model is None:
            continue
        target = (label.provider, label.model)
        durations.setdefault((*target, ""), Sketch()).merge(cell.attempt_latency)
        chunks.setdefault((*target, ""), Sketch()).merge(cell.attempt_first_token)
        for code, sketch in cell.error_latency.items():
            durations.setdefault((*target, code), Sketch()).merge(sketch)
    for name, meaning, sketches in (
        (DURATION, "Time of upstream calls that answered or failed.", durations),
        (FIRST_CHUNK, "Time of streamed upstream calls to their first content.", chunks),
    ):
        samples = (
            sample
            for (provider, model, code), sketch in sketches.items()
            for sample in _sketch_samples(sketch, _operation(provider, model, kinds) | {"error_type": code})
        )
        yield from _family(name.replace(".", "_") + "_seconds", "histogram", meaning, samples)


def _operation(provider: str, model: str, kinds: Mapping[str, str]) -> Labels:
    return {
        "gen_ai_operation_name": OPERATION,
        "gen_ai_provider_name": provider_name(kinds.get(provider, ""), provider),
        "gen_ai_request_model": model,
        "podium_provider": provider,
    }


def _sketch_samples(sketch: Sketch, labels: Labels) -> Iterator[Sample]:
    if sketch.count:
        counts = sketch.counts_up_to(DURATION_STEPS)
        yield from _histogram(DURATION_BOUNDS, counts, sketch.count, repr(sketch.sum), labels)


def _usage(series: Mapping[Label, Cell], kinds: Mapping[str, str]) -> Iterator[Family]:
    sizes: dict[tuple[str, str, str], TokenHistogram] = {}
    for label, cell in series.items():
        if label.provider is None or label.model is None:
            continue
        sizes.setdefault((label.provider, label.model, "input"), TokenHistogram()).merge(cell.input_sizes)
        sizes.setdefault((label.provider, label.model, "output"), TokenHistogram()).merge(cell.output_sizes)

    def samples() -> Iterator[Sample]:
        for (provider, model, kind), histogram in sizes.items():
            counts = [sum(histogram.counts[: slot + 1]) for slot in range(len(USAGE_BOUNDS))]
            total = sum(histogram.counts)
            if total:
                labels = _operation(provider, model, kinds) | {"gen_ai_token_type": kind}
                yield from _histogram(USAGE_BOUNDS, counts, total, str(histogram.sum), labels)

    yield from _family(TOKEN_USAGE.replace(".", "_"), "histogram", "Tokens of upstream calls.", samples())


def _histogram(bounds: Iterable[float], counts: Iterable[int], total: int, sum_: str, labels: Labels) -> Iterator[Sample]:
    kept = {name: value for name, value in labels.items() if value}
    for bound, count in zip(bounds, counts, strict=True):
        yield Sample("_bucket", {**kept, "le": str(float(bound))}, str(count))
    yield Sample("_bucket", {**kept, "le": "+Inf"}, str(total))
    yield Sample("_count", kept, str(total))
    yield Sample("_sum", kept, sum_)
