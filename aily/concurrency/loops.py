"""Objects that exist once an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")
#: What waits for the end of a loop.
_waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, list[AsyncGenerator[None, None]]] = (
    WeakKeyDictionary()
)


def per_loop(make: Callable[[], T]) -> Callable[[], T]:
    """Call `make` once an event loop, and give its result to all later callers on that loop."""
    made: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    @wraps(make)
    def get() -> T:
        loop = asyncio.get_running_loop()
        try:
            return made[loop]
        except KeyError:
            return made.setdefault(loop, make())

    return get


def close_with_loop(close: Callable[[], Awaitable[None]]) -> None:
    """Await `close` when the running loop shuts down, as `asyncio.run` and asgiref end theirs.

    A loop closes its asynchronous generators at its end, so a waiting one calls `close`.
    """

    async def wait_for_end() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await close()

    generator = wait_for_end()
    # The loop tracks a generator from its first step on, by a weak reference only.
    with suppress(StopIteration):
        generator.__anext__().__await__().__next__()
    _waiting.setdefault(asyncio.get_running_loop(), []).append(generator)
