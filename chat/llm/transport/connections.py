"""Connections to providers: opened when one is needed, kept for a while to be used again.

Without limits of its own: how many calls may run is the scheduler's decision.
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
from chat.llm.transport.http1 import Connection
from chat.llm.transport.tunnels import open_tunnel
from chat.llm.turns import Turns
from chat.llm.types import Proxy

#: How long a connection waits for its next request. Servers close theirs after a minute or so; one
#: that they have just closed costs an attempt.
IDLE_SECONDS = 15.0
#: How long the addresses of a name are believed: providers move, and an answer takes seconds.
ADDRESS_SECONDS = 10.0
#: RFC 8305's pause before the next address is tried beside the first.
NEXT_ADDRESS_SECONDS = 0.25

_Addresses = Sequence[aiohappyeyeballs.AddrInfoType]


class Origin(NamedTuple):
    """Where connections of one kind lead."""

    host: str
    port: int
    is_tls: bool
    ca_bundle: str = ""
    proxy: Proxy | None = None
    may_reach: Callable[[str], bool] | None = None
    """Judges each address that a connection would lead to."""

    @property
    def door(self) -> tuple[str, int]:
        """The host and port that are connected to."""
        if self.proxy is None:
            return self.host, self.port
        url = httpx.URL(self.proxy.url)
        return url.raw_host.decode("ascii"), url.port or 80


class Connections:
    """One a process, on one event loop."""

    def __init__(self) -> None:
        self.turns = Turns()
        # The newest last: that is taken first, so that those too many grow old.
        self._idle: defaultdict[Origin, list[tuple[float, Connection]]] = defaultdict(list)
        self._addresses: dict[Origin, tuple[float, _Addresses]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def idle(self, origin: Origin) -> Connection | None:
        """One that waits for its next request, if there is any."""
        waiting = self._idle.get(origin, [])
        while waiting:
            _, connection = waiting.pop()
            if connection.is_open:
                return connection
        return None

    async def connect(self, origin: Origin) -> Connection:
        """A new connection. Raises UnreachableError, or TLSError where none is secure."""
        try:
            return await self._connect(origin)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            # Hung up on in the handshake, as by a server that is being restarted.
            raise UnreachableError(f"no connection: {error}") from error
        except ssl.SSLError as error:
            raise TLSError(f"no secure connection: {_tls_words(error)}") from error
        except (OSError, UnicodeError) as error:
            words = str(error) or type(error).__name__
            raise UnreachableError(f"no connection: {words}") from error

    async def aclose(self) -> None:
        """Close every idle connection, and let the loop see to it."""
        for connections in self._idle.values():
            for _, connection in connections:
                connection.close()
        self._idle.clear()
        if self._sweep is not None:
            self._sweep.cancel()
        await asyncio.sleep(0)

    async def _connect(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        addresses = await self._resolved(origin)
        tls = tls_context(origin.ca_bundle) if origin.is_tls else None
        name = origin.host if origin.is_tls else None

        def protocol() -> Connection:
            return Connection(lambda connection: self._give_back(origin, connection), self.turns)

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

    async def _resolved(self, origin: Origin) -> _Addresses:
        """Addresses that may be connected to, and no others: what a name leads to changes.

        Raises ForbiddenAddressError where there are only others.
        """
        now = asyncio.get_running_loop().time()
        until, addresses = self._addresses.get(origin, (0.0, []))
        if now >= until:
            host, port = origin.door
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
            may_reach = origin.may_reach
            addresses = [one for one in found if not may_reach or may_reach(str(one[4][0]))]
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
            self._idle[origin] = [one for one in connections if one[0] > old and one[1].is_open]
            if not self._idle[origin]:
                del self._idle[origin]
        if self._idle:
            self._sweep = loop.call_later(IDLE_SECONDS / 2, self._close_old)


def _tls_words(error: ssl.SSLError) -> str:
    """Why a certificate is refused, where it is one."""
    return getattr(error, "verify_message", "") or error.reason or str(error)


@lru_cache(maxsize=64)
def tls_context(ca_bundle: str = "") -> ssl.SSLContext:
    """One a process and bundle: loading the authorities takes tens of milliseconds.

    Raises ssl.SSLError where `ca_bundle` holds no certificates.
    """
    if ca_bundle:
        tls = ssl.create_default_context(cadata=ca_bundle)
    else:
        tls = ssl.create_default_context()  # the system's authorities, and those that come with us
        tls.load_verify_locations(certifi.where())
    tls.set_alpn_protocols(["http/1.1"])
    return tls
