"""The metrics count what happened, once, in every reading of it."""

from __future__ import annotations

import gc
import json
import threading
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observe.making import AT, Clock, attempt, ended, facts
from podium.observe.metrics import OTHER, Metrics
from podium.observe.record import AttemptRecord, RequestRecord
from podium.observe.report import Report, Row
from podium.observe.state import State, make_report
from podium.types import Usage

PROVIDERS = st.sampled_from(["openai", "anthropic", "local"])
MODELS = st.sampled_from(["small", "large"])
TIERS = st.sampled_from([None, "fast", "high"])
EXPERIMENTS = st.sampled_from([None, "local_first"])
COUNTS = st.integers(0, 200_000)
USAGES = st.builds(
    Usage, input=COUNTS, output=COUNTS, cache_read=COUNTS, cache_write=COUNTS, cache_write_1h=COUNTS, reasoning=COUNTS,
    input_audio=COUNTS, output_audio=COUNTS,
)  # fmt: skip
REQUESTS = st.builds(facts, tier=TIERS, experiment=EXPERIMENTS, timed=st.booleans(), streamed=st.booleans())
SECONDS = st.floats(0.001, 1000.0)
ATTEMPTS = st.builds(
    attempt,
    request=REQUESTS,
    provider=PROVIDERS,
    model=MODELS,
    outcome=st.sampled_from(["won", "answered", "lost", "cancelled", "unknown"]),
    cause=st.sampled_from(["first", "retry", "fallback", "hedge", "parallel", "judge"]),
    duration_s=SECONDS,
    first_content_s=st.none() | SECONDS,
    streamed=st.booleans(),
    usage=st.none() | USAGES,
    cost_pico=st.none() | st.integers(0, 10**20),
) | st.builds(
    attempt,
    request=REQUESTS,
    provider=PROVIDERS,
    model=MODELS,
    outcome=st.just("failed"),
    error_code=st.sampled_from(["throttled", "timed_out"]),
    duration_s=SECONDS,
    usage=st.none(),
    cost_pico=st.just(0),
)
ENDS = st.builds(
    ended,
    request=REQUESTS,
    provider=PROVIDERS,
    model=MODELS,
    outcome=st.sampled_from(["ok", "ok", "cancelled", "all_targets_failed"]),
    duration_s=SECONDS,
    first_content_s=st.none() | SECONDS,
)
RECORDS = st.lists(ATTEMPTS | ENDS, max_size=40)


def report_of(*records: Any, **settings: Any) -> Report:
    metrics = Metrics(clock=Clock(), **settings)
    for record in records:
        metrics.observe(record)
    return metrics.snapshot()


def check(row: Row, records: list[Any]) -> None:
    """Compare a row with a recount of its records, one by one."""
    attempts = [record for record in records if isinstance(record, AttemptRecord)]
    ends = [record for record in records if isinstance(record, RequestRecord)]
    usages = [record.usage for record in attempts if record.usage is not None]
    good = [record for record in attempts if record.outcome in ("won", "answered")]
    assert row.requests == len(ends)
    assert row.successes == sum(record.outcome == "ok" for record in ends)
    assert row.cancelled == sum(record.outcome == "cancelled" for record in ends)
    assert row.requests == row.successes + row.failures + row.cancelled
    assert row.attempts == len(attempts)
    assert row.outcomes.get("failed", 0) == sum(row.attempt_errors.values())
    assert (row.retries, row.fallbacks, row.hedges) == tuple(
        sum(record.cause == cause for record in attempts) for cause in ("retry", "fallback", "hedge")
    )
    for kind in ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "input_audio", "output_audio"):
        assert getattr(row.tokens, kind) == sum(getattr(usage, kind) for usage in usages)
    assert row.tokens.total == sum(usage.total for usage in usages)
    assert row.cost_pico == sum(record.cost_pico or 0 for record in attempts)
    assert row.cost_usd is not None
    assert row.cost_usd * 10**12 == row.cost_pico
    assert row.unpriced == sum(record.cost_pico is None for record in attempts)
    timed = [record.duration_s for record in good if record.request.timed]
    assert (row.attempt_latency_s.count if row.attempt_latency_s else 0) == len(timed)
    felt = [record.duration_s for record in ends if record.outcome == "ok" and record.request.timed]
    assert (row.latency_s.count if row.latency_s else 0) == len(felt)
    if felt:
        assert row.latency_s is not None
        assert (row.latency_s.min, row.latency_s.max) == (min(felt), max(felt))
        assert row.latency_s.mean == pytest.approx(sum(felt) / len(felt))


@given(RECORDS)
def test_every_row_is_what_a_recount_of_its_records_gives(records: list[Any]) -> None:
    window = report_of(*records).overall
    check(window.total, records)
    for rows, name in (
        (window.providers, lambda record: record.provider),
        (window.models, lambda record: record.model),
        (window.targets, lambda record: f"{record.provider}/{record.model}"),
        (window.tiers, lambda record: record.request.tier),
        (window.experiments, lambda record: record.request.experiment),
    ):
        assert set(rows) == {name(record) for record in records} - {None}
        for each, row in rows.items():
            check(row, [record for record in records if name(record) == each])


@given(st.lists(st.tuples(ATTEMPTS | ENDS, st.integers(0, 400)), max_size=30), st.data())
def test_reading_in_between_changes_no_figure(steps: list[tuple[Any, int]], data: st.DataObject) -> None:
    clock, other = Clock(), Clock()
    read, unread = Metrics(clock=clock), Metrics(clock=other)
    for record, wait in steps:
        for metrics in (read, unread):
            metrics.observe(record)
        clock.now = other.now = clock.now + wait
        if data.draw(st.booleans()):
            read.snapshot()
    assert_same(read.snapshot(), unread.snapshot())


@given(st.lists(st.tuples(ATTEMPTS | ENDS, st.integers(0, 2)), max_size=40))
def test_several_processes_add_up_to_what_one_would_have_counted(steps: list[tuple[Any, int]]) -> None:
    clock = Clock()
    one, several = Metrics(clock=clock), [Metrics(clock=clock) for _ in range(3)]
    for record, process in steps:
        one.observe(record)
        several[process].observe(record)
        clock.now += 10
    added = make_report([metrics.state() for metrics in several], now=clock.now)
    assert added.processes == 3
    assert_same(added, one.snapshot())


def assert_same(first: Report, second: Report) -> None:
    """Compare two reports, but for the last bits of sums of floats."""

    def rounded(value: Any) -> Any:
        match value:
            case dict():
                return {name: rounded(each) for name, each in value.items() if name != "processes"}
            case float():
                return float(f"{value:.9g}")
            case _:
                return value

    assert rounded(first.to_dict()) == rounded(second.to_dict())


def test_the_last_five_minutes_forget_what_is_older_and_the_total_does_not() -> None:
    clock = Clock()
    metrics = Metrics(clock=clock)
    metrics.observe(ended())
    clock.now += 240
    assert metrics.snapshot().recent.total.requests == 1
    clock.now += 61
    metrics.observe(ended())
    report = metrics.snapshot()
    assert (report.recent.total.requests, report.overall.total.requests) == (1, 2)
    assert 270 <= report.recent.duration_s <= 300
    assert report.overall.duration_s == 301
    assert report.overall.since_at == AT


def test_a_clock_set_back_loses_nothing() -> None:
    clock = Clock()
    metrics = Metrics(clock=clock)
    metrics.observe(ended())
    clock.now -= 3600
    metrics.observe(ended())
    assert metrics.snapshot().overall.total.requests == 2


def test_what_nobody_reads_does_not_pile_up() -> None:
    clock = Clock()
    metrics = Metrics(clock=clock)
    for _ in range(200):
        metrics.observe(ended())
        clock.now += 31
    assert len(metrics._sealed) <= 21
    assert metrics.snapshot().overall.total.requests == 200


def test_performance_that_is_not_tracked_is_not_even_kept() -> None:
    metrics = Metrics(track_performance=False, clock=Clock())
    metrics.observe(attempt(facts(streamed=True), streamed=True, first_content_s=0.2))
    metrics.observe(attempt(outcome="failed", error_code="throttled", usage=None))
    metrics.observe(ended())
    row = metrics.snapshot().overall.total
    assert (row.latency_s, row.first_token_s, row.attempt_latency_s, row.attempt_first_token_s) == (None,) * 4
    assert row.tokens_per_second is None
    assert (row.requests, row.attempts, row.tokens.total) == (1, 2, 120)
    for series in (*metrics.state().base, *(series for piece in metrics.state().slices for series in piece.series)):
        cell = series.cell
        assert cell.latency.count == cell.attempt_latency.count == cell.attempt_first_token.count == cell.timed_s == 0
        assert cell.error_latency == {}


def test_cost_that_is_not_tracked_is_not_even_kept() -> None:
    metrics = Metrics(track_cost=False, clock=Clock())
    metrics.observe(attempt())
    metrics.observe(attempt(cost_pico=None))
    row = metrics.snapshot().overall.total
    assert (row.cost_usd, row.cost_pico, row.unpriced) == (None, None, None)
    assert row.tokens.total == 240
    assert b"450000000" not in metrics.encode_state()


def test_an_untimed_users_requests_leave_no_latency_among_those_of_others() -> None:
    quiet = facts(request_id="r2", user_id="jane", timed=False)
    row = report_of(
        attempt(quiet, duration_s=77.0), attempt(quiet, outcome="failed", error_code="throttled", duration_s=77.0),
        ended(quiet, duration_s=77.0), attempt(duration_s=1.0), ended(duration_s=1.0),
    ).overall.total  # fmt: skip
    assert row.requests == 2
    assert row.latency_s is not None
    assert row.attempt_latency_s is not None
    assert (row.latency_s.count, row.latency_s.max) == (1, 1.0)
    assert (row.attempt_latency_s.count, row.attempt_latency_s.max) == (1, 1.0)
    assert row.tokens_per_second == 20.0


def test_time_to_first_token_is_of_streams_only() -> None:
    """The content of an answer that comes whole comes at its end, which says nothing of the first token."""
    whole = attempt(first_content_s=9.0, streamed=False)
    stream = attempt(facts(streamed=True), first_content_s=0.5, streamed=True)
    row = report_of(whole, stream).overall.total
    assert row.attempt_first_token_s is not None
    assert (row.attempt_first_token_s.count, row.attempt_first_token_s.max) == (1, 0.5)


def test_estimated_tokens_are_in_the_sums_and_in_no_measure() -> None:
    metrics = Metrics(clock=Clock())
    metrics.observe(attempt())
    metrics.observe(attempt(estimated=True, outcome="lost"))
    row = metrics.snapshot().overall.total
    assert (row.tokens.total, row.estimated, row.tokens_per_second) == (240, 1, 20.0)
    (series,) = metrics.state().slices[0].series
    assert (sum(series.cell.input_sizes.counts), sum(series.cell.output_sizes.counts)) == (1, 1)


def test_costs_beyond_64_bits_are_exact() -> None:
    most = 2**63 - 1
    row = report_of(*(attempt(cost_pico=most) for _ in range(3))).overall.total
    assert row.cost_pico == 3 * most
    assert row.cost_usd == Decimal(3 * most) / 10**12
    assert str(row.cost_usd) == "27670116.110564327421"


def test_names_beyond_the_limit_are_counted_together() -> None:
    records = [attempt(model=f"invented-{number}") for number in range(50)]
    window = report_of(*records, max_series=10).overall
    assert len(window.models) == 11
    assert window.models[OTHER].attempts == 40
    assert window.total.attempts == 50


def test_a_request_that_was_never_sent_counts_for_its_tier_and_no_provider() -> None:
    window = report_of(ended(outcome="budget_exceeded", provider=None, model=None, winner=None, attempts=0)).overall
    assert window.tiers["fast"].errors == {"budget_exceeded": 1}
    assert (window.providers, window.targets, window.models) == ({}, {}, {})


def test_a_report_is_plain_json() -> None:
    report = report_of(attempt(), ended(), throttled=lambda: {"openai/gpt-4o": 12.0}, failures=lambda: {"mine": 2})
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["overall"]["providers"]["openai"]["cost_usd"] == "0.000450000000"
    assert plain["throttled"] == {"openai/gpt-4o": 12.0}
    assert plain["observer_failures"] == {"mine": 2}


def test_a_state_survives_json() -> None:
    metrics = Metrics(clock=Clock())
    metrics.observe(attempt())
    state = metrics.state()
    assert msgspec.json.decode(msgspec.json.encode(state), type=State) == state


def test_a_request_that_the_collector_ends_while_another_is_recorded_counts_too() -> None:
    metrics = Metrics()

    class Abandoned:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            metrics.observe(ended(outcome="cancelled"))

    def work() -> None:
        for number in range(60):  # the collector strikes a little later each time
            record = attempt(model=f"model-{number}")
            gc.collect(0)
            gc.set_threshold(1 + number % 30)
            Abandoned()
            metrics.observe(record)

    before = gc.get_threshold()
    gc.freeze()
    try:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(30)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
    assert not thread.is_alive(), "it waits for itself"
    gc.collect()
    assert metrics.snapshot().overall.total.cancelled == 60


def test_threads_that_record_while_others_read_lose_nothing() -> None:
    metrics = Metrics()
    done = threading.Event()

    def record() -> None:
        for _ in range(2000):
            metrics.observe(attempt())
            metrics.observe(ended())

    def read() -> None:
        while not done.is_set():
            metrics.snapshot()

    writers = [threading.Thread(target=record) for _ in range(4)]
    reader = threading.Thread(target=read)
    for thread in (*writers, reader):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    row = metrics.snapshot().overall.total
    assert (row.requests, row.attempts, row.cost_pico) == (8000, 8000, 8000 * 450_000_000)
