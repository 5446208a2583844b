"""What a subscription hears comes whole and in order, however many messages a read brings."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from aily.redis.clients import Heard, async_redis, heard, subscriber_redis


async def test_all_messages_and_confirmations_of_one_read_are_received(loop_services: None) -> None:
    client: Any = async_redis()
    async with subscriber_redis() as subscriber, subscriber.pubsub() as pubsub:
        await pubsub.subscribe("news")
        pipe = client.pipeline(transaction=False)
        for number in range(300):
            pipe.publish("news", str(number))
        await pipe.execute()
        await pubsub.subscribe("more")
        await pubsub.unsubscribe("more")
        await client.publish("news", "end")
        # All of it waits in the socket now: a server answers in order.
        found: list[Heard] = []
        async with asyncio.timeout(10):
            async for message in heard(pubsub):
                found.append(message)
                if message.data == b"end":
                    break
        # Or a process would keep the names of all channels that it ever heard.
        assert list(pubsub.channels) == [b"news"]
    assert found[0].kind == "subscribe"
    assert [message.data for message in found if message.kind == "message"] == [
        *(str(number).encode() for number in range(300)),
        b"end",
    ]
    confirmed = [
        (message.kind, message.channel) for message in found[1:] if message.kind != "message"
    ]
    assert confirmed == [("subscribe", b"more"), ("unsubscribe", b"more")]


async def test_a_subscription_that_is_cut_off_raises(loop_services: None) -> None:
    client: Any = async_redis()
    async with subscriber_redis() as subscriber, subscriber.pubsub() as pubsub:
        await pubsub.subscribe("news")
        listening = heard(pubsub)
        assert (await anext(listening)).kind == "subscribe"
        await client.client_kill_filter(_type="pubsub")
        with pytest.raises(redis.ConnectionError):
            await anext(listening)
