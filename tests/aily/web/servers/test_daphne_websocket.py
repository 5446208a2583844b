"""What aily does in autobahn's place: the options of a socket, and frames of text."""

from __future__ import annotations

import random
from itertools import pairwise
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


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class OpenSocket(BoundedWebSocket):
    """A socket after its handshake, without a server behind it."""

    def __init__(self, **limits: int) -> None:
        super().__init__()
        self.messages: list[tuple[bytes, bool]] = []
        factory: Any = WebSocketServerFactory()  # type: ignore[no-untyped-call]
        factory.setProtocolOptions(**limits)
        self.factory = factory
        self.makeConnection(StringTransport())  # type: ignore[no-untyped-call]
        self.dataReceived(HANDSHAKE)

    def onConnect(self, request: object) -> None:  # noqa: N802 - autobahn's name
        self.registerProducer(self, True)

    def onOpen(self) -> None:  # noqa: N802 - as above
        pass

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803 - as above
        self.messages.append((payload, isBinary))


def masked(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=True)


STREAM = [
    (masked(Opcode.TEXT, "你好".encode()), ("你好".encode(), False)),
    (masked(Opcode.TEXT, b"in "), (b"in ", False)),
    (masked(Opcode.TEXT, b"two ", fin=False), None),
    (masked(Opcode.PING, b"between"), None),
    (masked(Opcode.CONT, b"pieces"), (b"two pieces", False)),
    (masked(Opcode.BINARY, b"\0\1"), (b"\0\1", True)),
    (masked(Opcode.TEXT, b"x" * 300), (b"x" * 300, False)),
    (masked(Opcode.TEXT, b""), (b"", False)),
    (masked(Opcode.TEXT, b"last"), (b"last", False)),
]


@pytest.mark.parametrize("seed", range(30))
def test_messages_are_the_same_however_their_bytes_are_read(seed: int) -> None:
    dice, socket = random.Random(seed), OpenSocket()
    stream = b"".join(data for data, _ in STREAM)
    # Half of the reads end with a frame, as they do where a client sends one at a time.
    ends = {len(b"".join(data for data, _ in STREAM[:count])) for count in range(len(STREAM) + 1)}
    cuts = {*dice.sample(range(len(stream)), 5), *dice.sample(sorted(ends), 5), 0, len(stream)}
    places = sorted(cuts)
    for start, end in pairwise(places):
        socket.dataReceived(stream[start:end])
    assert socket.messages == [message for _, message in STREAM if message]


def test_a_text_between_the_pieces_of_another_is_an_error() -> None:
    socket = OpenSocket()
    socket.dataReceived(masked(Opcode.TEXT, b"one ", fin=False))
    socket.dataReceived(masked(Opcode.TEXT, b"two"))
    assert socket.messages == []
    assert socket.state != BoundedWebSocket.STATE_OPEN


@pytest.mark.parametrize("limit", ["maxFramePayloadSize", "maxMessagePayloadSize"])
def test_a_text_above_a_limit_closes_the_socket(limit: str) -> None:
    socket = OpenSocket(**{limit: 10})
    socket.dataReceived(masked(Opcode.TEXT, b"x" * 10))
    assert socket.messages == [(b"x" * 10, False)]
    socket.dataReceived(masked(Opcode.TEXT, b"x" * 11))
    assert len(socket.messages) == 1
    assert socket.state != BoundedWebSocket.STATE_OPEN
