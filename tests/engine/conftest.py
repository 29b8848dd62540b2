"""A sim for the engine's tests, and models that know it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from making import Make
from podium import Models, create_models
from podium.sim import Sim


@pytest.fixture
async def sim() -> AsyncIterator[Sim]:
    async with Sim(seed=7) as running:
        yield running


@pytest.fixture
async def make(sim: Sim) -> AsyncIterator[Make]:
    made: list[Models] = []

    def one(*, providers: dict[str, Any] | None = None, **config: Any) -> Models:
        known = sim.providers("openai", "anthropic", "openrouter", "groq", "local")
        for name, changes in (providers or {}).items():
            known[name] = {**known.get(name, {}), **changes}
        made.append(create_models(providers=known, **config))
        return made[-1]

    yield one
    for models in made:
        await models.close()
