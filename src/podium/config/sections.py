"""The sections of a config and of a user file, as pydantic models; their fields are the keys, in snake_case.

Theory. What a section may hold is said once, here: the loader validates by it, the JSON Schema comes from it, and so do the
suggestions for misspelled keys.

Rules. Each key has two spellings, snake_case and the guide's camelCase (`shape.tidy` makes them one before validation).
What a key means across sections (a provider that exists, a strategy's own keys) is checked where the sections meet.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from podium.config.fields import (
    Age,
    Count,
    CountOrNone,
    Duration,
    FilePath,
    Flag,
    Headers,
    Key,
    LatencyLimit,
    Mapping,
    Money,
    Name,
    Pattern,
    Percent,
    Points,
    Rate,
    Size,
    Text,
    Timezone,
    Tolerances,
    Url,
    choice,
    store,
)
from podium.config.values import model_map, some_models, split_target, store_name
from podium.wire.codec import DIALECTS

STRATEGIES = ("first", "fallback", "race", "consensus")

StrategyField: TypeAlias = Annotated[str, *choice(STRATEGIES)]
JudgeField: TypeAlias = Annotated[str, *choice(("auto", "exact", "json"))]
InsufficientField: TypeAlias = Annotated[str, *choice(("error", "best"))]
DisagreeField: TypeAlias = Annotated[str, *choice(("escalate", "plurality", "error"))]
DialectField: TypeAlias = Annotated[str, *choice(DIALECTS)]
ModeField: TypeAlias = Annotated[str, *choice(("byok", "shared"))]
StoreField: TypeAlias = Annotated[str, *store(("sqlite", "memory", "none"))]
FsyncField: TypeAlias = Annotated[str, *choice(("group", "never"))]
FullField: TypeAlias = Annotated[str, *choice(("continue", "refuse"))]
PayloadsField: TypeAlias = Annotated[str, *choice(("none", "hashed", "full"))]
UnpricedField: TypeAlias = Annotated[str, *choice(("allow", "refuse"))]
UnitField: TypeAlias = Annotated[str, *choice(("user", "team", "key", "conversation"))]
HashField: TypeAlias = Annotated[str, *choice(("sha256", "legacy_js"))]
ArmField: TypeAlias = Annotated[str, *choice(("legacy", "candidate"))]
LostField: TypeAlias = Annotated[str, *choice(("refuse", "continue"))]


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    synonyms: ClassVar[dict[str, str]] = {}
    """Other words for a key."""


class ModelSection(Section):
    """A public model name of a provider: what is sent instead, and whose price holds."""

    upstream: Name | None = None
    """The name that is sent to the provider; the public name itself by default."""
    priced_as: Name | None = None
    """The name whose price holds, as `openai/gpt-4o`."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"upstream": value} if isinstance(value, str) else value


class TargetSection(Section):
    """A model at a provider: `{provider, model}`, or the text `provider/model`."""

    provider: Name
    model: Name

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return split_target(value)


class ProviderSection(Section):
    """An account at an endpoint; each field may be left out where its kind has a default."""

    id: Name | None = None
    """The same as its key, if it is given at all."""
    kind: Name | None = None
    """A known kind of provider, or `custom`; by default what its key names."""
    dialect: DialectField | None = None
    """The wire format, where it is not the kind's."""
    base_url: Url | None = None
    """Where its API begins, where that is not the kind's address."""
    api_key: Key = None
    """By default, what the kind's usual environment variable holds; write `${NAME}` for another."""
    enabled: Flag = True
    """Whether it may be asked; its targets are skipped while it may not."""
    timeout: Duration | None = None
    """For a whole request, where neither the call nor the tier or experiment sets one."""
    max_concurrent: Count | None = None
    """Requests at once; more wait in a queue."""
    headers: Headers = {}
    """Sent with every request; their values count as secrets."""
    models: Annotated[dict[str, ModelSection], BeforeValidator(model_map)] = {}
    """Public names: `{public: upstream}`, `{public: {upstream, priced_as}}` (without `upstream`: the same name), or a list
    of names."""


class RouteSection(Section):
    """What a tier and an experiment have in common: a strategy with its own keys, and limits."""

    strategy: StrategyField = "first"
    """`first` asks the first model that can be asked, `fallback` one after the other, `race` all at once for the first answer,
    `consensus` all for the answer on which most agree.
    """
    timeout: Duration | None = None
    """For a whole request."""
    max_cost: Money | None = None
    """USD a request."""
    retries: CountOrNone = 2
    """How often a model is asked again after an error that may pass."""
    fallback_on: list[Name] | None = None
    """fallback: the error codes after which the next model is asked."""
    judge: JudgeField = "auto"
    """consensus: how answers are compared."""
    answer_pattern: Pattern | None = None
    """consensus, judge `exact`: a regular expression whose first group, else whole match, is the answer in a text."""
    fields: Tolerances | None = None
    """consensus, judge `json`: the fields that vote, each with a numeric tolerance if it has one."""
    answer_schema: Mapping | None = Field(default=None, alias="schema")
    """consensus, judge `json`: the JSON Schema that an answer must satisfy to count."""
    min_answers: Count = 2
    """consensus: how many answers must come."""
    quorum: Count | None = None
    """consensus: votes that the top answer needs, of all models; by default more than half."""
    on_insufficient: InsufficientField = "error"
    """consensus: what happens where fewer than `min_answers` come."""
    on_disagree: DisagreeField | None = None
    """consensus: what happens where no answer has the quorum; by default `escalate` where `escalate_to` is given."""
    escalate_to: TargetSection | None = None
    """consensus: the model that is asked where no answer has the quorum."""


class TierSection(RouteSection):
    """A semantic name for some models and a strategy."""

    models: Annotated[list[TargetSection], BeforeValidator(some_models)]
    """In order, each as `provider/model` or `{provider, model}`."""
    auto: Flag = True
    """Whether a request for the first model becomes this tier."""


class ExperimentSection(RouteSection):
    """A named strategy of a user."""

    synonyms: ClassVar[dict[str, str]] = {"models": "providers"}

    providers: Annotated[list[TargetSection], BeforeValidator(some_models)]
    """The models, in order, each as `provider/model` or `{provider, model}`."""


class UseSection(Section):
    """What a user and a team have in common: how much they may use."""

    requests_per_minute: Count | None = None
    """Requests in a minute of the clock; what is more is refused."""
    tokens_per_minute: Count | None = None
    """Tokens in a minute of the clock, in and out; what is more is refused."""
    max_concurrent: Count | None = None
    """Requests at once; more wait in a queue."""


class DefaultsSection(UseSection):
    """What holds for a user's requests unless they say otherwise."""

    synonyms: ClassVar[dict[str, str]] = {"cost_limit_day": "cost_limit", "costLimitDay": "cost_limit"}

    experiment: Name | None = None
    """The experiment that answers where a request names none."""
    timeout: Duration | None = None
    """For a whole request, where neither the call nor the experiment sets one."""
    cost_limit: Money | None = None
    """USD a day."""
    cost_limit_month: Money | None = None
    """USD a month."""


class TeamSection(UseSection):
    """Several users whose use is counted together."""

    synonyms: ClassVar[dict[str, str]] = {"cost_limit_month": "cost_limit", "costLimitMonth": "cost_limit"}

    cost_limit: Money | None = None
    """USD a month."""
    cost_limit_day: Money | None = None
    """USD a day."""
    timezone: Timezone = "UTC"
    """Where its days and months begin, as `Europe/Berlin`."""


class UserSection(Section):
    """A user file."""

    user_id: Name | None = None
    """Whose file it is; by default the id that it is loaded as, or the file's name."""
    name: Text | None = None
    """For people."""
    experiments: dict[str, ExperimentSection] = {}
    """By name: `user:<id>:<name>` asks for one."""
    defaults: DefaultsSection = DefaultsSection()
    """What holds where a request says nothing else."""
    performance_tracking: Flag | None = None
    """Whether this user's requests are measured; by default what the config says."""
    team: Name | None = None
    """The team with which this user's use is counted."""
    mode: ModeField = "shared"
    """`byok`: only the user's own keys are used; `shared`: these first, the config's where there is none."""
    keys: dict[str, Key] = {}
    """The user's own keys, by provider; write `${NAME}` for a variable."""
    timezone: Timezone = "UTC"
    """Where this user's days and months begin, as `Europe/Berlin`."""


class PriceSection(Section):
    """What a model costs: USD per million tokens, but for the last two."""

    synonyms: ClassVar[dict[str, str]] = {"cacheWrite1h": "cache_write_1h"}

    input: Rate | None = None
    """Read, and not from a cache."""
    output: Rate | None = None
    """Written, reasoning included where that has no price of its own."""
    cached_input: Rate | None = None
    """Read from a cache."""
    cache_write: Rate | None = None
    """Written to a cache with the default lifetime."""
    cache_write_1h: Rate | None = None
    """Written to a cache for an hour."""
    reasoning: Rate | None = None
    """Thought."""
    input_audio: Rate | None = None
    """Heard."""
    output_audio: Rate | None = None
    """Spoken."""
    per_request: Rate | None = None
    """USD a request, whatever its tokens."""
    per_web_search: Rate | None = None
    """USD a search that the provider makes for the model."""


class LedgerSection(Section):
    """How requests are kept on record; `ledger: none` is short for `ledger: {store: none}`."""

    store: StoreField = "sqlite"
    """`sqlite` keeps records in `data_dir`, `memory` until the process ends, `none` not at all."""
    fsync: FsyncField = "group"
    """`group` writes to the disk itself every 100 ms, `never` leaves that to the system."""
    on_full: FullField = "continue"
    """What happens to requests where the disk is full."""
    payloads: PayloadsField = "none"
    """Whether the texts of requests and answers are kept, their hashes, or neither."""
    keep: Age | None = None
    """How long payloads are kept."""
    keep_size: Size | None = None
    """How much of payloads is kept."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return store_name(value)


class RuleSection(Section):
    """A share of its own, or an arm, for some of a rollout's requests; all that it names must fit."""

    user: Name | None = None
    """Whom it is for."""
    team: Name | None = None
    """The team that it is for."""
    tag: Name | None = None
    """A tag in the request's metadata."""
    percent: Percent | None = None
    """How many of those take the candidate."""
    arm: ArmField | None = None
    """The arm that all of those take."""


class RampSection(Section):
    """The steps that a rollout climbs by itself, once it is told to."""

    steps: list[Percent] = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0]
    """How many of the units take the candidate, step by step."""
    dwell: Duration = 1800.0
    """How long a step lasts at least."""
    longest: Duration = 86400.0
    """How long a step waits for evidence at most, before it pauses."""
    holdout: Percent = 1.0
    """How many of the units stay at legacy to the end, to compare with."""
    samples: Count = 200
    """From how many units' answers legacy's limits are frozen, before the first step."""


class ErrorRateGuardSection(Section):
    """How many more of the candidate's calls may fail."""

    margin: Points = 0.01
    """Of all calls."""


class LatencyGuardSection(Section):
    """How much more often the candidate may be slow."""

    margin: Points = 0.02
    """Of all answers."""
    over: LatencyLimit = "legacy p95"
    """What counts as slow: a percentile of legacy's answers before the first step, or a duration."""


class CostGuardSection(Section):
    """How much more the candidate may cost."""

    margin: Points = 0.1
    """Of legacy's p99, or of twice its mean where that is more."""


class QualityGuardSection(Section):
    """How much worse the candidate's answers may be."""

    judge: Name
    """The spec that scores answers from 0 to 100."""
    margin: Points = 0.02
    """Of full quality."""
    sample: Points = 0.05
    """How many of the answers are judged."""


class GuardSection(Section):
    """What a candidate is held to while it climbs."""

    error_rate: ErrorRateGuardSection | None = None
    """How many more of its calls may fail; `margin: 1%` where nothing is guarded at all."""
    latency: LatencyGuardSection | None = None
    """How many more of its answers may be slow."""
    cost: CostGuardSection | None = None
    """How much more it may cost, as a share of legacy's p99, or of twice its mean where that is more."""
    quality: QualityGuardSection | None = None
    """How much worse its answers may be, as a judge scores them."""
    alpha: Points = 0.01
    """The chance that a candidate within all margins is ever rolled back, at most."""
    beta: Points = 0.05
    """The chance that a step passes a candidate that is beyond a margin, at most."""


class ShadowSection(Section):
    """Asks a rollout's other arm too, in the background, once a call is answered."""

    sample: Percent
    """How many of the answered calls."""
    budget_usd_per_day: Money
    """What that may cost in a day, in all processes together."""
    max_concurrent: Count = 8
    """How many run at once in a process; more are skipped."""


class RolloutSection(Section):
    """How a rollout begins; from then on its store says how it stands."""

    match: list[Name] = []
    """The specs, or names of the legacy system, that it decides for; none: only calls that name the rollout."""
    legacy: Name | None = None
    """A spec; none: a function of yours, or what the call means without the rollout."""
    candidate: Name | None = None
    """A spec; none: what the call asks for, taken as written."""
    percent: Percent = 0.0
    """How many of the units take the candidate."""
    test_users: list[Name] = []
    """Users who take the candidate at any percentage."""
    rules: list[RuleSection] = []
    """Before the percentage; the first that fits decides."""
    unit: UnitField = "user"
    """What is drawn for: it always takes the same arm."""
    salt: Name | None = None
    """Tells its draw from that of other rollouts; by default its name."""
    hash: HashField = "sha256"
    """`legacy_js` is the `simpleHash` of the integration guide, for a cohort that it has drawn."""
    enabled: Flag = True
    """The kill switch: `false` gives everybody legacy, test users too."""
    ramp: RampSection | None = None
    """The steps that it climbs by itself, once `podium rollout ramp NAME start` says so."""
    guard: GuardSection | None = None
    """What the candidate is held to while it climbs."""
    shadow: ShadowSection | None = None
    """Asks the other arm too, in the background, and compares."""


class HeadSection(Section):
    """The single values at the top of a config."""

    default_tier: Name | None = None
    """The tier that answers where a request says nothing."""
    auto_tiers: Flag = True
    """Whether a request for a tier's first model becomes that tier."""
    track_performance: Flag = True
    """Whether requests are measured."""
    track_cost: Flag = True
    """Whether requests are priced."""
    pricing_cache: FilePath | None = None
    """The file that `podium prices fetch` writes; by default `pricing-cache.json` beside the config, once it is there."""
    data_dir: FilePath | None = None
    """The folder of ledger, limits and metrics; by default what PODIUM_DATA says, else `.podium` beside the config."""
    unpriced: UnpricedField = "refuse"
    """Whether a model whose price nobody knows may be asked under a cost limit."""
    max_stale: Duration = 600.0
    """How long the last known state of rollouts holds when their store is lost."""
    on_lost: LostField | None = None
    """What happens to requests while limits cannot be kept; by default `refuse` under a cost limit, else `continue`."""


class ConfigSection(HeadSection):
    """A config."""

    providers: dict[str, ProviderSection] = {}
    """The accounts that can be asked, by name."""
    tiers: dict[str, TierSection] = {}
    """Names for some models and a strategy: `tier:<name>` asks for one."""
    aliases: dict[str, Name] = {}
    """From a name to a spec: `provider/model`, `tier:name`, `user:id:experiment`, or another name."""
    teams: dict[str, TeamSection] = {}
    """Users whose use is counted together, by name; a user's `team` says which is theirs."""
    prices: dict[str, PriceSection] = {}
    """Prices that come before all others, by `provider/model`."""
    rollouts: dict[str, RolloutSection] = {}
    """Moves from one spec, or from a function, to another, a few percent at a time, by name."""
    ledger: LedgerSection = LedgerSection()
    """How requests are kept on record; or `sqlite`, `memory` or `none`."""
    users: Annotated[
        Any,
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "object",
                        "additionalProperties": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/UserSection"}]},
                    },
                ],
            }
        ),
    ] = None
    """User files by id, a user written out, or a glob whose file stems are the ids."""
