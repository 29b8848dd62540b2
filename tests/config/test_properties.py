"""What holds for whatever is written."""

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from podium.config import (
    Problem,
    check_files,
    compile_config,
    compile_with_warnings,
    load_config,
    masked_provider,
    update_provider,
)
from podium.config.problems import path_text
from podium.config.sections import (
    ConfigSection,
    DefaultsSection,
    LedgerSection,
    PriceSection,
    ProviderSection,
    TeamSection,
    TierSection,
    UserSection,
)
from podium.config.shape import spellings
from podium.errors import ConfigError

SECTIONS = (
    ConfigSection,
    ProviderSection,
    TierSection,
    UserSection,
    DefaultsSection,
    TeamSection,
    PriceSection,
    LedgerSection,
)
KEYS = sorted(
    {key for section in SECTIONS for key in spellings(section)} | {"openai", "local", "provider", "model", "upstream"}
)
WORDS = [
    "openai/gpt-4o",
    "race",
    "consensus",
    "30s",
    "$1",
    "tier:fast",
    "user:a:b",
    "${X}",
    "${Y:-z}",
    "${",
    "a/b",
    "*.yaml",
    "\ud800",
    "",
]

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(WORDS), st.text(max_size=8), st.just(10**400)
)
keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=4))
anything = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5)), max_leaves=25
)

KEY = "sk-SECRET-in-the-config-0123456789"
TOKEN = "tok-SECRET-in-a-header"
PASSWORD = "pw-SECRET-of-the-environment"


def section(known: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(known), values, max_size=6)


configs = st.fixed_dictionaries(
    {},
    optional={
        "providers": st.dictionaries(keys, section(sorted(spellings(ProviderSection)), anything), max_size=3),
        "tiers": st.dictionaries(keys, section(sorted(spellings(TierSection)), anything), max_size=3),
        "users": st.dictionaries(keys, section(sorted(spellings(UserSection)), anything), max_size=2),
        "teams": st.dictionaries(keys, section(sorted(spellings(TeamSection)), anything), max_size=2),
        "prices": st.dictionaries(st.sampled_from(WORDS), section(sorted(spellings(PriceSection)), anything), max_size=2),
        "ledger": anything | section(sorted(spellings(LedgerSection)), anything),
        "data_dir": anything,
        "pricingCache": anything,
        "aliases": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=6),
        "defaultTier": anything,
    },
)


def problems_of(data: Any) -> tuple[Problem, ...] | None:
    """The problems of the `ConfigError` that a config raises; None where it raises none."""
    try:
        compile_config(data, env={"X": "x"}, base_dir="/nonexistent")
    except ConfigError as error:
        return error.problems
    return None


@given(st.one_of(st.dictionaries(keys, anything, max_size=6), configs))
@settings(max_examples=150)
@example({"providers": {"openai": {"headers": {"": "a"}}}})
@example({"tiers": {"a": {"models": [[[[]]]], "escalate_to": {"provider": []}, "fields": {"a": True}}}})
@example({"users": "\0"})
@example({"users": {"a": "\0"}})
@example({"users": "**"})
@example({"aliases": {"a": "b", "b": "a", "c": "a"}})
def test_compiling_gives_a_snapshot_or_a_config_error_and_nothing_else(data: dict[str, Any]) -> None:
    problems = problems_of(data)
    assert problems is None or problems
    assert all(problem.message and problem.severity == "error" for problem in problems or ())


@given(anything)
@settings(max_examples=100)
def test_any_value_at_all_gives_a_snapshot_or_a_config_error(data: Any) -> None:
    problems = problems_of(data)
    assert problems is None or problems


@given(st.one_of(st.text(max_size=60), st.binary(max_size=60), anything))
@settings(max_examples=200)
@example("a: &a [*a]")
@example("? [a]\n: b")
@example("<<: {providers: {}}")
@example("- ! x")
def test_the_check_of_any_file_is_a_list_of_problems(content: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.yaml"
        if isinstance(content, bytes):
            file.write_bytes(content)
        elif isinstance(content, str):
            file.write_text(content, "utf-8", errors="replace")
        else:
            file.write_text(yaml.dump(content), "utf-8", errors="replace")
        for problem in check_files([file], env={}):
            assert str(problem).startswith(str(file))


@given(
    place=st.sampled_from(
        ["api_key", "apiKey", "headers", "base_url", "kind", "dialect", "timeout", "id", "enabled", "models"]
    ),
    shape=st.sampled_from(["text", "list", "mapping", "spaced", "from environment", "half from environment"]),
    near=st.booleans(),
)
def test_a_secret_is_in_no_message_wherever_it_was_put_by_mistake(place: str, shape: str, near: bool) -> None:
    value: Any = {
        "text": KEY,
        "list": [KEY],
        "mapping": {"x-token": TOKEN, "nested": {"k": KEY}},
        "spaced": f"{KEY} {KEY}\n",
        "from environment": "${PASSWORD}",
        "half from environment": "x${PASSWORD}y",
    }[shape]
    fields: dict[str, Any] = {"api_key": KEY, "headers": {"x-token": TOKEN}, "timeout": 3}
    fields.pop("api_key") if place == "apiKey" else None
    fields[f"{place}x" if near else place] = value
    data = {"providers": {"openai": fields}, "tiers": {KEY: {"models": [KEY, "${PASSWORD}"]}}, "aliases": {"a": "${PASSWORD}"}}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "podium.yaml"
        file.write_text(yaml.safe_dump(data))
        said = [str(problem) for problem in check_files([file], env={"PASSWORD": PASSWORD})]
        assert said
        try:
            compile_config(load_config(file), env={"PASSWORD": PASSWORD})
        except ConfigError as error:
            said += [str(error), repr(error), str(error.to_dict())]
    assert not [words for words in said if "SECRET" in words]


def test_a_snapshot_a_config_and_a_masked_provider_show_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "podium.yaml"
    file.write_text(f"providers: {{openai: {{api_key: {KEY}}}}}\n")
    config = load_config(file)
    snapshot, warnings = compile_with_warnings(config)
    shown = [
        repr(config),
        repr(config.document),
        repr(snapshot),
        str(warnings),
        str(masked_provider(snapshot.providers["openai"])),
    ]
    shown.append(repr(update_provider(snapshot, "openai", api_key=f"{KEY}x")))
    assert not [words for words in shown if "SECRET" in words]


@given(st.lists(st.one_of(st.text(max_size=30), st.integers(min_value=0, max_value=99)), max_size=5))
def test_a_path_is_one_printable_line(path: list[str | int]) -> None:
    assert path_text(tuple(path)).isprintable()


@given(st.permutations(["openai", "groq", "local", "xai", "mistral"]))
def test_the_order_of_declaration_is_kept(names: list[str]) -> None:
    data = {
        "providers": dict.fromkeys(names),
        "tiers": {name: {"models": [f"{name}/x"]} for name in reversed(names)},
    }
    snapshot = compile_config(data, env={})
    assert list(snapshot.providers) == names
    assert list(snapshot.tiers) == names[::-1]
