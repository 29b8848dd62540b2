"""Resolving, over arbitrary snapshots and arbitrary texts: few names, so that everything collides with everything."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from podium.errors import AllTargetsFailed, PodiumError, SpecError
from podium.routing.resolve import Resolver, resolve
from podium.routing.snapshot import Experiment, ModelEntry, Plan, Provider, Snapshot, Strategy, Tier, User
from podium.types import Secret, Target

PROVIDERS = ["openai", "eu", "groq", "m"]
NAMES = ["openai", "m", "m/x", "gpt-4", "fast", "t", "jane", "e"]
GLOBS = ["gpt-*", "m*", "*/x", "*", "[a-f]*", "[", "?", "fast"]

names = st.sampled_from(NAMES)
durations = st.none() | st.sampled_from([0.5, 30.0])


def sets_of(values: st.SearchStrategy[str], most: int = 3, least: int = 0) -> st.SearchStrategy[list[str]]:
    return st.lists(values, min_size=least, max_size=most, unique=True)


specs = st.one_of(
    names,
    st.builds("{}/{}".format, st.sampled_from([*PROVIDERS, "gone"]), names),
    st.builds("tier:{}".format, names),
    st.builds("user:{}".format, st.sampled_from(["jane", "bob", "eve"])),
    st.builds("user:{}:{}".format, st.sampled_from(["jane", "bob", "eve"]), names),
    st.text(alphabet="mt/: \n*", max_size=6),
)
targets = st.builds(
    lambda provider, model: Target(provider=provider, model=model), st.sampled_from([*PROVIDERS, "gone"]), names
)
strategies = st.builds(
    lambda name, escalate_to, on_disagree: Strategy(name=name, escalate_to=escalate_to, on_disagree=on_disagree),
    st.sampled_from(["first", "fallback", "race", "consensus"]),
    st.none() | targets,
    st.sampled_from([None, "escalate", "plurality", "error"]),
)
target_lists = st.lists(targets, max_size=3).map(tuple)


@st.composite
def providers(draw: st.DrawFn) -> dict[str, Provider]:
    return {
        name: Provider(
            name=name,
            kind=draw(st.sampled_from(["openai", "groq", "custom"])),
            dialect="openai_chat",
            base_url="http://127.0.0.1",
            enabled=draw(st.sampled_from([True, True, True, False])),
            unusable="it has no key" if (key := draw(st.sampled_from([True, True, False, None]))) is None else None,
            api_key=Secret("the company's") if key else None,
            key_variable=draw(st.sampled_from([None, "A_KEY"])),
            models={model: ModelEntry(upstream="up") for model in draw(sets_of(names))},
            owns=tuple(draw(sets_of(st.sampled_from(GLOBS), 2))),
            serves=tuple(draw(sets_of(st.sampled_from(GLOBS), 2))),
        )
        for name in draw(sets_of(st.sampled_from(PROVIDERS), 4, 2))
    }


@st.composite
def users(draw: st.DrawFn) -> dict[str, User]:
    return {
        user_id: User(
            id=user_id,
            experiments={
                name: Experiment(name=name, strategy=draw(strategies), targets=draw(target_lists), timeout_s=draw(durations))
                for name in draw(sets_of(names, 2))
            },
            default_experiment=draw(st.none() | names),
            timeout_s=draw(durations),
            mode=draw(st.sampled_from(["shared", "shared", "byok"])),
            keys=dict.fromkeys(draw(sets_of(st.sampled_from(PROVIDERS), 2)), Secret("own")),
        )
        for user_id in draw(sets_of(st.sampled_from(["jane", "bob"])))
    }


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    return Snapshot(
        providers=draw(providers()),
        tiers={
            name: Tier(
                name=name,
                strategy=draw(strategies),
                targets=draw(target_lists),
                auto=draw(st.sampled_from([True, True, False])),
                timeout_s=draw(durations),
            )
            for name in draw(sets_of(names))
        },
        aliases=draw(st.dictionaries(names, specs, max_size=4)),
        users=draw(users()),
        default_tier=draw(st.none() | names),
        auto_tiers=draw(st.sampled_from([True, True, False])),
    )


@st.composite
def questions(draw: st.DrawFn, snapshot: Snapshot) -> dict[str, Any]:
    """A question to a snapshot: often about a name or a model that it has, at times about anything at all."""
    begun_by = [tier.targets[0] for tier in snapshot.tiers.values() if tier.targets]
    models = [*map(str, begun_by), *(target.model for target in begun_by)]
    spelt = [*models, *snapshot.aliases, *snapshot.tiers, *(f"user:{user_id}" for user_id in snapshot.users)]
    spec = st.none() | specs | st.text()
    return {
        "spec": draw(st.sampled_from(spelt) | st.sampled_from(models or spelt) | spec if spelt else spec),
        "user_id": draw(st.sampled_from([None, "jane", "bob", "eve", ""])),
        "experiment": draw(st.none() | st.none() | names | st.text(max_size=3)),
        "pin": draw(st.booleans()),
        "auto": draw(st.booleans()),
    }


Situation = tuple[Snapshot, dict[str, Any]]


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    snapshot = draw(snapshots())
    return snapshot, draw(questions(snapshot))


def ask(snapshot: Snapshot, question: dict[str, Any]) -> Plan | PodiumError:
    """The plan, or Podium's error; any other exception fails the test."""
    try:
        return resolve(snapshot, **question)
    except PodiumError as error:
        return error


def usable(snapshot: Snapshot, target: Target, user_id: str | None) -> bool:
    provider = snapshot.providers.get(target.provider)
    if provider is None or not provider.enabled:
        return False
    user = snapshot.users.get(user_id or "")
    if user is not None and target.provider in user.keys:
        return True
    return provider.unusable is None and (provider.api_key is None or user is None or user.mode == "shared")


@settings(max_examples=400)
@given(situations())
def test_resolve_gives_a_plan_of_usable_targets_or_an_error_that_says_what_to_do(situation: Situation) -> None:
    snapshot, question = situation
    plan = ask(snapshot, question)
    if isinstance(plan, PodiumError):
        assert isinstance(plan, SpecError | AllTargetsFailed)
        assert plan.hint
        assert str(plan).isprintable()
        return
    assert plan.targets
    assert all(usable(snapshot, target, plan.user_id) for target in plan.targets)
    assert plan.strategy.escalate_to is None or usable(snapshot, plan.strategy.escalate_to, plan.user_id)
    assert plan.reasons.rule
    assert plan.reasons.steps
    assert all(each.why and each.name.isprintable() for each in (*plan.reasons.skipped, *plan.reasons.considered))
    assert (plan.reasons.spec, plan.reasons.targets, plan.reasons.strategy) == (
        question["spec"],
        plan.targets,
        plan.strategy.name,
    )


@given(snapshots().flatmap(lambda snapshot: st.tuples(st.just(snapshot), st.lists(questions(snapshot), max_size=6))))
def test_a_resolver_answers_as_resolve_does_whatever_it_was_asked_before(
    asked_of: tuple[Snapshot, list[dict[str, Any]]],
) -> None:
    snapshot, asked = asked_of
    resolver = Resolver(snapshot)
    for question in [*asked, *asked]:
        try:
            given_plan: Plan | PodiumError = resolver.resolve(**question)
        except PodiumError as error:
            given_plan = error
        fresh = ask(snapshot, question)
        assert type(given_plan) is type(fresh)
        if isinstance(given_plan, PodiumError) and isinstance(fresh, PodiumError):
            assert given_plan.to_dict() == fresh.to_dict()
        else:
            assert given_plan == fresh


@given(snapshots(), names, specs)
def test_an_alias_wins_over_whatever_else_has_its_name(snapshot: Snapshot, name: str, spec: str) -> None:
    meant = ask(snapshot.replace(aliases={}), {"spec": spec, "auto": False})
    aliased = ask(snapshot.replace(aliases={name: spec}), {"spec": name})
    if isinstance(meant, Plan) and spec != name:
        assert isinstance(aliased, Plan)
        assert aliased.reasons.rule == "alias"
        # What an alias declares counts when a bare model name is looked up, so only the other forms must agree.
        if spec.startswith(("tier:", "user:")) or spec in snapshot.tiers or spec.partition("/")[0] in snapshot.providers:
            assert (aliased.targets, aliased.strategy, aliased.tier) == (meant.targets, meant.strategy, meant.tier)
    if spec == name:
        assert isinstance(aliased, SpecError)


@given(snapshots(), names)
def test_a_tier_wins_over_a_model_of_its_name(snapshot: Snapshot, name: str) -> None:
    bare = ask(snapshot.replace(aliases={}), {"spec": name})
    explicit = ask(snapshot.replace(aliases={}), {"spec": f"tier:{name}"})
    provider, slash, _ = name.partition("/")
    if name in snapshot.tiers and not (slash and provider in snapshot.providers):
        assert type(bare) is type(explicit)
        if isinstance(bare, Plan) and isinstance(explicit, Plan):
            assert bare.reasons.rule == "bare_tier"
            assert bare.replace(reasons=explicit.reasons) == explicit


@settings(max_examples=250)
@given(situations())
def test_no_model_becomes_a_tier_where_that_is_off(situation: Situation) -> None:
    snapshot, question = situation
    off = [
        ask(snapshot, question | {"pin": True}),
        ask(snapshot, question | {"auto": False}),
        ask(snapshot.replace(auto_tiers=False), question),
        ask(snapshot.replace(tiers={name: tier.replace(auto=False) for name, tier in snapshot.tiers.items()}), question),
    ]
    for plan in off:
        assert isinstance(plan, PodiumError) or plan.reasons.rule != "auto_tier"
    assert len({type(plan) for plan in off}) == 1
    for plan in off:
        if isinstance(plan, Plan) and isinstance(off[0], Plan):
            assert (plan.targets, plan.strategy, plan.tier) == (off[0].targets, off[0].strategy, off[0].tier)


@given(situations())
def test_a_target_becomes_the_first_declared_automatic_tier_that_begins_with_it(situation: Situation) -> None:
    snapshot, question = situation
    snapshot = snapshot.replace(aliases={}, auto_tiers=True)
    plan = ask(snapshot, question | {"pin": False, "auto": True})
    if isinstance(plan, Plan) and plan.reasons.rule in ("auto_tier", "target", "bare_model"):
        written = ask(snapshot, question | {"pin": True})
        beginning = plan.targets[0] if plan.tier is None else snapshot.tiers[plan.tier].targets[0]
        taking = [name for name, tier in snapshot.tiers.items() if tier.auto and tier.targets[:1] == (beginning,)]
        assert plan.tier == (taking[0] if taking else None)
        assert isinstance(written, AllTargetsFailed) or (isinstance(written, Plan) and written.targets == (beginning,))
        assert f"tier:{plan.tier}" not in {each.name for each in plan.reasons.considered}


@given(situations())
def test_the_id_of_a_user_whom_nobody_knows_changes_nothing_but_the_plans_user(situation: Situation) -> None:
    snapshot, question = situation
    eve, zoe = (ask(snapshot, question | {"user_id": user_id}) for user_id in ("eve", "zoe"))
    assert type(eve) is type(zoe)
    if isinstance(eve, Plan) and isinstance(zoe, Plan):
        assert eve.reasons == zoe.reasons
        assert eve.replace(user_id=zoe.user_id) == zoe
        assert (eve.user_id, zoe.user_id) == ("eve", "zoe") or eve.user_id == zoe.user_id in snapshot.users


@given(st.text(), st.text())
@example("gpt\n4", "x\ny")
def test_any_text_at_all_is_answered_by_the_empty_snapshot(spec: str, experiment: str) -> None:
    for question in ({"spec": spec}, {"spec": spec, "experiment": experiment}, {"experiment": experiment, "user_id": spec}):
        assert isinstance(ask(Snapshot(), question), SpecError)
