"""How much of one client is worked on at once: the next frame is not read before there is room."""

from __future__ import annotations

import asyncio

import pytest

from aily.web.flow_control import Workload


@pytest.mark.parametrize(
    ("sizes", "next_size"), [([1, 1, 1], 1), ([60, 60], 1), ([1_000], 1), ([99], 1_000)]
)
async def test_the_next_waits_for_room(sizes: list[int], next_size: int) -> None:
    """Three items, or a hundred bytes; one item of any size is let in."""
    workload = Workload(3, 100)
    for size in sizes:
        async with asyncio.timeout(20):
            await workload.enter(size)
    waiting = asyncio.ensure_future(workload.enter(next_size))
    has_room = sum(sizes) < 100 and len(sizes) < 3
    await asyncio.sleep(0)
    assert waiting.done() is has_room
    workload.leave(sizes[0])
    async with asyncio.timeout(20):
        await waiting
