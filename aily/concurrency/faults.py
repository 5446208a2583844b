"""Unexpected exceptions that must not end a loop or a task: they are logged and counted."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType

from aily.observability import metrics

logger = logging.getLogger(__name__)

#: Pause of a loop after a fault, so that a lasting fault does not take all CPU time.
PAUSE_SECONDS = 1.0


#: Where faults are survived: the values of the metric's label. Their series begin at 0, as
#: Prometheus sees no increase in one that appears with its first fault.
PLACES = (
    *(
        "announcing kept answers",
        "announcing runs",
        "call",
        "cancelling",
        "claiming",
        "claiming deliveries",
    ),
    *("imports", "exports", "transfers"),
    *("counting submits", "ending a call", "event log", "giving the lease up"),
    *("publishing a retry", "hub", "leaving", "life of a worker", "listening", "loading models"),
    *("observing a call", "observing a delivery", "observing starts", "open sockets", "pulse"),
    *("queueing", "renewal", "replica", "reporting a failure", "settling", "starting a call"),
    *("starting tasks", "storing a partial answer", "storing an end"),
    *("storing outcomes of deliveries", "sweep: drop_dead_workers", "sweep: recover"),
    *("sweep: tend_tool_loops", "sweep: expire", "sweep: divert", "sweep: end_disabled"),
    *("sweep: end_stranded", "sweep: requeue_missing"),
    *("refreshing copies", "renewing slots", "runs", "tracing submits", "waiting requests"),
    *("a tool call", "claiming tool calls", "deciding a tool call", "publishing tool events"),
    *("listing tools", "noting an outdated list of tools"),
    *("announcing a table's change", "announcing answers in a table", "policies of AI fields"),
    *("storing answers in a table", "answers of deleted rows", "waiting for questions of a task"),
)


def create_fault_series() -> None:
    for place in PLACES:
        metrics.faults(place)


def note_fault(place: str) -> None:
    """Log and count the exception that is being handled."""
    logger.error("%s: unexpected exception", place, exc_info=sys.exception())
    metrics.faults(place).inc()


class surviving:  # noqa: N801 - read as a word, like contextlib's
    """A context manager that logs and counts any exception of its block, and suppresses it."""

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
    """Whether the running task was cancelled. A CancelledError alone does not say so: it may come
    from a future that was cancelled elsewhere."""
    task = asyncio.current_task()
    return task is not None and bool(task.cancelling())


async def run_for_ever(place: str, turn: Callable[[], Awaitable[object]]) -> None:
    """Await `turn()` again and again, whatever it raises, until this task is cancelled.

    It ends as well where the turn has swallowed the cancelling: `asyncio.wait_for` does so before
    Python 3.12, if what it waits for is done in that moment.
    """
    while True:
        if is_cancelled():
            raise asyncio.CancelledError
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
