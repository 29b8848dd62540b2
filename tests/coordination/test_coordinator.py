"""What a coordinator decides in memory, and how several share a limit: each is as another process is, with its own slate."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.coordination import Coordinator, Reservation
from podium.coordination.accounts import Standing
from podium.coordination.ask import Ask
from podium.coordination.store import Answer, Entry
from podium.errors import BudgetExceeded, LimitError, RateLimited, StoreError
from podium.routing.limits import PICO, Kind, Limit, Period, usd
from waiting import until

AT = time.time() // 60 * 60
ONE: dict[Kind, int] = {"requests": 1}
Open = Callable[[], Coordinator]


def limit(kind: Kind, amount: int, period: Period | None = "day", id: str = "jane") -> Limit:
    return Limit(kind=kind, scope="user", id=id, amount=amount, period=None if kind == "concurrent" else period)


@pytest.fixture(params=["file", "memory"])
def one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Coordinator]:
    coordinator = Coordinator.open(tmp_path / "c.sqlite" if request.param == "file" else None)
    yield coordinator
    coordinator.close()


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as stack:

        def make() -> Coordinator:
            coordinator = Coordinator.open(tmp_path / "c.sqlite")
            stack.callback(coordinator.close)
            return coordinator

        yield make


async def refused(coordinator: Coordinator, *asked: tuple[Limit, int], at: float = AT) -> LimitError:
    with pytest.raises(LimitError) as caught:
        await coordinator.reserve(asked, at)
    return caught.value


async def test_a_lease_at_hand_is_used_without_asking_anybody(one: Coordinator) -> None:
    requests = limit("requests", 100)
    (await one.reserve([(requests, 1)], AT)).settle({})
    exchanges = one.statistics()["exchanges"]
    for _ in range(10):
        reservation = one.try_reserve([(requests, 1)], AT)
        assert reservation is not None
        reservation.settle({})
    assert one.statistics()["exchanges"] == exchanges


async def test_a_limit_is_kept_exactly_and_its_refusal_has_the_sums(one: Coordinator) -> None:
    money = limit("cost_usd", PICO)
    (await one.reserve([(money, PICO // 2)], AT)).settle({"cost_usd": PICO // 4})
    held = await one.reserve([(money, PICO // 4)], AT)
    error = await refused(one, (money, PICO // 2 + 1))
    assert isinstance(error, BudgetExceeded)
    assert (float(error.spent or 0), float(error.reserved or 0)) == (0.25, 0.25)
    exactly = await one.reserve([(money, PICO // 2)], AT)
    held.release()
    exactly.settle({"cost_usd": 0})
    (await one.reserve([(money, PICO // 4 * 3)], AT)).settle({})
    assert (await refused(one, (money, 1))).spent == 1


async def test_what_is_reserved_of_several_limits_is_reserved_of_all_or_none(one: Coordinator) -> None:
    many, few = limit("requests", 100), limit("concurrent", 2)
    held = [await one.reserve([(many, 1), (few, 1)], AT) for _ in range(2)]
    assert isinstance(await refused(one, (many, 1), (few, 1)), RateLimited)
    assert (await refused(one, (many, 99))).reserved == 2
    held[0].settle({})
    (await one.reserve([(many, 1), (few, 1)], AT)).settle({})


async def test_requests_at_once_count_until_they_end_and_all_others_as_they_were_reserved(one: Coordinator) -> None:
    few, minute = limit("concurrent", 1), limit("requests", 3, "minute")
    for _ in range(3):
        (await one.reserve([(few, 1), (minute, 1)], AT)).settle({})
    error = await refused(one, (few, 1), (minute, 1))
    assert error.spent == 3


async def test_a_released_reservation_was_never_made_and_ends_once(one: Coordinator) -> None:
    minute = limit("requests", 1, "minute")
    reservation = await one.reserve([(minute, 1)], AT)
    assert reservation.amounts() == [(minute, 1)]
    reservation.release()
    reservation.settle({"requests": 5})
    reservation.release()
    assert not reservation.open
    (await one.reserve([(minute, 1)], AT)).settle({})


async def test_a_new_window_begins_with_nothing_and_the_old_one_is_settled_where_it_was_reserved(one: Coordinator) -> None:
    minute = limit("tokens", 100, "minute")
    late = await one.reserve([(minute, 100)], AT)
    next_minute = AT + 60
    new = await one.reserve([(minute, 60)], next_minute)
    late.settle({"tokens": 10_000})
    new.settle({})
    (await one.reserve([(minute, 40)], next_minute)).settle({})
    assert (await refused(one, (minute, 1), at=next_minute)).spent == 100


async def test_time_that_goes_backwards_does_not_open_a_past_window_again(one: Coordinator) -> None:
    minute = limit("requests", 1, "minute")
    (await one.reserve([(minute, 1)], AT)).settle({})
    await refused(one, (minute, 1), at=AT - 60)


async def test_more_than_was_reserved_counts_and_is_leased_after_the_fact(one: Coordinator) -> None:
    money = limit("cost_usd", 100)
    (await one.reserve([(money, 10)], AT)).settle({"cost_usd": 95})
    assert one.statistics()["overruns"] <= 1  # none where the lease was large enough
    (await one.reserve([(money, 5)], AT)).settle({"cost_usd": 50})
    error = await refused(one, (money, 1))
    assert error.spent * 10**12 == 145  # type: ignore[operator]
    assert one.statistics()["overruns"] > 0


async def test_a_lower_limit_holds_at_once_and_a_higher_one_too(one: Coordinator) -> None:
    (await one.reserve([(limit("requests", 100), 10)], AT)).settle({})
    error = await refused(one, (limit("requests", 12), 3))
    assert (error.amount, error.spent) == (12, 10)
    (await one.reserve([(limit("requests", 12), 2)], AT)).settle({})
    (await one.reserve([(limit("requests", 1000), 900)], AT)).settle({})


async def test_the_limits_of_two_users_are_apart(one: Coordinator) -> None:
    (await one.reserve([(limit("requests", 1, id="jane"), 1)], AT)).settle({})
    (await one.reserve([(limit("requests", 1, id="joe"), 1)], AT)).settle({})
    await refused(one, (limit("requests", 1, id="joe"), 1))


async def test_limits_that_are_reserved_again_and_again_are_those_of_the_window_that_runs(one: Coordinator) -> None:
    requests = limit("requests", 100, "minute")
    minute = Standing([requests])
    for at in (AT, AT + 60, AT + 120):
        assert one.take_of(minute, ONE, at) is None  # nothing of this minute is leased yet
        (await one.reserve([(requests, 1)], at)).settle({})
        reservation = one.take_of(minute, ONE, at)
        assert reservation is not None
        reservation.settle({})
        assert (await refused(one, (requests, 99), at=at)).spent == 2


async def test_who_shares_a_limit_with_others_takes_what_they_leave(one: Coordinator) -> None:
    team, own = limit("requests", 100, id="search"), limit("requests", 100)
    jane, joe = Standing([own, team]), Standing([team])
    (await one.reserve([(own, 1), (team, 1)], AT)).settle({})
    for each in (joe, jane):
        reservation = one.take_of(each, ONE, AT)
        assert reservation is not None
        reservation.settle({})
    await one.reserve([(team, 97)], AT)
    assert one.take_of(jane, ONE, AT) is one.take_of(joe, ONE, AT) is None
    used = {account.limit.id: (account.used, account.reserved) for account in one.accounts.values()}
    assert used == {"jane": (2, 0), "search": (100, 97)}


async def test_a_lease_that_was_given_back_is_not_taken_from(another: Open) -> None:
    mine = another()
    requests = limit("requests", 100)
    standing = Standing([requests])
    (await mine.reserve([(requests, 1)], AT)).settle({})
    kept = mine.take_of(standing, ONE, AT)
    assert kept is not None
    kept.release()
    mine.tick += 100  # as if much time had passed
    await until(lambda: not mine.statistics()["accounts"])
    assert mine.take_of(standing, ONE, AT) is None
    theirs = another()
    (await theirs.reserve([(requests, 99)], AT)).settle({})
    await refused(mine, (requests, 1))
    assert mine.take_of(standing, ONE, AT) is None


async def test_a_limit_of_nothing_refuses_everything(one: Coordinator) -> None:
    assert (await refused(one, (limit("requests", 0), 1))).amount == 0


async def test_nobody_waits_for_a_slot_unless_asked_to(one: Coordinator) -> None:
    few = limit("concurrent", 1)
    held = await one.reserve([(few, 1)], AT)
    asyncio.get_running_loop().call_later(0.1, held.settle, {})
    await refused(one, (few, 1))
    (await one.reserve([(few, 1)], AT, wait_s=5)).settle({})
    assert held.open is False


async def test_whoever_leaves_while_waiting_holds_nothing(one: Coordinator) -> None:
    few = limit("concurrent", 1)
    held = await one.reserve([(few, 1)], AT)
    waits = asyncio.create_task(one.reserve([(few, 1)], AT, wait_s=5))
    await asyncio.sleep(0.1)
    waits.cancel()
    held.settle({})
    with pytest.raises(asyncio.CancelledError):
        await waits
    (await one.reserve([(few, 1)], AT)).settle({})


def test_whoever_waits_in_a_loop_that_ended_holds_nothing(one: Coordinator) -> None:
    few = limit("concurrent", 1)

    async def leave_it_waiting() -> Reservation:
        held = await one.reserve([(few, 1)], AT)
        one.asks.append(Ask([(few, 1)], AT, 5))
        return held

    held = asyncio.run(leave_it_waiting())
    held.settle({})

    async def take() -> None:
        (await one.reserve([(few, 1)], AT, wait_s=1)).settle({})

    asyncio.run(take())


async def test_threads_and_loops_share_a_coordinator(one: Coordinator) -> None:
    few = limit("concurrent", 3)
    most = 0
    running = 0
    lock = threading.Lock()

    async def many() -> None:
        nonlocal most, running
        for _ in range(20):
            reservation = await one.reserve([(few, 1)], AT, wait_s=20)
            with lock:
                running += 1
                most = max(most, running)
            await asyncio.sleep(0)
            with lock:
                running -= 1
            reservation.settle({})

    threads = [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert 0 < most <= 3


async def test_a_closed_coordinator_says_so(one: Coordinator) -> None:
    one.close()
    with pytest.raises(StoreError, match=r"closed.*keep the engine open"):
        await one.reserve([(limit("requests", 1), 1)], AT)


# --- several ------------------------------------------------------------------------------------------------------------


async def test_what_another_holds_and_does_not_use_is_called_back(another: Open) -> None:
    mine, theirs = another(), another()
    requests = limit("requests", 1000)
    held = await theirs.reserve([(requests, 1)], AT)
    (await mine.reserve([(requests, 999)], AT)).settle({})
    assert mine.statistics()["recalls"] >= 1
    held.release()
    (await mine.reserve([(requests, 1)], AT)).settle({})
    assert (await refused(theirs, (requests, 1))).spent == 1000


async def test_a_refusal_is_certain_at_once_where_nothing_can_be_called_back(another: Open) -> None:
    mine, theirs = another(), another()
    few = limit("concurrent", 2)
    held = [await theirs.reserve([(few, 1)], AT) for _ in range(2)]
    begun = time.monotonic()
    error = await refused(mine, (few, 1))
    assert time.monotonic() - begun < 0.5  # less than the second that an answer is waited for
    assert (error.reserved, error.spent) == (2, 0)
    assert mine.statistics()["recalls"] == 0
    for each in held:
        each.settle({})


async def test_what_is_closed_cleanly_is_as_spent_as_it_was(another: Open, tmp_path: Path) -> None:
    first = another()
    money = limit("cost_usd", PICO)
    (await first.reserve([(money, PICO // 2)], AT)).settle({"cost_usd": 123})
    first.close()
    assert list((tmp_path / "c.sqlite.owners").iterdir()) == []
    (await another().reserve([(money, PICO - 123)], AT)).settle({})
    await refused(another(), (money, 1))


async def test_an_account_that_nobody_uses_is_given_back(another: Open) -> None:
    mine = another()
    requests = limit("requests", 1000)
    (await mine.reserve([(requests, 7)], AT)).settle({})
    mine.tick += 100  # as if much time had passed
    await until(lambda: not mine.statistics()["accounts"])
    assert (await refused(mine, (requests, 994))).spent == 7
    (await mine.reserve([(requests, 993)], AT)).settle({})


async def test_what_is_charged_while_an_account_is_given_back_counts(one: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    money = limit("cost_usd", 10 * PICO)
    exchange, given_back = one.store.exchange, threading.Event()

    def exchange_and_charge(entries: Sequence[Entry]) -> list[Answer]:
        if any(entry.spent is not None for entry in entries) and not given_back.is_set():
            one.charge([money], {"cost_usd": 4 * PICO}, AT)
            given_back.set()
        return exchange(entries)

    monkeypatch.setattr(one.store, "exchange", exchange_and_charge)
    one.charge([money], {"cost_usd": 3 * PICO}, AT)
    one.tick += 100  # as if much time had passed
    await until(given_back.is_set)
    assert (await refused(one, (money, 4 * PICO))).spent == 7
    (await one.reserve([(money, 3 * PICO)], AT)).settle({})


async def test_more_accounts_than_one_chunk_of_the_slate_holds(another: Open) -> None:
    mine, theirs = another(), another()
    limits = [limit("requests", 1, id=f"user{number}") for number in range(4200)]
    for each in await asyncio.gather(*(mine.reserve([(each, 1)], AT) for each in limits)):
        each.settle({})
    assert (await refused(theirs, (limits[-1], 1))).spent == 1
    assert (await refused(theirs, (limits[0], 1))).spent == 1


STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(("reserve", "settle", "release")),
        st.integers(0, 40),
        st.floats(0, 1),
    ),
    max_size=30,
)


@settings(max_examples=40)
@given(steps=STEPS)
def test_whatever_two_processes_do_a_limit_is_never_exceeded_nor_negative(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str, int, float]]
) -> None:
    """What is settled is at most what was reserved, and then the sums are those of a single counter."""
    path = tmp_path_factory.mktemp("c") / "c.sqlite"
    money = limit("cost_usd", 100)
    pair = [Coordinator.open(path), Coordinator.open(path)]

    async def run() -> None:
        open_ones: list[tuple[Reservation, int]] = []
        spent = reserved = 0
        for who, what, amount, share in steps:
            said: tuple[object, object] | None = None
            if what == "reserve":
                try:
                    reservation = await pair[who].reserve([(money, amount)], AT)
                except LimitError as error:
                    said = (error.spent, error.reserved)
                else:
                    open_ones.append((reservation, amount))
                    reserved += amount
                if said is not None:
                    assert spent + reserved + amount > 100
                    assert said == (usd(spent), usd(reserved))
            elif open_ones:
                reservation, amount = open_ones.pop(0)
                used = int(amount * share)
                reserved -= amount
                if what == "settle":
                    reservation.settle({"cost_usd": used})
                    spent += used
                else:
                    reservation.release()
            assert 0 <= spent + reserved <= 100

    try:
        asyncio.run(run())
    finally:
        for coordinator in pair:
            coordinator.close()
