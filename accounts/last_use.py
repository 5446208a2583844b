"""Noting when a key or session was last used, without a write for each request."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

from aily.concurrency.batching import Batcher, Pace
from aily.concurrency.loops import per_loop
from aily.database.threads import in_database

#: `last_used_at` is at most this much behind.
LAST_USED_PRECISION = timedelta(minutes=1)
_PRECISION_SECONDS = LAST_USED_PRECISION.total_seconds()

Key = TypeVar("Key", bound=Hashable)
Use = TypeVar("Use")


class LastUse(Generic[Key, Use]):
    """Writes uses, at most once a minute for each key. `write` runs on a database thread.

    Uses of the same moment share a call. With more than `max_remembered` keys a process forgets
    them all, and then writes each once more.
    """

    def __init__(self, write: Callable[[list[Use]], None], max_remembered: int) -> None:
        self._write = write
        self._max_remembered = max_remembered
        #: When this process last wrote the use of a key (monotonic).
        self._written_at: dict[Key, float] = {}
        self._batcher = per_loop(lambda: Batcher(self._write_batch, pace=Pace()))

    def is_due(self, key: Key) -> bool:
        """Return whether to write a use now. If so, it counts as written."""
        now = time.monotonic()
        written_at = self._written_at.get(key)
        if written_at is not None and written_at > now - _PRECISION_SECONDS:
            return False
        if len(self._written_at) >= self._max_remembered:
            self._written_at.clear()
        self._written_at[key] = now
        return True

    async def write(self, use: Use) -> None:
        """Write a use that is due."""
        await self._batcher().submit(use)

    async def _write_batch(self, uses: list[Use]) -> Sequence[None]:
        await in_database(self._write, uses)
        return [None] * len(uses)
