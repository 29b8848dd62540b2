"""Money and memory, through the engine: costs, the ledger, limits and metrics of real calls."""

import asyncio
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from making import Make
from podium import Models
from podium.engine.account import Account
from podium.engine.admission import Admission
from podium.engine.around import Around
from podium.engine.estimate import estimate
from podium.errors import BudgetExceeded, CostTooHigh, LimitError, PodiumError, RateLimited
from podium.routing.spending import decide, purse_for
from podium.sim import Sim
from podium.types import Message, Request, Sampling, Text
from waiting import until

CAPITAL = "What is the capital of France?"
STORY = "Tell me a long story about ships."
PAIR = ["openai/gpt-4o", "groq/llama-3.1-8b-instant"]


def user(**defaults: Any) -> dict[str, Any]:
    return {
        "experiments": {"one": {"strategy": "first", "providers": ["openai/gpt-4o"]}},
        "defaults": {"experiment": "one", **defaults},
    }


def ask(text: str, **more: Any) -> Request:
    return Request(model="x", messages=(Message(role="user", parts=(Text(text=text),)),), **more)


def admitted(models: Models, spec: str, request: Request) -> Admission:
    """The admission of jane's request, as far as it comes at once; nothing is sent."""
    state = models._state
    plan, _ = models._plan(state, spec, "jane", None, False)
    around = Around(models._shared, state, plan)
    endpoints = [around.endpoint(target) for target in plan.targets]
    for endpoint in endpoints:
        models._books.find_price(endpoint)
    admission = Account(models._books, state.snapshot, plan, request, "one").admission
    admission.at_once(request, endpoints)
    return admission


async def asking(models: Models, times: int, spec: str, **ask: Any) -> None:
    for _ in range(times):
        await models.generate_text(spec, prompt=CAPITAL, **ask)


async def test_a_call_is_in_the_ledger_once_with_its_exact_cost(make: Make, tmp_path: Path) -> None:
    models = make(data_dir=str(tmp_path))
    result = await models.generate_text("openai/gpt-4o", prompt=CAPITAL, metadata={"team": "search", "tags": ["nightly", "eu"]})
    (row,) = await asyncio.to_thread(models.usage, by=("model", "team"))
    assert (row.requests, row.attempts, row.errors) == (1, 1, 0)
    assert row.cost_usd == result.cost_usd
    assert result.cost_usd is not None
    assert result.cost_usd > 0
    tags = await asyncio.to_thread(models.usage, by="tag")
    assert {each.group["tag"]: each.requests for each in tags} == {"nightly": 1, "eu": 1}
    assert (tmp_path / "ledger.sqlite3").exists()


async def test_losers_of_a_race_are_charged_as_estimates(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", latency_s=5.0)
    models = make(tiers={"fast": {"strategy": "race", "models": PAIR}})
    result = await models.generate_text("tier:fast", prompt=STORY)
    loser, winner = result.attempts
    assert (loser.outcome, loser.estimated, winner.estimated) == ("lost", True, False)
    assert loser.usage is not None
    assert loser.usage.input > 0
    assert result.cost_usd == sum(attempt.cost_usd or 0 for attempt in result.attempts)


async def test_what_was_refused_costs_nothing_and_an_unpriced_model_costs_nobody_knows_what(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", status=401)
    models = make(tiers={"safe": {"strategy": "fallback", "models": ["openai/gpt-4o", "groq/nobody-knows-me"]}})
    result = await models.generate_text("tier:safe", prompt=CAPITAL)
    assert [attempt.cost_usd for attempt in result.attempts] == [Decimal(0), None]
    assert result.cost_usd is None
    priced = make(prices={"groq/nobody-knows-me": {"input": 1, "output": 2}})
    result = await priced.generate_text("groq/nobody-knows-me", prompt=CAPITAL)
    assert result.usage is not None
    assert result.cost_usd == Decimal(result.usage.input + 2 * result.usage.output) / 10**6


async def test_a_local_model_costs_nothing(make: Make) -> None:
    assert (await make().generate_text("local/llama3.3", prompt=CAPITAL)).cost_usd == 0


async def test_max_cost_is_a_guarantee_that_shortens_the_answer_or_refuses_before_sending(make: Make, sim: Sim) -> None:
    tier = {"strategy": "first", "models": ["openai/gpt-4o"]}
    models = make(tiers={"cheap": {**tier, "max_cost": 0.003}, "none": {**tier, "max_cost": 0.000001}})
    result = await models.generate_text("tier:cheap", prompt=STORY)
    assert result.cost_usd is not None
    assert result.cost_usd <= Decimal("0.003")
    (loss,) = result.losses
    assert loss.setting == "sampling.max_tokens"
    assert sim.requests[-1].body["max_tokens"] < 300
    asked = sim.stats.requests
    with pytest.raises(CostTooHigh, match="max_cost"):
        await models.generate_text("tier:none", prompt=STORY)
    with pytest.raises(CostTooHigh):
        await models.generate_text("tier:cheap", prompt=STORY, strict=True)
    assert sim.stats.requests == asked


@pytest.mark.parametrize(
    ("strategy", "models_", "more", "usual"),
    [
        ("first", PAIR[:1], {}, True),
        ("fallback", PAIR, {"sampling": Sampling(max_tokens=50)}, True),
        ("fallback", PAIR, {}, False),  # how much the second may write is to be sent
        ("race", PAIR, {"sampling": Sampling(max_tokens=50, n=2)}, True),
        ("consensus", PAIR, {"sampling": Sampling(max_tokens=50)}, True),
        ("fallback", ["local/llama3.3"], {"sampling": Sampling(max_tokens=50)}, True),
        ("first", ["groq/nobody-knows-me"], {}, False),
        ("fallback", ["anthropic/claude-sonnet-4-5", *PAIR], {}, False),  # its price depends on the size of the input
        ("first", PAIR[:1], {"sampling": Sampling(service_tier="flex")}, False),
    ],
)
async def test_a_limited_request_reserves_what_its_estimate_says_whichever_way_that_is_found(
    make: Make, strategy: str, models_: list[str], more: dict[str, Any], usual: bool
) -> None:
    tier = {"strategy": strategy, "models": models_}
    models = make(tiers={"some": tier}, users={"jane": user(costLimit=50, maxConcurrent=9)}, unpriced="allow")
    await models.generate_text("tier:some", user_id="jane", prompt=CAPITAL)  # what it leases covers the next one too
    admission = admitted(models, "tier:some", request := ask(STORY, **more))
    made = estimate(request, admission._plan, models.snapshot, models._books.pricing, at=0.0)
    endpoints = [models._state.endpoints[target, None] for target in admission._plan.targets]
    assert (admission._usual_purse(request, endpoints) is not None) is usual
    if usual:
        assert admission.purse == purse_for(made, decide(made, None))


async def test_a_limited_request_reserves_by_the_prices_that_hold_when_it_begins(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "prices.json"

    def say(rate: int) -> None:
        path.write_text(json.dumps({"models": {"openai/gpt-4o": {"inputPerMillion": rate, "outputPerMillion": rate}}}))
        os.utime(path, ns=(rate, rate))

    say(1)
    models = make(pricing_cache=str(path), users={"jane": user(costLimit=50)})
    reserved = []
    for rate in (1, 3):
        say(rate)
        models._books._look_at = 0.0  # as if the seconds until the next look were over
        await models.generate_text("user:jane", prompt=CAPITAL, max_tokens=10)
        reserved.append(admitted(models, "user:jane", ask(CAPITAL)).purse)
    assert reserved[0] is not None
    assert reserved[1] is not None
    assert reserved[1].total == 3 * reserved[0].total > 0


async def test_the_price_on_record_is_the_one_that_an_attempt_was_charged_by_also_where_prices_come_meanwhile(
    make: Make, tmp_path: Path
) -> None:
    path = tmp_path / "prices.json"

    def say(rate: int) -> None:
        path.write_text(json.dumps({"models": {"openai/gpt-4o": {"inputPerMillion": rate, "outputPerMillion": rate}}}))
        os.utime(path, ns=(rate, rate))

    say(1)
    models = make(pricing_cache=str(path))
    result = await models.generate_text("openai/gpt-4o", prompt=CAPITAL)
    books, endpoint = models._books, models._state.endpoints[result.target, None]
    charged = books.find_price(endpoint)
    say(3)
    books._look_at = 0.0  # as if the seconds until the next look were over between the two
    assert books.price(endpoint) is charged
    newer = books.find_price(endpoint)
    assert newer is not None
    assert charged is not None
    assert newer.version != charged.version
    assert books.price(endpoint) is newer


async def test_an_unpriced_model_is_refused_under_a_cost_limit_and_told_how_to_price_it(make: Make, sim: Sim) -> None:
    tier = {"strategy": "first", "models": ["groq/nobody-knows-me"], "max_cost": 1}
    with pytest.raises(CostTooHigh, match="priced_as"):
        await make(tiers={"odd": tier}).generate_text("tier:odd", prompt=CAPITAL)
    assert sim.stats.requests == 0
    assert (await make(tiers={"odd": tier}, unpriced="allow").generate_text("tier:odd", prompt=CAPITAL)).text == "Paris"


async def test_a_request_that_could_cost_more_than_a_whole_day_has_is_too_costly_and_not_told_to_come_again(make: Make) -> None:
    models = make(users={"jane": user(costLimit=0.0001)})
    with pytest.raises(CostTooHigh, match=r"cost of user jane in a day allows \$0\.0001") as caught:
        await models.generate_text("user:jane", prompt=STORY)
    assert (caught.value.retryable, caught.value.retry_after_s) == (False, None)


@pytest.mark.parametrize("shared", [True, False])
async def test_a_users_cost_limit_is_kept_to_the_cent(make: Make, tmp_path: Path, shared: bool) -> None:
    folder = {"data_dir": str(tmp_path)} if shared else {}
    models = make(users={"jane": user(costLimit=0.02)}, **folder)
    spent = Decimal(0)

    async def spend() -> None:
        nonlocal spent
        for _ in range(200):
            result = await models.generate_text("user:jane", prompt=STORY, max_tokens=100)
            spent += result.cost_usd or 0

    with pytest.raises((BudgetExceeded, CostTooHigh)) as caught:
        await spend()
    assert Decimal("0.01") < spent <= Decimal("0.02")
    assert caught.value.limit is not None


@pytest.mark.parametrize(("allowed", "opened"), [({}, False), ({"maxConcurrent": 2}, True), ({"tokensPerMinute": 10**6}, True)])
async def test_limits_are_opened_for_a_user_who_has_one_and_not_for_one_who_has_none(
    allowed: dict[str, Any], opened: bool, make: Make
) -> None:
    models = make(users={"jane": user(**allowed)}, teams={"blue": {"maxConcurrent": 2}, "red": {}})
    await asking(models, 1, "user:jane")
    assert ("limits" in models.statistics()) is opened
    await asking(models, 1, "user:jane", metadata={"team": "red"})
    assert ("limits" in models.statistics()) is opened
    await asking(models, 1, "user:jane", metadata={"team": "blue"})
    assert "limits" in models.statistics()


async def test_requests_a_minute_are_kept_and_the_refusal_says_when_it_resets(make: Make, sim: Sim) -> None:
    models = make(users={"jane": user(requestsPerMinute=2)})
    with pytest.raises(RateLimited) as caught:
        await asking(models, 5, "user:jane")  # a minute may end on the way, two cannot
    assert caught.value.retry_after_s is not None
    assert 0 <= caught.value.retry_after_s <= 60


async def test_a_teams_limit_holds_for_all_who_name_it(make: Make) -> None:
    models = make(teams={"search": {"requestsPerMinute": 1}})
    with pytest.raises(RateLimited, match="search"):
        await asking(models, 4, "openai/gpt-4o", metadata={"team": "search"})


async def test_a_user_with_own_keys_pays_and_byok_never_uses_the_companys(make: Make, sim: Sim) -> None:
    own = "sk-janes-own-key-0123456789"
    sim.set_provider("openai", keys=(own,))
    models = make(
        users={
            "jane": {**user(), "keys": {"openai": own}, "mode": "byok"},
            "bob": {**user(), "mode": "byok"},
            "eve": user(),
        }
    )
    assert (await models.generate_text("user:jane", prompt=CAPITAL)).text == "Paris"
    with pytest.raises(PodiumError, match="mode: byok"):
        await models.generate_text("user:bob", prompt=CAPITAL)
    with pytest.raises(PodiumError) as caught:
        await models.generate_text("user:eve", prompt=CAPITAL)
    assert caught.value.code == "authentication_failed"
    assert own not in repr(models.snapshot)


async def test_metrics_count_what_happened_and_can_be_turned_off(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", status=401)
    models = make(tiers={"safe": {"strategy": "fallback", "models": PAIR}})
    await models.generate_text("tier:safe", prompt=CAPITAL)
    total = models.get_metrics().to_dict()["overall"]["total"]
    assert (total["requests"], total["attempts"], total["fallbacks"]) == (1, 2, 1)
    off = make(track_performance=False, track_cost=False)
    result = await off.generate_text("openai/gpt-4o-mini", prompt=CAPITAL)
    assert result.cost_usd is None
    total = off.get_metrics().to_dict()["overall"]["total"]
    assert total["requests"] == 1
    assert (total["latency_s"], total["cost_usd"]) == (None, None)


async def test_a_full_ledger_refuses_where_that_is_wanted_and_a_folder_that_cannot_be_made_does_not_stop_a_request(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    models = make(data_dir=str(tmp_path / "file" / "data"))
    assert (await models.generate_text("openai/gpt-4o", prompt=CAPITAL)).text == "Paris"
    assert "in memory" in models.statistics()["problems"][0]
    assert models.statistics()["problems"] == [each.getMessage() for each in caplog.records if each.name == "podium.ledger"]


async def test_no_ledger_is_kept_where_none_is_wanted(make: Make) -> None:
    models = make(ledger="none")
    await models.generate_text("openai/gpt-4o", prompt=CAPITAL)
    with pytest.raises(PodiumError, match="No record"):
        models.usage()


async def test_a_stream_that_was_left_in_the_queue_and_is_refused_then_keeps_no_slot(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o-mini", latency_s=0.3)
    models = make(users={"jane": user(costLimit=0.001, maxConcurrent=1)})
    first = asyncio.ensure_future(models.generate_text("openai/gpt-4o-mini", prompt="Hello", max_tokens=4, user_id="jane"))
    await until(lambda: sim.stats.in_flight)
    stream = models.stream_text("openai/gpt-4o-mini", prompt="Hello " * 9000, max_tokens=9000, user_id="jane")
    waiting = asyncio.ensure_future(stream.result())
    await until(lambda: models.statistics()["users"]["jane"]["waiting"])
    stream.abandon()
    await first
    with pytest.raises(LimitError):
        await waiting
    assert models.statistics()["users"]["jane"] == {"running": 0, "waiting": 0}
