"""What an attempt is charged for: the counts that its provider told, an estimate where it told none, and at which rates.

Theory. A provider tells the counts at the end of an answer. An attempt that has no end (overtaken in a race, left by the
caller, broken off) is charged all the same, so it is estimated: what went in as its provider said at the beginning (Anthropic
does), else as bytes over four; what came out as the bytes received over four, or more where the provider said more.

Rules.
- What was never sent, and what the provider refused, is charged nothing.
- The rates are those of the service that answered, which need not be the one that was asked for: a provider may serve a
  `priority` request as any other, and a project may have a default of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podium.errors import PodiumError, ProviderError
from podium.types import Request, Response, Usage

if TYPE_CHECKING:
    from podium.engine.attempt import Call
    from podium.engine.estimate import Measured

BYTES_A_TOKEN = 4
"""English prose and code have about four bytes a token; good enough for what nobody reported."""
TOKENS_AN_IMAGE = 1000
"""OpenAI counts 765 for 1024 x 1024 in high detail, Anthropic about 1,600 for the largest
(https://platform.openai.com/docs/guides/images-vision, https://platform.claude.com/docs/en/build-with-claude/vision)."""


def may_be_charged(call: Call) -> bool:
    """Say whether the provider may charge for a call that it never gave its counts for."""
    error: PodiumError | None = call.error
    if not call.sent or call.outcome == "rejected":
        return False
    if isinstance(error, ProviderError):
        return error.billable
    return error is None


def estimated(call: Call, measured: Measured, most_output: int | None) -> Usage:
    """Estimate what a call used whose provider did not tell it all, from what it has told and what has come.

    `most_output` is what it was allowed to write: more is not charged, and was not reserved.
    """
    said = call.said_usage
    written = -(-call.seen_bytes // BYTES_A_TOKEN)
    if most_output is not None:
        written = min(written, most_output)
    if said is None or not said.total_input:
        read = -(-measured.text_bytes // BYTES_A_TOKEN) + measured.images * TOKENS_AN_IMAGE
        return Usage(input=read, output=written)
    return said.replace(output=max(said.output, written - said.reasoning - said.output_audio), reported_cost_usd=None)


def context_of(request: Request, dialect: str, response: Response | None = None) -> dict[str, str] | None:
    """Return what decides among a price's variants: the service that answered, where that is said, else the one asked for."""
    if dialect == "anthropic":
        speed = _said(request.extra, dialect, "speed")
        if response is not None and response.usage is not None:
            speed = _said(response.usage.extra, dialect, "speed") or speed
        return {"speed": speed} if speed else None
    tier = request.sampling.service_tier
    if response is not None:
        tier = _said(response.extra, dialect, "service_tier") or tier
    return {"service_tier": tier} if tier else None


def _said(extra: Any, dialect: str, key: str) -> str | None:
    """What a provider, or a request to one, says in its own words."""
    said = extra.get(dialect)
    value = said.get(key) if isinstance(said, dict) else None
    return value if isinstance(value, str) else None
