"""What the simulated models say."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.sim import SimModel, answers, computed, facts, faq, prose, tokens
from podium.sim.script import finished, play, usage_of, write
from podium.types import (
    Media,
    Message,
    Output,
    Request,
    Sampling,
    Started,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    fold,
)


def asked(prompt: str, **settings: Any) -> Request:
    messages = settings.pop("messages", (Message(role="user", parts=(Text(text=prompt),)),))
    return Request(**{"model": "gpt-4o", "messages": messages, **settings})


def said(request: Request, settings: SimModel | None = None, *, dialect: str = "openai_chat", seed: int = 0) -> Any:
    lines = write(request, settings or SimModel(), dialect=dialect, seed=seed, started=Started(model=request.model))
    return fold([*(beat.event for beat in play(lines)), finished(lines)])


@pytest.mark.parametrize("fact", facts, ids=lambda fact: fact.question)
def test_each_canonical_question_gets_its_answer(fact: faq.Fact) -> None:
    assert answers.knows(fact.question) == fact.answer
    assert fact.answer not in fact.wrong


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("capital of france", "Paris"),
        ("Name the capital city of Australia, please.", "Canberra"),
        ("What's France's capital? Answer in one word.", "Paris"),
        ("Who is the author of Pride and Prejudice?", "Jane Austen"),
        ("When did the Titanic sink?", "1912"),
        ("How do you say thank you in German?", "Danke"),
        ("17*23", "391"),
        ("Please calculate 1,250 divided by 8.", "156.25"),
        ("What is 12 x 12?", "144"),
        ("How much is 20% of 45?", "9"),
        ("What is 5 squared plus 3?", "28"),
        ("Convert 98.6 Fahrenheit to Celsius", "37"),
        ("How many grams are in 2 kilograms?", "2000"),
        ("Is 91 a prime number?", "No"),
        ("How many r's are there in strawberry?", "3"),
    ],
)
def test_a_question_finds_its_answer_in_other_words(question: str, answer: str) -> None:
    assert answers.knows(question) == answer


@pytest.mark.parametrize(
    "prompt",
    [
        "Write an essay about the capital structure of companies in France and Germany over the centuries.",
        "Explain to a child how rainbows form and why their colours follow each other.",
        "We met on 2024-05-01 in room 3-4.",
        "Summarise the following minutes of the board of a company that makes water filters.",
        "What is 9 to the power of 99999999?",
        "What is 1 / 0?",
        "",
    ],
)
def test_an_open_prompt_is_no_question(prompt: str) -> None:
    assert answers.knows(prompt) is None


@given(st.integers(-999, 999), st.integers(-999, 999), st.sampled_from("+-*"))
def test_arithmetic_is_computed(left: int, right: int, operator: str) -> None:
    expected = {"+": left + right, "-": left - right, "*": left * right}[operator]
    assert computed.compute(f"What is ({left}) {operator} ({right})?") == str(expected)


@given(st.text())
def test_any_text_is_cut_into_pieces_that_join_to_it(text: str) -> None:
    assert "".join(tokens.pieces(text)) == text
    assert tokens.count(text) <= len(text)


@given(st.text(max_size=200), st.integers(1, 200))
def test_any_prompt_gets_a_paragraph_of_the_length_asked_for(prompt: str, length: int) -> None:
    text = prose.paragraph(prompt, length, "model")
    assert tokens.count(text) >= length
    assert text == prose.paragraph(prompt, length, "model")
    assert text.endswith(".")


def test_models_agree_on_known_questions_and_differ_on_open_ones() -> None:
    known = {said(asked("What is 17 * 23?", model=model)).text for model in ("gpt-4o", "llama-3.3-70b", "claude-3")}
    opened = {said(asked("Tell me about tides.", model=model)).text for model in ("gpt-4o", "llama-3.3-70b", "claude-3")}
    assert known == {"391"}
    assert len(opened) == 3


def test_a_model_of_low_accuracy_errs_on_its_share_of_questions_and_always_on_the_same() -> None:
    questions = [f"What is {number} * 7?" for number in range(300)]
    poor = SimModel(accuracy=0.7)

    def right(model: str, seed: int = 0) -> list[bool]:
        return [
            said(asked(question, model=model), poor, seed=seed).text == str(number * 7)
            for number, question in enumerate(questions)
        ]

    first = right("small")
    assert 180 <= sum(first) <= 240
    assert first == right("small")
    assert first != right("other")
    assert first != right("small", seed=1)


def test_the_same_request_gets_the_same_answer_and_another_choice_another() -> None:
    response = said(asked("Tell me about tides.", sampling=Sampling(n=3)))
    assert len({choice.parts[0].text for choice in response.choices}) == 3
    assert response == said(asked("Tell me about tides.", sampling=Sampling(n=3)))


def test_a_prompt_that_asks_for_words_gets_these_words() -> None:
    assert said(asked('Reply with exactly "pong" and nothing else.')).text == "pong"
    assert said(asked("Reply with the word OK.")).text == "OK"
    system = (Text(text='Always answer "I am a teapot".'),)
    assert said(asked("Tell me about tides.", system=system)).text == "I am a teapot"


def test_the_system_prompt_changes_an_open_answer() -> None:
    plain = said(asked("Tell me about tides."))
    told = said(asked("Tell me about tides.", system=(Text(text="You are a sailor."),)))
    assert plain.text != told.text


WEATHER = Tool(
    name="get_weather",
    description="Report the current weather of a place",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
        "required": ["city"],
    },
)


def test_a_tool_that_fits_is_called_once_for_each_name_in_the_prompt() -> None:
    response = said(asked("What is the weather in Paris and in New York?", tools=(WEATHER,)))
    assert response.finish_reason == "tool_calls"
    assert [call.load_arguments()["city"] for call in response.tool_calls] == ["Paris", "New York"]
    assert len({call.id for call in response.tool_calls}) == 2


def test_parallel_calls_can_be_forbidden() -> None:
    choice = ToolChoice(mode="auto", parallel=False)
    response = said(asked("What is the weather in Paris and in New York?", tools=(WEATHER,), tool_choice=choice))
    assert len(response.tool_calls) == 1


def test_a_tool_that_does_not_fit_is_called_only_if_required() -> None:
    assert said(asked("Tell me about tides.", tools=(WEATHER,))).finish_reason == "stop"
    forced = asked("Tell me about tides.", tools=(WEATHER,), tool_choice=ToolChoice(mode="required"))
    assert said(forced).tool_calls[0].name == "get_weather"
    forbidden = asked("What is the weather in Rome?", tools=(WEATHER,), tool_choice=ToolChoice(mode="none"))
    assert said(forbidden).tool_calls == ()


def test_tool_results_are_quoted() -> None:
    messages = (
        Message(role="user", parts=(Text(text="What is the weather in Paris?"),)),
        Message(role="assistant", parts=(ToolCall(id="call_1", name="get_weather", arguments='{"city":"Paris"}'),)),
        Message(role="tool", parts=(ToolResult(call_id="call_1", parts=(Text(text="18 degrees and rain"),)),)),
    )
    response = said(asked("", messages=messages, tools=(WEATHER,)))
    assert response.text == "The get_weather call returned: 18 degrees and rain"


def test_a_picture_is_described_by_type_and_size() -> None:
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (640).to_bytes(4) + (480).to_bytes(4)
    picture = Media(kind="image", media_type="image/png", data=base64.b64encode(header).decode())
    message = Message(role="user", parts=(Text(text="What is this?"), picture))
    assert said(asked("", messages=(message,))).text == ("I was given an image of type image/png, 24 bytes, 640 by 480 pixels.")


def test_a_document_holds_the_known_answer() -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    output = Output(kind="json_schema", schema=schema, name="reply")
    assert msgspec.json.decode(said(asked("What is the capital of France?", output=output)).text) == {"answer": "Paris"}
    plain = asked('Reply in JSON with the keys "city" and "country": where is the Louvre?', output=Output(kind="json"))
    assert set(msgspec.json.decode(said(plain).text)) == {"city", "country"}


def test_thoughts_are_shown_and_signed_by_anthropic_and_counted_by_openai() -> None:
    thinking = Thinking(effort="low", enabled=True)
    shown = said(asked("Tell me about tides.", thinking=thinking), dialect="anthropic")
    assert shown.parts[0].extra["anthropic"]["signature"] == answers.signature(shown.reasoning)
    assert shown.usage.reasoning == tokens.count(shown.reasoning) > 0
    hidden = said(asked("Tell me about tides.", thinking=thinking))
    assert hidden.reasoning == ""
    assert hidden.usage.reasoning > 0


@given(st.integers(1, 120), st.sampled_from(["openai_chat", "anthropic"]), st.booleans())
def test_an_answer_never_exceeds_its_limit_and_its_usage_is_what_it_says(limit: int, dialect: str, thinks: bool) -> None:
    thinking = Thinking(effort="low", enabled=True) if thinks else None
    settings = SimModel(length=60)
    request = asked("Tell me about tides.", sampling=Sampling(max_tokens=limit), thinking=thinking)
    lines = write(request, settings, dialect=dialect, seed=0, started=Started())
    usage = usage_of(lines)
    assert usage.total_output <= limit
    assert usage.total_output == lines.hidden + sum(beat.tokens for beat in play(lines))
    response = fold([*(beat.event for beat in play(lines)), finished(lines)])
    assert usage.output == tokens.count(response.text)
    free = asked("Tell me about tides.", thinking=thinking)
    whole = write(free, settings, dialect=dialect, seed=0, started=Started())
    assert response.finish_reason == ("stop" if usage_of(whole).total_output <= limit else "length")


def test_a_stop_sequence_ends_the_text_before_itself() -> None:
    whole = said(asked("Tell me about tides.")).text
    stop = whole.split()[5]
    cut = said(asked("Tell me about tides.", sampling=Sampling(stop=(stop, "never said"))))
    assert cut.text == whole[: whole.index(stop)]
    assert cut.choices[0].finish.stop_sequence == stop


def test_a_refusal_is_in_the_dialects_own_form() -> None:
    assert said(asked("Anything."), SimModel(refuse=True)).parts[0].text.startswith("I'm sorry")
    assert said(asked("Anything."), SimModel(refuse=True), dialect="anthropic").choices[0].finish.raw == "refusal"


def test_an_empty_answer_has_no_parts() -> None:
    response = said(asked("Anything."), SimModel(empty=True))
    assert response.parts == ()
    assert response.usage.output == 0
