"""Buckets and arms: the same for ever, even, independent, and never moving a user back."""

from __future__ import annotations

import hashlib
import math
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.errors import RequestError
from podium.routing.rollout import Rollout, Rule, bucket, decide, simple_hash, unheard
from podium.types import load

IDS = st.text(alphabet=st.characters(), min_size=1)  # surrogates too: JSON can write half a pair
PERCENTS = st.floats(0, 100)
HASHES = st.sampled_from(["sha256", "legacy_js"])


def rollout(**settings: Any) -> Rollout:
    return Rollout(**{"name": "chat", "match": ("gpt-4",), "legacy": "openai/gpt-4", "candidate": "tier:high"} | settings)


@pytest.mark.parametrize(("unit", "expected"), [("user-1", 2579), ("user-123", 280), ("alice@example.com", 5672), ("😀", 8434)])
def test_sha256_buckets_are_those_of_the_vectors(unit: str, expected: int) -> None:
    assert bucket("chat-v2", unit, "sha256") == expected


@given(st.text(min_size=1, max_size=20), IDS)
def test_a_bucket_is_the_sha256_that_openssl_gives_of_salt_and_id(salt: str, unit: str) -> None:
    digest = hashlib.sha256(f"{salt}:{unit}".encode("utf-8", "surrogatepass")).digest()
    assert bucket(salt, unit) == int.from_bytes(digest[:8], "big") % 10_000


@pytest.mark.parametrize(
    ("unit", "hashed", "expected"),
    [
        ("", 0, 0),
        ("user-1", 836031825, 25),
        ("user-123", 267697872, 72),
        ("alice@example.com", 2145772861, 61),
        ("polygenelubricants", 2147483648, 48),  # its 32 bits are the least number there is, whose abs only a float holds
        ("😀", 1772899, 99),  # two UTF-16 code units
        ("550e8400-e29b-41d4-a716-446655440000", 1716781005, 5),
    ],
)
def test_legacy_js_buckets_are_those_of_the_guides_simple_hash(unit: str, hashed: int, expected: int) -> None:
    assert simple_hash(unit) == hashed
    assert bucket("any salt", unit, "legacy_js") == expected


@given(IDS | st.text(min_size=60, max_size=140))
def test_simple_hash_follows_javascript_step_by_step(text: str) -> None:
    def signed(number: int) -> int:
        number &= 0xFFFFFFFF
        return number - 0x100000000 if number >= 0x80000000 else number

    state = 0
    data = text.encode("utf-16-be", "surrogatepass")
    for high, low in zip(data[::2], data[1::2], strict=True):
        state = signed(signed(state << 5) - state + (high << 8 | low))
    assert simple_hash(text) == abs(state)


@given(IDS, PERCENTS, PERCENTS, HASHES, st.booleans())
def test_raising_the_percentage_never_moves_a_user_back(user: str, one: float, other: float, hash: str, by_rule: bool) -> None:
    low, high = sorted((one, other))

    def arm(percent: float) -> str:
        shares: dict[str, Any] = {"rules": (Rule(team="a", percent=percent),)} if by_rule else {"percent": percent}
        return decide(rollout(hash=hash, **shares), user_id=user, team="a", unit_id=user).arm

    assert (arm(low), arm(high)) != ("candidate", "legacy")


@given(IDS, HASHES)
def test_nobody_is_drawn_at_0_and_everybody_at_100(user: str, hash: str) -> None:
    assert decide(rollout(hash=hash, percent=0), user_id=user, unit_id=user).arm == "legacy"
    assert decide(rollout(hash=hash, percent=100), user_id=user, unit_id=user).arm == "candidate"


@given(IDS, IDS, IDS)
def test_a_decision_is_the_same_every_time_and_depends_on_salt_and_unit_alone(user: str, salt: str, team: str) -> None:
    one = rollout(percent=50, salt=salt)
    again = load(Rollout, rollout(percent=50, salt=salt, name="other", candidate="openai/gpt-4o").to_dict())
    assert decide(one, user_id=user, unit_id=user) == decide(again, user_id=user, team=team, tags=("t",), unit_id=user)


def chi_squared(counts: list[int]) -> float:
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


def most_expected(cells: int) -> float:
    """What chi-squared over so many cells exceeds in one case of 10,000 (Wilson and Hilferty)."""
    freedom = cells - 1
    return freedom * (1 - 2 / (9 * freedom) + 3.719 * math.sqrt(2 / (9 * freedom))) ** 3


@pytest.mark.parametrize("form", ["user-{}", "{}@example.com", "{:08d}", "org-7/{}"])
def test_buckets_of_consecutive_ids_are_uniform(form: str) -> None:
    cells = [0] * 100
    for number in range(100_000):
        cells[bucket("chat", form.format(number)) // 100] += 1
    assert chi_squared(cells) < most_expected(100)


def test_two_salts_are_independent() -> None:
    """Chi-squared over the table of both draws: knowing one rollout's bucket says nothing of the other's."""
    cells = [0] * 100
    for number in range(100_000):
        user = f"user-{number}"
        cells[bucket("chat", user) // 1000 * 10 + bucket("search", user) // 1000] += 1
    assert chi_squared(cells) < most_expected(100)


def test_consecutive_ids_are_neighbours_under_legacy_js_and_not_under_sha256() -> None:
    """SCIENCE's reason for the default: P(next bucket = this + 1) is about 0.89 under the guide's hash."""
    ids = [f"user-{number}" for number in range(1000, 10_000)]

    def neighbours(hash: Any, size: int) -> float:
        drawn = [bucket("chat", user, hash) * 100 // size for user in ids]
        return sum((a + 1) % 100 == b for a, b in pairwise(drawn)) / len(drawn)

    assert neighbours("legacy_js", 100) > 0.85
    assert neighbours("sha256", 10_000) < 0.02


def test_the_order_is_kill_switch_then_test_users_then_rules_then_bucket() -> None:
    whole = rollout(
        percent=100,
        test_users=("ann",),
        rules=(Rule(user="ann", arm="legacy"), Rule(team="ops", arm="legacy"), Rule(tag="beta", arm="candidate")),
    )
    asked: dict[str, Any] = {"user_id": "ann", "team": "ops", "tags": ("beta",), "unit_id": "ann"}
    assert decide(whole.replace(enabled=False), **asked).by == "disabled"
    assert (decide(whole, **asked).arm, decide(whole, **asked).by) == ("candidate", "test_user")
    by_rule = decide(whole.replace(test_users=()), **asked)
    assert (by_rule.arm, by_rule.reason) == ("legacy", "the rule for user ann says legacy")
    first = decide(whole, **(asked | {"user_id": "bob", "unit_id": "bob"}))
    assert (first.arm, first.reason) == ("legacy", "the rule for team ops says legacy")
    drawn = decide(whole, user_id="bob", unit_id="bob")
    assert (drawn.arm, drawn.by) == ("candidate", "bucket")


@given(IDS)
def test_zero_percent_keeps_the_test_users_and_disabling_stops_everyone(user: str) -> None:
    none = rollout(percent=0, test_users=("tess",), rules=(Rule(tag="beta", arm="candidate"),))
    assert decide(none, user_id="tess", unit_id="tess").arm == "candidate"
    off = none.replace(enabled=False, percent=100.0)
    assert {decide(off, user_id=who, tags=("beta",), unit_id=who).arm for who in (user, "tess")} == {"legacy"}


@pytest.mark.parametrize("missing", [None, ""])
def test_without_an_id_to_draw_for_a_percentage_gives_legacy_and_a_named_arm_holds(missing: str | None) -> None:
    whole = rollout(percent=100, rules=(Rule(team="a", percent=100), Rule(team="b", arm="candidate")))
    assert decide(whole, unit_id=missing).arm == "legacy"
    assert decide(whole, team="a", unit_id=missing).by == "no_unit"
    assert decide(whole, team="b", unit_id=missing).arm == "candidate"
    talks = rollout(percent=100, unit="conversation")
    assert "no conversation" in decide(talks, user_id="jane", unit_id=missing).reason


def test_a_rule_has_a_share_of_its_own_on_the_same_bucket() -> None:
    some = rollout(salt="chat-v2", percent=0, rules=(Rule(team="a", percent=25.79), Rule(team="b", percent=25.8)))
    assert decide(some, team="a", unit_id="user-1").arm == "legacy"
    taken = decide(some, team="b", unit_id="user-1")
    assert (taken.arm, taken.reason) == ("candidate", "bucket 2579 is within the 25.8 % of the rule for team b")
    assert decide(some, unit_id="user-1").arm == "legacy"


def test_all_conditions_of_a_rule_must_fit() -> None:
    both = rollout(rules=(Rule(team="a", tag="beta", arm="candidate"),))
    assert decide(both, team="a", tags=("beta", "x"), unit_id="u").arm == "candidate"
    assert decide(both, team="a", tags=("x",), unit_id="u").arm == "legacy"
    assert decide(both, tags=("beta",), unit_id="u").arm == "legacy"


def test_the_salt_is_the_name_and_stays_when_the_rollout_is_renamed() -> None:
    assert rollout(name="chat").salt == "chat"
    assert rollout(name="chat").replace(name="talk").salt == "chat"
    assert load(Rollout, {"name": "chat", "candidate": "tier:high"}).salt == "chat"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: rollout(percent=101), "share is 101 %"),
        (lambda: rollout(percent=-0.1), "share is -0.1 %"),
        (lambda: rollout(percent=math.nan), "share is nan %"),
        (lambda: rollout(name=""), "no name"),
        (lambda: rollout(unit="planet"), "draws for 'planet'"),
        (lambda: rollout(hash="md5"), "hashes by 'md5'"),
        (lambda: Rule(arm="candidate"), "nobody in particular"),
        (lambda: Rule(team="a"), "not neither"),
        (lambda: Rule(team="a", percent=5, arm="legacy"), "not both"),
        (lambda: Rule(team="a", percent=200), "share is 200 %"),
        (lambda: Rule(team="a", arm=cast(Any, "both")), "arm is 'both'"),
    ],
)
def test_a_wrong_setting_is_refused_in_words(wrong: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        wrong()
    assert caught.value.hint


def test_what_the_config_says_differently_is_unheard_unless_it_is_so_by_now() -> None:
    began = Rollout(name="chat", candidate="tier:fast", percent=10, match=("gpt-4",))
    config = began.replace(percent=25, match=("gpt-4", "gpt-4o"), candidate="tier:high")
    assert unheard(began, began, began) == ()
    assert unheard(began, began, config) == ("match", "candidate", "percent")
    assert unheard(began.replace(percent=25, candidate="tier:high"), began, config) == ("match",)
    assert unheard(began.replace(percent=50, enabled=False), began, began) == ()
