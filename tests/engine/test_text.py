"""The door: what callers may write, and what they are told when it is wrong."""

from typing import Any

import pydantic
import pytest

from podium.engine.text import load_request
from podium.errors import RequestError
from podium.types import Media, Message, Output, Request, Sampling, Text, Thinking, Tool, ToolChoice, ToolResult

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}


def asked(**ask: Any) -> Request:
    return load_request("openai/gpt-4o", {"prompt": "Hello"} | ask, stream=False)


def test_a_prompt_is_one_user_message() -> None:
    request = asked()
    assert request == Request(model="openai/gpt-4o", messages=(Message(role="user", parts=(Text(text="Hello"),)),))


def test_a_prompt_may_have_parts() -> None:
    image = Media(kind="image", url="https://example.com/cat.png")
    assert asked(prompt=["What is this?", image]).messages[0].parts == (Text(text="What is this?"), image)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"role": "user", "content": "Hi"}, Message(role="user", parts=(Text(text="Hi"),))),
        ({"role": "user", "parts": [{"type": "text", "text": "Hi"}]}, Message(role="user", parts=(Text(text="Hi"),))),
        (Message(role="assistant", parts=(Text(text="Hi"),)), Message(role="assistant", parts=(Text(text="Hi"),))),
    ],
)
def test_a_message_may_be_podiums_or_openais(written: Any, message: Message) -> None:
    assert load_request("x", {"messages": [written]}, stream=False).messages == (message,)


def test_openais_tool_turns_are_understood() -> None:
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Weather?"},
                {"type": "image_url", "image_url": {"url": "https://e.com/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "14 degrees"},
    ]
    user, assistant, tool = load_request("x", {"messages": messages}, stream=False).messages
    assert [type(part) for part in user.parts] == [Text, Media]
    assert assistant.parts[0].to_dict()["name"] == "w"
    assert isinstance(tool.parts[0], ToolResult)
    assert tool.parts[0].call_id == "c1"


@pytest.mark.parametrize(
    "tool",
    [
        Tool(name="w", description="Weather", parameters=PARAMETERS),
        {"name": "w", "description": "Weather", "parameters": PARAMETERS},
        {"type": "function", "function": {"name": "w", "description": "Weather", "parameters": PARAMETERS}},
    ],
)
def test_a_tool_may_be_podiums_or_openais(tool: Any) -> None:
    (loaded,) = asked(tools=[tool], tool_choice="w").tools
    assert isinstance(loaded, Tool)
    assert (loaded.name, loaded.description, loaded.parameters) == ("w", "Weather", PARAMETERS)


def test_settings_go_where_they_belong() -> None:
    class City(pydantic.BaseModel):
        name: str

    request = asked(
        system="Be brief.", temperature=0.2, max_tokens=50, stop="END", thinking="high", output=City, parallel_tool_calls=False,
        metadata={"team": "a"}, extra={"openai_chat": {"verbosity": "low"}}, strict=True,
    )  # fmt: skip
    assert request.system == (Text(text="Be brief."),)
    assert request.sampling == Sampling(temperature=0.2, max_tokens=50, stop=("END",))
    assert request.thinking == Thinking(effort="high")
    assert request.output == Output(kind="json_schema", schema=City.model_json_schema(), name="City")
    assert request.tool_choice == ToolChoice(parallel=False)
    assert (request.metadata, request.strict) == ({"team": "a"}, True)
    assert request.extra == {"openai_chat": {"verbosity": "low"}}


@pytest.mark.parametrize(
    ("ask", "param", "words"),
    [
        ({"prompt": None}, "prompt", "one of `prompt` and `messages`"),
        ({"messages": [{"role": "user", "content": "x"}]}, "prompt", "not both"),
        ({"temprature": 1}, "temprature", "Did you mean `temperature`"),
        ({"temperature": "hot"}, "temperature", "`temperature` is a string. Give a number."),
        ({"temperature": float("nan")}, "temperature", "finite"),
        ({"prompt": 3}, "prompt", "prompt"),
        ({"prompt": None, "messages": "hello"}, "messages", "list of messages"),
        ({"prompt": None, "messages": []}, "messages", "empty"),
        ({"prompt": None, "messages": [3]}, "messages[0]", "Message"),
        ({"prompt": None, "messages": [{"role": "king", "content": "x"}]}, "messages[0]", "king"),
        ({"prompt": None, "messages": [{"role": 3, "parts": []}]}, "messages[0]", "role"),
        ({"prompt": None, "messages": [{"role": "user", "content": object()}]}, "messages[0]", "JSON"),
        ({"tools": [3]}, "tools[0]", "Tool"),
        ({"tools": [{"name": 3}]}, "tools[0].name", "`tools[0].name` is an int"),
        ({"tools": [{"description": "x"}]}, "tools[0].name", "is missing"),
        ({"tools": {"name": "w"}}, "tools", "a list of tools"),
        ({"tools": [Tool(name="a"), Tool(name=3)]}, "tools[1].name", "`tools[1].name` is an int"),  # type: ignore[arg-type]
        ({"tools": [Tool(name="a"), {"type": "function", "function": {}}]}, "tools[1]", "`tools[1].function.name`"),
        ({"parallel_tool_calls": "yes"}, "parallel_tool_calls", "True or False"),
        ({"prompt": []}, "prompt", "empty"),
        ({"prompt": ["a", {"type": "img"}]}, "prompt[1].type", "'img'"),
        ({"prompt": [Text(text=5)]}, "prompt[0].text", "`prompt[0].text` is an int. Give text."),  # type: ignore[arg-type]
        ({"prompt": [Media(kind="image")]}, "prompt[0]", "has nothing in it"),
        ({"prompt": [Media(kind="image", data="YQ==", url="https://e.com")]}, "prompt[0]", "both `data` and `url`"),
        ({"prompt": [Media(kind="image", data=b"a")]}, "prompt[0].data", "is of the type bytes"),  # type: ignore[arg-type]
        ({"prompt": None, "messages": [{"role": "user"}]}, "messages[0].content", "is missing"),
        ({"prompt": None, "messages": [{"role": "user", "parts": "x"}]}, "messages[0].parts", "is a string. Give a list"),
        (
            {"prompt": None, "messages": [{"role": "user", "parts": [{"type": "txt"}]}]},
            "messages[0].parts[0].type",
            "Parts are",
        ),
        ({"prompt": None, "messages": [{"role": "user", "text": "x", "parts": []}]}, "messages[0].text", "has no field `text`"),
        (
            {"prompt": None, "messages": [{"role": "user", "content": "x"}, {"role": "king", "content": "x"}]},
            "messages[1].role",
            "`messages[1].role` is 'king'",
        ),
        ({"output": "jsn"}, "output", "'jsn'"),
        ({"thinking": -5}, "thinking", "counts tokens from 0"),
        ({"strict": "no"}, "strict", "True or False"),
        ({"extra": "verbosity"}, "extra", "a dict of dialects"),
        ({"extra": {"verbosity": "low"}}, "extra", "no dialect"),
        ({"extra": {"openai": {"verbosity": "low"}}}, "extra", "openai_chat"),
        ({"stream": True}, "stream", "call `stream_text`"),
        ({"model": "tier:fast"}, "model", "the first argument"),
        ({"userId": "jane"}, "userId", "Did you mean `user_id`?"),
        ({"maxTokens": 5}, "maxTokens", "Did you mean `max_tokens`?"),
        ({"tools": [Tool(name="w")], "tool_choice": "nothing"}, "tool_choice", "not among the tools"),
        ({"tools": [Tool(name="w")], "tool_choice": 3}, "tool_choice", "auto"),
        ({"tool_choice": "required"}, "tool_choice", "without `tools`"),
        ({"output": 3}, "output", "JSON Schema"),
        ({"thinking": 3.5}, "thinking", "effort"),
        ({"system": 3}, "system", "string"),
        ({"metadata": "x"}, "metadata", "a dict"),
        ({"metadata": {"team": 3}}, "metadata.team", "a string"),
        ({"metadata": {"tags": "nightly"}}, "metadata.tags", "list of strings"),
        ({"stop": [3]}, "stop[0]", "`stop[0]` is an int. Give text."),
    ],
)
def test_a_slip_names_its_place_and_the_remedy(ask: dict[str, Any], param: str | None, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        asked(**ask)
    assert words in str(caught.value)
    if param is not None:
        assert (caught.value.param or "").startswith(param)


def test_a_list_of_parts_and_openais_choice_of_a_tool_are_taken() -> None:
    message: Any = Message(role="user", parts=[Text(text="Hi")])  # type: ignore[arg-type]
    assert load_request("x", {"messages": [message]}, stream=False).messages[0].parts == (Text(text="Hi"),)
    choice = {"type": "function", "function": {"name": "w"}}
    assert asked(tools=[Tool(name="w")], tool_choice=choice).tool_choice == ToolChoice(mode="tool", name="w")


def test_a_role_that_is_none_is_refused_even_by_the_type_itself() -> None:
    with pytest.raises(RequestError, match="role"):
        Message(role=3, parts=())  # type: ignore[arg-type]
