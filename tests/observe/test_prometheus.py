"""The exposition is what Prometheus' own parser reads, with the figures of the metrics."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from observe.making import Clock, attempt, ended, facts
from observe.test_metrics import RECORDS
from podium.observe.families import families
from podium.observe.metrics import Metrics
from podium.observe.prometheus import Collector, prometheus_text
from podium.observe.state import combine

BOUNDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""As the conventions write them."""


def counted(*records: Any, **settings: Any) -> Metrics:
    metrics = Metrics(clock=Clock(), **settings)
    for record in records:
        metrics.observe(record)
    return metrics


class Read:
    """What a real parser reads in a text."""

    def __init__(self, text: str) -> None:
        self.lines = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def samples(self, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
        """The samples of a name with these labels, among others."""
        return [
            (sample.labels, sample.value)
            for sample in self.lines
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def sum(self, name: str, **labels: str) -> float:
        return sum(amount for _, amount in self.samples(name, **labels))


def read(metrics: Metrics) -> Read:
    return Read(prometheus_text(metrics))


@given(RECORDS)
def test_a_real_parser_reads_the_figures_of_the_report(records: list[Any]) -> None:
    metrics = counted(*records)
    total = metrics.snapshot().overall.total
    found = read(metrics)
    assert found.sum("podium_requests_total") == total.requests
    assert found.sum("podium_requests_total", outcome="ok") == total.successes
    assert found.sum("podium_attempts_total") == total.attempts
    assert found.sum("podium_retries_total") == total.retries
    assert found.sum("podium_fallbacks_total") == total.fallbacks
    assert found.sum("podium_hedges_total") == total.hedges
    assert found.sum("podium_tokens_total") == total.tokens.total
    assert found.sum("podium_cost_usd_total") == pytest.approx(float(total.cost_usd or 0))
    assert found.sum("gen_ai_client_token_usage_sum") == total.tokens.total


@given(st.lists(st.sampled_from(BOUNDS) | st.floats(0.001, 200.0), max_size=30))
def test_the_histogram_of_durations_is_exact_and_cumulative(durations: list[float]) -> None:
    # What is less than a rounding error above a bound may count as the bound itself.
    clear = [each for each in durations if all(each == bound or not math.isclose(each, bound) for bound in BOUNDS)]
    found = read(counted(*(attempt(duration_s=each) for each in clear)))
    name = "gen_ai_client_operation_duration_seconds"
    for bound in BOUNDS:
        assert found.sum(f"{name}_bucket", le=str(bound)) == sum(each <= bound for each in clear)
    assert found.sum(f"{name}_bucket", le="+Inf") == found.sum(f"{name}_count") == len(clear)
    assert found.sum(f"{name}_sum") == pytest.approx(sum(clear))


@given(RECORDS)
def test_the_collector_gives_a_registry_the_same_samples(records: list[Any]) -> None:
    metrics = counted(*records)
    registry = CollectorRegistry()
    registry.register(Collector(metrics))

    def lines(text: str) -> list[Any]:
        return sorted((sample.name, sorted(sample.labels.items()), sample.value) for sample in Read(text).lines)

    assert lines(generate_latest(registry).decode()) == lines(prometheus_text(metrics))


def test_durations_have_the_conventions_buckets_and_labels() -> None:
    text = read(counted(attempt(provider="eu", kind="gemini", model="gemini-2.5-pro", duration_s=0.04)))
    found = text.samples("gen_ai_client_operation_duration_seconds_bucket")
    assert [float(labels["le"]) for labels, _ in found] == [*BOUNDS, float("inf")]
    assert [amount for _, amount in found] == [0, 0, *[1] * 13]
    labels = found[0][0]
    assert labels == {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "gcp.gemini",
        "gen_ai_request_model": "gemini-2.5-pro",
        "podium_provider": "eu",
        "le": "0.01",
    }


def test_token_usage_has_the_conventions_buckets() -> None:
    text = read(counted(attempt()))
    buckets = text.samples("gen_ai_client_token_usage_bucket", gen_ai_token_type="input")
    found = {float(labels["le"]): amount for labels, amount in buckets}
    assert list(found) == [*(4.0**power for power in range(14)), float("inf")]
    assert (found[64.0], found[256.0]) == (0, 1)


def test_failed_attempts_have_their_error_type_and_overtaken_ones_no_duration() -> None:
    metrics = counted(
        attempt(outcome="failed", error_code="throttled", usage=None, duration_s=0.3), attempt(outcome="lost", usage=None)
    )
    assert read(metrics).sum("gen_ai_client_operation_duration_seconds_count", error_type="throttled") == 1
    assert read(metrics).sum("gen_ai_client_operation_duration_seconds_count") == 1
    assert read(metrics).sum("podium_attempts_total", outcome="lost") == 1


def test_what_is_not_tracked_has_no_family() -> None:
    records = [attempt(facts(streamed=True), streamed=True, first_content_s=0.1), ended()]
    names = {family.name for family in families(counted(*records, track_performance=False, track_cost=False))}
    assert not [name for name in names if "duration" in name or "time_to" in name or "cost" in name or "unpriced" in name]
    assert "podium_tokens_total" in names


def test_names_that_callers_invent_are_escaped() -> None:
    model = 'odd "model"\\ \n with} lines{'
    assert read(counted(attempt(model=model))).sum("podium_attempts_total", model=model) == 1


def test_costs_are_written_exactly() -> None:
    text = prometheus_text(counted(attempt(cost_pico=2**63 - 1), attempt(cost_pico=1)))
    assert "podium_cost_usd_total" in text
    assert " 9223372.036854775808\n" in text


def test_throttled_targets_and_failing_observers_are_shown() -> None:
    metrics = counted(throttled=lambda: {"openai/gpt-4o": 12.5}, failures=lambda: {"mine": 3})
    assert read(metrics).sum("podium_target_throttled_seconds", provider="openai", model="gpt-4o") == pytest.approx(12.5)
    assert read(metrics).sum("podium_observer_failures_total", observer="mine") == 3


def test_a_breaker_is_a_gauge_of_processes_by_state_with_zeros_so_that_an_alert_has_its_series() -> None:
    states = [counted(breakers=lambda state=state: {"chat": state}).state() for state in ("open", "closed", "open")]
    seen = Read(prometheus_text(combine(states, Clock()())))
    found = {name: seen.sum("podium_rollout_breakers", rollout="chat", state=name) for name in ("closed", "open", "probing")}
    assert found == {"closed": 1, "open": 2, "probing": 0}


def test_several_processes_are_one_exposition() -> None:
    states = [counted(attempt(), ended()).state() for _ in range(3)]
    text = prometheus_text(combine(states, Clock()()))
    assert Read(text).sum("podium_requests_total", outcome="ok", tier="fast") == 3
