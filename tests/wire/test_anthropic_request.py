"""Requests in Anthropic's dialect: as it says them itself, and from what other dialects and callers say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from podium.errors import RequestError, UnrepresentableError
from podium.types import (
    Media,
    Message,
    Opaque,
    Output,
    Profile,
    Reasoning,
    Refusal,
    Request,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from podium.wire.anthropic import CODEC

HELLO: dict[str, Any] = {"model": "claude", "max_tokens": 10, "messages": [{"role": "user", "content": "Hello"}]}
CACHE = {"type": "ephemeral", "ttl": "1h"}


def _user(*blocks: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


SAID: dict[str, dict[str, Any]] = {
    "a string as content": {},
    "an empty string as content": {"messages": [{"role": "user", "content": ""}]},
    "an empty list as content": {"messages": [{"role": "user", "content": []}]},
    "no messages": {"messages": []},
    "an unknown key of a message": {"messages": [{"role": "user", "content": "a", "name": "x", "$name": 1}]},
    "a system string": {"system": "Be brief."},
    "an empty system string": {"system": ""},
    "an empty system list": {"system": []},
    "null for the system": {"system": None},
    "system blocks with a cache mark": {"system": [{"type": "text", "text": "Be.", "cache_control": CACHE}, {"type": "x"}]},
    "a top cache mark": {"cache_control": CACHE},
    "stream true": {"stream": True},
    "stream false": {"stream": False},
    "stream null": {"stream": None},
    "two messages of one role": {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
    "a system message inside": {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "system", "content": [{"type": "text", "text": "b", "cache_control": CACHE}]},
            {"role": "assistant", "content": "c"},
            {"role": "system", "content": "d"},
        ]
    },
    "a system message first": {"messages": [{"role": "system", "content": "b"}, {"role": "user", "content": "a"}]},
    "an empty text block": _user({"type": "text", "text": ""}, {"type": "text", "text": " "}),
    "text with citations": {
        "messages": [
            {"role": "assistant", "content": [{"type": "text", "text": "a", "citations": [{"type": "char_location"}]}]}
        ]
    },
    "text with null citations": _user({"type": "text", "text": "a", "citations": None}),
    "documents": _user(
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}, "title": None},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}, "context": "c", "title": "t"},
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "a"},
            "citations": {"enabled": True},
        },
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}, "cache_control": CACHE},
        {"type": "document", "source": {"type": "content", "content": "a"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "document", "source": {"type": "base64", "media_type": "text/html", "data": "JVBE"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/markdown", "data": "a", "more": 1}},
    ),
    "images": _user(
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}, "cache_control": CACHE},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "image", "source": {"type": "url", "url": "data:image/png;base64,iVBO"}},
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}, "title": "t"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "iVBO"}},
        {"type": "image", "source": {"type": "new"}},
    ),
    "blocks of Anthropic's own": _user(
        {"type": "search_result", "source": "s", "title": "t", "content": []}, {"type": "new", "$a": 1}
    ),
    "results, then text": _user(
        {"type": "tool_result", "tool_use_id": "a", "content": "1"},
        {"type": "tool_result", "tool_use_id": "b"},
        {"type": "text", "text": "c"},
    ),
    "text between results": _user(
        {"type": "text", "text": "c"},
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "1"}], "is_error": True},
        {"type": "text", "text": "d", "cache_control": CACHE},
        {"type": "tool_result", "tool_use_id": "b", "content": [], "is_error": False, "cache_control": CACHE},
    ),
    "results in two messages": {
        "messages": [
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": None, "is_error": None}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "b", "content": ""}]},
            {"role": "user", "content": "go on"},
        ]
    },
    "a result with every block": _user(
        {
            "type": "tool_result",
            "tool_use_id": "a",
            "content": [
                {"type": "text", "text": ""},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                {"type": "tool_reference", "tool_name": "x"},
                {"type": "tool_use", "id": "1", "name": "n", "input": {}},
            ],
        }
    ),
    "calls": {
        "messages": [
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "tool_use",
                        "id": "odd id!",
                        "name": "odd.name",
                        "input": {"a": [1.5, None, {"b": 12345678901234567890}]},
                    },
                    {
                        "type": "tool_use",
                        "id": "a",
                        "name": "n",
                        "input": {},
                        "caller": {"type": "direct"},
                        "cache_control": CACHE,
                    },
                ],
            }
        ]
    },
    "thinking": {
        "messages": [
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "a", "signature": "s"},
                    {"type": "thinking", "thinking": "", "signature": ""},
                    {"type": "thinking", "thinking": "b"},
                    {"type": "redacted_thinking", "data": "d"},
                    {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "q"}},
                    {"type": "text", "text": "t"},
                ],
            }
        ],
        "thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"},
    },
    "thinking with a null budget": {"thinking": {"type": "enabled", "budget_tokens": None}},
    "thinking null": {"thinking": None},
    "thinking off": {"thinking": {"type": "disabled"}},
    "thinking adaptive": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max", "task_budget": {"total": 1}}},
    "thinking of a new type": {"thinking": {"type": "between_tools"}},
    "effort alone": {"output_config": {"effort": "low"}},
    "a format": {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}, "new": 1}, "effort": None}},
    "a new format": {"output_config": {"format": {"type": "xml"}}},
    "an empty output_config": {"output_config": {}},
    "null output_config": {"output_config": None},
    "an old output_format": {"output_format": {"type": "json_schema", "schema": {}}},
    "tools": {
        "tools": [
            {"name": "a", "input_schema": {"type": "object"}},
            {"name": "b.c", "input_schema": {}, "description": "", "type": "custom", "strict": False},
            {
                "name": "c",
                "input_schema": {"type": "object"},
                "description": None,
                "strict": True,
                "cache_control": CACHE,
                "$x": 1,
            },
            {"type": "web_search_20250305", "name": "web_search", "max_uses": None},
            {"type": None, "name": "d", "input_schema": {"type": "object", "$defs": {}}},
        ]
    },
    "no tools": {"tools": []},
    "null tools": {"tools": None},
    "tool choice auto": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    "tool choice any": {"tool_choice": {"type": "any", "disable_parallel_tool_use": False}},
    "tool choice tool": {"tool_choice": {"type": "tool", "name": "b.c", "new": 1}},
    "tool choice none": {"tool_choice": {"type": "none"}},
    "tool choice new": {"tool_choice": {"type": "new"}},
    "tool choice null": {"tool_choice": None},
    "a forced tool beside thinking": {"tool_choice": {"type": "any"}, "thinking": {"type": "enabled", "budget_tokens": 5}},
    "metadata": {"metadata": {"user_id": "u"}},
    "metadata with more": {"metadata": {"user_id": "u", "more": 1}},
    "metadata with null": {"metadata": {"user_id": None}},
    "empty metadata": {"metadata": {}},
    "null metadata": {"metadata": None},
    "sampling beyond its range": {"temperature": 1.7, "top_p": 0, "top_k": 5, "max_tokens": 0, "stop_sequences": [" ", "a"]},
    "sampling null": {"temperature": None, "top_p": None, "top_k": None, "stop_sequences": None, "service_tier": None},
    "no stop sequences": {"stop_sequences": []},
    "a tier": {"service_tier": "standard_only", "inference_geo": "eu", "speed": "fast"},
    "a new tier": {"service_tier": "new"},
    "servers and containers": {
        "mcp_servers": [{"type": "url", "url": "https://example.com", "name": "n"}],
        "container": {"id": "c"},
    },
    "context management": {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
    "betas in the body": {"betas": ["a"], "anthropic_beta": ["b"], "anthropic-beta": "c"},
    "keys like notes": {"$verbatim": 1, "$system": "string", "$stream": True, "$keys": {}, "unknown": {"$deep": None}},
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_what_anthropic_says_is_said_again(said: dict[str, Any]) -> None:
    body = HELLO | said
    dumped = CODEC.dump_request(CODEC.load_request(json.dumps(body).encode()))
    assert json.loads(dumped.body) == body
    assert dumped.losses == ()


WRONG: list[tuple[Any, str | None]] = [
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"messages": {}}, "messages"),
    ({"messages": [1]}, "messages.0"),
    ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    (_user("a"), "messages.0.content.0"),
    (_user({"text": "a"}), "messages.0.content.0.type"),
    (_user({"type": "text", "text": 1}), "messages.0.content.0.text"),
    (_user({"type": "tool_use", "id": "a", "name": "b", "input": "{}"}), "messages.0.content.0.input"),
    (_user({"type": "tool_result", "tool_use_id": 3}), "messages.0.content.0.tool_use_id"),
    (_user({"type": "tool_result", "tool_use_id": "a", "content": 3}), "messages.0.content.0.content"),
    (_user({"type": "tool_result", "tool_use_id": "a", "is_error": 3}), "messages.0.content.0.is_error"),
    (_user({"type": "tool_result", "tool_use_id": "a", "content": [3]}), "messages.0.content.0.content.0"),
    (_user({"type": "image"}), "messages.0.content.0.source"),
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_k": 1.5}, "top_k"),
    ({"stop_sequences": "a"}, "stop_sequences"),
    ({"stop_sequences": [1]}, "stop_sequences"),
    ({"stream": "yes"}, "stream"),
    ({"system": 3}, "system"),
    ({"system": [3]}, "system.0"),
    ({"tools": {}}, "tools"),
    ({"tools": [3]}, "tools.0"),
    ({"tools": [{"input_schema": {}}]}, "tools.0.name"),
    ({"tools": [{"name": "a"}]}, "tools.0.input_schema"),
    ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"tool_choice": {"type": "any", "disable_parallel_tool_use": 1}}, "tool_choice.disable_parallel_tool_use"),
    ({"thinking": "on"}, "thinking"),
    ({"thinking": {}}, "thinking.type"),
    ({"thinking": {"type": "enabled", "budget_tokens": "many"}}, "thinking.budget_tokens"),
    ({"metadata": "u"}, "metadata"),
]


@pytest.mark.parametrize(("said", "param"), WRONG)
def test_a_malformed_request_names_the_faulty_field(said: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        CODEC.load_request(json.dumps(HELLO | said).encode())
    assert caught.value.param == param
    assert param in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"a"', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_a_request_error(body: bytes) -> None:
    with pytest.raises(RequestError):
        CODEC.load_request(body)


# --- What is read ----------------------------------------------------------------------------------------------------


def test_tool_results_are_messages_of_their_own() -> None:
    loaded = CODEC.load_request(json.dumps(HELLO | SAID["results, then text"]).encode())
    assert [message.role for message in loaded.messages] == ["tool", "user"]
    assert [part.call_id for part in loaded.messages[0].parts if isinstance(part, ToolResult)] == ["a", "b"]
    assert loaded.messages[1].text == "c"


def test_settings_are_typed() -> None:
    body = HELLO | {
        "temperature": 0.5,
        "stop_sequences": ["x"],
        "metadata": {"user_id": "u"},
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "service_tier": "auto",
    }
    loaded = CODEC.load_request(json.dumps(body).encode())
    assert loaded.sampling == Sampling(max_tokens=10, temperature=0.5, stop=("x",), user="u", service_tier="auto")
    assert loaded.tool_choice == ToolChoice(mode="required", parallel=False)
    assert loaded.output == Output(kind="json_schema", schema={"type": "object"}, strict=True)
    assert loaded.thinking is not None
    assert (loaded.thinking.enabled, loaded.thinking.budget_tokens, loaded.thinking.effort) == (True, 2000, "low")


def test_media_are_typed() -> None:
    loaded = CODEC.load_request(json.dumps(HELLO | SAID["documents"]).encode())
    pdf, url, text, content, *_ = loaded.messages[0].parts
    assert isinstance(pdf, Media)
    assert (pdf.kind, pdf.media_type, pdf.data) == ("document", "application/pdf", "JVBE")
    assert isinstance(url, Media)
    assert (url.url, url.name) == ("https://example.com/a.pdf", "t")
    assert isinstance(text, Media)
    assert text.text == "a"
    assert isinstance(content, Opaque)


# --- What is written for values of other origin ----------------------------------------------------------------------

ASK = Message(role="user", parts=(Text(text="Hello"),))


def _dump(*messages: Message, profile: Profile | None = None, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    request = Request(model="claude", messages=messages or (ASK,), **fields)
    dumped = CODEC.dump_request(request, profile or Profile())
    body: dict[str, Any] = json.loads(dumped.body)
    return body, [loss.setting for loss in dumped.losses]


def _message(role: Any, *parts: Any) -> Message:
    return Message(role=role, parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def test_the_smallest_request_is_valid() -> None:
    assert _dump() == (
        {"model": "claude", "max_tokens": 4096, "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]},
        [],
    )


def test_leading_instructions_become_system_blocks() -> None:
    body, losses = _dump(_message("system", "A"), _message("developer", "B"), ASK, system=(Text(text="0"),))
    assert [block["text"] for block in body["system"]] == ["0", "A", "B"]
    assert len(body["messages"]) == 1
    assert losses == []


def test_a_cache_mark_stays_with_its_system_block() -> None:
    marked = Text(text="A", extra={"anthropic": {"cache_control": CACHE}})
    body, _ = _dump(_message("system", marked), ASK)
    assert body["system"] == [{"type": "text", "text": "A", "cache_control": CACHE}]


def test_a_later_system_message_is_never_hoisted() -> None:
    body, losses = _dump(ASK, _message("assistant", "Hi"), _message("system", "Be rude."), _message("user", "Again"))
    assert "system" not in body
    assert body["messages"][2]["content"] == [
        {"type": "text", "text": "<system>\nBe rude.\n</system>"},
        {"type": "text", "text": "Again"},
    ]
    assert losses == ["messages[2].role"]
    with pytest.raises(UnrepresentableError):
        _dump(ASK, _message("system", "Be rude."), strict=True)


def test_a_later_system_message_keeps_its_role_where_the_model_takes_it() -> None:
    inline = Profile(inline_system=True)
    body, losses = _dump(ASK, _message("system", "Be rude."), profile=inline)
    assert body["messages"][1] == {"role": "system", "content": [{"type": "text", "text": "Be rude."}]}
    assert losses == []
    body, losses = _dump(
        ASK, _message("system", "A"), _message("developer", "B"), _message("assistant", "C"), ASK, profile=inline
    )
    assert [message["role"] for message in body["messages"]] == ["user", "system", "assistant", "user"]
    assert losses == []
    body, losses = _dump(ASK, _message("system", "Before a user."), ASK, profile=inline)
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert losses == ["messages[1].role"]


def test_instructions_alone_leave_something_to_answer() -> None:
    body, losses = _dump(_message("system", "A"), _message("system", "B"))
    assert [block["text"] for block in body["system"]] == ["A"]
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "<system>\nB\n</system>"}]}]
    assert losses == ["messages[1].role"]


def test_no_message_at_all_is_an_error() -> None:
    with pytest.raises(UnrepresentableError):
        _dump(_message("user", ""))


def test_empty_text_is_left_out_and_text_beside_calls_is_kept() -> None:
    call = ToolCall(id="a", name="f", arguments="")
    body, _ = _dump(ASK, _message("assistant", "", "I call.", call))
    assert body["messages"][1]["content"] == [
        {"type": "text", "text": "I call."},
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
    ]


def test_all_results_of_a_turn_open_one_user_message() -> None:
    calls = (ToolCall(id="a", name="f", arguments="{}"), ToolCall(id="b", name="f", arguments='{"x": 1}'))
    body, losses = _dump(
        ASK,
        _message("assistant", *calls),
        _message("tool", ToolResult(call_id="a", parts=(Text(text="1"),))),
        _message("user", "And now"),
        _message("tool", ToolResult(call_id="b", parts=(), is_error=True)),
    )
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "1"}]},
        {"type": "tool_result", "tool_use_id": "b", "is_error": True},
        {"type": "text", "text": "And now"},
    ]
    assert losses == []


def test_images_stay_inside_tool_results() -> None:
    image = Media(kind="image", media_type="image/png", data="iVBO")
    body, _ = _dump(_message("tool", ToolResult(call_id="a", parts=(image,))))
    assert body["messages"][0]["content"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}
    ]


@pytest.mark.parametrize("arguments", ["{", "[]", "null", '"a"', "{}{}", "NaN"])
def test_arguments_that_are_no_object_are_never_sent_as_one(arguments: str) -> None:
    with pytest.raises(UnrepresentableError) as caught:
        _dump(_message("assistant", ToolCall(id="a", name="f", arguments=arguments)))
    assert caught.value.param == "messages[0].parts[0].arguments"


def test_ids_beyond_anthropics_letters_are_mapped_alike_in_call_and_result() -> None:
    body, _ = _dump(
        _message("assistant", ToolCall(id="call:1/é", name="f"), ToolCall(id="", name="f"), ToolCall(id="call:1/è", name="f")),
        _message("tool", ToolResult(call_id="call:1/é"), ToolResult(call_id=""), ToolResult(call_id="call:1/è")),
    )
    calls = [block["id"] for block in body["messages"][0]["content"]]
    assert calls == [block["tool_use_id"] for block in body["messages"][1]["content"]]
    assert len(set(calls)) == 3
    assert all(each.isascii() and each.replace("_", "").replace("-", "").isalnum() for each in calls)


def test_tool_names_beyond_anthropics_letters_get_aliases_that_lead_back() -> None:
    long = "x" * 200
    request = Request(
        model="claude",
        messages=(_message("assistant", ToolCall(id="a", name="shop.buy")), ASK),
        tools=(Tool(name="shop.buy"), Tool(name=long), Tool(name="plain")),
        tool_choice=ToolChoice(mode="tool", name="shop.buy"),
    )
    dumped = CODEC.dump_request(request)
    body = json.loads(dumped.body)
    first, second, third = (tool["name"] for tool in body["tools"])
    assert dumped.aliases == {first: "shop.buy", second: long}
    assert third == "plain"
    assert len(second) == 128
    assert body["tool_choice"]["name"] == body["messages"][0]["content"][0]["name"] == first


@pytest.mark.parametrize(
    ("part", "source"),
    [
        (Media(kind="image", url="https://example.com/a.png"), {"type": "url", "url": "https://example.com/a.png"}),
        (
            Media(kind="image", url="data:image/png;charset=utf-8;base64,iVBO"),
            {"type": "base64", "media_type": "image/png", "data": "iVBO"},
        ),
        (Media(kind="document", text="a"), {"type": "text", "media_type": "text/plain", "data": "a"}),
        (
            Media(kind="document", media_type="text/csv", data="YSxi"),
            {"type": "text", "media_type": "text/plain", "data": "a,b"},
        ),
        (
            Media(kind="document", media_type="application/pdf", data="JVBE"),
            {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
        ),
        (Media(kind="document", file_id="file_1"), {"type": "file", "file_id": "file_1"}),
    ],
)
def test_media_become_sources(part: Media, source: dict[str, str]) -> None:
    body, _ = _dump(_message("user", part))
    assert body["messages"][0]["content"] == [{"type": part.kind, "source": source}]


@pytest.mark.parametrize(
    "part",
    [
        Media(kind="audio", media_type="audio/wav", data="AAAA"),
        Media(kind="video", url="https://example.com/a.mp4"),
        Media(kind="image", media_type="image/bmp", data="AAAA"),
        Media(kind="image", data="AAAA"),
        Media(kind="document", media_type="application/msword", data="AAAA"),
        Media(kind="document", media_type="text/plain", data="/w=="),
        Opaque(dialect="openai_responses", data={"type": "web_search_call"}),
    ],
)
def test_content_that_anthropic_cannot_read_is_an_error(part: Any) -> None:
    with pytest.raises(UnrepresentableError) as caught:
        _dump(_message("user", part))
    assert caught.value.param == "messages[0].parts[0]"


def test_only_anthropics_own_reasoning_goes_back() -> None:
    own = Reasoning(text="a", extra={"anthropic": {"signature": "s"}})
    foreign = Reasoning(text="b", extra={"openai_chat": {"reasoning_details": []}})
    body, losses = _dump(ASK, _message("assistant", foreign, own, Reasoning(text="c"), Refusal(text="No.")))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "a", "signature": "s"},
        {"type": "text", "text": "No."},
    ]
    assert losses == ["messages[1].parts[0]", "messages[1].parts[2]"]


def test_what_another_dialect_says_without_asking_for_anything_is_no_loss() -> None:
    said = {"openai_chat": {"stream": False, "tools": [], "name": None, "stream_options": {"include_usage": True}}}
    assert _dump(extra=said, strict=True)[1] == []


def test_a_cache_mark_in_another_dialect_is_anthropics_own() -> None:
    marked = {"openai_chat": {"cache_control": CACHE}}
    body, losses = _dump(
        _message("user", Text(text="a", extra=marked)),
        system=(Text(text="b", extra=marked),),
        tools=(Tool(name="f", extra=marked),),
    )
    assert body["messages"][0]["content"][0]["cache_control"] == CACHE
    assert body["system"][0]["cache_control"] == CACHE
    assert body["tools"][0]["cache_control"] == CACHE
    assert losses == []


def test_a_models_own_turn_may_come_from_anywhere() -> None:
    part = Text(text="a", extra={"openai_chat": {"annotations": []}})
    message = Message(role="assistant", parts=(part,), extra={"openai_chat": {"odd": 1}})
    assert _dump(ASK, message, ASK, strict=True)[1] == []


def test_an_empty_text_of_an_answer_is_not_sent_back() -> None:
    empty = Text(text="", extra={"anthropic": {"$empty": True}})
    body, _ = _dump(ASK, _message("assistant", empty, "Hi"), ASK)
    assert body["messages"][1]["content"] == [{"type": "text", "text": "Hi"}]


def test_white_space_at_the_end_of_a_prefill_is_trimmed_with_a_loss() -> None:
    body, losses = _dump(ASK, _message("assistant", "```python\n"))
    assert body["messages"][1]["content"] == [{"type": "text", "text": "```python"}]
    assert losses == ["messages[-1]"]
    body, losses = _dump(ASK, _message("assistant", " \n"))
    assert len(body["messages"]) == 1
    assert _dump(ASK, _message("assistant", "a "), ASK)[1] == []


def test_blocks_that_a_caller_wrote_oddly_are_sent_as_they_are() -> None:
    odd = Opaque(dialect="anthropic", data={"no": "type"})
    body, _ = _dump(_message("user", odd, ToolResult(call_id="a")))
    assert [block.get("type") for block in body["messages"][0]["content"]] == ["tool_result", None]


def test_what_only_another_dialect_knows_is_a_loss() -> None:
    named = Message(role="user", parts=(Text(text="a"),), extra={"openai_chat": {"name": "bob", "$note": 1}})
    _, losses = _dump(named, extra={"openai_chat": {"store": True, "$note": 1}})
    assert losses == ["store", "messages[0].name"]


# --- Settings of other origin ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampling", "said", "lost"),
    [
        (Sampling(temperature=1.5), {"temperature": 1.0}, ["sampling.temperature"]),
        (Sampling(temperature=0.2, top_p=0.5, top_k=3), {"temperature": 0.2, "top_p": 0.5, "top_k": 3}, []),
        (Sampling(stop=("a", " \n", "b")), {"stop_sequences": ["a", "b"]}, ["sampling.stop"]),
        (Sampling(stop=(" ",)), {}, ["sampling.stop"]),
        (Sampling(seed=0), {}, ["sampling.seed"]),
        (Sampling(frequency_penalty=0.5, presence_penalty=0.0), {}, ["sampling.frequency_penalty"]),
        (Sampling(logit_bias={"1": 1.0}), {}, ["sampling.logit_bias"]),
        (Sampling(logprobs=False, n=1), {}, []),
        (Sampling(user="u"), {"metadata": {"user_id": "u"}}, []),
        (Sampling(service_tier="default"), {"service_tier": "standard_only"}, []),
        (Sampling(service_tier="flex"), {}, ["sampling.service_tier"]),
    ],
)
def test_settings_are_said_or_lost(sampling: Sampling, said: dict[str, Any], lost: list[str]) -> None:
    body, losses = _dump(sampling=sampling)
    assert {key: value for key, value in body.items() if key not in ("model", "messages", "max_tokens")} == said
    assert losses == lost
    if lost:
        with pytest.raises(UnrepresentableError) as caught:
            _dump(sampling=sampling, strict=True)
        assert caught.value.param == lost[0]


@pytest.mark.parametrize(("sampling", "param"), [(Sampling(n=2), "n"), (Sampling(logprobs=True), "logprobs")])
def test_several_answers_and_logprobs_are_always_errors(sampling: Sampling, param: str) -> None:
    with pytest.raises(UnrepresentableError) as caught:
        _dump(sampling=sampling)
    assert caught.value.param == param


def test_what_a_model_refuses_is_lost_even_within_the_dialect() -> None:
    refuses = Profile(refuses=frozenset({"temperature", "top_k", "stop"}))
    body = HELLO | {"temperature": 1.0, "top_k": 1, "stop_sequences": ["a"], "top_p": 0.5}
    dumped = CODEC.dump_request(CODEC.load_request(json.dumps(body).encode()), refuses)
    assert json.loads(dumped.body) == HELLO | {"top_p": 0.5}
    assert [loss.setting for loss in dumped.losses] == ["sampling.temperature", "sampling.top_k", "sampling.stop"]


def test_a_model_may_take_temperature_or_top_p_but_not_both() -> None:
    either = Profile(refuses=frozenset({"temperature+top_p"}))
    body, losses = _dump(sampling=Sampling(temperature=0.5, top_p=0.5), profile=either)
    assert "top_p" not in body
    assert losses == ["sampling.top_p"]
    assert _dump(sampling=Sampling(top_p=0.5), profile=either)[1] == []


@pytest.mark.parametrize(
    ("fields", "profile", "limit", "lost"),
    [
        ({}, Profile(), 4096, []),
        ({}, Profile(max_output=64000), 64000, []),
        ({"sampling": Sampling(max_tokens=5)}, Profile(max_output=64000), 5, []),
        ({"sampling": Sampling(max_tokens=99999)}, Profile(max_output=64000), 64000, ["sampling.max_tokens"]),
        ({"thinking": Thinking(effort="high")}, Profile(), 4096 + 16384, []),
        ({"thinking": Thinking(effort="high")}, Profile(max_output=8192), 8192, []),
        ({"thinking": Thinking(budget_tokens=9000)}, Profile(max_output=8192), 8192, ["thinking.budget_tokens"]),
    ],
)
def test_max_tokens_is_always_there(fields: dict[str, Any], profile: Profile, limit: int, lost: list[str]) -> None:
    body, losses = _dump(profile=profile, **fields)
    assert body["max_tokens"] == limit
    assert losses == lost


BUDGET, ADAPTIVE = Profile(thinking="budget"), Profile(thinking="adaptive", efforts=("low", "medium", "high", "max"))


@pytest.mark.parametrize(
    ("thinking", "limit", "profile", "said", "effort", "lost"),
    [
        (Thinking(effort="low"), None, BUDGET, {"type": "enabled", "budget_tokens": 2048}, None, []),
        (Thinking(effort="high"), 8000, BUDGET, {"type": "enabled", "budget_tokens": 4000}, None, []),
        (Thinking(effort="low"), 1025, BUDGET, {"type": "enabled", "budget_tokens": 1024}, None, []),
        (Thinking(effort="low"), 1024, BUDGET, None, None, ["thinking"]),
        (Thinking(budget_tokens=5), None, BUDGET, {"type": "enabled", "budget_tokens": 1024}, None, ["thinking.budget_tokens"]),
        (
            Thinking(budget_tokens=9000),
            9000,
            BUDGET,
            {"type": "enabled", "budget_tokens": 8999},
            None,
            ["thinking.budget_tokens"],
        ),
        (Thinking(enabled=True), None, BUDGET, {"type": "enabled", "budget_tokens": 8192}, None, []),
        (Thinking(effort="odd"), None, BUDGET, {"type": "enabled", "budget_tokens": 8192}, None, ["thinking.effort"]),
        (Thinking(effort="none"), None, BUDGET, {"type": "disabled"}, None, []),
        (Thinking(enabled=False), None, ADAPTIVE, {"type": "disabled"}, None, []),
        (Thinking(), None, ADAPTIVE, None, None, []),
        (Thinking(enabled=True), None, ADAPTIVE, {"type": "adaptive"}, None, []),
        (Thinking(effort="high"), None, ADAPTIVE, {"type": "adaptive"}, "high", []),
        (Thinking(effort="minimal"), None, ADAPTIVE, {"type": "adaptive"}, "low", ["thinking.effort"]),
        (Thinking(effort="xhigh"), None, ADAPTIVE, {"type": "adaptive"}, "high", ["thinking.effort"]),
        (Thinking(budget_tokens=8000), None, ADAPTIVE, {"type": "adaptive"}, "medium", ["thinking.budget_tokens"]),
        (Thinking(effort="high"), None, Profile(thinking="none"), None, None, ["thinking"]),
        (Thinking(effort="none"), None, Profile(thinking="none"), None, None, []),
        (Thinking(effort="high"), None, Profile(refuses=frozenset({"thinking"})), None, None, ["thinking"]),
    ],
)
def test_thinking_is_asked_for_in_the_models_way(
    thinking: Thinking, limit: int | None, profile: Profile, said: Any, effort: str | None, lost: list[str]
) -> None:
    body, losses = _dump(thinking=thinking, profile=profile, sampling=Sampling(max_tokens=limit))
    assert body.get("thinking") == said
    assert body.get("output_config", {}).get("effort") == effort
    assert losses == lost
    if said and said["type"] == "enabled":
        assert 1024 <= said["budget_tokens"] < body["max_tokens"]


def test_thinking_in_the_wrong_style_is_translated_within_the_dialect_too() -> None:
    body = HELLO | {"thinking": {"type": "enabled", "budget_tokens": 16000, "display": "omitted"}, "max_tokens": 20000}
    dumped = CODEC.dump_request(CODEC.load_request(json.dumps(body).encode()), Profile(thinking="adaptive"))
    assert json.loads(dumped.body)["thinking"] == {"type": "adaptive", "display": "omitted"}
    assert json.loads(dumped.body)["output_config"] == {"effort": "high"}
    assert [loss.setting for loss in dumped.losses] == ["thinking.budget_tokens"]
    same = CODEC.dump_request(CODEC.load_request(json.dumps(body).encode()), BUDGET)
    assert json.loads(same.body) == body


def test_thinking_leaves_no_room_for_sampling_and_forced_tools() -> None:
    body, losses = _dump(
        thinking=Thinking(effort="low"),
        sampling=Sampling(temperature=0.5, top_k=3, top_p=0.5),
        tools=(Tool(name="f"),),
        tool_choice=ToolChoice(mode="tool", name="f", parallel=False),
        profile=BUDGET,
    )
    assert not {"temperature", "top_k", "top_p"} & body.keys()
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert losses == ["sampling.temperature", "sampling.top_p", "sampling.top_k", "tool_choice"]
    body, losses = _dump(thinking=Thinking(effort="low"), sampling=Sampling(temperature=1, top_p=0.95), profile=BUDGET)
    assert (body["temperature"], body["top_p"], losses) == (1, 0.95, [])


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (None, None),
        (ToolChoice(mode="auto"), {"type": "auto"}),
        (ToolChoice(mode="required"), {"type": "any"}),
        (ToolChoice(mode="none", parallel=False), {"type": "none"}),
        (ToolChoice(mode="tool", name="f"), {"type": "tool", "name": "f"}),
        (ToolChoice(parallel=False), {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(parallel=True), None),
        (ToolChoice(mode="required", parallel=False), {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_tool_choices_are_said_in_anthropics_words(choice: ToolChoice | None, said: Any) -> None:
    body, losses = _dump(tools=(Tool(name="f"),), tool_choice=choice)
    assert body.get("tool_choice") == said
    assert body["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    assert losses == []


def test_a_tool_choice_without_tools_is_left_out() -> None:
    assert _dump(tool_choice=ToolChoice(mode="auto", parallel=False))[1] == []
    body, losses = _dump(tool_choice=ToolChoice(mode="required"))
    assert "tool_choice" not in body
    assert losses == ["tool_choice"]


def test_schemas_are_kept_whole() -> None:
    schema = {"type": "object", "$defs": {"a": {"anyOf": [{}]}}, "additionalProperties": False}
    body, losses = _dump(
        tools=(Tool(name="f", description="d", parameters=schema, strict=True),),
        output=Output(kind="json_schema", schema=schema, name="n", strict=True),
    )
    assert body["tools"] == [{"name": "f", "description": "d", "input_schema": schema, "strict": True}]
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": {**schema, "title": "n"}}}
    assert losses == []
    body, losses = _dump(tools=(Tool(name="f", strict=True),), profile=Profile(tool_strict=False))
    assert "strict" not in body["tools"][0]
    assert losses == ["tools[0].strict"]


def test_a_json_mode_becomes_an_instruction() -> None:
    body, losses = _dump(system=(Text(text="A"),), output=Output(kind="json"))
    assert len(body["system"]) == 2
    assert "JSON object" in body["system"][1]["text"]
    assert losses == ["output.kind"]
    old = Profile(refuses=frozenset({"output.json_schema"}))
    body, losses = _dump(output=Output(kind="json_schema", schema={"type": "object", "title": "T"}), profile=old)
    assert '{"type":"object","title":"T"}' in body["system"][0]["text"]
    assert "output_config" not in body
    assert losses == ["output.kind"]


def test_a_callers_extra_reaches_the_body_and_the_beta_header() -> None:
    request = Request(
        model="claude", messages=(ASK,), extra={"anthropic": {"betas": ["a-1", "b-2"], "context_management": {"edits": []}}}
    )
    dumped = CODEC.dump_request(request)
    assert dumped.headers["anthropic-beta"] == "a-1,b-2"
    body = json.loads(dumped.body)
    assert body["context_management"] == {"edits": []}
    assert "betas" not in body


def test_a_typed_field_wins_over_an_extra_of_the_same_name() -> None:
    loaded = CODEC.load_request(json.dumps(HELLO | {"temperature": None, "stream": False}).encode())
    changed = loaded.replace(stream=True, model="other", sampling=Sampling(max_tokens=5, temperature=0.5))
    body = json.loads(CODEC.dump_request(changed).body)
    assert (body["stream"], body["model"], body["max_tokens"], body["temperature"]) == (True, "other", 5, 0.5)


def test_messages_added_to_a_conversation_of_anthropics_join_it() -> None:
    loaded = CODEC.load_request(
        json.dumps(
            HELLO
            | {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]}]}
        ).encode()
    )
    more = (_message("tool", ToolResult(call_id="a", parts=(Text(text="1"),))), _message("user", "Go on."))
    body = json.loads(CODEC.dump_request(loaded.replace(messages=loaded.messages + more)).body)
    assert [message["role"] for message in body["messages"]] == ["assistant", "user"]
    assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_result", "text"]


def test_podiums_metadata_is_never_sent() -> None:
    body, _ = _dump(metadata={"team": "red"})
    assert "red" not in json.dumps(body)


def test_text_that_no_json_can_hold_is_an_error() -> None:
    with pytest.raises(UnrepresentableError):
        _dump(_message("user", "half \ud800 a pair"))
