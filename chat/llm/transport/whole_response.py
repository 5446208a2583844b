"""Receives one response that is not streamed: all of it, within its limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from chat.llm.bodies import MAX_ERROR_BODY_BYTES, decompressor
from chat.llm.errors import AnswerTooLargeError, InvalidResponseError, ProviderError
from chat.llm.steps import TURN_SECONDS
from chat.llm.transport.deadlines import Deadlines
from chat.llm.transport.http1 import Connection
from chat.llm.vendor_errors import error_from_response


class WholeResponse:
    """The Receiver of one response on one connection. Of an error, its beginning is enough."""

    def __init__(self, max_bytes: int) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._max_bytes = max_bytes
        self._body = bytearray()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._deadlines: Deadlines | None = None
        self._is_open = True

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def request_id(self) -> str | None:
        """The header to quote to the provider's support."""
        headers = self.headers
        return headers.get("x-request-id") or headers.get("x-deepseek-request-id")

    async def run(
        self, connection: Connection, request: bytes, deadlines: Deadlines | None = None
    ) -> None:
        """Send the request and return when the response has ended. Raises ProviderError.

        The connection is closed unless the response has ended; then another call may use it.
        """
        self._deadlines = deadlines
        try:
            if deadlines is not None:
                deadlines.watch(self._end_with)
            connection.send(request, self)
            await self._ended
        finally:
            if deadlines is not None:
                deadlines.stop()
            if self._is_open:
                connection.abort()
            if self._ended.done() and not self._ended.cancelled():
                # A caller that is cancelled just now does not read it: avoid "never retrieved".
                self._ended.exception()

    async def content(self, secret: str | None) -> bytes | bytearray:
        """The body, decompressed. Raises the error for a status other than 2xx."""
        encoding = self.headers.get("content-encoding", "").strip().lower()
        content: bytes | bytearray = self._body
        try:
            unpack = decompressor(encoding)
            if unpack is not None:
                content = await self._joined(unpack(bytes(self._body)))
                self._body.clear()
        except InvalidResponseError:
            if self.is_success:
                raise
            # The status says enough, whether its body can be read or not.
        if not self.is_success:
            raise error_from_response(self.status, self.headers, bytes(content), secret)
        return content

    async def _joined(self, parts: Iterable[bytes]) -> bytearray:
        """The parts together. The event loop gets a turn while they are unpacked."""
        loop = asyncio.get_running_loop()
        content, until = bytearray(), loop.time() + TURN_SECONDS
        for part in parts:
            content += part
            self._check(len(content))
            if loop.time() >= until:
                await asyncio.sleep(0)
                until = loop.time() + TURN_SECONDS
        return content

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise AnswerTooLargeError(f"the response is larger than {self._max_bytes} bytes")

    # --- What the connection calls --------------------------------------------------------------
    def head(self, status: int, headers: dict[str, str]) -> None:
        self.status, self.headers = status, headers

    def body(self, piece: bytes) -> None:
        if self._ended.done():
            return
        self._body += piece
        if not self.is_success and len(self._body) >= MAX_ERROR_BODY_BYTES:
            self._finish()
            return
        try:
            self._check(len(self._body))
        except ProviderError as error:
            self._end_with(error)
        # Blank lines are keep-alives.
        if self._deadlines is not None and not piece.isspace():
            self._deadlines.payload_came(last=False)

    def end(self, *, is_framed: bool) -> None:
        self._is_open = False
        self._finish()

    def lost(self, error: ProviderError) -> None:
        self._is_open = False
        if self.status and not self.is_success:
            self._finish()
        else:
            self._end_with(error)

    def _finish(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _end_with(self, error: ProviderError) -> None:
        if not self._ended.done():
            # Its traceback would keep this response alive.
            self._ended.set_exception(error.with_traceback(None))
