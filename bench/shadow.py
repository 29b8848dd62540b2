"""What a caller waits, and what their thread works, beside shadows: none, 5 % and all of the calls, at a steady pace."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time

from rich.console import Console
from rich.table import Table

from bench.upstream import upstream
from podium import Models, create_models

_CALLS = 400
_EVERY_S = 0.005
_ROUNDS = 5
_PROMPT = "Say something about a fox."
_SAMPLES = {"no shadow": None, "5 % shadowed": 5, "all shadowed": 100}


def _models(base_url: str, sample: int | None, folder: str) -> Models:
    shadow = {} if sample is None else {"shadow": {"sample": sample, "budget_usd_per_day": 1000, "max_concurrent": 64}}
    chat = {"match": ["chat"], "legacy": "openai/gpt-4o-mini", "candidate": "openai/gpt-4o", **shadow}
    return create_models(
        providers={"openai": {"base_url": base_url, "api_key": "bench"}}, rollouts={"chat": chat}, data_dir=folder
    )


async def _waits(models: Models) -> tuple[list[float], float]:
    """How long each call took, in milliseconds, and the CPU of this thread a call, in microseconds."""
    took: list[float] = []

    async def call() -> None:
        began = time.perf_counter()
        await models.generate_text("chat", prompt=_PROMPT)
        took.append((time.perf_counter() - began) * 1e3)

    began = time.thread_time()
    calls = []
    for _ in range(_CALLS):
        calls.append(asyncio.create_task(call()))
        await asyncio.sleep(_EVERY_S)
    await asyncio.gather(*calls)
    return took, (time.thread_time() - began) / _CALLS * 1e6


async def _measure(base_url: str) -> dict[str, list[tuple[float, float, float]]]:
    """Median, 99th percentile and CPU of each, round by round; the first round warms up."""
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in _SAMPLES}
    with tempfile.TemporaryDirectory() as folder:
        made = {name: _models(base_url, sample, f"{folder}/{place}") for place, (name, sample) in enumerate(_SAMPLES.items())}
        for turn in range(_ROUNDS + 1):
            for name, models in made.items():
                took, cpu = await _waits(models)
                took.sort()
                if turn:
                    figures[name].append((took[len(took) // 2], took[len(took) * 99 // 100], cpu))
        for name, models in made.items():
            await models.close()
            sent = models.rollouts.shadow("chat").sent
            assert (sent > _CALLS) == (_SAMPLES[name] == 100), f"{name}: {sent} were shadowed"
            models.rollouts.close()
    return figures


def main() -> None:
    """Measure and print."""
    with upstream() as base_url:
        figures = asyncio.run(_measure(base_url))
    table = Table(
        title=f"A call beside shadows, {1 / _EVERY_S:.0f} calls a second, median of {_ROUNDS} rounds", title_justify="left"
    )
    for column in ("", "p50", "p99", "CPU of the caller's thread"):
        table.add_column(column, justify="left" if not column else "right")
    for name, rounds in figures.items():
        p50, p99, cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
        table.add_row(name, f"{p50:.2f} ms", f"{p99:.2f} ms", f"{cpu:.0f} us")
    console = Console(width=120)
    console.print(table)
    console.print(
        "the upstream answers at once, so what shadows add is Podium's own: they share the interpreter\n", style="dim"
    )


if __name__ == "__main__":
    main()
