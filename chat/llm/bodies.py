"""How the body of a response is read: as a stream of events, as one JSON value, as an error."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol

from chat.llm.answer import Answer
from chat.llm.errors import InvalidResponseError, ProviderError, error_from_response
from chat.llm.sse import EventDecoder
from chat.llm.wire import decode_chunks

MAX_ERROR_BODY_BYTES = 64 * 1024
MAX_JSON_BODY_BYTES = 16 * 1024 * 1024
#: Of a compressed body, unpacked at once.
_UNPACKED_BYTES = 1024 * 1024
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class Body(Protocol):
    """Fills an Answer. `feed` and `end` raise ProviderError."""

    def feed(self, piece: bytes) -> None: ...

    def end(self) -> None:
        """Nothing comes any more, as it should be."""

    def cut(self, error: ProviderError) -> ProviderError | None:
        """Nothing comes any more, because of `error`. Returns what that means for the call."""


class Events:
    """A stream. `on_payload` is called when a read brought more than keep-alives."""

    def __init__(self, answer: Answer, on_payload: Callable[[], None]) -> None:
        self._answer = answer
        self._on_payload = on_payload
        self._decoder = EventDecoder()

    def feed(self, piece: bytes) -> None:
        answer, payloads = self._answer, self._answer.payloads
        if not self._feed_whole(piece):
            answer.add_events(self._decoder.feed(piece))
        if answer.payloads > payloads or answer.done:
            self._on_payload()

    def _feed_whole(self, piece: bytes) -> bool:
        """Take all events of a read at once, if it is as most are."""
        answer, whole = self._answer, self._decoder.array(piece)
        if whole is None or answer.done:
            return False
        if not answer.is_named:
            answer.name(piece[6 : piece.index(b"\n")])
        array, is_last = whole
        chunks = decode_chunks(array) if answer.is_named else None
        if chunks is None:
            return False
        answer.add_chunks(chunks)
        answer.done = is_last
        return True

    def end(self) -> None:
        # Cut in mid-event: the answer is judged as truncated.
        with suppress(InvalidResponseError):
            self._answer.add_events([self._decoder.flush()])

    def cut(self, error: ProviderError) -> ProviderError | None:
        return error if self._answer.finish_reason is None else None


class Json:
    """A whole answer from a server that does not stream; blank lines are its keep-alives."""

    def __init__(self, answer: Answer, on_payload: Callable[[], None]) -> None:
        self._answer = answer
        self._on_payload = on_payload
        self._body = bytearray()

    def feed(self, piece: bytes) -> None:
        self._body += piece
        if len(self._body) > MAX_JSON_BODY_BYTES:
            raise InvalidResponseError(f"the response is larger than {MAX_JSON_BODY_BYTES} bytes")
        if not piece.isspace():
            self._on_payload()

    def end(self) -> None:
        self._answer.add_json(bytes(self._body))
        self._answer.done = True

    def cut(self, error: ProviderError) -> ProviderError | None:
        return error


class Refusal:
    """What goes with a status other than 2xx, as much of it as comes: the status is the news, the
    body only explains it."""

    def __init__(self, status: int, headers: dict[str, str], secret: str | None) -> None:
        self._status = status
        self._headers = headers
        self._secret = secret
        self._body = bytearray()

    def feed(self, piece: bytes) -> None:
        self._body += piece
        if len(self._body) >= MAX_ERROR_BODY_BYTES:
            raise self._error()

    def end(self) -> None:
        raise self._error()

    def cut(self, error: ProviderError) -> ProviderError | None:
        return self._error()

    def _error(self) -> ProviderError:
        words = bytes(self._body[:MAX_ERROR_BODY_BYTES])
        return error_from_response(self._status, self._headers, words, self._secret)


Unpack = Callable[[bytes], Iterator[bytes]]


def unpacker(encoding: str) -> Unpack | None:
    """What undoes a Content-Encoding, though we asked for none. Raises InvalidResponseError."""
    if encoding in ("", "identity"):
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise InvalidResponseError(f"the response is encoded as {encoding[:50]}")
    packed = zlib.decompressobj(_GZIP_OR_ZLIB)

    def unpack(piece: bytes) -> Iterator[bytes]:
        """In steps, as a small piece may hold gigabytes of zeros."""
        while piece:
            try:
                yield packed.decompress(piece, _UNPACKED_BYTES)
            except zlib.error as error:
                raise InvalidResponseError(f"the response cannot be decoded: {error}") from error
            piece = packed.unconsumed_tail

    return unpack
