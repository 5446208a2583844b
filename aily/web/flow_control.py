"""Backpressure for sockets: what a client sends, or does not read, takes bounded memory.

`send` waits while the client does not take what it was sent, and `Workload` while enough of its
frames are being worked on, so that the next is not read.

uvicorn and granian wait inside `send` itself. daphne does not: its `send` appends to Twisted's
buffer without end. Twisted tells a registered producer when that buffer is full and when it has
drained, and daphne's `send` is a partial that holds the connection's protocol.

And Twisted writes only in the loop's next turn, for which it has the selector watch the socket and
stop watching it again. Here what can be written is written at once, and a text is framed here as
well: decoding it for daphne, which encodes it again, and autobahn's three layers below cost 60 µs.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any


class Workload:
    """How much is being worked on at once: items, and their bytes. One item of any size may be."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._items_left = max_items
        self._bytes_left = max_bytes
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def enter(self, size: int) -> None:
        """Take a place, once there is one. For one caller at a time."""
        await self._has_room.wait()
        self._items_left -= 1
        self._bytes_left -= size
        self._note()

    def leave(self, size: int) -> None:
        self._items_left += 1
        self._bytes_left += size
        self._note()

    def _note(self) -> None:
        if self._items_left > 0 and self._bytes_left > 0:
            self._has_room.set()
        else:
            self._has_room.clear()


class FlowControl:
    """Wraps one connection's ASGI `send`."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self._writable = asyncio.Event()
        self._writable.set()
        #: daphne's, behind which frames are written here.
        self._protocol: Any = None
        for protocol in getattr(send, "args", ()):
            if hasattr(protocol, "registerProducer"):
                # Twisted leaves the HTTP channel, that the upgrade ended, as the producer.
                self._protocol = protocol
                protocol.unregisterProducer()
                protocol.registerProducer(self, True)
                _write_at_once(protocol.transport)

    async def send(self, message: dict[str, Any]) -> None:
        """Returns once the client keeps up, or is gone: `receive` then tells of that."""
        await self._writable.wait()
        # ASGI 2.4's word for a connection that was lost; daphne says nothing.
        with suppress(OSError):
            await self._send(message)

    async def send_text(self, text: bytes) -> None:
        """`send` for a text frame of UTF-8, once the socket is accepted."""
        if self._protocol is None:
            await self.send({"type": "websocket.send", "text": text.decode()})
            return
        await self._writable.wait()
        # One that is closing takes no more frames, as with autobahn.
        if self._protocol.state == self._protocol.STATE_OPEN:
            self._protocol.transport.write(_text_frame(text))

    # Twisted's IPushProducer; the names are its own.
    def pauseProducing(self) -> None:  # noqa: N802
        self._writable.clear()
        # Of a client that does not read, nothing is read either: autobahn itself answers its pings.
        self._protocol.stop_reading(self)

    def resumeProducing(self) -> None:  # noqa: N802
        self._writable.set()
        self._protocol.go_on_reading(self)

    def stopProducing(self) -> None:  # noqa: N802
        self._writable.set()


def _text_frame(text: bytes) -> bytes:
    """Unmasked and whole, by RFC 6455; aily's servers agree on no compression."""
    size = len(text)
    if size < 126:
        return b"\x81%c%b" % (size, text)
    if size < 65_536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2), text)
    return b"\x81\x7f%b%b" % (size.to_bytes(8), text)


def _write_at_once(transport: Any) -> None:
    """Have a Twisted TCP connection send what it is given, unless something waits to be sent."""
    buffered = transport.write

    def write(data: bytes) -> None:
        waits = transport.dataBuffer or transport._tempDataLen  # noqa: SLF001 - no other way to ask
        is_first = transport.connected and not waits
        sent = transport.writeSomeData(data) if is_first else 0
        # A connection that is lost fails again where Twisted notices it.
        sent = 0 if isinstance(sent, Exception) else sent
        if sent < len(data):
            buffered(data[sent:])

    transport.write = write
