"""OpenFeature, both ways: a flag decides a rollout, and rollouts are flags.

Theory. OpenFeature (https://openfeature.dev/specification) is one interface to many systems of flags. `decide_by_flag` lets any
of its clients decide a rollout's arm or percentage; `PodiumProvider` answers what its clients ask with Podium's rollouts, so
that other parts of an application follow the same switch.

Rules.
- A flag that is missing, of another type or in trouble, and a client without a provider, decide nothing: the rollout does.
- The client is asked in a thread of `podium.engine.rollout.deciders`: its async methods mostly call the blocking ones.
- An evaluation of the provider's is no call: it is not counted, and it never asks the provider's own rollouts by a flag.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack
from weakref import ref

try:
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.event import EventDetails, ProviderEvent, ProviderEventDetails
    from openfeature.exception import ErrorCode
    from openfeature.flag_evaluation import FlagEvaluationDetails, FlagResolutionDetails, FlagValueType, Reason
    from openfeature.provider import AbstractProvider, Metadata, ProviderStatus
except ImportError as missing:  # pragma: no cover - the extra is always there in tests
    from podium.errors import ConfigError

    raise ConfigError(
        "OpenFeature is asked for, but its package is not installed.",
        hint="Install it with: pip install 'podium[openfeature]'.",
    ) from missing

from podium.engine.rollout.choice import Asker, Choice
from podium.engine.rollout.deciders import Deciding, HowAsked
from podium.engine.rollout.listeners import What
from podium.errors import RequestError
from podium.routing.rollout import Arm, Grounds, Rollout
from podium.routing.spec import quote

if TYPE_CHECKING:
    from openfeature.client import OpenFeatureClient

    from podium.engine.models import Models

T = TypeVar("T")
Gives = Literal["arm", "percent", "switch"]
"""What a flag's value is: a text that names an arm, a number (of percent), or true (the candidate) or false."""

_REASONS: dict[Grounds, Reason] = {
    "disabled": Reason.DISABLED,
    "test_user": Reason.TARGETING_MATCH,
    "rule": Reason.TARGETING_MATCH,
    "told": Reason.TARGETING_MATCH,
    "bucket": Reason.SPLIT,
    "no_unit": Reason.DEFAULT,
}

# --- a flag decides a rollout -------------------------------------------------------------------------------------------


def decide_by_flag(
    models: Models,
    rollout: str,
    client: OpenFeatureClient,
    flag: str,
    *,
    gives: Gives = "arm",
    arms: Mapping[str, Arm] | None = None,
    **how: Unpack[HowAsked],
) -> Deciding:
    """Let a flag decide a rollout in this process, below the rollout's kill switch and test users.

    `gives` is what the flag's value is; `arms` translates a flag's own texts (`{"treatment": "candidate", "control":
    "legacy"}`). The evaluation context has the user's id as its targeting key, and `user_id`, `team`, `conversation` and
    `tags` where there are any. `fresh_for` and `wait` are those of `Rollouts.decide_by`; a change that the flag's provider
    announces is followed at once, and so is another provider. Raises `RequestError` for a rollout that there is not or
    that has a ramp, and for other `gives`.
    """
    if gives not in _READ:
        raise RequestError(f"`gives` is {gives!r}.", param="gives", hint=f"Use one of {', '.join(_READ)}.")
    read, names = _READ[gives], dict(arms or {})

    def ask(asker: Asker) -> Any:
        value = read(client, flag, _context(asker))
        return names.get(value, value) if isinstance(value, str) else value

    how.setdefault("whose", f"flag {quote(flag)}")
    deciding = models.rollouts.decide_by(rollout, ask, **how)
    whose = ref(deciding)

    def refresh(details: EventDetails) -> None:
        deciding = whose()
        if deciding is not None and (not details.flags_changed or flag in details.flags_changed):
            deciding.refresh()

    is_ready = client.get_provider_status() is ProviderStatus.READY

    def refresh_when_ready(details: EventDetails) -> None:
        nonlocal is_ready
        known, is_ready = is_ready, False  # where a provider is ready already, the client says so at once
        if not known:
            refresh(details)

    client.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, refresh)
    client.add_handler(ProviderEvent.PROVIDER_READY, refresh_when_ready)
    return deciding


def _context(asker: Asker) -> EvaluationContext:
    facts = {"user_id": asker.user_id, "team": asker.team, "conversation": asker.conversation, "tags": list(asker.tags)}
    return EvaluationContext(asker.user_id, {name: fact for name, fact in facts.items() if fact})


def _read_arm(client: OpenFeatureClient, flag: str, context: EvaluationContext) -> str | None:
    return _value(client.get_string_details(flag, "", context)) or None


def _read_percent(client: OpenFeatureClient, flag: str, context: EvaluationContext) -> float | None:
    nobody = -1.0  # what a client without a provider gives back
    details: FlagEvaluationDetails[Any] = client.get_float_details(flag, nobody, context)
    if details.error_code is ErrorCode.TYPE_MISMATCH:  # many systems know whole numbers as a type of their own
        details = client.get_integer_details(flag, int(nobody), context)
    value = _value(details)
    return None if value == nobody else float(value)


def _read_switch(client: OpenFeatureClient, flag: str, context: EvaluationContext) -> bool | None:
    details = client.get_boolean_details(flag, False, context)
    value = _value(details)
    if details.reason == Reason.DEFAULT and _value(client.get_boolean_details(flag, True, context)) != value:
        return None  # it gives back whatever it is given: nobody has decided
    return value


_READ: dict[str, Callable[[OpenFeatureClient, str, EvaluationContext], Any]] = {
    "arm": _read_arm,
    "percent": _read_percent,
    "switch": _read_switch,
}


def _value(details: FlagEvaluationDetails[T]) -> T:
    """The value that was found. Raises `RequestError` where the client says why there is none."""
    if details.error_code is not None:
        words = f": {details.error_message}" if details.error_message else ""
        raise RequestError(f"The flag {quote(details.flag_key)} gave {details.error_code}{words}.", param="flag")
    return details.value


# --- rollouts are flags -------------------------------------------------------------------------------------------------


class PodiumProvider(AbstractProvider):
    """Podium's rollouts as flags of OpenFeature: the flag's key is the rollout's name.

    A boolean says whether who asks takes the candidate, a string the arm, a float (where it is whole, an integer too) the
    percentage that is set, an object all of that. The targeting key is the user's id; `user_id`, `team`, `conversation` and
    `tags` of the context are what a call's metadata are. Changes are announced, and a store that is lost.
    """

    def __init__(self, models: Models) -> None:
        super().__init__()
        self._models = models

    def get_metadata(self) -> Metadata:
        """Return the provider's name."""
        return Metadata(name="Podium")

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Find out how the rollouts stand, and listen to changes. Raises `StoreError`: the client says so then."""
        self._models.rollouts.listeners.add(self._heard)
        self._models.rollouts.list()

    def shutdown(self) -> None:
        """Listen no more; the `Models` goes on."""
        self._models.rollouts.listeners.remove(self._heard)

    def _heard(self, what: What, rollouts: Sequence[str], why: str) -> None:
        match what:
            case "changed":
                self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=list(rollouts)))
            case "lost":
                self.emit_provider_stale(ProviderEventDetails(message=why))
            case "found":
                self.emit_provider_ready(ProviderEventDetails())

    # --- evaluation -----------------------------------------------------------------------------------------------------

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Say whether who asks takes the candidate."""
        return self._arm(flag_key, default_value, evaluation_context, lambda _, made: made.arm == "candidate")

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Say which arm who asks takes."""
        return self._arm(flag_key, default_value, evaluation_context, lambda _, made: made.arm)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Say which arm who asks takes, why, and how the rollout stands."""
        return self._arm(flag_key, default_value, evaluation_context, _facts)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Say which percentage is set; 0 where the rollout is switched off."""
        return self._percent(flag_key, default_value)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Say which percentage is set, where that is a whole number; anything else is `TYPE_MISMATCH`."""
        found = self._percent(flag_key, float(default_value))
        if found.error_code is None and not found.value.is_integer():
            words = f"The rollout {quote(flag_key)} is set to {found.value:g} %, which is not whole: ask for a float."
            return _failed(default_value, ErrorCode.TYPE_MISMATCH, words)
        return FlagResolutionDetails(**{**vars(found), "value": int(found.value)})

    async def resolve_boolean_details_async(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Say whether who asks takes the candidate; the state, where it is not known yet, is waited for beside the loop."""
        await self._models.rollouts.ready()
        return self.resolve_boolean_details(flag_key, default_value, evaluation_context)

    async def resolve_string_details_async(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Say which arm who asks takes; the state, where it is not known yet, is waited for beside the loop."""
        await self._models.rollouts.ready()
        return self.resolve_string_details(flag_key, default_value, evaluation_context)

    def _arm(
        self, flag_key: str, default: T, context: EvaluationContext | None, value: Callable[[Rollout, Choice], Any]
    ) -> FlagResolutionDetails[T]:
        rollouts = self._models.rollouts
        try:
            made = rollouts.choose_in(flag_key, self._asker(context), count=False)
            rollout = rollouts.declared(flag_key)
        except RequestError as error:
            return _failed(default, _code_of(error), str(error))
        reason = Reason.STALE if rollouts.is_stale else _REASONS[made.by]
        metadata = {"rollout": flag_key, "arm": made.arm, "why": made.why, **_standing(rollout)}
        return FlagResolutionDetails(
            value=value(rollout, made), reason=reason, variant=made.arm, flag_metadata={**metadata, "spec": made.spec or ""}
        )

    def _percent(self, flag_key: str, default: float) -> FlagResolutionDetails[float]:
        rollouts = self._models.rollouts
        try:
            rollout = rollouts.declared(flag_key)
        except RequestError as error:
            return _failed(default, _code_of(error), str(error))
        reason = Reason.STATIC if rollout.enabled else Reason.DISABLED
        return FlagResolutionDetails(
            value=rollout.percent if rollout.enabled else 0.0,
            reason=Reason.STALE if rollouts.is_stale else reason,
            variant="set" if rollout.enabled else "disabled",
            flag_metadata={"rollout": flag_key, **_standing(rollout)},
        )

    def _asker(self, context: EvaluationContext | None) -> Asker:
        """Read who asks out of a context. Raises `RequestError` for facts of the wrong kind."""
        given = context.attributes if context is not None else {}
        user_id = given.get("user_id") or (context.targeting_key if context is not None else None)
        if not (user_id is None or isinstance(user_id, str)):
            raise _bad_context("user_id", "a string")
        for name in ("team", "conversation"):
            if not isinstance(given.get(name) or "", str):
                raise _bad_context(name, "a string")
        tags = given.get("tags") or ()
        if isinstance(tags, str) or not isinstance(tags, Sequence) or not all(isinstance(tag, str) for tag in tags):
            raise _bad_context("tags", "a list of strings")
        return self._models._asker(self._models._state, user_id, given)


def _facts(rollout: Rollout, made: Choice) -> dict[str, FlagValueType]:
    return {"arm": made.arm, "spec": made.spec or "", "why": made.why, **_standing(rollout)}


def _standing(rollout: Rollout) -> dict[str, bool | int | float | str]:
    return {"percent": rollout.percent, "enabled": rollout.enabled, "unit": rollout.unit}


def _failed(default: T, code: ErrorCode, words: str) -> FlagResolutionDetails[T]:
    return FlagResolutionDetails(value=default, reason=Reason.ERROR, error_code=code, error_message=words)


def _bad_context(name: str, wanted: str) -> RequestError:
    return RequestError(f"`{name}` of the context is not {wanted}.", param=name, code="bad_context", hint=f"Give {wanted}.")


def _code_of(error: RequestError) -> ErrorCode:
    return ErrorCode.FLAG_NOT_FOUND if error.code == "unknown_rollout" else ErrorCode.INVALID_CONTEXT
