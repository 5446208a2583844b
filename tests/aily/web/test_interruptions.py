"""What ends a stream or a waiting request early."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aily.concurrency.signals import Signal
from aily.web.interruptions import Interruption, interruption_of
from aily.web.shutdown import shutdown_event

pytestmark = pytest.mark.asyncio


async def connected() -> Any:
    return await asyncio.get_running_loop().create_future()


async def test_nothing_has_interrupted_it() -> None:
    lost = Signal()
    async with interruption_of(connected, lost) as interruption:
        await asyncio.sleep(0)
        assert not interruption.done()
    lost.set()
    assert interruption.cancelled()


async def test_the_client_is_gone() -> None:
    messages = iter([{"type": "http.request"}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    async with interruption_of(receive, Signal()) as interruption:
        assert await interruption is Interruption.DISCONNECTED


async def test_reading_from_the_client_fails() -> None:
    async def receive() -> Any:
        raise OSError

    async with interruption_of(receive, Signal()) as interruption:
        assert await interruption is Interruption.DISCONNECTED


async def test_access_is_lost() -> None:
    lost = Signal()
    async with interruption_of(connected, lost) as interruption:
        lost.set()
        assert await interruption is Interruption.ACCESS_LOST


async def test_the_process_shuts_down_and_the_first_reason_counts() -> None:
    lost = Signal()
    async with interruption_of(connected, lost) as interruption:
        shutdown_event().set()
        lost.set()
        assert await interruption is Interruption.SHUTDOWN
