"""Backpressure for sockets: `send` waits while the client does not take what it was sent.

uvicorn and granian wait inside `send` itself. daphne does not: its `send` appends to Twisted's
buffer without end. Twisted tells a registered producer when that buffer is full and when it has
drained, and daphne's `send` is a partial that holds the connection's protocol.

And Twisted writes only in the loop's next turn, for which it has the selector watch the socket and
stop watching it again. Here what can be written is written at once.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any


class FlowControl:
    """Wraps one connection's ASGI `send`."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self._writable = asyncio.Event()
        self._writable.set()
        for protocol in getattr(send, "args", ()):
            if hasattr(protocol, "registerProducer"):
                # Twisted leaves the HTTP channel, that the upgrade ended, as the producer.
                protocol.unregisterProducer()
                protocol.registerProducer(self, True)
                _write_at_once(protocol.transport)

    async def send(self, message: dict[str, Any]) -> None:
        """Returns once the client keeps up, or is gone: `receive` then tells of that."""
        await self._writable.wait()
        # ASGI 2.4's word for a connection that was lost; daphne says nothing.
        with suppress(OSError):
            await self._send(message)

    # Twisted's IPushProducer; the names are its own.
    def pauseProducing(self) -> None:  # noqa: N802
        self._writable.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._writable.set()

    def stopProducing(self) -> None:  # noqa: N802
        self._writable.set()


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
