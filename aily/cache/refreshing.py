"""Keeps copies from running out while a process goes on using them.

A request whose copy has run out waits for a thread and for Redis, which costs it about 0.15 ms for
each copy. Copies that are in use are read again before then, all of them with one command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from aily.concurrency.faults import surviving
from aily.concurrency.jobs import Jobs

#: Copies that are read again on one event loop; more of them run out as they would without this.
MAX_KEYS = 20_000

K = TypeVar("K", bound="int | str")


class Refresher(Generic[K]):
    """Has the keys that one event loop uses refreshed every `interval_seconds`, together.

    A key is refreshed for one to two intervals after its last use; without uses nothing runs.
    """

    def __init__(
        self, interval_seconds: float, refresh: Callable[[list[K]], Awaitable[None]]
    ) -> None:
        self._interval_seconds = interval_seconds
        self._refresh = refresh
        self._used: set[K] = set()
        #: Those of the interval before.
        self._used_before: set[K] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._jobs = Jobs("refreshing copies")

    def note_use(self, key: K) -> None:
        if len(self._used) < MAX_KEYS:
            self._used.add(key)
        if self._timer is None:
            self._set_timer()

    def _set_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._interval_seconds, self._begin)

    def _begin(self) -> None:
        keys = list(self._used | self._used_before)
        self._used_before, self._used = self._used, set()
        self._timer = None
        if keys:
            self._set_timer()
            # While Redis is slow the one before may go on: it is enough.
            if not self._jobs:
                self._jobs.spawn(self._run(keys))

    async def _run(self, keys: list[K]) -> None:
        with surviving("refreshing copies"):
            await self._refresh(keys)
