"""Token counts and ends of OpenAI Chat answers, to Podium's words and back.

Theory. OpenAI's counts overlap: `prompt_tokens` includes what was read from and written to a cache and audio, and
`completion_tokens` includes reasoning and audio. Podium's counts are disjoint, so the parts are subtracted. The provider's own
object is kept whole beside them and written again where it still says the same.

Rules.
- xAI leaves reasoning out of `completion_tokens`; it shows in `total_tokens`, which is then larger than prompt and completion
  together by just the reasoning tokens (https://docs.x.ai/docs/guides/reasoning).
- Cached tokens are in `prompt_tokens_details.cached_tokens`, in `prompt_cache_hit_tokens` (DeepSeek) or in `cached_tokens`
  (Together, Moonshot).
- A part that is larger than its whole is cut to it; a count that is no number, or too large to be true, counts as 0 and
  stays in `extra`.
- OpenRouter's `cost` is in USD; xAI's `cost_in_usd_ticks` counts 10^-10 USD. With one's own key at the vendor behind OpenRouter
  (`is_byok`), `cost` is OpenRouter's fee alone, and the vendor's own charge stands beside it
  (https://openrouter.ai/docs/use-cases/usage-accounting).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from podium.types import FinishReason, Usage
from podium.wire.documents import load_count, want_dict
from podium.wire.openai_chat_parts import NAME

REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "tool_calls",
    # words of compatible servers and of vendors behind them, in lower case
    "complete": "stop",
    "completed": "stop",
    "end": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "stop_token": "stop",
    "max_length": "length",
    "max_output_tokens": "length",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "model_length": "length",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "blocklist": "content_filter",
    "content_filtered": "content_filter",
    "error_toxic": "content_filter",
    "guardrail_intervened": "content_filter",
    "image_safety": "content_filter",
    "prohibited_content": "content_filter",
    "recitation": "content_filter",
    "refusal": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "spii": "content_filter",
}
"""What the words in `finish_reason` mean."""

FAILURES = frozenset({"error", "abort", "aborted", "insufficient_system_resource", "malformed_function_call", "network_error"})
"""Words that say that an answer broke off, in lower case: no answer ends well with them."""

_ENUM = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})


def load_reason(word: str | None, *, called: bool) -> tuple[FinishReason, str | None]:
    """Return (reason, the provider's word where it differs). `called` says whether the answer calls tools.

    An answer that calls tools and says `stop` (a forced call at OpenAI, Gemini's compatible endpoint) ends for its tool calls.
    """
    if word is None:
        return ("tool_calls" if called else "other"), None
    reason = REASONS.get(word) or REASONS.get(word.lower(), "other")
    if called and reason == "stop":
        reason = "tool_calls"
    return reason, None if reason == word else word


def dump_reason(reason: FinishReason, raw: str | None) -> str:
    """Return OpenAI's word for an end: never one outside its enumeration."""
    if raw in _ENUM:
        return raw
    return reason if reason in _ENUM else "stop"


def load_usage(document: Any, path: str = "usage") -> Usage:
    """Read a `usage` object into disjoint counts.

    Raises `Malformed` where it is no object.
    """
    get = want_dict(document, path).get
    prompt, completion = load_count(get("prompt_tokens")), load_count(get("completion_tokens"))
    left, rest = prompt, completion
    cached = written = heard = spoken = 0
    inside, outside = get("prompt_tokens_details"), get("completion_tokens_details")
    reasoning = load_count(get("reasoning_tokens"))
    if type(inside) is dict:
        cached, written = load_count(inside.get("cached_tokens")), load_count(inside.get("cache_write_tokens"))
        heard = load_count(inside.get("audio_tokens"))
    if type(outside) is dict:
        reasoning = load_count(outside.get("reasoning_tokens")) or reasoning
        spoken = load_count(outside.get("audio_tokens"))
    cached = min(cached or load_count(get("prompt_cache_hit_tokens")) or load_count(get("cached_tokens")), left)
    left -= cached
    if written or heard:
        written = min(written, left)
        left -= written
        heard = min(heard, left)
        left -= heard
    if reasoning and load_count(get("total_tokens")) != prompt + completion + reasoning:
        reasoning = min(reasoning, completion)
        rest -= reasoning
    spoken = min(spoken, rest)
    return Usage(
        input=left,
        output=rest - spoken,
        cache_read=cached,
        cache_write=written,
        reasoning=reasoning,
        input_audio=heard,
        output_audio=spoken,
        reported_cost_usd=_cost(document) if "cost" in document or "cost_in_usd_ticks" in document else None,
        extra={NAME: document},
    )


_MOST_USD = 4_500_000
"""The largest cost that is believed: twice as much, in pico-USD, still fits the int64 that is kept of it."""


def _cost(document: dict[str, Any]) -> Decimal | None:
    cost, ticks = _usd(document.get("cost")), document.get("cost_in_usd_ticks")
    if document.get("is_byok") is True and type(details := document.get("cost_details")) is dict:
        charged = _usd(details.get("upstream_inference_cost"))
        return charged if cost is None or charged is None else cost + charged
    if cost is not None:
        return cost
    if type(ticks) is int and 0 <= ticks <= _MOST_USD * 10**10:
        return Decimal(ticks).scaleb(-10)
    return None


def _usd(amount: Any) -> Decimal | None:
    if type(amount) in (int, float) and 0 <= amount <= _MOST_USD:
        return Decimal(str(amount))
    return None


def dump_usage(usage: Usage) -> dict[str, Any]:
    """Write counts as OpenAI does; the provider's own object where it says the same."""
    document = usage.extra.get(NAME)
    if document and load_usage(document) == usage:
        return document
    inside = {"cached_tokens": usage.cache_read, "audio_tokens": usage.input_audio}
    if written := usage.cache_write + usage.cache_write_1h:
        inside["cache_write_tokens"] = written
    dumped: dict[str, Any] = {
        "prompt_tokens": usage.total_input,
        "completion_tokens": usage.total_output,
        "total_tokens": usage.total,
        "prompt_tokens_details": inside,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": usage.output_audio},
    }
    if usage.reported_cost_usd is not None:
        dumped["cost"] = float(usage.reported_cost_usd)
    return dumped
