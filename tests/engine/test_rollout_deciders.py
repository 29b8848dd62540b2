"""Outsiders who decide rollouts: how they are asked, what is remembered, and what comes of them when they are slow or many."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator

import pytest

from podium.engine.rollout import deciders as rollout_deciders
from podium.engine.rollout.choice import Asker
from podium.engine.rollout.deciders import Deciding
from podium.errors import RequestError
from podium.routing.rollout import Rollout, Told, decide
from waiting import wait_until

JANE = Asker(user_id="jane")


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Oracle:
    """Says what a test wants, as soon as it may."""

    def __init__(self, says: object = "candidate") -> None:
        self.says = says
        self.asked: list[Asker] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, asker: Asker) -> object:
        self.asked.append(asker)
        assert self.may_answer.wait(30)
        return self.says


def deciding(oracle: Oracle, *, clock: Clock | None = None, fresh_s: float = 1.0, wait_s: float = 5.0) -> Deciding:
    how = {} if clock is None else {"clock": clock}
    return Deciding("chat", oracle, whose="the oracle", fresh_s=fresh_s, wait_s=wait_s, **how)  # type: ignore[arg-type]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "podium-deciders"]


@pytest.fixture(autouse=True)
def no_threads_are_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(rollout_deciders, "_IDLE_S", 0.05)
    yield
    wait_until(lambda: not threads())


def arm(told: Told | None) -> str | None:
    return None if told is None else told.arm


def test_an_answer_is_asked_for_again_when_it_is_no_longer_fresh() -> None:
    clock, oracle = Clock(), Oracle()
    asked = deciding(oracle, clock=clock)
    assert [arm(asked.told(JANE)) for _ in range(3)] == ["candidate"] * 3
    assert len(oracle.asked) == 1
    oracle.says = "legacy"
    clock.now += 1.1
    assert arm(asked.told(JANE)) == "legacy"
    assert len(oracle.asked) == 2


async def test_a_call_that_cannot_wait_has_the_last_answer_for_a_minute_and_then_none() -> None:
    clock, oracle = Clock(), Oracle()
    asked = deciding(oracle, clock=clock)
    await asked.hear(JANE)
    oracle.may_answer.clear()
    clock.now += 59
    assert arm(asked.told(JANE)) == "candidate"
    clock.now += 2
    assert asked.told(JANE) is None
    oracle.may_answer.set()


async def test_a_call_that_goes_on_keeps_what_it_was_told_until_there_is_another_answer() -> None:
    clock, oracle = Clock(), Oracle()
    asked = deciding(oracle, clock=clock)
    before = Told(arm="candidate", whose="the oracle")
    oracle.may_answer.clear()
    assert asked.last_told(JANE, before) == before
    oracle.says = "legacy"
    oracle.may_answer.set()
    await asyncio.to_thread(wait_until, lambda: arm(asked.last_told(JANE, before)) == "legacy")
    clock.now += 3600
    assert arm(asked.last_told(JANE, before)) == "legacy"


async def test_many_calls_about_one_user_ask_once() -> None:
    oracle = Oracle()
    asked = deciding(oracle)
    oracle.may_answer.clear()
    calls = [asyncio.create_task(asked.hear(JANE)) for _ in range(100)]
    await asyncio.to_thread(wait_until, lambda: bool(oracle.asked))
    oracle.may_answer.set()
    await asyncio.gather(*calls)
    assert oracle.asked == [JANE]
    assert arm(asked.told(JANE)) == "candidate"


async def test_a_caller_who_leaves_while_waiting_leaves_the_others_their_answer() -> None:
    oracle = Oracle()
    asked = deciding(oracle)
    oracle.may_answer.clear()
    left, stays = asyncio.create_task(asked.hear(JANE)), asyncio.create_task(asked.hear(JANE))
    await asyncio.to_thread(wait_until, lambda: bool(oracle.asked))
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    oracle.may_answer.set()
    await stays
    assert arm(asked.told(JANE)) == "candidate"


def test_a_loop_that_ends_before_the_answer_comes_is_no_trouble() -> None:
    oracle = Oracle()
    asked = deciding(oracle, wait_s=0.05)
    oracle.may_answer.clear()
    asyncio.run(asked.hear(JANE))
    oracle.may_answer.set()
    wait_until(lambda: arm(asked.last_told(JANE, None)) == "candidate")
    assert asked.statistics() == {"whose": "the oracle", "asked": 1, "failed": 0, "late": 1, "turned_away": 0}


async def test_questions_beyond_what_may_wait_are_counted_and_not_put(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_deciders, "MOST_WAITING", 5)
    oracle = Oracle()
    asked = deciding(oracle)
    oracle.may_answer.clear()
    for number in range(30):
        assert asked.told(Asker(user_id=f"user-{number}")) is None
    facts = asked.statistics()
    assert facts["turned_away"] >= 30 - 5 - 4 - 1
    assert len(threads()) <= 4
    oracle.may_answer.set()
    await asyncio.to_thread(wait_until, lambda: asked.statistics()["asked"] == 30 - facts["turned_away"])


def test_answers_are_remembered_of_so_many_users_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_deciders, "MOST_ANSWERS", 10)
    oracle = Oracle()
    asked = deciding(oracle)
    for number in range(30):
        asked.told(Asker(user_id=f"user-{number}"))
    assert len(asked._answers) == 10
    asked.told(Asker(user_id="user-29"))
    assert len(oracle.asked) == 30


async def test_a_refresh_asks_about_those_who_asked_of_late_and_about_nobody_else() -> None:
    clock, oracle = Clock(), Oracle()
    asked = deciding(oracle, clock=clock, fresh_s=3600)
    old, new = Asker(user_id="old"), Asker(user_id="new")
    await asked.hear(old)
    clock.now += 61
    await asked.hear(new)
    oracle.says = "legacy"
    asked.refresh()
    await asyncio.to_thread(wait_until, lambda: arm(asked.last_told(new, None)) == "legacy")
    assert oracle.asked == [old, new, new]


async def test_the_last_answer_holds_while_a_refresh_is_under_way() -> None:
    oracle = Oracle()
    asked = deciding(oracle, clock=Clock(), fresh_s=3600)
    await asked.hear(JANE)
    oracle.may_answer.clear()
    oracle.says = "legacy"
    asked.refresh()
    assert arm(asked.told(JANE)) == "candidate"
    oracle.may_answer.set()
    await asyncio.to_thread(wait_until, lambda: arm(asked.last_told(JANE, None)) == "legacy")
    assert len(oracle.asked) == 2


async def test_an_outsider_who_changes_its_mind_while_it_is_asked_is_asked_again() -> None:
    begun, goes_on, says = threading.Event(), threading.Event(), iter(["candidate", "legacy"])

    def oracle(asker: Asker) -> str:
        said = next(says)
        begun.set()
        assert goes_on.wait(30)
        return said

    asked = Deciding("chat", oracle, whose="the oracle", fresh_s=3600, wait_s=5)  # type: ignore[arg-type]
    assert asked.told(JANE) is None
    assert await asyncio.to_thread(begun.wait, 30)
    asked.refresh()
    goes_on.set()
    await asyncio.to_thread(wait_until, lambda: arm(asked.last_told(JANE, None)) == "legacy")
    assert asked.statistics()["asked"] == 2


def test_one_that_is_closed_is_asked_no_more() -> None:
    oracle = Oracle()
    asked = deciding(oracle)
    asked.close()
    assert asked.told(JANE) is None
    assert oracle.asked == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_was_forked_off_asks_by_itself() -> None:
    oracle = Oracle()
    asked = deciding(oracle)
    assert arm(asked.told(JANE)) == "candidate"
    child = os.fork()
    if not child:
        status = 1
        try:
            asked.begin_anew()
            status = 0 if arm(asked.told(JANE)) == "candidate" and len(oracle.asked) == 2 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (True, Told(arm="candidate", whose="the oracle")),
        (False, Told(arm="legacy", whose="the oracle")),
        ("legacy", Told(arm="legacy", whose="the oracle")),
        (12.5, Told(percent=12.5, whose="the oracle")),
        (0, Told(percent=0.0, whose="the oracle")),
        (None, None),
    ],
)
def test_what_an_outsider_may_say(says: object, told: Told | None) -> None:
    asked = deciding(Oracle(says))
    assert asked.told(JANE) == told
    assert asked.statistics()["failed"] == 0


@pytest.mark.parametrize("says", ["blue", "", 101, -1, float("nan"), ["candidate"], b"legacy"])
def test_anything_else_is_a_failure_of_the_outsider(says: object) -> None:
    asked = deciding(Oracle(says))
    assert asked.told(JANE) is None
    assert asked.statistics()["failed"] == 1


def test_the_order_is_kill_switch_test_user_outsider_rule_bucket() -> None:
    told = Told(arm="legacy", whose="the oracle")
    rollout = Rollout(name="chat", candidate="tier:fast", percent=100, test_users=("ann",))
    assert decide(rollout, user_id="jane", unit_id="jane", told=told).by == "told"
    assert decide(rollout, user_id="ann", unit_id="ann", told=told).by == "test_user"
    off = rollout.replace(enabled=False)
    assert decide(off, user_id="jane", unit_id="jane", told=Told(arm="candidate", whose="the oracle")).arm == "legacy"
    share = Told(percent=0.0, whose="the oracle")
    found = decide(rollout, user_id="jane", unit_id="jane", told=share)
    assert (found.arm, found.by) == ("legacy", "told")
    assert found.reason.endswith("is outside the 0 % of the oracle")


def test_neither_an_arm_nor_a_percentage_and_both_of_them_are_refused() -> None:
    with pytest.raises(RequestError, match="no arm and no percentage"):
        Told(whose="the oracle")
    with pytest.raises(RequestError, match="or both"):
        Told(arm="legacy", percent=1.0, whose="the oracle")
