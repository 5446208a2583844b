"""Redis behind Sentinels: each new connection asks them for the master's address.

redis-py's own pools for Sentinel do not wait when they are full, and would bypass the circuit of
aily/redis/guarded.py. So only its connections are used, with a pool of ours that names the master.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import SplitResult, parse_qsl, quote, urlencode

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

_SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
_FORM = "expected redis+sentinel://[user:password@]host[:port],.../service[/database]"
_PORT = 26379


@dataclass(frozen=True)
class _Service:
    """A parsed URL. `server_url` is redis-py's, with the service in place of the host."""

    name: str
    addresses: str
    server_url: str
    sentinel_urls: list[str]


def is_sentinel(url: str) -> bool:
    return url.partition("://")[0] in _SCHEMES


def service_of(url: str) -> str:
    """The service's name and the Sentinels' addresses: what identifies a server."""
    service = _parsed(url)
    return f"{service.name}@{service.addresses}"


def sync_address(url: str) -> tuple[str, dict[str, Any]]:
    """The URL and the options that `redis.ConnectionPool.from_url` takes for any of our URLs.

    Raises ValueError for a Sentinel URL that is not one. Touches no network.
    """
    if not is_sentinel(url):
        return url, {}
    service = _parsed(url)
    kind = (
        redis.sentinel.SentinelManagedSSLConnection
        if service.server_url.startswith("rediss:")
        else redis.sentinel.SentinelManagedConnection
    )
    return service.server_url, {"connection_class": kind, "connection_pool": _Master(url)}


def async_address(url: str) -> tuple[str, dict[str, Any]]:
    """`sync_address` for `redis.asyncio`."""
    if not is_sentinel(url):
        return url, {}
    service = _parsed(url)
    kind = (
        redis.asyncio.sentinel.SentinelManagedSSLConnection
        if service.server_url.startswith("rediss:")
        else redis.asyncio.sentinel.SentinelManagedConnection
    )
    return service.server_url, {"connection_class": kind, "connection_pool": _AsyncMaster(url)}


# --- The master's address -----------------------------------------------------------------------
class Sentinels:
    """The part of a pool that redis-py's connections for Sentinel use."""

    is_master = True
    check_connection = False

    def __init__(self, url: str) -> None:
        service = _parsed(url)
        self.label = service_of(url)
        self._service = service.name
        #: The Sentinel that answered last comes first.
        self._urls = service.sentinel_urls

    def _options(self) -> dict[str, Any]:
        """All of them together take no longer than one answer of Redis may take."""
        seconds = settings.REDIS_TIMEOUT_SECONDS / len(self._urls)
        return {
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "decode_responses": True,
        }

    def _answered(self, url: str) -> None:
        # A new list: other threads may be going through the old one.
        self._urls = [url, *(other for other in self._urls if other != url)]

    def _unknown_master(self, errors: list[redis.RedisError]) -> redis.RedisError:
        reason = f"No Sentinel names a master of {self._service}."
        # As for a server itself: what timed out is not tried again.
        if any(isinstance(error, redis.TimeoutError) for error in errors):
            return redis.TimeoutError(reason)
        return redis.ConnectionError(reason)


class _Master(Sentinels):
    """Names the master to the connections of threads."""

    def get_master_address(self) -> tuple[str, int]:
        """Raises redis.ConnectionError or redis.TimeoutError."""
        errors = []
        retry = Retry(NoBackoff(), 0)
        for url in self._urls:
            try:
                with redis.Redis.from_url(url, retry=retry, **self._options()) as sentinel:
                    reply = sentinel.sentinel_get_master_addr_by_name(self._service)
                    found = cast("tuple[str, int] | None", reply)
            except redis.RedisError as error:
                errors.append(error)
                continue
            if found:
                self._answered(url)
                return str(found[0]), int(found[1])
        raise self._unknown_master(errors)


class _AsyncMaster(Sentinels):
    """Names the master to the connections of an event loop."""

    async def get_master_address(self) -> tuple[str, int]:
        """Raises redis.ConnectionError or redis.TimeoutError."""
        errors = []
        retry = AsyncRetry(NoBackoff(), 0)
        for url in self._urls:
            client = redis.asyncio.Redis.from_url(url, retry=retry, **self._options())
            try:
                async with client as sentinel:
                    reply = sentinel.sentinel_get_master_addr_by_name(self._service)  # type: ignore[no-untyped-call]
                    found = await cast("Awaitable[tuple[str, int] | None]", reply)
            except redis.RedisError as error:
                errors.append(error)
                continue
            if found:
                self._answered(url)
                return str(found[0]), int(found[1])
        raise self._unknown_master(errors)


# --- URLs ---------------------------------------------------------------------------------------
def _parsed(url: str) -> _Service:
    """Raises ValueError, which does not quote the URL: it may hold a password."""
    # Not by urllib, which in newer versions of Python refuses a list with an IPv6 address.
    scheme, _, rest = url.partition("#")[0].partition("://")
    place, _, query = rest.partition("?")
    netloc, _, path = place.partition("/")
    login, _, addresses = netloc.rpartition("@")
    name, _, database = path.strip("/").partition("/")
    if not name or not addresses or not (database or "0").isdecimal():
        raise ValueError(_FORM)
    options = dict(parse_qsl(query))
    user, password = options.pop("sentinel_username", ""), options.pop("sentinel_password", "")
    scheme = _SCHEMES[scheme]
    tls = {key: value for key, value in options.items() if key.startswith("ssl_")}
    options.setdefault("db", database or "0")
    credentials = f"{login}@" if login else ""
    sentinel_login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
    return _Service(
        name,
        addresses,
        f"{scheme}://{credentials}{name}?{urlencode(options)}",
        [
            f"{scheme}://{sentinel_login}{_host_and_port(address)}?{urlencode(tls)}"
            for address in addresses.split(",")
        ],
    )


def _host_and_port(address: str) -> str:
    try:
        parts = SplitResult("", address, "", "", "")
        host, port = parts.hostname, parts.port or _PORT
    except ValueError:
        raise ValueError(_FORM) from None
    if not host:
        raise ValueError(_FORM)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
