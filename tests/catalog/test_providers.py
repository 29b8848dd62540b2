"""The table of provider kinds."""

from fnmatch import fnmatchcase
from urllib.parse import urlsplit

import pytest

from podium.catalog.providers import CUSTOM, kinds
from podium.wire.codec import DIALECTS


def owners(model: str) -> list[str]:
    return [name for name, kind in kinds().items() if any(fnmatchcase(model, glob) for glob in kind.owns)]


def test_all_kinds_of_the_guide_and_the_common_others_are_there() -> None:
    assert list(kinds()) == [
        "openai", "anthropic", "openrouter", "groq", "local", "vllm", "gemini", "mistral", "deepseek", "xai", "together",
        "fireworks", "cerebras",
    ]  # fmt: skip
    assert CUSTOM not in kinds()


@pytest.mark.parametrize("name", list(kinds()))
def test_each_row_is_complete_and_can_be_used_as_it_is(name: str) -> None:
    kind = kinds()[name]
    parts = urlsplit(kind.base_url)
    assert parts.scheme == "https" or parts.hostname == "localhost"
    assert not kind.base_url.endswith("/")
    assert kind.dialect in DIALECTS
    assert kind.docs.startswith("https://")
    assert kind.checked is not None
    assert kind.key_variables
    assert not (kind.key_required and kind.auth == "none")


@pytest.mark.parametrize(
    ("model", "owner"),
    [
        ("gpt-4o", "openai"),
        ("gpt-5.2-codex", "openai"),
        ("o1", "openai"),
        ("o3-mini", "openai"),
        ("chatgpt-4o-latest", "openai"),
        ("text-embedding-3-small", "openai"),
        ("ft:gpt-4o-mini:acme::abc", "openai"),
        ("claude-3.5-sonnet", "anthropic"),
        ("claude-opus-4-5", "anthropic"),
        ("gemini-2.5-flash", "gemini"),
        ("codestral-latest", "mistral"),
        ("deepseek-reasoner", "deepseek"),
        ("grok-4", "xai"),
    ],
)
def test_a_vendors_own_model_names_have_one_owner(model: str, owner: str) -> None:
    assert owners(model) == [owner]


@pytest.mark.parametrize("model", ["llama-3.3", "llama3.3:70b", "gpt-oss-120b", "qwen3", "deepseek-r1:8b", "openai/gpt-4o"])
def test_open_models_and_other_catalogues_names_have_no_owner(model: str) -> None:
    assert owners(model) == []


def test_the_local_kind_needs_no_key_and_vllm_may_have_one() -> None:
    local, vllm = kinds()["local"], kinds()["vllm"]
    assert (local.auth, local.key_required, local.base_url) == ("none", False, "http://localhost:11434/v1")
    assert (vllm.auth, vllm.key_required, vllm.base_url) == ("bearer", False, "http://localhost:8000/v1")


def test_gemini_prefers_its_own_key_variable() -> None:
    assert kinds()["gemini"].key_variables == ("GEMINI_API_KEY", "GOOGLE_API_KEY")


def test_groq_is_known_to_serve_the_guides_llama() -> None:
    assert any(fnmatchcase("llama-3.1-8b", glob) for glob in kinds()["groq"].serves)
