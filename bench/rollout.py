"""What a rollout costs: a decision, and a call that it governs beside one that none does, through the whole of Podium."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import count, cycle

from rich.console import Console
from rich.table import Table

from bench.paired import Contender, compare
from bench.upstream import upstream
from podium import Models, create_models
from podium.routing.rollout import Rollout, bucket, decide

_USERS = [f"user-{number}" for number in range(20_000)]
_AT_ONCE, _EACH = 16, 2
_WARM, _BATCHES = 50, 800
_PROMPT = "Say something about a fox."


def _each(work: Callable[[str], object]) -> float:
    """CPU microseconds for each user."""
    began = time.process_time()
    for user in _USERS:
        work(user)
    return (time.process_time() - began) / len(_USERS) * 1e6


def _decisions() -> None:
    new = Rollout(name="chat", candidate="tier:high", percent=25)
    old = new.replace(hash="legacy_js")
    compare(
        "One decision by bucket, CPU",
        [
            Contender(name="sha256", measure=lambda: _each(lambda user: decide(new, user_id=user, unit_id=user))),
            Contender(name="legacy_js", measure=lambda: _each(lambda user: decide(old, user_id=user, unit_id=user))),
            Contender(name="sha256, only the bucket", measure=lambda: _each(lambda user: bucket("chat", user))),
            Contender(name="a bare sha256, OpenSSL's", measure=lambda: _each(lambda user: sha256(user.encode()).digest())),
        ],
        rounds=7,
        unit="us",
        aim="aim: a bucket decision <= 3 us, by either hash",
    )


async def _batch(models: Models, specs: Iterator[str], users: Iterator[str]) -> float:
    """CPU microseconds of this thread for a call; several are under way at once, each of another user."""

    async def one_after_another() -> None:
        for _ in range(_EACH):
            await models.generate_text(next(specs), prompt=_PROMPT, user_id=next(users))

    began = time.thread_time()
    await asyncio.gather(*(one_after_another() for _ in range(_AT_ONCE)))
    return (time.thread_time() - began) / _AT_ONCE / _EACH * 1e6


async def _calls(base_url: str, folder: str) -> None:
    """Ask in small batches, governed and not in turn: what is looked for is far less than a machine drifts in a second."""
    models = create_models(
        providers={"openai": {"base_url": base_url, "api_key": "bench"}},
        rollouts={
            "chat": {"match": ["gpt-4"], "legacy": "openai/gpt-4o", "candidate": "openai/gpt-4o-mini", "percent": 50},
            "off": {"match": ["gpt-3"], "legacy": "openai/gpt-4o", "candidate": "openai/gpt-4o-mini", "enabled": False},
        },
        data_dir=folder,
    )
    known, fresh = cycle(_USERS[:2000]), (f"new-{number}" for number in count())
    by_none, half, off = (cycle(specs) for specs in (("openai/gpt-4o", "openai/gpt-4o-mini"), ("gpt-4",), ("gpt-3",)))
    asked = {
        "users who come again: by none": (by_none, known),
        "users who come again: at 50 %": (half, known),
        "users who come again: disabled": (off, known),
        "always new users: by none": (by_none, fresh),
        "always new users: at 50 %": (half, fresh),
    }
    figures: dict[str, list[float]] = {name: [] for name in asked}
    async with models:
        for turn in range(-_WARM, _BATCHES):
            for name, (specs, users) in asked.items():
                figure = await _batch(models, specs, users)
                if turn >= 0:
                    figures[name].append(figure)
    table = Table(
        title=f"One call, governed or not, CPU of its thread, {_BATCHES} batches of {_AT_ONCE * _EACH}, ledger in a folder",
        caption="aim: a governed call <= 15 us more",
        title_justify="left",
        caption_justify="left",
    )
    for column in ("", "median", "more, median of pairs", "95 % of that"):
        table.add_column(column, justify="right" if column else "left")
    for name in asked:
        plain = f"{name.partition(':')[0]}: by none"
        median = f"{statistics.median(figures[name]):.1f} us"
        if name == plain:
            table.add_row(name, median, "", "")
            continue
        more = sorted(here - there for here, there in zip(figures[name], figures[plain], strict=True))
        margin = round(0.98 * len(more) ** 0.5)  # order statistics around a median: 1.96 * sqrt(n) / 2
        low, high = more[len(more) // 2 - margin], more[len(more) // 2 + margin]
        table.add_row(name, median, f"{statistics.median(more):.1f} us", f"{low:.1f} to {high:.1f} us")
    Console(width=120).print(table)


def main() -> None:
    """Measure and print."""
    _decisions()
    with upstream() as base_url, tempfile.TemporaryDirectory() as folder:
        asyncio.run(_calls(base_url, folder))


if __name__ == "__main__":
    main()
