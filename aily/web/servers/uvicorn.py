"""Runs uvicorn on --port, or on the listening socket that is file descriptor 0.

uvicorn's own --fd makes a Unix socket of it, which keeps Nagle's delay on every connection. And it
is told to behave like daphne where clients can tell: largest frame, pings, end.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

import django
import uvicorn
from django.conf import settings
from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from aily.web.access_revocation import PING_SECONDS
from aily.web.servers.listening import BACKLOG, listening_socket
from aily.web.shutdown import draining

_PONG_SECONDS = 30
#: Of one request, its headers and path; daphne takes 16 KiB.
_MAX_HEAD_BYTES = 65_536
#: Between two looks whether all handshakes are over; nobody tells of it. One takes milliseconds.
_LOOK_SECONDS = 0.01
#: Longer than proxies keep idle connections for, so that it is they who close them.
_KEEP_ALIVE_SECONDS = 75


class _Requests(HttpToolsProtocol):
    """uvicorn's, which takes headers of any size."""

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
    """uvicorn's, which answers pings of a client that does not read, however many there are."""

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not (self.read_paused or self.transport.is_closing()):
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        if not (self.writable.is_set() or self.close_sent):
            self._stop_reading()
        return message

    def _stop_reading(self) -> None:
        if not self.transport.is_closing() and self.transport.is_reading():
            self.transport.pause_reading()


class _DrainingServer(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """At SIGTERM streams end and waiting requests answer, which leaves less to wait for.

        Clients that are just being let in are waited for: uvicorn answers them with 500.
        """
        draining().set()
        for server in self.servers:
            server.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.WEB_GRACE_SECONDS / 2):
                while any(map(_is_handshake, self.server_state.connections)):  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_SECONDS)
        await super().shutdown(sockets)


def _is_handshake(connection: object) -> bool:
    return isinstance(connection, WebSocketsSansIOProtocol) and not connection.handshake_complete


def serve(listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT. Sockets that are open then are closed with 1012."""
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
        # A compressor takes more memory than all the rest of a socket.
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        # It would tell of every connection.
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
    serve(listening_socket("aily.web.servers.uvicorn", __doc__))
