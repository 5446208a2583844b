"""daphne's HTTP request, whose body is judged by its head before it is kept, and whose response
waits for a client that does not take it.

Twisted itself writes a body to memory or a file, to its end, before anybody is asked; and keeps a
response, such as a stream of events, in memory until it is taken.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import unquote

from daphne.http_protocol import WebRequest

from aily.problems import Problem
from aily.web.body_limits import ANONYMOUS_BYTES, BodyLimits, problem_response, too_large

#: For so long what a refused client still sends is read and thrown away: closed at once, the
#: connection would be reset, and the client might not read the answer.
_LINGER_SECONDS = 5.0


class BoundedRequest(WebRequest):
    limits: ClassVar[BodyLimits]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._size = 0
        self._max_bytes: int | None = None
        self._has_all = self._is_refused = False
        self._admission: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    # --- The body -------------------------------------------------------------------------------
    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's names
        super().gotLength(length)
        if length is None or length > ANONYMOUS_BYTES:
            self.channel._networkProducer.pauseProducing()  # noqa: SLF001 - as daphne does
            # The request's own path is known once its body is there.
            path = unquote(self.channel._path.decode("latin-1"))  # noqa: SLF001
            self._admission = asyncio.ensure_future(self._admit(path, length))

    async def _admit(self, path: str, length: int | None) -> None:
        headers = [
            (name.lower(), value)
            for name, values in self.requestHeaders.getAllRawHeaders()
            for value in values
        ]
        try:
            self._max_bytes = await self.limits.max_bytes(path, headers, length)
        except Problem as problem:
            self._refuse(problem)
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self.channel is not None and not self._has_all:
            self.channel._networkProducer.resumeProducing()  # noqa: SLF001

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
            super().requestReceived(command, path, version)

    def _refuse(self, problem: Problem) -> None:
        """Answer past Twisted, which cannot before it has the whole request."""
        if self.channel is None or self._has_all:
            # Gone; or so small that it came in one read, and the application refuses it.
            return
        self._is_refused = True
        channel, transport = self.channel, self.channel.transport
        path = channel._path.decode("latin-1")  # noqa: SLF001
        status, headers, body = problem_response(problem, path)
        head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
        head += [name + b": " + value for name, value in headers]
        transport.write(b"\r\n".join([*head, b"", body]))
        channel.dataReceived = _discard
        channel._networkProducer.resumeProducing()  # noqa: SLF001
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, transport.loseConnection)

    # --- The response ---------------------------------------------------------------------------
    def handle_reply(self, message: dict[str, Any]) -> None:
        super().handle_reply(message)
        is_stream = message["type"] == "http.response.body" and message.get("more_body")
        if is_stream and self.producer is None and self.channel is not None:
            self.registerProducer(self, True)

    async def drained(self) -> None:
        """Return once the client keeps up, or is gone."""
        await self._writable.wait()

    # Twisted's IPushProducer.
    def pauseProducing(self) -> None:  # noqa: N802
        self._writable.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._writable.set()

    def stopProducing(self) -> None:  # noqa: N802
        self._writable.set()

    def finish(self) -> None:
        if self.producer is not None:
            self.unregisterProducer()
        super().finish()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        self._writable.set()
        super().connectionLost(reason)


def _discard(data: bytes) -> None:
    pass
