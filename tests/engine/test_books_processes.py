"""Processes that share a data folder keep one book: what each was told is there once, and their user's limit has all of it."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.biller import Bill, Biller
from podium import create_models
from podium.errors import BudgetExceeded
from podium.ledger import Ledger, pico_usd, total

PROCESSES = 3
REQUESTS = 40

_WORKER = """
import asyncio, json, sys
from podium import create_models
from podium.ledger import pico_usd

config, asked = json.loads(sys.argv[1]), json.loads(sys.argv[2])

async def main():
    async with create_models(**config) as models:
        results = []
        for first in range(0, len(asked), 5):
            results += await asyncio.gather(
                *(models.generate_text(each.pop("spec"), **each) for each in asked[first : first + 5])
            )
        whole = models.get_metrics().overall.total
    told = [[str(result.target), [pico_usd(attempt.cost_usd) for attempt in result.attempts]] for result in results]
    print(json.dumps({"told": told, "metrics": [whole.requests, whole.attempts, whole.cost_pico]}))

asyncio.run(main())
"""


def asked_of(drawn: random.Random, process: int) -> list[dict[str, Any]]:
    """What a process asks."""
    asked = []
    for number in range(REQUESTS):
        usage = {"prompt_tokens": drawn.randrange(10**5), "completion_tokens": drawn.randrange(1, 10**5)}
        failures = (500,) if drawn.random() < 0.2 else ()
        bill = Bill(number=1000 * process + number, usage=usage, failures=failures)
        user = drawn.choice(("jane", None))
        tags = drawn.choices(("a", "b", "c"), k=drawn.randrange(3))
        spec = drawn.choice(("house/usual", "house/fine"))
        asked.append({"spec": spec, "prompt": bill.prompt(), "user_id": user, "metadata": {"tags": tags}})
    return asked


async def test_what_processes_were_told_is_in_the_ledger_the_metrics_and_the_limit_to_the_last_pico_dollar(
    tmp_path: Path,
) -> None:
    noon = f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"  # there no day ends meanwhile
    jane = {"experiments": {"one": {"strategy": "first", "providers": ["house/usual"]}}, "timezone": noon}
    async with Biller() as biller:
        config: dict[str, Any] = {
            "providers": {"house": {"base_url": f"{biller.url}/v1"}},
            "prices": {
                "house/usual": {"input": 1.7, "output": 3.3},
                "house/fine": {"input": 0.0000003, "output": 0.0000007},
                "house/fee": {"input": 1, "output": 1, "per_request": 100},
            },
            "users": {"jane": {**jane, "defaults": {"experiment": "one", "costLimit": 101}}},
            "data_dir": str(tmp_path),
        }
        asked = [asked_of(random.Random(process), process) for process in range(PROCESSES)]
        workers = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", _WORKER, json.dumps(config), json.dumps(each), stdout=asyncio.subprocess.PIPE
            )
            for each in asked
        ]
        outputs = [json.loads((await worker.communicate())[0]) for worker in workers]
        assert [worker.returncode for worker in workers] == [0] * PROCESSES
        costs: Counter[str] = Counter()
        janes = 0
        for each, output in zip(asked, outputs, strict=True):
            for request, (target, attempts) in zip(each, output["told"], strict=True):
                costs[target] += sum(attempts)
                janes += sum(attempts) if request["user_id"] == "jane" else 0
            told = [attempts for _, attempts in output["told"]]
            assert output["metrics"] == [REQUESTS, sum(map(len, told)), sum(map(sum, told))]
        with Ledger.open(tmp_path) as ledger:
            by_target = await asyncio.to_thread(ledger.usage, "target")
            by_user = await asyncio.to_thread(ledger.usage, ("user", "model"))
        assert {row.group["target"]: pico_usd(row.cost_usd) for row in by_target} == costs
        assert total(by_user).attempts == len(biller.billed)
        assert total(by_user).requests == PROCESSES * REQUESTS
        assert sum(pico_usd(row.cost_usd) or 0 for row in by_user if row.group["user"] == "jane") == janes
        async with create_models(**config) as models:
            with pytest.raises(BudgetExceeded) as caught:
                await models.generate_text("house/fee", user_id="jane", prompt="Hello", max_tokens=5)
        assert pico_usd(Decimal(caught.value.spent or 0)) == janes > 0
