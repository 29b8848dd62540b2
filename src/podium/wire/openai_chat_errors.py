"""Errors of OpenAI Chat, read from providers and written for clients.

Theory. A client of OpenAI decides by the HTTP status, `error.type` and `error.code`. So each of Podium's errors is written with
OpenAI's own code where OpenAI has one, and with Podium's where it has none; both lead back to the same class.

Rules.
- `load_failure` gives a `ProviderError` for whatever bytes come. A code of Podium's that is no provider error (a limit, a
  config) gives the provider error that means the same to a caller, under the same code.
- The body says what was asked, what happened and what to do, and never a key.

Shape: https://platform.openai.com/docs/guides/error-codes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from podium.wire.documents import dump_json
from podium.wire.failures import classify, failure, load_retry_after, open_failure, redact

_OWN_WORDS = {
    AuthFailed.code: "invalid_api_key",
    ModelNotFound.code: "model_not_found",
    ContextTooLong.code: "context_length_exceeded",
    UnsupportedSetting.code: "unsupported_parameter",
    Refused.code: "content_filter",
    Throttled.code: "rate_limit_exceeded",
}
"""OpenAI's codes for those of Podium's."""

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
}

MEANINGS: dict[str, tuple[type[ProviderError], dict[str, Any]]] = {
    **{
        kind.code: (kind, {})
        for kind in (
            ProviderError,
            AuthFailed,
            ModelNotFound,
            InvalidRequest,
            UnsupportedSetting,
            ContextTooLong,
            Refused,
            Throttled,
            Overloaded,
            TimedOut,
            Unreachable,
            ProtocolBroken,
        )
    },
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
    AllTargetsFailed.code: (Overloaded, {}),
    StoreError.code: (Overloaded, {}),
}
"""What each of Podium's codes means, where it comes from an upstream that is Podium too."""


def load_failure(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """Read an error: the answer with an error status, or (status 200) the error inside a good answer."""
    words = open_failure(body)
    meaning = next((MEANINGS[name] for name in words.names[:1] if name in MEANINGS), None)
    if meaning is not None:
        kind, facts = meaning
        if words.names[0] != kind.code:
            facts = {**facts, "code": words.names[0]}
    else:
        kind, facts = classify(status, words)
    return failure(kind, status, words, retry_after_s=load_retry_after(headers, words), **facts)


def dump_error(error: PodiumError) -> tuple[int, dict[str, str], bytes]:
    """Write an error for a client: its status, headers and body."""
    status = error.status or 500
    headers = {"x-should-retry": "true" if error.retryable else "false"}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(0, math.ceil(error.retry_after_s)))
        headers["retry-after-ms"] = str(max(0, math.ceil(error.retry_after_s * 1000)))
    return status, headers, dump_json({"error": error_object(error)})


def error_object(error: PodiumError) -> dict[str, Any]:
    """Return the `error` member of an error's body."""
    code = _OWN_WORDS.get(error.code, error.code)
    if code == "rate_limit_exceeded" and not error.retryable:
        code = "insufficient_quota"
    return {
        "message": redact(str(error)),
        "type": _TYPES.get(
            error.status or 500, "invalid_request_error" if 400 <= (error.status or 500) < 500 else "server_error"
        ),
        "param": getattr(error, "param", None),
        "code": code,
    }
