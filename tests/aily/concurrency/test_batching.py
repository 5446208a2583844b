"""How items become batches: without delay when idle, few and large ones under load."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest

from aily.concurrency.batching import Batcher, Pace
from tests.clocks import LoopClock

LONG = 3600.0


class Handler:
    """Notes the batches, and holds each until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.arrived = asyncio.Semaphore(0)
        self.go = asyncio.Semaphore(0)

    async def __call__(self, items: list[int]) -> Sequence[int | Exception]:
        self.batches.append(items)
        self.arrived.release()
        await self.go.acquire()
        return [ValueError(str(item)) if item < 0 else item * 10 for item in items]


async def turns() -> None:
    """Let the loop run all that is ready, and what that makes ready."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_comes_while_a_batch_is_handled_is_the_next_batch() -> None:
    handler = Handler()
    batcher = Batcher(handler)
    first = asyncio.gather(*(batcher.submit(item) for item in (1, 2)))
    await handler.arrived.acquire()
    second = asyncio.gather(*(batcher.submit(item) for item in (3, 4, 5)))
    handler.go.release()
    assert await first == [10, 20]
    handler.go.release()
    assert await second == [30, 40, 50]
    assert handler.batches == [[1, 2], [3, 4, 5]]


async def test_a_paced_batcher_begins_at_once_after_a_pause_and_then_waits() -> None:
    handler = Handler()
    batcher = Batcher(handler, max_size=3, pace=Pace(min_seconds=LONG, max_seconds=LONG))
    handler.go.release()
    assert await batcher.submit(1) == 10
    waiting = asyncio.gather(*(batcher.submit(item) for item in (2, 3)))
    await turns()
    assert handler.batches == [[1]]
    waiting.cancel()


async def test_a_full_batch_does_not_wait() -> None:
    handler = Handler()
    batcher = Batcher(handler, max_size=3, pace=Pace(min_seconds=LONG, max_seconds=LONG))
    handler.go.release()
    handler.go.release()
    await batcher.submit(1)
    full = asyncio.gather(*(batcher.submit(item) for item in (2, 3, 4)))
    assert await asyncio.wait_for(full, 30) == [20, 30, 40]


@pytest.mark.parametrize(
    ("busy_seconds", "apart"), [(0.0, 0.02), (0.01, 0.04), (0.1, 0.3)], ids=["min", "share", "max"]
)
def test_the_longer_a_batch_takes_the_further_apart_they_are(
    busy_seconds: float, apart: float
) -> None:
    pace = Pace(min_seconds=0.02, share=0.25, max_seconds=0.3)
    assert pace.after(busy_seconds) == pytest.approx(apart)


async def test_an_error_goes_to_its_item_alone() -> None:
    handler = Handler()
    batcher = Batcher(handler)
    handler.go.release()
    outcomes = await asyncio.gather(batcher.submit(1), batcher.submit(-2), return_exceptions=True)
    assert outcomes[0] == 10
    assert isinstance(outcomes[1], ValueError)


# --- Whatever a handler does, its callers are told -----------------------------------------------
async def outcome_of(handle: object) -> tuple[list[BaseException | int], Batcher[int, int]]:
    batcher: Batcher[int, int] = Batcher(handle)  # type: ignore[arg-type]
    async with asyncio.timeout(20):
        told = await asyncio.gather(*map(batcher.submit, (1, 2)), return_exceptions=True)
    return told, batcher


@pytest.mark.parametrize(
    "results", [[1], [1, 2, 3], []], ids=["too few", "too many", "none at all"]
)
async def test_callers_are_told_of_results_that_are_not_theirs(results: list[int]) -> None:
    async def handle(items: list[int]) -> list[int]:
        return results

    told, _ = await outcome_of(handle)
    assert [type(error) for error in told] == [RuntimeError] * 2


@pytest.mark.parametrize(
    "error", [AttributeError("broken"), StopIteration(), asyncio.CancelledError()], ids=repr
)
async def test_callers_are_told_of_whatever_is_raised_and_the_next_batch_is_handled(
    error: BaseException,
) -> None:
    errors = [error]

    async def handle(items: list[int]) -> list[int]:
        if errors:
            raise errors.pop()
        return items

    told, batcher = await outcome_of(handle)
    assert all(isinstance(error, Exception) for error in told)
    assert await batcher.submit(7) == 7


@pytest.mark.parametrize("max_batches", [1, 2])
def test_a_loop_that_ends_leaves_no_batch_behind(max_batches: int) -> None:
    """One batch is being handled, another is about to begin, and a third waits."""
    faults: list[str] = []

    async def end_midway() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: faults.append(context["message"])
        )
        handler = Handler()
        pace = Pace(min_seconds=LONG, max_seconds=LONG)
        batcher = Batcher(handler, max_size=2, max_batches=max_batches, pace=pace)
        callers = [asyncio.ensure_future(batcher.submit(item)) for item in range(5)]
        await handler.arrived.acquire()
        assert not any(caller.done() for caller in callers)

    asyncio.run(end_midway())
    gc.collect()
    assert faults == []


class Clock(LoopClock):
    async def passes(self, seconds: float) -> None:
        self.advance(seconds)
        await turns()


async def test_a_batch_that_ends_delays_the_one_that_is_collected_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, handler = Clock(monkeypatch), Handler()
    pace = Pace(min_seconds=LONG, share=1e-12, max_seconds=3 * LONG, gather_seconds=0)
    batcher = Batcher(handler, max_batches=2, pace=pace)
    first = asyncio.create_task(batcher.submit(1))
    await handler.arrived.acquire()
    second = asyncio.create_task(batcher.submit(2))
    await turns()
    handler.go.release()
    await first
    await clock.passes(2 * LONG)
    assert handler.batches == [[1]]
    handler.go.release()
    await clock.passes(2 * LONG)
    assert await second == 20


async def test_items_that_keep_coming_are_not_taken_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, handler = Clock(monkeypatch), Handler()
    pace = Pace(min_seconds=LONG, max_seconds=LONG, gather_seconds=0, quiet_seconds=0.01)
    batcher = Batcher(handler, pace=pace)
    handler.go.release()
    await batcher.submit(0)
    callers = []
    for item in range(1, 13):
        callers.append(asyncio.create_task(batcher.submit(item)))
        await turns()
        # A hundred times what ends the wait where items come at once.
        await clock.passes(1)
    assert handler.batches == [[0]]
    await clock.passes(10)
    assert [len(batch) for batch in handler.batches] == [1, 12]
    handler.go.release()
    await asyncio.gather(*callers)


async def test_an_item_that_may_expect_company_waits_for_it() -> None:
    batches: list[list[int]] = []

    async def handle(items: list[int]) -> list[int]:
        batches.append(items)
        return items

    pace = Pace(min_seconds=0, share=1, max_seconds=0, gather_seconds=0.2)
    batcher = Batcher(handle, pace=pace)
    for _ in range(10):
        await asyncio.gather(*(batcher.submit(number) for number in range(5)))
    batches.clear()
    first = asyncio.create_task(batcher.submit(1))
    for _ in range(5):
        await asyncio.sleep(0)
    assert batches == []
    await batcher.submit(2)
    await first
    assert batches == [[1, 2]]


@pytest.mark.parametrize(("longest", "sizes"), [(LONG, [13]), (30, [4])], ids=["all", "in time"])
async def test_those_that_come_one_after_the_other_are_gathered(
    monkeypatch: pytest.MonkeyPatch, longest: float, sizes: list[int]
) -> None:
    batches: list[int] = []

    async def handle(items: list[int]) -> list[int]:
        batches.append(len(items))
        return items

    clock = Clock(monkeypatch)
    pace = Pace(
        min_seconds=0, share=1, max_seconds=0, gather_seconds=10, gather_max_seconds=longest
    )
    batcher = Batcher(handle, max_size=13, pace=pace)
    await asyncio.gather(*(batcher.submit(number) for number in range(13)))
    batches.clear()
    callers = []
    for number in range(13):
        callers.append(asyncio.create_task(batcher.submit(number)))
        await turns()
        await clock.passes(9)
    await clock.passes(10)
    assert batches[:1] == sizes
    for caller in callers:
        caller.cancel()


async def test_a_batch_as_large_as_those_before_does_not_wait_for_more() -> None:
    batches: list[int] = []

    async def handle(items: list[int]) -> list[int]:
        batches.append(len(items))
        return items

    pace = Pace(min_seconds=LONG, max_seconds=LONG, gather_seconds=0, quiet_seconds=0.01)
    batcher = Batcher(handle, pace=pace)
    async with asyncio.timeout(10):
        for _ in range(5):
            await asyncio.gather(*(batcher.submit(number) for number in range(20)))
    assert batches == [20] * 5


async def test_a_caller_without_company_does_not_wait_for_any() -> None:
    async def handle(items: list[int]) -> list[int]:
        return items

    pace = Pace(min_seconds=0, share=1, max_seconds=0, gather_seconds=LONG)
    batcher = Batcher(handle, pace=pace)
    async with asyncio.timeout(20):
        for number in range(20):
            assert await batcher.submit(number) == number


async def test_a_pace_may_go_by_how_many_items_come(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(items: list[int]) -> list[int]:
        return items

    clock = Clock(monkeypatch)

    at_once = Pace(min_seconds=0, share=1, max_seconds=0, gather_seconds=0)
    late = Pace(min_seconds=LONG, max_seconds=LONG, gather_seconds=LONG)
    batcher = Batcher(handle, pace=lambda rate: late if rate >= 30 else at_once)
    for number in range(20):
        clock.advance(1)
        assert await asyncio.wait_for(batcher.submit(number), 20) == number
    for _ in range(40):
        clock.advance(0.01)
        items = [asyncio.create_task(batcher.submit(number)) for number in range(5)]
        await turns()
    assert not any(item.done() for item in items)
    for item in items:
        item.cancel()
