"""JSON in its one canonical form (RFC 8785, JCS), so that equal documents are equal texts.

Rules.
- A number is an IEEE double, written as ECMAScript writes it (Number::toString): `1000.0` is `1000`, `1e21` is `1e+21`,
  `-0` is `0`. Whole numbers beyond 2**53 lose the digits that a double cannot hold.
- Members are sorted by the UTF-16 code units of their names; no white space; of a text only what must be escaped is.
- What is no I-JSON (NaN, infinities, lone surrogates) has no canonical form.
"""

from __future__ import annotations

import json
import math
from typing import Any


def dump_canonical(value: Any) -> str:
    """Write a JSON value (dict, list, tuple, str, int, float, bool, None) in its canonical form.

    Raises `ValueError` for what has none, `RecursionError` for what is nested too deeply. RFC 8785.
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, str):
        value.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float):
        return dump_number(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(dump_canonical, value))}]"
    if isinstance(value, dict):
        members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
        return "{" + ",".join(f"{dump_canonical(name)}:{dump_canonical(each)}" for name, each in members) + "}"
    raise ValueError(f"A {type(value).__name__} is no JSON value.")


def dump_number(value: float) -> str:
    """Write a number as ECMAScript does (ECMA-262, Number::toString, radix 10).

    Raises `ValueError` for NaN and for what no finite double holds.
    """
    try:
        double = float(value)
    except OverflowError:
        double = math.inf
    if not math.isfinite(double):
        raise ValueError(f"{value!r:.40} is no JSON number: it is beyond what a double can hold.")
    if double == 0.0:
        return "0"
    sign = "-" if double < 0.0 else ""
    # repr gives the shortest digits that read back as the same double, the same ones that ECMAScript asks for.
    mantissa, _, exponent = repr(abs(double)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if point > 0 else '-'}{abs(point - 1)}"
