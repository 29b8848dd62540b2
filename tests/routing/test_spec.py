"""The grammar of specs: what each form means, and what is no spec."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.errors import PodiumError, SpecError
from podium.routing.spec import (
    LONGEST_SPEC,
    NameSpec,
    Spec,
    TargetSpec,
    TierSpec,
    UserSpec,
    parse,
    parse_experiment,
    quote,
    show,
)

FORMS: list[tuple[str, Spec]] = [
    ("openai/gpt-4o", TargetSpec(provider="openai", model="gpt-4o")),
    ("openrouter/google/gemini-2.0-flash", TargetSpec(provider="openrouter", model="google/gemini-2.0-flash")),
    ("local/llama3.3:70b", TargetSpec(provider="local", model="llama3.3:70b")),
    ("vllm//models/llama", TargetSpec(provider="vllm", model="/models/llama")),
    ("openai/ft:gpt-4o:acme::7p4l", TargetSpec(provider="openai", model="ft:gpt-4o:acme::7p4l")),
    ("a/b/", TargetSpec(provider="a", model="b/")),
    ("tier:fast", TierSpec(tier="fast")),
    ("tier:a/b:c", TierSpec(tier="a/b:c")),
    ("user:jane:local_first", UserSpec(user_id="jane", experiment="local_first")),
    ("user:jane", UserSpec(user_id="jane")),
    ("user:jane@lab.org:a:b/c", UserSpec(user_id="jane@lab.org", experiment="a:b/c")),
    ("gpt-4o", NameSpec(name="gpt-4o")),
    ("llama3.3:70b", NameSpec(name="llama3.3:70b")),
    ("tier", NameSpec(name="tier")),
    ("Tier:fast", NameSpec(name="Tier:fast")),
    ("my model", NameSpec(name="my model")),
    ("modèle", NameSpec(name="modèle")),
]

FAULTS = [
    ("", "empty string"),
    ("tier:", "the tier's name behind `tier:` is missing"),
    ("user:", "the user's id behind `user:` is missing"),
    ("user::local_first", "the user's id behind `user:` is missing"),
    ("user:jane:", "the experiment's name behind `user:jane:` is missing"),
    ("/gpt-4o", "the provider before the first `/` is missing"),
    ("openai/", "the model behind the first `/` is missing"),
    ("/", "the provider before the first `/` is missing"),
    (" gpt-4o", "the name begins or ends with a space"),
    ("gpt-4o ", "the name begins or ends with a space"),
    ("openai /gpt-4o", "the provider before the first `/` begins or ends with a space"),
    ("openai/ gpt-4o", "the model behind the first `/` begins or ends with a space"),
    ("tier: fast", "begins or ends with a space"),
    ("user:jane :x", "the user's id behind `user:` begins or ends with a space"),
    ("gpt-4o\n", "cannot be printed"),
    ("openai/gpt\x00", "cannot be printed"),
    ("tier:\u200bfast", "cannot be printed"),
    ("\ud800", "cannot be printed"),
    ("a" * (LONGEST_SPEC + 1), "at most 512"),
]


@pytest.mark.parametrize(("text", "spec"), FORMS)
def test_each_form_is_read_and_written_back(text: str, spec: Spec) -> None:
    assert parse(text) == spec
    assert str(parse(text)) == text


def test_nothing_is_not_a_spec_and_no_error() -> None:
    assert parse(None) is None


@pytest.mark.parametrize(("text", "what"), FAULTS)
def test_a_malformed_spec_says_what_was_asked_what_is_wrong_and_what_to_write(text: str, what: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text)
    error = caught.value
    assert what in error.message
    assert (error.code, error.status, error.param) == ("invalid_spec", 400, "model")
    assert quote(text) in error.message or not text
    assert error.hint is not None
    assert error.hint.startswith(("Write", "Leave it out"))


def test_the_longest_spec_is_read() -> None:
    assert parse("a" * LONGEST_SPEC) == NameSpec(name="a" * LONGEST_SPEC)


@pytest.mark.parametrize("thing", [4, 1.5, b"gpt-4o", ["gpt-4o"], {"model": "gpt-4o"}])
def test_a_spec_that_is_no_string_is_an_error_with_its_type(thing: Any) -> None:
    with pytest.raises(SpecError, match=type(thing).__name__):
        parse(thing)


def test_a_target_spec_gives_its_target() -> None:
    spec = parse("openrouter/google/gemini-2.0-flash")
    assert isinstance(spec, TargetSpec)
    assert str(spec.target) == "openrouter/google/gemini-2.0-flash"
    assert spec.target.provider == "openrouter"


@pytest.mark.parametrize("text", ["", " x", "x ", "a\nb", "x" * (LONGEST_SPEC + 1)])
def test_experiment_obeys_the_rules_of_a_part(text: str) -> None:
    with pytest.raises(SpecError, match="experiment=") as caught:
        parse_experiment(text)
    assert (caught.value.code, caught.value.param) == ("invalid_spec", "experiment")
    assert parse_experiment("local_first") == "local_first"


def test_a_text_is_shown_on_one_line_and_short() -> None:
    assert show("gpt\n4") == "gpt\\n4"
    assert len(show("x" * 1000)) == 100
    assert quote("gpt-4o") == "`gpt-4o`"


TEXTS = st.one_of(
    st.text(),
    st.text(alphabet="ab:/ .-\n", max_size=12),
    st.builds("{}{}".format, st.sampled_from(["tier:", "user:", "user:j:", "openai/"]), st.text(max_size=8)),
)


def outcome(text: str) -> Spec | PodiumError | None:
    try:
        return parse(text)
    except PodiumError as error:
        return error


@given(TEXTS)
def test_every_text_is_a_spec_that_writes_itself_back_or_an_error_on_one_short_line(text: str) -> None:
    read = outcome(text)
    if isinstance(read, PodiumError):
        assert str(read).isprintable()
        assert len(str(read)) < 400
    else:
        assert str(read) == text


@given(TEXTS)
def test_no_part_of_a_spec_is_empty_or_has_spaces_around_it(text: str) -> None:
    read = outcome(text)
    if read is not None and not isinstance(read, PodiumError):
        for part in read.to_dict().values():
            assert part is None or (part and part == part.strip() and part.isprintable())
