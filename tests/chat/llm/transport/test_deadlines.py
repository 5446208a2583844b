"""The deadlines of one call: what passes, and what never does."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from chat.llm.client import ProviderClient
from chat.llm.errors import (
    BetweenTokensTimeoutError,
    FirstTokenTimeoutError,
    ProviderTimeoutError,
    TotalTimeoutError,
)
from chat.llm.transport.deadlines import Deadlines
from chat.llm.types import TimeLimits
from tests.chat.llm.calls import RawProvider, chat, collect, raw_provider, upstream
from tests.clocks import LoopClock
from tests.waiting import until


@pytest_asyncio.fixture
async def silent() -> AsyncIterator[RawProvider]:
    """Takes requests, and never answers."""
    async with raw_provider(end="hold") as provider:
        yield provider


async def _passes(deadlines: Deadlines) -> ProviderTimeoutError:
    """The first that passes from now on."""
    passed: asyncio.Future[ProviderTimeoutError] = asyncio.get_running_loop().create_future()
    deadlines.watch(passed.set_result)
    async with asyncio.timeout(20):
        return await passed


async def test_a_deadline_that_comes_nearer_holds() -> None:
    deadlines = Deadlines(TimeLimits(first_token_seconds=60, between_tokens_seconds=0.1))
    passing = asyncio.create_task(_passes(deadlines))
    await asyncio.sleep(0)
    deadlines.payload_came(last=False)
    assert isinstance(await passing, BetweenTokensTimeoutError)


async def test_a_deadline_that_moves_away_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = LoopClock(monkeypatch)
    deadlines = Deadlines(
        TimeLimits(first_token_seconds=300, between_tokens_seconds=300, total_seconds=6000)
    )
    timeouts: list[ProviderTimeoutError] = []
    deadlines.watch(timeouts.append)
    for _ in range(6):  # one of them lasts when the first deadline would have passed
        clock.advance(60)
        await asyncio.sleep(0.01)
        deadlines.payload_came(last=False)
    assert not timeouts
    clock.advance(301)
    await until(lambda: timeouts)
    assert isinstance(timeouts[0], BetweenTokensTimeoutError)


async def test_the_total_does_not_move() -> None:
    deadlines = Deadlines(TimeLimits(total_seconds=0.1))
    passing = asyncio.create_task(_passes(deadlines))

    def has_passed() -> bool:
        deadlines.payload_came(last=False)
        return passing.done()

    await until(has_passed)
    assert isinstance(await passing, TotalTimeoutError)


async def test_what_passed_before_anybody_watched_is_told_at_once() -> None:
    deadlines = Deadlines(TimeLimits(first_token_seconds=0.05))
    await asyncio.sleep(0.1)
    assert deadlines.seconds_left < 0
    assert isinstance(await _passes(deadlines), FirstTokenTimeoutError)


async def test_a_call_that_has_ended_is_told_nothing_and_leaves_no_timer_behind() -> None:
    timeouts: list[ProviderTimeoutError] = []
    deadlines = Deadlines(TimeLimits(first_token_seconds=0.05))
    deadlines.watch(timeouts.append)
    deadlines.stop()
    await asyncio.sleep(0.1)
    assert not timeouts
    left = weakref.ref(deadlines)
    del deadlines
    gc.collect()
    assert left() is None


@pytest.mark.parametrize("cancel_seconds", [590, 610], ids=["just before", "just after"])
async def test_a_cancellation_at_the_moment_of_the_deadline_is_not_lost(
    client: ProviderClient,
    silent: RawProvider,
    monkeypatch: pytest.MonkeyPatch,
    cancel_seconds: float,
) -> None:
    clock = LoopClock(monkeypatch)
    limits = TimeLimits(first_token_seconds=600, total_seconds=6000)
    task = asyncio.create_task(collect(client, upstream(silent.url), chat("hi"), limits))
    asyncio.get_running_loop().call_later(cancel_seconds, task.cancel)
    await until(lambda: bool(silent.requests))
    # Both are due in one turn of the loop, in their order.
    clock.advance(700)
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_timeout_of_the_callers_own_passes_through(
    client: ProviderClient, silent: RawProvider
) -> None:
    with pytest.raises(TimeoutError) as raised:
        async with asyncio.timeout(0.05):
            await collect(client, upstream(silent.url), chat("hi"))
    assert not isinstance(raised.value, ProviderTimeoutError)
