"""Which calls are shadowed: the draw, what never is, and whose money it would be."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from podium.routing.rollout import Rollout, decide
from podium.routing.shadow import brings_a_key, budget, drawn, entered_as, other, unfit
from podium.routing.snapshot import Shadow, User
from podium.types import Media, Message, Opaque, Request, Secret, Text, Tool, ToolResult

IDS = [f"request-{number}" for number in range(20_000)]


def shadow(sample: float) -> Shadow:
    return Shadow(sample=sample, budget_usd_per_day=Decimal(20))


def request(*parts: Any, **fields: Any) -> Request:
    messages = (Message(role="user", parts=parts or (Text(text="What is the capital of France?"),)),)
    return Request(model="gpt-4", messages=messages, **fields)


@pytest.mark.parametrize("sample", [0.5, 5.0, 50.0])
def test_so_many_of_the_requests_are_drawn_as_the_sample_says(sample: float) -> None:
    """Within four standard deviations of a binomial."""
    share = sample / 100
    found = sum(drawn("chat", shadow(sample), each) for each in IDS)
    assert abs(found - len(IDS) * share) < 4 * (len(IDS) * share * (1 - share)) ** 0.5


def test_a_sample_of_0_draws_nobody_and_one_of_100_everybody() -> None:
    assert not any(drawn("chat", shadow(0.0), each) for each in IDS[:1000])
    assert all(drawn("chat", shadow(100.0), each) for each in IDS[:1000])


def test_one_id_is_always_drawn_alike_and_a_larger_sample_keeps_whom_a_smaller_one_drew() -> None:
    few = {each for each in IDS if drawn("chat", shadow(5.0), each)}
    many = {each for each in IDS if drawn("chat", shadow(20.0), each)}
    assert few < many
    assert few == {each for each in IDS if drawn("chat", shadow(5.0), each)}


def test_the_draw_is_independent_of_another_rollouts_and_of_the_arms() -> None:
    """Of those that one draws, the other draws its share: 20 % of about 4,000."""
    chat = [each for each in IDS if drawn("chat", shadow(20.0), each)]
    both = sum(drawn("search", shadow(20.0), each) for each in chat)
    rollout = Rollout(name="chat", candidate="tier:high", percent=20.0)
    candidates = sum(decide(rollout, unit_id=each).arm == "candidate" for each in chat)
    for found in (both, candidates):
        assert abs(found - len(chat) * 0.2) < 4 * (len(chat) * 0.2 * 0.8) ** 0.5


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (request(), None),
        (request(tools=(Tool(name="look_up"),), extra={"openai_chat": {"verbosity": "low", "store": False}}), None),
        (request(extra={"openai_chat": {"store": True}}), "provider_state"),
        (request(extra={"openai_chat": {"previous_response_id": "resp_1"}}), "provider_state"),
        (request(extra={"anthropic": {"container": {"id": "c"}}}), "provider_state"),
        (request(extra={"openai_chat": {"web_search_options": {"search_context_size": "low"}}}), "provider_tools"),
        (request(tools=(Opaque(dialect="anthropic", data={"type": "web_search_20250305"}),)), "provider_tools"),
        (request(Media(kind="image", file_id="file-1")), "provider_state"),
        (request(Media(kind="image", url="https://example.com/a.png")), None),
        (request(Opaque(dialect="anthropic", data={"type": "x"})), "provider_state"),
        (request(ToolResult(call_id="1", parts=(Media(kind="image", file_id="file-1"),))), "provider_state"),
    ],
)
def test_a_request_that_refers_to_what_a_provider_keeps_or_lets_it_execute_something_is_no_shadow(
    asked: Request, reason: str | None
) -> None:
    assert unfit(asked) == reason


def test_a_user_with_a_key_of_their_own_for_a_target_would_pay_for_it() -> None:
    key = Secret("sk-janes-own-key")
    assert brings_a_key(User(id="jane", keys={"anthropic": key}), ["openai", "anthropic"])
    assert brings_a_key(User(id="jane", mode="byok", keys={"openai": key}), ["local"])
    assert not brings_a_key(User(id="jane", keys={"groq": key}), ["openai", "anthropic"])
    assert not brings_a_key(None, ["openai"])


def test_a_shadow_takes_the_other_arm_and_its_entry_says_so() -> None:
    assert [entered_as(other("legacy")), entered_as(other("candidate"))] == ["candidate_shadow", "legacy_shadow"]


def test_the_budget_is_a_limit_of_the_rollouts_shadows_alone() -> None:
    chat, search = (budget(name, shadow(5.0)) for name in ("chat", "search"))
    assert (chat.amount, chat.period, chat.scope) == (20 * 10**12, "day", "shadow")
    assert chat.key != search.key
    assert chat.title == "cost of shadow chat in a day"
