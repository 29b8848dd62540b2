"""OpenTelemetry: a span a request, a span an attempt, and the conventions' metrics.

Theory. A request's span opens when the request begins, under whatever span its caller is in, and the spans of its attempts are
its children; so a trace shows the race, the fallback and the retry as they were. Names and attributes are those of
https://github.com/open-telemetry/semantic-conventions-genai (docs/gen-ai/gen-ai-spans.md, gen-ai-metrics.md); what they do not
know begins with `podium.`.

Rules.
- Attempts are the conventions' operations (kind CLIENT), and only they carry tokens: backends add up the tokens of all spans,
  and on the request's span they would count twice. The request's span is INTERNAL, `chat {spec}`.
- Tokens that nobody reported are no `gen_ai.usage`, as the conventions have it; the estimate is `podium.usage.*`.
- An attempt that was overtaken or left is no error: its outcome is `podium.outcome`, and it has no part in the metrics of time.
- No prompt, no answer and no provider's words are in a span; `error.type` is Podium's error code.
- A request that may not be timed has no span, for a span is a duration, and no metric of time; its tokens are counted.
- The spans of an attempt are made when it is settled, with their own instants: nothing of the engine runs inside them.
"""

from __future__ import annotations

from typing import Any

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics as otel_metrics
    from opentelemetry import trace
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ImportError as missing:  # pragma: no cover - the extra is always there in tests
    from podium.errors import ConfigError

    raise ConfigError(
        "OpenTelemetry is switched on, but its package is not installed.",
        hint="Install it with: pip install 'podium[otel]', or switch it off.",
    ) from missing

from podium.observe.names import (
    DURATION,
    DURATION_BOUNDS,
    FIRST_CHUNK,
    OPERATION,
    TOKEN_USAGE,
    USAGE_BOUNDS,
    provider_name,
)
from podium.observe.record import ANSWERED, AttemptRecord, Observation, RequestFacts, RequestRecord
from podium.types import Usage

Attributes = dict[str, Any]
SCOPE = "podium"


class OpenTelemetry:
    """Tells OpenTelemetry of requests and attempts; with the global providers where none is given.

    Raises `ConfigError`, when this module is imported, where `opentelemetry-api` is not installed.
    """

    name = "opentelemetry"

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: otel_metrics.MeterProvider | None = None,
        spans: bool = True,
        metrics: bool = True,
    ) -> None:
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        self._spans = spans
        self._meters = _Meters(otel_metrics.get_meter(SCOPE, meter_provider=meter_provider)) if metrics else None

    def begin(self, request: RequestFacts) -> _Trace:
        """Open the request's span, under the caller's."""
        if not self._spans or not request.timed:
            return _Trace(self, None)
        attributes: Attributes = {
            "gen_ai.operation.name": OPERATION,
            "gen_ai.request.model": request.spec,
            "gen_ai.conversation.id": request.conversation,
            "gen_ai.request.stream": request.streamed or None,
            "podium.request.id": request.request_id,
            "podium.rule": request.rule,
            "podium.strategy": request.strategy,
            "podium.tier": request.tier,
            "podium.experiment": request.experiment,
            "podium.rollout": request.rollout,
            "podium.arm": request.arm,
            "podium.team": request.team,
            "podium.tags": request.tags or None,
            "user.id": request.user_id,
        }
        span = self._tracer.start_span(
            f"{OPERATION} {request.spec}" if request.spec else OPERATION,
            kind=SpanKind.INTERNAL,
            attributes=_known(attributes),
            start_time=_nanoseconds(request.started_at),
        )
        return _Trace(self, span)

    def observe(self, record: Observation) -> None:
        """Take the record of a request whose beginning was not told: it has no spans, and counts in the metrics."""
        _Trace(self, None).observe(record)


class _Trace:
    """One request's spans."""

    __slots__ = ("_context", "_of", "_recording", "_span")

    name = OpenTelemetry.name

    def __init__(self, of: OpenTelemetry, span: trace.Span | None) -> None:
        self._of = of
        self._span = span
        self._context = None if span is None else trace.set_span_in_context(span)
        self._recording = span is not None and span.is_recording()  # asked now: attempts may outlast the request's span

    def observe(self, record: Observation) -> None:
        if isinstance(record, RequestRecord):
            if self._span is not None:
                _end_request(self._span, record)
            return
        context = self._context
        if self._recording:
            span = self._of._tracer.start_span(
                f"{OPERATION} {record.model}",
                context=context,
                kind=SpanKind.CLIENT,
                attributes=_start(record) | _end(record),
                start_time=_nanoseconds(record.started_at),
            )
            if _has_failed(record):
                span.set_status(Status(StatusCode.ERROR))
            span.end(_nanoseconds(record.started_at + record.duration_s))
            context = trace.set_span_in_context(span)
        if self._of._meters is not None:
            self._of._meters.record(record, context)


def _start(record: AttemptRecord) -> Attributes:
    """What is known before the call, and also labels the metrics."""
    return _known(
        {
            "gen_ai.operation.name": OPERATION,
            "gen_ai.provider.name": provider_name(record.kind, record.provider),
            "gen_ai.request.model": record.upstream_model or record.model,
            "server.address": record.server_address,
            "server.port": record.server_port if record.server_address else None,
        }
    )


def _has_failed(record: AttemptRecord) -> bool:
    return record.outcome not in ANSWERED and record.error_code is not None


def _end(record: AttemptRecord) -> Attributes:
    """What there is to say at the end."""
    attributes: Attributes = {
        "gen_ai.request.stream": record.streamed or None,
        "gen_ai.conversation.id": record.request.conversation,
        "gen_ai.response.id": record.upstream_id,
        "gen_ai.response.model": record.response_model,
        "gen_ai.response.finish_reasons": (record.finish_reason,) if record.finish_reason else None,
        "gen_ai.response.time_to_first_chunk": record.first_content_s if record.streamed else None,
        "podium.provider": record.provider,
        "podium.model": record.model,
        "podium.attempt": record.attempt,
        "podium.cause": record.cause,
        "podium.outcome": record.outcome,
        "podium.cost_usd": None if record.cost_pico is None else record.cost_pico / 10**12,
        "podium.losses": record.losses or None,
    }
    if record.usage is not None and record.estimated:
        attributes["podium.usage.estimated_input_tokens"] = record.usage.total_input
        attributes["podium.usage.estimated_output_tokens"] = record.usage.total_output
    elif record.usage is not None:
        attributes |= _usage(record.usage)
    if _has_failed(record):
        attributes["error.type"] = record.error_code
    return _known(attributes)


def _usage(usage: Usage) -> Attributes:
    """The conventions' counts: what is cached is part of the input, what is thought part of the output."""
    return {
        "gen_ai.usage.input_tokens": usage.total_input,
        "gen_ai.usage.output_tokens": usage.total_output,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read or None,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write + usage.cache_write_1h or None,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning or None,
        "gen_ai.usage.audio.input_tokens": usage.input_audio or None,
        "gen_ai.usage.audio.output_tokens": usage.output_audio or None,
    }


def _end_request(span: trace.Span, record: RequestRecord) -> None:
    failed = record.outcome not in ("ok", "cancelled")
    attributes: Attributes = {
        "gen_ai.provider.name": provider_name(record.kind, record.provider) if record.provider else None,
        "gen_ai.response.id": record.upstream_id,
        "gen_ai.response.model": record.response_model,
        "gen_ai.response.finish_reasons": (record.finish_reason,) if record.finish_reason else None,
        "gen_ai.response.time_to_first_chunk": record.first_content_s if record.request.streamed else None,
        "podium.outcome": record.outcome,
        "podium.attempts": record.attempts,
        "podium.winner": record.winner,
        "podium.provider": record.provider,
        "podium.model": record.model,
        "error.type": record.outcome if failed else None,
    }
    span.set_attributes(_known(attributes))
    if failed:
        span.set_status(Status(StatusCode.ERROR))
    span.end(_nanoseconds(record.request.started_at + record.duration_s))


class _Meters:
    """The conventions' instruments."""

    def __init__(self, meter: otel_metrics.Meter) -> None:
        seconds = DURATION_BOUNDS
        self._duration = meter.create_histogram(
            DURATION, "s", "GenAI operation duration.", explicit_bucket_boundaries_advisory=seconds
        )
        self._first_chunk = meter.create_histogram(
            FIRST_CHUNK, "s", "Time to receive the first chunk.", explicit_bucket_boundaries_advisory=seconds
        )
        self._tokens = meter.create_histogram(
            TOKEN_USAGE, "{token}", "Number of input and output tokens used.", explicit_bucket_boundaries_advisory=USAGE_BOUNDS
        )

    def record(self, record: AttemptRecord, context: otel_context.Context | None) -> None:
        answered = record.outcome in ANSWERED
        attributes = _start(record)
        if record.response_model:
            attributes["gen_ai.response.model"] = record.response_model
        if record.request.timed and (answered or record.outcome == "failed"):
            timed = attributes if answered else {**attributes, "error.type": record.error_code or "_OTHER"}
            self._duration.record(record.duration_s, timed, context)
        if record.request.timed and answered and record.streamed and record.first_content_s is not None:
            self._first_chunk.record(record.first_content_s, attributes, context)
        if record.usage is not None and not record.estimated:
            self._tokens.record(record.usage.total_input, {**attributes, "gen_ai.token.type": "input"}, context)
            self._tokens.record(record.usage.total_output, {**attributes, "gen_ai.token.type": "output"}, context)


def _known(attributes: Attributes) -> Attributes:
    return {name: _written(value) for name, value in attributes.items() if value is not None and value != ""}


def _written(value: Any) -> Any:
    """A value as an exporter can encode it: one that cannot costs it the whole batch, other requests' spans among it."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    return tuple(map(_written, value)) if isinstance(value, tuple) else value


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
