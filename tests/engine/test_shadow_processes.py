"""Four processes shadow one rollout: one budget, and sums that add up."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

from podium import create_models
from podium.sim import Sim, SimModel

PROCESSES = 4
CALLS = 20
BUDGET_USD = Decimal("0.02")

_WORKER = """
import asyncio, json, sys
from podium import create_models

config = json.loads(sys.argv[1])

async def main():
    async with create_models(**config) as models:
        for number in range(int(sys.argv[2])):
            prompt = f"Tell me about ship {number}."
            answers = [models.generate_text("gpt-4", prompt=prompt, max_tokens=60) for _ in range(4)]
            await asyncio.gather(*answers)

asyncio.run(main())
"""


def test_four_processes_never_exceed_one_budget_and_count_together(tmp_path: Path) -> None:
    with Sim(models={"gpt-4.1": SimModel(latency_s=0.005)}, seed=3) as sim:
        openai = {"base_url": sim.base_url("openai"), "api_key": "sim"}
        shadow = {"sample": 100, "budget_usd_per_day": str(BUDGET_USD), "max_concurrent": 200}
        chat = {"match": ["gpt-4"], "legacy": "openai/gpt-4o", "candidate": "openai/gpt-4.1", "shadow": shadow}
        config = {"providers": {"openai": openai}, "rollouts": {"chat": chat}, "data_dir": str(tmp_path)}
        command = [sys.executable, "-c", _WORKER, json.dumps(config), str(CALLS)]
        workers = [subprocess.Popen(command) for _ in range(PROCESSES)]
        assert [worker.wait(timeout=120) for worker in workers] == [0] * PROCESSES
        stats = sim.stats
    models = create_models(**config)  # type: ignore[arg-type]  # as a user's YAML
    with models.sync:
        told = models.rollouts.shadow("chat")
        rows = {row.group["arm"]: row for row in models.usage(["arm"])}
    assert told.drawn == rows["legacy"].requests == PROCESSES * CALLS * 4
    assert rows["candidate_shadow"].requests == told.sent == stats.by_model["openai/gpt-4.1"] > 0
    assert told.spent_usd == rows["candidate_shadow"].cost_usd
    assert told.spent_usd <= BUDGET_USD
    assert told.skipped["budget"] > 0, "the budget was not reached: the test proves nothing"
    assert told.failed == 0
    print(f"\nbudget ${BUDGET_USD}, spent ${told.spent_usd}, sent {told.sent}, skipped {told.skipped}")
