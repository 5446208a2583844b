"""What aily.web.servers.uvicorn relies on of uvicorn. See docs/private-parts.md."""

from __future__ import annotations

import asyncio
import inspect

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState


async def answer(scope: object, receive: object, send: object) -> None: ...


async def test_state_of_a_websocket() -> None:
    config = uvicorn.Config(answer, log_config=None)
    config.load()
    protocol = WebSocketsSansIOProtocol(config, ServerState(), {})
    assert protocol.read_paused is False
    assert isinstance(protocol.writable, asyncio.Event)
    assert protocol.close_sent is False
    assert protocol.handshake_complete is False
    for name in ("pause_writing", "resume_writing", "receive"):
        assert callable(getattr(protocol, name))


def test_callbacks_of_a_request() -> None:
    for name in ("data_received", "on_message_begin", "on_headers_complete"):
        assert callable(getattr(HttpToolsProtocol, name))
    assert "self.transport" in inspect.getsource(HttpToolsProtocol.connection_made)


def test_the_servers_end() -> None:
    assert list(inspect.signature(uvicorn.Server.shutdown).parameters) == ["self", "sockets"]
    server = uvicorn.Server(uvicorn.Config(answer, log_config=None))
    assert server.server_state.connections == set()
