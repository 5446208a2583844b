"""One HTTP/1.1 connection to a provider, and the response that comes over it.

What comes is handed on where it is read: a streamed answer is dozens of reads, and to wake a
coroutine for each would cost more than all that is done with it. httptools parses.
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
from chat.llm.turns import Turns

#: Parsed in one step. Chunks of a single byte take some 10 ns a byte.
PARSED_BYTES = 64 * 1024
#: Of all headers and trailers of a response, interim ones included.
MAX_HEAD_BYTES = 64 * 1024
#: What a header, or an interim response, counts beside its bytes.
HEADER_BYTES = 32
#: Read without a byte of a body: the extensions of chunks, say, have no end of their own.
MAX_SILENT_BYTES = 1024 * 1024
#: Held unread at the most.
MAX_HELD_BYTES = 1024 * 1024
#: How a chunked body's last chunk begins, after the end of the one before.
_LAST_CHUNK = b"\r\n0\r\n"


class Receiver(Protocol):
    """Whoever waits for a response. `end` or `lost` comes last, and once; none of them raises."""

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Names of headers are in lower case."""

    def body(self, piece: bytes) -> None:
        """Everything that one read brought."""

    def end(self, *, is_framed: bool) -> None:
        """`is_framed`: it had an end of its own, not just that of the connection."""

    def lost(self, error: ProviderError) -> None: ...


class Connection(asyncio.Protocol):
    """Takes one request after another. `on_idle` is told when it may take the next."""

    _transport: asyncio.Transport

    def __init__(self, on_idle: Callable[[Connection], None], turns: Turns) -> None:
        self._on_idle = on_idle
        self._turns = turns
        #: Large reads, in parts that each are parsed in one step, and what comes after them.
        self._parts: deque[bytes] = deque()
        self._is_stepping = False
        self._after: Callable[[], None] | None = None
        self._receiver: Receiver | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._is_used = False
        #: The receiver's wish, and what has come of it.
        self._is_to_pause = self._is_paused = False
        self._begin()

    def _begin(self) -> None:
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._status = 0
        self._silent_bytes = 0
        self._is_headed = self._is_head_told = False
        self._is_complete = self._keeps_alive = False
        #: Whether any byte of the response has come.
        self._has_begun = False
        self._pieces: list[bytes] = []
        #: What came while it was not to be looked at; None: it is looked at as it comes.
        self._held: list[bytes] | None = None
        self._held_bytes = 0
        self._tail = b""

    # --- For the caller -------------------------------------------------------------------------
    @property
    def is_open(self) -> bool:
        """Whether it may take a request. One that its server has closed, or on which something
        came that nobody asked for, may not: that would be taken for the response."""
        return not (self._transport.is_closing() or self._has_unread())

    def _has_unread(self) -> bool:
        """Ask the kernel: the event loop may not have come to it yet."""
        return bool(self._unread.poll(0))

    @property
    def is_complete(self) -> bool:
        """Whether all of the response is there: what was not handed on yet follows at once."""
        return self._is_complete

    def send(self, request: bytes, receiver: Receiver) -> None:
        """Send a whole request; its response goes to `receiver`."""
        self._receiver = receiver
        self._transport.write(request)

    def hold(self) -> None:
        """Do not look at what comes until `release`, or the end of the response.

        A read is then an item of a list: thousands of answers that nobody listens to are read
        without so much as parsing them. Of a body with a length, only parsing would find the end.
        """
        if "content-length" not in self._headers:
            self._held, self._held_bytes = [], 0

    def release(self) -> None:
        """Look at what was held."""
        held, self._held = self._held, None
        if held and self._receiver is not None:
            # It came before what waits for its turn.
            later = list(self._parts)
            self._parts.clear()
            self._receive(b"".join(held))
            if later:
                self._go_on_with(later)

    def _go_on_with(self, parts: list[bytes]) -> None:
        if self._receiver is None:  # the response has ended: they are nobody's
            self.abort()
            return
        self._parts.extend(parts)
        self._see_to_parts()

    @property
    def is_behind(self) -> bool:
        """Whether something has come that was not parsed yet."""
        return bool(self._parts)

    def catch_up(self, until: float) -> None:
        """Parse what waits for its turn now, but no longer than `until`, of the loop's clock."""
        loop = asyncio.get_running_loop()
        while self._parts and self._receiver is not None and loop.time() < until:
            self._parse(self._parts.popleft())

    def pause(self) -> None:
        """Read nothing more until `resume`: what has come is still being looked at."""
        self._is_to_pause = True
        self._pause_or_resume()

    def resume(self) -> None:
        self._is_to_pause = False
        self._pause_or_resume()

    def _pause_or_resume(self) -> None:
        is_to_pause = self._is_to_pause or bool(self._parts)
        if is_to_pause == self._is_paused or self._transport.is_closing():
            return
        self._is_paused = is_to_pause
        if is_to_pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Hang up at once, which is how a provider learns to stop. Nobody is told any more."""
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
        if self._receiver is None:  # nothing was asked for
            self.abort()
            return
        self._has_begun = True
        if self._held is None and not self._parts and len(data) <= PARSED_BYTES:
            # As most are: without a call more.
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
        self._see_to_parts()

    def _see_to_parts(self) -> None:
        self._pause_or_resume()
        if self._parts and not self._is_stepping:
            self._is_stepping = True
            self._turns.add(self._step)

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

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # What stands after the end of a connection's last response is nobody's.
            self._keeps_alive = False
            if not self._is_complete:
                self._lose(InvalidResponseError(f"the response is not HTTP: {error}"))
                return
        if self._pieces:
            self._silent_bytes = 0
        else:
            self._silent_bytes += len(data)
            if self._is_silent_too_long():
                return
        if self._head_bytes > MAX_HEAD_BYTES:
            self._lose(InvalidResponseError(f"headers are larger than {MAX_HEAD_BYTES} bytes"))
            return
        self._deliver()

    def _is_silent_too_long(self) -> bool:
        most = MAX_SILENT_BYTES if self._is_headed else MAX_HEAD_BYTES
        if self._silent_bytes <= most:
            return False
        what = "a byte of a body" if self._is_headed else "the end of a head"
        self._lose(InvalidResponseError(f"{most} bytes came without {what}"))
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.release()
        if self._parts:
            self._after = lambda: self._end_or_lose(exc)
        else:
            self._end_or_lose(exc)

    def _end_or_lose(self, exc: Exception | None) -> None:
        if self._held is not None:  # what waited was held once more
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
        words = str(exc or "") or "it was closed"
        if self._is_headed:
            return TruncatedError(f"the connection broke before the answer ended: {words}")
        if self._is_used and not self._has_begun:
            return StaleConnectionError(f"no response: {words}")
        # Of TLS 1.3, a client hears only then that the server refuses it.
        is_tls = isinstance(exc, ssl.SSLError) and not isinstance(exc, ssl.SSLEOFError)
        return (TLSError if is_tls else UnreachableError)(f"no response: {words}")

    def _ends_with_connection(self) -> bool:
        is_chunked = "chunked" in self._headers.get("transfer-encoding", "")
        return not (is_chunked or "content-length" in self._headers)

    def _lose(self, error: ProviderError) -> None:
        receiver = self._receiver
        self.abort()
        if receiver is not None:
            receiver.lost(error)

    def _deliver(self) -> None:
        """Hand on what the last read brought. The receiver may hang up in between."""
        if self._is_headed and not self._is_head_told and self._receiver is not None:
            self._is_head_told = True
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
        # What waits after the end of the response is nobody's.
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
        if self._is_complete:  # another response, which nobody asked for
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
