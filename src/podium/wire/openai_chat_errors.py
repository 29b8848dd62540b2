"""Errors of OpenAI Chat, read from providers and written for clients.

Theory. A client of OpenAI decides by the HTTP status, `error.type` and `error.code`. So each of Podium's errors is written with
OpenAI's own code where OpenAI has one, and with Podium's where it has none; `error.kind` says the class to another Podium (and
`error.podium_code` the code, where that is not the class's own).

Rules.
- `load_failure` gives a `ProviderError` for whatever bytes come. An error of Podium's that is no provider's (a limit, a config)
  gives the provider error that means the same to a caller, under the same code.
- The header `x-should-retry` has the last word on whether asking again may help.
- The body says what was asked, what happened and what to do, and never a key.

Shape: https://platform.openai.com/docs/guides/error-codes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from podium.errors import (
    AuthFailed,
    ContextTooLong,
    ModelNotFound,
    PodiumError,
    ProviderError,
    Refused,
    Throttled,
    UnsupportedSetting,
)
from podium.wire.documents import dump_json
from podium.wire.failures import (
    MEANINGS,
    Words,
    classify,
    failure,
    known_code,
    load_retry_after,
    open_failure,
    redact,
)

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


def load_failure(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """Read an error: the answer with an error status, or (status 200) the error inside a good answer."""
    words = open_failure(body)
    told = _told(words)
    kind, facts = told or classify(status, words)
    facts = {"retry_after_s": load_retry_after(headers, words), **facts}
    if (should := headers.get("x-should-retry")) in ("true", "false"):
        facts["retryable"] = should == "true"
    if told is None:
        return failure(kind, status, words, **facts)
    return kind(words.message or "The provider gave no reason.", status=status, body=words.body, **facts)


def _told(words: Words) -> tuple[type[ProviderError], dict[str, Any]] | None:
    """Return what another Podium says that the error is, if it was another Podium."""
    error = words.body.get("error") if isinstance(words.body, dict) else None
    if not isinstance(error, dict) or not isinstance(kind := error.get("kind"), str) or kind not in MEANINGS:
        return None
    found, facts = MEANINGS[kind]
    code = error.get("podium_code", kind)
    return found, facts if code == found.code or not isinstance(code, str) else {**facts, "code": code}


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
    kind = known_code(error)
    code = _OWN_WORDS.get(kind, error.code)
    if code == "rate_limit_exceeded" and not error.retryable:
        code = "insufficient_quota"
    status = error.status or 500
    dumped = {
        "message": redact(str(error)),
        "type": _TYPES.get(status, "invalid_request_error" if 400 <= status < 500 else "server_error"),
        "param": getattr(error, "param", None),
        "code": code,
        "kind": kind,
    }
    return dumped if error.code == kind else {**dumped, "podium_code": error.code}
