"""The deadlines of one call: what ends a read, and what never does."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref

import pytest

from chat.llm.deadlines import Deadlines
from chat.llm.errors import (
    BetweenTokensTimeoutError,
    FirstTokenTimeoutError,
    ProviderTimeoutError,
    TotalTimeoutError,
)
from chat.llm.types import TimeLimits


async def _never() -> None:
    await asyncio.Event().wait()


async def _error_of_next_read(deadlines: Deadlines) -> ProviderTimeoutError:
    started = time.monotonic()
    with pytest.raises(ProviderTimeoutError) as raised:
        await deadlines.limit(_never())
    assert time.monotonic() - started < 5
    return raised.value


async def test_a_deadline_that_comes_nearer_holds() -> None:
    limits = TimeLimits(first_token_seconds=60, between_tokens_seconds=0.1)
    with Deadlines(limits) as deadlines:
        await deadlines.limit(asyncio.sleep(0))
        deadlines.payload_came(last=False)
        assert isinstance(await _error_of_next_read(deadlines), BetweenTokensTimeoutError)


async def test_a_deadline_that_comes_nearer_in_the_midst_of_a_read_holds() -> None:
    with Deadlines(TimeLimits(between_tokens_seconds=0.1)) as deadlines:

        async def read() -> None:
            deadlines.payload_came(last=False)
            await _never()

        async with asyncio.timeout(10):
            with pytest.raises(BetweenTokensTimeoutError):
                await deadlines.limit(read())


async def test_a_deadline_that_moves_away_ends_no_read() -> None:
    limits = TimeLimits(first_token_seconds=0.2, between_tokens_seconds=0.2)
    with Deadlines(limits) as deadlines:
        for _ in range(10):  # one of them lasts when the first deadline would have passed
            await deadlines.limit(asyncio.sleep(0.05))
            deadlines.payload_came(last=False)
        assert isinstance(await _error_of_next_read(deadlines), BetweenTokensTimeoutError)


async def test_a_read_after_another_without_a_payload_gets_no_more_time() -> None:
    async def read_many() -> None:
        with Deadlines(TimeLimits(first_token_seconds=0.2)) as deadlines:
            for _ in range(1000):
                await deadlines.limit(asyncio.sleep(0.01))

    with pytest.raises(FirstTokenTimeoutError):
        await read_many()


async def test_a_deadline_that_passes_in_the_callers_own_work_ends_the_next_read() -> None:
    with Deadlines(TimeLimits(total_seconds=0.05)) as deadlines:
        await deadlines.limit(asyncio.sleep(0))
        await asyncio.sleep(0.1)  # is not cancelled
        assert isinstance(await _error_of_next_read(deadlines), TotalTimeoutError)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("cancel_seconds", [0.04, 0.06], ids=["just before", "just after"])
async def test_a_cancellation_at_the_moment_of_the_deadline_is_not_lost(
    cancel_seconds: float,
) -> None:
    async def read() -> None:
        with Deadlines(TimeLimits(first_token_seconds=0.05)) as deadlines:
            await deadlines.limit(_never())

    task = asyncio.create_task(read())
    asyncio.get_running_loop().call_later(cancel_seconds, task.cancel)
    await asyncio.sleep(0)
    time.sleep(0.1)  # noqa: ASYNC251 - both are due in one turn of the loop, in their order
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_timeout_of_the_callers_own_passes_through() -> None:
    with Deadlines(TimeLimits()) as deadlines, pytest.raises(TimeoutError) as raised:
        async with asyncio.timeout(0.05):
            await deadlines.limit(_never())
    assert not isinstance(raised.value, ProviderTimeoutError)


async def test_a_call_that_has_ended_leaves_no_timer_behind() -> None:
    with Deadlines(TimeLimits()) as deadlines:
        await deadlines.limit(asyncio.sleep(0))
    left = weakref.ref(deadlines)
    del deadlines
    gc.collect()
    assert left() is None
