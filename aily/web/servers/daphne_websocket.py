"""daphne's WebSocket protocol, with bounded memory and short paths for whole text frames.

- Reading stops while messages that were read wait for the application, or while what was written
  waits for the client. daphne itself keeps all that a client sends, and all that it does not read.
- A text for an open socket is framed and written here: autobahn takes it through four layers, and
  Twisted writes it in the loop's next turn. What that saves: docs/performance.md.
- A handshake can be refused with a response (ASGI's extension `websocket.http.response`).
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from asgiref.typing import (
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    WebSocketResponseBodyEvent,
    WebSocketResponseStartEvent,
)
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from daphne.ws_protocol import WebSocketProtocol

from aily.concurrency.gates import Gate
from aily.web.servers.masked_frames import text_of

#: Reading stops when so many messages wait for the application, or after one of so many bytes.
_MAX_WAITING = 16
_LARGE_BYTES = 65_536


class BoundedWebSocket(WebSocketProtocol):
    #: None for autobahn to copy from the factory: it formats them all for a log line that is not
    #: written. `connectionMade` copies them.
    CONFIG_ATTRS = ()

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        #: Why reading has stopped: messages wait for the application, the client does not read.
        self._has_backlog = self._is_client_behind = False
        self._writable = Gate()
        #: What a refused handshake is answered with.
        self._response_start: WebSocketResponseStartEvent | None = None
        self._response_body = b""

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        for name in WebSocketProtocol.CONFIG_ATTRS:
            setattr(self, name, getattr(self.factory, name))
        super().connectionMade()

    def onConnect(self, request: ConnectionRequest) -> object:  # noqa: N802 - autobahn's name
        # Twisted leaves the HTTP channel, which the upgrade has ended, as the producer.
        self.unregisterProducer()
        self.registerProducer(self, True)
        return super().onConnect(request)

    # --- Reading --------------------------------------------------------------------------------
    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        text = text_of(data) if self._is_between_messages() else None
        if text is None or self._is_too_large(text):
            super().dataReceived(data)
        else:
            self.onMessage(text, False)

    def _is_too_large(self, text: bytes) -> bool:
        # 0: no limit.
        message_limit: int = self.maxMessagePayloadSize
        frame_limit: int = self.maxFramePayloadSize
        return 0 < message_limit < len(text) or 0 < frame_limit < len(text)

    def _is_between_messages(self) -> bool:
        # The others have no value before the socket is open.
        is_open: bool = self.state == self.STATE_OPEN
        return is_open and not (self.data or self.current_frame or self.inside_message)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803 - autobahn's
        super().onMessage(payload, isBinary)
        if self.application_queue.qsize() >= _MAX_WAITING or len(payload) >= _LARGE_BYTES:
            self._has_backlog = True
            self._update_reading()

    async def next_message(self, receive: ASGIReceiveCallable) -> ASGIReceiveEvent:
        """daphne's ASGI `receive`, which resumes reading once no message waits."""
        message = await receive()
        if self._has_backlog and self.application_queue.empty():
            self._has_backlog = False
            self._update_reading()
        return message

    def _update_reading(self) -> None:
        # While it closes, all but the client's own close frame is thrown away.
        is_stopped = self._has_backlog or self._is_client_behind
        if is_stopped and self.state == self.STATE_OPEN:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    def serverClose(self, code: int | None = None) -> None:  # noqa: N802 - daphne's name
        super().serverClose(code)
        self._update_reading()

    # --- Writing --------------------------------------------------------------------------------
    async def drained(self) -> None:
        """Return once the client keeps up, or is gone."""
        await self._writable.wait()

    def send_text(self, text: str | None) -> bool:
        """Send one text frame. Returns False where daphne has to: no text, or no open socket."""
        if text is None or self.state != self.STATE_OPEN:
            return False
        frame = text_frame(text.encode())
        written = self._write_now(frame)
        if written < len(frame):
            self.transport.write(frame[written:])
        return True

    def _write_now(self, data: bytes) -> int:
        """Give the kernel what it takes at once. Returns the number of bytes.

        Twisted's `write` leaves that to the loop's next turn, for which it has the selector watch
        the socket and stop watching it again.
        """
        transport = self.transport
        is_waiting = transport.dataBuffer or transport._tempDataLen  # noqa: SLF001 - docs/private-parts.md
        if is_waiting or not transport.connected:
            return 0
        written = transport.writeSomeData(data)
        # An exception for a lost connection: writing fails once more where Twisted notices it.
        return written if isinstance(written, int) else 0

    # Twisted's IPushProducer: its buffer is full, or has drained.
    def pauseProducing(self) -> None:  # noqa: N802
        self._writable.close()
        # autobahn itself would answer the pings of a client that does not read.
        self._is_client_behind = True
        self._update_reading()

    def resumeProducing(self) -> None:  # noqa: N802
        self._writable.open()
        self._is_client_behind = False
        self._update_reading()

    def stopProducing(self) -> None:  # noqa: N802
        self._writable.open()

    # --- Refusing a handshake -------------------------------------------------------------------
    def handle_reply(self, message: Any) -> None:
        """daphne's, and the events of ASGI's extension."""
        if message["type"] == "websocket.http.response.start":
            self._response_start = message
        elif message["type"] == "websocket.http.response.body":
            self._deny(message)
        else:
            super().handle_reply(message)

    def _deny(self, message: WebSocketResponseBodyEvent) -> None:
        self._response_body = message["body"]
        status = self._response_start["status"] if self._response_start else 403
        denial = ConnectionDeny(status, HTTPStatus(status).phrase)  # type: ignore[no-untyped-call]
        self.handshake_deferred.errback(denial)
        del self.handshake_deferred
        self.server.protocol_disconnected(self)

    def sendHttpErrorResponse(  # noqa: N802 - autobahn's name
        self,
        code: int,
        reason: str,
        responseHeaders: Mapping[str, str] | None = None,  # noqa: N803
    ) -> None:
        start = self._response_start
        headers = (
            [(name.decode(), value.decode()) for name, value in start["headers"]] if start else []
        )
        super().sendHttpErrorResponse(code, reason, headers or responseHeaders)
        self.sendData(self._response_body)


def text_frame(text: bytes) -> bytes:
    """One unmasked, uncompressed frame (RFC 6455, section 5.2). 126 and 127 in place of a length:
    it follows in two or eight bytes."""
    size = len(text)
    if size < 126:
        return b"\x81%c%b" % (size, text)
    if size < 65_536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2), text)
    return b"\x81\x7f%b%b" % (size.to_bytes(8), text)
