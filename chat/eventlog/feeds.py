"""Feeds: notices for one follower of the hub, in order and within bounds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from chat.eventlog.notices import Notice
from chat.observability import metrics

#: Bytes of frames kept for one follower of a task; past that it reads the log.
TASK_FEED_BYTES = 65_536
#: The same for one socket's notices of all its user's tasks, for which there is no log to read.
USER_FEED_BYTES = 1_048_576
#: The same for notices that something has changed, which have no bytes: past the first nothing is
#: new.
CHANGE_FEED_BYTES = 0


@dataclass(slots=True)
class FeedPool:
    """Bytes of frames kept for several followers, such as those of one socket, and their bound."""

    max_bytes: int
    kept_bytes: int = 0


class Feed:
    """Notices for one follower, which alone calls `next`, or the mark that some were dropped."""

    def __init__(
        self,
        max_bytes: int,
        skip: Callable[[str], bool] | None = None,
        pool: FeedPool | None = None,
    ) -> None:
        #: Notices were dropped: the follower has to read the log.
        self.is_lagging = False
        self._skip = skip
        self._pool = pool or FeedPool(max_bytes)
        self._notices: deque[Notice] = deque()
        self._bytes = 0
        self._max_bytes = max_bytes
        #: Set while the follower waits; done once there is news or the time is over.
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_empty(self) -> bool:
        """True if the follower has taken all notices, and none was dropped."""
        return not self._notices and not self.is_lagging

    def push(self, notice: Notice) -> None:
        if self._skip is not None and self._skip(notice.task_id):
            return
        size = len(notice.frame)
        is_full = self._bytes + size > self._max_bytes
        # A follower that keeps up gets a frame of any size.
        if self._notices and (is_full or self._pool.kept_bytes + size > self._pool.max_bytes):
            self.mark_lagging()
        else:
            self._notices.append(notice)
            self._add_bytes(size)
            self._wake()

    def clear(self) -> None:
        self._notices.clear()
        self._add_bytes(-self._bytes)

    def mark_lagging(self) -> None:
        metrics.FEEDS_LOST.inc()
        self.clear()
        self.recheck()

    def recheck(self) -> None:
        """Have the follower look again, whether it waits or is about to."""
        self.is_lagging = True
        self._wake()

    def clear_lag(self) -> None:
        """The follower is about to read the log, which has all that was dropped until now."""
        self.is_lagging = False

    async def next(self, timeout_seconds: float | None = None) -> Notice | None:
        """Return the next notice; None after the timeout, or when some were dropped."""
        if not self._notices and not self.is_lagging:
            await self._wait(timeout_seconds)
        if self.is_lagging or not self._notices:
            return None
        notice = self._notices.popleft()
        self._add_bytes(-len(notice.frame))
        return notice

    async def _wait(self, timeout_seconds: float | None) -> None:
        # For each frame: `asyncio.timeout` around an Event takes three times as long.
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = (
            loop.call_later(timeout_seconds, self._wake) if timeout_seconds is not None else None
        )
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _add_bytes(self, size: int) -> None:
        self._bytes += size
        self._pool.kept_bytes += size
