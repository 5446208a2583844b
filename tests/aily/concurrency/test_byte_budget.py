"""Memory of work at once: within the budget, in order, and given back whatever happens."""

from __future__ import annotations

import asyncio

import pytest

from aily.concurrency.byte_budget import ByteBudget


async def _settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_work_begins_in_order_while_there_is_room() -> None:
    budget = ByteBudget(10)
    await budget.reserve(6)
    large, small = (asyncio.ensure_future(budget.reserve(size)) for size in (8, 1))
    await _settle()
    assert not large.done()
    assert not small.done(), "the small one would overtake the large one for ever"
    budget.release(6)
    await asyncio.wait_for(asyncio.gather(large, small), 20)
    assert budget.reserved == 9


async def test_what_is_larger_than_the_budget_runs_alone() -> None:
    budget = ByteBudget(10)
    await budget.reserve(100)
    other = asyncio.ensure_future(budget.reserve(1))
    await _settle()
    assert not other.done()
    budget.release(100)
    await asyncio.wait_for(other, 20)
    assert budget.reserved == 1


@pytest.mark.parametrize("moment", ["before its turn", "in its turn", "as room comes"])
async def test_work_that_is_cancelled_takes_no_room(moment: str) -> None:
    budget = ByteBudget(10)
    await budget.reserve(10)
    first, second = (asyncio.ensure_future(budget.reserve(10)) for _ in range(2))
    await _settle()
    # Without `_settle` in between, the task has not run since.
    if moment == "in its turn":
        budget.release(10)
        first.cancel()
    else:
        first.cancel()
        if moment == "before its turn":
            await _settle()
        budget.release(10)
    await asyncio.wait_for(second, 20)
    assert first.cancelled()
    assert budget.reserved == 10
