"""OpenAI's words for a value of the wrong type, an unknown word, an empty array and a missing member.

Theory. Most of what the API refuses is one of these four; a demand names the place and what was given, as the API does.

Rules. `param` is the place as the API writes it: `messages[0].content[1].type`.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from podium.sim.complaints import Complaint

_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"), (str, "a string"), (int, "an integer"), (float, "a decimal"), (list, "an array"), (dict, "an object"),
)  # fmt: skip


def _called(value: Any) -> str:
    if value is None:
        return "null"
    return next((name for kind, name in _NAMES if isinstance(value, kind)), "something else")


def typed(value: Any, kinds: type | tuple[type, ...], param: str, wanted: str) -> None:
    """Refuse a value of another type than the wanted one."""
    allowed = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise Complaint(
            f"Invalid type for '{param}': expected {wanted}, but got {_called(value)} instead.",
            param=param,
            code="invalid_type",
        )


def one_of(value: Any, options: tuple[str, ...], param: str) -> None:
    """Refuse a word that is none of the options."""
    typed(value, str, param, f"one of {_listed(options, 'or')}")
    if value not in options:
        raise Complaint(
            f"Invalid value: '{value}'. Supported values are: {_listed(options, 'and')}.", param=param, code="invalid_value"
        )


def _listed(options: tuple[str, ...], last: str) -> str:
    quoted = [f"'{option}'" for option in options]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])}, {last} {quoted[-1]}"


def filled(value: list[Any], param: str) -> None:
    """Refuse an empty array."""
    if not value:
        raise Complaint(
            f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            param=param,
            code="empty_array",
        )


def needed(document: dict[str, Any], name: str, param: str) -> Any:
    """Return a member; refuse the object where it is missing."""
    if name not in document:
        raise Complaint(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    return document[name]


def base64_fault(data: Any) -> str | None:
    """Say what keeps a text from being base64: `empty` or `invalid`; None: nothing."""
    if not data:
        return "empty"
    try:
        b64decode(data, validate=True)
    except (ValueError, TypeError):
        return "invalid"
    return None
