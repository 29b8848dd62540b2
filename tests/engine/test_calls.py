"""What a call gives: the answer, who gave it, why, and what was tried."""

import asyncio
import uuid

import pytest

from making import Make
from podium import AllTargetsFailed, ProviderError, SpecError, Tool, generate_text, stream_text
from podium.engine.slots import QUEUE_SIZE
from podium.errors import AuthFailed, InvalidRequest, PodiumError, RateLimited, Throttled, TimedOut
from podium.sim import Sim
from podium.types import Message, Text, ToolResult
from waiting import until

CAPITAL = "What is the capital of France?"
WEATHER = Tool(
    name="get_weather",
    description="Get the weather of a city",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


@pytest.mark.parametrize("spec", ["openai/gpt-4o", "anthropic/claude-haiku-4-5", "local/llama3.3:70b"])
async def test_a_result_says_what_was_answered_by_whom_and_at_what_price_in_tokens(make: Make, spec: str) -> None:
    models = make()
    result = await models.generate_text(spec, prompt=CAPITAL)
    assert result.text == "Paris"
    assert str(result.target) == spec
    assert result.finish_reason == "stop"
    assert result.usage is not None
    assert result.usage.total_input > 0
    assert result.usage.total_output > 0
    (attempt,) = result.attempts
    assert (attempt.number, attempt.outcome, attempt.usage) == (1, "won", result.usage)
    assert 0 < attempt.duration_s <= result.duration_s
    price = models.pricing.get(spec)
    assert price is not None
    assert result.cost_usd == attempt.cost_usd == price.price.cost(result.usage)


@pytest.mark.parametrize("spec", ["openai/gpt-4o", "anthropic/claude-haiku-4-5"])
async def test_a_stream_gives_the_same_as_a_whole_answer(make: Make, spec: str) -> None:
    models = make()
    whole = await models.generate_text(spec, prompt="Tell me about ships.")
    async with models.stream_text(spec, prompt="Tell me about ships.") as stream:
        text = "".join([piece async for piece in stream.text])
        result = await stream.result()
    assert text == result.text == whole.text
    assert result.usage == whole.usage
    assert result.reasons == whole.reasons
    assert result.attempts[0].first_content_s is not None


async def test_explain_gives_the_same_reasons_as_the_call_and_costs_no_request(make: Make, sim: Sim) -> None:
    models = make(
        tiers={"fast": {"strategy": "race", "models": ["openai/gpt-4o-mini", "groq/llama-3.1-8b"]}},
        aliases={"quick": "tier:fast"},
    )
    explained = models.explain("quick", user_id="jane")
    assert sim.stats.requests == 0
    result = await models.generate_text("quick", user_id="jane", prompt=CAPITAL)
    assert result.reasons == explained


async def test_the_request_id_defaults_to_a_fresh_uuid_and_is_kept_where_it_was_given(make: Make) -> None:
    models = make()
    first = await models.generate_text("openai/gpt-4o", prompt=CAPITAL)
    assert str(uuid.UUID(first.request_id)) == first.request_id
    given = await models.generate_text("openai/gpt-4o", prompt=CAPITAL, request_id="mine")
    assert given.request_id == "mine"
    model = models.model("openai/gpt-4o")
    ids = [(await model.generate(prompt=CAPITAL)).request_id for _ in range(2)]
    assert ids[0] == model.request_id != ids[1]


async def test_metadata_comes_back_and_is_never_sent(make: Make, sim: Sim) -> None:
    metadata = {"team": "search", "conversation": "c-1", "tags": ["nightly"]}
    result = await make().generate_text("openai/gpt-4o", prompt=CAPITAL, metadata=metadata)
    assert result.metadata == metadata
    sent = sim.requests[-1].body
    assert sent["model"] == "gpt-4o"
    assert "nightly" not in str(sent)


async def test_tools_go_round_with_openai_and_with_anthropic(make: Make) -> None:
    models = make()
    for spec in ("openai/gpt-4o", "anthropic/claude-haiku-4-5"):
        question = Message(role="user", parts=(Text(text="What is the weather in Oslo?"),))
        first = await models.generate_text(spec, messages=[question], tools=[WEATHER], tool_choice="required")
        assert first.finish_reason in ("tool_calls", "stop")
        (call,) = first.tool_calls
        assert (call.name, list(call.load_arguments())) == ("get_weather", ["city"])
        answered = Message(role="tool", parts=(ToolResult(call_id=call.id, parts=(Text(text="14 degrees"),)),))
        second = await models.generate_text(spec, messages=[question, first.message, answered], tools=[WEATHER])
        assert "14 degrees" in second.text


async def test_a_tool_call_of_one_provider_is_understood_by_another(make: Make) -> None:
    models = make()
    question = Message(role="user", parts=(Text(text="What is the weather in Oslo?"),))
    first = await models.generate_text("openai/gpt-4o", messages=[question], tools=[WEATHER], tool_choice="get_weather")
    result = ToolResult(call_id=first.tool_calls[0].id, parts=(Text(text="14 degrees"),))
    messages = [question, first.message, Message(role="tool", parts=(result,))]
    second = await models.generate_text("anthropic/claude-haiku-4-5", messages=messages, tools=[WEATHER])
    assert "14 degrees" in second.text


async def test_what_a_target_cannot_honour_is_a_loss_or_with_strict_an_error(make: Make) -> None:
    models = make()
    result = await models.generate_text("anthropic/claude-haiku-4-5", prompt=CAPITAL, seed=3)
    (loss,) = result.losses
    assert (loss.setting, loss.target) == ("sampling.seed", "anthropic/claude-haiku-4-5")
    assert result.attempts[0].losses == result.losses
    with pytest.raises(PodiumError, match="seed") as caught:
        await models.generate_text("anthropic/claude-haiku-4-5", prompt=CAPITAL, seed=3, strict=True)
    assert caught.value.code == "unrepresentable"


async def test_the_guides_free_functions_take_a_language_model(make: Make) -> None:
    model = make().model("openai/gpt-4o", user_id="jane")
    assert (await generate_text(model=model, prompt=CAPITAL)).text == "Paris"
    assert "".join([piece async for piece in stream_text(model=model, prompt=CAPITAL).text]) == "Paris"


async def test_a_providers_own_error_keeps_its_words_its_status_and_the_attempts(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", status=400)
    with pytest.raises(InvalidRequest) as caught:
        await make().generate_text("openai/gpt-4o", prompt=CAPITAL)
    error = caught.value
    assert (error.target, error.upstream_status, error.retryable) == ("openai/gpt-4o", 400, False)
    assert [attempt.outcome for attempt in error.attempts] == ["failed"]
    assert sim.stats.requests == 1  # a 400 is never tried again


async def test_a_wrong_key_is_an_auth_failure_that_never_shows_the_key(make: Make, sim: Sim) -> None:
    sim.set_provider("openai", keys=("right",))
    secret = "sk-proj-wrongwrongwrongwrongwrong"
    with pytest.raises(AuthFailed) as caught:
        await make(providers={"openai": {"api_key": secret}}).generate_text("openai/gpt-4o", prompt=CAPITAL)
    assert secret not in str(caught.value) + repr(caught.value) + repr(caught.value.to_dict()) + repr(caught.value.attempts)


async def test_a_retryable_error_of_the_only_target_is_tried_again(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", status=503)
    with pytest.raises(ProviderError) as caught:
        await make(tiers={"one": {"strategy": "first", "models": ["openai/gpt-4o"], "retries": 1}}).generate_text(
            "tier:one", prompt=CAPITAL
        )
    assert len(caught.value.attempts) == 2
    assert sim.stats.requests == 2


async def test_retry_after_is_waited_for_and_too_long_a_wait_is_an_error_that_says_so(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", status=429, retry_after_s=30.0)
    models = make()
    with pytest.raises(Throttled) as caught:
        await models.generate_text("openai/gpt-4o", prompt=CAPITAL, timeout="2s")
    assert caught.value.retry_after_s == pytest.approx(30, abs=1)
    assert sim.stats.requests == 1
    # The next call knows: it does not even ask.
    with pytest.raises(Throttled, match="asked to be left alone"):
        await models.generate_text("openai/gpt-4o", prompt=CAPITAL, timeout="2s")
    assert sim.stats.requests == 1


async def test_the_whole_time_is_kept_and_its_error_says_how_much_there_was(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", hang=True)
    with pytest.raises(TimedOut, match=r"0\.2 s"):
        await make().generate_text("openai/gpt-4o", prompt=CAPITAL, timeout="200ms")
    stats = await sim.idle()
    assert stats.cancelled == 1


async def test_a_providers_timeout_holds_where_nothing_nearer_says_otherwise(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", hang=True)
    models = make(
        providers={"openai": {"timeout": "150ms"}},
        tiers={"safe": {"strategy": "fallback", "models": ["openai/gpt-4o", "groq/x"]}},
    )
    result = await models.generate_text("tier:safe", prompt=CAPITAL)
    assert [attempt.outcome for attempt in result.attempts] == ["failed", "won"]
    assert result.attempts[0].error_code == "timed_out"


async def test_a_spec_that_means_nothing_fails_when_it_is_written_not_when_it_is_sent(make: Make, sim: Sim) -> None:
    models = make(tiers={"fast": {"strategy": "first", "models": ["openai/gpt-4o"]}})
    with pytest.raises(SpecError, match="fast"):
        models.model("tier:fsat")
    assert sim.stats.requests == 0


async def test_keyless_and_disabled_providers_are_skipped_with_a_reason_and_only_an_empty_plan_fails(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    models = make(
        providers={"openai": {"enabled": False}, "groq": {"api_key": None}},
        tiers={
            "fast": {"strategy": "race", "models": ["openai/gpt-4o-mini", "groq/llama-3.1-8b", "anthropic/claude-haiku-4-5"]},
            "none": {"strategy": "first", "models": ["openai/gpt-4o-mini", "groq/llama-3.1-8b"]},
        },
    )
    result = await models.generate_text("tier:fast", prompt=CAPITAL)
    assert str(result.target) == "anthropic/claude-haiku-4-5"
    assert {each.name: each.why for each in result.reasons.skipped}.keys() == {"openai/gpt-4o-mini", "groq/llama-3.1-8b"}
    with pytest.raises(AllTargetsFailed, match="GROQ_API_KEY"):
        await models.generate_text("tier:none", prompt=CAPITAL)
    assert models.model("tier:none").spec == "tier:none"  # it may be enabled before the call


async def test_max_concurrent_of_a_provider_and_of_a_user_are_kept(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", latency_s=0.05)
    models = make(
        providers={"openai": {"max_concurrent": 2}},
        users={
            "jane": {
                "experiments": {"one": {"strategy": "first", "providers": ["groq/llama-3.1-8b"]}},
                "defaults": {"experiment": "one", "maxConcurrent": 1},
            }
        },
    )
    peak = 0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, sim.stats.in_flight)
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(models.generate_text("openai/gpt-4o", prompt=CAPITAL) for _ in range(6)))
    assert peak == 2
    peak = 0
    sim.set("llama-3.1-8b", latency_s=0.05)
    await asyncio.gather(*(models.generate_text("user:jane", prompt=CAPITAL) for _ in range(4)))
    assert peak == 1
    watching.cancel()
    assert models.statistics()["users"]["jane"] == {"running": 0, "waiting": 0}


async def test_a_full_queue_moves_a_fallback_on_before_anything_is_sent(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", hang=True)
    models = make(
        providers={"openai": {"max_concurrent": 1}},
        tiers={"safe": {"strategy": "fallback", "models": ["openai/gpt-4o", "groq/x"]}},
    )
    waiting = [
        asyncio.create_task(models.generate_text("openai/gpt-4o", pin=True, prompt=CAPITAL)) for _ in range(1 + QUEUE_SIZE)
    ]
    await until(lambda: sim.stats.in_flight)
    assert models.statistics()["providers"]["openai"]["waiting"] == QUEUE_SIZE
    result = await models.generate_text("tier:safe", prompt=CAPITAL)
    assert [(attempt.outcome, attempt.error_code) for attempt in result.attempts] == [("rejected", "queue_full"), ("won", None)]
    with pytest.raises(RateLimited, match="max_concurrent 1"):
        await models.generate_text("openai/gpt-4o", pin=True, prompt=CAPITAL, timeout="200ms")
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
