"""Counts and costs against genai-prices' own, on every recorded answer of a dialect that we speak.

Both read the same body; what they disagree on is listed, with the reason, and everything else must agree to the last digit.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import PriceCalculation
from genai_prices.types import Usage as TheirUsage

from podium.catalog.price_rates import web_searches
from podium.catalog.pricing import PriceBook
from podium.engine.prices.book import load_prices
from podium.errors import PodiumError
from podium.types import Finished, Usage
from podium.wire.codec import Codec, codec
from recordings import Recording, all_recordings, each_recording


class Vendor(NamedTuple):
    """What a folder of recordings is at Podium and at genai-prices."""

    kind: str
    theirs: str
    flavor: str
    dialect: str = "openai_chat"


VENDORS = {
    "openai-chat": Vendor("openai", "openai", "chat"),
    "anthropic": Vendor("anthropic", "anthropic", "default", "anthropic"),
    "azure": Vendor("azure", "azure", "chat"),
    "deepseek": Vendor("deepseek", "deepseek", "chat"),
    "groq": Vendor("groq", "groq", "default"),
    "mistral": Vendor("mistral", "mistral", "default"),
    "openrouter": Vendor("openrouter", "openrouter", "chat"),
    "xai": Vendor("xai", "x-ai", "chat"),
}
SINGLE = {"openai-compatible/cerebras-reasoning": Vendor("cerebras", "cerebras", "chat")}

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)

COUNTS_DIFFER: dict[str, str] = {}
"""Recordings whose counts differ, and why. None does: xAI's reasoning, which stands beside the completion, is added by both."""

COSTS_DIFFER: dict[str, str] = {}
"""Recordings whose costs differ, and why. None does; where the data itself makes a difference, see `EXPLAINED` below."""


def vendor_of(recording: Recording) -> Vendor | None:
    return SINGLE.get(recording.id) or VENDORS.get(recording.provider)


def is_answer(recording: Recording) -> bool:
    """Whether this is an answer in a dialect that we speak."""
    chat = not recording.url or any(part in recording.url for part in ("chat/completions", "/v1/messages"))
    return recording.status == 200 and vendor_of(recording) is not None and chat and "count_tokens" not in recording.url


def our_usage(recording: Recording, speaks: Codec) -> Usage | None:
    try:
        if recording.response is not None:
            events = list(speaks.load_response(recording.response))
        else:
            reader = speaks.reader()
            events = [*reader.feed(recording.stream or b""), *reader.close()]
    except PodiumError:
        return None
    return next((event.usage for event in events if isinstance(event, Finished)), None)


def payloads(stream: bytes) -> Iterator[dict[str, Any]]:
    for line in stream.splitlines():
        if line.startswith(b"data:") and (data := line[5:].strip()) not in (b"[DONE]", b""):
            yield json.loads(data)


def whole_body(recording: Recording) -> dict[str, Any]:
    """The body that says the same without a stream: the model, and the usage of all chunks, later ones over earlier ones."""
    if recording.response is not None:
        body: dict[str, Any] = json.loads(recording.response)
        return body
    model, usage = None, dict[str, Any]()
    for payload in payloads(recording.stream or b""):
        inner = payload.get("message") or payload
        model = model or inner.get("model") or None
        usage |= {key: value for key, value in (inner.get("usage") or {}).items() if value is not None}
        x_groq = payload.get("x_groq") or {}
        usage |= {} if usage else x_groq.get("usage") or {}
    return {"model": model, "usage": usage}


def their_usage(body: dict[str, Any], vendor: Vendor) -> TheirUsage | None:
    """Only the counts: `extract_usage` of the snapshot fails where the model is not known, that of the provider does not."""
    if not body.get("usage"):
        return None
    provider = get_snapshot().find_provider(None, vendor.theirs, None)
    return provider.extract_usage(body, api_flavor=vendor.flavor)[1]


def their_price(usage: TheirUsage, model: str, vendor: Vendor) -> PriceCalculation | None:
    try:
        return get_snapshot().calc(usage, model, vendor.theirs, None, AT)
    except LookupError:
        return None


def as_theirs(usage: Usage) -> dict[str, int]:
    """Our disjoint counts as the overlapping ones of genai-prices, without zeros."""
    counts = {
        "input_tokens": usage.total_input,
        "output_tokens": usage.total_output,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_write_1h_tokens": usage.cache_write_1h,
        "input_audio_tokens": usage.input_audio,
        "output_audio_tokens": usage.output_audio,
        "output_reasoning_tokens": usage.reasoning,
        "web_searches": web_searches(usage),
    }
    return {name: count for name, count in counts.items() if count}


def their_counts(usage: TheirUsage) -> dict[str, int]:
    said = {name: count for name, count in vars(usage).items() if count}
    said.pop("cache_write_5m_tokens", None)  # what is not for an hour; ours is the rest
    return said


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return load_prices(clock=lambda: AT.timestamp())


class Both(NamedTuple):
    ours: dict[str, int]
    theirs: dict[str, int]
    our_cost: Decimal | None
    their_cost: Decimal | None
    model: str


def compare(recording: Recording, book: PriceBook) -> Both | None:
    """Both readings of a recording; None where it says no usage."""
    vendor = vendor_of(recording)
    assert vendor is not None
    usage = our_usage(recording, codec(vendor.dialect))
    body = whole_body(recording)
    theirs = their_usage(body, vendor)
    if usage is None or theirs is None:
        return None
    model = body["model"]
    found = book.find(vendor.kind, model)
    calculated = their_price(theirs, model, vendor)
    return Both(
        as_theirs(usage),
        their_counts(theirs),
        None if found is None else found.price.cost(usage, AT.timestamp()),
        None if calculated is None else calculated.total_price,
        model,
    )


@each_recording(is_answer)
def test_counts_agree_with_genai_prices_on_every_recorded_answer_or_the_difference_is_listed(
    recording: Recording, book: PriceBook
) -> None:
    both = compare(recording, book)
    if both is not None:
        assert (both.ours != both.theirs) == (recording.id in COUNTS_DIFFER), both


@each_recording(is_answer)
def test_costs_agree_to_the_last_digit_on_every_recorded_answer_or_the_difference_is_listed(
    recording: Recording, book: PriceBook
) -> None:
    both = compare(recording, book)
    if both is not None and both.their_cost is not None:
        assert (both.our_cost != both.their_cost) == (recording.id in COSTS_DIFFER), both


def test_most_recordings_say_a_usage_of_a_model_that_both_know(book: PriceBook) -> None:
    if not all_recordings():
        pytest.skip("no recordings here; set PODIUM_FIXTURES")
    read = [both for recording in all_recordings() if is_answer(recording) and (both := compare(recording, book)) is not None]
    assert len(read) >= 60
    assert len([both for both in read if both.our_cost is not None and both.our_cost == both.their_cost]) >= 60


# --- where the provider itself says what it cost -----------------------------------------------------------------------

REPORTED_DIFFERS = {
    "azure/stream-tool-grok": "xAI's model at Azure says `cost_in_usd_ticks: 0`, for Azure sends the bill and not xAI",
}
"""Recordings whose provider says another cost than the price makes it, and why."""


@each_recording(is_answer)
def test_the_cost_that_a_provider_reports_is_what_its_price_makes_it_or_the_difference_is_listed(
    recording: Recording, book: PriceBook
) -> None:
    vendor = vendor_of(recording)
    assert vendor is not None
    usage = our_usage(recording, codec(vendor.dialect))
    if usage is not None and usage.reported_cost_usd is not None:
        found = book.find(vendor.kind, whole_body(recording)["model"])
        cost = None if found is None else found.price.cost(usage, AT.timestamp())
        assert (cost != usage.reported_cost_usd) == (recording.id in REPORTED_DIFFERS), (cost, usage.reported_cost_usd)


# --- every model of the data --------------------------------------------------------------------------------------------

PLENTY = Usage(
    input=900, output=77, cache_read=3001, cache_write=17, cache_write_1h=5, reasoning=41, input_audio=13, output_audio=7
)
MUCH = Usage(input=150_001, output=70_000, cache_read=120_000, cache_write=9)
USAGES = [Usage(), Usage(input=1), Usage(input=7, output=3), Usage(input=200_000), Usage(input=200_001, output=1), MUCH, PLENTY]
TIMES = [
    AT,
    datetime(2024, 1, 1, tzinfo=UTC),
    datetime(2026, 8, 17, tzinfo=UTC),
    datetime(2026, 8, 16, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2026, 10, 14, 0, 30, tzinfo=UTC),
    datetime(2026, 10, 14, 16, 30, tzinfo=UTC),
    datetime(2026, 10, 14, 3, 59, 59, tzinfo=UTC),
]
CONTEXTS: list[dict[str, str]] = [
    {},
    {"service_tier": "priority"},
    {"service_tier": "flex"},
    {"service_tier": "default"},
    {"service_tier": "fast", "speed": "fast"},
    {"processing": "batch"},
]

EXPLAINED = {
    "nothing said": "genai-prices has no rate for the model and makes that 0; here that is None, unless its name says free",
    "no rate": "the model has no rate for some tokens of the usage (output of an embedding model): 0 there, None here",
    "cached audio": "genai-prices wants to know how many cached tokens were audio and fails where both are counted; `Usage` "
    "has no such count, and what was read from a cache is charged at the cache's rate",
    "own spelling": "the model's own id is not among the spellings that it lists, so that genai-prices finds another or none",
}


def explain(ours: Decimal | None, theirs: Decimal | str | None, model: Any, usage: Usage) -> str | None:
    """The reason why the two differ, a key of `EXPLAINED`; None where there is none."""
    keys = {
        key
        for prices in (model.prices if isinstance(model.prices, list) else [model])
        for key, rate in vars(prices.prices).items()
        if rate is not None
    }
    if ours is None and not keys & {"input_mtok", "output_mtok", "requests_kcount", "web_searches_kcount"}:
        return "nothing said"
    if ours is None and ("output_mtok" not in keys or "input_mtok" not in keys):
        return "no rate"
    if isinstance(theirs, str) and "cache_audio_read" in theirs + str(keys) and usage.input_audio and usage.cache_read:
        return "cached audio"
    return None


def test_every_model_of_genai_prices_costs_the_same_at_any_time_in_any_context_or_the_difference_is_explained(
    book: PriceBook,
) -> None:
    reasons: dict[str, int] = dict.fromkeys(EXPLAINED, 0)
    agreed = 0
    for provider in get_snapshot().providers:
        for model in provider.models:
            if provider.find_model(model.id) is not model:
                reasons["own spelling"] += 1
                continue
            found = book.find(provider.id, model.id)
            for number, usage in enumerate(USAGES):
                at, context = TIMES[number % len(TIMES)], CONTEXTS[(number + len(model.id)) % len(CONTEXTS)]
                ours = None if found is None else found.price.cost(usage, at.timestamp(), context)
                theirs = their_cost(as_theirs(usage), model, provider, at, context)
                if ours == theirs:
                    agreed += 1
                else:
                    reason = explain(ours, theirs, model, usage)
                    assert reason is not None, (provider.id, model.id, usage, at, context, ours, theirs)
                    reasons[reason] += 1
    assert agreed > 14_000
    assert all(reasons.values()), reasons


def their_cost(counts: dict[str, int], model: Any, provider: Any, at: datetime, context: dict[str, str]) -> Decimal | str:
    """Their cost, or the words in which they fail."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            calculated = model.calc_price(
                TheirUsage(**counts), provider, genai_request_timestamp=at, price_context=context or None
            )
        except ValueError as error:
            return str(error)
    total: Decimal = calculated.total_price
    return total
