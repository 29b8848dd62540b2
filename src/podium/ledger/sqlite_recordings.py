"""Requests with their bodies, out of the SQLite store: what was asked and answered, for asking it of others.

Rules.
- The newest come first until there are enough; they are returned in the order of time.
- What a caller left, or what was refused before anything was sent, says nothing about an answer. What was asked to compare
  (`REPLAY_TAG`) is nobody's request.
- An attempt begins no earlier than its request and ends no later, so its row is found by time.
"""

from __future__ import annotations

import sqlite3

from podium.ledger.payloads import PayloadFile
from podium.ledger.schema import CLOSED_WITHIN_US
from podium.ledger.store import REPLAY_TAG, Recording, Sought
from podium.routing.snapshot import SHADOW_ARMS

_ENTRY = "requested_us, request_id, spec, user_id, team, rollout, arm, outcome, duration_us, provider, model, winner"
_OTHER_ARMS = "arm NOT IN ({})".format(", ".join(f"'{arm}'" for arm in ("candidate", *sorted(SHADOW_ARMS))))
_NOT_TAGGED = "(tags = '[]' OR NOT EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?))"
_ATTEMPTS = (
    "SELECT COUNT(*), SUM(cost_pico IS NULL), COALESCE(SUM(cost_pico), 0), SUM(metered), "
    "COALESCE(SUM(input + cache_read + cache_write + cache_write_1h + input_audio), 0), "
    "COALESCE(SUM(output + reasoning + output_audio), 0) FROM (SELECT {0} FROM attempts_apart {1} UNION ALL SELECT {0} FROM "
    "closed_attempts {1})"
).format(
    "cost_pico, metered, input, cache_read, cache_write, cache_write_1h, input_audio, output, reasoning, output_audio",
    "WHERE started_us BETWEEN :since AND :until AND request_id = :request_id AND requested_us = :requested_us",
)
_SLACK_US = (1_000_000, 3_600_000_000)
"""How far a clock may be set within a request: first so much, and where nothing is found, so much."""


def recordings(connection: sqlite3.Connection, payloads: PayloadFile, sought: Sought) -> tuple[int, list[Recording]]:
    """Return how many requests fit, and the newest of them with their bodies."""
    conditions = ["attempts > 0", "outcome <> 'cancelled'", _OTHER_ARMS]
    values: list[object] = []
    bounds, bounded_by = [], []  # what is in `closed` is found by the time of its attempt
    if sought.since_us is not None:
        bounds.append("started_us >= ?")
        bounded_by.append(sought.since_us)
    if sought.until_us is not None:
        bounds.append("started_us < ?")
        bounded_by.append(sought.until_us + CLOSED_WITHIN_US)
    for condition, value in (
        ("requested_us >= ?", sought.since_us),
        ("requested_us < ?", sought.until_us),
        ("spec = ?", sought.spec),
        ("rollout = ?", sought.rollout),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    where = " AND ".join([*conditions, _NOT_TAGGED])
    values.append(REPLAY_TAG)
    entries = (
        f"SELECT {_ENTRY} FROM entries_apart WHERE {where} UNION ALL "
        f"SELECT {_ENTRY} FROM closed_entries WHERE {' AND '.join([*bounds, where])}"
    )
    values = [*values, *bounded_by, *values]
    total: int = connection.execute(f"SELECT COUNT(*) FROM ({entries})", values).fetchone()[0]
    rows = connection.execute(f"{entries} ORDER BY requested_us DESC, request_id LIMIT ?", [*values, sought.most]).fetchall()
    return total, [_recording(connection, payloads, row) for row in reversed(rows)]


def _recording(connection: sqlite3.Connection, payloads: PayloadFile, row: tuple[object, ...]) -> Recording:
    requested_us, request_id, spec, user_id, team, rollout, arm, outcome, duration_us, provider, model, winner = row
    assert isinstance(requested_us, int)
    assert isinstance(duration_us, int)
    assert isinstance(request_id, str)
    count = unpriced = cost_pico = metered = tokens_in = tokens_out = 0
    for slack_us in _SLACK_US:
        facts = {
            "since": requested_us - slack_us,
            "until": requested_us + duration_us + slack_us,
            "request_id": request_id,
            "requested_us": requested_us,
        }
        found = connection.execute(_ATTEMPTS, facts).fetchone()
        count, unpriced, cost_pico, metered, tokens_in, tokens_out = found
        if count:
            break
    bodies = [each for each in payloads.find(request_id) if each.requested_us == requested_us]
    request = next((each for each in bodies if each.kind == "request"), None)
    response = next((each for each in bodies if each.kind == "response" and each.attempt == winner), None)
    return Recording(
        request_id=request_id,
        requested_at=requested_us / 1e6,
        spec=str(spec) or None,
        user_id=str(user_id) or None,
        team=str(team) or None,
        rollout=str(rollout) or None,
        arm=str(arm) or None,
        outcome=str(outcome),
        duration_s=duration_us / 1e6,
        target=f"{provider}/{model}" if provider else str(model),
        cost_pico=cost_pico if count and not unpriced else None,
        input_tokens=tokens_in if metered else None,
        output_tokens=tokens_out if metered else None,
        hashed=request is not None and request.body is None,
        request=None if request is None or request.is_cut else request.body,
        response=None if response is None or response.is_cut else response.body,
        is_cut=any(each is not None and each.is_cut for each in (request, response)),
    )
