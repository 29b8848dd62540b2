"""What options mean: the settings of a call, as `generate_text` takes them, a bound of money, a pattern.

Rules. `@FILE` reads a text from a file. Digits alone are milliseconds in a timeout, as in the config, and tokens in
`--thinking`.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, TypeGuard

from podium.cli.source import read_text
from podium.errors import RequestError


def load_ask(
    *,
    system: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    thinking: str | None = None,
    output: str | None = None,
    strict: bool = False,
) -> dict[str, Any]:
    """Return the settings that were given. Raises `RequestError` for a file or a form that is none."""
    settings = {
        "system": _text_or_file(system, "The system prompt"),
        "max_tokens": max_tokens,
        "temperature": temperature,
        "thinking": int(thinking) if _is_digits(thinking) else thinking,
        "output": _load_output(output),
        "strict": strict or None,
    }
    return {name: value for name, value in settings.items() if value is not None}


def load_timeout(value: str | None) -> int | str | None:
    """Return a timeout as a call takes it."""
    return int(value) if _is_digits(value) else value


def load_usd(text: str | None) -> Decimal | None:
    """Return an amount of money. Raises `RequestError`."""
    if text is None:
        return None
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise RequestError(f"--max-cost {text} is no amount of money.", param="max-cost", hint="Give USD: --max-cost 2.50.")
    return amount


def check_pattern(pattern: str | None) -> None:
    """See that an answer pattern is one. Raises `ConfigError`."""
    from podium.routing.strategies.judges import compile_pattern

    if pattern is not None:
        compile_pattern(pattern)


def _text_or_file(value: str | None, what: str) -> str | None:
    """Return a text, or that of the file that `@` names."""
    return read_text(value[1:], f"{what}'s file") if value and value.startswith("@") and len(value) > 1 else value


def _is_digits(value: str | None) -> TypeGuard[str]:
    return value is not None and value.isascii() and value.isdigit()


def _load_output(value: str | None) -> Any:
    if value is None or value in ("json", "text"):
        return value
    if not value.startswith("@"):
        raise RequestError(
            f"--output is {value!r}.", param="output", hint="Use json, or @schema.json for a JSON Schema in a file."
        )
    import json

    text = read_text(value[1:], "The schema's file")
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as error:
        raise RequestError(
            f"The schema's file {value[1:]}, line {error.lineno}, is not JSON: {error.msg}.", hint="Repair it."
        ) from None
    if not isinstance(schema, dict):
        raise RequestError(f"The schema's file {value[1:]} holds no JSON object.", hint="A JSON Schema is an object.")
    return schema
