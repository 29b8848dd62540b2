"""The fan-out reaches everybody, and no observer's failure reaches a request."""

from __future__ import annotations

import logging

import pytest

from observe.making import attempt, ended, facts
from podium.observe.metrics import Metrics
from podium.observe.observers import Observer, Observers
from podium.observe.record import AttemptRecord, Observation, RequestFacts, cause_of, server_of
from podium.types import Target


class Keeping:
    """Keeps its records."""

    name = "keeping"

    def __init__(self) -> None:
        self.records: list[Observation] = []

    def observe(self, record: Observation) -> None:
        self.records.append(record)


class Breaking:
    """Fails, quoting a payload."""

    name = "breaking"

    def observe(self, record: Observation) -> None:
        raise ValueError("the caller's secret words")


class Tracing:
    """Gives each request an observer of its own."""

    name = "tracing"

    def __init__(self) -> None:
        self.requests: dict[str, Keeping] = {}
        self.stray = Keeping()

    def begin(self, request: RequestFacts) -> Observer:
        return self.requests.setdefault(request.request_id, Keeping())

    def observe(self, record: Observation) -> None:
        self.stray.observe(record)


def test_every_observer_gets_every_record_though_one_of_them_fails(caplog: pytest.LogCaptureFixture) -> None:
    first, last = Keeping(), Keeping()
    observers = Observers([first, Breaking(), last])
    watch = observers.begin(facts())
    for record in (attempt(), ended()):
        watch.observe(record)
    assert first.records == last.records == [attempt(), ended()]
    assert observers.failures() == {"breaking": 2}


def test_a_failing_observer_is_told_of_once_and_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    observers = Observers([Breaking()])
    with caplog.at_level(logging.WARNING, logger="podium"):
        for _ in range(3):
            observers.begin(facts()).observe(attempt())
    (message,) = [record.getMessage() for record in caplog.records]
    assert "breaking failed with ValueError at" in message
    assert "secret" not in message


def test_each_request_has_its_own_observer_of_those_that_begin() -> None:
    tracing, plain = Tracing(), Keeping()
    observers = Observers([tracing, plain])
    one, two = facts(request_id="one"), facts(request_id="two")
    first, second = observers.begin(one), observers.begin(two)
    second.observe(attempt(two))
    first.observe(attempt(one))
    first.observe(ended(one))
    assert tracing.requests["one"].records == [attempt(one), ended(one)]
    assert tracing.requests["two"].records == [attempt(two)]
    assert len(plain.records) == 3
    assert tracing.stray.records == []


def test_an_observer_that_fails_as_a_request_begins_is_counted_and_left_out() -> None:
    class Refusing(Tracing):
        def begin(self, request: RequestFacts) -> Observer:
            raise RuntimeError

    plain = Keeping()
    observers = Observers([Refusing(), plain])
    observers.begin(facts()).observe(attempt())
    assert observers.failures() == {"tracing": 1}
    assert plain.records == [attempt()]


def test_the_metrics_show_which_observers_fail() -> None:
    metrics = Metrics(failures=lambda: observers.failures())
    observers = Observers([metrics, Breaking()])
    observers.begin(facts()).observe(attempt())
    assert metrics.snapshot().observer_failures == {"breaking": 1}


def test_a_record_names_no_payload_and_no_secret() -> None:
    """What a record can hold is what its fields are: no field is for text, headers or bodies."""
    fields = set(RequestFacts.__struct_fields__) | set(AttemptRecord.__struct_fields__)
    assert not fields & {"error", "message", "body", "headers", "prompt", "messages", "text", "api_key", "parts"}


A, B = Target(provider="openai", model="a"), Target(provider="openai", model="b")


@pytest.mark.parametrize(
    ("number", "target", "asked", "role", "strategy", "cause"),
    [
        (1, A, [], "answer", "fallback", "first"),
        (2, A, [A], "answer", "fallback", "retry"),
        (2, B, [A], "answer", "fallback", "fallback"),
        (3, A, [A, B], "answer", "race", "retry"),
        (2, B, [A], "answer", "race", "parallel"),
        (2, B, [A], "answer", "consensus", "parallel"),
        (2, B, [A], "answer", "hedge", "hedge"),
        (4, B, [A], "escalation", "consensus", "escalation"),
        (4, A, [A], "judge", "consensus", "judge"),
        (2, A, [A], "answer", None, "retry"),
    ],
)
def test_the_cause_of_an_attempt_follows_from_what_was_asked_before(
    number: int, target: Target, asked: list[Target], role: str, strategy: str | None, cause: str
) -> None:
    assert cause_of(number, target, asked, role=role, strategy=strategy) == cause


@pytest.mark.parametrize(
    ("base_url", "server"),
    [
        ("https://api.openai.com/v1", ("api.openai.com", 443)),
        ("http://localhost:11434/v1", ("localhost", 11434)),
        ("http://[::1]/v1", ("::1", 80)),
        ("https://user:word@example.com/", ("example.com", 443)),
        ("https://example.com:port/", (None, None)),
    ],
)
def test_the_server_of_a_base_url_is_its_host_and_port(base_url: str, server: tuple[str | None, int | None]) -> None:
    assert server_of(base_url) == server
