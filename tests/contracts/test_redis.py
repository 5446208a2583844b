"""What aily.redis.clients relies on of redis-py's parser. See docs/private-parts.md."""

from __future__ import annotations

from typing import Any

from redis._parsers.hiredis import NOT_ENOUGH_DATA

from aily.redis.clients import async_redis


async def test_a_listener_can_take_what_is_read_already() -> None:
    client: Any = async_redis()
    async with client.pubsub() as pubsub:
        await pubsub.subscribe("contract")
        await pubsub.get_message(timeout=5)
        reader = pubsub.connection._parser._reader
        assert reader.gets() is NOT_ENOUGH_DATA
        reader.feed(b"*3\r\n$7\r\nmessage\r\n$8\r\ncontract\r\n$1\r\n1\r\n")
        assert reader.gets() == [b"message", b"contract", b"1"]
        assert reader.gets() is NOT_ENOUGH_DATA
    await client.aclose()
