"""The most that a request can use: its bounds hold for real tokenizers, and for whatever a price charges."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.catalog.price_sheet import Row, Tier, Variant
from podium.catalog.pricing import Price, PriceBook
from podium.catalog.profiles import profile
from podium.engine.estimate import (
    MOST_IMAGE_TOKENS,
    PER_MESSAGE,
    PER_PART,
    PER_REQUEST,
    PER_TOOL,
    UNKNOWN_OUTPUT,
    WITH_TOOLS,
    can_tighten,
    count,
    estimate,
    highest_pico,
    measure,
    usual_pico,
)
from podium.engine.prices.book import find_target
from podium.routing.limits import PICO
from podium.routing.snapshot import ModelEntry, Plan, Provider, Snapshot, Strategy
from podium.types import (
    Media,
    Message,
    Opaque,
    Output,
    Part,
    Reasons,
    Request,
    Sampling,
    Target,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)

BASE = PER_REQUEST + PER_MESSAGE + PER_PART


def provider(name: str, kind: str | None = None, **more: Any) -> Provider:
    dialect = "anthropic" if kind == "anthropic" else "openai_chat"
    return Provider(name=name, kind=kind or name, dialect=dialect, base_url="http://127.0.0.1/v1", **more)


SNAPSHOT = Snapshot(
    providers={
        each.name: each
        for each in (
            provider("openai"),
            provider("eu", "openai", models={"fast": ModelEntry(upstream="gpt-4o-mini", priced_as="openai/gpt-4o")}),
            provider("claude", "anthropic"),
            provider("acme", "custom"),
            provider("local"),
        )
    }
)


def row(read: str, written: str, **more: Any) -> Row:
    return Row(input_per_million=Decimal(read), output_per_million=Decimal(written), **more)


BOOK = PriceBook(
    overrides={
        "openai/gpt-4o": row("2.5", "10"),
        "openai/gpt-4.1": row("2", "8", variants=(Variant(when={"service_tier": "priority"}, input_per_million=Decimal(4)),)),
        "claude/claude-sonnet-4-5": row("3", "15", cache_write_1h_per_million=Decimal(6)),
        "acme/big": row("1", "2"),
        "acme/half": Row(input_per_million=Decimal(1)),
        "acme/tiered": row("1", "2", tiers=(Tier(above=1000, input_per_million=Decimal(3)),)),
    }
)


def plan(*names: str, strategy: str = "fallback", escalate_to: str | None = None) -> Plan:
    targets = tuple(target(name) for name in names)
    return Plan(
        strategy=Strategy(name=strategy, escalate_to=target(escalate_to) if escalate_to else None),  # type: ignore[arg-type]
        targets=targets,
        reasons=Reasons(spec=None, rule="target", steps=(), strategy=strategy, targets=targets),
    )


def target(name: str) -> Target:
    where, _, model = name.partition("/")
    return Target(provider=where, model=model)


def ask(*parts: Part | str, **more: Any) -> Request:
    said = tuple(Text(text=part) if isinstance(part, str) else part for part in parts)
    return Request(model="x", messages=(Message(role="user", parts=said),), **more)


def test_a_prompt_has_at_most_as_many_tokens_as_bytes() -> None:
    (leg,) = estimate(ask("héllo wörld"), plan("openai/gpt-4o"), SNAPSHOT, BOOK).legs
    assert leg.input_tokens == len("héllo wörld".encode()) + BASE


def test_the_cost_is_that_of_all_tokens_at_the_dearest_rate_rounded_up() -> None:
    made = estimate(ask("x" * 1000, sampling=Sampling(max_tokens=100)), plan("claude/claude-sonnet-4-5"), SNAPSHOT, BOOK)
    assert made.total() == ((1000 + BASE) * 6 + 100 * 15) * PICO // 10**6
    assert made.asked_output == 100
    assert made.tokens() == 1000 + BASE + 100


@pytest.mark.parametrize(
    ("strategy", "escalate_to", "legs"),
    [("first", None, 1), ("fallback", None, 2), ("race", None, 2), ("consensus", "claude/claude-sonnet-4-5", 3)],
)
def test_every_leg_that_a_strategy_may_ask_is_counted(strategy: str, escalate_to: str | None, legs: int) -> None:
    mine = plan("openai/gpt-4o", "acme/big", strategy=strategy, escalate_to=escalate_to)
    made = estimate(ask("x"), mine, SNAPSHOT, BOOK)
    assert len(made.legs) == legs
    assert made.total() == sum(leg.highest() for leg in made.legs)


def test_output_is_what_was_asked_else_the_models_most_else_a_number_that_is_sent() -> None:
    both = plan("openai/gpt-4o", "acme/big")
    unsaid = estimate(ask("x"), both, SNAPSHOT, BOOK)
    assert [leg.max_output for leg in unsaid.legs] == [16384, UNKNOWN_OUTPUT]
    assert unsaid.explicit
    said = estimate(ask("x", sampling=Sampling(max_tokens=7, n=3)), both, SNAPSHOT, BOOK)
    assert [(leg.max_output, leg.answers) for leg in said.legs] == [(7, 3), (7, 3)]
    assert not said.explicit
    assert not estimate(ask("x"), plan("openai/gpt-4o"), SNAPSHOT, BOOK).explicit


def test_a_model_told_to_reason_needs_more_than_its_budget() -> None:
    made = estimate(ask("x", thinking=Thinking(budget_tokens=2000)), plan("claude/claude-sonnet-4-5"), SNAPSHOT, BOOK)
    assert made.least_output == 2016


def test_a_public_name_is_priced_as_its_config_says() -> None:
    made = estimate(ask("x", sampling=Sampling(max_tokens=1)), plan("eu/fast"), SNAPSHOT, BOOK)
    assert made.total() == ((1 + BASE) * Decimal("2.5") + 10) * PICO / 10**6


def test_a_model_without_a_price_says_which_line_of_the_config_would_give_it_one() -> None:
    (leg,) = estimate(ask("x"), plan("acme/unknown"), SNAPSHOT, BOOK).legs
    assert leg.cost is None
    assert leg.why is not None
    assert "`prices: {acme/unknown: {input: 1.25, output: 10}}`" in leg.why
    assert "`priced_as: openai/gpt-4o` for unknown under `providers.acme.models`" in leg.why


def test_a_price_that_leaves_out_the_output_is_no_bound() -> None:
    (leg,) = estimate(ask("x"), plan("acme/half"), SNAPSHOT, BOOK).legs
    assert leg.cost is None
    assert leg.why is not None
    assert "prices.acme/half" in leg.why


def test_a_model_on_ones_own_machine_costs_nothing_whatever_it_reads() -> None:
    made = estimate(ask(Media(kind="audio", data="AAAA")), plan("local/llama"), SNAPSHOT, BOOK)
    assert made.total() == 0
    assert made.legs[0].cost is not None
    assert not made.explicit


def test_a_dear_service_tier_is_priced_or_has_no_bound() -> None:
    fast = ask("x", sampling=Sampling(max_tokens=1, service_tier="priority"))
    priced = estimate(fast, plan("openai/gpt-4.1"), SNAPSHOT, BOOK)
    assert priced.total() == ((1 + BASE) * 4 + 8) * PICO // 10**6
    (unpriced,) = estimate(fast, plan("openai/gpt-4o"), SNAPSHOT, BOOK).legs
    assert unpriced.why == "its price does not say what the service tier priority costs."


def test_a_cheap_service_tier_is_bounded_by_the_usual_rates_since_it_may_be_served_as_any_other_request() -> None:
    flex = Variant(when={"service_tier": "flex"}, input_per_million=Decimal(1), output_per_million=Decimal(5))
    price = Price(row("2", "10", variants=(flex,)))
    usage = Usage(input=10**6, output=10**6)
    bound = price.highest(10**6, 10**6, context={"service_tier": "flex"})
    assert bound == price.cost(usage, context={"service_tier": "default"}) == 12


def test_anthropics_fast_mode_is_bounded_by_its_own_rates_or_not_at_all() -> None:
    fast = ask("x", sampling=Sampling(max_tokens=1), extra={"anthropic": {"speed": "fast"}})
    (unpriced,) = estimate(fast, plan("claude/claude-sonnet-4-5"), SNAPSHOT, BOOK).legs
    assert unpriced.why == "its price does not say what the speed fast costs."
    (other,) = estimate(fast, plan("openai/gpt-4o"), SNAPSHOT, BOOK).legs
    assert other.why is None


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (ask(Media(kind="audio", data="AAAA")), "a part of the kind audio"),
        (ask(Media(kind="document", file_id="file-1")), "a part of the kind document"),
        (ask(Opaque(dialect="anthropic", data={"type": "x", "source": {"url": "http://a"}})), "content that is not in"),
        (ask("x", tools=(Opaque(dialect="anthropic", data={"type": "web_search_20250305"}),)), "a tool that the provider runs"),
        (ask("x", extra={"openai_chat": {"web_search_options": {}}}), "`web_search_options`"),
        (ask(ToolResult(call_id="1", parts=(Media(kind="video", url="http://a"),))), "a part of the kind video"),
    ],
)
def test_what_has_no_bound_says_so(request_: Request, why: str) -> None:
    (leg,) = estimate(request_, plan("openai/gpt-4o"), SNAPSHOT, BOOK).legs
    assert leg.cost is None
    assert leg.why is not None
    assert why in leg.why


def test_images_tools_calls_and_schemas_are_counted() -> None:
    request = ask(
        "look",
        Media(kind="image", data="A" * 10_000),
        ToolCall(id="call_1", name="find", arguments='{"q": 1}'),
        ToolResult(call_id="call_1", parts=(Text(text="found"),)),
        Media(kind="document", text="a page", name="a.txt"),
        tools=(Tool(name="find", description="Finds.", parameters={"type": "object"}),),
    )
    measured = measure(request)
    said = "look" + "call_1find" + '{"q": 1}' + "call_1" + "found" + "a page" + "a.txt"
    assert measured.images == 1
    assert measured.unbounded is None
    assert len(said) + len('{"name":"find","description":"Finds."}') < measured.text_bytes < len(said) + 250
    assert measured.added == PER_REQUEST + PER_MESSAGE + 6 * PER_PART + WITH_TOOLS + PER_TOOL
    (openai, claude) = estimate(request, plan("openai/gpt-4o", "claude/claude-sonnet-4-5"), SNAPSHOT, BOOK).legs
    assert openai.input_tokens == measured.text_bytes + measured.added + MOST_IMAGE_TOKENS
    assert claude.input_tokens < openai.input_tokens


TEXTS = st.lists(st.lists(st.text(max_size=20), max_size=3), max_size=3)


@given(system=st.lists(st.text(max_size=20), max_size=2), said=TEXTS)
def test_text_alone_is_counted_as_it_is_beside_anything_else(system: list[str], said: list[list[str]]) -> None:
    def parts(texts: list[str]) -> tuple[Text, ...]:
        return tuple(Text(text=text) for text in texts)

    messages = tuple(Message(role="user", parts=parts(texts)) for texts in said)
    plain = Request(model="x", system=parts(system), messages=messages)
    last = Message(role="user", parts=(Media(kind="image", data="A"),))
    alone, beside = measure(plain), measure(plain.replace(messages=(*messages, last)))
    texts = [*system, *(text for each in said for text in each)]
    assert alone.text_bytes == beside.text_bytes == sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    assert (alone.images, alone.unbounded, beside.images) == (0, None, 1)
    assert alone.added == PER_REQUEST + len(said) * PER_MESSAGE + len(texts) * PER_PART == beside.added - PER_MESSAGE - PER_PART


@pytest.mark.parametrize(
    "more",
    [
        {"extra": {"openai_chat": {"user": "jane"}}},
        {"tools": (Tool(name="f", parameters={"type": "object"}),)},
        {"output": Output(kind="json_schema", schema={"type": "object"})},
        {"messages": (Message(role="user", parts=(Text(text="x"),), extra={"openai_chat": {"name": "jane"}}),)},
        {"messages": (Message(role="user", parts=(Text(text="x", extra={"anthropic": {"cache_control": {}}}),)),)},
        {"system": (Text(text="", extra={"anthropic": {"cache_control": {}}}),)},
    ],
)
def test_whatever_is_said_beside_the_text_counts_too(more: dict[str, Any]) -> None:
    assert measure(ask("x").replace(**more)).text_bytes > len("x") + 20


USUAL = ask("x" * 100, sampling=Sampling(max_tokens=50))


@pytest.mark.parametrize(
    ("request_", "name", "usual"),
    [
        (USUAL, "openai/gpt-4o", True),
        (USUAL, "eu/fast", True),
        (USUAL, "local/llama", True),
        (ask("x"), "openai/gpt-4o", True),
        (ask("x"), "acme/big", False),  # its output has no bound that need not be sent
        (ask("x", sampling=Sampling(max_tokens=50, n=3)), "openai/gpt-4o", True),
        (ask("x", sampling=Sampling(max_tokens=50, n=-3)), "openai/gpt-4o", True),
        (ask(Media(kind="image", data="A"), sampling=Sampling(max_tokens=50)), "openai/gpt-4o", True),
        (ask(Media(kind="audio", data="A")), "openai/gpt-4o", False),
        (ask(Media(kind="audio", data="A")), "local/llama", False),
        (USUAL, "acme/half", False),
        (USUAL, "acme/tiered", False),
        (ask("x", sampling=Sampling(max_tokens=50, service_tier="priority")), "openai/gpt-4.1", False),
        (ask("x", sampling=Sampling(max_tokens=50), extra={"anthropic": {"speed": "fast"}}), "claude/claude-sonnet-4-5", False),
    ],
)
def test_a_usual_request_is_bounded_as_any_other(request_: Request, name: str, usual: bool) -> None:
    provided, book = SNAPSHOT.providers[target(name).provider], BOOK
    found = find_target(book, provided, target(name).model)
    assert found is not None
    entry = provided.models.get(target(name).model)
    facts = profile(provided.kind, entry.upstream if entry else target(name).model)
    measured = measure(request_)
    bound = usual_pico(request_, measured, facts, found, provided.dialect)
    made = estimate(request_, plan(name), SNAPSHOT, book)
    assert (bound is not None) == usual
    if bound is not None:
        assert (bound, False) == (made.total(), made.explicit)
        assert highest_pico(request_, measured, facts, found, provided.dialect, 0.0) == bound


# --- against what really is charged -------------------------------------------------------------------------------------

RATES = st.none() | st.decimals(min_value=0, max_value=1000, places=6)
TIERS = st.lists(
    st.builds(Tier, above=st.integers(1, 3000), input_per_million=RATES, output_per_million=RATES),
    max_size=2,
    unique_by=lambda tier: tier.above,
).map(lambda tiers: tuple(sorted(tiers, key=lambda tier: tier.above)))
ROWS = st.builds(
    Row,
    input_per_million=st.decimals(min_value=0, max_value=1000, places=6),
    output_per_million=st.decimals(min_value=0, max_value=1000, places=6),
    cached_input_per_million=RATES,
    cache_write_per_million=RATES,
    cache_write_1h_per_million=RATES,
    reasoning_per_million=RATES,
    per_request=st.none() | st.decimals(min_value=0, max_value=1, places=6),
    tiers=TIERS,
)


@given(row=ROWS, text=st.text(max_size=300), data=st.data(), max_tokens=st.integers(1, 5000), n=st.integers(1, 3))
def test_what_is_reserved_covers_what_is_settled_wherever_the_bound_on_tokens_holds(
    row: Row, text: str, data: st.DataObject, max_tokens: int, n: int
) -> None:
    book = PriceBook(overrides={"acme/any": row})
    made = estimate(ask(text, sampling=Sampling(max_tokens=max_tokens, n=n)), plan("acme/any"), SNAPSHOT, book)
    (leg,) = made.legs

    def split(most: int, parts: int) -> list[int]:
        cuts = sorted(data.draw(st.integers(0, most)) for _ in range(parts))
        return [after - before for before, after in zip([0, *cuts], cuts, strict=False)]

    read = split(leg.input_tokens, 4)
    written = split(max_tokens * n, 2)
    usage = Usage(
        input=read[0],
        cache_read=read[1],
        cache_write=read[2],
        cache_write_1h=read[3],
        output=written[0],
        reasoning=written[1],
    )
    cost = book["acme/any"].cost_pico(usage)
    assert cost is not None
    assert made.total() >= cost


def test_the_tokenizer_is_known_only_where_it_is_stated() -> None:
    assert can_tighten(plan("openai/gpt-4o"), SNAPSHOT)
    assert can_tighten(plan("claude/claude-sonnet-4-5", "eu/fast"), SNAPSHOT)
    assert not can_tighten(plan("claude/claude-sonnet-4-5"), SNAPSHOT)
    assert not can_tighten(plan("acme/gpt-4o"), SNAPSHOT)
    assert not can_tighten(plan("openai/gpt-9"), SNAPSHOT)


def test_a_count_by_the_tokenizer_is_closer_and_only_for_the_models_that_have_it() -> None:
    request = ask("The quick brown fox jumps over the lazy dog. " * 100, tools=(Tool(name="f", parameters={"type": "object"}),))
    both = plan("openai/gpt-4o", "claude/claude-sonnet-4-5")
    loose = estimate(request, both, SNAPSHOT, BOOK).legs
    close = estimate(request, both, SNAPSHOT, BOOK, exact=True).legs
    assert close[0].input_tokens < loose[0].input_tokens / 1.5
    assert close[1].input_tokens == loose[1].input_tokens


@given(st.text(max_size=400))
def test_no_text_has_more_tokens_than_bytes(text: str) -> None:
    request = ask(text)
    for encoding in ("o200k_base", "cl100k_base"):
        assert count(request, encoding) <= measure(request).text_bytes == len(text.encode("utf-8", "surrogatepass"))


@given(st.lists(st.text(alphabet="ab 1é\n", max_size=20), min_size=2, max_size=4))
def test_parts_count_as_much_as_they_do_apart_and_as_one_text(texts: list[str]) -> None:
    apart = sum(count(ask(text), "o200k_base") for text in texts)
    whole = count(ask("".join(texts)), "o200k_base")
    assert count(ask(*texts), "o200k_base") == max(apart, whole)
