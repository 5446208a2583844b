"""A Redis behind Sentinels: its URLs, and its clients when the master dies."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import redis
from pytest_django import Settings

from aily.redis.clients import async_redis
from aily.redis.errors import RedisUnavailable
from aily.redis.guarded import guarded_pool
from aily.redis.pubsub import listen, subscriber_client
from aily.redis.sentinel import service_of, sync_address
from tests.sentinels import SentinelServers
from tests.waiting import eventually

#: The Sentinels call a silent master down after a second, and then agree on the replica.
BACK_SECONDS = 30.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelServers]:
    with SentinelServers(tmp_path_factory.mktemp("sentinels")) as servers:
        yield servers


@pytest.fixture
def servers(running: SentinelServers, settings: Settings) -> SentinelServers:
    settings.REDIS_URL = running.url
    return running


def test_the_cache_and_the_channel_layer_find_the_master(servers: SentinelServers) -> None:
    """As the settings make them of REDIS_URL."""
    script = (
        "from asgiref.sync import async_to_sync; from channels.layers import get_channel_layer;"
        "from django.core.cache import cache; cache.set('kept', 'yes'); print(cache.get('kept'));"
        "async_to_sync(get_channel_layer().group_send)('anyone', {'type': 'any'})"
    )
    result = subprocess.run(
        [sys.executable, "manage.py", "shell", "--verbosity", "0", "--command", script],
        env={**os.environ, "REDIS_URL": servers.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout.strip()) == (0, "yes")


async def test_all_clients_find_the_promoted_replica_by_themselves(
    servers: SentinelServers,
) -> None:
    threads = redis.Redis(connection_pool=guarded_pool(servers.url))
    loop = async_redis()
    await asyncio.to_thread(threads.set, "before", 1)
    await loop.set("before", 2)
    # A connection that leads to a replica, as after a switch of roles behind one name.
    demoted = redis.Redis(
        connection_pool=guarded_pool(f"redis://127.0.0.1:{servers.replica_port}/0")
    )
    with pytest.raises(redis.ConnectionError):
        await asyncio.to_thread(demoted.set, "refused", 1)
    with pytest.raises(redis.ConnectionError):
        await asyncio.to_thread(demoted.eval, "redis.call('SET', 'refused', 1)", 0)
    # A master without the replicas that it must have (min-replicas-to-write).
    threads.config_set("min-replicas-to-write", 2)
    with pytest.raises(redis.ConnectionError):
        await loop.set("refused", 1)
    await until_it_works(lambda: threads.config_set("min-replicas-to-write", 0))
    assert threads.get("refused") is None

    servers.kill_master()
    with pytest.raises(redis.ConnectionError):
        await asyncio.to_thread(threads.set, "lost", 1)
    await until_it_works(lambda: threads.set("after", 1))
    await until_it_works(lambda: demoted.set("after", 2))
    assert await eventually(lambda: answer(loop.get("after")), "the loop", BACK_SECONDS) == b"2"
    assert servers.named_port() == servers.replica_port
    async with subscriber_client() as client, client.pubsub() as pubsub:
        await pubsub.subscribe("news")
        async with asyncio.timeout(BACK_SECONDS):
            async for message in listen(pubsub):
                if message.kind == "message":
                    break
                await asyncio.to_thread(threads.publish, "news", "here")
    await loop.aclose()


async def until_it_works(command: Callable[[], object]) -> None:
    await eventually(lambda: answer(asyncio.to_thread(command)), "the thread", BACK_SECONDS)


async def answer(asked: Awaitable[Any]) -> Any:
    """None while Redis is away."""
    try:
        return await asked
    except RedisUnavailable:
        return None


# --- URLs ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://host:26379",
        "redis+sentinel:///master",
        "redis+sentinel://host,/master",
        "redis+sentinel://host:port/master",
        "redis+sentinel://secret@host/master/first",
    ],
)
def test_what_is_no_sentinel_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match="expected redis\\+sentinel://") as refused:
        sync_address(url)
    assert "secret" not in str(refused.value)


def test_the_login_is_the_servers_and_the_database_the_last_word() -> None:
    url, options = sync_address("rediss+sentinel://me:p%40ss@one,[::1]:5000/master/3?db=2")
    parsed: Any = redis.ConnectionPool.from_url(url).connection_kwargs
    assert (parsed["username"], parsed["password"], parsed["db"]) == ("me", "p@ss", 2)
    assert issubclass(options["connection_class"], redis.SSLConnection)


def test_a_server_is_told_by_its_service_and_its_sentinels() -> None:
    assert service_of("redis+sentinel://me:secret@one,two/master/1?db=2") == "master@one,two"
    assert service_of("redis+sentinel://me:secret@one,[::1]/master") == "master@one,[::1]"
