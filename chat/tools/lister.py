"""Keeps the lists of tools up to date in a worker process."""

from __future__ import annotations

from aily.concurrency.jobs import Jobs


class ToolLister:
    """Lists servers that are due, one round at a time. Of one event loop."""

    def __init__(self) -> None:
        self._jobs = Jobs("listing tools")

    def wake(self) -> None:
        if not len(self._jobs):
            self._jobs.spawn(self._round())

    def stop(self) -> None:
        self._jobs.cancel()

    async def _round(self) -> None:
        # Only here: a worker starts without what lists tools.
        from chat.tools.listing import refresh_due

        await refresh_due()
