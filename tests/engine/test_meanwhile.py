"""What others do in the middle of a process's work: it is seen, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from podium import create_models
from podium.coordination.rollouts import SqliteRollouts
from podium.engine.prices.fetch import fetch_prices
from podium.engine.prices.sources import Source
from podium.engine.rollout.choice import Asker
from waiting import wait_until


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_that_cannot_wait_for_the_store_leaves_its_parent_watching_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podium.engine.rollout.rollouts._FORK_WAIT_S", 0.01)
    rollouts = create_models(
        providers={"local": {}}, rollouts={"chat": {"candidate": "local/x"}}, data_dir=str(tmp_path)
    ).rollouts
    assert rollouts.show("chat").enabled
    locked = sqlite3.connect(tmp_path / "rollouts.sqlite3", isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    assert rollouts.choose_in("chat", Asker()).arm == "legacy"  # a count that waits for the lock
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    locked.execute("ROLLBACK")
    locked.close()
    SqliteRollouts(tmp_path / "rollouts.sqlite3").change(
        "chat", "disable", lambda rollout: rollout.replace(enabled=False), who="other", why=None
    )
    wait_until(lambda: not rollouts.show("chat").enabled)
    assert not rollouts.is_stale
    assert rollouts.usage("chat").legacy == 1
    rollouts.close()


def prices(tmp_path: Path, dollars: float) -> dict[str, Any]:
    rates = {"inputPerMillion": dollars, "outputPerMillion": dollars, "updatedAt": "2026-11-23T00:00:00Z", "source": "ours"}
    return {"models": {"openai/gpt-4o": rates}, "updatedAt": "2026-11-23T00:00:00Z"}


@pytest.mark.parametrize("replaced", [True, False])
def test_prices_that_are_written_twice_within_one_tick_of_the_clock_are_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    monkeypatch.setattr("podium.engine.books._LOOK_EVERY_S", 0.0)
    path = tmp_path / "pricing-cache.json"

    def write(text: str) -> None:
        target = tmp_path / "fresh" if replaced else path
        target.write_text(text)
        os.utime(target, ns=(10**18, 10**18))
        target.replace(path)

    models = create_models(providers={"openai": {"api_key": "any"}}, pricing_cache=str(path))
    whole = json.dumps(prices(tmp_path, 2.5))
    write(whole[: len(whole) // 2] if not replaced else json.dumps(prices(tmp_path, 7.5)))
    first = models.pricing
    assert bool(first.problems) is not replaced
    write(whole)
    found = models.pricing.get("openai/gpt-4o")
    assert found is not None
    assert (models.pricing.problems, found.source) == ([], "ours")
    assert models.pricing is not first


async def test_a_fetch_keeps_what_another_has_put_into_the_file_meanwhile(tmp_path: Path) -> None:
    """Its own source fails, so it keeps the rows of the file: those that are there when it replaces it."""
    out, ours, theirs = tmp_path / "out.json", tmp_path / "ours.json", tmp_path / "theirs.json"
    sources = (Source("ours", str(ours), 0), Source("theirs", str(theirs), 0))
    rates = {"inputPerMillion": 1.0, "outputPerMillion": 1.0}
    ours.write_text(json.dumps({"models": {"a/a": rates}}))
    theirs.write_text(json.dumps({"models": {"b/b": rates}}))
    await fetch_prices(sources, out, 1_795_423_200.0)
    theirs.write_text(json.dumps({"models": {"b/b": {**rates, "inputPerMillion": 2.0}}}))
    await fetch_prices(sources, tmp_path / "newer.json", 1_795_423_260.0)
    theirs.unlink()
    with out.open("rb") as at_work:
        fcntl.flock(at_work, fcntl.LOCK_EX)
        fetching = asyncio.create_task(fetch_prices(sources, out, 1_795_423_320.0))
        await asyncio.wait([fetching], timeout=0.3)
        assert not fetching.done()
        (tmp_path / "newer.json").replace(out)
    fetched = await fetching
    assert [(answer.kept, answer.error is None) for answer in fetched.sources] == [(0, True), (1, False)]
    assert json.loads(out.read_text())["models"]["b/b"]["inputPerMillion"] == 2.0
