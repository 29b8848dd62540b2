"""Slots: a limit on what runs at once, fair and bounded."""

import asyncio
import threading

import pytest

from podium.engine.slots import Slots
from podium.errors import RateLimited


async def test_no_more_than_the_limit_run_at_once() -> None:
    slots = Slots("Provider x", 3)
    running = most = 0

    async def work() -> None:
        nonlocal running, most
        await slots.acquire()
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        slots.release()

    await asyncio.gather(*(work() for _ in range(50)))
    assert most == 3
    assert (slots.running, slots.waiting) == (0, 0)


async def test_groups_take_turns_so_that_a_busy_one_does_not_keep_the_others_waiting() -> None:
    slots = Slots("Provider x", 1)
    order: list[str] = []

    async def work(group: str) -> None:
        await slots.acquire(group)
        order.append(group)
        await asyncio.sleep(0)
        slots.release()

    await slots.acquire()
    busy = [asyncio.create_task(work("busy")) for _ in range(4)]
    await asyncio.sleep(0)
    quiet = asyncio.create_task(work("quiet"))
    await asyncio.sleep(0)
    slots.release()
    await asyncio.gather(*busy, quiet)
    assert order.index("quiet") == 1


async def test_a_full_queue_is_a_typed_error_that_names_the_limit() -> None:
    slots = Slots("Provider x", 1, size=1)
    await slots.acquire()
    waiter = asyncio.create_task(slots.acquire())
    await asyncio.sleep(0)
    with pytest.raises(RateLimited, match=r"Provider x runs 1 requests \(max_concurrent 1\) and 1 more wait") as caught:
        await slots.acquire()
    assert caught.value.code == "queue_full"
    slots.release()
    await waiter


async def test_too_long_a_wait_is_a_typed_error_and_leaves_the_queue() -> None:
    slots = Slots("User jane", 1, wait_s=0.01)
    await slots.acquire()
    with pytest.raises(RateLimited, match=r"No slot of User jane came free within 0\.01 s") as caught:
        await slots.acquire()
    assert caught.value.code == "queue_timeout"
    assert (slots.running, slots.waiting) == (1, 0)


async def test_a_waiter_that_is_cancelled_takes_no_slot_with_it() -> None:
    slots = Slots("Provider x", 1)
    await slots.acquire()
    waiter = asyncio.create_task(slots.acquire())
    await asyncio.sleep(0)
    slots.release()  # the slot is given to the waiter, which is cancelled before it runs
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert (slots.running, slots.waiting) == (0, 0)


@pytest.mark.parametrize("steps", range(6))
async def test_a_cancellation_while_a_slot_is_handed_over_is_not_lost(steps: int) -> None:
    slots = Slots("Provider x", 1)
    await slots.acquire()
    waiter = asyncio.create_task(slots.acquire())
    await asyncio.sleep(0)
    slots.release()
    for _ in range(steps):
        await asyncio.sleep(0)
    came_too_late = not waiter.cancel()
    await asyncio.wait([waiter])
    assert waiter.cancelled() is not came_too_late
    assert slots.running == int(came_too_late)


async def test_raising_the_limit_lets_waiters_in() -> None:
    slots = Slots("Provider x", 1)
    await slots.acquire()
    waiters = [asyncio.create_task(slots.acquire()) for _ in range(2)]
    await asyncio.sleep(0)
    slots.set_limit(3)
    await asyncio.gather(*waiters)
    assert slots.running == 3


def test_loops_in_different_threads_share_the_limit() -> None:
    slots = Slots("Provider x", 2)
    running = most = 0
    guard = threading.Lock()

    async def work() -> None:
        nonlocal running, most
        for _ in range(50):
            await slots.acquire()
            with guard:
                running += 1
                most = max(most, running)
            await asyncio.sleep(0)
            with guard:
                running -= 1
            slots.release()

    threads = [threading.Thread(target=asyncio.run, args=(work(),)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most <= 2  # how far threads overlap is the machine's affair
    assert slots.running == 0


def test_a_waiter_whose_loop_is_gone_does_not_keep_a_slot() -> None:
    slots = Slots("Provider x", 1)

    async def leave_a_waiter() -> None:
        await slots.acquire()
        waiter = asyncio.create_task(slots.acquire())
        await asyncio.sleep(0)
        assert not waiter.done()

    asyncio.run(leave_a_waiter())
    slots.release()
    assert slots.running == 0
