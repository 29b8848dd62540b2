"""Log lines are facts in a stable form, and nothing of a payload."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observe.making import attempt, ended, facts
from podium.observe.log import LogObserver


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[tuple[str, str]]:
        return [(record.levelname, record.getMessage()) for record in self.records]


def logger_to(kept: Kept, level: int = logging.DEBUG) -> logging.Logger:
    logger = logging.Logger("podium", level)
    logger.addHandler(kept)
    return logger


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_a_request_is_one_line_of_facts_in_a_stable_order(kept: Kept) -> None:
    LogObserver(logger=logger_to(kept)).observe(ended(facts(user_id="jane", tags=("a", "b")), first_content_s=0.25))
    assert kept.lines == [
        (
            "INFO",
            "event=request request_id=r1 spec=tier:fast strategy=fallback outcome=ok target=openai/gpt-4o attempts=1 tier=fast "
            "user=jane tags=a,b first_content_ms=250.0 duration_ms=1500.0",
        )
    ]


def test_an_attempt_has_its_tokens_and_its_exact_cost(kept: Kept) -> None:
    LogObserver(logger=logger_to(kept), form="json").observe(attempt(upstream_id="chatcmpl-1", finish_reason="stop"))
    ((level, line),) = kept.lines
    assert level == "DEBUG"
    assert json.loads(line) == {
        "event": "attempt",
        "request_id": "r1",
        "attempt": 1,
        "cause": "first",
        "target": "openai/gpt-4o",
        "outcome": "won",
        "tier": "fast",
        "upstream_id": "chatcmpl-1",
        "input_tokens": 100,
        "output_tokens": 20,
        "cost_usd": "0.00045",
        "finish": "stop",
        "duration_ms": 1000.0,
    }


@pytest.mark.parametrize(
    ("record", "level"),
    [
        (ended(), "INFO"),
        (ended(outcome="cancelled"), "INFO"),
        (ended(outcome="all_targets_failed"), "WARNING"),
        (attempt(), "DEBUG"),
        (attempt(outcome="lost"), "DEBUG"),
        (attempt(outcome="failed", error_code="throttled"), "INFO"),
    ],
)
def test_what_needs_attention_has_a_higher_level(kept: Kept, record: Any, level: str) -> None:
    LogObserver(logger=logger_to(kept)).observe(record)
    assert kept.records[0].levelname == level


def test_what_is_below_the_loggers_level_is_not_written(kept: Kept) -> None:
    LogObserver(logger=logger_to(kept, logging.WARNING)).observe(ended())
    assert kept.lines == []


def test_the_facts_are_there_for_formatters_of_the_applications_own(kept: Kept) -> None:
    LogObserver(logger=logger_to(kept)).observe(ended())
    assert kept.records[0].podium["target"] == "openai/gpt-4o"  # type: ignore[attr-defined]


def test_an_untimed_request_shows_no_duration(kept: Kept) -> None:
    observer = LogObserver(logger=logger_to(kept))
    quiet = facts(timed=False)
    observer.observe(attempt(quiet, first_content_s=0.1))
    observer.observe(ended(quiet, first_content_s=0.1))
    assert "_ms" not in " ".join(line for _, line in kept.lines)


@given(st.text(max_size=300))
def test_no_name_breaks_a_line_or_passes_for_another_key(name: str) -> None:
    kept = Kept()
    LogObserver(logger=logger_to(kept)).observe(ended(facts(user_id=name, tier=None, spec=None), provider=None))
    ((_, line),) = kept.lines
    assert line.isprintable()
    assert line.isascii()
    before, _, rest = line.partition(" user=")
    word, _, after = rest.rpartition(" duration_ms=")
    assert before == "event=request request_id=r1 strategy=fallback outcome=ok attempts=1"
    assert after == "1500.0"
    shown = json.loads(word) if word.startswith('"') else word
    assert shown == (name if len(name) <= 200 else f"{name[:200]}…")
    assert word.startswith('"') or " " not in word
