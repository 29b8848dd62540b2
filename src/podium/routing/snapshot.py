"""What runs: one immutable, versioned snapshot of providers, tiers, aliases and users.

Theory. The config layer compiles files and arguments into a `Snapshot`; a change makes a new one that replaces the old
whole, so that a request sees one state from its beginning to its end. Routing reads it and never changes it.

Rules. Names are unique in their dict and in the order of their declaration. A provider that cannot be asked says why in
`unusable`, and its targets are skipped with those words.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, get_args

from podium.routing.climb import Course
from podium.routing.rollout import Arm, Rollout
from podium.types import Profile, Reasons, Secret, Target, Value

StrategyName = Literal["first", "fallback", "race", "consensus"]


class ModelEntry(Value, frozen=True, kw_only=True):
    """One public model name of a provider, and what stands behind it."""

    upstream: str
    """The name that is sent to the provider."""
    priced_as: str | None = None
    """The name whose price holds, as `openai/gpt-4o`."""


class Provider(Value, frozen=True, kw_only=True):
    """An account at an endpoint."""

    name: str
    kind: str
    """The row in `catalog/providers.toml`; `custom` for any other OpenAI-compatible endpoint."""
    dialect: str
    base_url: str
    auth: Literal["bearer", "x-api-key", "none"] = "bearer"
    api_key: Secret | None = None
    key_variable: str | None = None
    """The environment variable that the key comes from, for messages."""
    enabled: bool = True
    unusable: str | None = None
    """Why this provider cannot be asked: disabled, or without a key. None: it can."""
    timeout_s: float | None = None
    max_concurrent: int | None = None
    headers: dict[str, Secret] = {}
    """Sent with every request; any of them may hold a key."""
    models: dict[str, ModelEntry] = {}
    owns: tuple[str, ...] = ()
    """Globs of the model names that are this kind's own (`gpt-*` is openai's)."""
    serves: tuple[str, ...] = ()
    """Globs of further model names that this kind is known to serve."""


class Strategy(Value, frozen=True, kw_only=True):
    """How a plan's targets are asked."""

    name: StrategyName = "first"
    retries: int = 2
    """Retries of a target after a retryable error; spent only where no other target runs or is left."""
    fallback_on: tuple[str, ...] | None = None
    """Error codes after which a fallback moves on; None: those whose error says `moves_on`."""
    judge: Literal["auto", "exact", "json"] = "auto"
    answer_pattern: str | None = None
    """For the judge `exact`: a regular expression whose first group, else whole match, is the answer in a text."""
    fields: dict[str, float] | None = None
    """For the judge `json`: fields that vote, with a numeric tolerance each; None: the whole document."""
    schema: dict[str, Any] | None = None
    """For the judge `json`: JSON Schema that an answer must satisfy to count."""
    min_answers: int = 2
    quorum: int | None = None
    """Votes that the top answer needs, of all configured; None: floor(n / 2) + 1."""
    on_insufficient: Literal["error", "best"] = "error"
    on_disagree: Literal["escalate", "plurality", "error"] | None = None
    """None: `escalate` with `escalate_to`, else `plurality`."""
    escalate_to: Target | None = None


class Tier(Value, frozen=True, kw_only=True):
    """A semantic name for some targets and a strategy."""

    name: str
    strategy: Strategy
    targets: tuple[Target, ...]
    timeout_s: float | None = None
    max_cost_usd: Decimal | None = None
    auto: bool = True
    """Whether a spec that names the first model becomes this tier."""


class Experiment(Value, frozen=True, kw_only=True):
    """A named strategy in a user's YAML."""

    name: str
    strategy: Strategy
    targets: tuple[Target, ...]
    timeout_s: float | None = None
    max_cost_usd: Decimal | None = None


class Allowance(Value, frozen=True, kw_only=True):
    """What a user or a team may use; None is no limit."""

    cost_day_usd: Decimal | None = None
    cost_month_usd: Decimal | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None
    timezone: str = "UTC"
    """IANA name: where days and months begin."""

    @property
    def limits_anything(self) -> bool:
        """Whether there is any limit."""
        money = self.cost_day_usd is not None or self.cost_month_usd is not None
        rates = self.requests_per_minute is not None or self.tokens_per_minute is not None
        return money or rates or self.max_concurrent is not None


class Team(Value, frozen=True, kw_only=True):
    """Several users whose use is counted together."""

    name: str
    allowance: Allowance = Allowance()


class User(Value, frozen=True, kw_only=True):
    """One user's config."""

    id: str
    name: str | None = None
    experiments: dict[str, Experiment] = {}
    default_experiment: str | None = None
    timeout_s: float | None = None
    allowance: Allowance = Allowance()
    team: str | None = None
    mode: Literal["byok", "shared"] = "shared"
    """`byok`: only the user's own keys pay; `shared`: the user's own keys first, the company's where there is none."""
    keys: dict[str, Secret] = {}
    """The user's own keys, by provider."""
    performance_tracking: bool | None = None
    source: str | None = None
    """The file that it came from."""


class LedgerSettings(Value, frozen=True, kw_only=True):
    """How requests are kept on record."""

    store: Literal["sqlite", "memory", "none"] = "sqlite"
    """`none` keeps no record at all."""
    fsync: Literal["group", "never"] = "group"
    on_full: Literal["continue", "refuse"] = "continue"
    payloads: Literal["none", "hashed", "full"] = "none"
    keep_s: float | None = None
    """How long payloads are kept."""
    keep_bytes: int | None = None
    """How much of payloads is kept."""


ShadowArm = Literal["legacy_shadow", "candidate_shadow"]
"""The arm of a shadow's entry: which arm was asked, and that nobody waited for it."""
SHADOW_ARMS: frozenset[str] = frozenset(get_args(ShadowArm))


class Shadow(Value, frozen=True, kw_only=True):
    """How a rollout is shadowed: its other arm is asked too, in the background."""

    sample: float
    """Share of its answered calls, 0 to 100."""
    budget_usd_per_day: Decimal
    """What all shadows of the rollout may cost in a day (UTC), in all processes together."""
    max_concurrent: int = 8
    """How many run at once in a process; more are skipped."""


class Snapshot(Value, frozen=True, kw_only=True):
    """Everything that routing needs to know, at one version."""

    version: int = 0
    providers: dict[str, Provider] = {}
    tiers: dict[str, Tier] = {}
    aliases: dict[str, str] = {}
    """From a name to a spec."""
    users: dict[str, User] = {}
    default_tier: str | None = None
    auto_tiers: bool = True
    track_performance: bool = True
    track_cost: bool = True
    teams: dict[str, Team] = {}
    prices: dict[str, dict[str, Any]] = {}
    """The config's own prices: name -> USD per million tokens under `input`, `output`, ..."""
    pricing_cache: str | None = None
    """The file that `podium prices fetch` writes."""
    data_dir: str | None = None
    """Where ledger, limits and metrics keep their files; None: in memory only."""
    ledger: LedgerSettings = LedgerSettings()
    unpriced: Literal["allow", "refuse"] = "refuse"
    """Whether a model without a price may be asked under a cost limit."""
    on_lost: Literal["refuse", "continue"] | None = None
    """What happens when limits cannot be coordinated; None: `refuse` where a cost limit applies, else `continue`."""
    rollouts: dict[str, Rollout] = {}
    """How the config's rollouts begin; how they stand is their store's to say."""
    courses: dict[str, Course] = {}
    """The ramps and guards of rollouts that have any, by the rollout's name."""
    shadows: dict[str, Shadow] = {}
    """By rollout; one that is not here has none."""
    max_stale_s: float = 600.0
    """How long the last known state of rollouts holds when their store is lost."""
    profiles: tuple[tuple[str, str, Profile], ...] = ()
    """(glob of provider kinds, glob of upstream model names, profile), first match wins."""


class Plan(Value, frozen=True, kw_only=True):
    """A spec resolved: what will be asked, how, within which limits, and why."""

    strategy: Strategy
    targets: tuple[Target, ...]
    """Usable targets only, in order."""
    reasons: Reasons
    timeout_s: float | None = None
    """The whole request's, where the spec, experiment, tier or user sets one; the call's own comes before it, the provider's
    after it."""
    max_cost_usd: Decimal | None = None
    tier: str | None = None
    experiment: str | None = None
    user_id: str | None = None
    rollout: str | None = None
    """The rollout that chose the spec which this is the plan of."""
    arm: Arm | ShadowArm | None = None
    """The arm that it chose."""
