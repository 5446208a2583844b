"""A worker's subscriptions: new work, cancelled tasks, and followers of a task's text."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from aily.redis.clients import RedisAway, heard, subscriber_redis

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


async def listen(handlers: Mapping[str, Callable[[str], object]]) -> None:
    """Call a channel's handler with each message's text, until the connection is lost.

    What is missed then is found by the poll and the renewal, and text comes a little later.
    """
    try:
        client = subscriber_redis()
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(*handlers)
            async for message in heard(pubsub):
                if message.kind == "message":
                    handlers[message.channel.decode()](message.data.decode())
    except RedisAway as error:
        logger.warning("listening: Redis is away (%s)", error)
        await asyncio.sleep(RETRY_SECONDS)
