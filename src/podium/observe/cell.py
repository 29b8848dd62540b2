"""Counts and sketches of one series, and how series add up.

Theory. A series is what happened under one label: provider, model, tier and experiment. Its cell holds nothing but counts,
sums and sketches, so that cells add up: over time (slices), over labels (all of a provider) and over processes.

Rules. Everything in a cell is additive (`merge`), and plain data. A cell is not thread-safe by itself.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import msgspec

from podium.observe.record import ANSWERED, AttemptRecord, RequestRecord
from podium.observe.sketch import Sketch

TOKEN_BOUNDS = tuple(4**power for power in range(14))
"""The conventions' buckets of `gen_ai.client.token.usage`: 1, 4, 16, ... 67,108,864."""
_SLOTS = len(TOKEN_BOUNDS) + 1

K = TypeVar("K")


class Label(NamedTuple):
    """What a series is about; None where it is about none (a request that was never sent has no provider)."""

    provider: str | None
    model: str | None
    tier: str | None
    experiment: str | None


class TokenHistogram(msgspec.Struct):
    """How many attempts had how many tokens, in the conventions' buckets."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * _SLOTS)
    """By the power of 4 that bounds the bucket from above; the last is for what is beyond."""
    sum: int = 0

    def add(self, tokens: int) -> None:
        """Count one attempt."""
        slot = ((tokens - 1).bit_length() + 1) // 2 if tokens > 1 else 0
        if slot >= _SLOTS:
            slot = _SLOTS - 1
        self.counts[slot] += 1
        self.sum += tokens

    def merge(self, other: TokenHistogram) -> None:
        """Add another histogram's counts."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


class Cell(msgspec.Struct, omit_defaults=True):
    """All that is known of one series."""

    requests: int = 0
    successes: int = 0
    errors: dict[str, int] = {}
    """Requests that ended with an error, by its code; `cancelled` where the caller left."""
    outcomes: dict[str, int] = {}
    """Attempts by outcome."""
    causes: dict[str, int] = {}
    """Attempts by cause, the first of a request apart."""
    attempt_errors: dict[str, int] = {}
    """Attempts that failed, by code."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    input_audio: int = 0
    output_audio: int = 0
    estimated: int = 0
    """Attempts whose tokens are an estimate: they are in the sums above, and in nothing that measures."""
    input_sizes: TokenHistogram = msgspec.field(default_factory=TokenHistogram)
    output_sizes: TokenHistogram = msgspec.field(default_factory=TokenHistogram)

    cost_pico: int = 0
    unpriced: int = 0
    """Attempts whose cost is not known."""

    latency: Sketch = msgspec.field(default_factory=Sketch)
    """Seconds of requests that were answered."""
    first_token: Sketch = msgspec.field(default_factory=Sketch)
    """Seconds to the first content that the caller saw, where it streams."""
    attempt_latency: Sketch = msgspec.field(default_factory=Sketch)
    """Seconds of attempts that answered."""
    attempt_first_token: Sketch = msgspec.field(default_factory=Sketch)
    """Seconds to the first content of attempts that were streamed."""
    error_latency: dict[str, Sketch] = {}
    """Seconds of attempts that failed, by code."""
    timed_output: int = 0
    """Output tokens of the attempts in `timed_s`."""
    timed_s: float = 0.0
    """Seconds of answered attempts whose tokens are known."""

    def add_attempt(self, record: AttemptRecord, *, timed: bool, priced: bool) -> None:
        """Count an attempt; its durations only where `timed`, its cost only where `priced`."""
        outcome = record.outcome
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if record.cause != "first":
            self.causes[record.cause] = self.causes.get(record.cause, 0) + 1
        code = record.error_code
        if code is not None and outcome in ("failed", "rejected"):
            self.attempt_errors[code] = self.attempt_errors.get(code, 0) + 1
        if record.usage is not None:
            self._add_usage(record, timed=timed)
        if priced:
            if record.cost_pico is None:
                self.unpriced += 1
            else:
                self.cost_pico += record.cost_pico
        if not timed:
            return
        if outcome in ANSWERED:
            self.attempt_latency.add(record.duration_s)
            if record.streamed and record.first_content_s is not None:
                self.attempt_first_token.add(record.first_content_s)
        elif code is not None and outcome == "failed":
            sketch = self.error_latency.get(code)
            if sketch is None:
                sketch = self.error_latency[code] = Sketch()
            sketch.add(record.duration_s)

    def _add_usage(self, record: AttemptRecord, *, timed: bool) -> None:
        usage = record.usage
        assert usage is not None
        total_input, total_output = usage.input, usage.output
        self.input += total_input
        self.output += total_output
        if usage.reasoning or usage.output_audio:
            self.reasoning += usage.reasoning
            self.output_audio += usage.output_audio
            total_output += usage.reasoning + usage.output_audio
        if usage.cache_read or usage.cache_write or usage.cache_write_1h or usage.input_audio:
            self.cache_read += usage.cache_read
            self.cache_write += usage.cache_write
            self.cache_write_1h += usage.cache_write_1h
            self.input_audio += usage.input_audio
            total_input += usage.cache_read + usage.cache_write + usage.cache_write_1h + usage.input_audio
        if record.estimated:
            self.estimated += 1
            return
        self.input_sizes.add(total_input)
        self.output_sizes.add(total_output)
        if timed and record.outcome in ANSWERED:
            self.timed_output += total_output
            self.timed_s += record.duration_s

    def add_request(self, record: RequestRecord, *, timed: bool) -> None:
        """Count a request; its durations only where `timed`."""
        self.requests += 1
        if record.outcome == "ok":
            self.successes += 1
            if timed:
                self.latency.add(record.duration_s)
                if record.request.streamed and record.first_content_s is not None:
                    self.first_token.add(record.first_content_s)
        else:
            self.errors[record.outcome] = self.errors.get(record.outcome, 0) + 1

    def merge(self, other: Cell) -> None:
        """Add all that another cell has; it stays as it is."""
        for name in _NUMBERS:
            if amount := getattr(other, name):
                setattr(self, name, getattr(self, name) + amount)
        for name in _COUNTS:
            if counts := getattr(other, name):
                _add_counts(getattr(self, name), counts)
        for name in _PARTS:
            getattr(self, name).merge(getattr(other, name))
        for code, sketch in other.error_latency.items():
            self.error_latency.setdefault(code, Sketch()).merge(sketch)


def _add_counts(counts: dict[K, int], more: dict[K, int]) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count


_COUNTS = ("errors", "outcomes", "causes", "attempt_errors")
_PARTS = ("input_sizes", "output_sizes", "latency", "first_token", "attempt_latency", "attempt_first_token")
_NUMBERS = tuple(name for name in Cell.__struct_fields__ if name not in (*_COUNTS, *_PARTS, "error_latency"))
