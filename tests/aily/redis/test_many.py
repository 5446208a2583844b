"""Many commands in one round trip: what comes back, and what becomes of one that is interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest
import redis
from pytest_django import Settings

from aily.concurrency.circuit_breaker import CircuitBreaker
from aily.redis.clients import async_client, async_redis, close_async_clients
from aily.redis.guarded import AsyncGuardedPool
from aily.redis.many import execute_many
from tests.ports import free_ports

PINGS = [("PING",)] * 2


@pytest.fixture(autouse=True)
async def _closed_clients() -> AsyncIterator[None]:
    yield
    await close_async_clients()


@asynccontextmanager
async def server(answers: Sequence[bytes | None]) -> AsyncIterator[str]:
    """Gives each connection the next of `answers` to its pings, and closes it after all but None,
    for which it says nothing. Yields its URL."""
    left = iter(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(b"+OK\r\n" * data.count(b"SETINFO"))
            if b"PING" in data and (answer := next(left)) is not None:
                writer.write(answer)
                break
        writer.close()

    [port] = free_ports(1)
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield f"redis://127.0.0.1:{port}/0"
        await close_async_clients()


def circuit_of(url: str) -> CircuitBreaker:
    return cast("AsyncGuardedPool", async_client(url).connection_pool).circuit


async def test_responses_come_in_order_and_errors_are_raised_or_among_them() -> None:
    client = async_redis()
    commands = [("SET", "many", 7), ("INCR", "many"), ("LPUSH", "many", b"x"), ("GET", "many")]
    found = await execute_many(client, commands, raise_on_error=False)
    assert found[:2] == [b"OK", 8]
    assert isinstance(found[2], redis.ResponseError)
    assert found[3] == b"8"
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        await execute_many(client, commands)
    # The connection has nothing left that would be taken for the next command's response.
    assert await execute_many(client, [("DEL", "many"), ("EXISTS", "many")]) == [1, 0]
    assert await execute_many(client, []) == []


async def test_more_commands_than_a_read_takes_have_each_its_own_response() -> None:
    numbers = [str(number) for number in range(20_000)]
    found = await execute_many(async_redis(), [("ECHO", number) for number in numbers])
    assert found == [number.encode() for number in numbers]


async def test_a_server_that_says_nothing_is_left_after_the_timeout(settings: Settings) -> None:
    settings.REDIS_TIMEOUT_SECONDS = 0.2
    async with server([None]) as url:
        async with asyncio.timeout(20):
            with pytest.raises(redis.TimeoutError):
                await execute_many(async_client(url), PINGS)
        assert circuit_of(url).is_open


async def test_what_was_answered_by_halves_is_sent_again_once() -> None:
    async with server([b"+PONG\r\n", b"+PONG\r\n+PONG\r\n"]) as url:
        assert await execute_many(async_client(url), PINGS) == [b"PONG"] * 2
        assert not circuit_of(url).is_open
    async with server([b"+PONG\r\n"] * 2) as url:
        with pytest.raises(redis.ConnectionError):
            await execute_many(async_client(url), PINGS)
        assert circuit_of(url).is_open


async def test_a_server_that_refuses_writes_is_left_for_the_new_master() -> None:
    refused = b"+PONG\r\n-READONLY You can't write against a read only replica.\r\n"
    async with server([refused, b"+PONG\r\n+PONG\r\n"]) as url:
        assert await execute_many(async_client(url), PINGS) == [b"PONG"] * 2


@pytest.mark.parametrize("turns", range(0, 12, 2))
async def test_a_cancelled_exchange_leaves_no_response_to_the_next(turns: int) -> None:
    client = async_redis()
    task = asyncio.create_task(execute_many(client, [("ECHO", "first")] * 500))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=20)
    assert await execute_many(client, [("ECHO", "second")] * 3) == [b"second"] * 3
