"""The bound of a run: it is never passed, and what fits is never kept waiting for good."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from podium.cli.bound import Bound
from podium.cli.working import work_off

AMOUNTS = st.integers(0, 100)


@given(
    limit=st.integers(0, 300),
    costs=st.lists(st.tuples(AMOUNTS, st.none() | st.floats(0, 1)), max_size=20),
    concurrency=st.integers(1, 6),
)
def test_what_is_spent_and_under_way_never_passes_the_bound(
    limit: int, costs: list[tuple[int, float | None]], concurrency: int
) -> None:
    """Each has the most that it can cost, and the part of it that it does cost; None: nobody knows."""

    async def perform() -> tuple[Bound, list[int]]:
        bound, under_way, done = Bound(Decimal(limit)), 0, list[int]()

        async def one(number: int) -> None:
            nonlocal under_way
            highest, part = costs[number]
            if not await bound.reserve(Decimal(highest)):
                return
            under_way += highest
            assert bound.spent_usd + under_way <= limit
            for _ in range(number % 3):
                await asyncio.sleep(0)
            under_way -= highest
            done.append(number)
            await bound.settle(Decimal(highest), None if part is None else Decimal(int(highest * part)))

        await asyncio.wait_for(work_off(range(len(costs)), one, concurrency), 5)
        return bound, done

    bound, done = asyncio.run(perform())
    known = {number: highest if part is None else int(highest * part) for number, (highest, part) in enumerate(costs)}
    assert bound.spent_usd == sum(known[number] for number in done) <= limit
    if bound.needed_usd is None:
        assert sorted(done) == list(range(len(costs)))
    else:
        assert bound.spent_usd + bound.needed_usd > limit


async def test_a_bound_that_is_reached_stays_so_until_it_is_raised() -> None:
    bound = Bound(Decimal(10))
    assert await bound.reserve(Decimal(8))
    await bound.settle(Decimal(8), Decimal(5))
    assert not await bound.reserve(Decimal(6))
    assert bound.needed_usd == 6
    assert not await bound.reserve(Decimal(1))  # the order is kept: nothing slips by for being cheap
    bound.raise_by(Decimal(3))
    assert await bound.reserve(Decimal(6))


async def test_a_reservation_waits_for_what_is_under_way_to_cost_less() -> None:
    bound = Bound(Decimal(10))
    assert await bound.reserve(Decimal(7))
    waiting = asyncio.create_task(bound.reserve(Decimal(7)))
    await asyncio.sleep(0)
    assert not waiting.done()
    await bound.settle(Decimal(7), Decimal(1))
    assert await waiting
