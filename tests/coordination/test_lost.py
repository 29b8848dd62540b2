"""What happens to limits when the coordination file cannot be used: leases at hand are used up, then `on_lost` decides."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from podium.coordination import Coordinator
from podium.coordination.coordinator import OnLost
from podium.coordination.sqlite import SqliteLeases
from podium.coordination.store import Entry
from podium.errors import BudgetExceeded, LimitError, RateLimited, StoreError
from podium.routing.limits import MOST, PICO, Limit

AT = time.time() // 60 * 60
MONEY = Limit(kind="cost_usd", scope="user", id="jane", period="month", amount=PICO)
MINUTE = Limit(kind="requests", scope="user", id="jane", period="minute", amount=100)
MONTH = Limit(kind="requests", scope="team", id="search", period="month", amount=100)
Open = Callable[..., Coordinator]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "coordination.sqlite"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    with ExitStack() as stack:

        def make(on_lost: OnLost | None = None, at: Path = path) -> Coordinator:
            coordinator = Coordinator.open(at, on_lost=on_lost, lock_wait_s=0.2)
            stack.callback(coordinator.close)
            return coordinator

        yield make


@contextmanager
def locked(path: Path) -> Iterator[None]:
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        other.close()


def slates(path: Path) -> list[Path]:
    return list(path.with_name(path.name + ".owners").glob("*.slate"))


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with file.open("wb") as filler, suppress(OSError):
        while True:
            filler.write(bytes(65536))
            filler.flush()


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,bind,{how}", str(folder)], check=True)


async def reserve_each(coordinator: Coordinator, limits: Iterable[Limit], amount: int) -> None:
    for limit in limits:
        (await coordinator.reserve([(limit, amount)], AT)).settle({})


async def used_up(coordinator: Coordinator, limit: Limit, amount: int = 1) -> int:
    """Take what is leased; how much that was."""
    taken = 0
    while reservation := coordinator.try_reserve([(limit, amount)], AT):
        reservation.settle({})
        taken += amount
    return taken


async def found_again(coordinator: Coordinator) -> None:
    deadline = time.monotonic() + 10
    while coordinator.statistics()["lost"]["now"] is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def lost(coordinator: Coordinator) -> None:
    deadline = time.monotonic() + 10
    while coordinator.statistics()["lost"]["now"] is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_while_the_file_is_locked_leases_are_used_up_and_then_money_is_refused(path: Path, opened: Open) -> None:
    mine, theirs = opened(), opened()
    (await mine.reserve([(MONEY, PICO // 100)], AT)).settle({})
    with locked(path):
        leased = await used_up(mine, MONEY, PICO // 100)
        assert leased > 0
        begun = time.monotonic()
        with pytest.raises(StoreError) as caught:
            await mine.reserve([(MONEY, PICO // 100)], AT)
        assert time.monotonic() - begun < 2
        assert caught.value.code == "coordination_lost"
        assert "cost of user jane in a month" in str(caught.value)
        assert "on_lost: continue" in str(caught.value)
        begun = time.monotonic()
        with pytest.raises(StoreError):
            await mine.reserve([(MONEY, PICO // 100)], AT)
        assert time.monotonic() - begun < 0.1  # it is known now, and nobody waits for it
        assert mine.statistics()["lost"] == {"now": str(mine.lost), "times": 1, "refused": 2, "continued": 0}
    await found_again(mine)
    await found_again(theirs)
    rest = PICO - PICO // 100 - leased
    (await theirs.reserve([(MONEY, rest)], AT)).settle({})
    with pytest.raises(BudgetExceeded):
        await mine.reserve([(MONEY, 1)], AT)


async def test_without_money_at_stake_requests_go_on_and_are_counted_afterwards(path: Path, opened: Open) -> None:
    mine, theirs = opened(), opened()
    (await mine.reserve([(MONTH, 1)], AT)).settle({})
    with locked(path):
        taken = 1 + await used_up(mine, MONTH)
        while taken < 80:
            (await mine.reserve([(MONTH, 1)], AT)).settle({})
            taken += 1
        assert mine.statistics()["lost"]["continued"] > 0
    await found_again(mine)
    await found_again(theirs)
    with pytest.raises(RateLimited) as caught:
        await theirs.reserve([(MONTH, 21)], AT)
    assert caught.value.spent == 80
    (await theirs.reserve([(MONTH, 20)], AT)).settle({})


async def test_a_process_that_goes_on_keeps_to_the_limit_on_its_own(path: Path, opened: Open) -> None:
    mine = opened("continue")
    (await mine.reserve([(MONEY, 1)], AT)).settle({})
    with locked(path):
        await used_up(mine, MONEY, PICO // 100)
        with pytest.raises(BudgetExceeded) as caught:
            await reserve_each(mine, [MONEY] * 101, PICO // 100)
        assert caught.value.spent is not None
        assert 1 - caught.value.spent < caught.value.asked  # type: ignore[operator]


async def test_money_that_is_leased_is_no_reason_to_refuse_a_request_whose_rate_is_not_known(path: Path, opened: Open) -> None:
    mine = opened()
    (await mine.reserve([(MONEY, 1), (MONTH, 1)], AT)).settle({})
    with locked(path):
        await used_up(mine, MONTH)
        (await mine.reserve([(MONEY, 1), (MONTH, 1)], AT)).settle({})
        assert mine.statistics()["lost"]["continued"] == 1


async def test_a_file_that_hangs_is_lost_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.coordination.coordinator.ANSWER_WAIT_S", 1.0)
    mine = Coordinator.open(path, lock_wait_s=30)
    with locked(path):
        begun = time.monotonic()
        with pytest.raises(StoreError, match="no answer within 1 s"):
            await mine.reserve([(MONEY, 1)], AT)
        assert 1 <= time.monotonic() - begun < 4
        with pytest.raises(StoreError):
            await mine.reserve([(MONEY, 1)], AT)
        assert time.monotonic() - begun < 4
    await found_again(mine)
    (await mine.reserve([(MONEY, PICO)], AT)).settle({})
    mine.close()


async def test_on_lost_refuse_holds_for_everything(path: Path, opened: Open) -> None:
    mine = opened("refuse")
    with locked(path), pytest.raises(StoreError):
        await mine.reserve([(MONTH, 1)], AT)


async def test_a_deleted_file_is_not_made_anew_by_whoever_runs(path: Path, opened: Open) -> None:
    """What had left is forgotten with it; but what is running says again what it used, when a start has made a new one."""
    mine = opened()
    (await mine.reserve([(MONEY, PICO // 2)], AT)).settle({})
    for each in path.parent.glob("coordination.sqlite*"):
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    await lost(mine)
    await asyncio.sleep(0.6)
    assert not list(path.parent.glob("*.sqlite"))
    with pytest.raises(StoreError, match=r"was deleted or replaced.*start a process anew"):
        await reserve_each(mine, [MONEY] * 101, PICO // 100)
    used = PICO - PICO // 2
    theirs = opened()
    await found_again(mine)
    with pytest.raises(BudgetExceeded) as caught:
        await theirs.reserve([(MONEY, used + 1)], AT)
    assert caught.value.spent is not None
    assert caught.value.spent >= MONEY.amount // 2 / PICO


def test_a_file_that_is_replaced_while_it_is_opened_is_lost_and_then_opened_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever went on in the old one would lease the same again."""
    first = SqliteLeases(path)
    first.attach(create=True)
    first.close(clean=True)
    connect = sqlite3.connect

    def replaced_behind(*arguments: Any, **settings: Any) -> sqlite3.Connection:
        opened: sqlite3.Connection = connect(*arguments, **settings)
        monkeypatch.undo()
        path.unlink()
        first.attach(create=True)
        return opened

    monkeypatch.setattr(sqlite3, "connect", replaced_behind)
    late = SqliteLeases(path)
    with pytest.raises(StoreError, match="was deleted or replaced"):
        late.attach(create=False)
    assert late.attach(create=False).fresh_file
    entry = Entry(limit=MINUTE, starts_us=0, ends_us=MOST, slot=late.take_slot(), keep=0, need=60)
    assert late.exchange([entry])[0].granted >= 60
    assert first.exchange([replace(entry, slot=first.take_slot())])[0].granted < 60
    for store in (first, late):
        store.close(clean=True)


async def test_a_slate_that_is_taken_away_is_made_anew_and_nobody_is_taken_for_dead(path: Path, opened: Open) -> None:
    mine = opened()
    (slate,) = slates(path)
    theirs = opened()
    few = Limit(kind="concurrent", scope="user", id="jane", amount=2)
    held = await mine.reserve([(few, 2)], AT)
    slate.unlink()
    deadline = time.monotonic() + 4.5
    while time.monotonic() < deadline:
        with pytest.raises(LimitError):
            await theirs.reserve([(few, 1)], AT)
        await asyncio.sleep(0.1)
    assert len(slates(path)) == 2
    assert slate not in slates(path)
    assert theirs.statistics()["dead_processes"] == mine.statistics()["dead_processes"] == 0
    held.settle({})
    await found_again(theirs)
    (await theirs.reserve([(few, 2)], AT)).settle({})


def test_a_file_of_another_kind_is_refused_and_left_alone(path: Path, opened: Open) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE entries (id)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"no coordination file.*file of their own"):
        Coordinator.open(path)
    assert path.read_bytes() == before
    path.write_bytes(b"no database" * 1000)
    assert "not a database" in str(opened().lost)
    assert path.read_bytes() == b"no database" * 1000


# --- disks that are full, or cannot be written -------------------------------------------------------------------------

needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", *options, str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@needs_mounts
async def test_a_full_disk_is_a_loss_and_no_crash_and_over_when_there_is_room(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as folder:
        mine = Coordinator.open(folder / "c.sqlite")
        (await mine.reserve([(MONEY, 1)], AT)).settle({})
        fill(folder / "filler")
        limits = [MONEY.replace(id=f"user{number}") for number in range(20_000)]
        with pytest.raises(StoreError):
            await reserve_each(mine, limits, 1)
        assert "full" in str(mine.lost) or "No space" in str(mine.lost)
        assert mine.try_reserve([(MONEY, 1)], AT) is not None  # out of its lease
        (folder / "filler").unlink()
        await found_again(mine)
        (await mine.reserve([(MONEY, PICO - 2)], AT)).settle({})
        mine.close()


@needs_mounts
async def test_a_disk_that_cannot_be_written_is_a_loss_from_the_start(tmp_path: Path) -> None:
    real = tmp_path / "real"
    first = Coordinator.open(real / "c.sqlite")
    first.close()
    with mounted(tmp_path / "same", "--bind", str(real)) as folder:
        remount(folder, "ro")
        mine = Coordinator.open(folder / "c.sqlite")
        with pytest.raises(StoreError, match=r"read-?only|Read-only"):
            await mine.reserve([(MONEY, 1)], AT)
        (await mine.reserve([(MONTH, 1)], AT)).settle({})
        remount(folder, "rw")
        await found_again(mine)
        (await mine.reserve([(MONEY, 1)], AT)).settle({})
        with pytest.raises(RateLimited) as caught:
            await mine.reserve([(MONTH, 100)], AT)
        assert caught.value.spent == 1
        mine.close()
