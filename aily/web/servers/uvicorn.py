"""Runs uvicorn on --port, or on the listening socket that is file descriptor 0.

uvicorn's own --fd makes a Unix socket of it, which keeps Nagle's delay on every connection. Its
options are set so that clients see no difference to daphne in largest frame, pings and shutdown.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import Any

import django
import uvicorn
from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from aily.process.start import begin_loading
from aily.web.access_revocation import PING_SECONDS
from aily.web.servers.listening import BACKLOG, listening_socket
from aily.web.shutdown import shutdown_event

_PONG_SECONDS = 30
#: Largest head (path and headers) of one request; daphne accepts 16 KiB.
_MAX_HEAD_BYTES = 65_536
#: Between two checks whether all handshakes, which take milliseconds, are over.
_POLL_SECONDS = 0.01
#: Longer than proxies keep idle connections, so that the proxy closes them.
_KEEP_ALIVE_SECONDS = 75


class _Requests(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with a bound on the size of a request's head."""

    _head_bytes = 0
    _is_in_head = True

    def data_received(self, data: bytes) -> None:
        if self._is_in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > _MAX_HEAD_BYTES:
            self._refuse()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._head_bytes = 0
        super().on_headers_complete()

    def _refuse(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
                b"content-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()


class _Socket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, which stops reading from a client that does not read.

    uvicorn itself answers its pings, however many there are.
    """

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not (self.read_paused or self.transport.is_closing()):
            self.transport.resume_reading()

    # Any: uvicorn's type has a private name only.
    async def receive(self) -> Any:
        message = await super().receive()
        if not (self.writable.is_set() or self.close_sent):
            self._stop_reading()
        return message

    def _stop_reading(self) -> None:
        if not self.transport.is_closing() and self.transport.is_reading():
            self.transport.pause_reading()


class _DrainingServer(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End streams and waiting requests first, and wait for handshakes.

        uvicorn would answer those with 500.
        """
        shutdown_event().set()
        for server in self.servers:
            server.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.WEB_GRACE_SECONDS / 2):
                while any(map(_is_handshake, self.server_state.connections)):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_SECONDS)
        await super().shutdown(sockets)


def _is_handshake(connection: object) -> bool:
    return isinstance(connection, WebSocketsSansIOProtocol) and not connection.handshake_complete


def serve(listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, which closes open sockets with 1012."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
    django.setup()
    config = uvicorn.Config(
        "aily.asgi:application",
        loop="uvloop",
        http=_Requests,
        ws=_Socket,
        ws_max_size=settings.WEBSOCKET_FRAME_MAX_BYTES,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=_PONG_SECONDS,
        # A compressor would take more memory than the rest of a socket.
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        # At info it logs every connection.
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.WEB_GRACE_SECONDS),
    )
    _DrainingServer(config).run(sockets=[listening])


if __name__ == "__main__":
    begin_loading()
    serve(listening_socket("aily.web.servers.uvicorn", __doc__))
