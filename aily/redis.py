"""Redis clients, one a process (sync) and one an event loop (async)."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError
from redis.retry import Retry

from aily.loops import per_loop

#: Redis cannot do its work now; anything else that redis-py raises is a mistake of ours.
RedisAway = (redis.ConnectionError, redis.TimeoutError, OutOfMemoryError, ReadOnlyError)
#: Seconds after which a command counts as failed. No command here blocks in Redis that long.
TIMEOUT_SECONDS = 5


@cache
def sync_redis() -> redis.Redis:
    """The process's client for threads. Raises redis.RedisError when Redis is away."""
    pool = redis.BlockingConnectionPool.from_url(
        settings.REDIS_URL,
        max_connections=16,
        timeout=TIMEOUT_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 1),
    )
    return redis.Redis(connection_pool=pool)


@per_loop
def async_redis() -> redis.asyncio.Redis:
    """The running loop's client. Commands beyond 32 at once wait their turn."""
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        settings.REDIS_URL,
        max_connections=32,
        timeout=TIMEOUT_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=AsyncRetry(NoBackoff(), 1),
    )
    return redis.asyncio.Redis(connection_pool=pool)


def subscriber_redis() -> redis.asyncio.Redis:
    """A client for one pub/sub connection: waits for ever, and reports every lost connection.

    No retries: redis-py would connect again without a word, and hide that messages were lost.
    """
    keepalive = {} if settings.REDIS_URL.startswith("unix:") else {"socket_keepalive": True}
    return redis.asyncio.Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_timeout=None,
        retry=AsyncRetry(NoBackoff(), 0),
        **keepalive,
    )


class LuaScript:
    """A Lua script, sent whole only when the server does not know it yet.

    Scripts build key names from their arguments, so Redis Cluster is not supported; Sentinel is.
    """

    def __init__(self, path: Path) -> None:
        self._source = path.read_text()
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    def call(self, *args: bytes | str | float) -> Any:
        try:
            return sync_redis().evalsha(self._sha, 0, *args)
        except NoScriptError:
            return sync_redis().eval(self._source, 0, *args)

    async def acall(self, *args: bytes | str | float) -> Any:
        # redis-py types the sync and the async client's replies as one union.
        client: Any = async_redis()
        try:
            return await client.evalsha(self._sha, 0, *args)
        except NoScriptError:
            return await client.eval(self._source, 0, *args)
