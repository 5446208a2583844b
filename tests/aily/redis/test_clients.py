"""Each role has the server of its URL; roles with the same URL share a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection

from accounts.sessions import keys as login_keys
from accounts.sessions import throttle
from aily.database.outages import as_problem
from aily.embedded import with_redis_database
from aily.redis import keys, rates
from aily.redis.clients import (
    async_rates_redis,
    async_redis,
    close_async_clients,
    queue_unavailable,
    sync_rates_redis,
    sync_redis,
)
from aily.redis.errors import RedisDiskError, RedisUnavailable
from tests.waiting import until


@pytest.fixture(autouse=True)
async def _closed_clients() -> AsyncIterator[None]:
    yield
    await close_async_clients()


async def test_roles_of_one_url_share_a_client() -> None:
    assert sync_rates_redis() is sync_redis()
    assert async_rates_redis() is async_redis()


async def test_counts_are_kept_at_a_url_of_their_own(settings: Settings) -> None:
    settings.RATES_REDIS_URL = with_redis_database(django_settings.REDIS_URL, 7)
    sync_rates_redis().flushdb()
    await rates.count(rates.Counter("user:of-clients", 5))
    gates = throttle.password_gates("of-clients", "192.0.2.1", None)
    await throttle.admit(gates)
    made = [keys.rate("user:of-clients"), *(login_keys.login(gate.name) for gate in gates)]
    assert sync_rates_redis().exists(*made) == len(made) == sync_rates_redis().dbsize()
    assert sync_redis().exists(*made) == 0


async def test_closed_clients_are_made_anew() -> None:
    client = async_redis()
    assert await client.ping()  # type: ignore[misc]
    await close_async_clients()
    assert async_redis() is not client
    assert await async_redis().ping()  # type: ignore[misc]


async def test_a_command_under_way_does_not_connect_again_once_clients_are_closed(
    settings: Settings,
) -> None:
    settings.REDIS_TIMEOUT_SECONDS = 2
    client = async_redis()
    waiting = asyncio.create_task(ask(client, "BLPOP", "nothing", 60))
    clients = cast("Any", sync_redis())
    await until(lambda: "blpop" in [entry["cmd"] for entry in clients.client_list()])
    await close_async_clients()
    with pytest.raises(RedisUnavailable):
        await waiting
    with pytest.raises(RedisUnavailable):
        await ask(client, "PING")
    assert open_connections(client) == 0


async def test_a_connection_that_is_being_made_while_clients_are_closed_is_closed_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = async_redis()
    connection_class: Any = client.connection_pool.connection_class
    connecting, may_connect = asyncio.Event(), asyncio.Event()
    connect = connection_class._connect

    async def connect_later(connection: AbstractConnection) -> None:
        connecting.set()
        await may_connect.wait()
        await connect(connection)

    monkeypatch.setattr(connection_class, "_connect", connect_later)
    waiting = asyncio.create_task(ask(client, "PING"))
    await connecting.wait()
    await close_async_clients()
    may_connect.set()
    with pytest.raises(RedisUnavailable):
        await waiting
    assert open_connections(client) == 0


@pytest.mark.parametrize("turns", range(30))
async def test_a_command_is_cancelled_at_whichever_turn_of_the_loop(turns: int) -> None:
    async def ping_for_ever() -> None:
        while True:
            await ask(async_redis(), "PING")

    task = asyncio.create_task(ping_for_ever())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=20)
    assert task.cancelled()


async def ask(client: Redis, *command: object) -> object:
    found: object = await cast("Any", client).execute_command(*command)
    return found


def open_connections(client: Redis) -> int:
    pool = client.connection_pool
    connections = [*pool._available_connections, *pool._in_use_connections]
    return sum(connection.is_connected for connection in connections)


def test_what_an_outage_refuses_may_come_back_after_one_and_the_same_time() -> None:
    # A full disk lasts longer: tests/aily/redis/test_errors.py.
    for error in set(RedisUnavailable) - {RedisDiskError}:
        refused = as_problem(cast("type[Exception]", error)("away"))
        assert refused.retry_after_seconds == queue_unavailable().retry_after_seconds == 2
