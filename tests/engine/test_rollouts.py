"""Rollouts at work over real HTTP: who takes which arm, and what a change does to what runs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from making import Make
from podium import AllTargetsFailed, LimitError, Models, RequestError, create_models
from podium.coordination.rollouts import SqliteRollouts
from podium.engine.rollout.changes import me
from podium.engine.rollout.choice import LOST_AFTER_S, Asker
from podium.engine.rollout.rollouts import Rollouts
from podium.errors import SpecError, StoreError
from podium.routing.rollout import Rollout, bucket
from podium.routing.snapshot import Snapshot
from podium.sim import Sim
from podium.types import Result

CAPITAL = "What is the capital of France?"
PAIR = ["anthropic/claude-haiku-4-5", "groq/llama-3.1-8b"]
HIGH = {"strategy": "fallback", "models": PAIR, "auto": False}
CHAT: dict[str, Any] = {"match": ["gpt-4", "openai/gpt-4o"], "legacy": "openai/gpt-4o", "candidate": "tier:high"}
USERS = [f"user-{number}" for number in range(60)]
INSIDE = next(user for user in USERS if bucket("chat", user) < 1000)
"""Within 10 %, and so within more."""
OUTSIDE = next(user for user in USERS if bucket("chat", user) >= 5000)


def one(make: Make, **chat: Any) -> Models:
    return make(tiers={"high": HIGH}, rollouts={"chat": {**CHAT, **chat}})


async def arm(models: Models, spec: str = "gpt-4", **ask: Any) -> str:
    result = await models.generate_text(spec, prompt=CAPITAL, **ask)
    return {"openai/gpt-4o": "legacy", "anthropic/claude-haiku-4-5": "candidate"}[str(result.target)]


# --- who takes which arm -------------------------------------------------------------------------------------------------


async def test_users_within_the_percentage_take_the_candidate_and_the_rest_legacy(make: Make) -> None:
    models = one(make, percent=30)
    for user in USERS[:20]:
        expected = "candidate" if bucket("chat", user) < 3000 else "legacy"
        assert await arm(models, user_id=user) == expected
        assert await arm(models, "openai/gpt-4o", user_id=user) == expected


async def test_a_call_without_a_user_takes_legacy_even_at_100_percent_and_says_why(make: Make) -> None:
    models = one(make, percent=100)
    result = await models.generate_text("gpt-4", prompt=CAPITAL)
    assert str(result.target) == "openai/gpt-4o"
    assert result.reasons.spec == "gpt-4"
    assert result.reasons.steps[0] == "Rollout `chat` chose the legacy arm: the request names no user to draw for."


async def test_test_users_take_the_candidate_at_0_percent_and_nobody_does_when_disabled(make: Make) -> None:
    models = one(make, test_users=["ann"])
    assert await arm(models, user_id="ann") == "candidate"
    assert await arm(models, user_id=INSIDE) == "legacy"
    models.rollouts.disable("chat")
    assert await arm(models, user_id="ann") == "legacy"


async def test_rules_look_at_user_team_and_tags_and_the_first_that_fits_decides(make: Make) -> None:
    rules = [
        {"user": "bob", "arm": "legacy"},
        {"team": "search", "tag": "batch", "arm": "candidate"},
        {"team": "search", "percent": 0},
    ]
    models = make(
        tiers={"high": HIGH},
        teams={"search": {}},
        users={"cleo": {"team": "search"}},
        rollouts={"chat": {**CHAT, "percent": 100, "rules": rules}},
    )
    batch = {"team": "search", "tags": ["batch"]}
    assert await arm(models, user_id="bob", metadata=batch) == "legacy"
    assert await arm(models, metadata=batch) == "candidate"
    assert await arm(models, user_id="ann", metadata={"team": "search"}) == "legacy"
    assert await arm(models, user_id="cleo") == "legacy", "a team comes from the user's config too"
    assert await arm(models, user_id="ann") == "candidate"


async def test_a_conversation_never_changes_arms_midway(make: Make) -> None:
    models = one(make, unit="conversation", percent=50)
    first = {f"c-{number}": await arm(models, user_id="ann", metadata={"conversation": f"c-{number}"}) for number in range(12)}
    assert set(first.values()) == {"legacy", "candidate"}
    models.rollouts.set("chat", percent=90)
    for conversation, before in first.items():
        after = await arm(models, metadata={"conversation": conversation})
        assert after == "candidate" or before == "legacy"
    assert await arm(models, user_id="ann") == "legacy", "no conversation, no draw"


async def test_a_team_is_drawn_for_as_a_whole(make: Make) -> None:
    models = one(make, unit="team", percent=50)
    for team in ("a", "b", "c", "d"):
        arms = {await arm(models, user_id=user, metadata={"team": team}) for user in USERS[:4]}
        assert arms == {"candidate" if bucket("chat", team) < 5000 else "legacy"}


async def test_the_library_has_no_keys_to_draw_for(make: Make) -> None:
    assert await arm(one(make, unit="key", percent=100), user_id="ann") == "legacy"


async def test_pin_takes_a_governed_spec_as_written(make: Make) -> None:
    models = one(make, percent=100)
    assert await arm(models, "openai/gpt-4o", user_id="ann", pin=True) == "legacy"
    assert models.explain("openai/gpt-4o", user_id="ann", pin=True).steps[0].find("Rollout") == -1


async def test_only_the_specs_in_match_are_governed_exactly_as_callers_write_them(make: Make) -> None:
    models = one(make, match=["gpt-4"], percent=100)
    assert await arm(models, "gpt-4", user_id="ann") == "candidate"
    assert await arm(models, "openai/gpt-4o", user_id="ann") == "legacy"
    with pytest.raises(SpecError):
        await models.generate_text("GPT-4", prompt=CAPITAL, user_id="ann")


async def test_both_arms_are_taken_as_written_without_tier_resolution(make: Make) -> None:
    tiers = {"high": HIGH, "wide": {"strategy": "race", "models": ["openai/gpt-4o", "groq/llama-3.1-8b"]}}
    assert len(make(tiers=tiers).explain("openai/gpt-4o").targets) == 2
    models = make(tiers=tiers, rollouts={"chat": {**CHAT, "candidate": "openai/gpt-4o"}})
    for user in ("ann", INSIDE):
        reasons = models.explain("gpt-4", user_id=user)
        assert [str(target) for target in reasons.targets] == ["openai/gpt-4o"]


async def test_without_a_legacy_spec_legacy_is_what_the_call_means_without_the_rollout(make: Make) -> None:
    tiers = {"high": HIGH, "wide": {"strategy": "fallback", "models": ["openai/gpt-4o", "groq/llama-3.1-8b"]}}
    models = make(tiers=tiers, rollouts={"chat": {"match": ["openai/gpt-4o"], "candidate": "tier:high"}})
    result = await models.generate_text("openai/gpt-4o", prompt=CAPITAL, user_id="ann")
    assert result.reasons.rule == "auto_tier"
    assert len(result.reasons.targets) == 2


async def test_strange_user_ids_are_users_like_any_other(make: Make) -> None:
    models = one(make, percent=50)
    for user in ("Jörg 😀", " ", "\x00", "a" * 10_000, "' OR 1=1 --", "\ud800", "٣"):
        assert await arm(models, user_id=user) == ("candidate" if bucket("chat", user) < 5000 else "legacy")
    assert await arm(models, user_id="") == "legacy", "an empty id is none"


async def test_a_stream_takes_its_arm_and_says_so(make: Make) -> None:
    models = one(make, percent=10)
    async with models.stream_text("gpt-4", prompt=CAPITAL, user_id=INSIDE) as stream:
        assert "".join([text async for text in stream.text]) == "Paris"
    assert str((await stream.result()).target) == "anthropic/claude-haiku-4-5"
    assert "candidate arm: bucket" in stream.reasons.steps[0]


def test_blocking_calls_take_their_arm() -> None:
    with Sim(seed=7) as sim:
        providers = sim.providers("openai", "anthropic", "groq")
        models = create_models(providers=providers, tiers={"high": HIGH}, rollouts={"chat": {**CHAT, "percent": 10}})
        with models.sync:
            ask = models.sync.generate_text
            assert str(ask("gpt-4", prompt=CAPITAL, user_id=INSIDE).target) == "anthropic/claude-haiku-4-5"
            assert str(ask("gpt-4", prompt=CAPITAL, user_id=OUTSIDE).target) == "openai/gpt-4o"


async def test_explaining_says_the_arm_and_counts_nothing(make: Make) -> None:
    models = one(make, percent=10)
    assert models.explain("gpt-4", user_id=INSIDE).rule == "tier"
    assert models.explain("gpt-4", user_id=OUTSIDE).steps[0].startswith("Rollout `chat` chose the legacy arm: bucket ")
    assert models.model("gpt-4", user_id=INSIDE).explain().rule == "tier"
    assert models.rollouts.usage("chat").to_dict()["candidate"] == 0


async def test_a_candidate_that_cannot_be_asked_fails_as_it_does_without_a_rollout(make: Make) -> None:
    models = make(providers={"groq": {"enabled": False}}, rollouts={"chat": {**CHAT, "candidate": "groq/llama-3.1-8b"}})
    models.rollouts.add_user("chat", "ann")
    with pytest.raises(AllTargetsFailed, match="disabled"):
        await models.generate_text("gpt-4", prompt=CAPITAL, user_id="ann")


async def test_the_ledger_knows_rollout_and_arm_of_each_call(make: Make, tmp_path: Path) -> None:
    models = make(tiers={"high": HIGH}, rollouts={"chat": {**CHAT, "percent": 10}}, data_dir=str(tmp_path))
    for user in (INSIDE, INSIDE, OUTSIDE):
        await arm(models, user_id=user)
    await models.generate_text("openai/gpt-4o-mini", prompt=CAPITAL)
    rows = await asyncio.to_thread(models.usage, by=["rollout", "arm"])
    found = {(row.group["rollout"], row.group["arm"]): row.requests for row in rows}
    assert found == {("chat", "candidate"): 2, ("chat", "legacy"): 1, (None, None): 1}


# --- changes -------------------------------------------------------------------------------------------------------------


async def test_each_change_holds_from_the_next_call_on(make: Make) -> None:
    models = one(make)
    rollouts = models.rollouts
    assert await arm(models, user_id=OUTSIDE) == "legacy"
    assert rollouts.set("chat", percent="100%", why="all").percent == 100
    assert await arm(models, user_id=OUTSIDE) == "candidate"
    rollouts.set("chat", candidate="openai/gpt-4o")
    assert await arm(models, user_id=OUTSIDE) == "legacy"
    rollouts.undo("chat")
    assert await arm(models, user_id=OUTSIDE) == "candidate"
    rollouts.disable("chat")
    assert await arm(models, user_id=OUTSIDE) == "legacy"
    rollouts.enable("chat")
    rollouts.set("chat", percent=0)
    rollouts.add_user("chat", OUTSIDE)
    assert await arm(models, user_id=OUTSIDE) == "candidate"
    rollouts.remove_user("chat", OUTSIDE)
    assert await arm(models, user_id=OUTSIDE) == "legacy"
    actions = ["remove_user", "add_user", "set", "enable", "disable", "undo", "set", "set", "seed"]
    assert [change.action for change in rollouts.history("chat")] == actions
    assert rollouts.history("chat")[-2].why == "all"
    assert {change.who for change in rollouts.history()} == {me()}


async def test_a_request_under_way_ends_as_it_began(make: Make, sim: Sim) -> None:
    sim.set("claude-haiku-4-5", tokens_per_s=100.0)
    models = one(make, test_users=["ann"])
    seen = 0
    async with models.stream_text("gpt-4", prompt="Tell me about ships.", user_id="ann") as stream:
        async for _ in stream.text:
            if not seen:
                models.rollouts.disable("chat")
            seen += 1
    assert seen > 5
    assert str((await stream.result()).target) == "anthropic/claude-haiku-4-5"
    assert await arm(models, user_id="ann") == "legacy"


async def under_way(models: Models, sim: Sim, user: str = "ann") -> asyncio.Task[Result]:
    """Ask, and return once the first attempt is at its provider."""
    asking = asyncio.create_task(models.generate_text("gpt-4", prompt=CAPITAL, user_id=user))
    for _ in range(500):
        if sim.stats.in_flight:
            break
        await asyncio.sleep(0.01)
    return asking


async def rolled_back_midway(models: Models, sim: Sim) -> Result:
    asking = await under_way(models, sim)
    models.rollouts.disable("chat")
    return await asking


async def test_a_call_that_took_the_candidate_is_not_retried_once_its_rollout_is_taken_back(make: Make, sim: Sim) -> None:
    sim.set("claude-haiku-4-5", break_after=0, latency_s=0.2)
    models = one(make, candidate="anthropic/claude-haiku-4-5", test_users=["ann"])
    with pytest.raises(LimitError) as caught:
        await rolled_back_midway(models, sim)
    assert (caught.value.code, caught.value.status) == ("rolled_back", 503)
    assert "rollout chat was taken back while this request ran" in caught.value.message
    assert [attempt.outcome for attempt in caught.value.attempts] == ["failed", "rejected"]
    assert sim.stats.by_provider == {"anthropic": 1}
    assert await arm(models, user_id="ann") == "legacy"


async def test_nor_does_a_fallback_within_the_candidate_move_on_then(make: Make, sim: Sim) -> None:
    sim.set("claude-haiku-4-5", break_after=0, latency_s=0.2)
    models = one(make, test_users=["ann"])
    with pytest.raises(LimitError, match=r"groq/llama-3\.1-8b is not asked any more"):
        await rolled_back_midway(models, sim)
    assert sim.stats.by_provider == {"anthropic": 1}


async def test_what_was_launched_at_once_goes_on_to_its_end(make: Make, sim: Sim) -> None:
    for model in ("claude-haiku-4-5", "llama-3.1-8b"):
        sim.set(model, latency_s=0.2)
    race = {"strategy": "race", "models": PAIR, "auto": False}
    models = make(tiers={"high": race}, rollouts={"chat": {**CHAT, "test_users": ["ann"]}})
    assert (await rolled_back_midway(models, sim)).text == "Paris"
    assert sim.stats.by_provider == {"anthropic": 1, "groq": 1}


async def test_a_consensus_ends_with_the_voices_it_has(make: Make, sim: Sim) -> None:
    sim.set("claude-haiku-4-5", break_after=0, latency_s=0.2)
    sim.set("gpt-4o-mini", latency_s=1.0)
    agreed = {"strategy": "consensus", "models": [*PAIR, "openai/gpt-4o-mini"], "auto": False}
    models = make(tiers={"high": agreed}, rollouts={"chat": {**CHAT, "test_users": ["ann"]}})
    result = await rolled_back_midway(models, sim)
    assert result.text == "Paris"
    assert result.consensus is not None
    assert result.consensus.n_ok == 2
    assert sim.stats.by_provider == {"anthropic": 1, "groq": 1, "openai": 1}, "the one that failed is not asked again"


async def test_a_call_of_the_legacy_arm_is_retried_whatever_the_rollout_does(make: Make, sim: Sim) -> None:
    sim.set("gpt-4o", break_after=0, latency_s=0.2)
    models = one(make)
    asking = await under_way(models, sim, INSIDE)
    models.rollouts.set("chat", percent=100)
    sim.set("gpt-4o", break_after=None)
    result = await asking
    assert [str(attempt.target) for attempt in result.attempts] == ["openai/gpt-4o"] * 2


async def test_a_retry_goes_on_where_the_change_does_not_concern_its_user(make: Make, sim: Sim) -> None:
    sim.set("claude-haiku-4-5", break_after=0, latency_s=0.2)
    models = one(make, percent=50, test_users=["ann"])
    asking = await under_way(models, sim)
    models.rollouts.set("chat", percent=0)
    assert str((await asking).target) == "groq/llama-3.1-8b"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda rollouts: rollouts.set("chta", percent=1), "There is no rollout `chta`. Did you mean `chat`?"),
        (lambda rollouts: rollouts.show("zzz"), "There is no rollout `zzz`. There are: chat."),
        (lambda rollouts: rollouts.history("zzz"), "There is no rollout `zzz`. There are: chat."),
        (lambda rollouts: rollouts.set("chat"), "Nothing to set was given. Give `percent`, `candidate` or `legacy`."),
        (
            lambda rollouts: rollouts.set("chat", percent=101),
            "`percent`: `101` is no percentage. Write a number from 0 to 100.",
        ),
        (lambda rollouts: rollouts.set("chat", percent=float("nan")), "is no percentage. Write a number from 0 to 100."),
        (lambda rollouts: rollouts.set("chat", percent=True), "`percent`: a percentage cannot be true or false."),
        (lambda rollouts: rollouts.set("chat", percent=0.001), "finer than users are counted. Write at most 2 decimals."),
        (lambda rollouts: rollouts.set("chat", candidate="tier:hihg"), "Did you mean `high`?"),
        (
            lambda rollouts: rollouts.set("chat", candidate=""),
            "`candidate` must be text, not empty. Give a text that is not empty.",
        ),
        (lambda rollouts: rollouts.set("chat", legacy=3), "`legacy` must be text, not 3."),
        (lambda rollouts: rollouts.add_user("chat", " "), "`user_id` must be text, not ' '."),
        (lambda rollouts: rollouts.add_user("chat", 7), "`user_id` must be text, not 7."),
        (lambda rollouts: rollouts.remove_user("chat", "anm"), "`anm` is no test user of `chat`. Did you mean `ann`?"),
        (lambda rollouts: rollouts.disable("chat", why=3), "`why` must be text, not 3."),
        (lambda rollouts: rollouts.undo("chat", who=[]), "`who` must be text, not []."),
        (lambda rollouts: rollouts.undo("chat"), "The rollout chat has no change that could be undone."),
        (lambda rollouts: rollouts.usage("chat", "soon"), "`window`"),
        (lambda rollouts: rollouts.usage("chat", "7"), "`window`"),
        (lambda rollouts: rollouts.choose_in("zzz", None), "There is no rollout `zzz`."),
    ],
)
async def test_a_change_that_is_none_says_what_to_write(make: Make, call: Any, words: str) -> None:
    models = one(make, test_users=["ann"])
    with pytest.raises(RequestError) as caught:
        call(models.rollouts)
    assert words in str(caught.value)
    assert [change.action for change in models.rollouts.history()] == ["seed"]


async def test_the_guides_hash_takes_whole_percents_only_at_run_time_too(make: Make) -> None:
    models = make(tiers={"high": HIGH}, rollouts={"old": {"match": ["x"], "candidate": "tier:high", "hash": "legacy_js"}})
    with pytest.raises(RequestError, match="whole percents only"):
        models.rollouts.set("old", percent=2.5)
    models.rollouts.set("old", percent=26)
    assert models.explain("x", user_id="user-1").rule == "tier", "its bucket is 25 (SCIENCE part 1)"


async def test_a_config_without_rollouts_says_where_they_are_declared(make: Make) -> None:
    models = make()
    assert models.rollouts.list() == []
    with pytest.raises(RequestError, match="Declare it under `rollouts:` in the config"):
        models.rollouts.show("chat")
    assert "rollouts" not in models.statistics()


# --- what really happened ------------------------------------------------------------------------------------------------


async def test_usage_counts_what_calls_really_took_and_logs_it_beside_what_was_set(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    models = one(make, percent=10)
    for user in (INSIDE, OUTSIDE, OUTSIDE, OUTSIDE):
        await arm(models, user_id=user)
    with caplog.at_level(logging.INFO, "podium.rollouts"):
        assert models.rollouts.usage_percent("chat") == 25.0
    assert caplog.messages == ["Orchestrator usage: 25.0% of 4 calls in 24h (rollout chat is set to 10%)"]
    usage = models.rollouts.usage("chat", "1h")
    assert (usage.legacy, usage.candidate, usage.set_percent, usage.window_s) == (3, 1, 10.0, 3600.0)
    models.rollouts.disable("chat")
    caplog.clear()
    with caplog.at_level(logging.INFO, "podium.rollouts"):
        models.rollouts.usage_percent("chat", "7d")
    assert caplog.messages == ["Orchestrator usage: 25.0% of 4 calls in 7d (rollout chat is set to 10% and disabled)"]


async def test_usage_is_nought_before_the_first_call(make: Make) -> None:
    assert one(make).rollouts.usage_percent("chat") == 0.0


# --- the store: shared, lost, found --------------------------------------------------------------------------------------


def snapshot(folder: Path | None, *, max_stale_s: float = 600.0, **rollouts: Rollout) -> Snapshot:
    found = rollouts or {"chat": Rollout(name="chat", match=("gpt-4",), legacy="openai/gpt-4o", candidate="tier:high")}
    return Snapshot(rollouts=found, data_dir=None if folder is None else str(folder), max_stale_s=max_stale_s)


async def test_two_models_over_one_folder_share_how_their_rollouts_stand(make: Make, tmp_path: Path) -> None:
    config = {"tiers": {"high": HIGH}, "rollouts": {"chat": CHAT}, "data_dir": str(tmp_path)}
    mine, other = make(**config), make(**config)
    assert await arm(other, user_id=INSIDE) == "legacy"
    mine.rollouts.set("chat", percent=100)
    begun = time.monotonic()
    while await arm(other, user_id=INSIDE) == "legacy":
        assert time.monotonic() - begun < 5
    await asyncio.to_thread(other.rollouts.counts.flush, other.rollouts._store)
    assert mine.rollouts.usage("chat").candidate >= 1
    assert (tmp_path / "rollouts.known.json").exists()


class Clock:
    """A clock that stands still until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


ASKER = Asker(user_id="ann")


def look(rollouts: Rollouts) -> None:
    """Let the watching look now, and wait for that."""
    assert rollouts._watching is not None
    rollouts._watching.look_now()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lost(tmp_path: Path, clock: Clock) -> Iterator[Rollouts]:
    """Rollouts whose store was there at 1000, and is not any more."""
    done = Rollout(name="done", legacy="openai/gpt-4o", candidate="tier:high", percent=100.0)
    chat = done.replace(name="chat", match=("gpt-4",), percent=0.0, test_users=("ann",))
    off = done.replace(name="off", enabled=False)
    rollouts = Rollouts(snapshot(tmp_path, chat=chat, done=done, off=off), clock=clock)
    assert rollouts.show("chat").test_users == ("ann",)
    (tmp_path / "rollouts.sqlite3").unlink()
    look(rollouts)
    yield rollouts
    rollouts.close()


def arms(rollouts: Rollouts) -> dict[str, str]:
    return {name: rollouts.choose_in(name, ASKER).arm for name in rollouts.seeds}


def test_a_lost_store_leaves_the_last_known_state_for_max_stale_then_legacy(lost: Rollouts, clock: Clock) -> None:
    """A rollout at 100 % stays on its candidate, for its legacy may be gone; one that is disabled stays disabled."""
    clock.now = 1000 + LOST_AFTER_S - 0.1
    assert lost.choose_in("chat", ASKER).why == "Rollout `chat` chose the candidate arm: ann is a test user."
    clock.now = 1600
    assert arms(lost) == {"chat": "candidate", "done": "candidate", "off": "legacy"}
    assert lost.choose_in("chat", ASKER).why.endswith("test user (as last known: the store of rollouts is lost for 600 s).")
    clock.now = 1601
    assert arms(lost) == {"chat": "legacy", "done": "candidate", "off": "legacy"}
    assert lost.choose_in("chat", ASKER).why.endswith("is lost for 601 s, longer than the 600 s of `max_stale`.")
    assert "as last known" in lost.choose_in("done", ASKER).why


def test_what_is_lost_is_logged_and_in_the_statistics_and_so_is_its_coming_back(
    lost: Rollouts, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.now = 1300
    statistics = lost.statistics()
    assert (statistics["lost"], statistics["for_s"]) == (True, 300)
    assert "rollouts.sqlite3 cannot be used" in statistics["why"]
    look(lost)
    clock.now = 1700
    for _ in range(3):
        look(lost)
    lost._mend()
    look(lost)
    assert lost.statistics() == {"lost": False}
    assert arms(lost)["chat"] == "candidate"
    (first,) = {record.getMessage() for record in caplog.get_records("setup")}
    assert "it is gone. The last known state holds for 600 s, then legacy (a rollout at 100 % its candidate)." in first
    second, third = caplog.messages
    assert second.startswith(
        "The store of rollouts is lost for longer than `max_stale` (600 s): every rollout gives legacy now"
    )
    assert third == "The store of rollouts answers again."


def test_a_rollback_makes_the_store_again_that_is_gone_with_all_that_was_known(lost: Rollouts, tmp_path: Path) -> None:
    (tmp_path / "rollouts.known.json").unlink()
    assert not lost.disable("chat", why="whatever else is broken").enabled
    assert arms(lost) == {"chat": "legacy", "done": "candidate", "off": "legacy"}
    assert [change.action for change in lost.history("chat")] == ["disable", "restore"]
    assert not lost.show("off").enabled


def test_a_store_that_another_config_made_anew_gets_the_rollouts_that_it_lacks_as_they_were_known(
    lost: Rollouts, tmp_path: Path
) -> None:
    (tmp_path / "rollouts.known.json").unlink()
    other = Rollouts(snapshot(tmp_path, theirs=Rollout(name="theirs", candidate="tier:high")))
    assert [rollout.name for rollout in other.list()] == ["theirs"]
    look(lost)
    assert arms(lost) == {"chat": "candidate", "done": "candidate", "off": "legacy"}
    assert lost.history("off")[0].action == "restore"
    look(other)
    assert [rollout.name for rollout in other.list()] == ["theirs"], "each config sees its own"
    other.close()


def test_a_store_that_was_never_seen_gives_legacy_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "rollouts.sqlite3").write_bytes(b"no database at all" * 100)
    candidate = Rollout(name="chat", match=("gpt-4",), candidate="tier:high", percent=100.0)
    rollouts = Rollouts(snapshot(tmp_path, chat=candidate))
    made = rollouts.choose("gpt-4", ASKER)
    assert made is not None
    assert (made.arm, made.spec) == ("legacy", None)
    assert made.why.endswith("the store of rollouts has not answered yet, and how this one stands was never known.")
    with pytest.raises(StoreError, match="cannot be used"):
        rollouts.show("chat")
    with pytest.raises(StoreError, match="cannot be used"):
        rollouts.disable("chat")
    assert rollouts.statistics()["lost"]
    assert rollouts.statistics()["for_s"] is None
    assert [message.endswith("Until it answers, every rollout gives legacy.") for message in caplog.messages] == [True]
    (tmp_path / "rollouts.sqlite3").unlink()
    look(rollouts)
    assert rollouts.choose_in("chat", ASKER).arm == "candidate"
    rollouts.close()


def test_a_process_that_starts_without_the_store_goes_by_its_copy_for_max_stale(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    first = Rollouts(snapshot(tmp_path))
    first.add_user("chat", "ann")
    first.close()
    (tmp_path / "rollouts.sqlite3").write_bytes(b"no database at all" * 100)
    (tmp_path / "rollouts.sqlite3-wal").unlink(missing_ok=True)
    rollouts = Rollouts(snapshot(tmp_path), clock=clock)
    assert rollouts.show("chat").test_users == ("ann",)
    assert rollouts.choose_in("chat", ASKER).arm == "candidate"
    assert rollouts.statistics()["lost"]
    with pytest.raises(StoreError, match="cannot be used"):
        rollouts.disable("chat")
    clock.now += 601
    assert rollouts.choose_in("chat", ASKER).arm == "legacy"
    assert caplog.messages[0].endswith("then legacy (a rollout at 100 % its candidate).")
    rollouts.close()


def test_a_process_that_slept_for_longer_than_max_stale_sees_the_store_again_at_its_first_look(
    tmp_path: Path, clock: Clock
) -> None:
    rollouts = Rollouts(snapshot(tmp_path), clock=clock)
    rollouts.add_user("chat", "ann")
    clock.now += 10_000
    look(rollouts)
    assert rollouts.choose_in("chat", ASKER).arm == "candidate"
    rollouts.close()


def refused(rollouts: Rollouts) -> None:
    with pytest.raises(StoreError, match="locked"):
        rollouts.disable("chat")


def test_no_call_waits_for_a_store_that_is_locked(tmp_path: Path) -> None:
    rollouts = Rollouts(snapshot(tmp_path))
    rollouts.add_user("chat", "ann")
    assert isinstance(rollouts._store, SqliteRollouts)
    rollouts._store.lock_wait_s = 0.5
    with contextlib.closing(sqlite3.connect(tmp_path / "rollouts.sqlite3", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        changing = threading.Thread(target=refused, args=(rollouts,))
        changing.start()
        chosen = 0
        while changing.is_alive():
            assert rollouts.choose_in("chat", ASKER).arm == "candidate"
            chosen += 1
        assert chosen > 1000
        db.execute("ROLLBACK")
    assert rollouts.usage("chat").candidate == chosen
    rollouts.close()


def test_counts_that_cannot_be_written_are_kept_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The state can still be read, so nothing is lost but for a while the counts."""
    rollouts = Rollouts(snapshot(tmp_path))
    rollouts.add_user("chat", "ann")
    rollouts.close()
    store, counts = rollouts._store, rollouts.counts
    with contextlib.closing(sqlite3.connect(tmp_path / "rollouts.sqlite3", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        counts.add("chat", "candidate")
        counts.try_to_flush(store)
        counts.try_to_flush(store)
        assert counts.failures == 2
        db.execute("ROLLBACK")
    counts.try_to_flush(store)
    assert counts.failures == 0
    assert [message.endswith("is counted in memory until then.") for message in caplog.messages] == [True]
    assert rollouts.usage("chat").candidate == 1
    rollouts.close()


def test_what_was_counted_outlives_a_process_that_just_ends(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from engine.test_rollouts import *\n"
        "rollouts = Rollouts(snapshot(Path(sys.argv[2])))\n"
        "[rollouts.choose_in('chat', ASKER) for _ in range(7)]"
    )
    subprocess.run([sys.executable, "-c", code, str(Path(__file__).parents[1]), str(tmp_path)], check=True)
    rollouts = Rollouts(snapshot(tmp_path))
    assert rollouts.usage("chat").legacy == 7
    rollouts.close()


def test_rollouts_that_nobody_keeps_end_their_thread(tmp_path: Path) -> None:
    rollouts = Rollouts(snapshot(tmp_path))
    rollouts.show("chat")
    assert rollouts._watching is not None
    thread = rollouts._watching._thread
    assert thread.is_alive()
    del rollouts
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def test_a_config_that_was_changed_where_that_changes_nothing_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seed = Rollout(name="chat", match=("gpt-4",), candidate="tier:high")
    first = Rollouts(snapshot(tmp_path, chat=seed))
    first.set("chat", percent=30)
    first.close()
    second = Rollouts(snapshot(tmp_path, chat=seed.replace(match=("gpt-4", "gpt-3"), salt="other", percent=99.0)))
    assert second.choose("gpt-3", ASKER) is None
    second.close()
    assert caplog.messages == [
        "The config says `match` and `salt` of rollout `chat` otherwise than when it began, which changes nothing: "
        "name a new rollout."
    ]


async def test_a_multitude_of_test_users_slows_no_call(make: Make) -> None:
    """Each call looks whether its user is one: in a set."""
    rollouts = one(make, test_users=[f"tester-{number}" for number in range(20_000)]).rollouts
    assert rollouts.choose_in("chat", Asker(user_id="tester-19999")).arm == "candidate"
    rollouts.add_user("chat", "late")
    assert rollouts.choose_in("chat", Asker(user_id="late")).arm == "candidate"
    assert rollouts.choose_in("chat", Asker(user_id="nobody")).arm == "legacy"


def test_a_config_without_rollouts_has_neither_thread_nor_file(tmp_path: Path) -> None:
    rollouts = Rollouts(Snapshot(data_dir=str(tmp_path)))
    assert rollouts.choose("gpt-4", ASKER) is None
    assert rollouts._watching is None
    assert list(tmp_path.iterdir()) == []


# --- forks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("stored", [True, False])
def test_a_forked_child_follows_changes_like_its_parent(tmp_path: Path, stored: bool) -> None:
    models = create_models(
        providers={"local": {}},
        rollouts={"chat": {"candidate": "local/x"}},
        data_dir=str(tmp_path) if stored else None,
    )
    rollouts = models.rollouts
    rollouts.add_user("chat", "ann")
    assert rollouts.choose_in("chat", ASKER).arm == "candidate"
    told, tell = os.pipe()
    said, say = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(say, rollouts.choose_in("chat", ASKER).arm[:1].encode())
            os.read(told, 1)
            if not stored:
                rollouts.disable("chat")
            until = time.monotonic() + 5
            while rollouts.choose_in("chat", ASKER).arm == "candidate" and time.monotonic() < until:
                pass
            os.write(say, rollouts.choose_in("chat", ASKER).arm[:1].encode())
            rollouts.close()
        finally:
            os._exit(0)
    assert os.read(said, 1) == b"c"
    if stored:
        rollouts.disable("chat")
    os.write(tell, b".")
    assert os.read(said, 1) == b"l"
    os.waitpid(child, 0)
    for end in (told, tell, said, say):
        os.close(end)
    assert rollouts.choose_in("chat", ASKER).arm == ("legacy" if stored else "candidate")
    rollouts.close()
