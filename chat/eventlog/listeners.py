"""Whether anything follows the text of a running task: without listeners, text may wait.

Each append returns how many are subscribed to the task's text. While there are none, the call's
connection is read seldom (`read_delay_seconds`) and its text stays with the worker until the end or
`is_text_overdue`. A follower that begins to listen announces it, and the worker appends at once
what it has. This saves 0.7 ms of a task's 3.9 ms (web + worker) with an answer of 10 writes, and
3 ms of 13 with one of 200.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from aily.concurrency.batching import Batcher
from aily.concurrency.loops import per_loop
from aily.redis.clients import async_redis
from aily.redis.errors import RedisUnavailable
from chat.eventlog.keys import LISTENERS_CHANNEL

#: How long what a provider sends may stay unread where its text has no listeners.
READ_DELAY_SECONDS = 10.0
#: How long text without listeners may wait. An announcement that was lost delays text by this once.
TEXT_WAIT_SECONDS = 30.0


class TextListeners:
    """Whether one task's text has listeners, as seen by its worker."""

    def __init__(self) -> None:
        #: True before it is known.
        self.are_there = True
        #: One announced itself after the append that is under way was sent.
        self._has_new = False

    def announced(self) -> None:
        """Note that a follower began to listen."""
        self.are_there = self._has_new = True

    def counted(self, has_listeners: bool) -> None:
        """Note what an append has found."""
        self.are_there = has_listeners or self._has_new
        self._has_new = False

    @property
    def read_delay_seconds(self) -> float:
        """How long the provider's next bytes may stay unread."""
        return 0.0 if self.are_there else READ_DELAY_SECONDS

    @staticmethod
    def is_text_overdue(waits_since: float) -> bool:
        """Whether to append text without listeners that waits since then (monotonic)."""
        return time.monotonic() - waits_since > TEXT_WAIT_SECONDS


async def announce_listener(task_id: str) -> None:
    """Announce to the task's worker that its text has a listener.

    While Redis is away the worker need not know.
    """
    with suppress(*RedisUnavailable):
        await _announcements().submit(task_id)


@per_loop
def _announcements() -> Batcher[str, None]:
    async def handle(task_ids: list[str]) -> Sequence[None]:
        pipe = async_redis().pipeline(transaction=False)
        for task_id in task_ids:
            pipe.publish(LISTENERS_CHANNEL, task_id)
        await pipe.execute()
        return [None] * len(task_ids)

    return Batcher(handle)
