"""What specs mean: the table of specs row by row, then its rules sentence by sentence."""

from decimal import Decimal
from typing import Any

import pytest

from podium.errors import AllTargetsFailed, SpecError
from podium.routing.resolve import PLANS_KEPT, Resolver, resolve, upstream
from podium.routing.snapshot import Experiment, ModelEntry, Snapshot, Strategy
from podium.types import Considered
from routing.samples import (
    ANTHROPIC,
    BOB,
    GROQ,
    JANE,
    LOCAL,
    OPENAI,
    OPENROUTER,
    SNAPSHOT,
    by_name,
    provider,
    target,
    targets,
    tier,
)


def names(plan: Any) -> list[str]:
    return [str(each) for each in plan.targets]


def not_taken(plan: Any) -> dict[str, str]:
    return {each.name: each.why for each in plan.reasons.considered}


# spec, what else is said, the rule, the strategy, the targets, then tier, experiment and user of the plan
TABLE: list[tuple[str | None, dict[str, Any], str, str, list[str], tuple[str | None, str | None, str | None]]] = [
    ("groq/llama-3.3-70b", {}, "target", "first", ["groq/llama-3.3-70b"], (None, None, None)),
    (
        "openrouter/google/gemini-2.0-flash",
        {},
        "target",
        "first",
        ["openrouter/google/gemini-2.0-flash"],
        (None, None, None),
    ),
    ("groq/llama3.3:70b", {"user_id": "eve"}, "target", "first", ["groq/llama3.3:70b"], (None, None, "eve")),
    ("tier:fast", {}, "tier", "race", ["openai/gpt-4o-mini", "groq/llama-3.1-8b"], ("fast", None, None)),
    ("fast", {}, "bare_tier", "race", ["openai/gpt-4o-mini", "groq/llama-3.1-8b"], ("fast", None, None)),
    (
        "user:jane:local_first",
        {},
        "experiment",
        "fallback",
        ["openrouter/google/gemini-2.0-flash"],
        (None, "local_first", "jane"),
    ),
    ("user:jane:gpt", {}, "experiment", "first", ["openai/gpt-4o"], (None, "gpt", "jane")),
    ("user:jane", {}, "user_default", "fallback", ["openrouter/google/gemini-2.0-flash"], (None, "local_first", "jane")),
    ("user:jane", {"experiment": "gpt"}, "experiment", "first", ["openai/gpt-4o"], (None, "gpt", "jane")),
    ("gpt-4", {}, "alias", "first", ["anthropic/claude-3.5-sonnet"], ("high", None, None)),
    ("best", {}, "alias", "first", ["anthropic/claude-3.5-sonnet"], ("high", None, None)),
    ("smart", {}, "alias", "first", ["openai/gpt-4o"], (None, None, None)),
    ("research", {}, "alias", "fallback", ["openrouter/google/gemini-2.0-flash"], (None, "local_first", "jane")),
    ("research", {"experiment": "gpt"}, "alias", "first", ["openai/gpt-4o"], (None, "gpt", "jane")),
    ("gpt-4.1", {}, "bare_model", "first", ["openai/gpt-4.1"], (None, None, None)),
    ("google/gemini-2.0-flash", {}, "bare_model", "first", ["openrouter/google/gemini-2.0-flash"], (None, None, None)),
    ("openai/gpt-4o", {}, "auto_tier", "first", ["openai/gpt-4o"], ("medium", None, None)),
    ("gpt-4o", {}, "auto_tier", "first", ["openai/gpt-4o"], ("medium", None, None)),
    ("openai/gpt-4o-mini", {}, "auto_tier", "race", ["openai/gpt-4o-mini", "groq/llama-3.1-8b"], ("fast", None, None)),
    ("openai/gpt-4o-mini", {"pin": True}, "target", "first", ["openai/gpt-4o-mini"], (None, None, None)),
    ("groq/llama-3.1-8b", {}, "target", "first", ["groq/llama-3.1-8b"], (None, None, None)),
    (None, {"user_id": "bob", "experiment": "cheap"}, "experiment", "first", ["groq/llama-3.1-8b"], (None, "cheap", "bob")),
    (
        None,
        {"user_id": "jane"},
        "user_default",
        "fallback",
        ["openrouter/google/gemini-2.0-flash"],
        (None, "local_first", "jane"),
    ),
    (None, {"user_id": "bob"}, "default_tier", "race", ["openai/gpt-4o-mini", "groq/llama-3.1-8b"], ("fast", None, "bob")),
    (None, {"user_id": "eve"}, "default_tier", "race", ["openai/gpt-4o-mini", "groq/llama-3.1-8b"], ("fast", None, "eve")),
    (None, {}, "default_tier", "race", ["openai/gpt-4o-mini", "groq/llama-3.1-8b"], ("fast", None, None)),
]


@pytest.mark.parametrize(("spec", "said", "rule", "strategy", "asked", "belongs"), TABLE)
def test_each_form_of_a_spec_has_its_plan(
    spec: str | None,
    said: dict[str, Any],
    rule: str,
    strategy: str,
    asked: list[str],
    belongs: tuple[str | None, str | None, str | None],
) -> None:
    plan = resolve(SNAPSHOT, spec, **said)
    assert (plan.reasons.spec, plan.reasons.rule, plan.strategy.name, names(plan)) == (spec, rule, strategy, asked)
    assert (plan.tier, plan.experiment, plan.user_id) == belongs
    assert plan.reasons.strategy == plan.strategy.name
    assert plan.reasons.targets == plan.targets
    assert all(step.endswith(".") for step in plan.reasons.steps)


# --- The reasons, word by word ---------------------------------------------------------------------------------------


def test_the_reasons_of_an_alias_tell_each_link_and_what_it_hides() -> None:
    reasons = resolve(SNAPSHOT, "best").reasons
    assert reasons.steps == (
        "`best` is an alias of `gpt-4`.",
        "`gpt-4` is an alias of `tier:high`.",
        "Tier `high` is `first` over one model.",
        "The whole request may take 90 s, as tier `high` says.",
    )
    assert reasons.considered == ()
    hidden = resolve(SNAPSHOT, "gpt-4").reasons.considered
    assert hidden == (
        Considered(name="openai/gpt-4", why="an alias wins over a model of its name; `provider/` asks for the model"),
    )


def test_the_reasons_of_automatic_tier_resolution_name_the_rule_and_the_way_out() -> None:
    reasons = resolve(SNAPSHOT, "gpt-4o").reasons
    assert reasons.steps == (
        "`gpt-4o` is a model of provider `openai`: it is its own (`gpt-[0-9]*`).",
        "`openai/gpt-4o` is the first model of tier `medium`, so it became `tier:medium` "
        "(automatic tier resolution; pin=True asks the model itself).",
        "Tier `medium` is `first` over one model.",
    )


def test_the_reasons_of_an_experiment_tell_what_was_skipped_and_whose_timeout_holds() -> None:
    reasons = resolve(SNAPSHOT, "user:jane", experiment="gpt").reasons
    assert reasons.steps == (
        "The spec names no experiment, so experiment= decides: experiment `gpt` of user `jane` is `first` over one model.",
        "The whole request may take 20 s, as the defaults of user `jane` say.",
    )
    assert reasons.considered == (
        Considered(name="user:jane:local_first", why="experiment= wins over the user's default experiment"),
    )
    assert resolve(SNAPSHOT, "user:jane").reasons.skipped == (Considered(name="local/llama-3.3", why="it is disabled"),)


def test_the_reasons_of_no_spec_say_which_default_decided() -> None:
    assert resolve(SNAPSHOT, user_id="jane").reasons.steps[0].startswith("No spec was given, so the user's default experiment")
    assert resolve(SNAPSHOT).reasons.steps == (
        "No spec was given, so the default tier decides: tier `fast` is `race` over 2 models.",
    )
    assert not_taken(resolve(SNAPSHOT, user_id="jane")) == {"tier:fast": "a user's experiment wins over the default tier"}
    assert not_taken(resolve(SNAPSHOT, user_id="bob")) == {"user:bob": "this user has no default experiment"}
    assert not_taken(resolve(SNAPSHOT, user_id="eve")) == {
        "the user's default experiment": "no config is loaded for this user_id"
    }


def test_reasons_read_as_text_line_by_line() -> None:
    lines = str(resolve(SNAPSHOT, "user:jane:local_first", experiment="gpt").reasons).splitlines()
    assert lines[0] == "user:jane:local_first -> fallback over openrouter/google/gemini-2.0-flash"
    assert lines[-2:] == [
        "  skipped local/llama-3.3: it is disabled",
        "  not experiment=gpt: the spec wins: experiment= counts only without a spec, or with one like `user:id`",
    ]


def test_explain_is_the_same_object_whoever_resolves() -> None:
    resolver = Resolver(SNAPSHOT)
    for spec, said, *_ in TABLE:
        assert resolver.resolve(spec, **said) == resolve(SNAPSHOT, spec, **said) == resolver.resolve(spec, **said)


# --- The table's sentences -------------------------------------------------------------------------------------------


def test_a_target_is_split_at_the_first_slash_and_the_rest_is_verbatim() -> None:
    plan = resolve(SNAPSHOT, "openrouter/google/gemini:free/x")
    assert (plan.targets[0].provider, plan.targets[0].model) == ("openrouter", "google/gemini:free/x")


def test_a_model_that_nobody_declared_is_taken_verbatim_at_its_provider() -> None:
    assert names(resolve(SNAPSHOT, "anthropic/never-heard-of")) == ["anthropic/never-heard-of"]


def test_aliases_win_over_tiers() -> None:
    snapshot = SNAPSHOT.replace(aliases={"fast": "groq/llama-3.3-70b"})
    plan = resolve(snapshot, "fast")
    assert (plan.reasons.rule, names(plan)) == ("alias", ["groq/llama-3.3-70b"])
    assert not_taken(plan) == {"tier:fast": "an alias wins over a tier of its name; `tier:` asks for the tier"}
    assert resolve(snapshot, "tier:fast").tier == "fast"


def test_an_alias_of_its_own_tier_hides_nothing() -> None:
    plan = resolve(SNAPSHOT.replace(aliases={"fast": "tier:fast"}), "fast")
    assert (plan.tier, plan.reasons.considered) == ("fast", ())


def test_tiers_win_over_model_names() -> None:
    snapshot = SNAPSHOT.replace(tiers={"gpt-4o": tier("gpt-4o", "first", "groq/llama-3.1-8b")})
    plan = resolve(snapshot, "gpt-4o")
    assert (plan.reasons.rule, names(plan)) == ("bare_tier", ["groq/llama-3.1-8b"])
    assert not_taken(plan) == {"openai/gpt-4o": "a tier wins over a model of its name; `provider/` asks for the model"}


def test_an_alias_wins_over_provider_and_model() -> None:
    plan = resolve(SNAPSHOT.replace(aliases={"openai/gpt-4": "tier:high"}), "openai/gpt-4")
    assert plan.tier == "high"
    assert not_taken(plan)["openai/gpt-4"] == "an alias wins over a model of its name"


def test_aliases_that_go_in_a_circle_are_an_error_that_shows_it() -> None:
    snapshot = SNAPSHOT.replace(aliases={"a": "b", "b": "c", "c": "b", "self": "self"})
    with pytest.raises(SpecError, match="`a` -> `b` -> `c` -> `b`"):
        resolve(snapshot, "a")
    with pytest.raises(SpecError, match="`self` -> `self`"):
        resolve(snapshot, "self")


def test_an_error_behind_an_alias_tells_the_way_to_it() -> None:
    with pytest.raises(SpecError) as caught:
        resolve(SNAPSHOT.replace(aliases={"gpt-4": "tier:hgih"}), "gpt-4")
    assert str(caught.value).startswith("`gpt-4` is an alias of `tier:hgih`. There is no tier `hgih`. Did you mean `high`?")
    assert caught.value.candidates[0] == "tier:high"


def test_a_malformed_alias_is_still_a_malformed_spec() -> None:
    with pytest.raises(SpecError, match=r"`x` is an alias of `tier:`\.") as caught:
        resolve(SNAPSHOT.replace(aliases={"x": "tier:"}), "x")
    assert (caught.value.code, caught.value.status) == ("invalid_spec", 400)


# --- Bare model names ------------------------------------------------------------------------------------------------


def test_a_bare_name_is_its_owners_not_a_resellers() -> None:
    reseller = provider("openrouter", models={"gpt-4.1": "openai/gpt-4.1"})
    plan = resolve(SNAPSHOT.replace(providers=by_name(reseller, OPENAI)), "gpt-4.1")
    assert names(plan) == ["openai/gpt-4.1"]
    assert not_taken(plan) == {
        "openrouter/gpt-4.1": "it is listed in its `models`, but for provider `openai` it is its own (`gpt-[0-9]*`), "
        "which is the stronger claim"
    }


def test_of_several_instances_of_the_owners_kind_the_first_declared_is_taken() -> None:
    eu = provider("openai-eu", "openai", owns=OPENAI.owns)
    assert names(resolve(Snapshot(providers=by_name(eu, OPENAI)), "gpt-4o")) == ["openai-eu/gpt-4o"]
    plan = resolve(Snapshot(providers=by_name(OPENAI, eu)), "gpt-4o")
    assert names(plan) == ["openai/gpt-4o"]
    assert not_taken(plan) == {"openai-eu/gpt-4o": "provider `openai` is of the same kind and declared before it"}


def test_a_disabled_owner_gives_way_to_the_next_enabled_one() -> None:
    off = provider("openai", owns=OPENAI.owns, enabled=False)
    eu = provider("openai-eu", "openai", owns=OPENAI.owns)
    plan = resolve(Snapshot(providers=by_name(off, eu)), "gpt-4o")
    assert names(plan) == ["openai-eu/gpt-4o"]
    assert not_taken(plan) == {"openai/gpt-4o": "the provider is disabled"}


def test_a_disabled_owner_gives_way_to_the_only_one_that_serves_it() -> None:
    off = provider("openai", owns=OPENAI.owns, enabled=False)
    plan = resolve(Snapshot(providers=by_name(off, provider("router", serves=("gpt-*",)))), "gpt-4o")
    assert names(plan) == ["router/gpt-4o"]


def test_a_name_does_not_move_to_another_account_because_a_key_is_missing() -> None:
    keyless = provider("openai", owns=OPENAI.owns, key=False)
    eu = provider("openai-eu", "openai", owns=OPENAI.owns)
    asia = provider("openai-asia", "openai", owns=OPENAI.owns, key=False)
    with pytest.raises(AllTargetsFailed, match="cannot be asked: it has no key; OPENAI_API_KEY is not set") as caught:
        resolve(Snapshot(providers=by_name(keyless, eu, asia)), "gpt-4o")
    assert caught.value.hint == "Set OPENAI_API_KEY for provider `openai` or write `openai-eu/gpt-4o`."


def test_a_model_of_disabled_providers_alone_still_becomes_its_tier() -> None:
    off = provider("openai", owns=OPENAI.owns, enabled=False)
    plan = resolve(SNAPSHOT.replace(providers=by_name(off, GROQ)), "gpt-4o-mini")
    assert (plan.tier, names(plan)) == ("fast", ["groq/llama-3.1-8b"])
    assert plan.reasons.skipped == (Considered(name="openai/gpt-4o-mini", why="it is disabled"),)


def test_a_model_of_disabled_providers_alone_fails_by_its_target() -> None:
    off = provider("openai", owns=OPENAI.owns, enabled=False)
    with pytest.raises(AllTargetsFailed, match=r"but model `openai/gpt-5` cannot be asked: it is disabled\.") as caught:
        resolve(Snapshot(providers=by_name(off)), "gpt-5")
    assert caught.value.hint == "Enable provider `openai` (`enabled: true`)."


def test_a_provider_that_lists_a_model_has_it() -> None:
    mine = provider("lab", "custom", models={"house-model": "/srv/house"})
    plan = resolve(SNAPSHOT.replace(providers=SNAPSHOT.providers | by_name(mine)), "house-model")
    assert names(plan) == ["lab/house-model"]
    assert "listed in its `models`" in plan.reasons.steps[0]


def test_instances_of_kind_custom_are_not_of_one_kind() -> None:
    one, two = (provider(name, "custom", models={"house-model": "x"}) for name in ("lab", "attic"))
    with pytest.raises(SpecError, match="could be a model of 2 providers"):
        resolve(Snapshot(providers=by_name(one, two)), "house-model")


@pytest.mark.parametrize(
    ("name", "snapshot", "expected"),
    [
        ("llama-3.1-8b", SNAPSHOT, "groq/llama-3.1-8b"),
        ("my-own", SNAPSHOT.replace(tiers={"t": tier("t", "race", "openai/gpt-4o", "groq/my-own")}), "groq/my-own"),
        ("my-own", SNAPSHOT.replace(aliases={"mine": "anthropic/my-own"}), "anthropic/my-own"),
        ("meta-llama/llama-4", SNAPSHOT, "openrouter/meta-llama/llama-4"),
        ("llama-3.3", SNAPSHOT, "local/llama-3.3"),
    ],
)
def test_a_bare_name_goes_to_the_only_provider_that_serves_it(name: str, snapshot: Snapshot, expected: str) -> None:
    on = snapshot.replace(providers=snapshot.providers | by_name(provider("local")))
    assert names(resolve(on, name, pin=True)) == [expected]


def test_a_name_that_several_providers_serve_is_an_error_that_lists_them() -> None:
    other = provider("cerebras", serves=("llama-3.3-70b",))
    with pytest.raises(SpecError) as caught:
        resolve(SNAPSHOT.replace(providers=by_name(GROQ, other)), "llama-3.3-70b")
    error = caught.value
    assert (error.code, error.status) == ("ambiguous_spec", 400)
    assert error.candidates == ("groq/llama-3.3-70b", "cerebras/llama-3.3-70b")
    assert str(error) == (
        "The model name `llama-3.3-70b` could be a model of 2 providers: for provider `groq` it is among those it serves "
        "(`llama-3.3-70b*`); for provider `cerebras` it is among those it serves (`llama-3.3-70b`). Write one of "
        "`groq/llama-3.3-70b` or `cerebras/llama-3.3-70b`, or make `llama-3.3-70b` an alias of one of them."
    )


def test_a_users_experiment_cannot_take_a_name_that_the_config_settles() -> None:
    bob = BOB.replace(experiments={"x": Experiment(name="x", strategy=Strategy(), targets=targets("openai/llama-3.1-8b"))})
    snapshot = SNAPSHOT.replace(users={"bob": bob})
    plan = resolve(snapshot, "llama-3.1-8b", user_id="bob")
    assert names(plan) == ["groq/llama-3.1-8b"]
    assert "asked for by experiment `x` of user `bob`" in not_taken(plan)["openai/llama-3.1-8b"]


def test_a_name_with_a_slash_whose_first_part_is_no_provider_is_a_model_name() -> None:
    plan = resolve(SNAPSHOT, "meta-llama/Llama-3.3-70B")
    assert names(plan) == ["openrouter/meta-llama/Llama-3.3-70B"]
    assert plan.reasons.steps[0] == "`meta-llama` is no provider, so `meta-llama/Llama-3.3-70B` is read as a model name."


def test_a_providers_name_before_the_slash_wins_over_a_model_name_that_holds_one() -> None:
    plan = resolve(SNAPSHOT, "openai/gpt-5")
    assert names(plan) == ["openai/gpt-5"]
    assert not_taken(plan) == {
        "openrouter/openai/gpt-5": "a provider's name before the `/` wins over a model name that holds one"
    }


def test_a_slash_name_becomes_the_tier_that_it_begins() -> None:
    snapshot = SNAPSHOT.replace(tiers={"g": tier("g", "race", "openrouter/google/gemini", "openai/gpt-4o")})
    assert resolve(snapshot, "google/gemini").tier == "g"


# --- Names that nobody knows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "said", "message", "first", "param"),
    [
        ("tier:fsat", {}, "There is no tier `fsat`. Did you mean `fast`?", "tier:fast", "model"),
        ("tier:FAST", {}, "There is no tier `FAST`. Did you mean `fast`?", "tier:fast", "model"),
        ("user:jnae:gpt", {}, "There is no config of a user `jnae`. Did you mean `jane`?", "user:jane", "user_id"),
        ("user:jane:local", {}, "User `jane` has no experiment `local`.", "user:jane:local_first", "experiment"),
        ("user:jane", {"experiment": "zzz"}, "configs/researchers/jane.yaml", "user:jane:local_first", "experiment"),
        (
            None,
            {"user_id": "jane", "experiment": "gtp"},
            "no experiment `gtp`. Did you mean `gpt`?",
            "user:jane:gpt",
            "experiment",
        ),
        (None, {"user_id": "eve", "experiment": "gpt"}, "There is no config of a user `eve`.", "user:jane", "user_id"),
        ("user:bob", {}, "default experiment of user `bob`, who has none. Set `defaults:", "user:bob:cheap", "model"),
        ("opneai/gpt-4o", {}, "There is no provider `opneai`", "openai/gpt-4o", "model"),
        ("claud-3.5-sonnet", {}, "Did you mean `claude-3.5-sonnet`?", "claude-3.5-sonnet", "model"),
        ("teir:fast", {}, "Did you mean `tier:fast`", "tier:fast", "model"),
        ("cheap", {"user_id": "bob"}, "Did you mean `user:bob:cheap`", "user:bob:cheap", "model"),
    ],
)
def test_an_unknown_name_lists_the_candidates_the_nearest_first(
    spec: str | None, said: dict[str, Any], message: str, first: str, param: str
) -> None:
    with pytest.raises(SpecError) as caught:
        resolve(SNAPSHOT, spec, **said)
    assert message in str(caught.value)
    assert caught.value.candidates[0] == first
    assert (caught.value.code, caught.value.status, caught.value.param) == ("unknown_spec", 404, param)


def test_a_providers_bare_name_is_asked_for_its_model() -> None:
    with pytest.raises(SpecError, match=r"`openai` is a provider; which of its models is meant\? Write `openai/<model>`"):
        resolve(SNAPSHOT.replace(aliases={}, tiers={}, users={}), "openai")


def test_a_name_that_is_near_to_nothing_tells_how_to_write_it() -> None:
    with pytest.raises(SpecError, match=r"Write `provider/zzzz` if it is a model's name. The providers are `openai`,"):
        resolve(SNAPSHOT, "zzzz")
    with pytest.raises(SpecError, match="There are no providers yet"):
        resolve(Snapshot(), "zzzz")


def test_a_provider_that_podium_knows_and_the_config_does_not_is_told_how_to_be_added() -> None:
    with pytest.raises(SpecError, match=r"Add `mistral: {}` under `providers:` and set `MISTRAL_API_KEY`\."):
        resolve(Snapshot(), "mistral/mistral-large-latest")
    with pytest.raises(SpecError, match=r"Add `vllm: {}` under `providers:`\.$"):
        resolve(Snapshot(), "vllm/zzzz")


def test_an_experiment_of_nobody_is_an_error() -> None:
    with pytest.raises(SpecError, match="without a spec and without a user") as caught:
        resolve(SNAPSHOT, experiment="gpt")
    assert caught.value.param == "user_id"


def test_nothing_without_any_default_is_an_error_that_lists_the_tiers() -> None:
    with pytest.raises(SpecError, match="set `default_tier`") as caught:
        resolve(SNAPSHOT.replace(default_tier=None), user_id="bob")
    assert caught.value.candidates == ("tier:fast", "tier:medium", "tier:high")


def test_an_empty_or_broken_experiment_name_is_an_error_even_where_the_spec_wins() -> None:
    with pytest.raises(SpecError, match="experiment="):
        resolve(SNAPSHOT, "tier:fast", experiment="")


@pytest.mark.parametrize("thing", [7, ["tier:fast"], {"a": 1}])
def test_a_spec_that_is_no_string_is_a_spec_error(thing: Any) -> None:
    with pytest.raises(SpecError, match="it must be a string"):
        resolve(SNAPSHOT, thing)


# --- experiment= -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["tier:fast", "fast", "openai/gpt-4o", "gpt-4.1", "gpt-4", "user:jane:gpt"])
def test_any_other_spec_wins_over_experiment_and_says_so(spec: str) -> None:
    plan = resolve(SNAPSHOT, spec, user_id="jane", experiment="local_first")
    alone = resolve(SNAPSHOT, spec, user_id="jane")
    assert (plan.strategy, plan.targets, plan.tier) == (alone.strategy, alone.targets, alone.tier)
    assert not_taken(plan)["experiment=local_first"].startswith("the spec wins")


def test_the_user_of_a_spec_wins_over_the_user_who_asks_and_says_so() -> None:
    plan = resolve(SNAPSHOT, "user:jane:gpt", user_id="bob")
    assert plan.user_id == "jane"
    assert "The request's user_id is `bob`, but the spec wins: the plan is user `jane`'s." in plan.reasons.steps
    plan = resolve(SNAPSHOT, "user:jane:gpt", user_id="eve")
    assert plan.user_id == "jane"
    assert "The request's user_id is another, but the spec wins: the plan is user `jane`'s." in plan.reasons.steps
    for asking in (None, "jane"):
        assert len(resolve(SNAPSHOT, "user:jane:gpt", user_id=asking).reasons.steps) == 2


# --- Automatic tier resolution ---------------------------------------------------------------------------------------

TWO = SNAPSHOT.replace(
    tiers={
        "one": tier("one", "race", "openai/gpt-4o", "groq/llama-3.1-8b"),
        "two": tier("two", "first", "openai/gpt-4o"),
        "three": tier("three", "first", "openai/gpt-4o", auto=False),
    }
)


def test_of_several_tiers_with_the_same_first_model_the_first_declared_wins() -> None:
    plan = resolve(TWO, "openai/gpt-4o")
    assert plan.tier == "one"
    considered = not_taken(plan)
    assert set(considered) == {"openrouter/openai/gpt-4o", "tier:two", "tier:three"}
    assert considered["tier:two"] == "`openai/gpt-4o` is its first model, but tier `one` is declared before it"
    assert considered["tier:three"] == "`openai/gpt-4o` is its first model, but its `auto` is false"


def test_only_the_first_model_of_a_tier_becomes_the_tier() -> None:
    assert resolve(TWO, "groq/llama-3.1-8b").tier is None


def test_auto_tiers_false_turns_it_off() -> None:
    plan = resolve(TWO.replace(auto_tiers=False), "openai/gpt-4o")
    assert (plan.tier, plan.reasons.rule) == (None, "target")
    assert not_taken(plan)["tier:one"] == "`openai/gpt-4o` is its first model, but `auto_tiers` is false"


def test_auto_false_on_a_tier_lets_the_next_one_take_its_model() -> None:
    tiers = TWO.tiers | {"one": TWO.tiers["one"].replace(auto=False)}
    plan = resolve(TWO.replace(tiers=tiers), "gpt-4o")
    assert plan.tier == "two"
    assert not_taken(plan)["tier:one"] == "`openai/gpt-4o` is its first model, but its `auto` is false"


@pytest.mark.parametrize("spec", ["openai/gpt-4o", "gpt-4o"])
def test_pin_takes_a_request_as_written(spec: str) -> None:
    plan = resolve(TWO, spec, pin=True)
    assert (plan.tier, plan.strategy, names(plan)) == (None, Strategy(), ["openai/gpt-4o"])
    assert not_taken(plan)["tier:one"] == "`openai/gpt-4o` is its first model, but pin=True takes the model as written"


@pytest.mark.parametrize("spec", ["openai/gpt-4o", "gpt-4o"])
def test_what_asks_on_the_configs_behalf_is_taken_as_written(spec: str) -> None:
    plan = resolve(TWO, spec, auto=False)
    assert (plan.tier, names(plan)) == (None, ["openai/gpt-4o"])
    assert "taken as written" in not_taken(plan)["tier:one"]


def test_what_an_alias_points_at_is_taken_as_written() -> None:
    snapshot = TWO.replace(aliases={"smart": "openai/gpt-4o", "clever": "gpt-4o"})
    for alias in ("smart", "clever"):
        plan = resolve(snapshot, alias)
        assert (plan.tier, plan.reasons.rule, names(plan)) == (None, "alias", ["openai/gpt-4o"])
        assert not_taken(plan)["tier:one"].endswith("but what an alias points at is taken as written")


def test_the_members_of_tiers_and_experiments_are_taken_as_written() -> None:
    assert names(resolve(TWO, "tier:two")) == ["openai/gpt-4o"]
    assert resolve(TWO, "tier:two").tier == "two"
    assert (resolve(TWO, "user:jane:gpt").tier, resolve(TWO, "user:jane:gpt").strategy) == (None, Strategy())


def test_pin_and_auto_leave_aliases_and_tiers_as_they_are() -> None:
    for spec in ("gpt-4", "tier:fast", "fast", None, "user:jane"):
        assert resolve(SNAPSHOT, spec, pin=True) == resolve(SNAPSHOT, spec) == resolve(SNAPSHOT, spec, auto=False)


# --- Instances, upstream names, targets that cannot be asked ----------------------------------------------------------


def test_a_public_name_may_stand_for_an_upstream_name() -> None:
    eu = provider("openai-eu", "openai", owns=OPENAI.owns, models={"gpt-4o": "prod-4o"})
    snapshot = Snapshot(providers=by_name(eu))
    plan = resolve(snapshot, "gpt-4o")
    assert plan.targets == targets("openai-eu/gpt-4o")
    assert plan.reasons.steps[-1] == "Provider `openai-eu` is sent `prod-4o` for `gpt-4o`."
    assert upstream(snapshot, plan.targets[0]) == ModelEntry(upstream="prod-4o")
    assert upstream(snapshot, target("openai-eu/o3")) == ModelEntry(upstream="o3")
    assert upstream(snapshot, target("nowhere/o3")) == ModelEntry(upstream="o3")


def test_a_target_that_cannot_be_asked_is_skipped_with_its_reason() -> None:
    keyless = provider("groq", key=False)
    plan = resolve(SNAPSHOT.replace(providers=by_name(OPENAI, keyless)), "tier:fast")
    assert names(plan) == ["openai/gpt-4o-mini"]
    assert plan.reasons.skipped == (Considered(name="groq/llama-3.1-8b", why="it has no key; GROQ_API_KEY is not set"),)


def test_a_target_whose_provider_is_gone_is_skipped() -> None:
    plan = resolve(SNAPSHOT.replace(providers=by_name(OPENAI)), "tier:fast")
    assert plan.reasons.skipped == (Considered(name="groq/llama-3.1-8b", why="there is no provider `groq`"),)


def test_a_provider_that_is_disabled_without_a_word_is_skipped_too() -> None:
    off = GROQ.replace(enabled=False)
    plan = resolve(SNAPSHOT.replace(providers=by_name(OPENAI, off)), "tier:fast")
    assert plan.reasons.skipped == (Considered(name="groq/llama-3.1-8b", why="the provider is disabled"),)


def test_only_a_plan_with_no_target_left_is_an_error_and_it_lists_every_reason_and_remedy() -> None:
    snapshot = SNAPSHOT.replace(providers=by_name(provider("groq", key=False), LOCAL))
    snapshot = snapshot.replace(tiers={"t": tier("t", "race", "groq/a", "local/b", "gone/c", "groq/d")})
    with pytest.raises(AllTargetsFailed) as caught:
        resolve(snapshot, "tier:t")
    assert [each.name for each in caught.value.skipped] == ["groq/a", "local/b", "gone/c", "groq/d"]
    assert str(caught.value) == (
        "The spec `tier:t` was asked for, but no target of tier `t` can be asked: `groq/a` (it has no key; GROQ_API_KEY is not "
        "set); `local/b` (it is disabled); `gone/c` (there is no provider `gone`); `groq/d` (it has no key; GROQ_API_KEY is "
        "not set). Tier `t` is `race` over 4 models. Set GROQ_API_KEY for provider `groq` or enable provider `local` "
        "(`enabled: true`) or add provider `gone` to the config."
    )


def test_a_model_of_a_provider_that_cannot_be_asked_fails_in_the_same_way() -> None:
    with pytest.raises(AllTargetsFailed, match=r"but model `local/llama3\.3:70b` cannot be asked: it is disabled\.") as caught:
        resolve(SNAPSHOT, "local/llama3.3:70b")
    assert caught.value.skipped == (Considered(name="local/llama3.3:70b", why="it is disabled"),)


def test_a_tier_without_models_is_an_error_that_says_so() -> None:
    with pytest.raises(AllTargetsFailed, match="tier `t` has no models"):
        resolve(SNAPSHOT.replace(tiers={"t": tier("t", "race")}), "tier:t")


def test_first_keeps_its_usable_targets_in_order() -> None:
    snapshot = SNAPSHOT.replace(tiers={"t": tier("t", "first", "local/x", "openai/a", "groq/b")})
    plan = resolve(snapshot, "tier:t")
    assert names(plan) == ["openai/a", "groq/b"]
    assert plan.reasons.steps[-1] == "`first` asks one model, the first that can be asked (`openai/a`), and never falls back."


def test_a_model_named_twice_is_asked_twice() -> None:
    snapshot = SNAPSHOT.replace(tiers={"t": tier("t", "consensus", "openai/a", "openai/a", "openai/a")})
    assert names(resolve(snapshot, "tier:t")) == ["openai/a"] * 3


@pytest.mark.parametrize(("on_disagree", "kept"), [("escalate", None), (None, None), ("error", "error")])
def test_an_escalation_to_a_model_that_cannot_be_asked_is_left_out(on_disagree: Any, kept: Any) -> None:
    strategy = Strategy(name="consensus", escalate_to=target("local/big"), on_disagree=on_disagree)
    judged = tier("t", "consensus", "openai/a", "groq/b").replace(strategy=strategy)
    plan = resolve(SNAPSHOT.replace(tiers={"t": judged}), "tier:t")
    assert (plan.strategy.escalate_to, plan.strategy.on_disagree) == (None, kept)
    assert plan.reasons.skipped == (Considered(name="local/big", why="it is disabled (it was the model to escalate to)"),)


def test_an_escalation_to_a_model_that_can_be_asked_stays() -> None:
    strategy = Strategy(name="consensus", escalate_to=target("anthropic/claude"))
    judged = tier("t", "consensus", "openai/a", "groq/b").replace(strategy=strategy)
    assert resolve(SNAPSHOT.replace(tiers={"t": judged}), "tier:t").strategy == strategy


# --- Limits ----------------------------------------------------------------------------------------------------------


def test_the_timeout_is_the_experiments_else_the_users_else_the_tiers() -> None:
    assert resolve(SNAPSHOT, "user:jane:local_first").timeout_s == 45.0
    assert resolve(SNAPSHOT, "user:jane:gpt").timeout_s == 20.0
    assert resolve(SNAPSHOT, "tier:high", user_id="jane").timeout_s == 20.0
    assert resolve(SNAPSHOT, "tier:high", user_id="bob").timeout_s == 90.0
    assert resolve(SNAPSHOT, "tier:high").timeout_s == 90.0
    assert resolve(SNAPSHOT, "groq/llama-3.3-70b", user_id="jane").timeout_s == 20.0
    assert resolve(SNAPSHOT, "tier:fast").timeout_s is None


def test_the_cost_limit_is_the_experiments_or_the_tiers() -> None:
    tiers = {"t": tier("t", "first", "openai/a").replace(max_cost_usd=Decimal("0.5"))}
    assert resolve(SNAPSHOT, "user:jane:local_first").max_cost_usd == Decimal("0.02")
    assert resolve(SNAPSHOT.replace(tiers=tiers), "tier:t").max_cost_usd == Decimal("0.5")
    assert resolve(SNAPSHOT, "groq/llama-3.3-70b", user_id="jane").max_cost_usd is None


# --- The resolver's memory -------------------------------------------------------------------------------------------


def test_a_resolver_gives_the_same_plan_again_and_forgets_the_oldest() -> None:
    resolver = Resolver(SNAPSHOT)
    first = resolver.resolve("tier:fast")
    assert resolver.resolve("tier:fast") is first
    for number in range(PLANS_KEPT):
        resolver.resolve(f"openai/model-{number}")
    assert resolver.resolve("tier:fast") is first  # in the older generation, and taken over
    for number in range(2 * PLANS_KEPT):
        resolver.resolve(f"groq/model-{number}")
    again = resolver.resolve("tier:fast")
    assert again is not first
    assert again == first


def test_users_whom_nobody_knows_share_their_plans_and_keep_their_ids() -> None:
    resolver = Resolver(SNAPSHOT)
    eve, zoe = resolver.resolve("tier:fast", user_id="eve"), resolver.resolve("tier:fast", user_id="zoe")
    assert (eve.user_id, zoe.user_id) == ("eve", "zoe")
    assert eve.reasons is zoe.reasons
    assert eve.replace(user_id="zoe") == zoe


def test_an_error_is_made_afresh_for_each_caller() -> None:
    resolver = Resolver(SNAPSHOT)
    with pytest.raises(SpecError, match="`eve`"):
        resolver.resolve(user_id="eve", experiment="x")
    with pytest.raises(SpecError, match="`zoe`"):
        resolver.resolve(user_id="zoe", experiment="x")


def test_the_samples_are_what_the_tests_take_them_for() -> None:
    assert [each.name for each in (OPENAI, ANTHROPIC, OPENROUTER, GROQ) if each.unusable] == []
    assert LOCAL.unusable == "it is disabled"
    assert JANE.default_experiment == "local_first"
