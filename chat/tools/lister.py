"""Keeps the lists of tools up to date in a worker process."""

from __future__ import annotations

from aily.concurrency.jobs import Jobs
from aily.database.rows import fetch_column
from aily.database.threads import in_database

_HAS_SERVERS = "SELECT EXISTS (SELECT FROM chat_toolserver WHERE kind = 'mcp' AND is_enabled)"


class ToolLister:
    """Lists servers that are due, one round at a time. Of one event loop."""

    def __init__(self) -> None:
        self._jobs = Jobs("listing tools")

    def wake(self) -> None:
        if not self._jobs:
            self._jobs.spawn(self._round())

    def stop(self) -> None:
        self._jobs.cancel()

    async def _round(self) -> None:
        if not (await in_database(fetch_column, bool, _HAS_SERVERS))[0]:
            return
        # Only here: a worker without servers does without what lists their tools, 0.16 s of CPU.
        from chat.tools.listing import refresh_due

        await refresh_due()
