"""The kinds of field that a section has: each a reader of `values` with its JSON Schema.

Theory. The readers are plain functions, which code without pydantic uses too; here they become annotations, and each says to
an editor's schema what it accepts.

Rules. A schema says no more than its reader: what it refuses, the reader refuses.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any, TypeAlias

from pydantic import PlainValidator, WithJsonSchema

from podium.config import values
from podium.types import Secret


def _schema(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema(schema)


def choice(known: Iterable[str]) -> tuple[PlainValidator, WithJsonSchema]:
    """Return the annotations of a field that takes one of some words."""
    words = tuple(known)
    return PlainValidator(values.one_of(*words)), _schema(type="string", enum=list(words))


def store(known: Iterable[str]) -> tuple[PlainValidator, WithJsonSchema]:
    """Return the annotations of a field that takes the name of a store."""
    words = tuple(known)
    return PlainValidator(values.store(words)), _schema(type="string", enum=[*words, *(f"{word}:" for word in words)])


Text: TypeAlias = Annotated[str, PlainValidator(values.text), _schema(type="string", minLength=1)]
Name: TypeAlias = Annotated[str, PlainValidator(values.name), _schema(type="string", minLength=1)]
Flag: TypeAlias = Annotated[bool, PlainValidator(values.flag), _schema(type="boolean")]
Count: TypeAlias = Annotated[int, PlainValidator(values.whole(1)), _schema(type="integer", minimum=1)]
CountOrNone: TypeAlias = Annotated[int, PlainValidator(values.whole(0)), _schema(type="integer", minimum=0)]
Duration: TypeAlias = Annotated[
    float,
    PlainValidator(values.duration),
    _schema(
        description="Milliseconds as a number, or text as 800ms, 30s, 5m, 1h, 7d.",
        anyOf=[{"type": "number", "minimum": 100}, {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(ms|s|m|h|d)?\s*$"}],
    ),
]
Age: TypeAlias = Annotated[
    float,
    PlainValidator(values.age),
    _schema(
        description="Text as 90d or 12h, or milliseconds as a number.",
        anyOf=[{"type": "number", "minimum": 10_000}, {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(ms|s|m|h|d)?\s*$"}],
    ),
]
Size: TypeAlias = Annotated[
    int,
    PlainValidator(values.size),
    _schema(
        description="Bytes as a number, or text as 500MB, 5GB.",
        anyOf=[
            {"type": "integer", "minimum": 1},
            {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(B|[kKMGT]B|[KMGT]iB)?\s*$"},
        ],
    ),
]
Money: TypeAlias = Annotated[
    Decimal,
    PlainValidator(values.money),
    _schema(
        description="USD, as a number or as $0.05.",
        anyOf=[{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": r"^\s*\$?\s*\d+(\.\d+)?"}],
    ),
]
Rate: TypeAlias = Annotated[
    Decimal,
    PlainValidator(values.rate),
    _schema(anyOf=[{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\s*\$?\s*\d+(\.\d+)?"}]),
]
_PERCENTAGE = [
    {"type": "number", "minimum": 0, "maximum": 100},
    {"type": "string", "pattern": r"^\s*\d{1,3}(\.\d+)?\s*%?\s*$"},
]
Percent: TypeAlias = Annotated[
    float,
    PlainValidator(values.percent),
    _schema(description="From 0 to 100, as 25 or 12.5%.", anyOf=_PERCENTAGE),
]
Points: TypeAlias = Annotated[
    float,
    PlainValidator(values.points),
    _schema(description="As 1% or 0.5%.", anyOf=_PERCENTAGE),
]
LatencyLimit: TypeAlias = Annotated[
    str | float,
    PlainValidator(values.latency_limit),
    _schema(
        description="legacy p50, p75, p90, p95 or p99, or a duration as 2s.",
        anyOf=[
            {"type": "number", "minimum": 100},
            {"type": "string", "pattern": r"^\s*(legacy p(50|75|90|95|99)|\d+(\.\d+)?\s*(ms|s|m|h|d)?)\s*$"},
        ],
    ),
]
Timezone: TypeAlias = Annotated[str, PlainValidator(values.timezone), _schema(type="string", minLength=1)]
FilePath: TypeAlias = Annotated[str, PlainValidator(values.path), _schema(type="string", minLength=1)]
Pattern: TypeAlias = Annotated[str, PlainValidator(values.pattern), _schema(type="string", format="regex")]
Url: TypeAlias = Annotated[str, PlainValidator(values.url), _schema(type="string", format="uri")]
Key: TypeAlias = Annotated[Secret | None, PlainValidator(values.key), _schema(type=["string", "null"])]
Headers: TypeAlias = Annotated[
    dict[str, str], PlainValidator(values.headers), _schema(type="object", additionalProperties={"type": "string"})
]
Tolerances: TypeAlias = Annotated[
    dict[str, float],
    PlainValidator(values.tolerances),
    _schema(
        anyOf=[
            {"type": "array", "items": {"type": "string"}},
            {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
        ]
    ),
]
Mapping: TypeAlias = Annotated[dict[str, Any], PlainValidator(values.mapping), _schema(type="object")]
