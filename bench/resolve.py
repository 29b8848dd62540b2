"""What it costs to find out what a spec means, beside the least that any resolution must do: a split and two look-ups."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import count

from bench.paired import Contender, compare
from podium import create_models
from podium.routing.resolve import Resolver, resolve
from podium.routing.snapshot import Snapshot

SPECS = (
    "openai/gpt-4o",
    "tier:fast",
    "user:user-7:local_first",
    "gpt-4",
    "fast",
    "openrouter/google/gemini-2.0-flash",
    "gpt-4o-mini",
)


def _snapshot() -> Snapshot:
    kinds = ("openai", "anthropic", "openrouter", "groq", "local")
    return create_models(
        providers={kind: {"api_key": "bench"} for kind in kinds},
        tiers={
            "fast": {"strategy": "race", "models": ["openai/gpt-4o-mini", "groq/llama-3.1-8b"]},
            "medium": {"strategy": "first", "models": ["openai/gpt-4o"]},
            "high": {"strategy": "first", "models": ["anthropic/claude-3.5-sonnet"]},
            "safe": {"strategy": "fallback", "models": ["anthropic/claude-3.5-haiku", "openai/gpt-4.1"]},
            "sure": {"strategy": "consensus", "models": ["openai/gpt-4.1", "groq/llama-3.3-70b", "local/llama3.3"]},
        },
        aliases={"gpt-4": "tier:high"},
        users={
            f"user-{number}": {
                "experiments": {
                    "local_first": {
                        "strategy": "fallback",
                        "providers": ["local/llama-3.3", "openrouter/google/gemini-2.0-flash"],
                    }
                },
                "defaults": {"experiment": "local_first"},
            }
            for number in range(50)
        },
        default_tier="fast",
    ).snapshot


def _each(rounds: int, work: Callable[[str], object]) -> float:
    began = time.process_time()
    for _ in range(rounds):
        for spec in SPECS:
            work(spec)
    return (time.process_time() - began) / rounds / len(SPECS) * 1e6


def main() -> None:
    """Measure and print."""
    snapshot = _snapshot()
    resolver = Resolver(snapshot)
    callers = map(str, count())

    def least(spec: str) -> object:
        head, _, rest = spec.partition("/")
        return snapshot.providers.get(head), snapshot.tiers.get(rest)

    figures = compare(
        "One resolution, CPU",
        [
            Contender(name="Resolver, spec seen before", measure=lambda: _each(20_000, lambda spec: resolver.resolve(spec))),
            Contender(
                name="Resolver, new caller",
                measure=lambda: _each(2_000, lambda spec: resolver.resolve(spec, user_id=next(callers))),
            ),
            Contender(name="resolve(), tables built anew", measure=lambda: _each(50, lambda spec: resolve(snapshot, spec))),
            Contender(name="a split and two look-ups", measure=lambda: _each(20_000, least)),
        ],
        rounds=5,
        unit="us",
        aim="aim: a resolve <= 10 us",
    )
    print(f"{1e6 / statistics.median(figures['Resolver, spec seen before']):,.0f} resolutions a second\n")


if __name__ == "__main__":
    main()
