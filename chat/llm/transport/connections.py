"""Pool of connections to providers: opened when needed, kept for a while for the next call.

It has no limit: the scheduler decides how many calls may run.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import aiohappyeyeballs
import certifi
import httpx

from chat.llm.errors import ForbiddenAddressError, TLSError, UnreachableError
from chat.llm.steps import StepQueue
from chat.llm.transport.http1 import Connection
from chat.llm.transport.rests import Rests
from chat.llm.transport.tunnels import open_tunnel
from chat.llm.types import Proxy

#: How long a connection is kept for its next request. Servers close theirs after about a minute;
#: using one that was just closed costs a second connect.
IDLE_SECONDS = 15.0
#: How long resolved addresses are cached.
ADDRESS_SECONDS = 10.0
#: Delay before the next address is tried in parallel (RFC 8305).
NEXT_ADDRESS_SECONDS = 0.25

_Addresses = Sequence[aiohappyeyeballs.AddrInfoType]


class Origin(NamedTuple):
    """Key of the pool: what a connection leads to, and how."""

    host: str
    port: int
    is_tls: bool
    ca_bundle: str = ""
    proxy: Proxy | None = None
    may_reach: Callable[[str], bool] | None = None
    """Whether an IP address may be connected to."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to: the proxy's, if there is one."""
        if self.proxy is None:
            return self.host, self.port
        url = httpx.URL(self.proxy.url)
        return url.raw_host.decode("ascii"), url.port or 80


class Connections:
    """The pool. One a process, on one event loop."""

    def __init__(self) -> None:
        self.steps = StepQueue()
        self.rests = Rests()
        # Newest last, and taken first: surplus connections grow old and are closed.
        self._idle: defaultdict[Origin, list[tuple[float, Connection]]] = defaultdict(list)
        self._addresses: dict[Origin, tuple[float, _Addresses]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def idle(self, origin: Origin) -> Connection | None:
        """Take an idle connection, or return None."""
        waiting = self._idle.get(origin, [])
        while waiting:
            _, connection = waiting.pop()
            if connection.is_open:
                return connection
        return None

    async def connect(self, origin: Origin) -> Connection:
        """Open a connection. Raises UnreachableError, TLSError or ForbiddenAddressError."""
        try:
            return await self._connect(origin)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            # Closed during the handshake, as by a server that restarts.
            raise UnreachableError(f"no connection: {error}") from error
        except ssl.SSLError as error:
            raise TLSError(f"no secure connection: {_tls_reason(error)}") from error
        except (OSError, UnicodeError) as error:
            reason = str(error) or type(error).__name__
            raise UnreachableError(f"no connection: {reason}") from error

    async def aclose(self) -> None:
        """Close every idle connection, and let the loop run the closing."""
        for connections in self._idle.values():
            for _, connection in connections:
                connection.close()
        self._idle.clear()
        if self._sweep is not None:
            self._sweep.cancel()
        await asyncio.sleep(0)

    async def _connect(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        addresses = await self._resolve(origin)
        tls = tls_context(origin.ca_bundle) if origin.is_tls else None
        name = origin.host if origin.is_tls else None

        def protocol() -> Connection:
            return Connection(
                lambda connection: self._give_back(origin, connection), self.steps, self.rests
            )

        is_tunnel = origin.is_tls and origin.proxy is not None
        if len(addresses) == 1 and not is_tunnel:
            host, port = addresses[0][4][:2]
            _, made = await loop.create_connection(
                protocol, host, port, ssl=tls, server_hostname=name
            )
            return made
        reached = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS, loop=loop
        )
        try:
            if origin.is_tls and origin.proxy is not None:
                await open_tunnel(reached, origin.host, origin.port, origin.proxy)
            _, made = await loop.create_connection(
                protocol, sock=reached, ssl=tls, server_hostname=name
            )
        except BaseException:
            reached.close()
            raise
        return made

    async def _resolve(self, origin: Origin) -> _Addresses:
        """Resolve the host and keep the allowed addresses: at each connect, as DNS may change.

        Raises ForbiddenAddressError if none is allowed.
        """
        now = asyncio.get_running_loop().time()
        until, addresses = self._addresses.get(origin, (0.0, []))
        if now >= until:
            host, port = origin.address
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
            may_reach = origin.may_reach
            addresses = [info for info in found if not may_reach or may_reach(str(info[4][0]))]
            if found and not addresses:
                raise ForbiddenAddressError(host)
            self._addresses[origin] = now + ADDRESS_SECONDS, addresses
        return addresses

    def _give_back(self, origin: Origin, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        self._idle[origin].append((loop.time(), connection))
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE_SECONDS, self._close_old)

    def _close_old(self) -> None:
        loop = asyncio.get_running_loop()
        old = loop.time() - IDLE_SECONDS
        self._sweep = None
        for origin, connections in list(self._idle.items()):
            for since, connection in connections:
                if since <= old:
                    connection.close()
            self._idle[origin] = [
                (since, connection)
                for since, connection in connections
                if since > old and connection.is_open
            ]
            if not self._idle[origin]:
                del self._idle[origin]
        if self._idle:
            self._sweep = loop.call_later(IDLE_SECONDS / 2, self._close_old)


def _tls_reason(error: ssl.SSLError) -> str:
    """Why TLS failed, e.g. why a certificate was refused."""
    return getattr(error, "verify_message", "") or error.reason or str(error)


@lru_cache(maxsize=64)
def tls_context(ca_bundle: str = "") -> ssl.SSLContext:
    """Build a TLS context, once a process and bundle: loading certificates takes 10 ms or more.

    Raises ssl.SSLError if `ca_bundle` holds no certificate.
    """
    if ca_bundle:
        tls = ssl.create_default_context(cadata=ca_bundle)
    else:
        tls = ssl.create_default_context()  # the system's authorities, and those that come with us
        tls.load_verify_locations(certifi.where())
    tls.set_alpn_protocols(["http/1.1"])
    return tls
