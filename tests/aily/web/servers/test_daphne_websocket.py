"""What aily does in autobahn's place: the options of a socket, and frames of text."""

from __future__ import annotations

from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.testing import StringTransport
from websockets.frames import Frame, Opcode

from aily.web.servers.daphne_websocket import BoundedWebSocket, text_frame


def test_the_example_of_the_standard() -> None:
    """RFC 6455, section 5.7: a single-frame unmasked text message."""
    assert text_frame(b"Hello") == bytes.fromhex("810548656c6c6f")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 1000, 65_535, 65_536, 200_000])
def test_texts_of_any_size(size: int) -> None:
    text = bytes(32 + place % 90 for place in range(size))
    assert text_frame(text) == Frame(Opcode.TEXT, text).serialize(mask=False)


def test_a_socket_has_all_options_of_its_factory() -> None:
    factory: Any = WebSocketServerFactory()  # type: ignore[no-untyped-call]
    factory.setProtocolOptions(maxMessagePayloadSize=4711, autoPingInterval=12)
    socket: Any = BoundedWebSocket()
    socket.factory = factory
    socket.makeConnection(StringTransport())  # type: ignore[no-untyped-call]
    options = {name: getattr(socket, name) for name in WebSocketProtocol.CONFIG_ATTRS}
    assert options == {name: getattr(factory, name) for name in WebSocketProtocol.CONFIG_ATTRS}
    assert (socket.maxMessagePayloadSize, socket.autoPingInterval) == (4711, 12)
