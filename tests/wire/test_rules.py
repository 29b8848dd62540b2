"""What happens between OpenAI Chat and Anthropic Messages, rule by rule: requests.

Each test's number is that of a rule of translation between dialects; what a rule says of other dialects is not tested here, and
15, 32 and 36 say nothing of these two. Answers and streams are in `test_rules_answers`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from podium.catalog.profiles import profile
from podium.errors import UnrepresentableError
from podium.sim.complaints import Complaint
from podium.types import (
    Media,
    Message,
    Output,
    Profile,
    Request,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from wire.crossing import (
    ANTHROPIC,
    CHAT,
    HI,
    PLAIN,
    Crossed,
    assistant,
    chat_call,
    chat_result,
    chat_tool,
    result,
    same,
    to_anthropic,
    to_chat,
    use,
    user,
)

OK = [{"type": "text", "text": "ok"}]
MARK = {"cache_control": {"type": "ephemeral"}}
OLD = profile("anthropic", "claude-sonnet-4-5")
NEW = profile("anthropic", "claude-opus-4-8")
GPT = profile("openai", "gpt-4o")
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


# --- Messages --------------------------------------------------------------------------------------------------------


def test_1_a_chat_system_message_becomes_system_blocks_in_list_form_with_its_cache_marks() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", **MARK}]
    crossed = to_anthropic(system(parts), HI)
    assert crossed.body["system"] == parts
    assert crossed.lost == []


def test_1_anthropic_system_blocks_become_a_chat_system_message_whose_marks_go_only_to_who_takes_them() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", **MARK}]
    bare = to_chat(system=blocks)
    assert bare.messages[0] == system([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])
    assert bare.lost == ["system[1].cache_control"]
    kept = to_chat(system=blocks, profile=profile("openrouter", "anthropic/claude-opus-4.8"))
    assert (kept.messages[0], kept.lost) == (system(blocks), [])


def test_2_later_instructions_stay_in_place_where_the_model_takes_them_and_become_marked_text_with_a_loss_elsewhere() -> None:
    turns = [HI, assistant("x"), user("y"), system("z")]
    kept = to_anthropic(*turns, profile=NEW)
    assert kept.messages[-1] == system([{"type": "text", "text": "z"}])
    assert (kept.lost, "system" in kept.body) == ([], False)
    marked = to_anthropic(*turns, profile=OLD)
    assert marked.messages[-1]["content"][-1]["text"] == "<system>\nz\n</system>"
    assert marked.lost == ["messages[3].role"]
    assert "system" not in marked.body


def test_2_instructions_inside_an_anthropic_conversation_stay_in_place_for_chat() -> None:
    assert [message["role"] for message in to_chat(HI, system("z")).messages] == ["user", "system"]


def test_3_developer_is_system_for_others_and_user_text_where_a_model_takes_no_instructions() -> None:
    turns = [{"role": "developer", "content": "d"}, HI]
    assert to_anthropic(*turns).body["system"] == [{"type": "text", "text": "d"}]
    assert same("openai_chat", PLAIN, *turns).messages[0] == system("d")
    assert same("openai_chat", profile("openai", "o3"), *turns).messages[0]["role"] == "developer"
    bare = same("openai_chat", profile("openai", "o1-mini"), *turns)
    assert bare.messages[0] == user("<system>\nd\n</system>")
    assert bare.lost == ["messages[0].role"]


def test_4_empty_texts_are_left_out_and_text_beside_tool_calls_is_kept() -> None:
    turns = [
        user([{"type": "text", "text": ""}, {"type": "text", "text": "a"}]),
        assistant("Look:", tool_calls=[chat_call("c")]),
    ]
    crossed = to_anthropic(*turns, chat_result("c"))
    assert crossed.messages[0]["content"] == [{"type": "text", "text": "a"}]
    assert crossed.messages[1]["content"] == [{"type": "text", "text": "Look:"}, use("c")]
    said = assistant([{"type": "text", "text": "L"}, use("c")])
    back = to_chat(user([{"type": "text", "text": ""}, {"type": "text", "text": "a"}]), said, user([result("c")]))
    assert back.messages == [user("a"), assistant("L", tool_calls=[chat_call("c")]), chat_result("c")]


def test_4_a_message_of_white_space_alone_is_left_out_for_anthropic_with_a_loss() -> None:
    crossed = to_anthropic(HI, assistant("\n"), user("there"))
    assert [message["role"] for message in crossed.messages] == ["user"]
    assert crossed.lost == ["messages[1]"]


def test_5_neighbours_of_one_role_are_joined_with_tool_results_before_text() -> None:
    turns = [HI, assistant("", tool_calls=[chat_call("c"), chat_call("d")]), chat_result("c"), user("and?"), chat_result("d")]
    crossed = to_anthropic(user("first"), *turns)
    assert [message["role"] for message in crossed.messages] == ["user", "assistant", "user"]
    assert [each["type"] for each in crossed.messages[-1]["content"]] == ["tool_result", "tool_result", "text"]


def test_6_all_results_of_a_turn_are_one_user_message_and_each_is_a_tool_message_in_chat() -> None:
    turns = [HI, assistant(None, tool_calls=[chat_call("c"), chat_call("d")]), chat_result("c"), chat_result("d")]
    assert to_anthropic(*turns).messages[-1] == user([result("c", OK), result("d", OK)])
    back = to_chat(HI, assistant([use("c"), use("d")]), user([result("c"), result("d"), {"type": "text", "text": "go"}]))
    assert [message["role"] for message in back.messages] == ["user", "assistant", "tool", "tool", "user"]


def test_6_a_result_without_its_call_is_sent_for_the_provider_to_refuse() -> None:
    with pytest.raises(Complaint, match="unexpected `tool_use_id`"):
        to_anthropic(HI, chat_result("lost"))


def test_7_images_in_tool_results_are_native_for_anthropic_and_follow_in_a_user_message_for_chat() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    native = to_anthropic(HI, assistant(None, tool_calls=[chat_call("c")]), chat_result("c", [image]))
    assert native.messages[-1]["content"][0]["content"] == [{"type": "image", "source": source}]
    turn = [assistant([use("c"), use("d")]), user([result("c", [{"type": "image", "source": source}]), result("d")])]
    nine = Profile(call_id_pattern="^[a-f0-9]{9}$")
    followed = to_chat(HI, *turn, profile=nine).messages
    assert [message["role"] for message in followed[2:]] == ["tool", "tool", "user"]
    assert followed[2]["tool_call_id"] in followed[4]["content"][0]["text"]
    assert followed[4]["content"][1] == image


def test_8_a_failed_tool_says_so_in_chats_text_and_a_chat_client_may_say_it_in_a_field() -> None:
    failed = to_chat(HI, assistant([use("c")]), user([result("c", "no", is_error=True)]))
    assert failed.messages[-1]["content"] == "The tool failed: no"
    assert failed.lost == ["messages[2].is_error"]
    calls = assistant(None, tool_calls=[chat_call("c")])
    told = to_anthropic(HI, calls, chat_result("c", "no", is_error=True))
    assert told.messages[-1]["content"] == [result("c", "no", is_error=True) | {"content": [{"type": "text", "text": "no"}]}]
    assert told.lost == []
    kept = same("openai_chat", PLAIN, HI, calls, chat_result("c", "no", is_error=True))
    assert kept.messages[-1] == chat_result("c", "no", is_error=True)


# --- Tools -----------------------------------------------------------------------------------------------------------


def test_9_arguments_are_text_in_chat_and_an_object_in_anthropic_and_none_at_all_are_an_empty_object() -> None:
    calls = [chat_call("c", arguments='{"a": 1}'), chat_call("d", arguments="")]
    crossed = to_anthropic(HI, assistant(None, tool_calls=calls), chat_result("c"), chat_result("d"))
    assert [each["input"] for each in crossed.messages[1]["content"]] == [{"a": 1}, {}]
    back = to_chat(HI, assistant([use("c", a=1), use("d")]), user([result("c"), result("d")]))
    assert [call["function"]["arguments"] for call in back.messages[1]["tool_calls"]] == ['{"a":1}', "{}"]


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]", "null"])
def test_9_arguments_that_are_no_object_are_an_error_and_not_an_empty_object(arguments: str) -> None:
    with pytest.raises(UnrepresentableError) as caught:
        to_anthropic(HI, assistant(None, tool_calls=[chat_call("c", arguments=arguments)]), chat_result("c"))
    assert caught.value.param == "messages[1].parts[0].arguments"


def test_10_schemas_keep_defs_any_of_and_additional_properties_both_ways() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "$defs": {"d": {"anyOf": [{"type": "null"}]}},
        "properties": {"x": {"$ref": "#/$defs/d"}},
    }
    schema["additionalProperties"] = False
    assert to_anthropic(tools=[chat_tool(parameters=schema)]).body["tools"][0]["input_schema"] == schema
    back = to_chat(tools=[{"name": "f", "input_schema": schema, "type": "custom"}])
    assert back.body["tools"] == [chat_tool(parameters=schema)]
    assert back.lost == []


def test_11_a_strict_tool_is_strict_only_where_the_model_knows_it() -> None:
    tools = [chat_tool(strict=True)]
    assert to_anthropic(tools=tools, profile=OLD).body["tools"][0]["strict"] is True
    left = to_anthropic(tools=tools, profile=profile("anthropic", "claude-3-haiku-20240307"))
    assert "strict" not in left.body["tools"][0]
    assert left.lost == ["tools[0].strict"]


@pytest.mark.parametrize(
    ("chat", "anthropic"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ],
)
def test_12_tool_choices_have_a_word_each_in_both_dialects_and_none_keeps_the_tools(chat: Any, anthropic: Any) -> None:
    crossed = to_anthropic(tools=[chat_tool()], tool_choice=chat)
    assert (crossed.body["tool_choice"], len(crossed.body["tools"])) == (anthropic, 1)
    back = to_chat(tools=[{"name": "f", "input_schema": {"type": "object"}}], tool_choice=anthropic)
    assert (back.body["tool_choice"], len(back.body["tools"])) == (chat, 1)


def test_12_a_forced_choice_gives_way_to_thinking_with_a_loss() -> None:
    crossed = to_anthropic(tools=[chat_tool()], tool_choice="required", reasoning_effort="low", profile=OLD)
    assert crossed.body["tool_choice"] == {"type": "auto"}
    assert crossed.lost == ["tool_choice"]


def test_13_parallel_calls_are_turned_off_inside_a_tool_choice() -> None:
    crossed = to_anthropic(tools=[chat_tool()], parallel_tool_calls=False)
    assert crossed.body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    back = to_chat(tools=tools, tool_choice={"type": "any", "disable_parallel_tool_use": True})
    assert (back.body["tool_choice"], back.body["parallel_tool_calls"]) == ("required", False)
    refused = to_chat(
        tools=tools, tool_choice={"type": "auto", "disable_parallel_tool_use": True}, profile=profile("openai", "o3")
    )
    assert "parallel_tool_calls" not in refused.body
    assert refused.lost == ["tool_choice.parallel"]


def test_14_ids_that_repeat_across_turns_are_numbered_for_anthropic_and_results_follow_their_calls() -> None:
    turn = [
        assistant(None, tool_calls=[chat_call("call_0"), chat_call("call_0")]),
        chat_result("call_0", "a"),
        chat_result("call_0", "b"),
    ]
    crossed = to_anthropic(HI, *turn, *turn)
    called = [each["id"] for message in crossed.messages[1::2] for each in message["content"]]
    answered = [each["tool_use_id"] for message in crossed.messages[2::2] for each in message["content"]]
    assert called == answered == ["call_0", "call_0_2", "call_0_3", "call_0_4"]


def test_14_ids_get_the_letters_that_anthropic_takes_and_the_form_that_mistral_takes() -> None:
    crossed = to_anthropic(HI, assistant(None, tool_calls=[chat_call("functions.f:0")]), chat_result("functions.f:0"))
    identity = crossed.messages[1]["content"][0]["id"]
    assert identity.replace("_", "").isalnum()
    assert crossed.messages[2]["content"][0]["tool_use_id"] == identity
    mistral = to_chat(
        HI, assistant([use("toolu_01A")]), user([result("toolu_01A")]), profile=profile("mistral", "mistral-large")
    )
    assert len(mistral.messages[1]["tool_calls"][0]["id"]) == 9
    assert mistral.messages[2]["tool_call_id"] == mistral.messages[1]["tool_calls"][0]["id"]


LONG = "mcp__" + "x" * 70


@pytest.mark.parametrize("target", ["openai_chat", "anthropic"])
@pytest.mark.parametrize("name", ["files.read", "a/b", "é" * 130, LONG * 2])
def test_16_a_name_that_a_target_refuses_is_one_alias_everywhere_and_is_turned_back(target: str, name: str) -> None:
    call = Message(role="assistant", parts=(ToolCall(id="c", name=name),))
    answer = Message(role="tool", parts=(ToolResult(call_id="c"),))
    request = Request(
        model="m",
        messages=(Message(role="user", parts=(Text(text="hi"),)), call, answer),
        tools=(Tool(name=name), Tool(name="plain")),
        tool_choice=ToolChoice(mode="tool", name=name),
    )
    crossed = Crossed(request, target, PLAIN)
    ((alias, told),) = crossed.aliases.items()
    assert told == name
    assert alias.replace("_", "").replace("-", "").isalnum()
    assert alias.isascii()
    assert len(alias) <= (64 if target == "openai_chat" else 128)
    text = crossed.raw.decode()
    assert (text.count(f'"{alias}"'), json.dumps(name) in text, f'"{name}"' in text) == (3, False, False)


def test_16_a_long_name_of_anthropics_is_an_alias_for_chat_and_no_alias_is_a_name_in_use() -> None:
    tools = [{"name": LONG, "input_schema": {"type": "object"}}]
    (alias,) = to_chat(tools=tools).aliases
    both = to_chat(tools=[*tools, {"name": alias, "input_schema": {"type": "object"}}])
    names = [tool["function"]["name"] for tool in both.body["tools"]]
    assert len(set(names)) == 2
    assert both.aliases == {names[0]: LONG}
    assert names[1] == alias


# --- Sampling --------------------------------------------------------------------------------------------------------


def test_18_max_tokens_is_the_models_limit_where_nobody_says_it_and_above_any_budget() -> None:
    assert to_anthropic(profile=OLD).body["max_tokens"] == 64000
    budget = to_anthropic(reasoning={"max_tokens": 9000})
    assert budget.body["max_tokens"] > budget.body["thinking"]["budget_tokens"] == 9000
    tight = to_anthropic(max_tokens=2000, reasoning={"max_tokens": 9000}, profile=OLD)
    assert tight.body["max_tokens"] == 2000 > tight.body["thinking"]["budget_tokens"]
    assert tight.lost == ["thinking.budget_tokens"]


def test_19_reasoning_models_count_by_max_completion_tokens() -> None:
    assert to_chat(profile=profile("openai", "gpt-5")).body["max_completion_tokens"] == 4096
    assert to_chat(profile=GPT).body["max_tokens"] == 4096


def test_20_stop_is_a_string_or_a_list_and_cut_to_the_models_limit_with_a_loss() -> None:
    assert to_anthropic(stop="x").body["stop_sequences"] == ["x"]
    few = to_chat(stop_sequences=["a", "b"], profile=GPT)
    assert (few.body["stop"], few.lost) == (["a", "b"], [])
    many = to_chat(stop_sequences=list("abcdef"), profile=GPT)
    assert (many.body["stop"], many.lost) == (list("abcd"), ["sampling.stop"])


def test_21_a_temperature_is_clamped_and_settings_that_a_model_refuses_are_losses() -> None:
    warm = to_anthropic(temperature=1.5, profile=OLD)
    assert (warm.body["temperature"], warm.lost) == (1.0, ["sampling.temperature"])
    both = to_anthropic(temperature=0.5, top_p=0.5, profile=OLD)
    assert ("top_p" in both.body, both.lost) == (False, ["sampling.top_p"])
    none = to_anthropic(temperature=0.5, profile=NEW)
    assert ("temperature" in none.body, none.lost) == (False, ["sampling.temperature"])
    with pytest.raises(UnrepresentableError):
        to_anthropic(temperature=1.5, profile=OLD, strict=True)


def test_22_several_answers_at_once_are_an_error_for_anthropic() -> None:
    with pytest.raises(UnrepresentableError) as caught:
        to_anthropic(n=2)
    assert caught.value.param == "n"
    assert to_anthropic(n=1).lost == []


def test_23_logprobs_are_an_error_for_anthropic() -> None:
    with pytest.raises(UnrepresentableError) as caught:
        to_anthropic(logprobs=True)
    assert caught.value.param == "logprobs"
    assert to_anthropic(logprobs=False).lost == []


def test_24_settings_that_a_dialect_lacks_are_losses_and_defaults_spelled_out_are_none() -> None:
    lost = to_anthropic(
        seed=1,
        logit_bias={"1": 2},
        presence_penalty=0.5,
        frequency_penalty=0.5,
        service_tier="flex",
        prediction={"type": "content"},
    ).lost
    assert sorted(lost) == [
        "prediction",
        *(f"sampling.{name}" for name in ("frequency_penalty", "logit_bias", "presence_penalty", "seed", "service_tier")),
    ]
    harmless: dict[str, Any] = {
        "store": False,
        "metadata": None,
        "modalities": ["text"],
        "logit_bias": {},
        "presence_penalty": 0,
    }
    assert to_anthropic(**harmless, stream=True, stream_options={"include_usage": True}).lost == []
    assert to_anthropic(user="u", service_tier="default").body | {"messages": 0, "max_tokens": 0} == {
        "model": "m", "messages": 0, "max_tokens": 0, "metadata": {"user_id": "u"}, "service_tier": "standard_only",
    }  # fmt: skip


def test_24_anthropics_settings_are_chats_where_it_has_them_and_losses_where_not() -> None:
    crossed = to_chat(
        metadata={"user_id": "u"}, service_tier="standard_only", top_k=5, container="c", mcp_servers=[], inference_geo=None
    )
    assert (crossed.body["user"], crossed.body["service_tier"]) == ("u", "default")
    assert sorted(crossed.lost) == ["container", "sampling.top_k"]


def test_24_an_object_that_asks_for_something_by_being_there_is_a_loss() -> None:
    assert to_anthropic(web_search_options={}).lost == ["web_search_options"]


# --- Output ----------------------------------------------------------------------------------------------------------


def form(name: str = "Answer", **members: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": SCHEMA, **members}}


def test_25_a_schema_crosses_with_its_name_and_description_as_the_schemas_own() -> None:
    crossed = to_anthropic(response_format=form(description="d", strict=True), profile=OLD)
    assert crossed.body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {**SCHEMA, "title": "Answer", "description": "d"},
    }
    assert crossed.lost == []


def test_25_a_name_that_the_schema_contradicts_is_a_loss() -> None:
    titled = {**form(), "json_schema": {"name": "n", "schema": {**SCHEMA, "title": "T"}}}
    assert to_anthropic(response_format=titled, profile=OLD).lost == ["output.name"]


def test_25_anthropics_enforced_schema_is_strict_for_chat_where_it_can_be_and_a_loss_where_not() -> None:
    closed = to_chat(output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    assert closed.body["response_format"]["json_schema"] == {"name": "answer", "schema": SCHEMA, "strict": True}
    opened = to_chat(output_config={"format": {"type": "json_schema", "schema": {**SCHEMA, "required": []}}})
    assert opened.body["response_format"]["json_schema"]["strict"] is False
    assert (closed.lost, opened.lost) == ([], ["output.strict"])


def test_25_a_model_without_schemas_is_asked_in_words_with_a_loss() -> None:
    old = to_chat(output_config={"format": {"type": "json_schema", "schema": SCHEMA}}, profile=profile("openai", "gpt-4-turbo"))
    assert old.body["response_format"] == {"type": "json_object"}
    assert json.dumps(SCHEMA, separators=(",", ":")) in old.messages[0]["content"]
    assert old.lost == ["output.json_schema"]


def test_26_plain_json_is_asked_of_anthropic_in_words_and_chat_gets_the_word_json_in_its_prompt() -> None:
    crossed = to_anthropic(response_format={"type": "json_object"})
    assert "JSON" in crossed.body["system"][0]["text"]
    assert crossed.lost == ["output.kind"]
    asked = Request(model="m", messages=(Message(role="user", parts=(Text(text="hi"),)),), output=Output(kind="json"))
    assert "JSON" in Crossed(asked, "openai_chat", GPT).messages[0]["content"]
    said = same("openai_chat", GPT, user("Give JSON."), response_format={"type": "json_object"})
    assert said.messages == [user("Give JSON.")]


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,AAAA",
        "data:image/png;name=a.png;charset=utf-8;base64,AAAA",
        "data:IMAGE/PNG;base64,AAAA",
        "data:image/png,%00%00%00",
    ],
)
def test_27_data_urls_may_carry_parameters_capitals_or_no_base64(url: str) -> None:
    crossed = to_anthropic(user([{"type": "image_url", "image_url": {"url": url, "detail": "auto"}}]))
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    assert crossed.messages[0]["content"] == [{"type": "image", "source": source}]
    assert crossed.lost == []


def test_27_image_jpg_is_jpeg_and_urls_pass_as_urls() -> None:
    crossed = to_anthropic(
        user(
            [{"type": "image_url", "image_url": {"url": url}} for url in ("data:image/jpg;base64,AAAA", "https://e.org/a.png")]
        )
    )
    sources = [each["source"] for each in crossed.messages[0]["content"]]
    assert sources == [
        {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"},
        {"type": "url", "url": "https://e.org/a.png"},
    ]
    back = to_chat(user([{"type": "image", "source": sources[1]}]))
    assert back.messages[0]["content"] == [{"type": "image_url", "image_url": {"url": "https://e.org/a.png"}}]


PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}


def test_28_files_are_documents_with_their_names_both_ways() -> None:
    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}}
    crossed = to_anthropic(user([part]))
    assert crossed.messages[0]["content"] == [{"type": "document", "source": PDF, "title": "a.pdf"}]
    assert to_chat(*crossed.messages).messages == [user([part])]


def test_28_a_documents_text_and_what_it_is_about_are_text_for_chat() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Words."}
    crossed = to_chat(
        user([{"type": "document", "source": source, "title": "T", "context": "C", "citations": {"enabled": True}}])
    )
    assert [part["text"] for part in crossed.messages[0]["content"]] == [
        "About the document that follows: C",
        '<document title="T">\nWords.\n</document>',
    ]
    assert crossed.lost == ["messages[0].parts[0].citations"]


def test_28_sound_and_other_providers_files_are_errors() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    for part in (sound, {"type": "file", "file": {"file_id": "file-1"}}):
        with pytest.raises(UnrepresentableError):
            to_anthropic(user([part]))
    with pytest.raises(UnrepresentableError):
        to_chat(user([{"type": "document", "source": {"type": "file", "file_id": "file_1"}}]))


@pytest.mark.parametrize("target", ["openai_chat", "anthropic"])
def test_28_an_images_name_is_a_loss(target: str) -> None:
    image = Media(kind="image", media_type="image/png", data="AAAA", name="a.png")
    crossed = Crossed(Request(model="m", messages=(Message(role="user", parts=(image,)),)), target, PLAIN)
    assert crossed.lost == ["messages[0].parts[0].name"]


# --- Reasoning -------------------------------------------------------------------------------------------------------


def test_29_an_effort_is_a_budget_or_an_effort_and_none_disables() -> None:
    assert to_anthropic(reasoning_effort="low", profile=OLD).body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    adaptive = to_anthropic(reasoning_effort="minimal", profile=NEW)
    assert (adaptive.body["thinking"], adaptive.body["output_config"]) == ({"type": "adaptive"}, {"effort": "low"})
    assert adaptive.lost == ["thinking.effort"]
    assert to_anthropic(reasoning_effort="none", profile=OLD).body["thinking"] == {"type": "disabled"}


def test_29_a_budget_is_an_effort_for_chat_and_thinking_alone_makes_a_model_think() -> None:
    thinking = {"type": "enabled", "budget_tokens": 5000}
    gpt = to_chat(thinking=thinking, profile=profile("openai", "gpt-5"))
    assert (gpt.body["reasoning_effort"], gpt.lost) == ("medium", ["thinking.budget_tokens"])
    on = to_chat(thinking={"type": "adaptive"}, profile=profile("openai", "gpt-5.1"))
    assert (on.body["reasoning_effort"], on.lost) == ("medium", [])
    unknown = to_chat(thinking={"type": "adaptive"})
    assert ("reasoning_effort" in unknown.body, unknown.lost) == (False, ["thinking"])


def test_the_legacy_functions_are_tools_for_anthropic_and_stay_functions_within_chat() -> None:
    function = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
    turns = [
        HI,
        assistant(None, function_call={"name": "f", "arguments": "{}"}),
        {"role": "function", "name": "f", "content": "1"},
    ]
    crossed = to_anthropic(*turns, functions=[function], function_call={"name": "f"})
    assert crossed.body["tools"][0]["name"] == "f"
    assert crossed.body["tool_choice"] == {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
    assert crossed.messages[2]["content"][0]["tool_use_id"] == crossed.messages[1]["content"][0]["id"]
    assert crossed.lost == []
    kept = same("openai_chat", PLAIN, *turns, functions=[function], function_call={"name": "f"})
    assert kept.body == {"model": "m", "messages": turns, "functions": [function], "function_call": {"name": "f"}}


def test_what_is_the_models_own_is_no_loss_and_what_a_caller_adds_to_it_is() -> None:
    noted = {"type": "text", "text": "x", "citations": [{"type": "char_location"}]}
    turns = [HI, assistant([noted, use("c") | {"caller": {"type": "direct"}}]), user([result("c")])]
    assert to_chat(*turns).lost == []
    assert to_chat(HI, assistant([{**noted, **MARK}])).lost == ["messages[1].parts[0].cache_control"]
    assert to_anthropic(HI, assistant("x", name="bob", annotations=[1], refusal=None), HI).lost == ["messages[1].name"]


def test_nothing_of_a_request_is_lost_between_library_and_target_without_being_said() -> None:
    """Each typed setting, alone, is in the body, a loss, or an error, whatever the target."""
    values: dict[str, Any] = {
        "max_tokens": 77,
        "temperature": 0.25,
        "top_p": 0.75,
        "top_k": 7,
        "stop": ("x7",),
        "seed": 77,
        "frequency_penalty": 0.75,
        "presence_penalty": 0.75,
        "logit_bias": {"77": 1},
        "logprobs": True,
        "top_logprobs": 7,
        "n": 7,
        "user": "u77",
        "service_tier": "flex",
    }
    assert values.keys() == set(Sampling.__struct_fields__) - {"extra"}
    message = Message(role="user", parts=(Text(text="hi"),))
    for name, value in values.items():
        for codec in (CHAT, ANTHROPIC):
            request = Request(model="m", messages=(message,), sampling=Sampling(**{name: value}))
            try:
                dumped = codec.dump_request(request, PLAIN)
            except UnrepresentableError:
                continue
            written = json.dumps(value[0] if name == "stop" else value).encode()
            assert written.replace(b" ", b"") in dumped.body or [loss.setting for loss in dumped.losses] == [f"sampling.{name}"]
    thinking = Request(model="m", messages=(message,), thinking=Thinking(effort="high"))
    assert b'"high"' in CHAT.dump_request(thinking, PLAIN).body
