"""daphne's WebSocket protocol, with a short way for what nearly all reads are: a whole text frame.

autobahn takes a frame through a dozen methods, each ready for frames that come in pieces, and words
a log line for each read that nobody keeps: a fifth of a web process's time with 10,000 sockets.
Whatever is not whole, plain and valid goes its way, which also finds out what is wrong with it.

And it stops reading while what it has read waits for the application, or what it has written for
the client: daphne itself keeps all that a client sends, however much that is.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from autobahn.websocket.types import ConnectionDeny
from daphne.ws_protocol import WebSocketProtocol

_FINAL_TEXT = 0x81
_MASKED = 0x80
_MASK_BYTES = 4
#: In place of a length: it follows in two bytes.
_LENGTH_FOLLOWS = 126
#: Messages that wait for the application, besides those of the same read; or one of so many bytes.
_MAX_WAITING = 16
_LARGE_BYTES = 65_536


class LeanProtocol(WebSocketProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: On whose account nothing is read.
        self._not_reading_for: set[object] = set()
        #: What a refused handshake is answered with.
        self._response: dict[str, Any] = {"headers": ()}
        self._body = b""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        payload = whole_text(data) if self._awaits_frame() else None
        if payload is None or len(payload) > self.maxFramePayloadSize:
            self._dataReceived(data)
            return
        if self.autoPingTimeoutCall and self.autoPingRestartOnAnyTraffic:
            self._cancelAutoPingTimeoutCall()
        self.onMessage(payload, False)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803 - as above
        super().onMessage(payload, isBinary)
        if self.application_queue.qsize() >= _MAX_WAITING or len(payload) >= _LARGE_BYTES:
            self.stop_reading("messages wait")

    async def next_message(self, receive: Any) -> Any:
        """ASGI's `receive`, which has more read once nothing waits."""
        message = await receive()
        if self._not_reading_for and self.application_queue.empty():
            self.go_on_reading("messages wait")
        return message

    def handle_reply(self, message: dict[str, Any]) -> None:
        """daphne's, and ASGI's extension that answers a handshake with a response."""
        if message["type"] == "websocket.http.response.start":
            self._response = message
        elif message["type"] == "websocket.http.response.body":
            self._body = message["body"]
            phrase = HTTPStatus(self._response["status"]).phrase
            denial = ConnectionDeny(self._response["status"], phrase)  # type: ignore[no-untyped-call]
            self.handshake_deferred.errback(denial)
            del self.handshake_deferred
            self.server.protocol_disconnected(self)
        else:
            super().handle_reply(message)

    def sendHttpErrorResponse(  # noqa: N802 - autobahn's name
        self,
        code: int,
        reason: str,
        responseHeaders: Any = None,  # noqa: N803
    ) -> None:
        headers = [(name.decode(), value.decode()) for name, value in self._response["headers"]]
        super().sendHttpErrorResponse(code, reason, headers or responseHeaders)
        self.sendData(self._body)

    def stop_reading(self, reason: object) -> None:
        # What comes while it closes is thrown away, but for the client's own close frame.
        if self.state == self.STATE_OPEN:
            self._not_reading_for.add(reason)
            self.transport.pauseProducing()

    def go_on_reading(self, reason: object) -> None:
        self._not_reading_for.discard(reason)
        if not self._not_reading_for:
            self.transport.resumeProducing()

    def serverClose(self, code: int | None = None) -> None:  # noqa: N802 - daphne's name
        super().serverClose(code)
        if self._not_reading_for:
            self._not_reading_for.clear()
            self.transport.resumeProducing()

    def _awaits_frame(self) -> bool:
        # The others have no value before it is open.
        is_open = self.state == self.STATE_OPEN
        return is_open and not self.data and self.current_frame is None and not self.inside_message


def whole_text(data: bytes) -> bytes | None:
    """The text of a masked frame that is a whole message, UTF-8 as it should be; None for all else.

    RFC 6455, section 5.2. Those of 64 KiB and more are none: their length takes eight bytes.
    """
    if len(data) <= 2 + _MASK_BYTES or data[0] != _FINAL_TEXT or not data[1] & _MASKED:
        return None
    start, size = 2, data[1] & ~_MASKED
    if size >= _LENGTH_FOLLOWS:
        start, size = 4, int.from_bytes(data[2:4])
        if data[1] & ~_MASKED != _LENGTH_FOLLOWS or size < _LENGTH_FOLLOWS:
            return None
    if len(data) != start + _MASK_BYTES + size:
        return None
    mask, masked = data[start : start + _MASK_BYTES], data[start + _MASK_BYTES :]
    mask = (mask * (size // _MASK_BYTES + 1))[:size]
    text = (int.from_bytes(masked) ^ int.from_bytes(mask)).to_bytes(size)
    try:
        text.decode()
    except UnicodeDecodeError:
        return None
    return text
