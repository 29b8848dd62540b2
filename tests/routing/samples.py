"""A typical config as a snapshot: the guide's five providers, its three tiers, some aliases and two users."""

from decimal import Decimal

from podium.routing.snapshot import Experiment, ModelEntry, Provider, Snapshot, Strategy, Tier, User
from podium.types import Secret, Target


def target(text: str) -> Target:
    provider, _, model = text.partition("/")
    return Target(provider=provider, model=model)


def targets(*texts: str) -> tuple[Target, ...]:
    return tuple(map(target, texts))


def provider(
    name: str,
    kind: str | None = None,
    *,
    owns: tuple[str, ...] = (),
    serves: tuple[str, ...] = (),
    models: dict[str, str] | None = None,
    key: bool = True,
    enabled: bool = True,
) -> Provider:
    """A provider as the config layer makes it: usable unless it is disabled or without a key."""
    variable = f"{name.upper()}_API_KEY"
    unusable = None if key else f"it has no key; {variable} is not set"
    return Provider(
        name=name,
        kind=kind or name,
        dialect="openai_chat",
        base_url=f"http://127.0.0.1/{name}",
        api_key=Secret("test-key") if key else None,
        key_variable=variable,
        enabled=enabled,
        unusable=unusable if enabled else "it is disabled",
        owns=owns,
        serves=serves,
        models={public: ModelEntry(upstream=upstream) for public, upstream in (models or {}).items()},
    )


OPENAI = provider("openai", owns=("gpt-[0-9]*", "o[0-9]"))
ANTHROPIC = provider("anthropic", owns=("claude-*",))
OPENROUTER = provider("openrouter", serves=("openai/*", "google/*", "meta-llama/*"))
GROQ = provider("groq", serves=("llama-3.1-8b*", "llama-3.3-70b*"))
LOCAL = provider("local", enabled=False)

JANE = User(
    id="jane",
    experiments={
        "local_first": Experiment(
            name="local_first",
            strategy=Strategy(name="fallback"),
            targets=targets("local/llama-3.3", "openrouter/google/gemini-2.0-flash"),
            timeout_s=45.0,
            max_cost_usd=Decimal("0.02"),
        ),
        "gpt": Experiment(name="gpt", strategy=Strategy(), targets=targets("openai/gpt-4o")),
    },
    default_experiment="local_first",
    timeout_s=20.0,
    source="configs/researchers/jane.yaml",
)
BOB = User(id="bob", experiments={"cheap": Experiment(name="cheap", strategy=Strategy(), targets=targets("groq/llama-3.1-8b"))})


def tier(name: str, strategy: str, *models: str, auto: bool = True, timeout_s: float | None = None) -> Tier:
    return Tier(name=name, strategy=Strategy(name=strategy), targets=targets(*models), auto=auto, timeout_s=timeout_s)  # type: ignore[arg-type]


def by_name(*providers: Provider) -> dict[str, Provider]:
    return {each.name: each for each in providers}


SNAPSHOT = Snapshot(
    version=3,
    providers=by_name(OPENAI, ANTHROPIC, OPENROUTER, GROQ, LOCAL),
    tiers={
        "fast": tier("fast", "race", "openai/gpt-4o-mini", "groq/llama-3.1-8b"),
        "medium": tier("medium", "first", "openai/gpt-4o"),
        "high": tier("high", "first", "anthropic/claude-3.5-sonnet", timeout_s=90.0),
    },
    aliases={
        "gpt-4": "tier:high",
        "best": "gpt-4",
        "smart": "openai/gpt-4o",
        "research": "user:jane",
    },
    users={"jane": JANE, "bob": BOB},
    default_tier="fast",
)
