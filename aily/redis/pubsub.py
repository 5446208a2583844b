"""Subscriptions: one connection each, which reports its loss instead of hiding it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import NamedTuple

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.client import PubSub
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff

from aily.redis.guarded import connection_options
from aily.redis.sentinel import async_address

#: A subscription without a message for this long asks whether Redis is still there.
QUIET_SECONDS = 5.0


class PubSubMessage(NamedTuple):
    """One message. `kind`: message, subscribe or unsubscribe (the confirmations), pong.

    Only a message has data.
    """

    kind: str
    channel: bytes
    data: bytes


def subscriber_client() -> redis.asyncio.Redis:
    """A client for one pub/sub connection, which raises at each loss of it.

    No retries: redis-py would connect again without a word, and hide that messages were lost.
    """
    url = settings.REDIS_URL
    address, found = async_address(url)
    return redis.asyncio.Redis.from_url(
        address, retry=AsyncRetry(NoBackoff(), 0), **connection_options(url), **found
    )


async def listen(pubsub: PubSub) -> AsyncGenerator[PubSubMessage, None]:
    """All messages of a subscription, confirmations included, for ever.

    Raises RedisUnavailable when the connection is lost, at the latest after twice QUIET_SECONDS
    without a word from Redis: a network that swallows packets breaks no connection.
    """
    task = asyncio.current_task()
    # While it connects, redis-py may take a cancelling of the caller's task for its own timeout.
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    connection: AbstractConnection | None = pubsub.connection
    if connection is None:
        raise redis.ConnectionError("not subscribed")
    # A timeout around each read would cost more than the read: the watchdog bounds all of them.
    connection.socket_timeout = None
    watchdog = _Watchdog(pubsub, connection)
    watching = asyncio.create_task(watchdog.run())
    try:
        while True:
            response = await connection.read_response(disconnect_on_error=False, push_request=True)
            watchdog.has_news = True
            if response[0] == b"message":
                yield PubSubMessage("message", response[1], response[2])
            elif message := await pubsub.handle_message(response):  # type: ignore[no-untyped-call]
                yield PubSubMessage(message["type"], message["channel"] or b"", b"")
    finally:
        watching.cancel()


class _Watchdog:
    """Asks a quiet connection whether Redis is still there, and closes one that does not answer."""

    def __init__(self, pubsub: PubSub, connection: AbstractConnection) -> None:
        self.has_news = True
        self._pubsub, self._connection = pubsub, connection

    async def run(self) -> None:
        while await self._is_alive():
            pass
        # The pending read then raises ConnectionError.
        await self._connection.disconnect(nowait=True)

    async def _is_alive(self) -> bool:
        """Whether Redis sent something within QUIET_SECONDS, or then within as long of a ping."""
        if await self._had_news():
            return True
        with suppress(redis.RedisError):
            await self._pubsub.ping()
        return await self._had_news()

    async def _had_news(self) -> bool:
        self.has_news = False
        await asyncio.sleep(QUIET_SECONDS)
        return self.has_news
