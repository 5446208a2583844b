"""What aily.redis relies on of redis-py. See docs/private-parts.md."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ResponseError

from aily.redis.clients import async_redis, close_async_clients
from aily.redis.errors import RedisDiskError
from tests.waiting import until


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


async def test_a_connection_without_a_timeout_reads_one_response_after_the_other() -> None:
    client: Any = async_redis()
    connection = await client.connection_pool.get_connection()
    connection.socket_timeout = None
    await connection.send_packed_command(b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nNONE\r\n")
    assert await connection.read_response() == b"PONG"
    with pytest.raises(ResponseError):
        await connection.read_response()
    assert connection.is_connected
    await connection.retry.call_with_retry(connection.check_health, lambda _: None)
    await client.connection_pool.release(connection)
    await close_async_clients()


async def test_a_connection_with_an_answer_that_nobody_reads_is_not_used_again() -> None:
    client: Any = async_redis()
    connection = await client.connection_pool.get_connection()
    assert not await connection.can_read_destructive()
    await connection.send_command("PING")
    await until(lambda: bytes(connection._reader._buffer) == b"+PONG\r\n")
    assert await connection.can_read_destructive()
    await client.connection_pool.release(connection)
    assert await client.ping()
    await close_async_clients()


async def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    client: Any = async_redis()
    connection = await client.connection_pool.get_connection()
    await connection.send_command("CLIENT", "ID")
    number = await connection.read_response()
    await client.connection_pool.release(connection)
    assert await async_redis().client_kill_filter(_id=number, skipme=False) in (0, 1)
    assert await client.ping()
    await close_async_clients()
