"""Exceptions that are survived: logged, counted, and no end of what goes on."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from prometheus_client import REGISTRY

from aily.concurrency import faults
from aily.concurrency.faults import is_cancelled, run_for_ever, surviving


def counted(place: str) -> float:
    labels = {"place": place}
    samples = (sample for metric in REGISTRY.collect() for sample in metric.samples)
    return sum(
        sample.value
        for sample in samples
        if sample.labels.items() >= labels.items() and sample.name.endswith("_total")
    )


def test_an_exception_is_logged_counted_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    before = counted("the test")
    with surviving("the test"):
        raise ValueError("odd")
    assert counted("the test") == before + 1
    assert "ValueError: odd" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_an_order_to_end_is_not_survived(error: type[BaseException]) -> None:
    with pytest.raises(error), surviving("the test"):
        raise error


async def test_a_loop_goes_on_after_a_fault_until_it_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faults, "PAUSE_SECONDS", 0)
    turns: asyncio.Queue[int] = asyncio.Queue()

    async def turn() -> None:
        turns.put_nowait(turns.qsize())
        if turns.qsize() == 1:
            raise ValueError("a fault")
        if turns.qsize() == 2:
            # As of a future that another task has cancelled.
            raise asyncio.CancelledError
        if turns.qsize() == 3:
            enough.set()
            await asyncio.get_running_loop().create_future()

    enough = asyncio.Event()
    running = asyncio.create_task(run_for_ever("the test", turn))
    async with asyncio.timeout(10):
        await enough.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert turns.qsize() == 3


async def test_a_task_knows_whether_it_was_asked_to_end() -> None:
    seen: list[bool] = []

    async def work() -> None:
        seen.append(is_cancelled())
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            seen.append(is_cancelled())

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert seen == [False, True]


async def test_a_turn_that_swallows_the_cancelling_is_the_last_one() -> None:
    turns = 0
    is_waiting = asyncio.Event()

    async def turn() -> None:
        nonlocal turns
        turns += 1
        is_waiting.set()
        with suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()

    running = asyncio.create_task(run_for_ever("the test", turn))
    await is_waiting.wait()
    running.cancel()
    await asyncio.wait([running], timeout=20)
    assert running.cancelled()
    assert turns == 1
