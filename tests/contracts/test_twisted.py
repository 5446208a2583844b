"""What aily.web.servers relies on of Twisted. See docs/private-parts.md."""

from __future__ import annotations

import inspect
import socket
from typing import Any, cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection, Port
from twisted.internet.testing import StringTransport
from twisted.web.http import HTTPChannel, Request


class Reactor:
    """Notes nothing: what waits is written by the test."""

    def addWriter(self, _: object) -> None: ...  # noqa: N802 - Twisted's names
    def removeWriter(self, _: object) -> None: ...  # noqa: N802
    def removeReader(self, _: object) -> None: ...  # noqa: N802
    def callLater(self, *_: object) -> None: ...  # noqa: N802


class Narrow(FileDescriptor):
    """Takes two bytes at a time."""

    def writeSomeData(self, data: bytes) -> int:  # noqa: N802
        return min(len(data), 2)


def is_waiting(transport: Any) -> bool:
    """As BoundedWebSocket asks."""
    return bool(transport.dataBuffer or transport._tempDataLen)


def test_bytes_that_wait_are_in_one_of_two_buffers() -> None:
    transport: Any = Narrow(reactor=cast("Any", Reactor()))
    transport.connected = 1
    assert not is_waiting(transport)
    transport.write(b"abc")
    assert transport._tempDataLen == 3
    assert is_waiting(transport)
    transport.doWrite()
    assert is_waiting(transport)
    transport.doWrite()
    assert not is_waiting(transport)


def test_a_connection_writes_at_once_what_the_kernel_takes() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    connection = Connection(ours, cast("Any", Protocol()), cast("Any", Reactor()))
    assert connection.writeSomeData(b"frame") == 5
    assert theirs.recv(10) == b"frame"
    theirs.close()
    ours.close()
    assert isinstance(connection.writeSomeData(b"frame"), Exception)


def test_a_request_whose_body_has_yet_to_come_has_its_path_in_the_channel() -> None:
    seen: list[object] = []

    class Large(Request):
        def gotLength(self, length: int) -> None:  # noqa: N802
            channel: Any = self.channel
            seen.append(channel._path)
            channel.transport.pauseProducing()

    channel: Any = HTTPChannel()  # type: ignore[no-untyped-call]
    channel.requestFactory = Large
    transport: Any = StringTransport()  # type: ignore[no-untyped-call]
    channel.makeConnection(transport)
    channel.dataReceived(b"POST /a%20b?c HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n")
    assert seen == [b"/a%20b?c"]
    assert transport.producerState == "paused"
    channel.setTimeout(None)


def test_a_port_accepts_all_that_waits() -> None:
    source = inspect.getsource(Port.doRead)
    assert "range(numAccepts)" in source
    assert "numAccepts = self.numberAccepts" in source
    assert list(inspect.signature(Port.connectionLost).parameters) == ["self", "reason"]
