"""What is published on a channel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aily.redis.pubsub import listen, subscriber_client
from chat.eventlog import Notice
from chat.eventlog.notices import parse_notice


@asynccontextmanager
async def published(channel: str) -> AsyncIterator[Callable[[], Awaitable[Notice]]]:
    """Subscribes; gives what returns the next notice."""
    async with subscriber_client() as client, client.pubsub() as pubsub:
        await pubsub.subscribe(channel)
        messages = listen(pubsub)
        assert (await anext(messages)).kind == "subscribe"

        async def receive() -> Notice:
            return parse_notice((await anext(messages)).data)

        yield receive
