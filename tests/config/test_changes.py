"""Providers that are changed at run time, and how they are shown."""

from typing import Any

import pytest

from podium.config import compile_config, masked_provider, update_provider
from podium.errors import ConfigError
from podium.routing.snapshot import ModelEntry, Snapshot
from podium.types import Secret

ENV = {"OPENAI_API_KEY": "sk-0123456789-0123456789"}


@pytest.fixture
def snapshot() -> Snapshot:
    data: dict[str, Any] = {
        "providers": {
            "openai": {"timeout": "9s", "headers": {"x-token": "very-secret-token"}},
            "groq": {},
            "house": {"base_url": "https://h.example/v1", "api_key": "${HOUSE}"},
        }
    }
    return compile_config(data, env=ENV)


def test_a_change_is_a_new_snapshot_and_leaves_the_old_one_alone(snapshot: Snapshot) -> None:
    after = update_provider(snapshot, "openai", enabled=False, timeout="3s", maxConcurrent=2)
    changed = after.providers["openai"]
    assert (changed.enabled, changed.timeout_s, changed.max_concurrent) == (False, 3.0, 2)
    assert changed.unusable == "disabled: set enabled: true to use it"
    assert changed.api_key == snapshot.providers["openai"].api_key
    assert (after.version, snapshot.version) == (1, 0)
    assert snapshot.providers["openai"].enabled
    assert list(after.providers) == list(snapshot.providers)
    assert after.providers["groq"] is snapshot.providers["groq"]


def test_enabling_again_makes_it_usable_and_a_missing_key_is_still_missing(snapshot: Snapshot) -> None:
    off = update_provider(update_provider(snapshot, "openai", enabled=False), "groq", enabled=False)
    on = update_provider(update_provider(off, "openai", enabled=True), "groq", enabled=True)
    assert on.providers["openai"].unusable is None
    assert on.providers["groq"].unusable == "no API key: set GROQ_API_KEY (or api_key: in the config)"
    house = update_provider(snapshot, "house", timeout="1s").providers["house"]
    assert house.unusable == "no API key: set HOUSE (or api_key: in the config)"


def test_a_key_may_come_later(snapshot: Snapshot) -> None:
    after = update_provider(snapshot, "groq", api_key="gsk-new").providers["groq"]
    assert (after.api_key, after.unusable) == (Secret("gsk-new"), None)
    again = update_provider(snapshot, "groq", env={"GROQ_API_KEY": "from-env"}, api_key=None).providers["groq"]
    assert (again.api_key, again.key_variable, again.unusable) == (Secret("from-env"), "GROQ_API_KEY", None)
    named = update_provider(snapshot, "groq", env={"OTHER": "k"}, apiKey="${OTHER}").providers["groq"]
    assert (named.api_key, named.key_variable) == (Secret("k"), "OTHER")


def test_none_takes_a_limit_away_and_gives_the_address_of_the_kind_back(snapshot: Snapshot) -> None:
    moved = update_provider(snapshot, "openai", base_url="https://eu.example/v1", headers={}, models={"a": "b"})
    assert moved.providers["openai"].base_url == "https://eu.example/v1"
    assert moved.providers["openai"].models == {"a": ModelEntry(upstream="b")}
    assert moved.providers["openai"].headers == {}
    back = update_provider(moved, "openai", base_url=None, timeout=None)
    assert back.providers["openai"].base_url == "https://api.openai.com/v1"
    assert back.providers["openai"].timeout_s is None
    assert back.providers["openai"].models == {"a": ModelEntry(upstream="b")}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"timeout": 30}, "openai.timeout: `30` would be milliseconds. Did you mean `30s`?"),
        ({"enabeld": True}, "openai.enabeld: there is no such key. Did you mean `enabled`?"),
        ({"base_url": "x"}, "openai.base_url: `x` is not a URL."),
        ({"kind": "groq"}, "openai.kind: the kind of a provider cannot change."),
        ({"id": "groq"}, "openai.id: the id of a provider cannot change."),
        ({"enabled": "no"}, "openai.enabled: this must be `true` or `false`, not `no`."),
        ({"timeout": 1, "max_concurrent": 0}, "The update has 2 problems:"),
    ],
)
def test_a_wrong_change_is_told_like_a_wrong_config_and_changes_nothing(
    snapshot: Snapshot, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        update_provider(snapshot, "openai", **changes)
    assert words in str(raised.value)


def test_a_provider_that_does_not_exist_cannot_be_changed(snapshot: Snapshot) -> None:
    with pytest.raises(ConfigError, match=r"there is no provider `opnai`\. Did you mean `openai`\?"):
        update_provider(snapshot, "opnai", enabled=False)


def test_a_provider_is_shown_without_its_secrets(snapshot: Snapshot) -> None:
    shown = masked_provider(snapshot.providers["openai"])
    assert shown == {
        "id": "openai", "kind": "openai", "dialect": "openai_chat", "base_url": "https://api.openai.com/v1", "auth": "bearer",
        "api_key": "…6789", "key_variable": "OPENAI_API_KEY", "enabled": True, "usable": True, "unusable": None,
        "timeout_s": 9.0, "max_concurrent": None, "headers": {"x-token": "…"}, "models": {},
    }  # fmt: skip
    assert masked_provider(snapshot.providers["groq"])["usable"] is False
    assert "GROQ_API_KEY" in masked_provider(snapshot.providers["groq"])["unusable"]


def test_a_wrong_change_repeats_no_secret(snapshot: Snapshot) -> None:
    with pytest.raises(ConfigError) as raised:
        update_provider(snapshot, "openai", api_key="sk-with space-9999", headers={"x-a": "token-in-two\nlines"}, kind="sk-777")
    assert not any(word in str(raised.value) for word in ("9999", "token-in", "777"))
