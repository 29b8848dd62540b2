"""What a spec names: from what a caller writes to a tier, an experiment or a model, and why.

Theory. Aliases are followed, the spec is read, and its names are looked up. Each step writes down what happened and what else
the spec could have meant; these words end in the plan's reasons. Whether the targets can be asked is not looked at here.

Rules.
- Aliases win over tiers, tiers over model names. A text is looked up among the aliases before it is read, so an alias may bear
  any name that callers write, `openai/gpt-4` too, and may point at another alias.
- `provider/model` whose first part is no provider is looked up like a bare name: model names may hold slashes.
- `experiment=` counts where no spec is given or the spec is `user:id`; an alias of `user:id` is such a spec. Otherwise the
  spec wins.
- Automatic tier resolution: a model that is the first of a tier becomes that tier, the first declared one whose `auto` is on.
  It applies to what a caller writes: `provider/model` or a bare model name. An alias is config, not writing: its author, who
  could have said `tier:medium`, named a model, so the model is taken as written. So are pinned requests (`pin=True`) and what
  asks on the config's behalf (`auto=False`: tier members, experiments, rollout arms, comparison sides).
- No word of the reasons depends on the id of a user whom the snapshot does not know, so that such users share their plans.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from podium.errors import SpecError
from podium.routing.names import Names
from podium.routing.snapshot import Snapshot, Strategy
from podium.routing.spec import TargetSpec, TierSpec, UserSpec, parse, parse_experiment, quote
from podium.routing.unknown import (
    alias_circle,
    experiment_of_nobody,
    no_default,
    no_default_experiment,
    unknown_experiment,
    unknown_name,
    unknown_tier,
    unknown_user,
)
from podium.types import Considered, Target


class Ask(NamedTuple):
    """One question."""

    spec: str | None
    user_id: str | None
    """The user who asks, if the snapshot knows them."""
    stranger: bool
    """Whether a user asks whom the snapshot does not know."""
    experiment: str | None
    pin: bool
    auto: bool


class Goal(NamedTuple):
    """What a spec names, before anybody looks whether it can be asked."""

    title: str
    """As a message names it."""
    strategy: Strategy
    targets: tuple[Target, ...]
    tier: str | None = None
    experiment: str | None = None
    user_id: str | None = None
    timeout_s: float | None = None
    max_cost_usd: Decimal | None = None


class Trail:
    """The reasons, while they are found."""

    __slots__ = ("considered", "rule", "steps")

    def __init__(self) -> None:
        self.rule = ""
        self.steps: list[str] = []
        self.considered: list[Considered] = []

    def fire(self, rule: str) -> None:
        """Note the rule that decides; the first one counts."""
        self.rule = self.rule or rule

    def step(self, sentence: str) -> None:
        """Note what happened."""
        self.steps.append(sentence)

    def pass_over(self, name: str, why: str) -> None:
        """Note another reading, and why it is not taken."""
        self.considered.append(Considered(name=name, why=why))


class Goals:
    """Finds what specs name in one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._names = Names(snapshot)
        self._begun_by: dict[Target, list[str]] = {}
        for name, tier in snapshot.tiers.items():
            if tier.targets:
                self._begun_by.setdefault(tier.targets[0], []).append(name)

    def find(self, ask: Ask, user_id: str | None, trail: Trail) -> Goal:
        """Return what an ask names, and leave the reasons in the trail. `user_id` is the asking user, known or not.

        Raises `SpecError`; where aliases led to the error, its message tells the way.
        """
        if ask.experiment is not None:
            parse_experiment(ask.experiment)
        if ask.spec is None:
            return self._default(ask, user_id, trail)
        try:
            return self._named(ask, ask.spec, trail)
        except SpecError as error:
            if not trail.steps:
                raise
            message = " ".join([*trail.steps, error.message])
            facts = {"hint": error.hint, "code": error.code, "status": error.status, "param": error.param}
            raise SpecError(message, candidates=error.candidates, **facts) from None

    # --- Without a spec ----------------------------------------------------------------------------------------------

    def _default(self, ask: Ask, user_id: str | None, trail: Trail) -> Goal:
        """`experiment=` of the user, else the user's default experiment, else the default tier."""
        user = self._snapshot.users.get(user_id) if user_id is not None else None
        if ask.experiment is not None:
            if user_id is None:
                raise experiment_of_nobody(ask.experiment)
            trail.fire("experiment")
            goal = self._experiment(user_id, ask.experiment, trail, "No spec was given, so experiment= decides: ")
            self._note_default_experiment(user_id, ask.experiment, trail)
        elif user_id is not None and user is not None and user.default_experiment is not None:
            trail.fire("user_default")
            lead = "No spec was given, so the user's default experiment decides: "
            goal = self._experiment(user_id, user.default_experiment, trail, lead)
        else:
            return self._default_tier(ask, trail)
        if self._snapshot.default_tier is not None:
            trail.pass_over(f"tier:{self._snapshot.default_tier}", "a user's experiment wins over the default tier")
        return goal

    def _default_tier(self, ask: Ask, trail: Trail) -> Goal:
        if self._snapshot.default_tier is None:
            raise no_default(self._snapshot)
        trail.fire("default_tier")
        if ask.stranger:
            trail.pass_over("the user's default experiment", "no config is loaded for this user_id")
        elif ask.user_id is not None:
            trail.pass_over(f"user:{ask.user_id}", "this user has no default experiment")
        return self._tier(self._snapshot.default_tier, trail, "No spec was given, so the default tier decides: ")

    def _note_default_experiment(self, user_id: str, name: str, trail: Trail) -> None:
        default = self._snapshot.users[user_id].default_experiment
        if default is not None and default != name:
            trail.pass_over(f"user:{user_id}:{default}", "experiment= wins over the user's default experiment")

    # --- With a spec -------------------------------------------------------------------------------------------------

    def _named(self, ask: Ask, written: str, trail: Trail) -> Goal:
        """What a spec names, aliases followed."""
        text = self._follow(written, trail) if written in self._snapshot.aliases else written
        spec = parse(text)
        if ask.experiment is not None and not (isinstance(spec, UserSpec) and spec.experiment is None):
            why = "the spec wins: experiment= counts only without a spec, or with one like `user:id`"
            trail.pass_over(f"experiment={ask.experiment}", why)
        match spec:
            case TierSpec():
                trail.fire("tier")
                return self._tier(spec.tier, trail)
            case UserSpec():
                return self._of_user(ask, spec, trail)
            case TargetSpec() if spec.provider in self._snapshot.providers:
                trail.fire("target")
                trail.step(f"{quote(text)} is model {quote(spec.model)} of provider {quote(spec.provider)}.")
                for claim in self._names.claims(text):
                    why = "a provider's name before the `/` wins over a model name that holds one"
                    trail.pass_over(str(claim.target), why)
                return self._model(ask, spec.target, trail)
            case TargetSpec():
                return self._bare(ask, text, trail, spec)
            case _:
                return self._bare(ask, text, trail)

    def _follow(self, written: str, trail: Trail) -> str:
        """Follow an alias to a text that is none, and note what it hides."""
        aliases = self._snapshot.aliases
        trail.fire("alias")
        seen = [written]
        while seen[-1] in aliases:
            points_at = aliases[seen[-1]]
            if points_at in seen:
                raise alias_circle([*seen, points_at])
            trail.step(f"{quote(seen[-1])} is an alias of {quote(points_at)}.")
            seen.append(points_at)
        if written in self._snapshot.tiers and seen[-1] != f"tier:{written}":
            trail.pass_over(f"tier:{written}", "an alias wins over a tier of its name; `tier:` asks for the tier")
        provider, slash, model = written.partition("/")
        if slash and model and provider in self._snapshot.providers and seen[-1] != written:
            trail.pass_over(written, "an alias wins over a model of its name")
        for claim in self._names.claims(written):
            if str(claim.target) != seen[-1]:
                trail.pass_over(str(claim.target), "an alias wins over a model of its name; `provider/` asks for the model")
        return seen[-1]

    def _bare(self, ask: Ask, text: str, trail: Trail, spec: TargetSpec | None = None) -> Goal:
        """A bare tier name, else a bare model name. `spec` is set where the text could have been `provider/model`."""
        if text in self._snapshot.tiers:
            trail.fire("bare_tier")
            for claim in self._names.claims(text):
                trail.pass_over(str(claim.target), "a tier wins over a model of its name; `provider/` asks for the model")
            return self._tier(text, trail)
        finding = self._names.find(text)
        if finding is None:
            raise unknown_name(self._snapshot, text, self._names.models(), spec, ask.user_id)
        trail.fire("bare_model")
        if spec is not None:
            trail.step(f"{quote(spec.provider)} is no provider, so {quote(text)} is read as a model name.")
        claim = finding.claim
        trail.step(f"{quote(text)} is a model of provider {quote(claim.target.provider)}: it is {claim.how}.")
        for other, why in finding.others:
            trail.pass_over(str(other.target), why)
        return self._model(ask, claim.target, trail)

    def _model(self, ask: Ask, target: Target, trail: Trail) -> Goal:
        """A model, or the tier that it begins."""
        tier = self._captor(ask, target, trail)
        if tier is None:
            return Goal(title=f"model {quote(str(target))}", strategy=Strategy(), targets=(target,))
        trail.rule = "auto_tier"
        trail.step(
            f"{quote(str(target))} is the first model of tier {quote(tier)}, so it became {quote(f'tier:{tier}')} "
            "(automatic tier resolution; pin=True asks the model itself)."
        )
        return self._tier(tier, trail)

    def _captor(self, ask: Ask, target: Target, trail: Trail) -> str | None:
        """The tier that a model becomes, with a note on every other that begins with it."""
        tiers = self._begun_by.get(target)
        if not tiers:
            return None
        as_written = None
        if ask.pin:
            as_written = "pin=True takes the model as written"
        elif not ask.auto:
            as_written = "a tier's member, an experiment, a rollout's arm and a comparison's side are taken as written"
        elif trail.rule == "alias":
            as_written = "what an alias points at is taken as written"
        elif not self._snapshot.auto_tiers:
            as_written = "`auto_tiers` is false"
        automatic = [name for name in tiers if self._snapshot.tiers[name].auto]
        captor = automatic[0] if automatic and not as_written else None
        for name in tiers:
            if name != captor:
                off = None if name in automatic else "its `auto` is false"
                why = as_written or off or f"tier {quote(str(captor))} is declared before it"
                trail.pass_over(f"tier:{name}", f"{quote(str(target))} is its first model, but {why}")
        return captor

    def _tier(self, name: str, trail: Trail, lead: str = "") -> Goal:
        tier = self._snapshot.tiers.get(name)
        if tier is None:
            raise unknown_tier(self._snapshot, name)
        title = f"tier {quote(name)}"
        trail.step(_sentence(lead + title, tier.strategy, tier.targets))
        return Goal(
            title=title,
            strategy=tier.strategy,
            targets=tier.targets,
            tier=name,
            timeout_s=tier.timeout_s,
            max_cost_usd=tier.max_cost_usd,
        )

    def _of_user(self, ask: Ask, spec: UserSpec, trail: Trail) -> Goal:
        """`user:id:name`; `user:id` with `experiment=`; `user:id` alone, which is the user's default."""
        user = self._snapshot.users.get(spec.user_id)
        if user is None:
            raise unknown_user(self._snapshot, spec.user_id)
        if spec.experiment is not None:
            trail.fire("experiment")
            goal = self._experiment(spec.user_id, spec.experiment, trail)
        elif ask.experiment is not None:
            trail.fire("experiment")
            lead = "The spec names no experiment, so experiment= decides: "
            goal = self._experiment(spec.user_id, ask.experiment, trail, lead)
            self._note_default_experiment(spec.user_id, ask.experiment, trail)
        elif user.default_experiment is not None:
            trail.fire("user_default")
            lead = "The spec names no experiment, so the user's default decides: "
            goal = self._experiment(spec.user_id, user.default_experiment, trail, lead)
        else:
            raise no_default_experiment(spec, user)
        if ask.stranger or ask.user_id not in (None, spec.user_id):
            other = "another" if ask.user_id is None else quote(ask.user_id)
            trail.step(f"The request's user_id is {other}, but the spec wins: the plan is user {quote(spec.user_id)}'s.")
        return goal

    def _experiment(self, user_id: str, name: str, trail: Trail, lead: str = "") -> Goal:
        user = self._snapshot.users.get(user_id)
        if user is None:
            raise unknown_user(self._snapshot, user_id)
        experiment = user.experiments.get(name)
        if experiment is None:
            raise unknown_experiment(user_id, user, name)
        title = f"experiment {quote(name)} of user {quote(user_id)}"
        trail.step(_sentence(lead + title, experiment.strategy, experiment.targets))
        return Goal(
            title=title,
            strategy=experiment.strategy,
            targets=experiment.targets,
            experiment=name,
            user_id=user_id,
            timeout_s=experiment.timeout_s,
            max_cost_usd=experiment.max_cost_usd,
        )


def _sentence(subject: str, strategy: Strategy, targets: tuple[Target, ...]) -> str:
    count = "one model" if len(targets) == 1 else f"{len(targets)} models"
    return f"{subject[0].upper()}{subject[1:]} is `{strategy.name}` over {count}."
