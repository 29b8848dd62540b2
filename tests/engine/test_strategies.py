"""Strategies over real HTTP: who is asked, who answers, and what happens to the others."""

import pytest

from making import Make
from podium import AllTargetsFailed
from podium.engine.attempt import Patience
from podium.engine.models import Models
from podium.errors import InvalidRequest, PodiumError, ProviderError
from podium.sim import Sim
from podium.types import Result

CAPITAL = "What is the capital of France?"
PAIR = ["openai/gpt-4o", "groq/llama-3.1-8b"]


def outcomes(result: Result) -> dict[str, str]:
    return {str(attempt.target): attempt.outcome for attempt in result.attempts}


async def test_first_asks_only_the_first_usable_target(make: Make, sim: Sim) -> None:
    models = make(providers={"openai": {"enabled": False}}, tiers={"one": {"strategy": "first", "models": [*PAIR, "local/x"]}})
    result = await models.generate_text("tier:one", prompt=CAPITAL)
    assert outcomes(result) == {"groq/llama-3.1-8b": "won"}


async def test_a_race_is_won_by_the_first_content_and_the_losers_are_cancelled_upstream(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", latency_s=5.0)
    models = make(tiers={"fast": {"strategy": "race", "models": PAIR}})
    for result in (
        await models.generate_text("tier:fast", prompt=CAPITAL),
        await models.stream_text("tier:fast", prompt=CAPITAL).result(),
    ):
        assert outcomes(result) == {"openai/gpt-4o": "lost", "groq/llama-3.1-8b": "won"}
    stats = await sim.idle()
    assert (stats.cancelled, stats.finished) == (2, 2)


async def test_a_race_is_not_decided_by_a_first_event_without_content(make: Make, sim: Sim) -> None:
    # Anthropic's message_start comes at once; the first word decides all the same.
    sim.set("claude-haiku-4-5", tokens_per_s=1.0, latency_s=3.0)
    models = make(tiers={"fast": {"strategy": "race", "models": ["anthropic/claude-haiku-4-5", "groq/llama-3.1-8b"]}})
    result = await models.generate_text("tier:fast", prompt="Tell me about ships.")
    assert outcomes(result) == {"anthropic/claude-haiku-4-5": "lost", "groq/llama-3.1-8b": "won"}


async def test_a_race_survives_all_failures_but_the_last(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", status=500)
    sim.set("llama-3.1-8b", latency_s=0.05)
    models = make(tiers={"fast": {"strategy": "race", "models": PAIR}})
    result = await models.generate_text("tier:fast", prompt=CAPITAL)
    assert outcomes(result) == {"openai/gpt-4o": "failed", "groq/llama-3.1-8b": "won"}


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 429}, {"status": 401}, {"status": 404}, {"break_after": 0}, {"malformed_after": 0}]
)
async def test_a_fallback_moves_on_after_what_another_target_may_do_better(make: Make, sim: Sim, fault: dict[str, int]) -> None:
    sim.set("gpt-4o", **fault)
    models = make(tiers={"safe": {"strategy": "fallback", "models": PAIR}})
    result = await models.generate_text("tier:safe", prompt=CAPITAL)
    assert outcomes(result) == {"openai/gpt-4o": "failed", "groq/llama-3.1-8b": "won"}


async def test_a_fallback_stops_at_an_invalid_request(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", status=400)
    models = make(tiers={"safe": {"strategy": "fallback", "models": PAIR}})
    with pytest.raises(InvalidRequest):
        await models.generate_text("tier:safe", prompt=CAPITAL)
    assert sim.stats.by_provider == {"openai": 1}


async def test_fallback_on_says_which_errors_move_on(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", status=401)
    models = make(tiers={"safe": {"strategy": "fallback", "models": PAIR, "fallback_on": ["overloaded"]}})
    with pytest.raises(ProviderError) as caught:
        await models.generate_text("tier:safe", prompt=CAPITAL)
    assert caught.value.code == "authentication_failed"


async def test_a_fallback_passes_over_a_target_that_asked_to_be_left_alone(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", status=429, retry_after_s=60.0)
    models = make(tiers={"safe": {"strategy": "fallback", "models": PAIR}})
    first = await models.generate_text("tier:safe", prompt=CAPITAL)
    assert outcomes(first) == {"openai/gpt-4o": "failed", "groq/llama-3.1-8b": "won"}
    second = await models.generate_text("tier:safe", prompt=CAPITAL)
    assert outcomes(second) == {"groq/llama-3.1-8b": "won"}


async def test_a_fallback_keeps_time_for_the_targets_that_come_after_a_hanging_one(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", hang=True)
    models = make(tiers={"safe": {"strategy": "fallback", "models": PAIR, "timeout": "600ms"}})
    result = await models.generate_text("tier:safe", prompt=CAPITAL)
    assert outcomes(result) == {"openai/gpt-4o": "failed", "groq/llama-3.1-8b": "won"}
    assert result.attempts[0].error_code == "first_event_timeout"


async def test_nothing_falls_back_after_the_answer_has_begun(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", break_after=3, tokens_per_s=200.0)
    models = make(tiers={"safe": {"strategy": "fallback", "models": PAIR}})
    pieces: list[str] = []

    async def read() -> None:
        async for piece in models.stream_text("tier:safe", prompt="Tell me about ships.").text:
            pieces.append(piece)  # noqa: PERF401  what came before the break is the point

    with pytest.raises(ProviderError) as caught:
        await read()
    assert pieces
    assert [attempt.outcome for attempt in caught.value.attempts] == ["failed"]
    assert "groq" not in sim.stats.by_provider


@pytest.mark.parametrize(
    ("fault", "patience", "code"),
    [
        ({"hang": True}, Patience(first_event_s=0.1), "first_event_timeout"),
        ({"latency_s": 5.0}, Patience(first_content_s=0.1), "first_content_timeout"),
        ({"stall_after": 3}, Patience(stall_s=0.1), "stalled"),
    ],
)
async def test_an_attempt_may_not_be_silent_for_too_long(
    make: Make, sim: Sim, fault: dict[str, float], patience: Patience, code: str
) -> None:
    sim.set("claude-haiku-4-5", **fault)
    models = Models(make().snapshot, patience=patience)
    stream = models.stream_text("anthropic/claude-haiku-4-5", prompt="Tell me about ships.", timeout="400ms")
    with pytest.raises(ProviderError) as caught:
        await stream.result()
    assert caught.value.attempts[0].error_code == code
    stats = await sim.idle()
    assert stats.finished == 0
    await models.close()


async def test_when_all_fail_the_error_lists_every_attempt_with_its_reason(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", status=401)
    sim.set("llama-3.1-8b", status=404)
    models = make(tiers={"safe": {"strategy": "fallback", "models": PAIR}})
    with pytest.raises(AllTargetsFailed) as caught:
        await models.generate_text("tier:safe", prompt=CAPITAL)
    assert "openai/gpt-4o" in str(caught.value)
    assert "groq/llama-3.1-8b" in str(caught.value)
    assert [attempt.error_code for attempt in caught.value.attempts] == ["authentication_failed", "model_not_found"]


async def test_a_consensus_agrees_and_shows_who_dissents(make: Make, sim: Sim) -> None:
    sim.set("llama-3.1-8b", answer="London")
    members = ["openai/gpt-4o", "groq/llama-3.1-8b", "anthropic/claude-haiku-4-5"]
    models = make(tiers={"sure": {"strategy": "consensus", "models": members, "quorum": 2}})
    sim.set("claude-haiku-4-5", latency_s=0.1)  # so that the dissenter is heard
    result = await models.generate_text("tier:sure", prompt=CAPITAL)
    assert result.text == "Paris"
    found = result.consensus
    assert found is not None
    assert (found.n_configured, found.n_ok, found.quorum_met) == (3, 3, True)
    assert found.agreement == pytest.approx(2 / 3)
    assert [str(answer.target) for answer in found.dissent] == ["groq/llama-3.1-8b"]


async def test_a_consensus_stops_early_and_cancels_the_stragglers_upstream(make: Make, sim: Sim) -> None:
    sim.set("claude-haiku-4-5", latency_s=5.0)
    members = ["openai/gpt-4o", "groq/llama-3.1-8b", "anthropic/claude-haiku-4-5"]
    models = make(tiers={"sure": {"strategy": "consensus", "models": members}})
    async with models.stream_text("tier:sure", prompt=CAPITAL) as stream:
        assert "".join([piece async for piece in stream.text]) == "Paris"
        result = await stream.result()
    assert result.consensus is not None
    assert result.consensus.stopped_early
    assert outcomes(result) == {"openai/gpt-4o": "won", "groq/llama-3.1-8b": "answered", "anthropic/claude-haiku-4-5": "lost"}
    assert (await sim.idle()).cancelled == 1


async def test_failures_cannot_inflate_agreement(make: Make, sim: Sim) -> None:
    sim.set("llama-3.1-8b", status=401)
    sim.set("claude-haiku-4-5", status=401)
    members = ["openai/gpt-4o", "groq/llama-3.1-8b", "anthropic/claude-haiku-4-5"]
    models = make(tiers={"sure": {"strategy": "consensus", "models": members, "on_insufficient": "best"}})
    result = await models.generate_text("tier:sure", prompt=CAPITAL)
    assert result.consensus is not None
    assert result.consensus.agreement == pytest.approx(1 / 3)
    assert not result.consensus.quorum_met
    with pytest.raises(PodiumError, match="min_answers"):
        await make(tiers={"sure": {"strategy": "consensus", "models": members}}).generate_text("tier:sure", prompt=CAPITAL)
