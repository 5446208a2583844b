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
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from aily.draining import draining
from aily.listening import BACKLOG, listening_socket
from aily.sockets import PING_SECONDS

_PONG_SECONDS = 30
#: Between two looks whether all handshakes are over; nobody tells of it. One takes milliseconds.
_LOOK_SECONDS = 0.01
#: Longer than proxies keep idle connections for, so that it is they who close them.
_KEEP_ALIVE_SECONDS = 75


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
        http="httptools",
        ws="websockets-sansio",
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
    serve(listening_socket("aily.web_server", __doc__))
