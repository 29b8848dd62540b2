"""What a simulated model and a simulated provider are told to be.

Theory. A `SimModel` says how fast, how reliable and how right a model is. Everything that chance decides is drawn from the
sim's seed, the model, the prompt, and how often that prompt was asked before: the same run gives the same faults, and a
retry of a prompt draws afresh.

Rules.
- Settings are checked when they are made; a wrong one is a `ConfigError` that names it.
- Times are seconds, rates and shares are from 0 to 1.
- Faults in mid-answer (`stall_after`, `break_after`, `malformed_after`, `error_after`) count tokens that were sent before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Self

import msgspec

from podium.errors import ConfigError
from podium.sim import chance
from podium.types import Value

FAILURES = (500, 503, 529)
"""The statuses among which `failure_rate` draws."""

_SHARES = ("failure_rate", "throttle_rate", "fault_rate", "accuracy")
_SECONDS = ("latency_s", "latency_sigma", "retry_after_s")
_COUNTS = ("stall_after", "break_after", "malformed_after", "error_after")
_AT_LEAST_ONE = ("length", "context_tokens", "max_output")


class SimModel(Value, frozen=True, kw_only=True):
    """How a simulated model behaves; by default at once, always, and rightly."""

    latency_s: float = 0.0
    """Median time to the first token; the times are lognormal."""
    latency_sigma: float = 0.0
    """Standard deviation of the logarithm of that time; 0.3 is steady, 0.8 erratic."""
    tokens_per_s: float | None = None
    """Tokens a second after the first; None sends all at once."""
    failure_rate: float = 0.0
    """Share of the requests that are answered with `failure_status`."""
    failure_status: int | None = None
    """None draws among 500, 503 and 529."""
    throttle_rate: float = 0.0
    """Share of the requests that are answered 429, with Retry-After."""
    retry_after_s: float = 1.0
    """What a 429 asks the client to wait."""
    status: int | None = None
    """An error status that every request gets."""
    hang: bool = False
    """Accept the request and never answer."""
    stall_after: int | None = None
    """Fall silent after that many tokens, with the connection open."""
    break_after: int | None = None
    """Cut the connection after that many tokens."""
    malformed_after: int | None = None
    """Send garbage after that many tokens, and end."""
    error_after: int | None = None
    """Send the dialect's error event (overloaded) after that many tokens, and end; a stream's fault only."""
    wrong_json: bool = False
    """Answer 200 with JSON that is not of the dialect."""
    empty: bool = False
    """Answer with no content."""
    fault_rate: float = 1.0
    """Share of the requests that the faults above (from `hang` to `empty`) strike."""
    accuracy: float = 1.0
    """Share of the questions with a known answer that are answered rightly; which ones depends on model and prompt alone."""
    refuse: bool = False
    """Decline every request, as a safety-trained model does."""
    answer: str | None = None
    """A text that answers everything."""
    length: int | None = None
    """The least tokens of an answer in prose, which ends with a sentence; None: 40 to 120, by the prompt."""
    show_reasoning: bool | None = None
    """Whether thoughts are in the answer; None: as the dialect's vendor does (Anthropic shows them, OpenAI counts them)."""
    context_tokens: int | None = None
    """The longest prompt; a longer one is answered 400."""
    max_output: int | None = None
    """The longest answer, whatever the request says."""

    def __post_init__(self) -> None:
        for field in _SHARES:
            _demand(0 <= getattr(self, field) <= 1, field, getattr(self, field), "a share from 0 to 1")
        for field in _SECONDS:
            _demand(0 <= getattr(self, field) < 86_400, field, getattr(self, field), "a number from 0 on, under a day")
        for field in _COUNTS:
            _demand(_is_count(getattr(self, field), 0), field, getattr(self, field), "a whole number of tokens, 0 or more")
        for field in _AT_LEAST_ONE:
            _demand(_is_count(getattr(self, field), 1), field, getattr(self, field), "a whole number of tokens, 1 or more")
        _demand(
            self.tokens_per_s is None or self.tokens_per_s > 0, "tokens_per_s", self.tokens_per_s, "a number above 0, or None"
        )
        for field in ("status", "failure_status"):
            status = getattr(self, field)
            _demand(status is None or 400 <= status <= 599, field, status, "an error status from 400 to 599, or None")

    def changed(self, **changes: Any) -> Self:
        """Return a copy with some settings changed. Raises `ConfigError` for an unknown or wrong one."""
        unknown = sorted(set(changes) - set(self.__struct_fields__))
        if unknown:
            raise ConfigError(
                f"A SimModel has no setting {', '.join(unknown)}.", hint=f"It has {', '.join(self.__struct_fields__)}."
            )
        return self.replace(**changes)


class SimProvider(Value, frozen=True, kw_only=True):
    """How a simulated provider behaves, beyond its models."""

    dialects: tuple[str, ...] = ()
    """`openai_chat`, `anthropic`, or both; empty: Anthropic Messages for names that start with `anthropic`, else Chat."""
    models: tuple[str, ...] = ()
    """The models that `/v1/models` lists."""
    only_listed: bool = False
    """Whether any other model is answered 404, in the provider's own form."""
    keys: tuple[str, ...] | None = None
    """The API keys that are accepted; None: any that is not empty."""
    needs_key: bool = True
    """Whether a request without a key is answered 401 (a local server asks for none)."""
    strict: bool | None = None
    """Whether fields and settings that OpenAI itself refuses are refused; None: for names that start with `openai`."""

    def __repr__(self) -> str:
        shown = {field: getattr(self, field) for field in self.__struct_fields__ if field != "keys"}
        keys = None if self.keys is None else len(self.keys)
        return f"SimProvider({', '.join(f'{field}={value!r}' for field, value in shown.items())}, keys=<{keys}>)"


PROVIDERS: Mapping[str, SimProvider] = MappingProxyType(
    {
        "openai": SimProvider(dialects=("openai_chat",), models=("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5-mini", "o4-mini")),
        "anthropic": SimProvider(
            dialects=("anthropic",), models=("claude-sonnet-4-5", "claude-haiku-4-5", "claude-3-5-sonnet")
        ),
        "openrouter": SimProvider(
            dialects=("openai_chat",), models=("google/gemini-2.0-flash", "meta-llama/llama-3.3-70b-instruct")
        ),
        "groq": SimProvider(dialects=("openai_chat",), models=("llama-3.1-8b-instant", "llama-3.3-70b-versatile")),
        "local": SimProvider(dialects=("openai_chat",), models=("llama3.2", "llama3.3:70b"), needs_key=False),
    }
)
"""The providers that are simulated unless others are named. Any other name in a path is served too, with a `SimProvider`'s
defaults."""


def provider_named(name: str, declared: dict[str, SimProvider]) -> SimProvider:
    """Return what a provider is, with the dialects and the strictness that follow from its name."""
    provider = declared.get(name) or SimProvider()
    changes: dict[str, Any] = {}
    if not provider.dialects:
        changes["dialects"] = ("anthropic",) if name.startswith("anthropic") else ("openai_chat",)
    if provider.strict is None:
        changes["strict"] = name.startswith("openai")
    return provider.replace(**changes) if changes else provider


def model_named(provider: str, name: str, declared: dict[str, SimModel], default: SimModel) -> SimModel:
    """Find a model's settings: `provider/model` before `model`, a plain name before a glob, globs as declared."""
    qualified = f"{provider}/{name}"
    for exact in (qualified, name):
        if exact in declared:
            return declared[exact]
    for pattern, settings in declared.items():
        if "*" in pattern and (fnmatchcase(qualified, pattern) or fnmatchcase(name, pattern)):
            return settings
    return default


def lifelike(name: str) -> SimModel:
    """Return settings as of a real model of that name: small ones fast, large and thinking ones slow."""
    small = any(mark in name for mark in ("mini", "nano", "8b", "haiku", "flash", "3b", "lite"))
    thinking = any(mark in name for mark in ("opus", "70b", "405b", "gpt-5", "o1", "o3", "o4"))
    median, speed = (0.18, 160.0) if small else (0.55, 60.0) if thinking else (0.35, 90.0)
    swing = 0.8 + 0.4 * chance.share("lifelike", name)
    return SimModel(latency_s=round(median * swing, 3), latency_sigma=0.35, tokens_per_s=round(speed / swing, 1))


def load_models(plain: dict[str, Any] | None) -> dict[str, SimModel]:
    """Validate models given as `SimModel` or as plain dicts. Raises `ConfigError` that names the model and the fault."""
    loaded: dict[str, SimModel] = {}
    for name, settings in (plain or {}).items():
        try:
            loaded[name] = settings if isinstance(settings, SimModel) else msgspec.convert(settings, SimModel)
        except msgspec.ValidationError as error:
            raise ConfigError(f"The simulated model {name!r} is wrong: {error}.", hint="See podium.sim.SimModel.") from None
    return loaded


def load_providers(plain: dict[str, Any] | Iterable[str] | None) -> dict[str, SimProvider]:
    """Validate providers given as names, or as a dict of `SimProvider`, plain dicts or None."""
    if plain is None:
        return dict(PROVIDERS)
    if not isinstance(plain, dict):
        return {name: PROVIDERS.get(name, SimProvider()) for name in plain}
    loaded: dict[str, SimProvider] = {}
    for name, settings in plain.items():
        try:
            base = PROVIDERS.get(name, SimProvider())
            given = base if settings is None else settings
            loaded[name] = given if isinstance(given, SimProvider) else msgspec.convert(given, SimProvider)
        except msgspec.ValidationError as error:
            raise ConfigError(
                f"The simulated provider {name!r} is wrong: {error}.", hint="See podium.sim.SimProvider."
            ) from None
    return loaded


def _is_count(value: object, least: int) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= least)


def _demand(fine: bool, field: str, value: object, wanted: str) -> None:
    if not fine:
        raise ConfigError(f"A SimModel's {field} is {value!r}.", hint=f"Give {wanted}.")
