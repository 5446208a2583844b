"""Parsers of response bodies: a stream of events, one JSON value, an HTML page, an error."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol

from chat.llm import lenient
from chat.llm.errors import (
    AnswerTooLargeError,
    InvalidResponseError,
    ProviderError,
    redact,
)
from chat.llm.pages import plain_text
from chat.llm.sse import EventDecoder
from chat.llm.steps import LIGHT_BYTES, LIGHT_EVENTS, STEP_BYTES, is_step
from chat.llm.stream_state import StreamState
from chat.llm.vendor_errors import error_from_response
from chat.llm.wire import WireStreamChunk, decode_stream_chunks

MAX_ERROR_BODY_BYTES = 64 * 1024
#: Limit of keep-alives and empty events in a row. Some servers send an empty event of 300 bytes for
#: each hidden reasoning token: this is 150,000 of them.
MAX_EMPTY_BYTES = 64 * 1024 * 1024
#: Overhead that a line of a stream counts beside its bytes: parsing it costs as much.
LINE_BYTES = 64
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_GZIP_START = b"\x1f\x8b"
#: Values of Content-Encoding that name no compression, though only the first is right.
_NO_COMPRESSION = frozenset({"", "identity", "none", "utf-8", "utf8"})
_DEFLATE = -zlib.MAX_WBITS
_EVENT_END = b"\n\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Body(Protocol):
    """Parser of one body into a StreamState. `feed` and `end` raise ProviderError."""

    def feed(self, piece: bytes) -> bytes:
        """Parse a piece. Returns the piece unparsed if that would take more than a step: it has to
        be fed in pieces of STEP_BYTES."""

    def end(self) -> None:
        """The response is complete."""

    def cut(self, error: ProviderError) -> ProviderError | None:
        """The response was interrupted by `error`. Returns the call's error, None if complete."""


class UnknownBody:
    """A body before its first byte, which decides its type: Content-Type is wrong too often.

    Calls `read_as` with the parser for the rest.
    """

    def __init__(
        self,
        state: StreamState,
        content_type: str,
        on_payload: Callable[[], None],
        read_as: Callable[[Body], None],
    ) -> None:
        self._content_type = content_type
        self._state = state
        self._on_payload = on_payload
        self._read_as = read_as
        self._blanks = b""
        self._empty_bytes = 0

    def feed(self, piece: bytes) -> bytes:
        piece = self._blanks + piece
        self._blanks = b""
        begun = piece.removeprefix(_BYTE_ORDER_MARK).lstrip()
        if not begun or _BYTE_ORDER_MARK.startswith(begun):
            # Blank lines are keep-alives of servers that do not stream.
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
            return JsonBody(self._state, self._on_payload, self._read_as)
        return (
            HtmlBody(self._state)
            if first == b"<"
            else EventStreamBody(self._state, self._on_payload)
        )


class EventStreamBody:
    """A stream of events. Calls `on_payload` when a read contained more than keep-alives."""

    def __init__(self, state: StreamState, on_payload: Callable[[], None]) -> None:
        self._state = state
        self._on_payload = on_payload
        self._decoder = EventDecoder(state.limits.event_bytes)
        self._empty_bytes = 0

    def feed(self, piece: bytes) -> bytes:
        state, payloads = self._state, self._state.payloads
        if not self._feed_whole(piece):
            if not is_step(piece):
                return piece
            self._feed_cut(piece)
        if state.payloads > payloads or state.done:
            self._empty_bytes = 0
            self._on_payload()
        else:
            self._empty_bytes += len(piece)
            _check_emptiness(self._empty_bytes - self._decoder.pending_bytes)
        return b""

    def _feed_cut(self, piece: bytes) -> None:
        """Parse a part of a large read, cut anywhere. The whole events in it take the fast path."""
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
        self._state.add_events(events)

    def _feed_whole(self, piece: bytes) -> bool:
        """Decode all events of a read together if it has the usual form. Returns whether it had."""
        if len(piece) > LIGHT_BYTES or self._state.wants_logprobs:
            return False
        state, whole = self._state, self._decoder.whole(piece)
        if whole is None or state.done:
            return False
        data, is_single, is_last = whole
        if is_single and data.startswith(b"{"):
            state.add_stream_event(data)
            state.done = is_last
            return True
        if not state.names.is_known:
            state.search(piece[6 : piece.index(b"\n")])
        is_usual = state.names.is_known and not state.counts.are_native
        chunks = decode_stream_chunks(data) if is_usual else None
        if chunks is None or len(chunks) > LIGHT_EVENTS:
            return False
        self._take(chunks, piece)
        state.done = is_last
        return True

    def _take(self, chunks: list[WireStreamChunk], piece: bytes) -> None:
        """Add chunks of the usual form, and decode the others one by one."""
        state = self._state
        position = 0 if state.opening.is_open else state.add_stream_chunks(chunks, 0)
        if position == len(chunks):
            return
        # Usually only the last ones are left.
        left = EventDecoder.separate(piece, len(chunks) - position)
        while position < len(chunks):
            state.add_json(left[position - len(chunks)])
            self._empty_bytes += 2 * LINE_BYTES
            position += 1
            if not state.opening.is_open:
                position = state.add_stream_chunks(chunks, position)

    def end(self) -> None:
        state, decoder = self._state, self._decoder
        # An incomplete last event: completion() raises TruncatedError.
        with suppress(InvalidResponseError):
            state.add_events(decoder.flush())
        if decoder.stray and state.finish_reason is None and not state.done:
            text = redact(plain_text(decoder.stray.decode("utf-8", "replace")), state.secret)
            if not state.payloads:
                raise InvalidResponseError(f"the response is no stream of events: {text}")
            raise InvalidResponseError(f"the stream broke off with: {text}")

    def cut(self, error: ProviderError) -> ProviderError | None:
        return None if self._state.done or self._state.is_finished else error


class JsonBody:
    """A whole answer in one JSON value, from a server that does not stream.

    Where it turns out to be events of a line each, without `data:`, calls `read_as` with a parser
    of those.
    """

    def __init__(
        self,
        state: StreamState,
        on_payload: Callable[[], None],
        read_as: Callable[[Body], None],
    ) -> None:
        self._state = state
        self._on_payload = on_payload
        self._read_as = read_as
        self._body = bytearray()
        #: Where the first line ends; None until it has come.
        self._line_end: int | None = None
        self._may_be_lines = True

    def feed(self, piece: bytes) -> bytes:
        limit = self._state.limits.event_bytes
        start = len(self._body)
        self._body += piece
        if len(self._body) > limit:
            raise AnswerTooLargeError(f"the response is larger than {limit} bytes")
        if self._may_be_lines and self._has_lines(start):
            events = EventStreamBody(self._state, self._on_payload)
            self._read_as(events)
            return events.feed(bytes(self._body))
        if not piece.isspace():
            self._on_payload()
        return b""

    def _has_lines(self, start: int) -> bool:
        """Whether more follows a first line that is a JSON object by itself. `start` is where what
        is new begins."""
        if self._line_end is None:
            found = self._body.find(b"\n", start)
            if found < 0:
                return False
            self._line_end = start = found
        if self._body[start:].isspace():
            return False
        self._may_be_lines = False
        try:
            return isinstance(lenient.parse(bytes(self._body[: self._line_end])), dict)
        except InvalidResponseError:
            return False

    def end(self) -> None:
        state = self._state
        state.add_json(bytes(self._body))
        # A single event may be the first line of a stream that was cut after it.
        may_be_cut = self._line_end is not None or state.finish_reason is None
        state.done = not (state.has_deltas and may_be_cut)

    def cut(self, error: ProviderError) -> ProviderError | None:
        return error


class _FailedBody:
    """A body that becomes the message of an error, also where it is incomplete."""

    def __init__(self) -> None:
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
        raise NotImplementedError


class HtmlBody(_FailedBody):
    """An HTML page instead of an answer: its text becomes the error message."""

    def __init__(self, state: StreamState) -> None:
        super().__init__()
        self._state = state

    def _error(self) -> ProviderError:
        text = redact(plain_text(self._body.decode("utf-8", "replace")), self._state.secret)
        return InvalidResponseError(f"the response is a page, no stream of events: {text}")


class ErrorBody(_FailedBody):
    """The body of a status other than 2xx."""

    def __init__(self, status: int, headers: dict[str, str], secret: str | None) -> None:
        super().__init__()
        self._status = status
        self._headers = headers
        self._secret = secret

    def _error(self) -> ProviderError:
        body = bytes(self._body[:MAX_ERROR_BODY_BYTES])
        return error_from_response(self._status, self._headers, body, self._secret)


def _check_emptiness(size: int) -> None:
    if size > MAX_EMPTY_BYTES:
        raise InvalidResponseError(f"{MAX_EMPTY_BYTES} bytes came without a word of an answer")


Decompress = Callable[[bytes], Iterator[bytes]]


def decompressor(encoding: str) -> Decompress | None:
    """Return a decompressor for a Content-Encoding, None for identity. Raises InvalidResponseError.

    Requests ask for identity, but some servers compress all the same.
    """
    names = [name.strip() for name in encoding.split(",")]
    encoding = ", ".join(name for name in names if name not in _NO_COMPRESSION)
    if not encoding:
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise InvalidResponseError(f"the response is encoded as {encoding[:50]}")
    return _Decompressor(may_be_bare=encoding == "deflate").parts


class _Decompressor:
    """Decompresses gzip, zlib and, if `may_be_bare`, raw deflate, which some servers send. A
    body that is declared as gzip and does not begin like gzip is passed on unchanged.

    In parts of STEP_BYTES, as a small piece may expand to gigabytes.
    """

    def __init__(self, *, may_be_bare: bool) -> None:
        self._packed = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._may_be_bare = may_be_bare
        self._start = b""
        self._has_begun = self._is_plain = False

    def parts(self, piece: bytes) -> Iterator[bytes]:
        piece, self._start = self._start + piece, b""
        if not self._has_begun:
            if len(piece) < len(_GZIP_START):
                self._start = piece
                return
            self._has_begun = True
            self._is_plain = not (self._may_be_bare or piece.startswith(_GZIP_START))
        if self._is_plain:
            yield from (piece[i : i + STEP_BYTES] for i in range(0, len(piece), STEP_BYTES))
            return
        is_full = False
        while piece or is_full:
            if self._packed.eof:  # a gzip file may have several members
                self._packed = zlib.decompressobj(_GZIP_OR_ZLIB)
            part = self._part(piece)
            yield part
            piece = self._packed.unconsumed_tail or self._packed.unused_data
            # All input may be consumed while output is still buffered.
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
