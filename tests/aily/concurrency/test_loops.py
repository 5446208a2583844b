"""Objects of which each event loop has its own."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from aily.concurrency.loops import per_loop


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
