"""Answers in another charset than UTF-8, where their Content-Type says so and their bytes agree."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator

from chat.llm.pages import charset_of

Convert = Callable[[bytes], Iterator[bytes]]
_UTF_16 = "utf-16"


def converter(content_type: str, unpack: Convert | None) -> Convert | None:
    """A function that unpacks pieces of a body and converts them to UTF-8; None where there is
    nothing to do."""
    charset = charset_of(content_type)
    if not charset:
        return unpack
    part = _Converter(charset).part

    def parts(piece: bytes) -> Iterator[bytes]:
        for unpacked in unpack(piece) if unpack else (piece,):
            yield part(unpacked)

    return parts


class _Converter:
    """Bytes that are UTF-8 stay as they are: many servers name another charset by default."""

    def __init__(self, charset: str) -> None:
        self._charset = charset
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._decoder: codecs.IncrementalDecoder | None = None

    def part(self, piece: bytes) -> bytes:
        if self._decoder is None:
            begun = self._utf8.getstate()[0]
            if self._is_utf8(piece):
                return self._utf8.decode(piece).encode()
            self._decoder = codecs.getincrementaldecoder(self._charset)("replace")
            piece = begun + piece
        return self._decoder.decode(piece).encode("utf-8", "replace")

    def _is_utf8(self, piece: bytes) -> bool:
        if self._charset.startswith(_UTF_16) and b"\0" in piece:
            return False
        state = self._utf8.getstate()
        try:
            self._utf8.decode(piece)
        except UnicodeDecodeError:
            return False
        self._utf8.setstate(state)
        return True
