"""One HTTP/1.1 connection to a provider, and the response that comes over it.

The receiver is called where data is read: a streamed answer is dozens of reads, and waking a
coroutine for each would cost more than all other work on it. httptools parses.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from chat.llm.errors import (
    InvalidResponseError,
    ProviderError,
    StaleConnectionError,
    TLSError,
    TruncatedError,
    UnreachableError,
)
from chat.llm.steps import StepQueue
from chat.llm.transport.rests import Rests

#: Parsed in one step. Chunks of a single byte take some 10 ns a byte.
PARSED_BYTES = 64 * 1024
#: Limit for all headers and trailers of a response, including interim responses.
MAX_HEAD_BYTES = 64 * 1024
#: Overhead that each header, or interim response, counts towards MAX_HEAD_BYTES.
HEADER_BYTES = 32
#: Limit of bytes in a row without body: extensions of chunks, for example, are unbounded.
MAX_SILENT_BYTES = 1024 * 1024
#: Limit of bytes held unparsed.
MAX_HELD_BYTES = 1024 * 1024
#: How a chunked body's last chunk begins, after the end of the one before.
_LAST_CHUNK = b"\r\n0\r\n"


class Receiver(Protocol):
    """Callbacks for one response. `end` or `lost` is called last and once; none of them raises."""

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Status and headers, whose names are in lower case."""

    def body(self, piece: bytes) -> None:
        """All body bytes of one read."""

    def end(self, *, is_framed: bool) -> None:
        """The response is complete. `is_framed`: by its length or last chunk, not by a close."""

    def lost(self, error: ProviderError) -> None:
        """The response cannot be completed."""


class Connection(asyncio.Protocol):
    """Sends one request after another. Calls `on_idle` when it can take the next one."""

    _transport: asyncio.Transport

    def __init__(
        self, on_idle: Callable[[Connection], None], steps: StepQueue, rests: Rests
    ) -> None:
        self._on_idle = on_idle
        self._steps = steps
        self._rests = rests
        #: Large reads, split into parts that each are parsed in one step, and later reads.
        self._parts: deque[bytes] = deque()
        self._is_stepping = False
        self._after: Callable[[], None] | None = None
        self._receiver: Receiver | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._is_used = False
        #: Whether the receiver wants a pause, whether it rests between two reads, and whether
        #: reading is paused.
        self._is_to_pause = self._is_resting = self._is_paused = False
        self._begin()

    def _begin(self) -> None:
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._status = 0
        self._silent_bytes = 0
        self._is_headed = self._is_head_delivered = False
        self._is_complete = self._keeps_alive = False
        #: Whether a byte of the response was received.
        self._has_begun = False
        self._pieces: list[bytes] = []
        #: Reads that wait unparsed while the connection is held; None: not held.
        self._held: list[bytes] | None = None
        self._held_bytes = 0
        self._tail = b""

    # --- For the caller -------------------------------------------------------------------------
    @property
    def is_open(self) -> bool:
        """Whether it can take a request: it is not closed, and no unrequested bytes arrived,
        which would be taken for the response."""
        return not (self._transport.is_closing() or self._has_unread())

    def _has_unread(self) -> bool:
        """Ask the kernel: the event loop may not have read the socket yet."""
        return bool(self._unread.poll(0))

    @property
    def is_complete(self) -> bool:
        """Whether the whole response was received. What was not delivered yet follows at once."""
        return self._is_complete

    def send(self, request: bytes, receiver: Receiver) -> None:
        """Send a whole request; its response goes to `receiver`."""
        self._receiver = receiver
        self._transport.write(request)

    def hold(self) -> None:
        """Do not parse until `release` or the end of the response.

        Reads are then only kept in a list, and while there are very many the connection rests
        between them: thousands of answers without a follower cost almost nothing. Not for a body
        with Content-Length, whose end only parsing can find.
        """
        if "content-length" not in self._headers:
            self._held, self._held_bytes = [], 0

    def release(self) -> None:
        """Parse what was held."""
        held, self._held = self._held, None
        self.end_rest()
        if held and self._receiver is not None:
            # The held bytes are older than the parts that wait.
            later = list(self._parts)
            self._parts.clear()
            self._receive(b"".join(held))
            if later:
                self._append_parts(later)

    def _append_parts(self, parts: list[bytes]) -> None:
        if self._receiver is None:  # the response has ended
            self.abort()
            return
        self._parts.extend(parts)
        self._schedule_parts()

    @property
    def has_unparsed(self) -> bool:
        """Whether received bytes are not parsed yet."""
        return bool(self._parts)

    def parse_until(self, until: float) -> None:
        """Parse waiting parts until the time `until` of the loop's clock."""
        loop = asyncio.get_running_loop()
        while self._parts and self._receiver is not None and loop.time() < until:
            self._parse(self._parts.popleft())

    def pause(self) -> None:
        """Stop reading until `resume`: the receiver is still working on what came."""
        self._is_to_pause = True
        self._pause_or_resume()

    def resume(self) -> None:
        self._is_to_pause = False
        self._pause_or_resume()

    def end_rest(self) -> None:
        """Read again, if it rests."""
        if self._is_resting:
            self._is_resting = False
            self._pause_or_resume()

    def _pause_or_resume(self) -> None:
        is_to_pause = self._is_to_pause or self._is_resting or bool(self._parts)
        if is_to_pause == self._is_paused or self._transport.is_closing():
            return
        self._is_paused = is_to_pause
        if is_to_pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once, by which the provider notices that it can stop. No callback follows."""
        self._receiver = None
        self._transport.abort()

    def close(self) -> None:
        self._receiver = None
        self._transport.close()

    # --- asyncio.Protocol -----------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._unread = select.poll()
        self._unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self._receiver is None:  # no request is pending
            self.abort()
            return
        self._has_begun = True
        if self._held is None and not self._parts and len(data) <= PARSED_BYTES:
            # The common case, without another call.
            self._tail = data[-len(_LAST_CHUNK) :]
            self._parse(data)
        else:
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        """Take a read, in steps if it is large."""
        if not self._parts and len(data) <= PARSED_BYTES:
            self._take(data)
            return
        slices = range(0, len(data), PARSED_BYTES)
        self._parts.extend(data[start : start + PARSED_BYTES] for start in slices)
        self._schedule_parts()

    def _schedule_parts(self) -> None:
        self._pause_or_resume()
        if self._parts and not self._is_stepping:
            self._is_stepping = True
            self._steps.add(self._step)

    def _step(self) -> bool:
        """Take the next part of large reads. Returns whether there are more."""
        if self._parts and self._receiver is not None:
            self._take(self._parts.popleft())
        if self._parts and self._receiver is not None:
            return True
        self._is_stepping = False
        self._parts.clear()
        self._pause_or_resume()
        after, self._after = self._after, None
        if after is not None:
            after()
        return False

    def _take(self, data: bytes) -> None:
        if self._held is None:
            self._tail = data[-len(_LAST_CHUNK) :]
            self._parse(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        seen = self._tail + data
        self._tail = seen[-len(_LAST_CHUNK) :]
        if _LAST_CHUNK in seen or self._held_bytes > MAX_HELD_BYTES:
            self.release()
        elif self._rests.may_begin(data, asyncio.get_running_loop().time()):
            self._is_resting = True
            self._rests.add(self)
            self._pause_or_resume()

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # Bytes after the end of the last response are ignored.
            self._keeps_alive = False
            if not self._is_complete:
                self._abort_with(InvalidResponseError(f"the response is not HTTP: {error}"))
                return
        if self._pieces:
            self._silent_bytes = 0
        else:
            self._silent_bytes += len(data)
            if self._is_silent_too_long():
                return
        if self._head_bytes > MAX_HEAD_BYTES:
            self._abort_with(
                InvalidResponseError(f"headers are larger than {MAX_HEAD_BYTES} bytes")
            )
            return
        self._deliver()

    def _is_silent_too_long(self) -> bool:
        limit = MAX_SILENT_BYTES if self._is_headed else MAX_HEAD_BYTES
        if self._silent_bytes <= limit:
            return False
        what = "a byte of a body" if self._is_headed else "the end of a head"
        self._abort_with(InvalidResponseError(f"{limit} bytes came without {what}"))
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.release()
        if self._parts:
            self._after = lambda: self._end_or_abort(exc)
        else:
            self._end_or_abort(exc)

    def _end_or_abort(self, exc: Exception | None) -> None:
        if self._held is not None:  # the parts were held again meanwhile
            self.connection_lost(exc)
            return
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        if exc is None and self._is_headed and self._ends_with_connection():
            receiver.end(is_framed=False)
            return
        receiver.lost(self._loss(exc))

    def _loss(self, exc: Exception | None) -> ProviderError:
        reason = str(exc or "") or "it was closed"
        if self._is_headed:
            return TruncatedError(f"the connection broke before the answer ended: {reason}")
        if self._is_used and not self._has_begun:
            return StaleConnectionError(f"no response: {reason}")
        # With TLS 1.3 a refused client certificate shows only after the handshake.
        is_tls = isinstance(exc, ssl.SSLError) and not isinstance(exc, ssl.SSLEOFError)
        return (TLSError if is_tls else UnreachableError)(f"no response: {reason}")

    def _ends_with_connection(self) -> bool:
        is_chunked = "chunked" in self._headers.get("transfer-encoding", "")
        return not (is_chunked or "content-length" in self._headers)

    def _abort_with(self, error: ProviderError) -> None:
        receiver = self._receiver
        self.abort()
        if receiver is not None:
            receiver.lost(error)

    def _deliver(self) -> None:
        """Call the receiver with the last read. It may close the connection in between."""
        if self._is_headed and not self._is_head_delivered and self._receiver is not None:
            self._is_head_delivered = True
            self._receiver.head(self._status, self._headers)
        if self._pieces and self._receiver is not None:
            piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            self._receiver.body(piece)
        if self._is_complete and self._receiver is not None:
            receiver, self._receiver = self._receiver, None
            self._finish()
            receiver.end(is_framed=True)

    def _finish(self) -> None:
        # Bytes after the end of the response: the connection cannot be used again.
        keeps_alive = self._keeps_alive and not self._parts
        self._is_used = True
        self.resume()
        self._begin()
        if keeps_alive:
            self._on_idle(self)
        else:
            self._transport.close()

    # --- What httptools calls -------------------------------------------------------------------
    def on_message_begin(self) -> None:
        if self._is_complete:  # an unrequested response
            self._keeps_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + HEADER_BYTES
        if not self._is_headed and self._head_bytes <= MAX_HEAD_BYTES:  # later ones are trailers
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._is_complete:
            return
        self._status = self._parser.get_status_code()
        self._is_headed = self._status >= 200  # not an interim response, such as 100 Continue

    def on_body(self, body: bytes) -> None:
        if not self._is_complete:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._is_complete:
            return
        if self._status < 200:
            self._headers.clear()
            self._head_bytes += HEADER_BYTES
        else:
            self._is_complete = True
            self._keeps_alive = self._parser.should_keep_alive()
