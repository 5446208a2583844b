"""Objects of which each event loop has its own."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from asgiref.sync import async_to_sync

from aily.concurrency.loops import close_with_loop, per_loop


class Thing:
    pass


@per_loop
def thing() -> Thing:
    """The running loop's thing."""
    return Thing()


async def ask_twice() -> tuple[Thing, Thing]:
    return thing(), thing()


def test_each_loop_has_its_own_and_only_one() -> None:
    first, again = asyncio.run(ask_twice())
    assert first is again
    other, _ = asyncio.run(ask_twice())
    assert other is not first
    assert thing.__doc__ == "The running loop's thing."


def test_it_goes_with_its_loop() -> None:
    async def ask() -> weakref.ref[Thing]:
        return weakref.ref(thing())

    reference = asyncio.run(ask())
    gc.collect()
    assert reference() is None


def test_without_a_loop_there_is_none() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        thing()


def run_by_asgiref(main: Coroutine[Any, Any, None]) -> None:
    async def run() -> None:
        await main

    async_to_sync(run)()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run, run_by_asgiref])
def test_what_is_to_close_with_a_loop_is_awaited_at_its_end(run: Callable[..., None]) -> None:
    steps: list[str] = []

    async def close() -> None:
        await asyncio.sleep(0)
        steps.append("closed")

    async def main() -> None:
        close_with_loop(close)
        gc.collect()
        await asyncio.sleep(0)
        steps.append("ended")

    run(main())
    assert steps == ["ended", "closed"]
