"""What a simulated provider answers to a request that it does not take, in the provider's own form.

Theory. The rules of each vendor raise a `Complaint`; the server writes it in the vendor's error body, with the vendor's
status, words, type, parameter and code.

Rules. A complaint repeats nothing secret: a wrong key is quoted as the vendor quotes it, by its first and last characters.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Complaint(Exception):
    """A request that is refused: `kind` is the error's type, `param` and `code` are OpenAI's."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s


def body(complaint: Complaint, dialect: str, request_id: str) -> bytes:
    """Write a complaint as its dialect's error body.

    https://platform.openai.com/docs/guides/error-codes and https://docs.claude.com/en/api/errors
    """
    plain: dict[str, Any]
    if dialect == "anthropic":
        plain = {"type": "error", "error": {"type": complaint.kind, "message": complaint.message}, "request_id": request_id}
    else:
        plain = {
            "error": {
                "message": complaint.message,
                "type": complaint.kind,
                "param": complaint.param,
                "code": complaint.code,
            }
        }
    return msgspec.json.encode(plain)


_OPENAI_KINDS = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", None),
}

_ANTHROPIC_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_OPENAI_WORDS = {
    400: "The simulated model was told to refuse every request.",
    401: "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.",
    429: "Rate limit reached for {model} in organization org-sim on requests per min (RPM): Limit 500, Used 500, Requested 1. "
    "Please try again in {wait}s. Visit https://platform.openai.com/account/rate-limits to learn more.",
    500: "The server had an error while processing your request. Sorry about that!",
    503: "The server is currently overloaded with other requests. Sorry about that! You can retry your request.",
}

_ANTHROPIC_WORDS = {
    400: "The simulated model was told to refuse every request.",
    401: "invalid x-api-key",
    404: "model: {model}",
    429: "This request would exceed your organization's rate limit of 50 requests per minute (model: {model}). Please try "
    "again later.",
    500: "Internal server error",
    529: "Overloaded",
}


def of_status(status: int, dialect: str, model: str, retry_after_s: float | None = None) -> Complaint:
    """Return what a provider says with a status that the sim was told to answer."""
    wait = f"{retry_after_s or 0:g}"
    if dialect == "anthropic":
        words = _ANTHROPIC_WORDS.get(status, "The simulated provider was told to answer {status}.")
        kind = _ANTHROPIC_KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        code = None
    else:
        words = _OPENAI_WORDS.get(status, "The simulated provider was told to answer {status}.")
        kind, code = _OPENAI_KINDS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    return Complaint(
        words.format(model=model, wait=wait, status=status), status=status, kind=kind, code=code, retry_after_s=retry_after_s
    )
