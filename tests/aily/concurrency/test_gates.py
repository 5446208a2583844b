"""A gate that callers wait at."""

from __future__ import annotations

import asyncio

from aily.concurrency.gates import Gate


async def test_it_lets_all_through_once_it_opens() -> None:
    gate = Gate()
    await gate.wait()
    gate.close()
    gate.close()
    waiting = [asyncio.ensure_future(gate.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(waiter.done() for waiter in waiting)
    gate.open()
    gate.open()
    await asyncio.gather(*waiting)
    assert gate.is_open


async def test_a_cancelled_waiter_leaves_the_others_waiting() -> None:
    gate = Gate()
    gate.close()
    first, second = (asyncio.ensure_future(gate.wait()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert not second.done()
    gate.open()
    await second
    gate.close()
    assert not gate.is_open
