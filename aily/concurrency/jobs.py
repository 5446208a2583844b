"""Background coroutines of one owner: kept alive, and logged when they fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

logger = logging.getLogger(__name__)

Job = asyncio.Task[None]


class Jobs:
    """The running jobs of one owner, on one event loop. A failed job does not end the others.

    `what` names a job in the log; `on_done` is called after each end, also by cancelling.
    """

    def __init__(self, what: str, on_done: Callable[[], object] | None = None) -> None:
        self._what = what
        self._on_done = on_done
        # The event loop itself refers only weakly to its tasks.
        self._running: set[Job] = set()

    def __len__(self) -> int:
        return len(self._running)

    def __bool__(self) -> bool:
        """Whether any runs. `len` may still count one that has just ended: its callback comes in
        the loop's next turn."""
        return any(not job.done() for job in self._running)

    def spawn(self, work: Coroutine[object, None, None]) -> Job:
        job = asyncio.create_task(work)
        self._running.add(job)
        job.add_done_callback(self._done)
        return job

    async def wait(self, timeout_seconds: float | None = None) -> None:
        """Return once all that run now have ended, or after the timeout."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=timeout_seconds)

    def cancel(self) -> None:
        """Cancel all but the caller, if it is one of them."""
        for job in self._running - {asyncio.current_task()}:
            job.cancel()

    def _done(self, job: Job) -> None:
        self._running.discard(job)
        if not job.cancelled() and (error := job.exception()) is not None:
            logger.error("%s failed", self._what, exc_info=error)
        if self._on_done is not None:
            self._on_done()
