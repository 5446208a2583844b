"""Keeps the traceparent of tasks in Redis, while traces are on. If one is lost, its trace ends.

The task's row has no column for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from aily.observability import tracing
from aily.redis.clients import async_redis, sync_redis
from aily.redis.errors import RedisUnavailable
from chat.observability import keys

logger = logging.getLogger(__name__)

#: Longer than tasks usually wait, run and have deliveries pending.
KEEP_SECONDS = 86_400


def remember(traceparents: Iterable[tuple[str, str]]) -> None:
    """Keep the traceparent of each (task id, traceparent), before the task can start."""
    if not tracing.is_on():
        return
    pipe = sync_redis().pipeline(transaction=False)
    for task_id, traceparent in traceparents:
        if traceparent:
            # nx: the task of a repeated request keeps the trace of the first.
            pipe.set(keys.trace(task_id), traceparent, ex=KEEP_SECONDS, nx=True)
    try:
        pipe.execute()
    except RedisUnavailable as error:
        logger.warning("traces begin anew: Redis is away (%s)", error)


async def traceparent_of(task_id: str) -> str:
    """The traceparent that a task was accepted under; empty while traces are off, or if lost."""
    if not tracing.is_on():
        return ""
    try:
        kept: bytes | None = await async_redis().get(keys.trace(task_id))
    except RedisUnavailable:
        return ""
    return kept.decode() if kept else ""
