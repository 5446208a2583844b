"""The response to one request: whatever is due goes out in one write."""

from __future__ import annotations

from aiohttp import HttpVersion11, web

#: Bytes that the kernel has not taken. A client that reads too slowly is sent no more until it has.
MAX_WAITING_BYTES = 64 * 1024


class Output:
    """`put` what is due, then `flush` it, or `end` with it."""

    def __init__(self, request: web.BaseRequest, headers: dict[str, str]) -> None:
        self.response = web.StreamResponse(headers=headers)
        self._request = request
        self._transport = request.transport
        self._due = b""
        self._is_chunked = request.version >= HttpVersion11
        if self._is_chunked:
            self.response.enable_chunked_encoding()

    async def open(self) -> None:
        """Send the head."""
        await self.response.prepare(self._request)

    def put(self, data: bytes) -> None:
        self._due += data

    def flush(self) -> None:
        """Send what is due. It goes past aiohttp, whose writes have to be awaited, so that a timer
        can do it. Nothing is sent to a client that hung up: its call is about to be cancelled."""
        transport, data = self._transport, self._due
        if not data or transport is None or transport.is_closing():
            return
        self._due = b""
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def is_behind(self) -> bool:
        """Whether the client reads too slowly for more to be sent."""
        transport = self._transport
        return transport is not None and transport.get_write_buffer_size() > MAX_WAITING_BYTES

    async def end(self) -> None:
        """Send what is due and the end. Raises ConnectionError where the client has hung up."""
        await self.response.write_eof(self._due)

    def abort(self) -> None:
        """Send what is due and break the connection."""
        self.flush()
        if self._transport is not None:
            self._transport.abort()
