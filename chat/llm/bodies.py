"""How the body of a response is read: as a stream of events, as one JSON value, as an error."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol

from chat.llm.answer import Answer
from chat.llm.errors import (
    AnswerTooLargeError,
    InvalidResponseError,
    ProviderError,
    redact,
)
from chat.llm.pages import plain_text
from chat.llm.sse import EventDecoder
from chat.llm.turns import LIGHT_BYTES, LIGHT_EVENTS, STEP_BYTES, is_step
from chat.llm.vendor_errors import error_from_response
from chat.llm.wire import WireStreamChunk, decode_stream_chunks

MAX_ERROR_BODY_BYTES = 64 * 1024
#: Of keep-alives and empty events in a row. Some servers send an empty event of 300 bytes for each
#: token of a thought that they hide: this many is 150,000 of them.
MAX_EMPTY_BYTES = 64 * 1024 * 1024
#: What a line of a stream counts beside its bytes: to look at it costs as much as that many.
LINE_BYTES = 64
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_DEFLATE = -zlib.MAX_WBITS
_EVENT_END = b"\n\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Body(Protocol):
    """Fills an Answer. `feed` and `end` raise ProviderError."""

    def feed(self, piece: bytes) -> bytes:
        """Take a piece. Returns what would take more than a step, and was not taken: it is to come
        in pieces of STEP_BYTES."""

    def end(self) -> None:
        """Nothing comes any more, as it should be."""

    def cut(self, error: ProviderError) -> ProviderError | None:
        """Nothing comes any more, because of `error`. Returns what that means for the call."""


class Unread:
    """A body that has not begun. What it is, its first character says: content types are wrong too
    often. `read_as` is told what to go on with."""

    def __init__(
        self,
        answer: Answer,
        content_type: str,
        on_payload: Callable[[], None],
        read_as: Callable[[Body], None],
    ) -> None:
        self._content_type = content_type
        self._answer = answer
        self._on_payload = on_payload
        self._read_as = read_as
        self._blanks = b""
        self._empty_bytes = 0

    def feed(self, piece: bytes) -> bytes:
        piece = self._blanks + piece
        self._blanks = b""
        begun = piece.removeprefix(_BYTE_ORDER_MARK).lstrip()
        if not begun or _BYTE_ORDER_MARK.startswith(begun):
            # Blank lines are the keep-alives of a server that does not stream.
            self._blanks = begun
            self._empty_bytes += len(piece) - len(begun)
            _check_emptiness(self._empty_bytes)
            return b""
        body = self._body(begun[:1])
        self._read_as(body)
        return body.feed(begun)

    def end(self) -> None:
        if "json" in self._content_type:
            raise InvalidResponseError("the response is empty")

    def cut(self, error: ProviderError) -> ProviderError | None:
        return error

    def _body(self, first: bytes) -> Body:
        if first in (b"{", b"["):
            return JsonBody(self._answer, self._on_payload)
        return (
            HtmlBody(self._answer)
            if first == b"<"
            else EventStreamBody(self._answer, self._on_payload)
        )


class EventStreamBody:
    """A stream. `on_payload` is called when a read brought more than keep-alives."""

    def __init__(self, answer: Answer, on_payload: Callable[[], None]) -> None:
        self._answer = answer
        self._on_payload = on_payload
        self._decoder = EventDecoder(answer.limits.event_bytes)
        self._empty_bytes = 0

    def feed(self, piece: bytes) -> bytes:
        answer, payloads = self._answer, self._answer.payloads
        if not self._feed_whole(piece):
            if not is_step(piece):
                return piece
            self._feed_cut(piece)
        if answer.payloads > payloads or answer.done:
            self._empty_bytes = 0
            self._on_payload()
        else:
            self._empty_bytes += len(piece)
            _check_emptiness(self._empty_bytes - self._decoder.pending_bytes)
        return b""

    def _feed_cut(self, piece: bytes) -> None:
        """Take a part of a large read, which may be cut anywhere. The events between those that are
        cut may still be as most are."""
        if self._decoder.pending_bytes:
            rest, mark, piece = piece.partition(_EVENT_END)
            self._feed_any(rest + mark)
        elif piece.endswith(_EVENT_END):
            self._feed_any(piece)
            return
        events, mark, begun = piece.rpartition(_EVENT_END)
        if not self._feed_whole(events + mark):
            self._feed_any(events + mark)
        self._feed_any(begun)

    def _feed_any(self, piece: bytes) -> None:
        lines = self._decoder.lines
        events = self._decoder.feed(piece)
        self._empty_bytes += (self._decoder.lines - lines) * LINE_BYTES
        self._answer.add_events(events)

    def _feed_whole(self, piece: bytes) -> bool:
        """Take all events of a read at once, if it is as most are."""
        if len(piece) > LIGHT_BYTES:
            return False
        answer, whole = self._answer, self._decoder.whole(piece)
        if whole is None or answer.done:
            return False
        data, is_single, is_last = whole
        if is_single and data.startswith(b"{"):
            answer.add_json(data)
            answer.done = is_last
            return True
        if not answer.is_named:
            answer.name(piece[6 : piece.index(b"\n")])
        chunks = decode_stream_chunks(data) if answer.is_named else None
        if chunks is None or len(chunks) > LIGHT_EVENTS:
            return False
        self._take(chunks, piece)
        answer.done = is_last
        return True

    def _take(self, chunks: list[WireStreamChunk], piece: bytes) -> None:
        """Take events as most are, and decode the others once more."""
        answer = self._answer
        position = answer.add_stream_chunks(chunks, 0)
        if position == len(chunks):
            return
        # Mostly it is the last that are left.
        left = EventDecoder.separate(piece, len(chunks) - position)
        while position < len(chunks):
            answer.add_json(left[position - len(chunks)])
            self._empty_bytes += 2 * LINE_BYTES
            position = answer.add_stream_chunks(chunks, position + 1)

    def end(self) -> None:
        answer, decoder = self._answer, self._decoder
        # Cut in mid-event: the answer is judged as truncated.
        with suppress(InvalidResponseError):
            answer.add_events(decoder.flush())
        if decoder.stray and not answer.payloads and not answer.done:
            words = redact(decoder.stray.decode("utf-8", "replace"), answer.secret)
            raise InvalidResponseError(f"the response is no stream of events: {words}")

    def cut(self, error: ProviderError) -> ProviderError | None:
        return None if self._answer.done or self._answer.is_finished else error


class JsonBody:
    """A whole answer from a server that does not stream."""

    def __init__(self, answer: Answer, on_payload: Callable[[], None]) -> None:
        self._answer = answer
        self._on_payload = on_payload
        self._body = bytearray()

    def feed(self, piece: bytes) -> bytes:
        most = self._answer.limits.event_bytes
        self._body += piece
        if len(self._body) > most:
            raise AnswerTooLargeError(f"the response is larger than {most} bytes")
        if not piece.isspace():
            self._on_payload()
        return b""

    def end(self) -> None:
        self._answer.add_json(bytes(self._body))
        self._answer.done = True

    def cut(self, error: ProviderError) -> ProviderError | None:
        return error


class HtmlBody:
    """A page of HTML where an answer belongs: its words may say why."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._body = bytearray()

    def feed(self, piece: bytes) -> bytes:
        self._body += piece
        if len(self._body) >= MAX_ERROR_BODY_BYTES:
            raise self._error()
        return b""

    def end(self) -> None:
        raise self._error()

    def cut(self, error: ProviderError) -> ProviderError | None:
        return self._error()

    def _error(self) -> ProviderError:
        words = redact(plain_text(self._body.decode("utf-8", "replace")), self._answer.secret)
        return InvalidResponseError(f"the response is a page, no stream of events: {words}")


class ErrorBody:
    """What goes with a status other than 2xx, as much of it as comes: the status is the news, the
    body only explains it."""

    def __init__(self, status: int, headers: dict[str, str], secret: str | None) -> None:
        self._status = status
        self._headers = headers
        self._secret = secret
        self._body = bytearray()

    def feed(self, piece: bytes) -> bytes:
        self._body += piece
        if len(self._body) >= MAX_ERROR_BODY_BYTES:
            raise self._error()
        return b""

    def end(self) -> None:
        raise self._error()

    def cut(self, error: ProviderError) -> ProviderError | None:
        return self._error()

    def _error(self) -> ProviderError:
        words = bytes(self._body[:MAX_ERROR_BODY_BYTES])
        return error_from_response(self._status, self._headers, words, self._secret)


def _check_emptiness(size: int) -> None:
    if size > MAX_EMPTY_BYTES:
        raise InvalidResponseError(f"{MAX_EMPTY_BYTES} bytes came without a word of an answer")


Unpack = Callable[[bytes], Iterator[bytes]]


def unpacker(encoding: str) -> Unpack | None:
    """What undoes a Content-Encoding, though we asked for none. Raises InvalidResponseError."""
    if encoding in ("", "identity"):
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise InvalidResponseError(f"the response is encoded as {encoding[:50]}")
    return _Unpacked(may_be_bare=encoding == "deflate").parts


class _Unpacked:
    """Undoes gzip, zlib and, where it `may_be_bare`, deflate without a head, which some take it
    for. In steps, as a small piece may hold gigabytes of blanks."""

    def __init__(self, *, may_be_bare: bool) -> None:
        self._packed = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._may_be_bare = may_be_bare
        self._start = b""

    def parts(self, piece: bytes) -> Iterator[bytes]:
        piece, self._start = self._start + piece, b""
        if self._may_be_bare and len(piece) < 2:
            self._start = piece
            return
        is_full = False
        while piece or is_full:
            if self._packed.eof:  # the members of a gzip file follow each other
                self._packed = zlib.decompressobj(_GZIP_OR_ZLIB)
            part = self._part(piece)
            yield part
            piece = self._packed.unconsumed_tail or self._packed.unused_data
            # All of the input may be taken, and some of the output still be there.
            is_full = len(part) == STEP_BYTES

    def _part(self, piece: bytes) -> bytes:
        try:
            part = self._packed.decompress(piece, STEP_BYTES)
        except zlib.error as error:
            if not self._may_be_bare:
                raise InvalidResponseError(f"the response cannot be decoded: {error}") from error
            self._packed = zlib.decompressobj(_DEFLATE)
            self._may_be_bare = False
            return self._part(piece)
        self._may_be_bare = False
        return part
