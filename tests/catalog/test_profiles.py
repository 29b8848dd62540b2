"""The table of model families."""

import re

import pytest

from podium.catalog.profiles import profile, rows
from podium.catalog.providers import kinds
from podium.types import Profile, Sampling

SAMPLING = {"temperature", "top_p", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "logit_bias"}


def test_every_row_names_known_kinds_and_known_settings() -> None:
    settings = set(Sampling.__struct_fields__) | {"thinking", "output.json_schema", "parallel_tool_calls", "temperature+top_p"}
    for kind, model, facts in rows():
        assert kind in kinds()
        assert model
        assert facts.refuses <= settings
        assert facts.max_tokens_field in ("max_tokens", "max_completion_tokens")
        if facts.call_id_pattern is not None:
            re.compile(facts.call_id_pattern)


def test_no_row_is_hidden_by_an_earlier_row_with_the_same_globs() -> None:
    keys = [(kind, model) for kind, model, _ in rows()]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("model", ["o1", "o3", "o3-mini", "o4-mini", "gpt-5", "gpt-5-nano", "gpt-5.6-sol", "gpt-5.1-codex"])
def test_openais_reasoning_models_refuse_sampling_and_count_by_max_completion_tokens(model: str) -> None:
    facts = profile("openai", model)
    assert facts.refuses >= SAMPLING
    assert (facts.max_tokens_field, facts.system_role, facts.thinking) == ("max_completion_tokens", "developer", "effort")


def test_o3_mini_takes_stop_and_gpt_5_does_not() -> None:
    assert "stop" not in profile("openai", "o3-mini").refuses
    assert "stop" in profile("openai", "gpt-5-mini").refuses


@pytest.mark.parametrize("model", ["gpt-5.1", "gpt-5.2", "gpt-5.4-mini"])
def test_models_that_reason_only_when_asked_take_a_temperature(model: str) -> None:
    facts = profile("openai", model)
    assert "temperature" not in facts.refuses
    assert "none" in facts.efforts
    assert facts.max_tokens_field == "max_completion_tokens"


def test_o1_mini_knows_no_role_of_instructions() -> None:
    assert profile("openai", "o1-mini").system_role == "user"
    assert profile("openai", "o1-mini").max_tokens_field == "max_completion_tokens"


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4-turbo", "gpt-3.5-turbo"])
def test_openais_plain_models_take_temperature_and_max_tokens(model: str) -> None:
    facts = profile("openai", model)
    assert facts.refuses.isdisjoint(SAMPLING | {"stop"})
    assert (facts.max_tokens_field, facts.system_role, facts.thinking) == ("max_tokens", "system", "none")


@pytest.mark.parametrize(
    ("model", "max_output", "thinking"),
    [
        ("claude-3-haiku-20240307", 4096, "none"),
        ("claude-3.5-sonnet", 8192, "none"),
        ("claude-3-5-haiku-20241022", 8192, "none"),
        ("claude-3-7-sonnet-20250219", 64000, "budget"),
        ("claude-sonnet-4-20250514", 64000, "budget"),
        ("claude-opus-4-20250514", 32000, "budget"),
        ("claude-opus-4-1-20250805", 32000, "budget"),
        ("claude-haiku-4-5-20251001", 64000, "budget"),
        ("claude-sonnet-4-5", 64000, "budget"),
        ("claude-opus-4-5-20251101", 64000, "budget"),
        ("claude-opus-4-6", 128000, "adaptive"),
        ("claude-sonnet-4.6", 128000, "adaptive"),
        ("claude-opus-4-7", 128000, "adaptive"),
        ("claude-sonnet-5", 128000, "adaptive"),
    ],
)
def test_each_claude_family_has_its_limit_and_its_way_of_thinking(model: str, max_output: int, thinking: str) -> None:
    facts = profile("anthropic", model)
    assert (facts.max_output, facts.thinking) == (max_output, thinking)


def test_the_newest_claude_models_refuse_sampling_and_the_older_ones_stop_at_a_temperature_of_one() -> None:
    assert profile("anthropic", "claude-opus-4-7").refuses == {"temperature", "top_p", "top_k"}
    assert profile("anthropic", "claude-opus-4-6").refuses == {"temperature+top_p"}
    assert profile("anthropic", "claude-opus-4-6").max_temperature == 1.0


def test_every_claude_profile_says_the_most_tokens_that_an_answer_may_have() -> None:
    assert all(facts.max_output for kind, _, facts in rows() if kind == "anthropic")


def test_mistral_wants_call_ids_of_nine_characters_and_no_developer() -> None:
    facts = profile("mistral", "mistral-large-latest")
    assert facts.call_id_pattern is not None
    assert re.match(facts.call_id_pattern, "aB3dE6gH9")
    assert not re.match(facts.call_id_pattern, "call_abc123")
    assert facts.system_role == "system"
    assert "seed" in facts.refuses


def test_groks_reasoning_models_refuse_stop_and_penalties() -> None:
    assert profile("xai", "grok-4").refuses >= {"stop", "presence_penalty", "frequency_penalty"}
    assert "stop" not in profile("xai", "grok-2-1212").refuses
    assert profile("xai", "grok-3-mini").efforts == ("low", "high")


def test_openrouter_has_its_own_way_of_thinking_for_every_model() -> None:
    assert profile("openrouter", "anthropic/claude-opus-4.7").thinking == "openrouter"


def test_a_kind_or_model_that_is_in_no_row_is_plain() -> None:
    assert profile("custom", "gpt-5") == Profile()
    assert profile("together", "Qwen/Qwen3-235B") == Profile()


def test_another_table_stands_in_for_the_packaged_one() -> None:
    mine = Profile(max_output=7)
    assert profile("custom", "house-1", (("custom", "house-*", mine),)) is mine


def test_a_system_message_may_stand_inside_a_conversation_from_opus_4_8_on() -> None:
    inline = [
        model
        for model in ("claude-opus-4-7", "claude-sonnet-4-6", "claude-opus-4-8", "claude-opus-5", "claude-haiku-4-5")
        if profile("anthropic", model).inline_system
    ]
    assert inline == ["claude-opus-4-8", "claude-opus-5"]


def test_gpt_4_turbos_preview_names_have_turbos_limit() -> None:
    assert profile("openai", "gpt-4-0125-preview").max_output == profile("openai", "gpt-4-turbo").max_output == 4096
    assert profile("openai", "gpt-4-0613").max_output == 8192


def test_claude_models_from_opus_4_1_to_4_6_take_a_temperature_or_top_p_but_not_both() -> None:
    models = ("claude-opus-4-0", "claude-opus-4-1-20250805", "claude-sonnet-4-5", "claude-haiku-4-5", "claude-sonnet-4-6")
    assert [model for model in models if "temperature+top_p" not in profile("anthropic", model).refuses] == ["claude-opus-4-0"]


def test_openais_o_series_refuses_parallel_tool_calls_as_a_setting() -> None:
    models = ("o1", "o3", "o3-mini", "o4-mini", "gpt-5", "gpt-4o")
    assert [model for model in models if "parallel_tool_calls" in profile("openai", model).refuses] == [*models[:4]]


def test_every_model_of_openais_that_takes_stop_sequences_takes_four() -> None:
    assert {facts.max_stop for kind, _, facts in rows() if kind == "openai" and "stop" not in facts.refuses} == {4}
    assert profile("deepseek", "deepseek-chat").max_stop == 16


def test_openrouter_takes_cache_marks_and_openai_does_not() -> None:
    assert profile("openrouter", "anthropic/claude-opus-4.7").cache_marks
    assert not profile("openai", "gpt-4o").cache_marks
