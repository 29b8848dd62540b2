"""The facade: config at run time, explaining, several loops, and what never shows."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import podium
from making import Make
from podium import ConfigError, Models, SpecError, create_models, load_models
from podium.engine.account import Account
from podium.errors import AllTargetsFailed, RequestError
from podium.sim import Sim, SimModel
from waiting import until

CAPITAL = "What is the capital of France?"
SECRET = "sk-proj-0123456789abcdefghijklmnop"


async def test_an_update_holds_from_the_next_request_on_and_those_under_way_end_as_they_began(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", latency_s=0.2)
    models = make()
    under_way = asyncio.create_task(models.generate_text("openai/gpt-4o", prompt=CAPITAL))
    await until(lambda: sim.stats.in_flight)
    models.update_provider("openai", enabled=False)
    with pytest.raises(AllTargetsFailed, match="disabled"):
        await models.generate_text("openai/gpt-4o", prompt=CAPITAL)
    assert (await under_way).text == "Paris"
    models.update_provider("openai", enabled=True, timeout="50ms")
    with pytest.raises(podium.ProviderError):
        await models.generate_text("openai/gpt-4o", prompt=CAPITAL)
    assert models.snapshot.version == 2


async def test_an_update_is_validated_like_the_config_and_changes_nothing_when_it_is_wrong(make: Make) -> None:
    models = make()
    with pytest.raises(ConfigError, match="30s"):
        models.update_provider("openai", timeout=30)
    with pytest.raises(ConfigError, match="max_concurrent"):
        models.update_provider("openai", max_concurent=3)
    with pytest.raises(SpecError, match="There is no provider"):
        models.update_provider("opnai", enabled=False)
    assert models.snapshot.version == 0


async def test_a_limit_that_is_raised_at_run_time_lets_waiters_in(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", hang=True)
    models = make(providers={"openai": {"max_concurrent": 1}})
    tasks = [asyncio.create_task(models.generate_text("openai/gpt-4o", prompt=CAPITAL)) for _ in range(2)]
    await until(lambda: sim.stats.in_flight == 1)
    assert models.statistics()["providers"]["openai"]["waiting"] == 1
    models.update_provider("openai", max_concurrent=2)
    await until(lambda: sim.stats.in_flight == 2)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def test_no_secret_is_in_a_repr_a_provider_config_or_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    models = create_models(providers={"openai": {"api_key": SECRET, "headers": {"x-team": "secret-header-value"}}})
    with pytest.raises(ConfigError) as caught:
        create_models(providers={"openai": {"api_key": SECRET, "timeout": "x", "base_url": "nonsense"}})
    shown = repr(models) + repr(models.get_provider_config("openai")) + str(caught.value) + repr(models.snapshot)
    assert SECRET not in shown
    assert "secret-header-value" not in repr(models.get_provider_config("openai"))
    with pytest.raises(SpecError, match="openai"):
        models.get_provider_config("opnai")


async def test_a_users_yaml_means_something_from_the_next_request_on(make: Make, tmp_path: Path) -> None:
    john = tmp_path / "john.yaml"
    john.write_text(
        'name: "John\'s Research Config"\n'
        "experiments:\n  local_first:\n    strategy: fallback\n    providers:\n"
        "      - local/llama-3.3\n      - openrouter/google/gemini-2.0-flash\n"
        "defaults:\n  experiment: local_first\n"
    )
    models = make()
    with pytest.raises(SpecError, match="researcher-john"):
        models.explain("user:researcher-john:local_first")
    user = models.load_user_config("researcher-john", john)
    assert user.name == "John's Research Config"
    result = await models.generate_text("user:researcher-john:local_first", prompt=CAPITAL)
    assert str(result.target) == "local/llama-3.3"
    assert (await models.generate_text(user_id="researcher-john", prompt=CAPITAL)).reasons.rule == "user_default"
    john.write_text("experiments: {x: {strategy: fallbak, providers: [nowhere/model]}}")
    with pytest.raises(ConfigError) as caught:
        models.load_user_config("researcher-john", john)
    assert "did you mean `fallback`" in str(caught.value).lower()
    assert "nowhere" in str(caught.value)
    assert models.snapshot.users["researcher-john"] == user


def test_load_models_reads_a_file_and_lists_every_problem_of_a_bad_one(tmp_path: Path) -> None:
    good = tmp_path / "podium.yaml"
    good.write_text("providers: {local: {}}\ntiers: {fast: {strategy: first, models: [local/x]}}\ndefaultTier: fast\n")
    assert str(load_models(good).explain().targets[0]) == "local/x"
    bad = tmp_path / "bad.yaml"
    bad.write_text("providers: {local: {timeot: 3}}\ntiers: {fast: {strategy: rase, models: []}}\n")
    with pytest.raises(ConfigError) as caught:
        load_models(bad)
    assert len(caught.value.problems) == 3
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_models(tmp_path / "none.yaml")


def test_one_models_serves_several_runs_and_leaves_nothing_open() -> None:
    with Sim(models={"gpt-4o": SimModel()}) as sim:
        models = create_models(providers=sim.providers("openai"))

        async def ask() -> str:
            return (await models.generate_text("openai/gpt-4o", prompt=CAPITAL)).text

        assert [asyncio.run(ask()) for _ in range(3)] == ["Paris"] * 3


async def test_closing_cancels_what_still_runs(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", hang=True)
    async with make() as models:
        task = asyncio.create_task(models.generate_text("openai/gpt-4o", prompt=CAPITAL, timeout="5s"))
        await until(lambda: sim.stats.in_flight)
    assert models.statistics()["calls"] == 0
    assert (await sim.idle()).cancelled == 1
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize(("timeout", "hint"), [(30, "30s"), ("soon", "30s"), (-1, "default")])
async def test_a_timeout_that_is_none_says_what_to_write(make: Make, timeout: Any, hint: str) -> None:
    with pytest.raises(RequestError, match=hint):
        await make().generate_text("openai/gpt-4o", prompt=CAPITAL, timeout=timeout)


def test_importing_podium_imports_nothing_heavy_and_every_public_name_is_there() -> None:
    code = "import sys, podium; assert not {'aiohttp', 'pydantic', 'msgspec', 'yaml'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert podium.__all__ == sorted(podium.__all__)
    assert set(podium.__all__) == set(podium._HOMES)
    assert all(getattr(podium, name).__doc__ for name in podium.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        podium.nothing  # noqa: B018


def test_models_is_what_create_models_makes() -> None:
    assert isinstance(create_models(providers={"local": {}}), Models)


@pytest.mark.parametrize("step", ["launched", "settled", "ended"])
async def test_a_defect_in_the_account_of_a_request_reaches_its_caller(
    make: Make, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Nobody waits for an answer that a defect keeps back."""

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError(step)

    models = make()
    monkeypatch.setattr(Account, step, fail)
    async with asyncio.timeout(20):
        with pytest.raises(ZeroDivisionError, match=step):
            await models.generate_text("openai/gpt-4o", prompt="Hi")
        with pytest.raises(ZeroDivisionError, match=step):
            async for _ in models.stream_text("openai/gpt-4o", prompt="Hi"):
                pass
