"""What a provider bills itself, and what it bills for a model without a price: in limits, on record, and in a later price."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.biller import Bill, Biller
from engine.told import Told
from making import Make
from podium import Models
from podium.errors import BudgetExceeded
from podium.ledger.store import Price, Priced
from podium.types import Result

MILLION = {"prompt_tokens": 10**6, "completion_tokens": 0, "total_tokens": 10**6}


@pytest.fixture
async def house() -> AsyncIterator[dict[str, Any]]:
    """A config of a provider that bills as it is told."""
    async with Biller() as biller:
        yield {
            "providers": {"house": {"base_url": f"{biller.url}/v1"}},
            "prices": {"house/x": {"input": 1, "output": 1, "per_request": 4}},
        }


async def billed(
    models: Models, model: str, number: int, *, user_id: str | None = None, tier: str | None = None, **more: Any
) -> Result:
    prompt = Bill(number=number, usage={**MILLION, **more}, tier=tier).prompt()
    return await models.generate_text(f"house/{model}", user_id=user_id, max_tokens=5, prompt=prompt)


async def test_a_limit_counts_what_a_provider_says_that_a_model_without_a_price_cost(make: Make, house: dict[str, Any]) -> None:
    jane = {"experiments": {"one": {"strategy": "first", "providers": ["house/x"]}}, "defaults": {"costLimit": 5}}
    models = make(**house, unpriced="allow", users={"jane": jane})
    assert (await billed(models, "new", 1, user_id="jane", cost=3)).cost_usd == 3
    with pytest.raises(BudgetExceeded) as caught:
        await billed(models, "x", 2, user_id="jane")
    assert (caught.value.spent, caught.value.reserved) == (3, 0)
    assert (await billed(models, "new", 3, user_id="jane", cost=3)).cost_usd == 3  # what is free by all that is known
    with pytest.raises(BudgetExceeded) as caught:
        await billed(models, "x", 4, user_id="jane")
    assert caught.value.spent == 6


async def test_an_attempt_without_a_price_is_priced_later_by_the_service_tier_that_answered(
    make: Make, house: dict[str, Any], tmp_path: Path
) -> None:
    models = make(**house, data_dir=str(tmp_path))
    await billed(models, "new", 1, tier="flex")
    ledger = models._books.ledger
    assert ledger is not None
    seen: list[dict[str, str] | None] = []

    def price(old: Priced) -> Price:
        seen.append(old.context)
        return Price(cost_pico=1)

    await asyncio.to_thread(ledger.flush, 2)
    ledger.reprice(price)
    assert seen == [{"service_tier": "flex"}]


async def test_the_source_of_a_cost_that_the_provider_has_said_is_the_provider(make: Make, house: dict[str, Any]) -> None:
    models, told = make(**house), Told()
    models.observe(told)
    await billed(models, "x", 1, cost=3)
    await billed(models, "x", 2)
    of_provider, of_config = told.attempts
    assert (of_provider.cost_pico, of_provider.price_version, of_provider.price_source) == (3 * 10**12, None, "provider")
    assert (of_config.cost_pico, of_config.price_source) == (5 * 10**12, "config")
