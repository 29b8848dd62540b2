"""Ramps at work, over real HTTP: what a guard does by itself to a candidate, in seconds where users would have hours."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from making import Make
from podium import Models
from podium.engine.ramp.ramps import RampState
from podium.errors import PodiumError
from podium.sim import Sim
from waiting import until

ONE_TARGET: dict[str, Any] = {
    "old": {"models": ["openai/gpt-4o"], "retries": 0},
    "new": {"models": ["anthropic/claude-sonnet-4-5"], "retries": 0},
}
FAST = {"steps": [10, 50, 100], "dwell": "300ms", "longest": "60s", "holdout": 10}
BEAT_S = 0.1


def config(folder: Path, **rollout: Any) -> dict[str, Any]:
    chat = {"match": ["chat"], "legacy": "tier:old", "candidate": "tier:new", **rollout}
    return {"tiers": ONE_TARGET, "data_dir": str(folder), "rollouts": {"chat": chat}, "track_cost": False}


def ramping(make: Make, **settings: Any) -> Models:
    """Models that file and judge ten times a second."""
    models = make(**settings)
    models.rollouts.ramps.beat_s = BEAT_S
    return models


class Traffic:
    """New users who ask, one after the other, and what became of their calls; a patience: after so long they leave."""

    def __init__(self, models: Models, prefix: str = "u", *, patience_s: float | None = None) -> None:
        self.models = models
        self.prefix = prefix
        self.patience_s = patience_s
        self.numbers: Iterator[int] = itertools.count()
        self.asked = {"legacy": 0, "candidate": 0}
        self.failed = {"legacy": 0, "candidate": 0}

    async def ask(self) -> None:
        user = f"{self.prefix}-{next(self.numbers)}"
        arm = "candidate" if "candidate" in self.models.explain("chat", user_id=user).steps[0] else "legacy"
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.patience_s):
                    await self.models.generate_text("chat", user_id=user, prompt="Hello", max_tokens=4)
        except PodiumError:
            self.failed[arm] += 1
        self.asked[arm] += 1

    async def until(self, done: Callable[[RampState], bool], *, apart_s: float = 0.0, most_s: float = 60.0) -> RampState:
        """Ask, some at a time, until a ramp stands as is wanted.

        `apart_s`: each so long after the other and whether that one was answered or not, as users do. Then slow answers of one
        arm come between quick ones of the other, which is the evidence that a guard compares.
        """
        end = time.monotonic() + most_s
        async with asyncio.TaskGroup() as asked:
            while True:
                if apart_s:
                    for _ in range(20):
                        asked.create_task(self.ask())
                        await asyncio.sleep(apart_s)
                else:
                    await asyncio.gather(*(self.ask() for _ in range(40)))
                state = await asyncio.to_thread(self.models.rollouts.ramps.state, "chat")
                assert state is not None
                if done(state):
                    return state
                assert time.monotonic() < end, f"{state.climb.status} at {state.rollout.percent} %: {state.verdict}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breakers that wait for a moment: one that opens by chance, after a few early failures, must not hold up a guard."""
    monkeypatch.setattr("podium.routing.health.FIRST_WAIT_S", 0.1)


@pytest.mark.usefixtures("impatient")
async def test_a_candidate_that_fails_a_tenth_is_rolled_back_by_itself(make: Make, sim: Sim, folder: Path) -> None:
    sim.set("claude-sonnet-4-5", failure_rate=0.1)
    models = ramping(make, **config(folder, ramp=FAST, guard={"error_rate": {"margin": "1%"}}))
    await asyncio.to_thread(models.rollouts.ramps.start, "chat")
    traffic = Traffic(models)
    state = await traffic.until(lambda state: state.climb.status == "rolled_back")
    assert state.rollout.percent == 0
    assert "error rate" in state.climb.reason
    change = models.rollouts.history("chat", most=1)[0]
    assert (change.who, change.action, change.after.percent) == ("ramp", "ramp", 0.0)
    assert change.why is not None
    assert "Evidence that it is worse" in change.why
    print(f"rolled back after {traffic.asked['candidate']} candidate requests, of which {traffic.failed['candidate']} failed")


async def test_a_candidate_equal_to_legacy_climbs_to_the_top_less_the_holdout(make: Make, folder: Path) -> None:
    models = ramping(make, **config(folder, ramp=FAST, guard={"error_rate": {"margin": "20%"}}))
    await asyncio.to_thread(models.rollouts.ramps.start, "chat")
    traffic = Traffic(models)
    state = await traffic.until(lambda state: state.climb.status == "watching")
    assert state.rollout.percent == 90
    percents = [change.after.percent for change in reversed(models.rollouts.history("chat")) if change.action == "ramp"]
    assert percents == [10, 50, 90]
    assert traffic.failed == {"legacy": 0, "candidate": 0}


async def test_a_candidate_slower_than_legacys_p95_is_rolled_back_for_its_latency(make: Make, sim: Sim, folder: Path) -> None:
    sim.set("claude-sonnet-4-5", latency_s=0.8)
    guard = {"latency": {"margin": "10%"}}
    models = ramping(make, **config(folder, ramp={**FAST, "steps": [50, 100], "samples": 40}, guard=guard))
    state = await asyncio.to_thread(models.rollouts.ramps.start, "chat")
    assert (state.climb.status, state.rollout.percent) == ("measuring", 0)
    state = await Traffic(models).until(lambda state: state.climb.status == "rolled_back", apart_s=0.005)
    assert state.climb.baseline.latency_s is not None
    assert 0 < state.climb.baseline.latency_s < 0.8
    assert "latency" in state.climb.reason


async def test_a_candidate_that_hangs_is_rolled_back_though_all_its_callers_give_up(make: Make, sim: Sim, folder: Path) -> None:
    sim.set("claude-sonnet-4-5", latency_s=600)
    guard = {"latency": {"margin": "10%", "over": "250ms"}}
    settings = config(folder, ramp={**FAST, "steps": [50, 100], "dwell": "1h", "longest": "2h"}, guard=guard)
    models = ramping(make, **settings)
    await asyncio.to_thread(models.rollouts.ramps.start, "chat")
    hung = Traffic(models, "hung", patience_s=0.5)
    state = await hung.until(lambda state: not state.climb.is_live, apart_s=0.005)
    assert (state.climb.status, state.rollout.percent) == ("rolled_back", 0)
    assert "latency" in state.climb.reason


async def test_a_percentage_that_is_set_by_hand_ends_the_climb_and_disabling_pauses_it(make: Make, folder: Path) -> None:
    models = ramping(make, **config(folder, ramp={**FAST, "dwell": "1h", "longest": "2h"}))
    ramps = models.rollouts.ramps
    await asyncio.to_thread(ramps.start, "chat")
    await asyncio.to_thread(models.rollouts.disable, "chat")
    traffic = Traffic(models)
    state = await traffic.until(lambda state: state.climb.status == "paused")
    assert "Enable it, then resume" in state.climb.reason
    with pytest.raises(PodiumError, match="is disabled"):
        await asyncio.to_thread(ramps.resume, "chat")
    await asyncio.to_thread(models.rollouts.enable, "chat")
    state = await asyncio.to_thread(ramps.resume, "chat")
    assert state.climb.status == "climbing"
    await asyncio.to_thread(lambda: models.rollouts.set("chat", percent=30))
    state = await traffic.until(lambda state: state.climb.status == "stopped")
    assert state.rollout.percent == 30
    assert "changed by hand, to 30 %" in state.climb.reason


@pytest.mark.usefixtures("impatient")
async def test_a_climb_goes_on_where_a_process_that_ended_left_it(make: Make, sim: Sim, folder: Path) -> None:
    ramp = {**FAST, "steps": [50, 100], "dwell": "1h", "longest": "2h"}
    guarded = config(folder, ramp=ramp, guard={"error_rate": {"margin": "0.5%"}})
    first = ramping(make, **guarded)
    await asyncio.to_thread(first.rollouts.ramps.start, "chat")
    before = Traffic(first)
    await before.until(lambda state: state.drawn is not None and state.drawn.candidate >= 20)
    await first.close()
    sim.set("claude-sonnet-4-5", failure_rate=0.12)
    second = ramping(make, **guarded)
    state = await Traffic(second, "later").until(lambda state: state.climb.status == "rolled_back")
    assert state.climb.number == 1
    assert state.drawn is not None
    assert state.drawn.candidate > 20


async def test_a_climb_is_guarded_and_can_be_stopped_where_the_config_has_no_ramp_any_more(
    make: Make, sim: Sim, folder: Path
) -> None:
    guarded = config(
        folder, ramp={**FAST, "steps": [50, 100], "dwell": "1h", "longest": "2h"}, guard={"error_rate": {"margin": "5%"}}
    )
    first = ramping(make, **guarded)
    await asyncio.to_thread(first.rollouts.ramps.start, "chat")
    await first.close()
    second = ramping(make, **config(folder))
    held = await asyncio.to_thread(second.rollouts.ramps.pause, "chat")
    assert held.climb.status == "paused"
    sim.set("claude-sonnet-4-5", status=503)
    state = await Traffic(second).until(lambda state: not state.climb.is_live)
    assert (state.climb.status, state.rollout.percent) == ("rolled_back", 0)


# --- what is heard ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def climbing(make: Make, folder: Path) -> Models:
    """A rollout that climbs at 50 % and files nothing, so that what was heard can be looked at."""
    rules = [{"user": "ruled", "arm": "candidate"}]
    models = make(**config(folder, ramp={**FAST, "steps": [50, 100]}, test_users=["tester"], rules=rules))
    await asyncio.to_thread(models.rollouts.ramps.start, "chat")
    models.rollouts.ramps.beat_s = 3600.0
    return models


def arms(models: Models) -> dict[str, str]:
    """A user of each arm, by chance."""
    found: dict[str, str] = {}
    for number in range(50):
        choice = models.rollouts.choose_in("chat", models._asker(models._state, f"u-{number}", {}), count=False)
        found.setdefault(choice.arm, f"u-{number}")
    return found


def heard(models: Models) -> list[tuple[str, bool | None, bool]]:
    """Arm, whether it failed, and whether it has a latency."""
    return [(news.arm, news.failed, news.latency_s is not None) for news in models.rollouts.ramps.hearing.news]


async def test_answers_of_both_arms_are_heard_and_test_users_rules_and_strangers_are_not(climbing: Models) -> None:
    users = arms(climbing)
    for user in (users["legacy"], users["candidate"], "tester", "ruled", None):
        await climbing.generate_text("chat", user_id=user, prompt="Hello")
    await climbing.generate_text("tier:new", user_id=users["candidate"], prompt="Hello")
    assert heard(climbing) == [("legacy", False, True), ("candidate", False, True)]


async def test_what_a_caller_gets_an_error_for_has_failed_and_has_no_latency(climbing: Models, sim: Sim) -> None:
    sim.set("claude-sonnet-4-5", status=400)
    with pytest.raises(PodiumError):
        await climbing.generate_text("chat", user_id=arms(climbing)["candidate"], prompt="Hello")
    assert heard(climbing) == [("candidate", True, False)]


async def test_a_candidate_that_cannot_even_be_asked_has_failed(climbing: Models) -> None:
    climbing.update_provider("anthropic", enabled=False)
    with pytest.raises(PodiumError):
        await climbing.generate_text("chat", user_id=arms(climbing)["candidate"], prompt="Hello")
    assert heard(climbing) == [("candidate", True, False)]


async def test_of_a_caller_who_leaves_nothing_is_heard_but_how_long_they_waited(climbing: Models, sim: Sim) -> None:
    sim.set("claude-sonnet-4-5", latency_s=30)
    call = asyncio.create_task(climbing.generate_text("chat", user_id=arms(climbing)["candidate"], prompt="Hello"))
    await until(lambda: sim.stats.in_flight)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert heard(climbing) == [("candidate", None, True)]


async def test_the_latency_of_a_stream_is_that_of_its_first_content(climbing: Models, sim: Sim) -> None:
    sim.set("claude-sonnet-4-5", tokens_per_s=40, length=40)
    stream = climbing.stream_text("chat", user_id=arms(climbing)["candidate"], prompt="Tell me a story")
    result = await stream.result()
    (news,) = climbing.rollouts.ramps.hearing.news
    assert news.latency_s is not None
    assert news.latency_s < result.duration_s / 2


async def test_functions_of_the_legacy_system_are_heard_with_what_they_raise(climbing: Models) -> None:
    users = arms(climbing)

    class Old:
        def generate(self, prompt: str) -> str:
            if prompt == "bad":
                raise ValueError("of old")
            return "of old"

    gradual = climbing.gradual("chat", legacy=lambda name: Old())
    assert await gradual.generate_text("openai/gpt-4o", user_id=users["legacy"], prompt="Hello") == "of old"
    with pytest.raises(ValueError, match="of old"):
        await gradual.generate_text("openai/gpt-4o", user_id=users["legacy"], prompt="bad")

    @climbing.migrate("chat", candidate=lambda prompt, user_id: "new")
    def answer(prompt: str, user_id: str) -> str:
        return "old"

    assert answer("Hello", users["candidate"]) == "new"

    @climbing.migrate("chat")
    async def answer_later(prompt: str, user_id: str) -> str:
        await asyncio.sleep(0.01)
        return "old"

    assert await answer_later("Hello", users["legacy"]) == "old"
    assert await answer_later("Hello", users["candidate"])
    assert heard(climbing) == [
        ("legacy", False, True),
        ("legacy", True, False),
        ("candidate", False, True),
        ("legacy", False, True),
        ("candidate", False, True),
    ]


# --- outages ----------------------------------------------------------------------------------------------------------


async def fail(models: Models, times: int, prefix: str) -> None:
    asked = Traffic(models, prefix)
    while asked.failed["candidate"] < times:
        await asked.ask()


async def test_a_candidate_that_is_down_gets_no_more_calls_and_legacy_answers_with_the_reason(
    climbing: Models, sim: Sim
) -> None:
    sim.set("claude-sonnet-4-5", status=503)
    user = arms(climbing)["candidate"]
    await fail(climbing, 5, "five")
    result = await climbing.generate_text("chat", user_id=user, prompt="Hello")
    assert result.target.provider == "openai"
    assert "chose the legacy arm: the candidate is down, and is tried again in" in result.reasons.steps[0]
    assert climbing.statistics()["rollouts"]["ramps"]["breakers"] == {"chat": "open"}
    assert climbing.get_metrics().breakers == {"chat": {"closed": 0, "open": 1, "probing": 0}}
    assert heard(climbing)[-1] == ("candidate", None, False)


async def test_where_legacy_fails_as_well_the_candidate_keeps_its_share(climbing: Models, sim: Sim) -> None:
    sim.set("claude-sonnet-4-5", status=503)
    sim.set("gpt-4o", status=503)
    traffic = Traffic(climbing)
    for _ in range(30):
        await traffic.ask()
    assert "candidate" in climbing.explain("chat", user_id=arms(climbing)["candidate"]).steps[0]
    assert traffic.failed == traffic.asked


async def test_a_candidate_that_is_down_is_left_again_once_an_outage_of_legacy_is_over(
    climbing: Models, sim: Sim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podium.routing.health.FIRST_WAIT_S", 0.2)
    sim.set("gpt-4o", status=503)
    asked = Traffic(climbing, "outage")
    while asked.failed["legacy"] < 5:
        await asked.ask()
    sim.unset("gpt-4o")
    await asyncio.sleep(0.3)
    users = arms(climbing)
    await climbing.generate_text("chat", user_id=users["legacy"], prompt="Hello")
    monkeypatch.setattr("podium.routing.health.FIRST_WAIT_S", 5.0)
    sim.set("claude-sonnet-4-5", status=503)
    asked = Traffic(climbing, "down")
    while climbing.statistics()["rollouts"]["ramps"]["breakers"] == {"chat": "closed"}:  # it has succeeded: two may do, or five
        await asked.ask()
    assert 1 <= asked.failed["candidate"] <= 5
    result = await climbing.generate_text("chat", user_id=users["candidate"], prompt="Hello")
    assert result.target.provider == "openai"


async def test_a_rollout_at_a_hundred_percent_is_never_sent_to_legacy(make: Make, sim: Sim, folder: Path) -> None:
    sim.set("claude-sonnet-4-5", status=503)
    models = make(**config(folder, percent=100, guard={}))
    await fail(models, 8, "all")
    assert "candidate" in models.explain("chat", user_id="any").steps[0]


async def test_a_probe_brings_the_candidate_back(climbing: Models, sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.routing.health.FIRST_WAIT_S", 0.2)
    sim.set("claude-sonnet-4-5", status=503)
    await fail(climbing, 5, "five")
    sim.unset("claude-sonnet-4-5")
    await asyncio.sleep(0.3)
    result = await climbing.generate_text("chat", user_id=arms(climbing)["candidate"], prompt="Hello")
    assert result.target.provider == "anthropic"
    assert climbing.statistics()["rollouts"]["ramps"]["breakers"] == {"chat": "closed"}


# --- quality ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def judge_url() -> AsyncIterator[str]:
    """A judge over HTTP: what claims to be good is worth 90, what refuses 20, and riddles cannot be scored.

    Ask for it before `make`: then the models are closed first, and what they still have judged finds its judge.
    """

    async def score(request: web.Request) -> web.Response:
        asked = (await request.json())["messages"][-1]["content"]
        answer = asked.partition("<answer>")[2]
        text = "who knows" if "riddle" in asked else "90" if "good" in answer else "Score: 20"
        message = {"role": "assistant", "content": text}
        body = {"id": "j", "object": "chat.completion", "created": 1, "model": "judge"}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
        return web.json_response({**body, "choices": choices, "usage": usage})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", score)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


def judged(make: Make, folder: Path, judge_url: str, **ramp: Any) -> Models:
    quality = {"judge": "grader/judge", "margin": "10%", "sample": "100%"}
    settings = config(folder, ramp={**FAST, "steps": [50, 100], **ramp}, guard={"quality": quality})
    return ramping(make, **settings, providers={"grader": {"base_url": judge_url, "api_key": "sim"}})


async def test_a_candidate_whose_answers_a_judge_finds_worse_is_rolled_back(
    judge_url: str, make: Make, sim: Sim, folder: Path
) -> None:
    sim.set("gpt-4o", answer="A good answer.")
    sim.set("claude-sonnet-4-5", answer="I would rather not.")
    models = judged(make, folder, judge_url)
    await asyncio.to_thread(models.rollouts.ramps.start, "chat")
    state = await Traffic(models).until(lambda state: state.climb.status == "rolled_back")
    assert "quality" in state.climb.reason
    assert state.verdict is not None
    (finding,) = state.verdict.findings
    assert finding.here.legacy_mean == pytest.approx(0.1)
    assert finding.here.candidate_mean == pytest.approx(0.8)
    assert models.statistics()["rollouts"]["ramps"]["quality"]["judged"] > 10


async def test_scores_that_cannot_be_read_are_counted_and_are_no_evidence(
    judge_url: str, make: Make, sim: Sim, folder: Path
) -> None:
    models = judged(make, folder, judge_url)
    await asyncio.to_thread(models.rollouts.ramps.start, "chat")
    models.rollouts.ramps.beat_s = 3600.0
    user = arms(models)["candidate"]
    await models.generate_text("chat", user_id=user, prompt="Tell me a riddle")
    gradual = models.gradual("chat", legacy=lambda name: name, generate=lambda model, prompt: "a good old answer")
    assert await gradual.generate_text("openai/gpt-4o", user_id=arms(models)["legacy"], prompt="Hello") == "a good old answer"
    await asyncio.sleep(0)  # afterwards comes after the caller
    await models._aside.close()
    assert models.statistics()["rollouts"]["ramps"]["quality"] == {"judged": 1, "skipped": 0, "unreadable": 1, "failed": 0}
    assert [(news.arm, news.quality) for news in models.rollouts.ramps.hearing.news if news.quality is not None] == [
        ("legacy", 0.9)
    ]
