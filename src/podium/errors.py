"""Every error that Podium raises, with its facts on the object.

    PodiumError(message, code, status, retryable, retry_after_s, hint)
    ├── ConfigError(problems)          a config or user file is wrong; lists every problem
    ├── RequestError(param)            the caller's request is wrong
    │   ├── SpecError(candidates)      a spec names nothing that can be resolved
    │   ├── NotAllowedError            the caller may not use what it asked for
    │   └── UnrepresentableError       content that the target's dialect cannot express
    ├── LimitError(limit, amount, spent, reserved, asked, resets_at)    a limit of Podium's own said no
    │   ├── RateLimited                too many at once, or too many in a window
    │   ├── BudgetExceeded             the money of a period is spent
    │   └── CostTooHigh                this one request could cost too much
    ├── ProviderError(target, status, body, billable)
    │   ├── AuthFailed                 401, 403 and their equivalents
    │   ├── ModelNotFound              404, or a model the account cannot use
    │   ├── InvalidRequest             400: the provider rejects the request itself
    │   │   ├── UnsupportedSetting     400: this model refuses one named setting
    │   │   └── ContextTooLong         400, 413: more tokens than the model can take
    │   ├── Refused                    a safety system stopped the request or the answer
    │   ├── Throttled                  429: the account's rate or quota is used up
    │   ├── Overloaded                 500, 502, 503, 529: the provider is in trouble
    │   ├── TimedOut                   one of the attempt's timeouts, or the whole one
    │   ├── Unreachable                no connection, or it broke before an answer
    │   └── ProtocolBroken             an answer that is not in the provider's dialect
    ├── AllTargetsFailed(attempts)     a plan has no target left
    ├── InsufficientAnswers            a consensus got fewer answers than it needs
    ├── NoQuorum                       the answers of a consensus do not agree
    ├── StreamLeft                     a stream was left before its end, or is read a second time
    ├── ModelsClosed                   the `Models` was closed while the request ran
    └── StoreError                     a ledger or coordination store failed

Rules. Code decides by facts (`code`, `retryable`, `moves_on`), never by ladders of isinstance. `retryable`: the same target
may answer if asked again. `moves_on`: another target may answer what this one did not. A message says what was asked, what
happened and what to do; a secret is never part of it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar


class PodiumError(Exception):
    """Root of all errors that Podium raises on purpose."""

    code: str = "podium_error"
    """Stable name for programs, in snake_case."""
    status: int | None = 500
    """HTTP status that stands for this error at a door."""
    retryable: bool = False
    """Whether the same request to the same target may succeed later."""
    moves_on: bool = False
    """Whether a fallback may try its next target."""
    attempts: tuple[Any, ...] = ()
    """The upstream calls (`podium.types.Attempt`) that a failed request made."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        retry_after_s: float | None = None,
        code: str | None = None,
        status: int | None = None,
        retryable: bool | None = None,
        moves_on: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retry_after_s = retry_after_s
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        if retryable is not None:
            self.retryable = retryable
        if moves_on is not None:
            self.moves_on = moves_on

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain values, for JSON output."""
        facts = {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "status": self.status,
            "retryable": self.retryable,
            "retry_after_s": self.retry_after_s,
        }
        return {name: value for name, value in facts.items() if value is not None}


class ConfigError(PodiumError):
    """A config or user file that cannot be used; `problems` lists every fault found."""

    code = "invalid_config"
    status = 500

    def __init__(self, message: str, *, problems: tuple[Any, ...] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.problems = problems


class RequestError(PodiumError):
    """A request that is wrong before anything is sent; `param` is the path of the faulty field."""

    code = "invalid_request"
    status = 400

    def __init__(self, message: str, *, param: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.param = param


class SpecError(RequestError):
    """A spec that resolves to nothing; `candidates` are the nearest names that would."""

    code = "unknown_spec"
    status = 404

    def __init__(self, message: str, *, candidates: tuple[str, ...] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.candidates = candidates


class NotAllowedError(RequestError):
    """The caller may not use what it asked for."""

    code = "not_allowed"
    status = 403


class UnrepresentableError(RequestError):
    """Content, or a setting under `strict=True`, that the target's dialect cannot express."""

    code = "unrepresentable"
    status = 400
    moves_on = True


class LimitError(PodiumError):
    """A limit of Podium's own refused the request.

    `limit` names it, `amount` is what it allows, `spent` what is used up for good, `reserved` what requests under way hold,
    `asked` what this request needed: money in USD (`Decimal`), anything else a count. `resets_at` is when the limit's window
    ends, in epoch seconds. None: not known, or (`resets_at`) never.
    """

    code = "limit"
    status = 429

    def __init__(
        self,
        message: str,
        *,
        limit: str | None = None,
        amount: Decimal | int | None = None,
        spent: Decimal | int | None = None,
        reserved: Decimal | int | None = None,
        asked: Decimal | int | None = None,
        resets_at: float | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.limit = limit
        self.amount = amount
        self.spent = spent
        self.reserved = reserved
        self.asked = asked
        self.resets_at = resets_at

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain values, for JSON output; money is text, to stay exact."""
        facts = super().to_dict()
        for name in ("limit", "amount", "spent", "reserved", "asked", "resets_at"):
            value = getattr(self, name)
            if value is not None:
                facts[name] = format(value, "f") if isinstance(value, Decimal) else value
        return facts


class RateLimited(LimitError):
    """Too many requests at once, or in a window."""

    code = "rate_limited"
    retryable = True
    moves_on = True


class BudgetExceeded(LimitError):
    """The money of a period is spent."""

    code = "budget_exceeded"
    status = 402


class CostTooHigh(LimitError):
    """This one request could cost more than it may."""

    code = "cost_too_high"
    status = 402


class ProviderError(PodiumError):
    """A provider's failure. `target` is "provider/model", `body` the provider's own words (never a key), `billable` whether
    tokens may have been charged all the same.
    """

    code = "provider_error"
    status = 502
    default_billable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        target: str | None = None,
        status: int | None = None,
        body: Any = None,
        billable: bool | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.target = target
        self.upstream_status = status
        self.body = body
        self.billable = self.default_billable if billable is None else billable

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain values, for JSON output."""
        facts = super().to_dict()
        facts |= {"target": self.target, "upstream_status": self.upstream_status, "body": self.body}
        return {name: value for name, value in facts.items() if value is not None}


class AuthFailed(ProviderError):
    """The provider does not accept the key, or the key may not do this (401, 403)."""

    code = "authentication_failed"
    status = 401
    moves_on = True


class ModelNotFound(ProviderError):
    """The provider has no such model for this account (404)."""

    code = "model_not_found"
    status = 404
    moves_on = True


class InvalidRequest(ProviderError):
    """The provider rejects the request itself (400); another target would too."""

    code = "provider_invalid_request"
    status = 400


class UnsupportedSetting(InvalidRequest):
    """This model refuses one setting that others take (400 naming a parameter)."""

    code = "unsupported_setting"
    moves_on = True


class ContextTooLong(InvalidRequest):
    """The prompt has more tokens than the model can take."""

    code = "context_too_long"
    moves_on = True


class Refused(ProviderError):
    """A safety system of the provider stopped the request."""

    code = "refused"
    status = 400


class Throttled(ProviderError):
    """The account's rate or quota at the provider is used up (429); `retry_after_s` says when to come back, if known."""

    code = "throttled"
    status = 429
    retryable = True
    moves_on = True


class Overloaded(ProviderError):
    """The provider is in trouble (500, 502, 503, 529)."""

    code = "overloaded"
    status = 503
    retryable = True
    moves_on = True


class TimedOut(ProviderError):
    """A timeout passed: connect, first event, first content, stall, or the whole request's."""

    code = "timed_out"
    status = 504
    retryable = True
    moves_on = True
    default_billable = True


class Unreachable(ProviderError):
    """No connection to the provider, or it broke before the answer was whole."""

    code = "unreachable"
    status = 502
    retryable = True
    moves_on = True


class ProtocolBroken(ProviderError):
    """The provider's answer is not in its dialect, or its stream ended without a terminal event."""

    code = "protocol_broken"
    status = 502
    retryable = True
    moves_on = True
    default_billable = True


class AllTargetsFailed(PodiumError):
    """No target of a plan is left; `attempts` has what was tried and `skipped` what was not, each with its reason."""

    code = "all_targets_failed"
    status = 502

    def __init__(self, message: str, *, attempts: tuple[Any, ...] = (), skipped: tuple[Any, ...] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.attempts = attempts
        self.skipped = skipped


class InsufficientAnswers(PodiumError):
    """Fewer targets of a consensus gave an answer than `min_answers`."""

    code = "insufficient_answers"
    status = 502


class NoQuorum(PodiumError):
    """No answer of a consensus has the votes of its quorum, and `on_disagree` is `error`."""

    code = "no_quorum"
    status = 502


class StreamLeft(PodiumError):
    """A stream was left before its end, so there is no whole result; or it is read a second time."""

    code = "stream_left"
    status = 499


class ModelsClosed(PodiumError):
    """The `Models` was closed, here or by another task, while the request ran."""

    code = "models_closed"
    status = 503


class StoreError(PodiumError):
    """A ledger or coordination store failed."""

    code = "store_error"
    status = 503
    retryable = True
