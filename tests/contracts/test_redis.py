"""What aily.redis relies on of redis-py. See docs/private-parts.md."""

from __future__ import annotations

from typing import Any

from aily.redis.clients import async_redis, close_async_clients
from aily.redis.errors import RedisDiskError


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


def test_an_error_code_may_be_given_a_class_for_all_parsers() -> None:
    from redis._parsers.base import BaseParser

    error = BaseParser.parse_error("MISCONF Errors writing")  # type: ignore[no-untyped-call]
    assert isinstance(error, RedisDiskError)


async def test_a_command_is_written_by_the_part_that_does_not_wait_for_a_timeout() -> None:
    client: Any = async_redis()
    connection = await client.connection_pool.get_connection()
    await connection._send_packed_command([b"*1\r\n$4\r\n", b"PING\r\n"])
    assert await connection.read_response() == b"PONG"
    await client.connection_pool.release(connection)
    await close_async_clients()
