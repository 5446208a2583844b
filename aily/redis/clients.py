"""Redis clients by role: one a process for threads, one an event loop.

REDIS_URL holds the queue and the event logs. RATES_REDIS_URL holds the counts of requests and of
tries at passwords: a small role that stays on a single server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import cache
from typing import cast
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings

from aily.concurrency.circuit_breaker import OUTAGE_RETRY_SECONDS
from aily.concurrency.loops import close_with_loop
from aily.problems import Unavailable
from aily.redis.errors import RedisUnavailable
from aily.redis.guarded import AsyncGuardedPool, GuardedPool, async_guarded_pool, guarded_pool
from aily.redis.sentinel import sync_address

_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, redis.asyncio.Redis]] = (
    WeakKeyDictionary()
)


def sync_redis() -> redis.Redis:
    """The process's client for threads. Raises RedisUnavailable."""
    return sync_client(settings.REDIS_URL)


def async_redis() -> redis.asyncio.Redis:
    """The running loop's client. Raises RedisUnavailable."""
    return async_client(settings.REDIS_URL)


def sync_rates_redis() -> redis.Redis:
    """`sync_redis` of the role that counts requests and tries."""
    return sync_client(settings.RATES_REDIS_URL)


def async_rates_redis() -> redis.asyncio.Redis:
    """`async_redis` of the role that counts requests and tries."""
    return async_client(settings.RATES_REDIS_URL)


@cache
def sync_client(url: str) -> redis.Redis:
    """The process's client of a server: roles with the same URL share it."""
    return redis.Redis(connection_pool=guarded_pool(url))


def async_client(url: str) -> redis.asyncio.Redis:
    """The running loop's client of a server."""
    loop = asyncio.get_running_loop()
    clients = _of_loops.get(loop)
    if clients is None:
        clients = _of_loops[loop] = {}
        close_with_loop(close_async_clients)
    client = clients.get(url)
    if client is None:
        client = clients[url] = redis.asyncio.Redis(connection_pool=async_guarded_pool(url))
    return client


async def close_async_clients() -> None:
    """Close the running loop's connections, before the loop ends.

    Commands under way fail, and do not connect again.
    """
    for client in _of_loops.pop(asyncio.get_running_loop(), {}).values():
        await client.connection_pool.aclose()


def probe_client(url: str, timeout_seconds: float) -> redis.Redis:
    """A client without a circuit, for questions about a server. Raises redis.RedisError."""
    address, found = sync_address(url)
    return redis.Redis.from_url(
        address, socket_timeout=timeout_seconds, socket_connect_timeout=timeout_seconds, **found
    )


# --- Whether the queue's Redis answers ----------------------------------------------------------
async def require_redis() -> None:
    """Raise Unavailable while Redis is known to be away. Costs nothing while it is not."""
    client = async_redis()
    if not cast("AsyncGuardedPool", client.connection_pool).circuit.is_open:
        return
    try:
        await cast("Awaitable[bool]", client.ping())
    except RedisUnavailable:
        raise queue_unavailable() from None


def is_redis_unavailable() -> bool:
    """True while Redis is known to be away; for threads."""
    pool = cast("GuardedPool", sync_redis().connection_pool)
    return pool.circuit.is_open


def queue_unavailable() -> Unavailable:
    """The problem that refuses a submit while Redis is away."""
    return Unavailable(
        "The queue is away. Nothing was stored.", retry_after_seconds=OUTAGE_RETRY_SECONDS
    )
