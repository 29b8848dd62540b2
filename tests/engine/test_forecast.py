"""The most that a call can cost, against what it did cost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from making import Make
from podium.engine.forecast import forecast
from podium.engine.text import load_request
from podium.errors import SpecError
from podium.sim import Sim

CONSENSUS = {"strategy": "consensus", "models": ["openai/gpt-4o", "anthropic/claude-haiku-4-5"], "auto": False}


@pytest.mark.parametrize("spec", ["openai/gpt-4o", "anthropic/claude-sonnet-4-5", "tier:agreed"])
@pytest.mark.parametrize("ask", [{}, {"max_tokens": 60}, {"system": "Be brief. " * 50, "temperature": 0}])
async def test_no_call_costs_more(make: Make, sim: Sim, spec: str, ask: dict[str, Any]) -> None:
    models = make(tiers={"agreed": CONSENSUS})
    asked = {"prompt": "Write a haiku about autumn rain.", **ask}
    highest = forecast(models, spec, load_request("", asked, stream=False), user_id=None, pin=True)
    result = await models.generate_text(spec, pin=True, **asked)
    assert result.cost_usd is not None
    assert 0 < result.cost_usd <= highest.usd
    assert highest.unknown == ()


def test_a_longer_answer_can_cost_more_and_all_targets_of_a_strategy_count(make: Make) -> None:
    models = make(tiers={"agreed": CONSENSUS})

    def highest(spec: str, **ask: Any) -> Decimal:
        request = load_request("", {"prompt": "Hello", **ask}, stream=False)
        return forecast(models, spec, request, user_id=None, pin=True).usd

    assert highest("openai/gpt-4o", max_tokens=10) < highest("openai/gpt-4o", max_tokens=1000) < highest("openai/gpt-4o")
    assert highest("tier:agreed") == highest("openai/gpt-4o") + highest("anthropic/claude-haiku-4-5")


def test_what_has_no_price_is_named_and_counts_as_nothing(make: Make) -> None:
    request = load_request("", {"prompt": "Hello"}, stream=False)
    found = forecast(make(), "openai/no-such-model-yet", request, user_id=None, pin=True)
    assert found.usd == 0
    assert found.unknown[0].startswith("openai/no-such-model-yet: it has no price.")
    assert forecast(make(track_cost=False), "openai/gpt-4o", request, user_id=None, pin=True).unknown
    with pytest.raises(SpecError):
        forecast(make(), "opnai/gpt-4o", request, user_id=None, pin=True)


def test_a_max_cost_of_the_config_is_a_bound_too(make: Make) -> None:
    models = make(tiers={"cheap": {"strategy": "first", "models": ["openai/gpt-4o"], "max_cost": "$0.003", "auto": False}})
    request = load_request("", {"prompt": "Hello"}, stream=False)
    assert forecast(models, "tier:cheap", request, user_id=None, pin=True).usd <= Decimal("0.003")
    long = load_request("", {"prompt": "Hello " * 20_000}, stream=False)
    assert forecast(models, "tier:cheap", long, user_id=None, pin=True).usd == 0  # it will be refused
