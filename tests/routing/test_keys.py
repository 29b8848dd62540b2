"""Whose key pays: the rule of `mode` and `keys`, alone and in plans."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.errors import AllTargetsFailed
from podium.routing.keys import key_for, why_skip
from podium.routing.resolve import Resolver, resolve
from podium.routing.snapshot import Experiment, Provider, Snapshot, Strategy, User
from podium.types import Secret
from routing.samples import ANTHROPIC, GROQ, LOCAL, OPENAI, SNAPSHOT, by_name, provider, target, targets, tier

OWN = Secret("janes-own-key")
KEYLESS = provider("openai", key=False, owns=("gpt-[0-9]*",))
OPEN = LOCAL.replace(enabled=True, unusable=None, api_key=None, auth="none")

providers = st.builds(
    lambda name, key, wants, enabled: Provider(
        name=name,
        kind="custom",
        dialect="openai_chat",
        base_url="http://127.0.0.1",
        api_key=Secret("the-companys") if key else None,
        enabled=enabled,
        unusable="disabled" if not enabled else "no API key" if wants and not key else None,
    ),
    st.sampled_from(["a", "b"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
users = st.builds(
    lambda mode, keys: User(id="jane", mode=mode, keys=dict.fromkeys(keys, OWN)),
    st.sampled_from(["byok", "shared"]),
    st.sets(st.sampled_from(["a", "b"])),
)


def snapshot(user: User, *declared: Provider, strategy: Strategy | None = None) -> Snapshot:
    both = tier("both", "fallback", "openai/gpt-4o", "groq/llama")
    return Snapshot(
        providers=by_name(*declared),
        tiers={"both": both if strategy is None else both.replace(strategy=strategy)},
        users={user.id: user},
    )


@given(providers, users)
def test_byok_never_uses_the_companys_key(each: Provider, user: User) -> None:
    user = user.replace(mode="byok")
    assert key_for(each, user) in (None, OWN)
    if each.api_key is not None and each.name not in user.keys:
        assert why_skip(each, user)


@given(providers, users)
def test_the_users_own_key_comes_first_in_either_mode(each: Provider, user: User) -> None:
    if each.name in user.keys:
        assert key_for(each, user) == OWN
        assert (why_skip(each, user) is None) is each.enabled


@given(providers, users)
def test_shared_uses_the_companys_key_where_there_is_no_own(each: Provider, user: User) -> None:
    user = user.replace(mode="shared")
    if each.name not in user.keys:
        assert key_for(each, user) == each.api_key
        assert why_skip(each, user) == each.unusable


@given(providers, st.none() | users)
def test_no_key_makes_a_disabled_provider_usable(each: Provider, user: User | None) -> None:
    if not each.enabled:
        assert why_skip(each, user) == each.unusable


@given(providers, users)
def test_what_can_be_asked_without_a_key_can_be_asked_by_all(each: Provider, user: User) -> None:
    if each.api_key is None and each.unusable is None:
        assert why_skip(each, user) is None


@given(providers, st.none() | users)
def test_no_reason_holds_a_key(each: Provider, user: User | None) -> None:
    words = why_skip(each, user) or ""
    assert "the-companys" not in words
    assert OWN.reveal() not in words


def test_somebody_whom_the_snapshot_does_not_know_has_the_companys_key() -> None:
    assert key_for(OPENAI, None) == OPENAI.api_key
    assert why_skip(OPENAI, None) is None


# --- In plans --------------------------------------------------------------------------------------------------------


def test_a_provider_that_only_the_user_has_a_key_of_can_be_asked_by_that_user_alone() -> None:
    made = snapshot(User(id="jane", keys={"openai": OWN}), KEYLESS, GROQ)
    hers, ours = (resolve(made, "tier:both", user_id=user_id) for user_id in ("jane", None))
    assert hers.targets == targets("openai/gpt-4o", "groq/llama")
    assert ours.targets == targets("groq/llama")
    assert hers.reasons.steps[-2:] == (
        "Provider `openai` is asked with the own key of user `jane`.",
        "Provider `groq` is asked with the company's key: user `jane` has none for it (`mode: shared`).",
    )
    assert not [step for step in ours.reasons.steps if "key" in step]


def test_under_byok_a_provider_without_an_own_key_is_skipped_with_that_reason() -> None:
    plan = resolve(snapshot(User(id="jane", mode="byok", keys={"groq": OWN}), OPENAI, GROQ), "tier:both", user_id="jane")
    assert plan.targets == targets("groq/llama")
    assert [(each.name, each.why) for each in plan.reasons.skipped] == [
        (
            "openai/gpt-4o",
            "user `jane` brings their own keys (`mode: byok`) and has none for `openai`; set `keys.openai` in their config",
        )
    ]


def test_a_plan_with_no_target_left_under_byok_says_which_keys_to_set() -> None:
    made = snapshot(User(id="jane", mode="byok"), OPENAI, GROQ)
    with pytest.raises(AllTargetsFailed) as raised:
        resolve(made, "tier:both", user_id="jane")
    assert raised.value.hint == (
        "Set `keys.openai` in the config of user `jane` or set `keys.groq` in the config of user `jane`."
    )


def test_a_provider_that_needs_no_key_is_asked_under_byok() -> None:
    plan = resolve(snapshot(User(id="jane", mode="byok"), OPEN), "local/llama", user_id="jane")
    assert plan.targets == targets("local/llama")
    assert plan.reasons.steps[-1] == "Provider `local` is asked without a key."


def test_a_disabled_provider_is_skipped_whatever_keys_there_are() -> None:
    off = OPENAI.replace(enabled=False, unusable="it is disabled")
    plan = resolve(snapshot(User(id="jane", keys={"openai": OWN}), off, GROQ), "tier:both", user_id="jane")
    assert plan.targets == targets("groq/llama")
    assert plan.reasons.skipped[0].why == "it is disabled"


def test_the_keys_are_those_of_the_user_whose_plan_it_is() -> None:
    jane = User(
        id="jane",
        mode="byok",
        keys={"groq": OWN},
        experiments={"e": Experiment(name="e", strategy=Strategy(name="race"), targets=targets("openai/x", "groq/y"))},
    )
    plan = resolve(snapshot(jane, OPENAI, GROQ), "user:jane:e", user_id="somebody")
    assert (plan.user_id, plan.targets) == ("jane", targets("groq/y"))


def test_an_escalation_is_held_to_the_users_keys_too() -> None:
    strategy = Strategy(name="consensus", escalate_to=target("anthropic/claude"))
    user = User(id="jane", mode="byok", keys={"groq": OWN, "openai": OWN})
    made = snapshot(user, OPENAI, GROQ, ANTHROPIC, strategy=strategy)
    theirs = resolve(made, "tier:both", user_id="jane")
    assert theirs.strategy.escalate_to is None
    assert "it was the model to escalate to" in theirs.reasons.skipped[0].why
    assert resolve(made, "tier:both").strategy.escalate_to == target("anthropic/claude")


def test_a_resolver_keeps_the_plans_of_users_with_different_keys_apart() -> None:
    users_by_id = {
        "jane": User(id="jane", mode="byok", keys={"openai": OWN}),
        "bob": User(id="bob", mode="byok", keys={"groq": OWN}),
    }
    resolver = Resolver(SNAPSHOT.replace(users=users_by_id, aliases={}))
    for _ in range(2):
        asked = {user_id: resolver.resolve("tier:fast", user_id=user_id).targets for user_id in ("jane", "bob", "eve")}
        assert asked == {
            "jane": targets("openai/gpt-4o-mini"),
            "bob": targets("groq/llama-3.1-8b"),
            "eve": targets("openai/gpt-4o-mini", "groq/llama-3.1-8b"),
        }
