"""The text of a WebSocket message that came in one read as one frame, which is what clients send.

autobahn takes a frame through a dozen methods, each ready for frames that come in pieces. What the
short path saves: docs/performance.md. Everything else is left to autobahn, which also finds out
what is wrong with it.
"""

from __future__ import annotations

_FINAL_TEXT = 0x81
_IS_MASKED = 0x80
_MASK_BYTES = 4
#: In place of a length: it follows in two bytes. (In eight bytes after 127.)
_LENGTH_FOLLOWS = 126


def text_of(data: bytes) -> bytes | None:
    """The unmasked text of `data`, valid UTF-8. None unless `data` is exactly one masked text frame
    of 1 to 65,535 bytes that is a whole message (RFC 6455, section 5.2)."""
    if len(data) <= 2 + _MASK_BYTES or data[0] != _FINAL_TEXT or not data[1] & _IS_MASKED:
        return None
    start, size = 2, data[1] & ~_IS_MASKED
    if size == _LENGTH_FOLLOWS:
        start, size = 4, int.from_bytes(data[2:4])
    elif size > _LENGTH_FOLLOWS:
        return None
    # A short length in the long form is an error, which autobahn reports.
    if (start == 4 and size < _LENGTH_FOLLOWS) or len(data) != start + _MASK_BYTES + size:
        return None
    mask = data[start : start + _MASK_BYTES] * (size // _MASK_BYTES + 1)
    masked = data[start + _MASK_BYTES :]
    text = (int.from_bytes(masked) ^ int.from_bytes(mask[:size])).to_bytes(size)
    try:
        text.decode()
    except UnicodeDecodeError:
        return None
    return text
