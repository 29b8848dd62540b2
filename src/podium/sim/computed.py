"""Questions whose answers are computed: arithmetic, units, letters, primes.

Theory. A sentence is turned into a small formal question by patterns, and that is computed exactly, with fractions. What
fits no pattern is no question of this kind.

Rules. Numbers are exact until they are written; at most six decimals are shown. Powers are bounded, so that no prompt can
keep the simulator busy.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import cache
from math import gcd, isqrt

_ASKS = re.compile(r"\b(what|whats|calculate|compute|evaluate|solve|how much|how many|find|work out|sum|product)\b|=", re.I)
_EXPRESSION = re.compile(r"[-(\d.][-\d.\s+*/^%()]*[\d)%]")
_UNIT = re.compile(
    r"(?:convert|what is|what are|how (?:much|many) (?:is|are))?\s*(-?\d+(?:\.\d+)?|an?|one)\s+(?:degrees?\s+)?([a-z]+)\s+"
    r"(?:to|in|into|as)\s+(?:degrees?\s+)?([a-z]+)",
    re.I,
)
_HOW_MANY = re.compile(
    r"how many\s+([a-z]+)\s+(?:are\s+|is\s+)?(?:there\s+)?(?:in|make up|make)\s+(-?\d+(?:\.\d+)?|an?|one)\s+([a-z]+)", re.I
)

_SPOKEN = (
    (r"(\d)\s*(?:×|·|x)\s*(\d)", r"\1*\2"),
    (r"÷", "/"),
    (r"−", "-"),
    (r"(?<=\d),(?=\d{3}\b)", ""),
    (r"\b(?:multiplied by|times)\b", "*"),
    (r"\bdivided by\b", "/"),
    (r"\bplus\b", "+"),
    (r"\bminus\b", "-"),
    (r"\bto the power of\b|\*\*", "^"),
    (r"\bsquared\b", "^2"),
    (r"\bcubed\b", "^3"),
    (r"(\d+(?:\.\d+)?)\s*(?:%|percent|per cent)\s+of\b", r"\1/100*"),
)

_COUNTED = re.compile(
    r"how many (?:times does )?(?:the )?(?:letters? )?[\"'“]?([a-z])[\"'”]?(?:'?s)? (?:appears? )?(?:are )?(?:there )?in "
    r"(?:the word )?[\"'“]?([a-z]{2,})",
    re.I,
)
_LENGTH = re.compile(r"how many (?:letters|characters) (?:are )?(?:there )?(?:in|does) (?:the word )?[\"'“]?([a-z]{2,})", re.I)

_UNITS = {
    "length": "mm millimetre millimeter=1/1000;cm centimetre centimeter=1/100;m metre meter=1;km kilometre kilometer=1000;"
    "inch inche=127/5000;foot feet=381/1250;yard=1143/1250;mile=201168/125",
    "mass": "mg milligram=1/1000;g gram=1;kg kilogram kilo=1000;tonne=1000000;ounce=45359237/1600000;pound lb=45359237/100000",
    "time": "ms millisecond=1/1000;second=1;minute=60;hour=3600;day=86400;week=604800;fortnight=1209600",
    "volume": "ml millilitre milliliter=1/1000;litre liter l=1;gallon=473176473/125000000",
    "data": "bit=1/8;byte=1;kilobyte=1000;megabyte=1000000;gigabyte=1000000000;kibibyte=1024;mebibyte=1048576",
    "number": "dozen=12;score=20;gross=144",
}
"""By dimension: names of one unit, and its size; a plural ends in s."""


@cache
def _sizes() -> dict[str, tuple[str, Fraction]]:
    """Return the units' names with their dimension and size."""
    sizes: dict[str, tuple[str, Fraction]] = {}
    for dimension, rows in _UNITS.items():
        for row in rows.split(";"):
            names, size = row.split("=")
            for name in names.split():
                sizes[name] = sizes[name + "s"] = (dimension, Fraction(size))
    return sizes


def compute(sentence: str) -> str | None:
    """Return the answer to a sentence that asks for something computable, else None."""
    for reading in (_letters, _prime, _largest, _temperature, _units, _root, _arithmetic):
        if (answer := reading(sentence)) is not None:
            return answer
    return None


def write(value: Fraction) -> str:
    """Write a number: whole, or with at most six decimals."""
    if value.denominator == 1:
        return str(value.numerator)
    decimal = round(Decimal(value.numerator) / Decimal(value.denominator), 6)
    return format(decimal, "f").rstrip("0").rstrip(".")


def _letters(sentence: str) -> str | None:
    if found := _COUNTED.search(sentence):
        return str(found[2].lower().count(found[1].lower()))
    if (found := _LENGTH.search(sentence)) and found[1].lower() not in ("the", "an", "english"):
        return str(len(found[1]))
    if found := re.search(r"(?:reverse|backwards?)\b.*?(?:the word|the string)?\s*[\"'“]([^\"'”]+)[\"'”]", sentence, re.I):
        return found[1][::-1]
    return None


def _prime(sentence: str) -> str | None:
    found = re.search(r"\bis (\d{1,9}) (?:a )?prime", sentence, re.I)
    if not found:
        return None
    number = int(found[1])
    return "Yes" if number > 1 and all(number % each for each in range(2, isqrt(number) + 1)) else "No"


def _largest(sentence: str) -> str | None:
    numbers = [int(each) for each in re.findall(r"\d{1,15}", sentence)]
    if len(numbers) == 2 and re.search(r"greatest common divisor|\bgcd\b", sentence, re.I):
        return str(gcd(*numbers))
    if len(numbers) == 2 and re.search(r"least common multiple|\blcm\b", sentence, re.I) and all(numbers):
        return str(numbers[0] * numbers[1] // gcd(*numbers))
    if len(numbers) > 1 and (found := re.search(r"which (?:number )?is (larger|bigger|greater|smaller)", sentence, re.I)):
        return str(min(numbers) if found[1].lower() == "smaller" else max(numbers))
    return None


def _temperature(sentence: str) -> str | None:
    found = re.search(
        r"(-?\d+(?:\.\d+)?)\s*(?:degrees?\s*|°\s*)?(celsius|fahrenheit|[cf])\b.*?\b(?:to|in|into|as)\s+(?:degrees?\s+)?(celsius|fahrenheit|[cf])\b",
        sentence,
        re.I,
    )
    if not found or found[2][0].lower() == found[3][0].lower():
        return None
    degrees = Fraction(found[1])
    return write(degrees * 9 / 5 + 32 if found[2][0].lower() == "c" else (degrees - 32) * 5 / 9)


def _units(sentence: str) -> str | None:
    if found := _HOW_MANY.search(sentence):
        wanted, amount, given = found[1], found[2], found[3]
    elif found := _UNIT.search(sentence):
        amount, given, wanted = found[1], found[2], found[3]
    else:
        return None
    source, goal = _sizes().get(given.lower()), _sizes().get(wanted.lower())
    if source is None or goal is None or source[0] != goal[0]:
        return None
    number = Fraction(1) if amount.lower() in ("a", "an", "one") else Fraction(amount)
    return write(number * source[1] / goal[1])


def _root(sentence: str) -> str | None:
    found = re.search(r"square root of (\d{1,18})\b", sentence, re.I)
    if not found:
        return None
    number = int(found[1])
    root = isqrt(number)
    return str(root) if root * root == number else write(Fraction(Decimal(number).sqrt()))


def _arithmetic(sentence: str) -> str | None:
    text = sentence
    for pattern, replacement in _SPOKEN:
        text = re.sub(pattern, replacement, text, flags=re.I)
    asked = _ASKS.search(sentence) is not None or _EXPRESSION.fullmatch(text.strip(" ?.=")) is not None
    if not asked:
        return None
    for found in sorted(_EXPRESSION.finditer(text), key=lambda each: -len(each[0])):
        expression = found[0].strip()
        if re.search(r"[\d)]\s*[-+*/^%]", expression) and (value := _evaluate(expression)) is not None:
            return write(value)
    return None


def _evaluate(expression: str) -> Fraction | None:
    try:
        tree = ast.parse(expression.replace("^", "**"), mode="eval")
        return _value(tree.body)
    except (SyntaxError, ArithmeticError, ValueError):
        return None


_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
    ast.Mod: lambda left, right: left % right,
}


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float()):
            return Fraction(str(node.value))
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand)
        case ast.BinOp(op=ast.Pow()):
            base, power = _value(node.left), _value(node.right)
            if power.denominator != 1 or abs(power) > 64 or abs(base) > 10**6:
                raise ValueError("a power beyond what is computed here")
            return Fraction(base ** int(power))
        case ast.BinOp() if type(node.op) in _OPERATIONS:
            return _OPERATIONS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("not arithmetic")
