"""daphne's WebSocket protocol, with a short way for what nearly all reads are: a whole text frame.

autobahn takes a frame through a dozen methods, each ready for frames that come in pieces, and words
a log line for each read that nobody keeps: a fifth of a web process's time with 10,000 sockets.
Whatever is not whole, plain and valid goes its way, which also finds out what is wrong with it.
"""

from __future__ import annotations

from daphne.ws_protocol import WebSocketProtocol

_FINAL_TEXT = 0x81
_MASKED = 0x80
_MASK_BYTES = 4
#: In place of a length: it follows in two bytes.
_LENGTH_FOLLOWS = 126


class LeanProtocol(WebSocketProtocol):
    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        payload = whole_text(data) if self._awaits_frame() else None
        if payload is None or len(payload) > self.maxFramePayloadSize:
            self._dataReceived(data)
            return
        if self.autoPingTimeoutCall and self.autoPingRestartOnAnyTraffic:
            self._cancelAutoPingTimeoutCall()
        self.onMessage(payload, False)

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
