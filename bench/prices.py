"""What prices cost: to load, in time and memory, each in a fresh process; and to use, beside genai-prices' own calculation."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench.paired import Contender, compare

_LOAD = """
import psutil, time
from podium.engine.models import create_models
from podium.engine.prices.book import load_prices
create_models(providers={{"openai": {{"api_key": "bench"}}}})
process = psutil.Process()
before = process.memory_info().rss
began = time.perf_counter()
{code}
took = time.perf_counter() - began
print(took * 1000, (process.memory_info().rss - before) / 2**20)
"""
_FIND = "assert load_prices({path!r})['openai/gpt-4o']"
_THEIRS = "from genai_prices import Usage, calc_price\ncalc_price(Usage(input_tokens=1), 'gpt-4o', provider_id='openai')"
_ROUNDS = 9
_CALLS = 20_000


def _measure(code: str, figure: int) -> float:
    shown = subprocess.run([sys.executable, "-c", _LOAD.format(code=code)], check=True, capture_output=True, text=True).stdout
    return float(shown.split()[figure])


def main() -> None:
    """Measure and print."""
    from podium.engine.prices.fetch import fetch_prices
    from podium.engine.prices.sources import find_sources

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pricing-cache.json"
        asyncio.run(fetch_prices(find_sources(("bundled",)), path, time.time()))
        loads = {
            "from the file of fetched prices": _FIND.format(path=str(path)),
            "from the bundled data": _FIND.format(path=None),
            "genai-prices' calc_price": _THEIRS,
        }
        for title, figure, unit in (("time", 0, "ms"), ("memory", 1, "MB")):
            compare(
                f"The first price, in a process that has made its models: {title}",
                [Contender(name=name, measure=partial(_measure, code, figure)) for name, code in loads.items()],
                rounds=_ROUNDS,
                unit=unit,
            )
    _use()


def _use() -> None:
    from genai_prices import Usage as TheirUsage
    from genai_prices import calc_price

    from podium.catalog.pricing import highest_cost
    from podium.engine.prices.book import load_prices
    from podium.types import Usage

    book = load_prices()
    usage = Usage(input=1200, output=300, cache_read=5000, cache_write=17, reasoning=100)
    theirs = TheirUsage(
        input_tokens=6217, output_tokens=400, cache_read_tokens=5000, cache_write_tokens=17, output_reasoning_tokens=100
    )
    now, at = datetime.now(UTC), time.time()
    found = book.get("anthropic/claude-sonnet-4-5")
    if found is None:
        raise SystemExit("the bundled data does not know anthropic/claude-sonnet-4-5")
    price = found.price

    def each(act: Callable[[], object]) -> float:
        began = time.process_time()
        for _ in range(_CALLS):
            act()
        return (time.process_time() - began) / _CALLS * 1e6

    compare(
        "One price of a tiered model, CPU",
        [
            Contender(name="cost", measure=lambda: each(lambda: price.cost(usage, at))),
            Contender(name="cost_pico", measure=lambda: each(lambda: price.cost_pico(usage, at))),
            Contender(name="find, known name", measure=lambda: each(lambda: book.find("anthropic", "claude-sonnet-4-5"))),
            Contender(name="highest_cost", measure=lambda: each(lambda: highest_cost(found, 6000, 4000, at))),
            Contender(
                name="genai-prices' calc_price",
                measure=lambda: each(
                    lambda: calc_price(theirs, "claude-sonnet-4-5", provider_id="anthropic", genai_request_timestamp=now)
                ),
            ),
        ],
        rounds=5,
        unit="us",
    )


if __name__ == "__main__":
    main()
