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
PATIENCE_SECONDS = 40.0
#: Between two looks. A look at a server or at all processes takes milliseconds of CPU that what is
#: waited for needs itself: after long waiting a tenth of it, up to _MAX_PAUSE_SECONDS.
_PAUSE_SECONDS = 0.01
_MAX_PAUSE_SECONDS = 0.2


def wait_until(condition: Callable[[], T], what: str = "", seconds: float = PATIENCE_SECONDS) -> T:
    """Call `condition` until its result is true, and return that. Raises TimeoutError."""
    began = time.monotonic()
    while not (answer := condition()):
        _check(began + seconds, what or condition, answer)
        time.sleep(_pause(began))
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
    began = time.monotonic()
    while not (answer := await condition()):
        _check(began + seconds, what or condition, answer)
        await asyncio.sleep(_pause(began))
    return answer


def _pause(began: float) -> float:
    return min(max(_PAUSE_SECONDS, (time.monotonic() - began) / 10), _MAX_PAUSE_SECONDS)


def _check(deadline: float, what: object, answer: object) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError(f"waited in vain for {what}; the last answer was {answer!r}")
