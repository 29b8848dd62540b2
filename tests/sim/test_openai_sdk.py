"""The official OpenAI SDK reads all that the sim says in OpenAI Chat."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from podium.sim import Sim, SimModel, tokens


@pytest.fixture
async def client(sim: Sim) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=sim.base_url("openai"), api_key="sk-sim", max_retries=0) as made:
        yield made


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Report the current weather of a place",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


async def test_a_question_is_answered(client: AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(model="gpt-4o", messages=user("What is the capital of France?"))
    assert completion.choices[0].message.content == "Paris"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.model == "gpt-4o"
    assert completion.id.startswith("chatcmpl-")
    assert completion.usage is not None
    assert completion.usage.completion_tokens == tokens.count("Paris") == 1
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 1


def test_the_blocking_client_is_served_too() -> None:
    with Sim() as sim, OpenAI(base_url=sim.base_url("openai"), api_key="sk-sim", max_retries=0) as client:
        completion = client.chat.completions.create(model="gpt-4o", messages=user("What is 17 * 23?"))
        streamed = client.chat.completions.create(model="gpt-4o", messages=user("What is 17 * 23?"), stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
        assert sim.wait_idle().finished == 2
    assert completion.choices[0].message.content == text == "391"


async def test_a_stream_says_what_the_whole_answer_says(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="gpt-4o", messages=user("Tell me about tides."))
    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(
            model="gpt-4o", messages=user("Tell me about tides."), stream=True, stream_options={"include_usage": True}
        )
    ]
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert len([text for text in texts if text]) == chunks[-1].usage.completion_tokens  # type: ignore[union-attr]
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_stream_has_no_usage_unless_asked(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="gpt-4o", messages=user("Tell me about tides."), stream=True)
    assert all([chunk.usage is None and len(chunk.choices) == 1 async for chunk in stream])


async def test_the_stream_helper_accumulates_a_completion(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(model="gpt-4o", messages=user("Tell me about tides.")) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_completion()
    whole = await client.chat.completions.create(model="gpt-4o", messages=user("Tell me about tides."))
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert {"chunk", "content.delta", "content.done"} <= set(kinds)


@pytest.mark.parametrize("streamed", [False, True])
async def test_tools_are_called_in_parallel_and_their_results_quoted(client: AsyncOpenAI, streamed: bool) -> None:
    messages = user("What is the weather in Paris and in Oslo?")
    if streamed:
        async with client.chat.completions.stream(model="gpt-4o", messages=messages, tools=[WEATHER]) as stream:
            completion: ChatCompletion = await stream.get_final_completion()
    else:
        completion = await client.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER])
    message = completion.choices[0].message
    assert completion.choices[0].finish_reason == "tool_calls"
    calls: list[Any] = list(message.tool_calls or ())
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "Paris"}, {"city": "Oslo"}]
    assert all(call.id.startswith("call_") for call in calls)
    said = [
        {"id": call.id, "type": "function", "function": call.function.model_dump(include={"name", "arguments"})}
        for call in calls
    ]
    messages.append({"role": "assistant", "tool_calls": said})
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"{number} degrees"} for number, call in enumerate(calls)]
    after = await client.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER])
    assert after.choices[0].message.content == (
        "The get_weather call returned: 0 degrees\nThe get_weather call returned: 1 degrees"
    )


async def test_one_call_is_made_where_parallel_calls_are_off(client: AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(
        model="gpt-4o",
        messages=user("What is the weather in Paris and in Oslo?"),
        tools=[WEATHER],
        parallel_tool_calls=False,
    )
    assert len(completion.choices[0].message.tool_calls or ()) == 1


class City(BaseModel):
    answer: str
    population: int
    rivers: list[str]


async def test_parse_gives_an_object_of_the_schema(client: AsyncOpenAI) -> None:
    messages = user("What is the capital of France?")
    completion = await client.chat.completions.parse(model="gpt-4o", messages=messages, response_format=City)
    parsed = completion.choices[0].message.parsed
    assert parsed is not None
    assert parsed.answer == "Paris"
    async with client.chat.completions.stream(model="gpt-4o", messages=messages, response_format=City) as stream:
        assert (await stream.get_final_completion()).choices[0].message.parsed == parsed


async def test_json_mode_gives_an_object(client: AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(
        model="gpt-4o",
        messages=user("Answer in JSON: what is the capital of Italy?"),
        response_format={"type": "json_object"},
    )
    assert json.loads(completion.choices[0].message.content or "") == {"answer": "Rome"}


async def test_several_choices_are_given_whole_and_streamed(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="gpt-4o", messages=user("Tell me about tides."), n=2)
    texts = ["", ""]
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=user("Tell me about tides."), n=2, stream=True, stream_options={"include_usage": True}
    )
    order = []
    async for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            order.append(choice.index)
        usage = chunk.usage
    assert texts == [choice.message.content for choice in whole.choices]
    assert texts[0] != texts[1]
    assert order.index(1) < len(order) - 1 - order[::-1].index(0), "the choices take turns"
    assert whole.usage == usage
    assert whole.usage is not None
    assert whole.usage.completion_tokens == sum(map(tokens.count, texts))


async def test_the_limit_and_the_stop_sequence_end_an_answer(client: AsyncOpenAI) -> None:
    cut = await client.chat.completions.create(model="gpt-4o", messages=user("Tell me about tides."), max_tokens=5)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage is not None
    assert cut.usage.completion_tokens == 5
    stopped = await client.chat.completions.create(model="gpt-4o", messages=user('Say "one two three".'), stop=["three"])
    assert stopped.choices[0].message.content == "one two "
    assert stopped.choices[0].finish_reason == "stop"


async def test_a_reasoning_model_counts_its_thoughts_and_may_spend_all_on_them(client: AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(
        model="o4-mini", messages=user("What is 17 * 23?"), reasoning_effort="low"
    )
    usage = completion.usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == usage.completion_tokens - 1 > 0
    starved = await client.chat.completions.create(model="o4-mini", messages=user("What is 17 * 23?"), max_completion_tokens=10)
    assert starved.choices[0].finish_reason == "length"
    assert not starved.choices[0].message.content


async def test_a_picture_is_seen(client: AsyncOpenAI) -> None:
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlhAgADAAAAACw="}},
    ]
    completion = await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": content}])  # type: ignore[misc, list-item]
    assert completion.choices[0].message.content == "I was given an image of type image/gif, 14 bytes, 2 by 3 pixels."


async def test_a_refusal_is_read(sim: Sim, client: AsyncOpenAI) -> None:
    sim.set("gpt-4o", refuse=True)
    completion = await client.chat.completions.create(model="gpt-4o", messages=user("Tell me."))
    assert completion.choices[0].message.refusal == "I'm sorry, but I can't help with that."
    async with client.chat.completions.stream(model="gpt-4o", messages=user("Tell me.")) as stream:
        assert (await stream.get_final_completion()).choices[0].message.refusal == completion.choices[0].message.refusal


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (SimModel(status=400), openai.BadRequestError),
        (SimModel(status=401), openai.AuthenticationError),
        (SimModel(status=403), openai.PermissionDeniedError),
        (SimModel(status=404), openai.NotFoundError),
        (SimModel(status=429), openai.RateLimitError),
        (SimModel(status=500), openai.InternalServerError),
        (SimModel(status=503), openai.InternalServerError),
        (SimModel(throttle_rate=1), openai.RateLimitError),
        (SimModel(failure_rate=1), openai.InternalServerError),
        (SimModel(context_tokens=3), openai.BadRequestError),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_of_the_sdks_classes(
    sim: Sim, client: AsyncOpenAI, settings: SimModel, error: type[openai.APIStatusError], stream: bool
) -> None:
    sim.set("gpt-4o", settings)
    with pytest.raises(error) as raised:
        await client.chat.completions.create(model="gpt-4o", messages=user("Tell me about tides."), stream=stream)
    assert raised.value.request_id
    assert isinstance(raised.value.body, dict)
    assert {"message", "type", "param", "code"} == set(raised.value.body)


async def test_models_are_listed_and_others_refused_where_told(sim: Sim, client: AsyncOpenAI) -> None:
    listed = [model.id async for model in client.models.list()]
    assert "gpt-4o" in listed
    assert (await client.models.retrieve("gpt-4o")).id == "gpt-4o"
    await client.chat.completions.create(model="gpt-unheard-of", messages=user("Hello"))
    sim.set_provider("openai", only_listed=True)
    with pytest.raises(openai.NotFoundError, match="The model `gpt-unheard-of` does not exist"):
        await client.chat.completions.create(model="gpt-unheard-of", messages=user("Hello"))


async def test_what_was_sent_can_be_looked_at(sim: Sim, client: AsyncOpenAI) -> None:
    await client.chat.completions.create(model="gpt-4o", messages=user("Hello"), user="jane", temperature=0.5)
    exchange = sim.requests[-1]
    assert exchange.body == {"model": "gpt-4o", "messages": user("Hello"), "user": "jane", "temperature": 0.5}
    assert (exchange.provider, exchange.dialect, exchange.status, exchange.outcome) == (
        "openai",
        "openai_chat",
        200,
        "finished",
    )
    assert sim.stats.by_user == {"jane": 1}
    assert sim.stats.by_model == {"openai/gpt-4o": 1}
    assert "sk-sim" not in str(exchange.to_dict())
