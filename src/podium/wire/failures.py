"""What went wrong at a provider, read from its own words, whatever the dialect.

Theory. Providers agree on little: one error comes as 400, 401 or 429, as `{"error": {...}}`, `{"error": "..."}`, `{"detail":
...}`, `{"message": ...}`, a list, HTML or plain bytes. So the class of a failure is found from the words first (codes, types,
well-known sentences) and from the status second. `open_failure` finds the document and its words, `classify` the class,
`load_retry_after` when to come back.

Rules.
- Content wins over status where the content is certain: a bad key is a bad key at 400 too (xAI, Gemini), and a prompt that is
  too long is that at 413 and at 500.
- The provider's words are shown shortened, and with every key taken out (`redact`), be it one that the provider echoes.
- A 429 that says the quota or the credit is used up is not retryable; any other is.
- There is no clock here: an HTTP date in `retry-after` counts from the answer's own `date` header, or not at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from podium.errors import (
    AllTargetsFailed,
    AuthFailed,
    BudgetExceeded,
    ConfigError,
    ContextTooLong,
    CostTooHigh,
    InvalidRequest,
    LimitError,
    ModelNotFound,
    NotAllowedError,
    Overloaded,
    PodiumError,
    ProtocolBroken,
    ProviderError,
    RateLimited,
    Refused,
    RequestError,
    SpecError,
    StoreError,
    Throttled,
    TimedOut,
    Unreachable,
    UnrepresentableError,
    UnsupportedSetting,
)
from podium.types import Value
from podium.wire.documents import Malformed, load_json

_KEY = re.compile(
    r"\b(?:sk|rk|pk|gsk|xai|csk|hf|r8|nvapi|fw|tgp|pplx|key|pat|glpat|ghp)[-_][\w\-*.…]{6,}"
    r"|\bAIza[\w\-*]{8,}|\bya29\.[\w\-.]{8,}|\beyJ[\w\-]{8,}\.[\w\-.]{8,}|\bAKIA[A-Z0-9]{12,}"
)
_NAMED_KEY = re.compile(r"(?i)\b(bearer\s+|(?:api[ _-]?key|token|x-api-key)(?:\s+provided)?\s*[:=]\s*[\"'`]?)([\w\-*.]{8,})")


def redact(text: str) -> str:
    """Take out whatever looks like a key: known prefixes, and what follows `Bearer`, `api key:` and the like."""
    return _NAMED_KEY.sub(r"\1[key]", _KEY.sub("[key]", text))


def shorten(text: str, limit: int = 300) -> str:
    """Return a text for a message: without keys, on one line, cut at `limit` characters."""
    text = " ".join(redact(text[: limit * 8]).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


class Words(Value, frozen=True, kw_only=True):
    """What a provider said about a failure."""

    message: str = ""
    """Its sentence, without keys, in full."""
    names: tuple[str, ...] = ()
    """Its codes, types and reasons, in lower case."""
    param: str | None = None
    """The setting it complains about."""
    body: Any = None
    """The whole document without keys; text where it is no JSON."""


def open_failure(body: bytes) -> Words:
    """Read the body of a failure, whatever it is: JSON of any known shape, HTML, text or octets."""
    text = redact(body[:200_000].decode("utf-8", "replace"))
    try:
        document = load_json(text.encode())
    except Malformed:
        return Words(message=_strip_html(text[:8000]), body=shorten(text, 2000) or None)
    found = document[0] if isinstance(document, list) and document else document
    return _words(found, document)


def _strip_html(text: str) -> str:
    if "<" not in text:
        return text
    title = re.search(r"(?is)<title[^>]*>(.*?)</title>", text)
    return title.group(1) if title else re.sub(r"(?s)<style.*?</style>|<script.*?</script>|<[^>]*>", " ", text)


def _words(found: Any, document: Any) -> Words:
    if isinstance(found, str):
        return Words(message=found, body=document)
    if not isinstance(found, dict):
        return Words(body=document)
    error = found.get("error")
    inner = error if isinstance(error, dict) else {}
    names: list[str] = []
    for place in (inner, found, inner.get("innererror"), *_dicts(inner.get("details"))):
        if isinstance(place, dict):
            names += [
                str(place[key]).lower()
                for key in ("code", "type", "status", "status_code", "reason", "__type")
                if _word(place.get(key))
            ]
    message = next(
        (
            said
            for place in (inner, found)
            for key in ("message", "detail", "error", "msg", "error_description", "title")
            if (said := _said(place.get(key)))
        ),
        "",
    )
    metadata = inner.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("raw"), str) and metadata["raw"] not in message:
        message = f"{message}: {metadata['raw']}" if message else metadata["raw"]
    param = next((place["param"] for place in (inner, found) if isinstance(place.get("param"), str)), None)
    return Words(message=message, names=tuple(dict.fromkeys(names)), param=param or None, body=document)


def _word(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _said(value: Any) -> str:
    """Return the words in a message field: text, or FastAPI's list of `{"loc": [...], "msg": ...}`."""
    if isinstance(value, str):
        return value
    said: list[str] = []
    for each in _dicts(value):
        where = each.get("loc")
        place = ".".join(map(str, where)) + ": " if isinstance(where, list) else ""
        if text := each.get("msg") or each.get("message"):
            said.append(f"{place}{text}")
    return "; ".join(said)


# --- Classes ---------------------------------------------------------------------------------------------------------

_TOO_LONG = re.compile(
    r"context_length_exceeded|context_window_exceeded|string_above_max_length|model_max_prompt_tokens_exceeded"
    r"|maximum context length|context (?:length|window|size)|prompt is too long|input is too long|too many (?:input )?tokens"
    r"|input (?:token count|length)\b.*exceed|exceeds? the (?:maximum|max|limit).*tokens|tokens? (?:limit )?exceed"
    r"|reduce the length of|longer than the model|prompt.{0,40}too (?:long|large)|exceeds? the available context"
    r"|larger than the maximum.*tokens|max(?:imum)?_?(?:input|prompt)_?(?:tokens|length)"
)
_BAD_KEY = re.compile(
    r"invalid_api_key|api_key_invalid|invalid_authentication|authentication_error|incorrect api key|invalid (?:x-)?api[ -]key"
    r"|api key (?:not valid|is invalid|not found|expired)|invalid authentication|no (?:auth|api key)|unrecognizedclient|"
    r"missing authentication|authentication fails|invalid subscription key|permission_error|security token"
)
_NO_MODEL = re.compile(
    r"model_not_found|modelnotfound|not_found_error|deploymentnotfound|model_not_available|unknown_model|invalid_model"
    r"|model\b.{0,120}\b(?:does not exist|not found|is not available|not supported by any provider|has been deprecated)"
    r"|(?:no such|unknown|invalid) model|model (?:identifier is invalid|id is invalid)|is not a valid model"
)
_FILTERED = re.compile(
    r"\bcontent_filter\b|responsibleaipolicyviolation|content_policy_violation|content_?policy|content management policy"
    r"|moderation_blocked|flagged by|safety system|data_inspection_failed|prohibited_content|blocked by.{0,40}(?:safety|filter)"
    r"|content was filtered"
)
_UNSUPPORTED = re.compile(
    r"unsupported_parameter|unsupported_value|unsupportedparamserror|unknown_parameter|unsupported (?:parameter|value)"
    r"|(?:parameter|setting|field|value|argument|'[\w.\[\]]+'|`[\w.\[\]]+`|\"[\w.\[\]]+\")[^.]{0,80}"
    r"(?:is |are )?not supported|does not support|unrecognized request argument|unknown (?:parameter|field|name)"
    r"|extra inputs are not permitted|is not allowed with this model|extra_forbidden"
)
_NO_MONEY = re.compile(
    r"insufficient_quota|insufficient (?:balance|credits?|quota)|billing|payment required|credit balance|out of credits"
    r"|exceeded your current quota|quota_exceeded|spending limit|not enough credits"
)
_BUSY = re.compile(r"overloaded|rate_limit|too many requests|rate limit|ratelimit|throttl|resource_exhausted|engine_overloaded")


def classify(status: int, words: Words) -> tuple[type[ProviderError], dict[str, Any]]:
    """Return the class of a failure, and the facts that differ from the class's own.

    `status` 200 stands for an error that came inside a good answer: then the words, or a status among them, decide.
    """
    said = f"{' '.join(words.names)} {words.message[:4000].lower()}"
    if status < 400:
        status = next(
            (int(name) for name in words.names if len(name) == 3 and name.isdecimal() and 400 <= int(name) < 600), status
        )
    if status in (400, 401, 403, 404, 405, 409, 413, 415, 422, 424, 500) or status < 400:
        for pattern, kind in _BY_WORDS:
            if pattern.search(said):
                if kind is ModelNotFound and status in (401, 403, 500):
                    continue
                return kind, {}
    if status == 429 or (status < 500 and status not in (401, 403) and _BUSY.search(said)):
        return _throttled(said)
    return _by_status(status, said)


_BY_WORDS: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (_TOO_LONG, ContextTooLong),
    (_BAD_KEY, AuthFailed),
    (_FILTERED, Refused),
    (_UNSUPPORTED, UnsupportedSetting),
    (_NO_MODEL, ModelNotFound),
)


def _throttled(said: str) -> tuple[type[ProviderError], dict[str, Any]]:
    if "overloaded" in said:
        return Overloaded, {}
    # Google says "exceeded your current quota" of a limit per minute too, and then when to come back.
    spent = (
        _NO_MONEY.search(said) is not None and re.search(r"retry in \d|per_?(?:minute|second|day)|retry_?delay", said) is None
    )
    return Throttled, {"retryable": False} if spent else {}


def _by_status(status: int, said: str) -> tuple[type[ProviderError], dict[str, Any]]:
    match status:
        case 401 | 403:
            return AuthFailed, {}
        case 402:
            return Throttled, {"retryable": False}
        case 404:
            return ModelNotFound, {}
        case 408 | 504 | 524 | 598 | 599:
            return TimedOut, {}
        case 413:
            return ContextTooLong, {}
    if status >= 500:
        return Overloaded, {}
    if status >= 400:
        return InvalidRequest, {}
    if re.search(r"invalid_request|bad_request|badrequest|invalid_argument|validation", said):
        return InvalidRequest, {}
    if re.search(r"server_error|internal|unavailable|overloaded|upstream|api_error", said):
        return Overloaded, {}
    if re.search(r"time(?:d )?[-_ ]?out", said):
        return TimedOut, {}
    return (Overloaded, {}) if said.strip() else (ProtocolBroken, {})


_PROVIDERS = (
    *(ProviderError, AuthFailed, ModelNotFound, InvalidRequest, UnsupportedSetting, ContextTooLong, Refused, Throttled),
    *(Overloaded, TimedOut, Unreachable, ProtocolBroken),
)

MEANINGS: dict[str, tuple[type[ProviderError], dict[str, Any]]] = {
    **{kind.code: (kind, {}) for kind in _PROVIDERS},
    PodiumError.code: (ProviderError, {}),
    ConfigError.code: (ProviderError, {}),
    RequestError.code: (InvalidRequest, {}),
    SpecError.code: (ModelNotFound, {}),
    NotAllowedError.code: (AuthFailed, {}),
    UnrepresentableError.code: (InvalidRequest, {"moves_on": True}),
    LimitError.code: (Throttled, {"retryable": False}),
    RateLimited.code: (Throttled, {}),
    BudgetExceeded.code: (Throttled, {"retryable": False}),
    CostTooHigh.code: (Throttled, {"retryable": False}),
    AllTargetsFailed.code: (Overloaded, {"retryable": False}),
    StoreError.code: (Overloaded, {}),
}
"""What each of Podium's codes means where it comes from an upstream that is Podium too: the provider error that is nearest."""


def known_code(error: PodiumError) -> str:
    """Return the code in `MEANINGS` that stands for an error: its class's, or that of the nearest class above."""
    return next(kind.code for kind in type(error).__mro__ if issubclass(kind, PodiumError) and kind.code in MEANINGS)


_HINTS: dict[type[ProviderError], str] = {
    AuthFailed: "Check the provider's API key and what it may use.",
    ModelNotFound: "Check the model's name, and that this account may use it.",
    InvalidRequest: "Change the request as the provider says.",
    UnsupportedSetting: "Leave the setting out for this model.",
    ContextTooLong: "Shorten the messages or use a model with a larger context.",
    Refused: "Change what is asked; the provider's safety system stopped it.",
    Throttled: "Wait, or use another target.",
    Overloaded: "Ask again, or use another target.",
    TimedOut: "Ask again, or use another target.",
    ProtocolBroken: "Check the provider's `base_url`, or use another target.",
}


def failure(
    kind: type[ProviderError], status: int, words: Words, *, retry_after_s: float | None = None, **facts: Any
) -> ProviderError:
    """Make the error: what the provider answered, in its own words, and what to do."""
    named = f" ({words.names[0]})" if words.names and not words.names[0].isdecimal() else ""
    about = "answered with an error" if status < 400 else f"answered {status}"
    said = shorten(words.message) or "It gave no reason."
    said += "" if said[-1] in ".!?…" else "."
    hint = _HINTS.get(kind)
    if kind is Throttled and facts.get("retryable") is False:
        hint = "The account's quota or credit is used up: see its billing page, or use another target."
    return kind(
        f"The provider {about}{named}: {said}",
        status=status,
        body=words.body,
        hint=hint,
        retry_after_s=retry_after_s,
        **facts,
    )


# --- When to come back -----------------------------------------------------------------------------------------------

_IN_WORDS = re.compile(
    r"(?i)(?:try again|retry) (?:in|after) "
    r"((?:\d+(?:\.\d+)?\s*(?:ms|milliseconds?|h(?:ours?)?|m(?:in)?(?:utes?)?|s(?:ec(?:onds?)?)?)(?![a-z])\s*)+)"
)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
_UNITS = {"ms": 0.001, "mil": 0.001, "h": 3600.0, "m": 60.0, "min": 60.0}


def load_retry_after(headers: Mapping[str, str], words: Words) -> float | None:
    """Return the seconds to wait before asking again, where the provider says: in `retry-after-ms`, in `retry-after` (seconds,
    or a date beside a `date` header), in Google's `RetryInfo`, or in its sentence ("Please try again in 1.5s").
    """
    if (wait := _number(headers.get("retry-after-ms"))) is not None:
        return wait / 1000
    if (after := headers.get("retry-after")) is not None:
        wait = _number(after)
        if wait is None:
            wait = _until(after, headers.get("date"))
        if wait is not None:
            return wait
    for detail in _details_of(words.body):
        if isinstance(delay := detail.get("retryDelay"), str) and (wait := _number(delay.removesuffix("s"))) is not None:
            return wait
    if found := _IN_WORDS.search(words.message[:4000]):
        return round(sum(float(amount) * _unit(unit.lower()) for amount, unit in _SPAN.findall(found.group(1))), 6)
    return None


def _unit(word: str) -> float:
    if word.startswith("mil"):
        return 0.001
    return _UNITS.get(word, 60.0 if word.startswith("m") else 1.0)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return value if 0 <= value < 10_000_000 and math.isfinite(value) else None


def _until(date: str, now: str | None) -> float | None:
    if now is None:
        return None
    try:
        return max(0.0, (parsedate_to_datetime(date) - parsedate_to_datetime(now)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _details_of(body: Any) -> list[dict[str, Any]]:
    first = body[0] if isinstance(body, list) and body else body
    error = first.get("error") if isinstance(first, dict) else None
    return _dicts(error.get("details")) if isinstance(error, dict) else []
