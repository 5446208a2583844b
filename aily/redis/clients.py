"""Redis clients, one a process (sync) and one an event loop (async).

No command waits longer than REDIS_TIMEOUT_SECONDS, and while Redis is known to be away none waits
at all: a circuit (aily/concurrency/circuit.py) refuses it, but for one a second that finds out.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import redis
import redis.asyncio
from django.conf import settings
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError
from redis.retry import Retry

from aily.concurrency.circuit import Circuit, circuit_of
from aily.concurrency.loops import per_loop
from aily.problems import Unavailable
from aily.redis.sentinel import async_address, sync_address

#: Redis cannot do its work now; anything else that redis-py raises is a mistake of ours.
RedisAway = (redis.ConnectionError, redis.TimeoutError, OutOfMemoryError, ReadOnlyError)


class RedisBusyError(redis.ConnectionError):
    """No connection of this process was free in time. Redis is not away, but cannot be asked."""


_NoAnswer = (redis.ConnectionError, redis.TimeoutError)
_PACKER = HiredisRespSerializer()
#: redis-py's words for a pool all of whose connections are in use.
NO_CONNECTION = "No connection available."
#: A subscription that hears nothing for this long asks whether Redis is still there.
QUIET_SECONDS = 5.0
#: Retry-After while Redis is away: it is noticed within a second or two that it is back.
AWAY_RETRY_SECONDS = 2


# --- Guarded connections ------------------------------------------------------------------------
def _circuit(connection_kwargs: dict[str, Any]) -> Circuit:
    """One for all clients of a server, whatever their database."""
    if sentinels := connection_kwargs.get("connection_pool"):
        return circuit_of(f"Redis {sentinels.label}")
    where = (connection_kwargs.get(name, "") for name in ("host", "port", "path"))
    return circuit_of("Redis " + ":".join(str(part) for part in where if part))


def _refuses_writes(error: redis.ResponseError) -> bool:
    """A master that has become a replica, or that has too few replicas (min-replicas-to-write)."""
    return isinstance(error, ReadOnlyError) or str(error).startswith("NOREPLICAS")


class _Watched:
    """Mixed into a pool's kind of connection: tells the circuit how commands went.

    A connection to a server that refuses writes is given up: the next may lead to the new master.
    """

    circuit: Circuit

    def connect(self) -> None:
        try:
            super().connect()  # type: ignore[misc]
        except _NoAnswer:
            self.circuit.failed()
            raise

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            response = super().read_response(*args, **options)  # type: ignore[misc]
        except _NoAnswer:
            self.circuit.failed()
            raise
        except redis.ResponseError as error:
            if not _refuses_writes(error):
                raise
            self.disconnect()  # type: ignore[attr-defined]
            self.circuit.failed()
            raise redis.ConnectionError(str(error)) from error
        self.circuit.succeeded()
        return response


class _AsyncWatched:
    """`_Watched` for an event loop."""

    circuit: Circuit

    def pack_command(self, *args: Any) -> list[bytes]:
        """In C, as redis-py does for threads alone: a sixtieth of its time for 500 events."""
        packed: list[bytes] = _PACKER.pack(*args)
        return packed

    async def connect(self) -> None:
        try:
            await super().connect()  # type: ignore[misc]
        except _NoAnswer:
            self.circuit.failed()
            raise

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            response = await super().read_response(*args, **options)  # type: ignore[misc]
        except _NoAnswer:
            self.circuit.failed()
            raise
        except redis.ResponseError as error:
            if not _refuses_writes(error):
                raise
            await self.disconnect()  # type: ignore[attr-defined]
            self.circuit.failed()
            raise redis.ConnectionError(str(error)) from error
        self.circuit.succeeded()
        return response


class _Guarded:
    """Mixed into a pool: behind the circuit of its server."""

    #: Mixed into the pool's kind of connection.
    watched: type

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        pool: Any = self
        self.circuit = _circuit(pool.connection_kwargs)
        self._outages = self.circuit.outages
        bases = (self.watched, pool.connection_class)
        pool.connection_class = type("Watched", bases, {"circuit": self.circuit})

    def _had_outage(self) -> bool:
        """Whether there was one since the last answer. Raises ConnectionError while Redis is away.

        Connections to a host that is gone break one by one only, each after its timeout: after an
        outage all that are idle are to be dropped.
        """
        if not self.circuit.lets_through():
            raise redis.ConnectionError("Redis is away.")
        known, self._outages = self._outages, self.circuit.outages
        return known != self._outages


def _busy(error: redis.ConnectionError) -> redis.ConnectionError:
    """What a pool could not give, as RedisBusyError where it was only full (redis-py has no type of
    its own for that)."""
    return RedisBusyError(str(error)) if str(error) == NO_CONNECTION else error


class GuardedPool(_Guarded, redis.BlockingConnectionPool):
    """A pool for threads behind the circuit of its server."""

    watched = _Watched

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Any:
        """Takes Sentinel's URLs as well (aily/redis/sentinel.py)."""
        address, found = sync_address(url)
        return super().from_url(address, **options, **found)

    def get_connection(self, *args: Any, **options: Any) -> Any:
        if self._had_outage():
            self.disconnect(inuse_connections=False)
        try:
            return super().get_connection()  # type: ignore[no-untyped-call]
        except redis.ConnectionError as error:
            raise _busy(error) from None


class AsyncGuardedPool(_Guarded, redis.asyncio.BlockingConnectionPool):
    """`GuardedPool` for an event loop."""

    watched = _AsyncWatched

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Any:
        """Takes Sentinel's URLs as well."""
        address, found = async_address(url)
        return super().from_url(address, **options, **found)

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        if self._had_outage():
            await self.disconnect(inuse_connections=False)
        try:
            return await super().get_connection()  # type: ignore[no-untyped-call]
        except redis.ConnectionError as error:
            raise _busy(error) from None


def connection_options(url: str) -> dict[str, Any]:
    """Timeouts of every connection, and what lets the kernel find out that the network is gone."""
    timeout_seconds = settings.REDIS_TIMEOUT_SECONDS
    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
    }
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
        options["socket_keepalive_options"] = KEEPALIVE
    return options


#: Idle for 5 s, then three questions 2 s apart; unacknowledged data counts for 10 s (ms).
KEEPALIVE = {
    getattr(socket, name): value
    for name, value in {
        "TCP_KEEPIDLE": 5,
        "TCP_KEEPINTVL": 2,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": 10_000,
    }.items()
    if hasattr(socket, name)
}


# --- Clients ------------------------------------------------------------------------------------
@cache
def sync_redis() -> redis.Redis:
    """The process's client for threads. Raises RedisAway."""
    return redis.Redis(connection_pool=guarded_pool(settings.REDIS_URL))


def guarded_pool(url: str) -> GuardedPool:
    """A pool of up to 16 connections for threads. A connection that the server dropped meanwhile is
    replaced once; what timed out is not tried again."""
    pool: GuardedPool = GuardedPool.from_url(
        url,
        max_connections=16,
        timeout=settings.REDIS_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 1, (redis.ConnectionError,)),
        **connection_options(url),
    )
    return pool


@per_loop
def async_redis() -> redis.asyncio.Redis:
    """The running loop's client. Commands beyond 32 at once wait their turn. Raises RedisAway."""
    url = settings.REDIS_URL
    pool = AsyncGuardedPool.from_url(
        url,
        max_connections=32,
        timeout=settings.REDIS_TIMEOUT_SECONDS,
        retry=AsyncRetry(NoBackoff(), 1, (redis.ConnectionError,)),
        **connection_options(url),
    )
    return redis.asyncio.Redis(connection_pool=pool)


def asking_redis(url: str, timeout_seconds: float) -> redis.Redis:
    """A client of its own, for questions about a server. Raises redis.RedisError."""
    address, found = sync_address(url)
    return redis.Redis.from_url(
        address, socket_timeout=timeout_seconds, socket_connect_timeout=timeout_seconds, **found
    )


async def require_redis() -> None:
    """Raise Unavailable while Redis is known to be away. Costs nothing while it is not."""
    client: Any = async_redis()
    if not client.connection_pool.circuit.is_open:
        return
    try:
        await client.ping()
    except RedisAway:
        raise redis_unavailable() from None


def is_redis_away() -> bool:
    """True while Redis is known to be away; for threads."""
    client: Any = sync_redis()
    is_open: bool = client.connection_pool.circuit.is_open
    return is_open


def redis_unavailable() -> Unavailable:
    return Unavailable(
        "The queue is away. Nothing was stored.", retry_after_seconds=AWAY_RETRY_SECONDS
    )


def subscriber_redis() -> redis.asyncio.Redis:
    """A client for one pub/sub connection, which reports every loss of it.

    No retries: redis-py would connect again without a word, and hide that messages were lost.
    """
    url = settings.REDIS_URL
    address, found = async_address(url)
    return redis.asyncio.Redis.from_url(
        address, retry=AsyncRetry(NoBackoff(), 0), **connection_options(url), **found
    )


class Heard(NamedTuple):
    """What a subscription hears. `kind`: message, subscribe or unsubscribe (the confirmations),
    pong. `data` of a message is bytes."""

    kind: str
    channel: bytes
    data: Any


async def heard(pubsub: redis.asyncio.client.PubSub) -> AsyncIterator[Heard]:
    """All that a subscription hears, confirmations included, for ever.

    Raises RedisAway at the latest after twice QUIET_SECONDS without a word from Redis: a network
    that swallows packets breaks no connection.
    """
    is_asked = False
    task = asyncio.current_task()
    while True:
        # redis-py may take a cancelling that comes while it connects for one of its timeouts.
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        message = await pubsub.get_message(timeout=QUIET_SECONDS)
        if message is not None:
            is_asked = False
            yield Heard(message["type"], message["channel"] or b"", message["data"])
            for response in _read_already(pubsub):
                if response[0] == b"message":
                    yield Heard("message", *response[1:])
                elif message := await pubsub.handle_message(response):  # type: ignore[no-untyped-call]
                    yield Heard(message["type"], message["channel"] or b"", message["data"])
        elif is_asked:
            raise redis.TimeoutError("no answer to a ping")
        else:
            await pubsub.ping()
            is_asked = True


def _read_already(pubsub: redis.asyncio.client.PubSub) -> Iterator[Any]:
    """What came in the same read as the message before. redis-py would set up a timeout, a retry
    and a measurement for each of them: ten times the work."""
    reader = pubsub.connection._parser._reader  # type: ignore[attr-defined]  # noqa: SLF001
    while (response := reader.gets()) is not NOT_ENOUGH_DATA:
        if isinstance(response, redis.RedisError):
            raise response
        yield response


# --- Scripts ------------------------------------------------------------------------------------
class LuaScript:
    """A Lua script, sent whole only when the server does not know it yet.

    Scripts build key names from their arguments, so Redis Cluster is not supported.
    """

    def __init__(self, path: Path) -> None:
        self._source = path.read_text()
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    def call(self, *args: bytes | str | float) -> Any:
        try:
            return sync_redis().evalsha(self._sha, 0, *args)
        except NoScriptError:
            return sync_redis().eval(self._source, 0, *args)

    async def acall(self, *args: bytes | str | float) -> Any:
        # redis-py types the sync and the async client's replies as one union.
        client: Any = async_redis()
        try:
            return await client.evalsha(self._sha, 0, *args)
        except NoScriptError:
            return await client.eval(self._source, 0, *args)
