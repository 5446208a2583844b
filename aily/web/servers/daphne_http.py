"""daphne's HTTP request, with bounded memory.

A body is accepted or refused by the request's head, and the response waits for a client that does
not read. Twisted itself writes a body to memory or a file, to its end, before the application runs,
and keeps a response, such as a stream of events, in memory until the client has read it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, BinaryIO
from urllib.parse import unquote

from asgiref.typing import ASGIReceiveCallable, ASGIReceiveEvent, HTTPRequestEvent
from daphne.http_protocol import WebRequest
from twisted.web.http import RESPONSES

from aily.concurrency.gates import Gate
from aily.problems import Problem
from aily.web.body_limits import ANONYMOUS_BYTES, BodyLimits, problem_response, too_large

#: Bytes of a large body that are in memory at once.
_PIECE_BYTES = 65_536
#: How long a refused client's bytes are read and thrown away: closed at once, the connection would
#: be reset, and the client might not read the response.
_LINGER_SECONDS = 5.0

_ORIGIN = re.compile(rb"https?://[^/?#]*/?", re.IGNORECASE)

# Twisted's table has no newer ones, such as 422 and 429, and would write "Unknown Status".
RESPONSES.update(
    {status: status.phrase.encode() for status in HTTPStatus if status not in RESPONSES}
)


class LargeBody:
    """A body in a temporary file, which the application reads a piece at a time.

    daphne puts a body into its queue before the application runs, all of it. To daphne this one is
    empty: `next_message` takes the place of its one empty message.
    """

    def __init__(self, content: BinaryIO) -> None:
        self._content = content
        self._content.seek(0)
        self._is_begun = self._is_over = False

    async def next_message(self, receive: ASGIReceiveCallable) -> ASGIReceiveEvent:
        """ASGI's `receive`: pieces of the body, then daphne's own events."""
        if not self._is_begun:
            self._is_begun = True
            message = await receive()
            if message["type"] != "http.request":
                return message
        if self._is_over or self._content.closed:
            return await receive()
        piece = self._content.read(_PIECE_BYTES)
        self._is_over = len(piece) < _PIECE_BYTES
        # Other requests go on between two pieces.
        await asyncio.sleep(0)
        return HTTPRequestEvent(type="http.request", body=piece, more_body=not self._is_over)

    # As daphne and Twisted see it.
    @property
    def closed(self) -> bool:
        return self._content.closed

    def read(self, size: int = -1) -> bytes:
        return b""

    def seek(self, *where: int) -> None:
        pass

    def close(self) -> None:
        self._content.close()


class BoundedRequest(WebRequest):
    #: A file, in memory or on disk, or a LargeBody.
    content: Any

    def __init__(self, *args: object, **options: object) -> None:
        # Applications read bodies themselves: Twisted would parse each media type, and each form.
        super().__init__(*args, parsePOSTFormSubmission=False, **options)
        self._size = 0
        self._max_bytes: int | None = None
        self._has_all = self._is_refused = False
        self._admission: asyncio.Task[None] | None = None
        self._writable = Gate()
        #: Of a request that has a large one.
        self.body: LargeBody | None = None

    # --- The body -------------------------------------------------------------------------------
    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's names
        super().gotLength(length)
        if length is None or length > ANONYMOUS_BYTES:
            self.channel.transport.pauseProducing()
            path = unquote(self._head_path())
            self._admission = asyncio.ensure_future(self._admit(path, length))

    async def _admit(self, path: str, length: int | None) -> None:
        try:
            limits: BodyLimits = self.server.body_limits
            self._max_bytes = await limits.max_bytes(path, self._headers(), length)
        except Problem as problem:
            self._refuse(problem)
        else:
            self._go_on()

    def _headers(self) -> list[tuple[bytes, bytes]]:
        return [
            (name.lower(), value)
            for name, values in self.requestHeaders.getAllRawHeaders()
            for value in values
        ]

    def _go_on(self) -> None:
        if self.channel is not None and not self._has_all:
            self.channel.transport.resumeProducing()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        if self._is_refused:
            return
        self._size += len(data)
        if self._max_bytes is not None and self._size > self._max_bytes:
            self._refuse(too_large(self._max_bytes))
        else:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802
        self._has_all = True
        if not self._is_refused:
            super().requestReceived(command, _without_origin(path), version)

    def process(self) -> object:
        """Called by Twisted once it has all of the request."""
        if self._size > ANONYMOUS_BYTES:
            self.content = self.body = LargeBody(self.content)
        return super().process()

    def _head_path(self) -> str:
        """The path as sent: the request's own attributes are set once its body has come."""
        path: bytes = self.channel._path  # noqa: SLF001 - docs/private-parts.md
        return _without_origin(path).decode("latin-1")

    def _refuse(self, problem: Problem) -> None:
        """Respond without Twisted, which can respond only once it has the whole request."""
        if self.channel is None or self._has_all:
            # The client is gone; or the body came in one read, and the application refuses it.
            return
        self._is_refused = True
        channel, transport = self.channel, self.channel.transport
        status, headers, body = problem_response(problem, self._head_path(), self._headers())
        head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
        head += [name + b": " + value for name, value in headers]
        transport.write(b"\r\n".join([*head, b"", body]))
        channel.dataReceived = _discard
        transport.resumeProducing()
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, transport.loseConnection)

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        """daphne's own errors, such as of bytes that no header may have: not as a page."""
        path = unquote(self.uri.partition(b"?")[0].decode("latin-1"))
        _, headers, content = problem_response(_ServerError(body, status), path, self._headers())
        start = {"type": "http.response.start", "status": status, "headers": headers}
        self.handle_reply(start)
        self.handle_reply({"type": "http.response.body", "body": content})

    # --- The response ---------------------------------------------------------------------------
    def handle_reply(self, message: Mapping[str, object]) -> None:
        super().handle_reply(message)
        is_stream = message["type"] == "http.response.body" and message.get("more_body")
        if is_stream and self.producer is None and self.channel is not None:
            self.registerProducer(self, True)

    async def drained(self) -> None:
        """Return once the client keeps up, or is gone."""
        await self._writable.wait()

    # Twisted's IPushProducer.
    def pauseProducing(self) -> None:  # noqa: N802
        self._writable.close()

    def resumeProducing(self) -> None:  # noqa: N802
        self._writable.open()

    def stopProducing(self) -> None:  # noqa: N802
        self._writable.open()

    def finish(self) -> None:
        if self.producer is not None:
            self.unregisterProducer()
        super().finish()

    def application_ended(self) -> None:
        """Cut the connection if the application ended in the middle of its response, by an
        exception or because it was cancelled: the client must not wait for the rest, nor take what
        came for the whole."""
        if self._response_started and not self.finished and self.channel is not None:
            self.channel.transport.abortConnection()

    def handle_exception(self, exception: BaseException) -> None:
        # daphne's would begin another response, and so raise, which ends its checks for good.
        if not self._response_started:
            super().handle_exception(exception)

    def connectionLost(self, reason: object) -> None:  # noqa: N802
        self._writable.open()
        super().connectionLost(reason)


class _ServerError(Problem):
    """What daphne answers by itself."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        http = HTTPStatus(status)
        self.status, self.title = status, http.phrase  # type: ignore[misc]
        self.code = http.name.lower()  # type: ignore[misc]


def _without_origin(target: bytes) -> bytes:
    """The path and query of a request's target, which clients send to a proxy with scheme and host
    (RFC 9112, section 3.2.2). Twisted would take all of it for the path."""
    if target.startswith(b"/"):
        return target
    return _ORIGIN.sub(b"/", target, count=1)


def _discard(data: bytes) -> None:
    pass
