"""Prices as a document: the rows of `pricing-cache.json`, and what a row may not say.

Theory. Whatever a price comes from (a package, a list on the net, a user's file), it becomes a `Row` here, in USD per million
tokens as vendors print it, in exact decimals. A `Sheet` is a set of rows; written as JSON it is `pricing-cache.json`, whose
rows a program of any language can use: `models["openai/gpt-4o"].inputPerMillion`. All that such a program may not know
(tiers, periods, variants, other spellings of the name) stands under further keys of the same row.

Rules.
- A number is a JSON number and an exact `Decimal`; it never passes through a float.
- `periods`, where there are any, say everything: the last period that is active counts, else the first, which has no condition.
  The rates at the top of such a row are for simple readers: those of the day, apart from daily periods.
- A tier's rates hold for all tokens of a request whose input, caches included, is *above* the tier's threshold; a rate that a
  tier does not name stays as it was below.
- `refusal` says why a row cannot be true: a lie is refused by row, and the other rows stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

HIGHEST_PER_MILLION = Decimal(10_000)
"""USD. The dearest model sold so far asked 600 (o1-pro, output); 10,000 would be a cent a token."""
HIGHEST_PER_REQUEST = Decimal(100)
"""USD; of a search too."""
MOST_DECIMALS = 24
"""Of a rate per million tokens; a rate that has more was no price before somebody divided it."""
LONGEST_NAME = 200
LONGEST_PATTERN = 200


class Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of what is read from price files: keys it does not know are left alone."""


class Rates(Document, frozen=True, kw_only=True):
    """USD per million tokens; None: the document says nothing of it."""

    input_per_million: Decimal | None = None
    output_per_million: Decimal | None = None
    cached_input_per_million: Decimal | None = None
    """Read from a cache."""
    cache_write_per_million: Decimal | None = None
    """Written to a cache with the default lifetime (Anthropic: five minutes)."""
    cache_write_1h_per_million: Decimal | None = msgspec.field(name="cacheWrite1hPerMillion", default=None)
    reasoning_per_million: Decimal | None = None
    input_audio_per_million: Decimal | None = None
    output_audio_per_million: Decimal | None = None
    per_request: Decimal | None = None
    """USD a request, whatever its tokens."""
    per_web_search: Decimal | None = None
    """USD a search that the provider makes for the model."""

    def rates(self) -> dict[str, Decimal]:
        """The rates that are said, by field name."""
        return {name: rate for name in RATE_NAMES if (rate := getattr(self, name)) is not None}


RATE_NAMES = Rates.__struct_fields__


def is_token_rate(name: str) -> bool:
    """Say whether a rate is a million tokens' rather than one request's or search's."""
    return name.endswith("_per_million")


class Tier(Rates, frozen=True, kw_only=True):
    """Rates for requests with more input than a threshold."""

    above: int
    """Input tokens, caches included; the tier begins one token higher."""


class Period(Rates, frozen=True, kw_only=True):
    """A price with the time when it holds: always, from a day on, or daily within two times."""

    since: str | None = msgspec.field(name="from", default=None)
    """The first day (UTC), as `2026-08-17`."""
    daily: tuple[str, str] | None = None
    """From and until, in UTC, as `("16:30", "00:30")`; until is not within."""
    tiers: tuple[Tier, ...] = ()


class Variant(Period, frozen=True, kw_only=True):
    """Rates that replace others for requests of a kind, as OpenAI's `service_tier: priority`."""

    when: dict[str, str]


class Clause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Other spellings of a model's name; exactly one field is set. Names are compared in lower case."""

    equals: str | None = None
    starts_with: str | None = None
    ends_with: str | None = None
    contains: str | None = None
    regex: str | None = None
    any_of: tuple[Clause, ...] | None = msgspec.field(name="or", default=None)
    all_of: tuple[Clause, ...] | None = msgspec.field(name="and", default=None)

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in self.__struct_fields__) != 1:
            raise ValueError("a clause of `match` says exactly one of equals, starts_with, ends_with, contains, regex, or, and")
        if self.regex is not None:
            if len(self.regex) > LONGEST_PATTERN or _NESTED.search(self.regex):
                raise ValueError("a regular expression of `match` is too long, or repeats what repeats")
            try:
                re.compile(self.regex)
            except re.error as error:
                raise ValueError(f"a regular expression of `match` is none: {error}") from None

    def matches(self, name: str) -> bool:
        """Say whether a name in lower case is one of these spellings."""
        if self.equals is not None:
            return name == self.equals.lower()
        if self.any_of is not None:
            return any(clause.matches(name) for clause in self.any_of)
        if self.starts_with is not None:
            return name.startswith(self.starts_with.lower())
        if self.contains is not None:
            return self.contains.lower() in name
        if self.ends_with is not None:
            return name.endswith(self.ends_with.lower())
        if self.all_of is not None:
            return all(clause.matches(name) for clause in self.all_of)
        return self.regex is not None and re.search(self.regex, name) is not None


_NESTED = re.compile(r"[+*}]\)[+*{]")


class Row(Rates, frozen=True, kw_only=True):
    """What one model costs."""

    tiers: tuple[Tier, ...] = ()
    periods: tuple[Period, ...] = ()
    variants: tuple[Variant, ...] = ()
    match: Clause | None = None
    """Other spellings of the model's part of the name."""
    free: bool = False
    """Whether nothing is meant to be charged, so that zeros are no mistake."""
    other: dict[str, str] = {}
    """Charges beyond tokens and requests (searches, pages, seconds), as the source says them; they are shown, not charged."""
    updated_at: str | None = None
    """When the source was asked, as `2026-11-23T08:34:12Z`; None: with the release of the package it is from."""
    source: str = ""

    def spans(self) -> tuple[Period, ...]:
        """The row's periods; the top of the row alone, where it has none."""
        rates: dict[str, Any] = dict(self.rates())
        return self.periods or (Period(tiers=self.tiers, **rates),)

    def terms(self) -> Row:
        """What is charged, without where it is from: rows with equal terms cost the same."""
        bare: dict[str, Any] = {"match": None, "updated_at": None, "source": "", "other": {}}
        if self.periods:
            bare |= dict.fromkeys(RATE_NAMES) | {"tiers": ()}
        return msgspec.structs.replace(self, **bare)

    def on(self, day: str) -> Row:
        """The row with the rates of a day (`2026-11-23`) at its top."""
        if not self.periods:
            return self
        lasting = [span for span in self.periods if span.daily is None and (span.since is None or span.since <= day)]
        span = lasting[-1] if lasting else self.periods[0]
        return msgspec.structs.replace(self, **{name: getattr(span, name) for name in RATE_NAMES}, tiers=span.tiers)


_decode_row = msgspec.json.Decoder(Row).decode
"""Made with the module, and the type's own plan with it: msgspec 0.22 crashes where two threads make that plan at once."""


class Heading(Document, frozen=True, kw_only=True):
    """The outer part of `pricing-cache.json`; its rows stay unread until they are asked for."""

    models: dict[str, msgspec.Raw]
    updated_at: str | None = None
    version: int = 1
    fallbacks: dict[str, tuple[str, ...]] = {}
    """Whose prices hold where a provider kind has none of its own: Azure's, for OpenAI's models, are OpenAI's."""
    sources: dict[str, Any] = {}


class Sheet(Document, frozen=True, kw_only=True):
    """A whole price document."""

    version: int = 1
    updated_at: str | None = None
    fallbacks: dict[str, tuple[str, ...]] = {}
    sources: dict[str, Any] = {}
    """What each source gave: its `updatedAt`, `rows`, and the `error` of its last failure."""
    models: dict[str, Row] = {}


def canonical(rate: Decimal) -> Decimal:
    """Return an equal number in its shortest plain form, so that equal prices are written alike: `2.5` for `2.50`."""
    if not rate.is_finite() or rate.adjusted() > 30:
        return rate
    plain = f"{rate:f}"
    return Decimal(plain.rstrip("0").rstrip(".") if "." in plain else plain)


class NotPrices(ValueError):
    """A document that holds no prices; the message says why."""


def load_heading(data: bytes) -> Heading:
    """Read the outside of a price document. Raises `NotPrices`."""
    try:
        return msgspec.json.decode(data, type=Heading)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotPrices(str(error)) from None


def load_row(raw: bytes | msgspec.Raw) -> Row:
    """Read one row. Raises `NotPrices`."""
    try:
        return _decode_row(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotPrices(str(error)) from None


def dump_sheet(sheet: Sheet) -> bytes:
    """Write a sheet as JSON: one row a line, numbers as exact decimals."""
    encoder = msgspec.json.Encoder(decimal_format="number")
    heading = encoder.encode(msgspec.structs.replace(sheet, models={}))
    rows = b",\n".join(encoder.encode(name) + b":" + _dated(row) for name, row in sheet.models.items())
    inner = heading[1:-1]
    return b"{" + inner + (b",\n" if inner else b"\n") + b'"version":%d,"models":{\n' % sheet.version + rows + b"\n}}\n"


def dump_row(row: Row) -> bytes:
    """Write a row as JSON, without what is its default."""
    return msgspec.json.Encoder(decimal_format="number").encode(row)


def _dated(row: Row) -> bytes:
    """A row whose `updatedAt` is always said."""
    document = dump_row(row)
    if row.updated_at is not None:
        return document
    return document[:-1] + (b"," if len(document) > 2 else b"") + b'"updatedAt":null}'


# --- lies ------------------------------------------------------------------------------------------------------------


def refusal(name: str, row: Row) -> str | None:
    """Say why a row cannot be true; None: it can."""
    if not name or len(name) > LONGEST_NAME or "/" not in name or not name.isprintable():
        return "its name is no provider/model"
    said = False
    for rates in every_rates(row):
        for field, rate in rates.rates().items():
            said = True
            if wrong := _wrong(rate, HIGHEST_PER_MILLION if is_token_rate(field) else HIGHEST_PER_REQUEST):
                return f"{field} is {_short(rate)}: {wrong}"
        if isinstance(rates, Tier) and rates.above < 0:
            return f"a tier begins above {rates.above} tokens"
    for span in (*row.periods, *row.variants):
        if wrong_time := _wrong_time(span):
            return wrong_time
    for variant in row.variants:
        for tier in variant.tiers:
            if alone := tier.rates().keys() - variant.rates().keys():
                return f"a variant says {min(alone)} in a tier only, and so not what holds below it"
    if row.periods and (row.periods[0].since is not None or row.periods[0].daily is not None):
        return "its first period has a condition: no price holds before it"
    if not said and not row.free:
        return "it has no rate for tokens or requests" if row.other else "it has no rate"
    return None


def every_rates(row: Row) -> Iterator[Rates]:
    """Every set of rates in a row: the top, tiers, periods, variants."""
    yield row
    yield from row.tiers
    for span in (*row.periods, *row.variants):
        yield span
        yield from span.tiers


def _wrong(rate: Decimal, highest: Decimal) -> str | None:
    if not rate.is_finite():
        return "no number"
    if rate < 0:
        return "negative"
    if rate > highest:
        return f"more than {highest:,} USD"
    exponent = rate.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > MOST_DECIMALS:
        return f"more than {MOST_DECIMALS} decimals"
    return None


def _short(rate: Decimal) -> str:
    written = str(rate)
    return written if len(written) <= 24 else f"{written[:20]}…"


def _is_day(written: str) -> bool:
    try:
        return date.fromisoformat(written).isoformat() == written
    except ValueError:
        return False


_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?")


def _wrong_time(span: Period) -> str | None:
    if span.since is not None and not _is_day(span.since):
        return f"a period begins on {span.since!r}, which is no day"
    if span.daily is not None:
        for each in span.daily:
            if not _TIME.fullmatch(each):
                return f"a daily period is bound by {each!r}, which is no time of day"
    return None


def is_free(row: Row) -> bool:
    """Say whether a row charges nothing at all."""
    return all(rate == 0 for rates in every_rates(row) for rate in rates.rates().values())


_FREE_NAME = re.compile(r"[:/-]free([:-]|$)")


def free_by_mistake(name: str, row: Row) -> bool:
    """Say whether a row charges nothing although neither it nor its name says that it is meant to."""
    return is_free(row) and not row.free and not free_by_name(name)


def free_by_name(name: str) -> bool:
    """Say whether a name says that the model is free, as `deepseek-r1:free`."""
    return _FREE_NAME.search(name.lower()) is not None


def factor(row: Row, known: Row) -> Decimal | None:
    """Return how many times dearer a row is than one that is known, by the rate that differs most; None: nothing to compare."""
    before: Mapping[str, Decimal] = known.rates()
    times = [rate / other for field, rate in row.rates().items() if rate and (other := before.get(field))]
    return max(times, key=lambda each: max(each, 1 / each), default=None)
