"""Faults of our own that must not end what goes on: they are logged, counted and survived."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType

from aily.observability import metrics

logger = logging.getLogger(__name__)

#: Pause of a loop after a fault, so that one which lasts does not take all of the time.
PAUSE_SECONDS = 1.0


def note_fault(place: str) -> None:
    """Log and count the exception that is being handled."""
    logger.error("%s: an exception was survived", place, exc_info=sys.exception())
    metrics.faults(place).inc()


class surviving:  # noqa: N801 - read as a word, like contextlib's
    """Note any exception of the block, and go on after it."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        note_fault(self._place)
        return True


def is_cancelled() -> bool:
    """Whether somebody asked the running task to end. A CancelledError alone does not say so: it
    may come out of a future that somebody else has cancelled."""
    task = asyncio.current_task()
    return task is not None and bool(task.cancelling())


async def run_for_ever(place: str, turn: Callable[[], Awaitable[object]]) -> None:
    """Await `turn()` again and again, whatever it raises, until this task is cancelled."""
    while True:
        try:
            await turn()
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            note_fault(place)
            await asyncio.sleep(PAUSE_SECONDS)
        except Exception:  # noqa: BLE001 - logged
            note_fault(place)
            await asyncio.sleep(PAUSE_SECONDS)
