"""The tutorial, step by step: a service that runs, many users who ask it, and whom the providers served.

The steps build upon each other; a test performs what its step needs and was not performed yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from examples.desk import QUESTION, Desk, sections
from podium.routing.rollout import bucket
from podium.sim import Sim
from waiting import wait_until

USERS = [f"traveller-{number}" for number in range(50)]
TENTH = [user for user in USERS if bucket("desk", user) < 1000]
PATHS = ("/ask", "/stream", "/phrase")

OLD = "openai/gpt-4o"
OLD_SMALL = "openai/gpt-4o-mini"
NEW = "anthropic/claude-haiku-4-5"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with Sim(seed=11) as sim:
        desk = Desk(tmp_path_factory.mktemp("tutorial") / "desk", sim)
        yield desk
        desk.stop()
        assert "Traceback" not in desk.log()


def who_is_new(desk: Desk) -> list[str]:
    """Ask as everybody, and return who was answered by the candidate."""
    served = {user: desk.served(user) for user in USERS}
    assert set(served.values()) <= {OLD, NEW}
    return [user for user in USERS if served[user] == NEW]


def test_the_users_of_this_test_are_on_both_sides_of_ten_percent() -> None:
    assert 2 <= len(TENTH) <= 10


def test_the_service_of_old_asks_openai_alone(desk: Desk) -> None:
    desk.go_to("0")
    assert not (desk.folder / "podium.yaml").exists()
    assert [desk.served("jane", path) for path in PATHS] == [OLD, OLD, OLD_SMALL]


def test_at_0_percent_everybody_is_answered_as_before(desk: Desk) -> None:
    desk.go_to("1")
    assert who_is_new(desk) == []
    assert [desk.served("researcher-1", path) for path in PATHS] == [OLD, OLD, OLD_SMALL]


def test_a_test_user_is_answered_by_the_candidate_everywhere_and_nobody_else_is(desk: Desk) -> None:
    desk.go_to("1")
    before = desk.process
    desk.go_to("2")
    assert desk.process == before
    assert [desk.served("researcher-1", path) for path in PATHS] == [NEW] * 3
    assert who_is_new(desk) == []


def test_at_10_percent_the_same_tenth_is_new_on_every_path_after_a_rollback_was_undone(desk: Desk) -> None:
    desk.go_to("2")
    before = desk.process
    desk.go_to("3")
    wait_until(lambda: desk.served(TENTH[0]) == NEW)
    assert who_is_new(desk) == TENTH
    assert [desk.served(TENTH[0], path) for path in PATHS] == [NEW] * 3
    assert desk.process == before


@pytest.mark.parametrize("words", [("set", "desk", "0"), ("disable", "desk")], ids=" ".join)
def test_a_rollback_takes_everybody_back_without_a_restart(desk: Desk, words: tuple[str, ...]) -> None:
    desk.go_to("3")
    before = desk.process
    wait_until(lambda: desk.served(TENTH[0]) == NEW)
    desk.podium("rollout", *words)
    try:
        wait_until(lambda: desk.served(TENTH[0]) == OLD)
        assert who_is_new(desk) == []
        assert [desk.served(TENTH[1], path) for path in PATHS] == [OLD, OLD, OLD_SMALL]
        assert desk.served("researcher-1") == (NEW if words[0] == "set" else OLD)
    finally:
        desk.podium("rollout", "undo", "desk")
    wait_until(lambda: desk.served(TENTH[0]) == NEW)
    assert who_is_new(desk) == TENTH
    assert desk.process == before


def test_a_researcher_is_answered_by_their_own_experiment_and_by_the_old_side_when_it_is_disabled(desk: Desk) -> None:
    desk.go_to("4")
    wait_until(lambda: desk.served("researcher-john") == "anthropic/claude-sonnet-4-5")
    assert desk.served("researcher-john", "/stream") == "anthropic/claude-sonnet-4-5"
    assert who_is_new(desk) == TENTH
    desk.podium("rollout", "disable", "desk")
    try:
        wait_until(lambda: desk.served("researcher-john") == OLD)
    finally:
        desk.podium("rollout", "undo", "desk")
    wait_until(lambda: desk.served("researcher-john") != OLD)


def test_shadows_ask_the_other_side_too_and_leave_answers_arms_and_rollback_alone(desk: Desk) -> None:
    desk.go_to("5")
    users = [f"shadowed-{number}" for number in range(60)]
    for user in users:
        assert desk.post("/stream", {"user": user, "question": QUESTION}) == "Ulaanbaatar"
    desk.sim.wait_idle()
    rows: list[dict[str, Any]] = []

    def on_record() -> bool:
        rows[:] = desk.usage("user", "arm")
        shadows = sum(row["requests"] for row in rows if row["arm"] == "candidate_shadow")
        return {row["user"] for row in rows} >= set(users) and shadows > 5

    wait_until(on_record)
    took = {row["user"]: row["arm"] for row in rows if row["user"] in users}
    assert took == {user: "candidate" if bucket("desk", user) < 1000 else "legacy" for user in users}
    assert set(took.values()) == {"candidate", "legacy"}
    desk.podium("rollout", "disable", "desk")
    try:
        wait_until(lambda: NEW not in desk.asked(TENTH[0]))
        desk.sim.wait_idle()
        before = desk.sim.stats.requests
        desk.ask_many(50)
        desk.sim.wait_idle()
        assert desk.sim.stats.requests - before == 50
    finally:
        desk.podium("rollout", "undo", "desk")


def test_a_slow_candidate_is_rolled_back_by_itself_and_a_good_one_climbs_to_the_holdout(desk: Desk) -> None:
    desk.go_to("6")
    (now,) = json.loads(desk.podium("rollout", "list", "--json"))["rollouts"]
    assert now["percent"] == 99
    assert who_is_new(desk) == [user for user in USERS if bucket("desk", user) < 9900]
    changes = json.loads(desk.podium("rollout", "history", "desk", "--json"))["changes"]
    climbs = [(change["before"]["percent"], change["after"]["percent"]) for change in changes if change["action"] == "ramp"]
    assert [each for each in climbs if each[0] != each[1]] == [(50, 99), (10, 50), (0, 10), (10, 0)]


def test_at_100_percent_everybody_is_new_and_a_rollback_still_works(desk: Desk) -> None:
    desk.go_to("7")
    wait_until(lambda: len(who_is_new(desk)) == len(USERS))
    desk.podium("rollout", "set", "desk", "0")
    try:
        wait_until(lambda: desk.served(USERS[0]) == OLD)
    finally:
        desk.podium("rollout", "undo", "desk")
    wait_until(lambda: desk.served(USERS[0]) == NEW)


def test_without_the_code_of_old_everything_is_answered_as_on_the_first_day(desk: Desk) -> None:
    desk.go_to("8")
    assert [desk.served("jane", path) for path in PATHS] == [NEW] * 3
    assert desk.served("researcher-john") == "anthropic/claude-sonnet-4-5"
    left = [path.name for path in desk.folder.rglob("*.py") if "openai" in path.read_text("utf-8")]
    assert left == []


def test_without_the_code_of_old_the_tier_falls_back_when_its_first_provider_fails(desk: Desk) -> None:
    desk.go_to("8")
    desk.sim.set("anthropic/*", status=500)
    try:
        assert (
            desk.post("/ask", {"user": "jane", "question": "What is the capital of Mongolia?"}) == '{"answer": "Ulaanbaatar"}'
        )
        assert desk.sim.requests[-1].provider == "openai"
    finally:
        desk.sim.unset("anthropic/*")


def test_every_step_of_the_tutorial_has_a_test() -> None:
    tested = {"0", "1", "2", "3", "4", "5", "6", "7", "8"}
    assert set(sections()) == tested
