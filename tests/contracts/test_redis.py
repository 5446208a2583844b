"""What aily.redis.pubsub relies on of redis-py. See docs/private-parts.md."""

from __future__ import annotations

from typing import Any

from aily.redis.clients import async_redis


async def test_a_subscriptions_connection_gives_whole_responses() -> None:
    client: Any = async_redis()
    async with client.pubsub() as pubsub:
        await pubsub.subscribe("contract")
        pubsub.connection.socket_timeout = None
        response = await pubsub.connection.read_response(
            disconnect_on_error=False, push_request=True
        )
        assert response == [b"subscribe", b"contract", 1]
        message = await pubsub.handle_message(response)
        assert message["type"] == "subscribe"
    await client.aclose()
