"""What `podium demo` plays: its questions, its routes, and the providers it plays them with.

Theory. The demo uses nothing that a user does not have: a `podium.yaml`, a researcher's YAML, and the public API. Only the
providers differ: simulated ones over real HTTP, or the real ones whose keys are in the environment.

Rules.
- The simulated providers are the same at each run: latencies, a provider that is down, a model that errs are set here.
- With real providers, the one that is down is an address where nothing listens; everything else is real, and costs money.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from podium.errors import ConfigError
from podium.routing.compare import is_right
from podium.types import Value

if TYPE_CHECKING:
    from podium.sim import Sim

RouteName = Literal["race", "fallback", "consensus", "auto", "experiment"]

_ANYWHERE = "http://sim.invalid"
_NOBODY = "http://127.0.0.1:9/v1"
"""The port of the discard service, where nothing listens today: a connection is refused at once."""


class Question(Value, frozen=True, kw_only=True):
    """One question of the demo."""

    id: int
    route: RouteName
    prompt: str
    expect: str | None = None
    """What a right answer contains, where that can be said."""

    def is_right(self, text: str) -> bool | None:
        """Say whether an answer is right; None where that cannot be checked."""
        return None if self.expect is None else is_right(text, self.expect)


class Route(Value, frozen=True, kw_only=True):
    """One way to ask, with a sentence that says what to look for."""

    name: RouteName
    spec: str
    title: str


def read_questions() -> list[Question]:
    """Read the questions that Podium ships."""
    lines = resources.files("podium.cli").joinpath("questions.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Question) for line in lines if line.strip()]


# --- simulated -------------------------------------------------------------------------------------------------------

ROUTES = (
    Route(name="race", spec="tier:fast", title="a race: two models are asked at once, the first to answer wins"),
    Route(name="fallback", spec="tier:steady", title="a fallback, and its first provider, openrouter, is down"),
    Route(name="consensus", spec="tier:agreed", title="a consensus: three models are asked, the majority answers"),
    Route(name="auto", spec="gpt-4o", title="a plain model name, which automatic tier resolution turns into tier:high"),
    Route(name="experiment", spec="user:researcher-john:local_first", title="an experiment from a researcher's YAML file"),
)


def make_sim() -> Sim:
    """Make the simulated providers of the demo, not yet started."""
    from podium.sim import Sim, SimModel

    return Sim(
        models={
            "openai/gpt-4o-mini": SimModel(latency_s=0.24, latency_sigma=0.5, tokens_per_s=150),
            "groq/llama-3.1-8b-instant": SimModel(latency_s=0.22, latency_sigma=0.5, tokens_per_s=260),
            "openrouter/*": SimModel(status=503),
            "anthropic/claude-haiku-4-5": SimModel(latency_s=0.26, latency_sigma=0.3, tokens_per_s=160),
            "anthropic/claude-sonnet-4-5": SimModel(latency_s=0.36, latency_sigma=0.3, tokens_per_s=110),
            "openai/gpt-4.1": SimModel(latency_s=0.32, latency_sigma=0.3, tokens_per_s=120),
            "groq/llama-3.3-70b-versatile": SimModel(latency_s=0.2, latency_sigma=0.3, tokens_per_s=220, accuracy=0.6),
            "openai/gpt-4o": SimModel(latency_s=0.3, latency_sigma=0.3, tokens_per_s=130),
            "local/*": SimModel(latency_s=0.18, latency_sigma=0.2, tokens_per_s=90),
        },
        seed=122,  # a race's two are never close, so the one that loses is cancelled on a busy machine too
    )


def write_config(folder: Path, address: str) -> Path:
    """Write the demo's config and its researcher's into a folder, with the simulator's address; return the config's path."""
    files = resources.files("podium.cli").joinpath("demo_files")
    (folder / "researchers").mkdir()
    for name in ("podium.yaml", "researchers/john.yaml"):
        text = files.joinpath(name).read_text("utf-8")
        (folder / name).write_text(text.replace(_ANYWHERE, address), "utf-8")
    return folder / "podium.yaml"


# --- real ------------------------------------------------------------------------------------------------------------

REAL_MODELS: dict[str, tuple[str, str]] = {
    "openai": ("gpt-4o-mini", "gpt-4.1-mini"),
    "anthropic": ("claude-haiku-4-5", "claude-sonnet-4-5"),
    "openrouter": ("google/gemini-2.0-flash-001", "meta-llama/llama-3.3-70b-instruct"),
    "groq": ("llama-3.1-8b-instant", "llama-3.3-70b-versatile"),
    "gemini": ("gemini-2.5-flash-lite", "gemini-2.5-flash"),
    "mistral": ("mistral-small-latest", "mistral-medium-latest"),
    "deepseek": ("deepseek-chat", "deepseek-reasoner"),
}
"""Two small models of each provider that `podium demo --real` can use, the cheaper first."""


def write_real_config(folder: Path, environment: Mapping[str, str]) -> tuple[Path, tuple[Route, ...]]:
    """Write a config over the real providers whose keys are in the environment; return its path and the routes through it.

    Raises `ConfigError` where there is no key.
    """
    import yaml

    from podium.catalog.providers import kinds

    known = {name: kinds()[name].key_variables for name in REAL_MODELS}
    names = [name for name, variables in known.items() if any(environment.get(variable) for variable in variables)]
    if not names:
        variables = ", ".join(variables[0] for variables in known.values())
        raise ConfigError(
            f"`podium demo --real` found no provider's key in the environment (looked for {variables}).",
            hint="Set one of them, or run `podium demo` without --real: it needs no key.",
        )
    small = [f"{name}/{REAL_MODELS[name][0]}" for name in names]
    large = [f"{name}/{REAL_MODELS[name][1]}" for name in names]
    every = list(dict.fromkeys([*small, *large]))
    config: dict[str, Any] = {
        "providers": {name: {} for name in names} | {"down": {"base_url": _NOBODY}},
        "tiers": {
            "fast": {"strategy": "race", "auto": False, "models": every[:2]},
            "steady": {"strategy": "fallback", "models": ["down/any-model", small[-1]]},
            "agreed": {"strategy": "consensus", "auto": False, "models": every[:3]},
            "high": {"strategy": "fallback", "models": list(dict.fromkeys([large[0], small[-1]]))},
        },
        "default_tier": "fast",
        "users": {"researcher-john": "researchers/john.yaml"},
    }
    experiment = {"strategy": "fallback", "providers": list(dict.fromkeys([small[-1], small[0]]))}
    researcher = {"name": "John's Research Config", "experiments": {"local_first": experiment}}
    (folder / "researchers").mkdir()
    (folder / "podium.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    (folder / "researchers/john.yaml").write_text(yaml.safe_dump(researcher, sort_keys=False), "utf-8")
    named = {
        "fallback": {"title": "a fallback whose first provider is an address where nothing listens"},
        "auto": {"spec": large[0]},
        "consensus": {"title": f"a consensus of {len(every[:3])} models; the majority answers"},
    }
    return folder / "podium.yaml", tuple(route.replace(**named.get(route.name, {})) for route in ROUTES)
