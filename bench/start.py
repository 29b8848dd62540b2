"""Cold import, and the time from nothing to the first answer, each in a fresh process."""

from __future__ import annotations

import subprocess
import sys
import time

from bench.paired import Contender, compare
from bench.upstream import upstream

_PODIUM = """
from podium import create_models
models = create_models(providers={{"openai": {{"base_url": "{url}", "api_key": "bench"}}}})
assert models.sync.generate_text("openai/gpt-4o-mini", prompt="Hello").text
"""
_OPENAI = """
from openai import OpenAI
client = OpenAI(base_url="{url}", api_key="bench")
assert client.chat.completions.create(model="gpt-4o-mini", messages=[{{"role": "user", "content": "Hello"}}]).choices
"""


def _run(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    compare(
        "Cold import, whole process",
        [
            Contender(name="python -c pass", measure=lambda: _run("pass")),
            Contender(name="import podium", measure=lambda: _run("import podium")),
            Contender(name="from podium import create_models", measure=lambda: _run("from podium import create_models")),
            Contender(name="import openai", measure=lambda: _run("import openai")),
        ],
        rounds=9,
        unit="s",
        aim="aim: import podium <= 0.15 s over bare Python",
    )
    with upstream() as url:
        compare(
            "From nothing to the first answer, whole process",
            [
                Contender(name="podium", measure=lambda: _run(_PODIUM.format(url=url))),
                Contender(name="openai SDK", measure=lambda: _run(_OPENAI.format(url=url))),
                Contender(name="python -c pass", measure=lambda: _run("pass")),
            ],
            rounds=9,
            unit="s",
        )


if __name__ == "__main__":
    main()
