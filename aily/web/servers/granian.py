"""Runs granian on --port, or on the listening socket that is file descriptor 0.

What it has no setting for is done here and in `aily.web.servers.granian_socket`. Two things are
not: it reads messages of up to 64 MiB before the application can refuse them, and it sends no
pings.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from contextlib import suppress
from typing import Any

import django
import uvloop
from django.conf import settings
from django.utils.module_loading import import_string
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.net import SocketHolder  # type: ignore[attr-defined]
from granian.server.embed import Server

from aily.web.access_revocation import CLOSE_RESTART, open_sockets
from aily.web.servers.granian_socket import GranianSocket
from aily.web.servers.listening import BACKLOG, listening_socket
from aily.web.shutdown import draining

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.01
#: Its limit would otherwise be the backlog. Open files end sooner.
_MAX_CONNECTIONS = 1_000_000
#: Also how long it keeps an idle connection: longer than proxies do, so that it is they who close.
_HEADERS_MILLISECONDS = 75_000
#: In place of pings the kernel asks a silent client after 20 s, and drops one that has acknowledged
#: or taken nothing for 50 s. Accepted sockets inherit it. An option's level, the option, its value.
_SOCKET_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 50_000),
    # Nagle's delay.
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)
#: Those of clients that are being let in as well.
_sockets: set[GranianSocket] = set()


class _Server(Server):
    _shd: Any

    def __init__(self, application: Any, listening: socket.socket) -> None:
        super().__init__(
            application,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=_HEADERS_MILLISECONDS),
            backlog=BACKLOG,
            backpressure=_MAX_CONNECTIONS,
            # Errors, to the handlers of all other logs.
            log_level=LogLevels.error,
            log_dictconfig={"loggers": {"_granian": {}}},
        )
        self._listening = listening

    def _init_shared_socket(self) -> None:
        """The one private method that is replaced: granian can only bind a port itself.

        Each process would then have a queue of connections of its own, which ends with it.
        """
        self._shd = SocketHolder(  # type: ignore[call-arg]
            self._listening.detach(), False, BACKLOG
        )


async def _run(server: _Server) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = asyncio.ensure_future(server.serve())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if stopping.done():
        await _drain(server, serving)
    else:
        await serving


async def _drain(server: _Server, serving: asyncio.Future[None]) -> None:
    """Close sockets, all at once: granian drops them when it stops listening. Then end requests.

    Clients that are just being let in are waited for: the application closes their sockets itself.
    """
    grace_seconds = settings.WEB_GRACE_SECONDS
    draining().set()
    with suppress(TimeoutError):
        async with asyncio.timeout(grace_seconds / 2):
            await open_sockets().close_all(CLOSE_RESTART, 0)
            while _sockets:  # noqa: ASYNC110 - nobody tells when the last one is gone
                await asyncio.sleep(_LOOK_SECONDS)
    server.stop()  # type: ignore[no-untyped-call]
    _, running = await asyncio.wait({serving}, timeout=grace_seconds / 2)
    if running:
        logger.warning("requests are dropped")


def _closable(application: Any) -> Any:
    """The application, with WebSockets that can be closed."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await application(scope, receive, send)
            return
        granian_socket = GranianSocket(receive, send)
        _sockets.add(granian_socket)
        try:
            await application(scope, granian_socket.receive, granian_socket.send)
        finally:
            _sockets.discard(granian_socket)
            granian_socket.interrupt()

    return wrapped


def serve(listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT. Sockets that are open then are closed with 4503."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
    django.setup()
    for level, option, value in _SOCKET_OPTIONS:
        listening.setsockopt(level, option, value)
    server = _Server(_closable(import_string("aily.asgi.application")), listening)
    logger.warning(
        "granian reads WebSocket messages of up to 64 MiB, and only then is what is larger than"
        " WEBSOCKET_FRAME_MAX_BYTES refused"
    )
    uvloop.run(_run(server))


if __name__ == "__main__":
    serve(listening_socket("aily.web.servers.granian", __doc__))
