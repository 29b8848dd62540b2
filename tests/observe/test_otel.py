"""Spans and metrics as the real SDK exports them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from observe.making import AT, attempt, ended, facts
from podium.observe.observers import Observers
from podium.observe.otel import OpenTelemetry
from podium.types import Usage


class Stage:
    """An SDK that keeps what it is told."""

    def __init__(self, **settings: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(**settings)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider(metric_readers=[self.reader])
        self.observer = OpenTelemetry(tracer_provider=self.tracers, meter_provider=self.meters)
        self.observers = Observers([self.observer])

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def metrics(self) -> list[Any]:
        data = self.reader.get_metrics_data()
        found = data.resource_metrics if data is not None else []
        return [metric for resource in found for scope in resource.scope_metrics for metric in scope.metrics]

    def points(self, name: str) -> list[Any]:
        return [point for metric in self.metrics() if metric.name == name for point in metric.data.data_points]

    def units(self) -> dict[str, str]:
        return {metric.name: metric.unit for metric in self.metrics()}


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()
    assert made.observers.failures() == {}


def test_a_request_is_a_span_and_its_attempts_are_its_children(stage: Stage) -> None:
    request = facts(streamed=True)
    watch = stage.observers.begin(request)
    watch.observe(
        attempt(request, model="gpt-4o", outcome="failed", error_code="throttled", usage=None, started_at=AT, duration_s=0.25)
    )
    watch.observe(
        attempt(
            request, attempt=2, cause="fallback", provider="anthropic", kind="anthropic", model="claude-sonnet-4-5",
            upstream_model="claude-sonnet-4-5-20250929", response_model="claude-sonnet-4-5-20250929", upstream_id="msg_1",
            finish_reason="stop", started_at=AT + 0.25, duration_s=1.0, streamed=True, first_content_s=0.5,
            server_address="api.anthropic.com",
            usage=Usage(input=100, cache_read=40, cache_write=8, cache_write_1h=2, output=20, reasoning=5),
        )
    )  # fmt: skip
    watch.observe(ended(request, provider="anthropic", kind="anthropic", winner=2, attempts=2, duration_s=1.25))
    spans = stage.spans()
    top, failed, good = spans["chat tier:fast"], spans["chat gpt-4o"], spans["chat claude-sonnet-4-5"]
    assert top.parent is None
    for child in (failed, good):
        assert child.parent is not None
        assert child.parent.span_id == top.get_span_context().span_id  # type: ignore[union-attr]
        assert child.kind is SpanKind.CLIENT
    assert (top.kind, top.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)
    assert (top.start_time, top.end_time) == (int(AT * 1e9), int((AT + 1.25) * 1e9))
    assert (good.start_time, good.end_time) == (int((AT + 0.25) * 1e9), int((AT + 1.25) * 1e9))
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "throttled"
    assert good.status.status_code is StatusCode.UNSET
    conventions = {name: value for name, value in (good.attributes or {}).items() if not name.startswith("podium.")}
    assert conventions == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5-20250929",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "msg_1",
        "gen_ai.response.model": "claude-sonnet-4-5-20250929",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.5,
        "gen_ai.usage.input_tokens": 150,
        "gen_ai.usage.output_tokens": 25,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.cache_creation.input_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "server.address": "api.anthropic.com",
        "server.port": 443,
    }


def test_half_a_character_of_a_callers_is_told_as_a_question_mark_and_costs_no_batch_of_spans(stage: Stage) -> None:
    request = facts(tags=("é", "half \ud800"), user_id="\udfff", team="rot \ud800", conversation="\ud83d")
    watch = stage.observers.begin(request)
    watch.observe(attempt(request))
    watch.observe(ended(request))
    top, call = stage.spans()["chat tier:fast"].attributes or {}, stage.spans()["chat gpt-4o"].attributes or {}
    assert (top["podium.tags"], top["user.id"], top["podium.team"]) == (("é", "half ?"), "?", "rot ?")
    assert top["gen_ai.conversation.id"] == call["gen_ai.conversation.id"] == "?"


def test_only_attempts_carry_tokens_so_that_a_trace_adds_up(stage: Stage) -> None:
    watch = stage.observers.begin(facts())
    watch.observe(attempt())
    watch.observe(ended())
    counted = [span.attributes.get("gen_ai.usage.input_tokens") for span in stage.spans().values() if span.attributes]
    assert sorted(counted, key=str) == [100, None]


def test_the_callers_span_is_the_parent_even_where_the_request_ends_elsewhere(stage: Stage) -> None:
    tracer = stage.tracers.get_tracer("application")
    with tracer.start_as_current_span("application") as outer:
        watch = stage.observers.begin(facts())
    with tracer.start_as_current_span("another"):
        watch.observe(attempt())
        watch.observe(ended())
    spans = stage.spans()
    top = spans["chat tier:fast"]
    assert top.parent is not None
    assert top.parent.span_id == outer.get_span_context().span_id
    trace_ids = {spans[name].get_span_context().trace_id for name in ("application", "chat tier:fast", "chat gpt-4o")}  # type: ignore[union-attr]
    assert len(trace_ids) == 1


def test_attempts_that_end_after_their_request_stay_its_children(stage: Stage) -> None:
    watch = stage.observers.begin(facts())
    watch.observe(ended())
    watch.observe(attempt(outcome="lost", usage=None))
    spans = stage.spans()
    assert spans["chat gpt-4o"].parent == spans["chat tier:fast"].get_span_context()


def test_an_overtaken_attempt_is_no_error_and_has_no_duration_metric(stage: Stage) -> None:
    watch = stage.observers.begin(facts())
    watch.observe(attempt(outcome="lost", usage=None))
    watch.observe(ended())
    lost = stage.spans()["chat gpt-4o"]
    assert lost.status.status_code is StatusCode.UNSET
    assert lost.attributes is not None
    assert lost.attributes["podium.outcome"] == "lost"
    assert "error.type" not in lost.attributes
    assert stage.points("gen_ai.client.operation.duration") == []


def test_estimated_tokens_do_not_pass_for_reported_ones(stage: Stage) -> None:
    watch = stage.observers.begin(facts())
    watch.observe(attempt(outcome="lost", estimated=True, response_model=""))
    attributes = stage.spans()["chat gpt-4o"].attributes or {}
    assert attributes["podium.usage.estimated_output_tokens"] == 20
    assert not [name for name in attributes if name.startswith(("gen_ai.usage", "gen_ai.response"))]
    assert stage.points("gen_ai.client.token.usage") == []


def test_a_failed_request_is_an_error_of_its_code(stage: Stage) -> None:
    watch = stage.observers.begin(facts())
    watch.observe(ended(outcome="all_targets_failed", winner=None))
    top = stage.spans()["chat tier:fast"]
    assert top.status.status_code is StatusCode.ERROR
    assert top.attributes is not None
    assert top.attributes["error.type"] == "all_targets_failed"


def test_metrics_have_the_conventions_names_units_buckets_and_attributes(stage: Stage) -> None:
    watch = stage.observers.begin(facts())
    watch.observe(attempt(streamed=True, first_content_s=0.3, duration_s=1.5, response_model="gpt-4o-2024-08-06"))
    watch.observe(attempt(attempt=2, outcome="failed", error_code="timed_out", usage=None, duration_s=9.0))
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "server.address": "api.openai.com",
        "server.port": 443,
    }
    good, failed = sorted(stage.points("gen_ai.client.operation.duration"), key=lambda point: float(point.sum))
    assert (good.sum, failed.sum) == (1.5, 9.0)
    assert good.attributes == common | {"gen_ai.response.model": "gpt-4o-2024-08-06"}
    assert failed.attributes == common | {"error.type": "timed_out"}
    assert good.explicit_bounds == (
        0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
    )  # fmt: skip
    (first,) = stage.points("gen_ai.client.operation.time_to_first_chunk")
    assert first.sum == 0.3
    usage = {point.attributes["gen_ai.token.type"]: point for point in stage.points("gen_ai.client.token.usage")}
    assert {kind: point.sum for kind, point in usage.items()} == {"input": 100, "output": 20}
    assert usage["input"].explicit_bounds == tuple(4**power for power in range(14))
    assert stage.units() == {
        "gen_ai.client.operation.duration": "s",
        "gen_ai.client.operation.time_to_first_chunk": "s",
        "gen_ai.client.token.usage": "{token}",
    }


def test_a_request_that_may_not_be_timed_has_no_span_and_no_time_and_its_tokens_are_counted(stage: Stage) -> None:
    request = facts(timed=False)
    watch = stage.observers.begin(request)
    watch.observe(attempt(request, streamed=True, first_content_s=0.3))
    watch.observe(attempt(request, outcome="failed", error_code="timed_out", usage=None))
    watch.observe(ended(request))
    assert stage.spans() == {}
    assert stage.points("gen_ai.client.operation.duration") == []
    assert stage.points("gen_ai.client.operation.time_to_first_chunk") == []
    assert len(stage.points("gen_ai.client.token.usage")) == 2


def test_a_request_that_is_not_sampled_makes_no_spans_and_still_counts() -> None:
    stage = Stage(sampler=ALWAYS_OFF)
    watch = stage.observers.begin(facts())
    watch.observe(attempt())
    watch.observe(ended())
    assert stage.spans() == {}
    assert len(stage.points("gen_ai.client.operation.duration")) == 1
    stage.tracers.shutdown()
    stage.meters.shutdown()


def test_without_an_sdk_it_does_nothing_and_fails_at_nothing() -> None:
    observers = Observers([OpenTelemetry()])
    watch = observers.begin(facts())
    watch.observe(attempt())
    watch.observe(ended())
    assert observers.failures() == {}
