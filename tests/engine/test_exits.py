"""Interpreters that exit in the middle of things say nothing on stderr."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from podium.sim import Sim

_BEFORE = """
import asyncio, sys, threading, time
from podium import create_models

providers = {name: {"base_url": sys.argv[1] + f"/{name}/v1", "api_key": "sim"} for name in ("openai", "groq")}
race = {"strategy": "race", "models": ["openai/gpt-4o", "groq/llama-3.1-8b"]}
models = create_models(providers=providers, tiers={"race": race})
kept = []

async def first_piece():
    texts = models.stream_text("tier:race", prompt="Tell me a story.").text
    kept.append(texts)
    return await anext(texts)
"""

EXITS = {
    "an open stream": "asyncio.run(first_piece()); print('begun')",
    "blocking calls, not closed": 'models.sync.generate_text("tier:race", prompt="Hello!", max_tokens=1); print("begun")',
    "a blocking stream, not closed": """
texts = models.sync.stream_text("tier:race", prompt="Tell me a story.").text
next(texts)
print("begun")
""",
    "a shadow, not closed": """
shadow = {"sample": 100, "budget_usd_per_day": 20}
chat = {"match": ["chat"], "legacy": "openai/gpt-4o", "candidate": "openai/gpt-4.1", "shadow": shadow}
shadowed = create_models(providers=providers, rollouts={"chat": chat})
asyncio.run(shadowed.generate_text("chat", prompt="Hello!", max_tokens=1))
print("begun")
""",
    "a call in a daemon thread": """
ask = lambda: models.sync.generate_text("openai/gpt-4o", prompt="Tell me a story.")
threading.Thread(target=ask, daemon=True).start()
while not models.statistics()["calls"]: time.sleep(0.01)
print("begun")
""",
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Sim(seed=7) as sim:
        sim.set("*", length=400, tokens_per_s=50.0, latency_s=0.0)
        yield sim.url


@pytest.fixture(scope="module")
def ends(url: str) -> dict[str, tuple[int, str, str]]:
    """Exit code, stdout and stderr of each, run side by side."""
    strict = [sys.executable, "-W", "always", "-c"]
    begun = {
        name: subprocess.Popen(
            [*strict, _BEFORE + code, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for name, code in EXITS.items()
    }  # fmt: skip
    ends: dict[str, tuple[int, str, str]] = {}
    for name, process in begun.items():
        out, err = process.communicate(timeout=20)
        ends[name] = (process.returncode, out, err)
    return ends


@pytest.mark.parametrize("name", EXITS)
def test_an_interpreter_may_exit_at_any_time_without_a_word(ends: dict[str, tuple[int, str, str]], name: str) -> None:
    assert ends[name] == (0, "begun\n", "")
