"""CPU of observing one attempt: the metrics, the log, OpenTelemetry; and what reading and adding up costs."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import set_span_in_context
from prometheus_client import CollectorRegistry, Counter, Histogram

from bench.paired import Contender, compare
from podium.observe.cell import Cell
from podium.observe.log import LogObserver
from podium.observe.metrics import Metrics
from podium.observe.names import DURATION_BOUNDS, USAGE_BOUNDS
from podium.observe.observers import Observer, Observers
from podium.observe.otel import OpenTelemetry
from podium.observe.prometheus import prometheus_text
from podium.observe.record import AttemptRecord, RequestFacts, RequestRecord
from podium.observe.sketch import Sketch
from podium.observe.state import make_report
from podium.types import Usage

T = TypeVar("T")

ATTEMPTS = 5000
TARGETS = (("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet-4-5"), ("local", "llama3.3:70b"))
TIERS = ("fast", "high", None)


def _records() -> list[tuple[AttemptRecord, RequestRecord]]:
    """Streamed attempts over 12 series, log-normal durations."""
    draw = random.Random(7)
    made = []
    for number in range(ATTEMPTS):
        provider, model = draw.choice(TARGETS)
        facts = RequestFacts(
            request_id=f"request-{number}", started_at=time.time(), spec="tier:fast", tier=draw.choice(TIERS), streamed=True
        )
        duration_s = draw.lognormvariate(0, 0.8)
        attempt = AttemptRecord(
            request=facts, attempt=1, provider=provider, model=model, kind=provider, outcome="won", streamed=True,
            started_at=facts.started_at, duration_s=duration_s, first_content_s=duration_s / 4, upstream_id="chatcmpl-1",
            response_model=model, usage=Usage(input=draw.randrange(1, 9000), output=draw.randrange(1, 900)),
            cost_pico=draw.randrange(10**10), finish_reason="stop", server_address="api.example.com", server_port=443,
        )  # fmt: skip
        request = RequestRecord(
            request=facts, outcome="ok", duration_s=duration_s, first_content_s=duration_s / 4, provider=provider, model=model,
            kind=provider, winner=1, attempts=1,
        )  # fmt: skip
        made.append((attempt, request))
    return made


def _each(work: Callable[[], object], times: int) -> float:
    """CPU microseconds a time."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / times * 1e6


class _Nowhere(SpanExporter):
    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def _recording() -> None:
    records = _records()
    registry = CollectorRegistry()
    labels = ("provider", "model", "tier")
    requests = Counter("requests", "Requests.", labels, registry=registry)
    seconds = Histogram("seconds", "Durations.", labels, buckets=DURATION_BOUNDS, registry=registry)
    first = Histogram("first", "To the first token.", labels, buckets=DURATION_BOUNDS, registry=registry)
    tokens = Histogram("tokens", "Tokens.", (*labels, "type"), buckets=USAGE_BOUNDS, registry=registry)
    cost = Counter("cost", "Cost.", labels, registry=registry)

    def client_library() -> None:
        for attempt, _ in records:
            names = (attempt.provider, attempt.model, attempt.request.tier or "")
            usage = attempt.usage
            assert usage is not None
            requests.labels(*names).inc()
            seconds.labels(*names).observe(attempt.duration_s)
            first.labels(*names).observe(attempt.first_content_s or 0.0)
            tokens.labels(*names, "input").observe(usage.total_input)
            tokens.labels(*names, "output").observe(usage.total_output)
            cost.labels(*names).inc((attempt.cost_pico or 0) / 10**12)

    def attempts_to(*observers: Observer) -> Callable[[], None]:
        watch = Observers(observers)

        def work() -> None:
            for attempt, _ in records:
                watch.observe(attempt)

        return work

    def requests_to(*observers: Observer) -> Callable[[], None]:
        watching = Observers(observers)

        def work() -> None:
            for attempt, request in records:
                watch = watching.begin(attempt.request)
                watch.observe(attempt)
                watch.observe(request)

        return work

    tracers, meters = TracerProvider(), MeterProvider(metric_readers=[InMemoryMetricReader()])
    tracers.add_span_processor(SimpleSpanProcessor(_Nowhere()))
    tracer = tracers.get_tracer("bench")
    outer, inner = {f"outer.{n}": "value" for n in range(10)}, {f"inner.{n}": "value" for n in range(16)}

    def bare_spans() -> None:
        for _ in records:
            span = tracer.start_span("outer", attributes=outer)
            tracer.start_span("inner", context=set_span_in_context(span), attributes=inner).end()
            span.end()

    logger = logging.Logger("bench", logging.INFO)
    logger.addHandler(logging.NullHandler())
    metrics = Metrics()
    untimed = Metrics(track_performance=False)
    otel_metrics = OpenTelemetry(meter_provider=meters, spans=False)
    otel_spans = OpenTelemetry(tracer_provider=tracers, metrics=False)
    otel = OpenTelemetry(tracer_provider=tracers, meter_provider=meters)
    contenders = {
        "prometheus_client by hand": client_library,
        "nobody observes": attempts_to(),
        "metrics": attempts_to(metrics),
        "metrics, no durations": attempts_to(untimed),
        "metrics, and the request": requests_to(metrics),
        "+ log at INFO, JSON": requests_to(metrics, LogObserver(form="json", logger=logger)),
        "+ OpenTelemetry metrics": requests_to(metrics, otel_metrics),
        "+ OpenTelemetry spans": requests_to(metrics, otel_spans),
        "+ OpenTelemetry spans and metrics": requests_to(metrics, otel),
        "bare OpenTelemetry spans": bare_spans,
    }
    compare(
        f"CPU of observing one attempt, {ATTEMPTS} attempts over 12 series",
        [
            Contender(name=name, measure=lambda work=work: _each(work, ATTEMPTS))  # type: ignore[misc]
            for name, work in contenders.items()
        ],
        rounds=5,
        unit="us",
        aim="aim: metrics at most 5 us. By hand: six updates of 3 labels, no quantiles, no last five minutes. Prometheus reads "
        "what the metrics have, so it adds nothing here. Bare: two spans of 16 and 10 attributes through the same SDK.",
    )
    tracers.shutdown()
    meters.shutdown()


def _reading() -> None:
    metrics, sketch, cell = Metrics(), Sketch(), Cell()
    durations = []
    for attempt, request in _records():
        metrics.observe(attempt)
        metrics.observe(request)
        durations.append(attempt.duration_s)
        sketch.add(attempt.duration_s)
        cell.add_attempt(attempt, timed=True, priced=True)
    states = [metrics.state() for _ in range(8)]
    other, total = _copy(sketch), _copy(cell)
    work: dict[str, tuple[Callable[[], object], int]] = {
        f"sort {ATTEMPTS} durations": (lambda: sorted(durations), 1),
        "merge two sketches": (lambda: _often(lambda: other.merge(sketch)), 50),
        "p50, p95, p99 of a sketch": (lambda: _often(lambda: sketch.quantiles((0.5, 0.95, 0.99))), 50),
        "merge two cells": (lambda: _often(lambda: total.merge(cell)), 50),
        "write the state": (metrics.encode_state, 1),
        "snapshot, 12 series": (metrics.snapshot, 1),
        "report of 8 processes": (lambda: make_report(states), 1),
        "Prometheus text": (lambda: prometheus_text(metrics), 1),
    }
    compare(
        f"CPU of reading the metrics, {ATTEMPTS} requests over 12 series",
        [
            Contender(name=name, measure=lambda done=done, times=times: _each(done, times))  # type: ignore[misc]
            for name, (done, times) in work.items()
        ],
        rounds=5,
        unit="us",
        aim="none of it is on the way of a request: recorders wait for one assignment",
    )


def _copy(of: T) -> T:
    return msgspec.json.decode(msgspec.json.encode(of), type=type(of))


def _often(work: Callable[[], object]) -> None:
    for _ in range(50):
        work()


def main() -> None:
    """Measure and print."""
    _recording()
    _reading()


if __name__ == "__main__":
    main()
