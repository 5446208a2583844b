"""Connection pools behind the circuit of their server (aily/concurrency/circuit_breaker.py).

No command waits longer than REDIS_TIMEOUT_SECONDS. While the circuit is open none waits at all: it
refuses all callers but one a second, which finds out whether the server answers again.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol, Self, cast

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import Connection, HiredisRespSerializer
from redis.retry import Retry

from aily.concurrency.circuit_breaker import CircuitBreaker, breaker_of
from aily.redis.errors import NO_ANSWER, RedisBusyError, refuses_writes
from aily.redis.sentinel import Sentinels, async_address, sync_address

#: redis-py's words for a pool all of whose connections are in use.
NO_CONNECTION = "No connection available."
_PACKER = HiredisRespSerializer()
#: Idle for 5 s, then three probes 2 s apart; unacknowledged data counts for 10 s (ms).
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


def connection_options(url: str) -> dict[str, Any]:
    """Timeouts of every connection, and keepalive: the kernel then notices a dead network."""
    timeout_seconds = settings.REDIS_TIMEOUT_SECONDS
    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
    }
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
        options["socket_keepalive_options"] = KEEPALIVE
    return options


# --- Connections that report to the circuit -----------------------------------------------------
class _ReportingConnection:
    """Mixed into a pool's connection class: reports to the circuit how commands went.

    A connection to a server that refuses writes is closed: the next may lead to the new master.
    """

    circuit: CircuitBreaker

    def connect(self) -> None:
        try:
            super().connect()  # type: ignore[misc]
        except NO_ANSWER:
            self.circuit.record_failure()
            raise

    def read_response(self, *args: object, **options: object) -> object:
        try:
            response: object = super().read_response(*args, **options)  # type: ignore[misc]
        except NO_ANSWER:
            self.circuit.record_failure()
            raise
        except redis.ResponseError as error:
            if not refuses_writes(error):
                raise
            self.disconnect()  # type: ignore[attr-defined]
            self.circuit.record_failure()
            raise redis.ConnectionError(str(error)) from error
        self.circuit.record_success()
        return response


class _AsyncReportingConnection:
    """`_ReportingConnection` for an event loop.

    redis-py closes the connections of a pool also under a command, whose retry would connect again:
    nothing would close that connection.
    """

    circuit: CircuitBreaker
    is_pool_closed: Callable[[], bool]
    # redis-py's own, of the class that this one is mixed into.
    _reader: asyncio.StreamReader | None
    _writer: asyncio.StreamWriter | None
    is_connected: bool
    socket_timeout: float | None
    check_health: Callable[[], Awaitable[None]]
    connect_check_health: Callable[..., Awaitable[None]]
    disconnect: Callable[..., Awaitable[None]]
    _send_packed_command: Callable[[Iterable[bytes]], Awaitable[None]]

    def pack_command(self, *args: Any) -> list[bytes]:
        """Pack in C, as redis-py does for threads only: a sixtieth of its time for 500 events."""
        packed: list[bytes] = _PACKER.pack(*args)
        return packed

    async def send_packed_command(
        self, command: str | bytes | Iterable[bytes], check_health: bool = True
    ) -> None:
        """Write a command, which rarely waits.

        redis-py writes by `asyncio.wait_for`: a task and a turn of the loop for each command. On
        Python 3.11 that forgets a cancellation which comes as the write ends.
        """
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()
        try:
            async with asyncio.timeout(self.socket_timeout):
                await self._send_packed_command(_in_pieces(command))
        except TimeoutError:
            await self.disconnect(nowait=True)
            raise redis.TimeoutError("Timeout writing to socket") from None
        except OSError as error:
            await self.disconnect(nowait=True)
            raise redis.ConnectionError(f"Error while writing to socket. {error}.") from error
        except BaseException:
            # Half a command may have been written.
            await self.disconnect(nowait=True)
            raise

    async def connect(self) -> None:
        self._require_open_pool()
        try:
            await super().connect()  # type: ignore[misc]
        except NO_ANSWER:
            self._record_failure()
            raise
        if self.is_pool_closed():
            # It was closed while this one had nothing to close yet.
            await self.disconnect()
            self._require_open_pool()

    def _record_failure(self) -> None:
        """Count a failure of the server, unless only this pool's connections were closed."""
        if not self.is_pool_closed():
            self.circuit.record_failure()

    def _require_open_pool(self) -> None:
        if self.is_pool_closed():
            raise redis.ConnectionError("The connections to Redis are closed.")

    async def can_read_destructive(self) -> bool:
        """Whether a connection of the pool cannot be used: the server has closed it, or it has
        bytes that belong to no command.

        redis-py finds out by a timeout of 0 s, which takes a turn of the loop for each command.
        """
        if self._reader is None or self._writer is None:
            return True
        if _has_unread(self._reader, self._writer.transport):
            return bool(await super().can_read_destructive())  # type: ignore[misc]
        return False

    async def read_response(self, *args: object, **options: object) -> object:
        try:
            response: object = await super().read_response(*args, **options)  # type: ignore[misc]
        except NO_ANSWER:
            self._record_failure()
            raise
        except redis.ResponseError as error:
            if not refuses_writes(error):
                raise
            raise await self._leave_replica(error) from error
        self.circuit.record_success()
        return response

    async def read_responses(self, count: int) -> list[object]:
        """The responses to the last `count` commands, within one timeout, with errors among them.

        `read_response` sets up a timeout for each.
        """
        responses: list[object] = []
        timeout_seconds, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(timeout_seconds):
                for _ in range(count):
                    try:
                        responses.append(await super().read_response())  # type: ignore[misc]
                    except redis.ResponseError as error:
                        responses.append(error)
        except TimeoutError:
            self._record_failure()
            raise redis.TimeoutError("Timeout reading from socket") from None
        except NO_ANSWER:
            self._record_failure()
            raise
        finally:
            self.socket_timeout = timeout_seconds
        for response in responses:
            if isinstance(response, redis.ResponseError) and refuses_writes(response):
                raise await self._leave_replica(response) from response
        self.circuit.record_success()
        return responses

    async def _leave_replica(self, error: redis.ResponseError) -> redis.ConnectionError:
        """Close the connection to a server that refuses writes, and return the error to raise."""
        await self.disconnect()
        self.circuit.record_failure()
        return redis.ConnectionError(str(error))


def _has_unread(reader: asyncio.StreamReader, transport: asyncio.WriteTransport) -> bool:
    """Whether bytes or the end have come: to the loop, or only to the kernel."""
    if transport.is_closing() or reader.at_eof() or reader._buffer:  # type: ignore[attr-defined]  # noqa: SLF001 - docs/private-parts.md
        return True
    unread = select.poll()
    unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(unread.poll(0))


def _in_pieces(command: str | bytes | Iterable[bytes]) -> Iterable[bytes]:
    if isinstance(command, str):
        command = command.encode()
    return [command] if isinstance(command, bytes) else command


# --- Pools --------------------------------------------------------------------------------------
class _Pool(Protocol):
    """What the mixin below needs of redis-py's pools."""

    connection_kwargs: dict[str, object]
    connection_class: type


class _Guarded:
    """Mixed into a pool: asks the circuit of its server before it gives out a connection."""

    connection_mixin: type

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        pool = cast("_Pool", self)
        self.circuit = _circuit(pool.connection_kwargs)
        self._outages = self.circuit.outages
        self.is_closed = False
        bases = (self.connection_mixin, pool.connection_class)
        shared = {"circuit": self.circuit, "is_pool_closed": lambda _: self.is_closed}
        pool.connection_class = type("GuardedConnection", bases, shared)

    def _had_outage(self) -> bool:
        """Whether there was one since the last call. Raises ConnectionError while Redis is away.

        Connections to a host that is gone break only one by one, each after its timeout: after an
        outage the pool drops all that are idle.
        """
        if not self.circuit.allows_call():
            raise redis.ConnectionError("Redis is away.")
        known, self._outages = self._outages, self.circuit.outages
        return known != self._outages


def _circuit(connection_kwargs: dict[str, object]) -> CircuitBreaker:
    sentinels = connection_kwargs.get("connection_pool")
    if isinstance(sentinels, Sentinels):
        return breaker_of(f"Redis {sentinels.label}")
    where = (connection_kwargs.get(name, "") for name in ("host", "port", "path"))
    return breaker_of("Redis " + ":".join(str(part) for part in where if part))


def _or_busy(error: redis.ConnectionError) -> redis.ConnectionError:
    """RedisBusyError where the pool was only full: redis-py has no type of its own for that."""
    return RedisBusyError(str(error)) if str(error) == NO_CONNECTION else error


class GuardedPool(_Guarded, redis.BlockingConnectionPool):
    """A pool for threads, behind the circuit of its server."""

    connection_mixin = _ReportingConnection

    @classmethod
    def from_url(cls, url: str, **options: object) -> Self:
        """Takes Sentinel's URLs as well (aily/redis/sentinel.py)."""
        address, found = sync_address(url)
        return super().from_url(address, **options, **found)

    def get_connection(self, *args: object, **options: object) -> Connection:
        if self._had_outage():
            self.disconnect(inuse_connections=False)
        try:
            connection: Connection = super().get_connection()  # type: ignore[no-untyped-call]
        except redis.ConnectionError as error:
            raise _or_busy(error) from None
        return connection


class AsyncGuardedPool(_Guarded, redis.asyncio.BlockingConnectionPool):
    """`GuardedPool` for an event loop."""

    connection_mixin = _AsyncReportingConnection

    @classmethod
    def from_url(cls, url: str, **options: object) -> Self:
        """Takes Sentinel's URLs as well."""
        address, found = async_address(url)
        return super().from_url(address, **options, **found)

    async def get_connection(self, *args: object, **options: object) -> AbstractConnection:
        if self._had_outage():
            await self.disconnect(inuse_connections=False)
        try:
            connection: AbstractConnection = await super().get_connection()  # type: ignore[no-untyped-call]
        except redis.ConnectionError as error:
            raise _or_busy(error) from None
        return connection

    async def aclose(self) -> None:
        """Close all connections, for good."""
        self.is_closed = True
        await super().aclose()


def guarded_pool(url: str) -> GuardedPool:
    """A pool of up to 16 connections for threads. A connection that the server dropped meanwhile is
    replaced once; what timed out is not tried again."""
    return GuardedPool.from_url(
        url,
        max_connections=16,
        timeout=settings.REDIS_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 1, (redis.ConnectionError,)),
        **connection_options(url),
    )


def async_guarded_pool(url: str) -> AsyncGuardedPool:
    """`guarded_pool` for an event loop: commands beyond 32 at once wait their turn."""
    return AsyncGuardedPool.from_url(
        url,
        max_connections=32,
        timeout=settings.REDIS_TIMEOUT_SECONDS,
        retry=AsyncRetry(NoBackoff(), 1, (redis.ConnectionError,)),
        **connection_options(url),
    )
