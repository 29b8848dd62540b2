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
    Count,
    CountOrNone,
    Duration,
    Flag,
    Headers,
    Key,
    Mapping,
    Money,
    Name,
    Pattern,
    Text,
    Tolerances,
    Url,
    choice,
)
from podium.config.values import model_map, some_models, split_target
from podium.wire.codec import DIALECTS

STRATEGIES = ("first", "fallback", "race", "consensus")

StrategyField: TypeAlias = Annotated[str, *choice(STRATEGIES)]
JudgeField: TypeAlias = Annotated[str, *choice(("auto", "exact", "json"))]
InsufficientField: TypeAlias = Annotated[str, *choice(("error", "best"))]
DisagreeField: TypeAlias = Annotated[str, *choice(("escalate", "plurality", "error"))]
DialectField: TypeAlias = Annotated[str, *choice(DIALECTS)]


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    synonyms: ClassVar[dict[str, str]] = {}
    """Other words for a key."""


class ModelSection(Section):
    """A public model name of a provider: what is sent instead, and whose price holds."""

    upstream: Name
    priced_as: Name | None = None

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
    api_key: Key = None
    enabled: Flag = True
    timeout: Duration | None = None
    max_concurrent: Count | None = None
    headers: Headers = {}
    models: Annotated[dict[str, ModelSection], BeforeValidator(model_map)] = {}
    """Public names: `{public: upstream}`, `{public: {upstream, priced_as}}`, or a list of names."""


class RouteSection(Section):
    """What a tier and an experiment have in common: a strategy with its own keys, and limits."""

    strategy: StrategyField = "first"
    timeout: Duration | None = None
    max_cost: Money | None = None
    """USD a request."""
    retries: CountOrNone = 2
    fallback_on: list[Name] | None = None
    """fallback: the error codes after which the next target is asked."""
    judge: JudgeField = "auto"
    answer_pattern: Pattern | None = None
    fields: Tolerances | None = None
    answer_schema: Mapping | None = Field(default=None, alias="schema")
    min_answers: Count = 2
    quorum: Count | None = None
    on_insufficient: InsufficientField = "error"
    on_disagree: DisagreeField | None = None
    escalate_to: TargetSection | None = None


class TierSection(RouteSection):
    """A semantic name for some models and a strategy."""

    models: Annotated[list[TargetSection], BeforeValidator(some_models)]
    auto: Flag = True
    """Whether a request for the first model becomes this tier."""


class ExperimentSection(RouteSection):
    """A named strategy of a user."""

    synonyms: ClassVar[dict[str, str]] = {"models": "providers"}

    providers: Annotated[list[TargetSection], BeforeValidator(some_models)]


class DefaultsSection(Section):
    """What holds for a user's requests unless they say otherwise."""

    experiment: Name | None = None
    max_concurrent: Count | None = None
    timeout: Duration | None = None
    cost_limit: Money | None = None
    """USD a day."""


class UserSection(Section):
    """A user file."""

    user_id: Name | None = None
    name: Text | None = None
    experiments: dict[str, ExperimentSection] = {}
    defaults: DefaultsSection = DefaultsSection()
    performance_tracking: Flag | None = None


class HeadSection(Section):
    """The single values at the top of a config."""

    default_tier: Name | None = None
    auto_tiers: Flag = True
    """Whether a request for a tier's first model becomes that tier."""
    track_performance: Flag = True
    track_cost: Flag = True


class ConfigSection(HeadSection):
    """A config."""

    providers: dict[str, ProviderSection] = {}
    tiers: dict[str, TierSection] = {}
    aliases: dict[str, Name] = {}
    """From a name to a spec: `provider/model`, `tier:name`, `user:id:experiment`, or another name."""
    users: Annotated[
        Any,
        WithJsonSchema(
            {
                "description": "User files by id, a user written out, or a glob whose file stems are the ids.",
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
