"""Structured logging: one line a request, and one an attempt, through the standard `logging`.

Theory. A line is facts, as `key=value` or as JSON, in a stable order and with stable names, so that it can be searched and
counted. It says who was asked, what came of it, how long it took and what it cost.

Rules.
- Nothing of a payload, no provider's words and no key is in a line: the records have none.
- Names come from callers (a user's id, a model's name): what is not plain is quoted as JSON, so that no name breaks a line, and
  cut at 200 characters.
- Requests that were answered are told at INFO, the others at WARNING, attempts at DEBUG, failed ones at INFO. Whether any of
  it is shown is the application's choice, as with every logger; the level is asked before anything is put together.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Any, Literal

from podium.observe.record import ANSWERED, PICO, AttemptRecord, Observation, RequestRecord

_PLAIN = re.compile(r"[\w.:/@+,-]+", re.ASCII)
_LONGEST = 200


class LogObserver:
    """Writes records to a logger, `podium` by default, as text or as JSON."""

    name = "logging"

    def __init__(self, *, form: Literal["text", "json"] = "text", logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("podium")
        self._write = _as_json if form == "json" else _as_text

    def observe(self, record: Observation) -> None:
        """Write one line."""
        level = _level(record)
        if self._logger.isEnabledFor(level):
            facts = _attempt(record) if isinstance(record, AttemptRecord) else _request(record)
            self._logger.log(level, "%s", self._write(facts), extra={"podium": facts})


def _level(record: Observation) -> int:
    if isinstance(record, RequestRecord):
        return logging.INFO if record.outcome in ("ok", "cancelled") else logging.WARNING
    return logging.INFO if record.outcome in ("failed", "rejected", "unknown") else logging.DEBUG


def _attempt(record: AttemptRecord) -> dict[str, Any]:
    request, usage = record.request, record.usage
    facts: dict[str, Any] = {
        "event": "attempt",
        "request_id": request.request_id,
        "attempt": record.attempt,
        "cause": record.cause,
        "target": f"{record.provider}/{record.model}",
        "outcome": record.outcome,
        "error": record.error_code,
        "tier": request.tier,
        "experiment": request.experiment,
        "user": request.user_id,
        "upstream_id": record.upstream_id,
        "input_tokens": None if usage is None else usage.total_input,
        "output_tokens": None if usage is None else usage.total_output,
        "estimated": record.estimated or None,
        "cost_usd": _usd(record.cost_pico),
        "finish": record.finish_reason if record.outcome in ANSWERED else None,
        "losses": record.losses or None,
    }
    if request.timed:
        facts["first_content_ms"] = _ms(record.first_content_s)
        facts["duration_ms"] = _ms(record.duration_s)
    return {name: value for name, value in facts.items() if value is not None}


def _request(record: RequestRecord) -> dict[str, Any]:
    request = record.request
    facts: dict[str, Any] = {
        "event": "request",
        "request_id": request.request_id,
        "spec": request.spec,
        "rule": request.rule,
        "strategy": request.strategy,
        "outcome": record.outcome,
        "target": f"{record.provider}/{record.model}" if record.provider else None,
        "attempts": record.attempts,
        "tier": request.tier,
        "experiment": request.experiment,
        "rollout": request.rollout,
        "arm": request.arm,
        "user": request.user_id,
        "team": request.team,
        "conversation": request.conversation,
        "tags": ",".join(request.tags) or None,
        "streamed": request.streamed or None,
    }
    if request.timed:
        facts["first_content_ms"] = _ms(record.first_content_s)
        facts["duration_ms"] = _ms(record.duration_s)
    return {name: value for name, value in facts.items() if value is not None}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _usd(pico: int | None) -> str | None:
    if pico is None:
        return None
    whole, fraction = divmod(abs(pico), PICO)
    return f"{'-' if pico < 0 else ''}{whole}.{fraction:012d}".rstrip("0").rstrip(".")


def _short(value: Any) -> Any:
    return value if not isinstance(value, str) or len(value) <= _LONGEST else f"{value[:_LONGEST]}…"


def _as_json(facts: dict[str, Any]) -> str:
    return json.dumps({name: _short(value) for name, value in facts.items()})


def _as_text(facts: dict[str, Any]) -> str:
    return " ".join(f"{name}={_word(_short(value))}" for name, value in facts.items())


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        return json.dumps(value)  # all beyond ASCII as escapes, so that no name hides in a line or turns its direction
    return str(value)
