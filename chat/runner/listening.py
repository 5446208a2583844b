"""A worker's subscriptions: new work, cancelled tasks, and followers of a task's text."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from aily.redis.errors import RedisUnavailable
from aily.redis.pubsub import listen as pubsub_messages
from aily.redis.pubsub import subscriber_client

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


async def listen(handlers: Mapping[str, Callable[[str], object]]) -> None:
    """Call a channel's handler with each message's text, until the connection is lost.

    What is missed then is found by the poll and the renewal, and text comes a little later.
    """
    try:
        client = subscriber_client()
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(*handlers)
            async for message in pubsub_messages(pubsub):
                if message.kind == "message":
                    handlers[message.channel.decode()](message.data.decode())
    except RedisUnavailable as error:
        logger.warning("listening: Redis is away (%s)", error)
        await asyncio.sleep(RETRY_SECONDS)
