"""One HTTP exchange with a tool server, over the connections of chat/llm/transport: the same rules
of addresses, TLS and heads. Bounded in bytes; no redirect is followed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

import httpx

from aily.concurrency.loops import close_with_loop, per_loop
from chat.llm.errors import (
    ForbiddenAddressError,
    ProviderError,
    StaleConnectionError,
    TruncatedError,
    UnreachableError,
)
from chat.llm.transport.connections import Connections, Origin
from chat.llm.transport.http1 import Connection
from chat.tools.results import ToolErrorCode, ToolFault

CONNECT_SECONDS = 10.0
#: Bytes that may wait for the reader before the connection is paused.
_MAX_WAITING_BYTES = 256 * 1024
_PORTS = {"http": 80, "https": 443}


@per_loop
def get_connections() -> Connections:
    """The connections of this loop, which are closed with it."""
    connections = Connections()
    close_with_loop(connections.aclose)
    return connections


@dataclass(slots=True)
class ByteBudget:
    """How many bytes the responses of one call may have together."""

    limit: int
    received: int = 0

    def take(self, size: int) -> None:
        """Count bytes that have come. Raises ToolFault where the limit is passed."""
        self.received += size
        if self.received > self.limit:
            raise ToolFault(
                ToolErrorCode.TOO_LARGE,
                f"The tool's answer is larger than {self.limit} bytes, and was not read.",
            )


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is sent to, in the parts of its URL."""

    scheme: str
    host: str
    port: int | None
    netloc: bytes
    raw_path: bytes
    may_reach: Callable[[str], bool] | None

    @property
    def origin(self) -> Origin:
        return Origin(
            self.host,
            self.port or _PORTS[self.scheme],
            self.scheme == "https",
            may_reach=self.may_reach,
        )


def target_of(url: str, may_reach: Callable[[str], bool] | None) -> Target:
    """Parse a URL. Raises ToolFault."""
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ToolFault(ToolErrorCode.UNREACHABLE, f"The URL cannot be used: {error}") from None
    if parsed.scheme not in ("http", "https") or not host:
        raise ToolFault(
            ToolErrorCode.UNREACHABLE, "The URL cannot be used: it is neither http: nor https:."
        )
    return Target(parsed.scheme, host, parsed.port, parsed.netloc, parsed.raw_path, may_reach)


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """`is_repeatable`: it may be sent again where a kept connection turns out to be closed."""

    method: str
    target: Target
    headers: tuple[tuple[str, str], ...]
    body: bytes
    is_repeatable: bool

    def encode(self) -> bytes:
        head = [
            self.method.encode() + b" " + self.target.raw_path + b" HTTP/1.1",
            b"host: " + self.target.netloc,
            b"user-agent: aily",
            # A compressed answer of some bytes may unpack to gigabytes.
            b"accept-encoding: identity",
            *(f"{name}: {value}".encode("latin-1") for name, value in self.headers),
        ]
        if self.body or self.method not in ("GET", "DELETE"):
            head.append(b"content-length: %d" % len(self.body))
        return b"\r\n".join(head) + b"\r\n\r\n" + self.body


class StreamedResponse:
    """The Receiver of one response, whose pieces are read as they come.

    The connection is not read while much waits for the reader.
    """

    def __init__(self, budget: ByteBudget) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._budget = budget
        self._pieces: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._is_over = False
        self._error: ToolFault | ProviderError | None = None
        self._connection: Connection | None = None
        self._changed = asyncio.Event()

    def begin(self, connection: Connection, request: bytes) -> None:
        self._connection = connection
        connection.send(request, self)

    async def wait_for_head(self) -> None:
        """Return once the response's head has come. Raises ToolFault, or StaleConnectionError of a
        kept connection that was closed."""
        while not self.status:
            self._raise_error()
            await self._change()
        self._raise_error()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises ToolFault."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._waiting_bytes -= len(piece)
                if self._connection is not None:
                    self._connection.resume()
                yield piece
            self._raise_error()
            if self._is_over:
                return
            await self._change()

    async def content(self) -> bytes:
        """The whole body. Raises ToolFault."""
        return b"".join([piece async for piece in self.pieces()])

    def close(self) -> None:
        """Close the connection unless the response has ended; then another may use it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _raise_error(self) -> None:
        if isinstance(self._error, StaleConnectionError) and not self.status:
            raise self._error
        if isinstance(self._error, ProviderError):
            raise fault_of(self._error)
        if self._error is not None:
            raise self._error

    def _fail(self, error: ToolFault | ProviderError) -> None:
        self._error = self._error or error
        self.close()
        self._changed.set()

    # --- What the connection calls --------------------------------------------------------------
    def head(self, status: int, headers: dict[str, str]) -> None:
        self.status, self.headers = status, headers
        try:
            self._check_head()
        except ToolFault as fault:
            self._fail(fault)
        self._changed.set()

    def _check_head(self) -> None:
        if 300 <= self.status < 400:
            raise ToolFault(
                ToolErrorCode.REDIRECT,
                "The tool's server redirects to another address, which is not followed.",
            )
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise ToolFault(
                ToolErrorCode.INVALID_RESPONSE,
                "The tool's server compresses its answer though it was asked not to.",
            )
        length = self.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and len(length) < 20:
            left = self._budget.limit - self._budget.received
            if int(length) > left:
                self._budget.take(int(length))

    def body(self, piece: bytes) -> None:
        try:
            self._budget.take(len(piece))
        except ToolFault as fault:
            self._fail(fault)
            return
        self._pieces.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes > _MAX_WAITING_BYTES and self._connection is not None:
            self._connection.pause()
        self._changed.set()

    def end(self, *, is_framed: bool) -> None:
        self._connection = None
        self._is_over = True
        self._changed.set()

    def lost(self, error: ProviderError) -> None:
        self._connection = None
        if type(error) is UnreachableError:
            # There was a connection, and the request went over it.
            error = TruncatedError(error.message)
        self._error = self._error or error
        self._changed.set()


async def send(request: OutgoingRequest, budget: ByteBudget) -> StreamedResponse:
    """Send a request and return once the response's head has come. The caller closes it.

    Raises ToolFault. A request that is not repeatable is sent at most once.
    """
    connections, origin = get_connections(), request.target.origin
    encoded = request.encode()
    connection = connections.idle(origin)
    if connection is not None:
        try:
            return await _begin(connection, encoded, budget)
        except StaleConnectionError as error:
            if not request.is_repeatable:
                raise fault_of(error) from None
    return await _begin(await _connect(connections, origin), encoded, budget)


async def _begin(connection: Connection, encoded: bytes, budget: ByteBudget) -> StreamedResponse:
    response = StreamedResponse(budget)
    try:
        response.begin(connection, encoded)
        await response.wait_for_head()
    except BaseException:
        response.close()
        raise
    return response


async def _connect(connections: Connections, origin: Origin) -> Connection:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await connections.connect(origin)
    except TimeoutError:
        raise ToolFault(
            ToolErrorCode.UNREACHABLE,
            f"The tool's server cannot be reached: no connection within {CONNECT_SECONDS:g} s.",
        ) from None
    except ProviderError as error:
        raise fault_of(error) from None


async def check_connection(url: str, may_reach: Callable[[str], bool] | None) -> None:
    """Open a connection to a server, and close it. Raises ToolFault."""
    connection = await _connect(get_connections(), target_of(url, may_reach).origin)
    connection.close()


def fault_of(error: ProviderError) -> ToolFault:
    """What an error of the transport means for a call of a tool."""
    if isinstance(error, ForbiddenAddressError):
        return ToolFault(
            ToolErrorCode.FORBIDDEN_ADDRESS,
            "The tool's server is at an address that its calls may not go to.",
        )
    if isinstance(error, TruncatedError | StaleConnectionError):
        return ToolFault(
            ToolErrorCode.TRUNCATED,
            "The connection to the tool's server broke before its answer was whole: whether the "
            "call was carried out is not known.",
        )
    if isinstance(error, UnreachableError):
        return ToolFault(
            ToolErrorCode.UNREACHABLE, f"The tool's server cannot be reached: {error.message}."
        )
    return ToolFault(
        ToolErrorCode.INVALID_RESPONSE, f"The tool's server answers no HTTP: {error.message}."
    )


def header_lines(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The headers that a request sends, without those that `OutgoingRequest` writes itself."""
    own = {"host", "user-agent", "accept-encoding", "content-length", "connection"}
    return tuple((name, value) for name, value in headers if name.lower() not in own)
