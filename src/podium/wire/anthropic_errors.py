"""Anthropic's errors and Podium's, each from the other.

Theory. An Anthropic error is `{"type": "error", "error": {"type", "message"}, "request_id"}`. Its type says what kind it is,
but `invalid_request_error` is many things, which only the message tells apart. Podium's own bodies add `error.code`, the stable
name of the error (and `error.kind`, the class's, where that is another one): another Podium reads the same kind.

Rules.
- What asking again cannot help (an account without credit) is not retryable, whatever its status; the header `x-should-retry`
  has the last word.
- A body that is no such document (a proxy's HTML, nothing) is read by its words and its status, as for any provider.
- Errors that are Podium's own, and no provider's, come back as the nearest `ProviderError`, under their own code.

https://platform.claude.com/docs/en/api/errors
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from podium.errors import (
    AuthFailed,
    ContextTooLong,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PodiumError,
    ProviderError,
    Refused,
    Throttled,
    TimedOut,
    UnsupportedSetting,
)
from podium.wire.documents import dump_json
from podium.wire.failures import MEANINGS, Words, classify, failure, known_code, load_retry_after, open_failure, redact

_TYPES: dict[str, type[ProviderError]] = {
    "authentication_error": AuthFailed,
    "permission_error": AuthFailed,
    "billing_error": Throttled,
    "not_found_error": ModelNotFound,
    "rate_limit_error": Throttled,
    "overloaded_error": Overloaded,
    "api_error": Overloaded,
    "timeout_error": TimedOut,
    "request_too_large": ContextTooLong,
}

_TELLING: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (
        re.compile(
            r"prompt is too long|exceeds? (?:the )?context (?:limit|window)|input length and .?max_tokens.? exceed"
            r"|(?:request|input|prompt) (?:exceeds|is larger than) .*(?:tokens|bytes)|too many (?:input )?tokens"
        ),
        ContextTooLong,
    ),
    (re.compile(r"credit balance is too low|usage limits?\b|spend(?:ing)? limit|\bbilling\b"), Throttled),
    (re.compile(r"content filtering policy|blocked by .*(?:policy|safety)"), Refused),
    (
        re.compile(
            r"(?:is|are) (?:deprecated|unsupported|not (?:supported|available|allowed)) (?:for|on|by|with|in) "
            r"|does not support|not supported (?:for|on|by|with|in) |cannot both be (?:specified|set|used)"
            r"|unsupported (?:parameter|setting)|extra inputs are not permitted|maximum allowed number of output tokens"
        ),
        UnsupportedSetting,
    ),
)
"""What the message of an `invalid_request_error` tells, the first that matches."""

_TOO_LONG = "prompt is too long: "
"""What Anthropic's clients look for in a message to know that they must shorten the conversation."""

_WIRE_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def load_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """Read an answer with an error status, whatever its body is; status 200 stands for an error inside a good answer."""
    words = open_failure(body)
    document = words.body[0] if isinstance(words.body, list) and words.body else words.body
    fault = document.get("error") if isinstance(document, dict) else None
    fault = fault if isinstance(fault, dict) else {}
    told = _own_kind(fault)
    kind, facts = told or _kind(status, words, fault.get("type"))
    facts = {"retry_after_s": load_retry_after(headers, words), **facts}
    if (should := headers.get("x-should-retry")) in ("true", "false"):
        facts["retryable"] = should == "true"
    if told is None:
        return failure(kind, status, words, **facts)
    message = words.message.removeprefix(_TOO_LONG) if kind is ContextTooLong else words.message
    return kind(message or "The provider gave no reason.", status=status, body=words.body, **facts)


def _own_kind(fault: dict[str, Any]) -> tuple[type[ProviderError], dict[str, Any]] | None:
    """Return what another Podium says that the error is, if another Podium says so; its words are whole."""
    code = fault.get("code")
    name = fault.get("kind", code)
    if not isinstance(code, str) or not isinstance(name, str) or name not in MEANINGS:
        return None
    kind, facts = MEANINGS[name]
    return kind, facts if code == kind.code else {**facts, "code": code}


def _kind(status: int, words: Words, word: Any) -> tuple[type[ProviderError], dict[str, Any]]:
    if word in ("billing_error", "request_too_large") or status == 529 or (isinstance(word, str) and word in _TYPES):
        kind = _TYPES.get(word, Overloaded) if isinstance(word, str) else Overloaded
        return kind, {"retryable": False} if word == "billing_error" else {}
    if word == "invalid_request_error":
        said = words.message[:4000].lower()
        kind = next((kind for pattern, kind in _TELLING if pattern.search(said)), InvalidRequest)
        return kind, {"retryable": False} if kind is Throttled else {}
    return classify(status, words)


def _status_and_type(error: PodiumError) -> tuple[int, str]:
    status = 529 if isinstance(error, Overloaded) else error.status or 500
    return status, _WIRE_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


def dump_body(error: PodiumError) -> dict[str, Any]:
    """Write an error's document."""
    _, word = _status_and_type(error)
    message = redact(str(error))
    if isinstance(error, ContextTooLong) and "prompt is too long" not in message.lower():
        message = _TOO_LONG + message
    fault: dict[str, Any] = {"type": word, "message": message, "code": error.code}
    if (known := known_code(error)) != error.code:
        fault["kind"] = known
    if (param := getattr(error, "param", None)) is not None:
        fault["param"] = param
    return {"type": "error", "error": fault}


def dump_error(error: PodiumError) -> tuple[int, dict[str, str], bytes]:
    """Write an error for a client: status, headers and body."""
    status, _ = _status_and_type(error)
    headers = {"x-should-retry": "true" if error.retryable else "false"}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(0, math.ceil(error.retry_after_s)))
        headers["retry-after-ms"] = str(max(0, math.ceil(error.retry_after_s * 1000)))
    return status, headers, dump_json(dump_body(error))
