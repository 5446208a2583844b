"""Polling with a deadline, for state that no event announces: a row, a process, a server's answer.

Where an event, a future or a queue can announce it, a test waits for that instead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

#: Long enough for a machine with other work to do; a test that waits so long fails.
PATIENCE_SECONDS = 20.0
_PAUSE_SECONDS = 0.01


def wait_until(condition: Callable[[], T], what: str = "", seconds: float = PATIENCE_SECONDS) -> T:
    """Call `condition` until its result is true, and return that. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        _check(deadline, what or condition, answer)
        time.sleep(_PAUSE_SECONDS)
    return answer


async def until(condition: Callable[[], T], what: str = "", seconds: float = PATIENCE_SECONDS) -> T:
    """`wait_until` on an event loop, for state of this process."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        _check(deadline, what or condition, answer)
        await asyncio.sleep(_PAUSE_SECONDS / 2)
    return answer


async def eventually(
    condition: Callable[[], Awaitable[T]], what: str = "", seconds: float = PATIENCE_SECONDS
) -> T:
    """`until` with a coroutine function, for state of a server."""
    deadline = time.monotonic() + seconds
    while not (answer := await condition()):
        _check(deadline, what or condition, answer)
        await asyncio.sleep(_PAUSE_SECONDS)
    return answer


def _check(deadline: float, what: object, answer: object) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError(f"waited in vain for {what}; the last answer was {answer!r}")
