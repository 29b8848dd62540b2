"""The leaf values of a config: durations, money, names, addresses; each is read strictly and refused with a fix.

Theory. A config's leaves are few kinds of text and number, and each kind is one reader here. A reader gets what was written
and gives what the engine uses: seconds, `Decimal` dollars, a target. Pydantic calls it, and its complaint becomes a `Problem`.

Rules. Nothing is guessed: `yes` is no boolean, `"3"` no count, and a bare duration under 100 is more likely seconds than the
milliseconds that it would mean. `true`, `false` and digits count where they come from the environment, which has only text.
Keys and header values are never repeated in a complaint.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic_core import PydanticCustomError

from podium.catalog.providers import kinds
from podium.config.problems import Expanded, choices, kind_of, show, suggestion
from podium.types import Secret

COMPLAINT = "podium"
"""The type of the errors that readers raise; their context has `message` and `hint`."""

_DURATION = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)?\s*")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LEAST_BARE_MS = {"s": 100, "d": 10_000}
"""A bare number below this was probably meant in the other unit."""
_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?\s*")
_POWERS = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_POWERS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_MOST_BYTES = 2**63 - 1
_PERCENT = re.compile(r"\s*(\d{1,3}(?:\.\d{1,6})?)\s*%?\s*")
_MONEY = re.compile(r"\s*\$?\s*(\d{1,12}(?:\.\d{1,12})?)\s*(?:USD)?\s*")
_RATE = re.compile(r"\s*\$?\s*(\d{1,12}(?:\.\d{1,30})?)\s*(?:USD)?\s*")
_MOST_USD = Decimal(9_000_000)
"""What an int64 of pico-USD can hold."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_HEADERS_OF_HTTP = frozenset({"connection", "content-encoding", "content-length", "content-type", "transfer-encoding"})


def complaint(message: str, hint: str | None = None) -> PydanticCustomError:
    """Make the error by which a reader refuses a value."""
    return PydanticCustomError(COMPLAINT, "{message}", {"message": message, "hint": hint})


LEGACY_PERCENTILES = {"legacy p50": 0.5, "legacy p75": 0.75, "legacy p90": 0.9, "legacy p95": 0.95, "legacy p99": 0.99}
"""What latency may be measured against, and the share of legacy's answers below it."""


def text(value: Any) -> str:
    """Read text that is not empty."""
    if not isinstance(value, str):
        raise complaint(f"this must be text, not {kind_of(value)}.", "Put it in quotes.")
    if not value.strip():
        raise complaint("this is empty.", "Write something, or leave it out.")
    return value


def name(value: Any) -> str:
    """Read a model's name or the like: text without spaces around it and with nothing invisible in it."""
    word = text(value)
    if word != word.strip() or not word.isprintable():
        raise complaint(f"{show(word)} has spaces around it, or characters that cannot be seen.", "Remove them.")
    return word


def flag(value: Any) -> bool:
    """Read `true` or `false`."""
    if isinstance(value, Expanded) and value in ("true", "false"):
        return value == "true"
    if isinstance(value, bool):
        return value
    meant = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
    word = meant.get(value.lower()) if isinstance(value, str) else None
    raise complaint(
        f"this must be `true` or `false`, not {_shown_scalar(value)}.",
        f"Did you mean `{word}`, without quotes?" if word else None,
    )


def whole(least: int) -> Callable[[Any], int]:
    """Make a reader of whole numbers from `least` on."""

    def read(value: Any) -> int:
        if isinstance(value, Expanded) and re.fullmatch(r"\d{1,9}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            hint = "Write it without quotes." if isinstance(value, str) and value.isdigit() else None
            raise complaint(f"this must be a whole number, not {_shown_scalar(value)}.", hint)
        if not least <= value <= 1_000_000_000:
            raise complaint(f"{show(value)} is out of range.", f"Write a whole number from {least} on.")
        return value

    return read


def duration(value: Any) -> float:
    """Read a duration: a number of milliseconds, or `800ms`, `30s`, `5m`, `1h`, `7d`; gives seconds."""
    return _duration(value, "s", ("800ms", "30s", "5m", "1h"))


def age(value: Any) -> float:
    """Read how long something is kept: a duration that is likely to be days; gives seconds."""
    return _duration(value, "d", ("90d", "12h"))


def _duration(value: Any, likely: str, examples: tuple[str, ...]) -> float:
    example = "`30s`, `800ms`" if likely == "s" else f"`{examples[0]}`"
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise complaint(f"a duration cannot be {kind_of(value)}.", f"Write {example}, or a number of milliseconds.")
    shown = show(value)
    if isinstance(value, str):
        match = _DURATION.fullmatch(value)
        if not match:
            written = ", ".join(f"`{each}`" for each in examples)
            raise complaint(f"{shown} is not a duration.", f"Write {written}, or a number of milliseconds.")
        number, unit = float(match[1]), match[2]
    else:
        if not -(10**12) < value < 10**12:
            raise complaint(f"{shown} is not a duration.", f"Write {example}, or a number of milliseconds.")
        number, unit = float(value), None
    if number <= 0:
        raise complaint(f"{shown} is not a duration: it must be more than nothing.", "Leave it out for the default.")
    if unit is None and number < _LEAST_BARE_MS[likely]:
        said = "that" if isinstance(value, Expanded) else f"`{number:g}{likely}`"
        raise complaint(f"{shown} would be milliseconds.", f"Did you mean {said}? A bare number counts milliseconds.")
    return number * _UNITS[unit or "ms"]


def size(value: Any) -> int:
    """Read a size: a number of bytes, or `500MB`, `5GB`, `1GiB`; gives bytes."""
    hint = "Write `500MB`, `5GB`, or a number of bytes."
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise complaint(f"a size cannot be {kind_of(value)}.", hint)
    shown = show(value)
    if not isinstance(value, str) and not 0 <= value <= _MOST_BYTES:
        raise complaint(f"{shown} is not a size.", hint)
    match = _SIZE.fullmatch(value if isinstance(value, str) else f"{value:f}")
    if not match:
        raise complaint(f"{shown} is not a size.", hint)
    bytes_ = Decimal(match[1]) * _POWERS[match[2] or "B"]
    if bytes_ != int(bytes_) or bytes_ > _MOST_BYTES:
        raise complaint(f"{shown} is no whole number of bytes that a disk could hold.", hint)
    if bytes_ == 0:
        raise complaint(f"{shown} is no size to keep to.", "Leave it out for no limit.")
    return int(bytes_)


def money(value: Any) -> Decimal:
    """Read an amount in USD: a number, or text such as `$0.05`; the amount is exact."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise complaint(f"an amount of money cannot be {kind_of(value)}.", "Write USD as a number, or as `$0.05`.")
    shown = show(value)
    match = _MONEY.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and not match:
        raise complaint(f"{shown} is not an amount in USD.", "Write `0.05` or `$0.05`.")
    try:
        amount = Decimal(match[1] if match else repr(value) if isinstance(value, float) else value)
    except (InvalidOperation, ValueError):
        raise complaint(f"{shown} is not an amount in USD.", "Write `0.05` or `$0.05`.") from None
    if not amount.is_finite() or not 0 < amount <= _MOST_USD:
        raise complaint(f"{shown} is no amount to limit by.", "Write more than 0 USD, or leave it out for no limit.")
    if amount != amount.quantize(Decimal("1e-12")):
        raise complaint(f"{shown} is finer than a pico-dollar.", "Write at most 12 decimals.")
    return amount


def rate(value: Any) -> Decimal:
    """Read a price in USD, which may be nothing: a number, or text such as `$2.50`; it is exact."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise complaint(f"a price cannot be {kind_of(value)}.", "Write USD as a number: `2.5`.")
    shown = show(value)
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and not match:
        raise complaint(f"{shown} is not a price in USD.", "Write USD as a number: `2.5`.")
    amount = Decimal(match[1] if match else repr(value) if isinstance(value, float) else value)
    if not amount.is_finite() or amount < 0:
        raise complaint(f"{shown} is not a price in USD.", "Write 0 or more; 0 is free.")
    return amount


def percent(value: Any) -> float:
    """Read a share: a number from 0 to 100, or text such as `12.5%`, in steps of 0.01."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise complaint(f"a percentage cannot be {kind_of(value)}.", "Write a number from 0 to 100.")
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and not match:
        raise complaint(f"{show(value)} is no percentage.", "Write a number from 0 to 100, as `25` or `12.5%`.")
    share = float(match[1] if match else value)
    if not 0 <= share <= 100:
        raise complaint(f"{show(value)} is no percentage.", "Write a number from 0 to 100.")
    if abs(share * 100 - round(share * 100)) > 1e-6:
        raise complaint(f"{show(value)} is finer than users are counted.", "Write at most 2 decimals.")
    return share


def points(value: Any) -> float:
    """Read a margin or a chance: `1%`, or a number of percent from 1 on; gives a share from 0 to 1.

    A bare number below 1 may be meant as a share, and is refused.
    """
    number = float(value) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else None
    if number is not None and 0 < number < 1:
        raise complaint(f"{show(value)} would be {number:g} %.", f"Write `{number * 100:g}%` or `{number:g}%`.")
    return percent(value) / 100


def latency_limit(value: Any) -> str | float:
    """Read what latency is measured against: `legacy p95`, or a duration; gives the word, or seconds."""
    if isinstance(value, str) and value.split()[:1] == ["legacy"]:
        if value.strip() in LEGACY_PERCENTILES:
            return value.strip()
        raise complaint(f"{show(value)} is no limit on latency.", f"Write one of {choices(LEGACY_PERCENTILES)}, or `2s`.")
    return duration(value)


def one_of(*known: str) -> Callable[[Any], str]:
    """Make a reader of one of some words."""

    def read(value: Any) -> str:
        if isinstance(value, str) and value in known:
            return str(value)
        hint = suggestion(value, known) if isinstance(value, str) else None
        raise complaint(f"{_shown_scalar(value)} is not one of {choices(known)}.", hint)

    return read


def timezone(value: Any) -> str:
    """Read the IANA name of a timezone that this system knows."""
    word = name(value)
    try:
        ZoneInfo(word)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        hint = suggestion(word, available_timezones(), "Write a name such as `UTC` or `Europe/Berlin`.")
        raise complaint(f"there is no timezone {show(word)} on this system.", hint) from None
    return str(word)


def path(value: Any) -> str:
    """Read the path of a file or folder."""
    word = text(value)
    if not word.isprintable():
        raise complaint(f"{show(word)} has characters that cannot be seen.", "Remove them.")
    return str(word)


def store_name(value: Any) -> Any:
    """Let the name of a store stand for the ledger's whole section; what else it is stays as it is."""
    if isinstance(value, bool):
        raise complaint(f"the ledger cannot be {show(value)}.", "Write `ledger: none` to keep no record.")
    return {"store": value} if isinstance(value, str) else value


def store(known: Iterable[str]) -> Callable[[Any], str]:
    """Make a reader of a store's name, which may end with a colon, as in `memory:`."""
    read = one_of(*known)
    return lambda value: read(str(value)[:-1] if isinstance(value, str) and value.endswith(":") else value)


def pattern(value: Any) -> str:
    """Read a regular expression."""
    word = text(value)
    try:
        re.compile(word)
    except (re.error, OverflowError, RecursionError) as error:
        raise complaint(f"{show(word)} is not a regular expression: {error}.", "Mend it; see Python's `re`.") from None
    return word


def url(value: Any) -> str:
    """Read an address of an API: `http://` or `https://`, a host, perhaps a path; gives it without a `/` at its end."""
    word = name(value)
    shown = "the address" if "@" in word else show(word)
    try:
        parts = urlsplit(word)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise complaint(f"{shown} is not a URL.", "Write it as `https://api.example.com/v1`.") from None
    if parts.scheme not in ("http", "https") or not host or not re.fullmatch(r"[^\s<>\"{}|\\^`]+", word):
        raise complaint(f"{shown} is not a URL.", "Write it as `https://api.example.com/v1`.")
    if "@" in parts.netloc:
        raise complaint("the address holds a user name or a password.", "Give the key as `api_key`, or put it into `headers`.")
    if parts.query or parts.fragment:
        raise complaint(f"{shown} has a `?` or a `#` part.", "Give the address only; put extra fields into `headers`.")
    for ending in ("/chat/completions", "/messages"):
        if parts.path.rstrip("/").endswith(ending):
            raise complaint(f"{shown} is the address of a call.", f"Leave out `{ending}` at its end.")
    return word.rstrip("/")


def key(value: Any) -> Secret | None:
    """Read a provider's key; an empty one is none."""
    if isinstance(value, Secret):
        value = value.reveal()
    if not isinstance(value, str):
        raise complaint(f"a key must be text, not {kind_of(value)}.", "Write `${NAME_OF_A_VARIABLE}`, or the key in quotes.")
    word = value.strip()
    if not re.fullmatch(r"[!-~]*", word):
        raise complaint(
            "the key has spaces or characters that cannot be in a header.", "Copy it again, without anything around."
        )
    return Secret(word) if word else None


def headers(value: Any) -> dict[str, str]:
    """Read headers by name; their values count as secrets."""
    if not isinstance(value, dict):
        raise complaint(f"headers must be a mapping of names to texts, not {kind_of(value)}.", "Write `x-name: value`.")
    for header, content in value.items():
        if not isinstance(header, str) or not _HEADER_NAME.fullmatch(header):
            raise complaint(f"{show(header)} cannot be a header's name.", "Use letters, digits and dashes.")
        if header.lower() in _HEADERS_OF_HTTP:
            raise complaint(f"the header `{header}` is written by Podium for each request.", "Leave it out.")
        if not isinstance(content, str):
            raise complaint(f"the value of the header `{header}` is not text.", "Put it in quotes.")
        if not _HEADER_VALUE.fullmatch(content):
            raise complaint(
                f"the value of the header `{header}` has characters that cannot be in one.", "Use ASCII text, on one line."
            )
    return {header: str(content) for header, content in value.items()}


def model_map(value: Any) -> Any:
    """Read a list of model names as the mapping of each to itself."""
    if isinstance(value, list):
        return {name(item): {"upstream": item} for item in value}
    return value


def some_models(value: Any) -> Any:
    """Let a list of models pass that names any."""
    if isinstance(value, list) and not value:
        raise complaint("the list is empty.", "Name at least one model, as `openai/gpt-4o`.")
    return value


def split_target(value: Any) -> Any:
    """Read `provider/model` as a mapping; what is no text stays as it is."""
    if not isinstance(value, str):
        return value
    word = name(value)
    if word.startswith(("tier:", "user:")):
        raise complaint(f"{show(word)} is not a model.", "Name its models here, each as `provider/model`.")
    provider, slash, model = word.partition("/")
    if not (provider and slash and model):
        owner = next((kind for kind, row in kinds().items() if any(fnmatchcase(word, glob) for glob in row.owns)), None)
        hint = f"Write `{owner}/{word}`." if owner and not isinstance(word, Expanded) else "Write `provider/model`."
        raise complaint(f"{show(word)} does not say which provider.", hint)
    return {"provider": provider, "model": model}


def tolerances(value: Any) -> dict[str, float]:
    """Read the fields that vote: a list of names, or names with a numeric tolerance each."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return dict.fromkeys(value, 0.0)
    if not isinstance(value, dict) or not value:
        raise complaint(
            f"fields must be a list of names, or names with tolerances, not {kind_of(value)}.", "Write `[total, date]`."
        )
    for field, tolerance in value.items():
        number = isinstance(tolerance, int | float | Decimal) and not isinstance(tolerance, bool)
        if not number or not 0 <= tolerance < 1e300 or math.isnan(tolerance):
            raise complaint(f"the tolerance of {show(field)} must be a number from 0 on.", "Write 0 for an exact match.")
    return {field: float(tolerance) for field, tolerance in value.items()}


def mapping(value: Any) -> dict[str, Any]:
    """Read a mapping of any form."""
    if not isinstance(value, dict):
        raise complaint(f"this must be a mapping, not {kind_of(value)}.", "Indent its keys under it.")
    return value


def _shown_scalar(value: Any) -> str:
    return show(value) if value is None or isinstance(value, str | int | float) else kind_of(value)
