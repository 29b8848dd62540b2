"""The official Anthropic SDK reads all that the sim says in Anthropic Messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from pydantic import BaseModel

from podium.sim import Sim, SimModel, tokens

MODEL = "claude-haiku-4-5"


@pytest.fixture
async def client(sim: Sim) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=sim.base_url("anthropic"), api_key="sk-ant-sim", max_retries=0) as made:
        yield made


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


WEATHER: Any = {
    "name": "get_weather",
    "description": "Report the current weather of a place",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}


async def test_a_question_is_answered(client: AsyncAnthropic) -> None:
    message = await client.messages.create(model=MODEL, max_tokens=100, messages=user("What is the capital of France?"))
    assert [(block.type, getattr(block, "text", "")) for block in message.content] == [("text", "Paris")]
    assert (message.stop_reason, message.stop_sequence, message.model) == ("end_turn", None, MODEL)
    assert message.id.startswith("msg_")
    assert message.usage.output_tokens == 1
    assert message.usage.input_tokens == tokens.count("What is the capital of France?") + tokens.PER_MESSAGE


def test_the_blocking_client_is_served_too() -> None:
    with Sim() as sim, Anthropic(base_url=sim.base_url("anthropic"), api_key="sk-ant-sim", max_retries=0) as client:
        with client.messages.stream(model=MODEL, max_tokens=100, messages=user("What is 17 * 23?")) as stream:
            text = "".join(stream.text_stream)
        assert sim.wait_idle().streams_finished == 1
    assert text == "391"


async def test_a_stream_accumulates_to_the_whole_answer(client: AsyncAnthropic) -> None:
    whole = await client.messages.create(model=MODEL, max_tokens=500, messages=user("Tell me about tides."))
    async with client.messages.stream(model=MODEL, max_tokens=500, messages=user("Tell me about tides.")) as stream:
        pieces = [text async for text in stream.text_stream]
        final = await stream.get_final_message()
    assert "".join(pieces) == whole.content[0].text  # type: ignore[union-attr]
    assert final.content[0].text == "".join(pieces)  # type: ignore[union-attr]
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens == len(pieces)
    assert final.usage.input_tokens == whole.usage.input_tokens


async def test_the_raw_events_are_in_the_vendors_order_and_begin_with_the_input_count(client: AsyncAnthropic) -> None:
    stream = await client.messages.create(model=MODEL, max_tokens=500, messages=user("What is 17 * 23?"), stream=True)
    events: list[Any] = [event async for event in stream]
    kinds = [event.type for event in events if event.type != "ping"]
    assert kinds == [
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    assert events[0].message.usage.input_tokens > 0


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("thinks", [False, True])
async def test_tools_are_called_in_parallel_and_their_results_quoted(
    client: AsyncAnthropic, streamed: bool, thinks: bool
) -> None:
    messages = user("What is the weather in Paris and in Oslo?")
    settings: dict[str, Any] = {"model": MODEL, "max_tokens": 2048, "tools": [WEATHER]}
    if thinks:
        settings["thinking"] = THINKING
    if streamed:
        async with client.messages.stream(messages=messages, **settings) as stream:
            message: Any = await stream.get_final_message()
    else:
        message = await client.messages.create(messages=messages, **settings)
    calls = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == "tool_use"
    assert message.content[0].type == ("thinking" if thinks else "tool_use")
    assert [call.input for call in calls] == [{"city": "Paris"}, {"city": "Oslo"}]
    # The thoughts go back with their signatures, which the sim checks.
    messages.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]})
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"{call.input['city']}: 7 degrees"} for call in calls]
    messages.append({"role": "user", "content": results})
    after: Any = await client.messages.create(messages=messages, **settings)
    assert after.content[-1].text == (
        "The get_weather call returned: Paris: 7 degrees\nThe get_weather call returned: Oslo: 7 degrees"
    )


async def test_one_call_is_made_where_parallel_calls_are_off(client: AsyncAnthropic) -> None:
    message = await client.messages.create(
        model=MODEL,
        max_tokens=500,
        messages=user("What is the weather in Paris and in Oslo?"),
        tools=[WEATHER],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    )
    assert [block.type for block in message.content] == ["tool_use"]


async def test_a_tool_call_that_is_cut_has_an_empty_input(client: AsyncAnthropic) -> None:
    message: Any = await client.messages.create(
        model=MODEL, max_tokens=6, messages=user("What is the weather in Paris?"), tools=[WEATHER]
    )
    assert (message.stop_reason, message.usage.output_tokens, message.content[0].input) == ("max_tokens", 6, {})


async def test_thoughts_are_streamed_and_signed(client: AsyncAnthropic) -> None:
    settings: Any = {"model": MODEL, "max_tokens": 2048, "thinking": THINKING, "messages": user("Tell me about tides.")}
    whole: Any = await client.messages.create(**settings)
    async with client.messages.stream(**settings) as stream:
        final: Any = await stream.get_final_message()
    assert [block.type for block in whole.content] == ["thinking", "text"]
    assert final.content[0].thinking == whole.content[0].thinking
    assert final.content[0].signature == whole.content[0].signature
    assert whole.usage.output_tokens == tokens.count(whole.content[0].thinking) + tokens.count(whole.content[1].text)
    assert final.usage.output_tokens == whole.usage.output_tokens


async def test_thoughts_may_be_left_out(client: AsyncAnthropic) -> None:
    message: Any = await client.messages.create(
        model=MODEL,
        max_tokens=2048,
        thinking={"type": "adaptive", "display": "omitted"},
        messages=user("Tell me about tides."),
    )
    assert (message.content[0].type, message.content[0].thinking) == ("thinking", "")
    assert message.content[0].signature
    assert message.usage.output_tokens > tokens.count(message.content[1].text)


class City(BaseModel):
    answer: str
    population: int


async def test_parse_gives_an_object_of_the_schema(client: AsyncAnthropic) -> None:
    parsed = await client.messages.parse(
        model=MODEL, max_tokens=500, messages=user("What is the capital of France?"), output_format=City
    )
    assert parsed.parsed_output is not None
    assert parsed.parsed_output.answer == "Paris"


async def test_the_limit_and_the_stop_sequence_end_an_answer(client: AsyncAnthropic) -> None:
    cut = await client.messages.create(model=MODEL, max_tokens=5, messages=user("Tell me about tides."))
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 5)
    stopped: Any = await client.messages.create(
        model=MODEL, max_tokens=500, messages=user('Say "one two three".'), stop_sequences=["three"]
    )
    assert (stopped.stop_reason, stopped.stop_sequence, stopped.content[0].text) == ("stop_sequence", "three", "one two ")
    async with client.messages.stream(
        model=MODEL, max_tokens=500, messages=user('Say "one two three".'), stop_sequences=["three"]
    ) as stream:
        assert (await stream.get_final_message()).stop_sequence == "three"


async def test_a_picture_is_seen(client: AsyncAnthropic) -> None:
    source: Any = {"type": "base64", "media_type": "image/gif", "data": "R0lGODlhAgADAAAAACw="}
    message: Any = await client.messages.create(
        model=MODEL,
        max_tokens=500,
        messages=[{"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "This?"}]}],
    )
    assert message.content[0].text == "I was given an image of type image/gif, 14 bytes, 2 by 3 pixels."


async def test_a_refusal_is_read(sim: Sim, client: AsyncAnthropic) -> None:
    sim.set(MODEL, refuse=True)
    message = await client.messages.create(model=MODEL, max_tokens=500, messages=user("Tell me."))
    assert message.stop_reason == "refusal"


async def test_tokens_are_counted_as_they_are_charged(client: AsyncAnthropic) -> None:
    counted = await client.messages.count_tokens(model=MODEL, messages=user("Tell me about tides."), system="Be brief.")
    message = await client.messages.create(
        model=MODEL, max_tokens=500, messages=user("Tell me about tides."), system="Be brief."
    )
    assert counted.input_tokens == message.usage.input_tokens


@pytest.mark.parametrize(
    ("settings", "error", "kind"),
    [
        (SimModel(status=400), anthropic.BadRequestError, "invalid_request_error"),
        (SimModel(status=401), anthropic.AuthenticationError, "authentication_error"),
        (SimModel(status=403), anthropic.PermissionDeniedError, "permission_error"),
        (SimModel(status=404), anthropic.NotFoundError, "not_found_error"),
        (SimModel(status=429), anthropic.RateLimitError, "rate_limit_error"),
        (SimModel(status=500), anthropic.InternalServerError, "api_error"),
        (SimModel(status=529), anthropic.InternalServerError, "overloaded_error"),
        (SimModel(context_tokens=3), anthropic.BadRequestError, "invalid_request_error"),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_of_the_sdks_classes(
    sim: Sim, client: AsyncAnthropic, settings: SimModel, error: type[anthropic.APIStatusError], kind: str, stream: bool
) -> None:
    sim.set(MODEL, settings)
    with pytest.raises(error) as raised:
        await client.messages.create(model=MODEL, max_tokens=9, messages=user("Tell me about tides."), stream=stream)
    assert raised.value.request_id
    body: Any = raised.value.body
    assert (body["type"], body["error"]["type"]) == ("error", kind)


async def test_models_are_listed_and_others_refused_where_told(sim: Sim, client: AsyncAnthropic) -> None:
    assert MODEL in [model.id async for model in client.models.list()]
    assert (await client.models.retrieve(MODEL)).id == MODEL
    sim.set_provider("anthropic", only_listed=True)
    with pytest.raises(anthropic.NotFoundError, match="model: claude-unheard-of"):
        await client.messages.create(model="claude-unheard-of", max_tokens=9, messages=user("Hello"))


async def test_an_overload_in_mid_stream_is_raised(sim: Sim, client: AsyncAnthropic) -> None:
    sim.set(MODEL, error_after=3)
    got: list[str] = []

    async def listen() -> None:
        async with client.messages.stream(model=MODEL, max_tokens=500, messages=user("Tell me about tides.")) as stream:
            async for text in stream.text_stream:
                got.append(text)  # noqa: PERF401 - a comprehension would lose what came before the error

    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        await listen()
    assert len(got) == 3
