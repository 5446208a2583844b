"""The HTTP transport of the `mcp` package's client: its requests are sent as aily sends its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

import httpx2

from aily.observability import tracing
from chat.tools.endpoints import Endpoint
from chat.tools.exchange import (
    ByteBudget,
    OutgoingRequest,
    StreamedResponse,
    Target,
    header_lines,
    send,
)
from chat.tools.results import ToolErrorCode, ToolFault

#: How long a server may take to end a session, for which nobody waits.
_GOODBYE_SECONDS = 2.0


class McpTransport(httpx2.AsyncBaseTransport):
    """Sends the package's requests as aily sends its own: no redirects, only allowed addresses."""

    def __init__(
        self,
        endpoint: Endpoint,
        budget: ByteBudget,
        headers: Iterable[tuple[str, str]],
        on_fault: Callable[[], None],
        *,
        is_repeatable: bool,
    ) -> None:
        self._endpoint = endpoint
        self._budget = budget
        self._credentials = tuple(headers)
        self._is_repeatable = is_repeatable
        self._on_fault = on_fault
        #: What ended a POST, if something did.
        self.fault: ToolFault | None = None
        #: How the last answer broke off, if one did: the package may still go on with it.
        self.broken: ToolFault | None = None
        #: The status of the last POST.
        self.status = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET" and "last-event-id" not in request.headers:
            # A stream of what a server has to say by itself: no call waits for that.
            return httpx2.Response(405, request=request)
        if request.method == "DELETE":
            async with asyncio.timeout(_GOODBYE_SECONDS):
                return await self._send(request)
        self.status = 0
        try:
            response = await self._send(request)
        except ToolFault as fault:
            self.fail(fault)
            raise
        self.status = response.status_code
        return response

    def fail(self, fault: ToolFault) -> None:
        """Note the first fault, and end the work: the package would try again or wait."""
        self.fault = self.fault or fault
        self._on_fault()

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        response = await send(self._outgoing(request, body), self._budget)
        headers = [(name, value) for name, value in response.headers.items()]
        stream = _ResponseStream(response, self)
        return httpx2.Response(response.status, headers=headers, stream=stream, request=request)

    def _outgoing(self, request: httpx2.Request, body: bytes) -> OutgoingRequest:
        url = request.url
        target = Target(
            url.scheme,
            url.raw_host.decode("ascii"),
            url.port,
            url.netloc,
            url.raw_path,
            self._endpoint.may_reach,
        )
        own = {name.lower() for name, _ in self._credentials}
        sent = [(name, value) for name, value in request.headers.items() if name not in own]
        if parent := tracing.traceparent():
            sent.append(("traceparent", parent))
        return OutgoingRequest(
            request.method,
            target,
            header_lines([*sent, *self._credentials]),
            body,
            is_repeatable=self._is_repeatable or b'"tools/call"' not in body,
        )


@dataclass
class _ResponseStream(httpx2.AsyncByteStream):
    """The body of a response, for the package."""

    response: StreamedResponse
    transport: McpTransport

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self.response.pieces():
                yield piece
        except ToolFault as fault:
            if fault.code == ToolErrorCode.TRUNCATED:
                self.transport.broken = fault
                raise httpx2.ReadError(fault.message) from None
            self.transport.fail(fault)
            raise

    async def aclose(self) -> None:
        self.response.close()
