"""From what a caller writes to a plan: `resolve`, and the `Resolver` that remembers.

Theory. Resolving is a pure function of the snapshot and of what the caller wrote. `goal` finds what the spec names; here its
targets are sorted into those that can be asked and those that are skipped, and its limits are settled. What the plan's
`reasons` say is the same from `explain` as with a result.

Rules.
- A target whose provider cannot be asked is skipped with that reason; only a plan with no target left is an error.
- The whole request's timeout is the experiment's, else the user's default, else the tier's. The cost limit is the
  experiment's or the tier's.
- Whether a provider can be asked depends on whose the plan is, where that user has keys of their own (`keys`).
- A plan belongs to the user of a `user:` spec, else to the user who asks, known to the snapshot or not.
- Equal questions to one snapshot give equal plans: nothing depends on the time, on chance or on earlier requests.
- A resolver forgets: it keeps two generations of `PLANS_KEPT` plans, and users whom the snapshot does not know share theirs.
"""

from __future__ import annotations

from podium.errors import AllTargetsFailed
from podium.routing.goal import Ask, Goal, Goals, Trail
from podium.routing.keys import own_key, whose_key, why_skip
from podium.routing.snapshot import ModelEntry, Plan, Snapshot, Strategy, User
from podium.routing.spec import parse, quote
from podium.types import Considered, Reasons, Target

PLANS_KEPT = 2048
"""Plans in each of a resolver's two generations; a plan takes about two kilobytes."""


def resolve(
    snapshot: Snapshot,
    spec: str | None = None,
    *,
    user_id: str | None = None,
    experiment: str | None = None,
    pin: bool = False,
    auto: bool = True,
) -> Plan:
    """Resolve one spec as `Resolver.resolve` does, which is the faster where a snapshot is asked more than once."""
    return Resolver(snapshot).resolve(spec, user_id=user_id, experiment=experiment, pin=pin, auto=auto)


def upstream(snapshot: Snapshot, target: Target) -> ModelEntry:
    """Return what stands behind a target's public model name; a name that is not mapped is the provider's own."""
    provider = snapshot.providers.get(target.provider)
    entry = provider.models.get(target.model) if provider else None
    return entry or ModelEntry(upstream=target.model)


class Resolver:
    """Resolves specs against one snapshot, and remembers the plans.

    Threads may share it: what two of them find at once is equal.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._goals = Goals(snapshot)
        self._plans: dict[Ask, Plan] = {}
        self._older_plans: dict[Ask, Plan] = {}

    def resolve(
        self,
        spec: str | None = None,
        *,
        user_id: str | None = None,
        experiment: str | None = None,
        pin: bool = False,
        auto: bool = True,
    ) -> Plan:
        """Resolve a spec, or the default of the user or of the config where there is none.

        `user_id` is the user who asks, known to the snapshot or not; `experiment` names one of theirs. `pin=True` and
        `auto=False` take a model as written, without automatic tier resolution.
        Raises `SpecError`, with the nearest names, where a name is unknown, malformed or ambiguous, and `AllTargetsFailed`,
        with each target's reason, where none of the plan's can be asked.
        """
        plan = self.find(spec, user_id=user_id, experiment=experiment, pin=pin, auto=auto)
        return plan if plan.user_id is not None or user_id is None else plan.replace(user_id=user_id)

    def find(self, spec: str | None, *, user_id: str | None, experiment: str | None, pin: bool, auto: bool) -> Plan:
        """Resolve a spec as `resolve` does, to a plan that names its user only where the snapshot knows them."""
        if spec is not None and not isinstance(spec, str):
            parse(spec)
        stranger = user_id is not None and user_id not in self.snapshot.users
        ask = Ask(spec, None if stranger else user_id, stranger, experiment, pin, auto)
        plan = self._plans.get(ask)
        if plan is None:
            plan = self._older_plans.get(ask)
            if plan is None:
                trail = Trail()
                plan = self._plan(ask, self._goals.find(ask, user_id, trail), trail)
            if len(self._plans) >= PLANS_KEPT:
                self._plans, self._older_plans = {}, self._plans
            self._plans[ask] = plan
        return plan

    def _plan(self, ask: Ask, goal: Goal, trail: Trail) -> Plan:
        """Keep the targets that can be asked, settle the limits, and write down both."""
        user_id = goal.user_id or ask.user_id
        user = self.snapshot.users.get(user_id) if user_id is not None else None
        targets: list[Target] = []
        skipped: list[Considered] = []
        for target in goal.targets:
            why = self._why_skip(target, user)
            if why is None:
                targets.append(target)
            else:
                skipped.append(Considered(name=str(target), why=why))
        if not targets:
            raise self._no_target_left(ask, goal, user, trail, tuple(skipped))
        strategy = self._escalating_to_usable(goal.strategy, user, skipped)
        timeout_s = self._timeout(goal, user, trail)
        self._note_targets(strategy, targets, trail)
        self._note_keys(strategy, targets, user, trail)
        reasons = Reasons(
            spec=ask.spec,
            rule=trail.rule,
            steps=tuple(trail.steps),
            strategy=strategy.name,
            targets=tuple(targets),
            skipped=tuple(skipped),
            considered=tuple(trail.considered),
        )
        return Plan(
            strategy=strategy,
            targets=reasons.targets,
            reasons=reasons,
            timeout_s=timeout_s,
            max_cost_usd=goal.max_cost_usd,
            tier=goal.tier,
            experiment=goal.experiment,
            user_id=user_id,
        )

    def _why_skip(self, target: Target, user: User | None) -> str | None:
        provider = self.snapshot.providers.get(target.provider)
        if provider is None:
            return f"there is no provider {quote(target.provider)}"
        return why_skip(provider, user)

    def _escalating_to_usable(self, strategy: Strategy, user: User | None, skipped: list[Considered]) -> Strategy:
        """The strategy without an escalation to what cannot be asked: the plurality answers then, as without `escalate_to`."""
        if strategy.escalate_to is None or (why := self._why_skip(strategy.escalate_to, user)) is None:
            return strategy
        skipped.append(Considered(name=str(strategy.escalate_to), why=f"{why} (it was the model to escalate to)"))
        on_disagree = None if strategy.on_disagree == "escalate" else strategy.on_disagree
        return strategy.replace(escalate_to=None, on_disagree=on_disagree)

    def _timeout(self, goal: Goal, user: User | None, trail: Trail) -> float | None:
        if goal.timeout_s is not None and (goal.experiment is not None or user is None or user.timeout_s is None):
            trail.step(f"The whole request may take {goal.timeout_s:g} s, as {goal.title} says.")
            return goal.timeout_s
        if user is not None and user.timeout_s is not None:
            trail.step(f"The whole request may take {user.timeout_s:g} s, as the defaults of user {quote(user.id)} say.")
            return user.timeout_s
        return None

    def _note_targets(self, strategy: Strategy, targets: list[Target], trail: Trail) -> None:
        if strategy.name == "first" and len(targets) > 1:
            trail.step(f"`first` asks one model, the first that can be asked ({quote(str(targets[0]))}), and never falls back.")
        for target in dict.fromkeys(targets):
            entry = upstream(self.snapshot, target)
            if entry.upstream != target.model:
                trail.step(f"Provider {quote(target.provider)} is sent {quote(entry.upstream)} for {quote(target.model)}.")

    def _note_keys(self, strategy: Strategy, targets: list[Target], user: User | None, trail: Trail) -> None:
        if user is None:
            return
        asked = [*targets, *([strategy.escalate_to] if strategy.escalate_to is not None else [])]
        for name in dict.fromkeys(target.provider for target in asked):
            if sentence := whose_key(self.snapshot.providers[name], user):
                trail.step(sentence)

    def _no_target_left(
        self, ask: Ask, goal: Goal, user: User | None, trail: Trail, skipped: tuple[Considered, ...]
    ) -> AllTargetsFailed:
        asked = "No spec was given" if ask.spec is None else f"The spec {quote(ask.spec)} was asked for"
        way = "".join(f" {step}" for step in trail.steps)
        if not skipped:
            return AllTargetsFailed(f"{asked}, but {goal.title} has no models.{way}", hint="Give it models in the config.")
        remedies = list(dict.fromkeys(self._remedy(target.provider, user) for target in goal.targets))
        if goal.tier is None and goal.experiment is None:
            happened = f"{goal.title} cannot be asked: {skipped[0].why.partition(': set ')[0]}"
            remedies += [f"write {quote(name)}" for name in self._elsewhere(goal.targets[0].model, user, trail)]
        else:
            # Without the remedy behind the colon: the hint has all of them.
            each = "; ".join(f"{quote(one.name)} ({one.why.partition(': set ')[0]})" for one in skipped)
            happened = f"no target of {goal.title} can be asked: {each}"
        hint = f"{' or '.join(remedies)}."
        return AllTargetsFailed(f"{asked}, but {happened}.{way}", skipped=skipped, hint=hint[0].upper() + hint[1:])

    def _elsewhere(self, model: str, user: User | None, trail: Trail) -> list[str]:
        """The same model at providers that can be asked, among what was considered."""
        considered = {each.name for each in trail.considered}
        usable = (f"{name}/{model}" for name, provider in self.snapshot.providers.items() if why_skip(provider, user) is None)
        return [name for name in usable if name in considered]

    def _remedy(self, name: str, user: User | None) -> str:
        """What to do so that a provider can be asked."""
        provider = self.snapshot.providers.get(name)
        if provider is None:
            return f"add provider {quote(name)} to the config"
        if not provider.enabled:
            return f"enable provider {quote(name)} (`enabled: true`)"
        if user is not None and user.mode == "byok" and own_key(provider, user) is None:
            return f"set {quote(f'keys.{name}')} in the config of user {quote(user.id)}"
        if provider.api_key is None and provider.auth != "none":
            return f"set {provider.key_variable or 'an `api_key`'} for provider {quote(name)}"
        return f"repair provider {quote(name)}"
