"""The one module that knows the HTTP library: httpx over aiohttp's connections.

httpx's own pool scans every connection for every request, which costs more CPU at a thousand
concurrent calls than the calls themselves; aiohttp's does not.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from functools import cache, lru_cache

import aiohttp
import certifi
import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

from chat.llm.errors import (
    ConnectTimeoutError,
    InvalidResponseError,
    ProviderError,
    TruncatedError,
    UnreachableError,
)

Client = AiohttpTransport
Response = httpx.Response
#: Waits for the next piece of a body, which is empty at the end.
Read = Callable[[], Awaitable[bytes]]
# InvalidURL stands outside of httpx's own tree, and the transport lets some of aiohttp's through.
HTTP_ERRORS = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError)

# Compression would hold events back until a block is full.
_HEADERS = {"user-agent": "aily", "accept-encoding": "identity"}


def build_client() -> Client:
    """A client without limits of its own: how many calls may run is the scheduler's decision.

    It is httpx's transport alone. What `httpx.AsyncClient` puts around one is of no use here
    (redirects, cookies, authentication, the environment's proxies) and a tenth of a call's CPU.
    """
    return AiohttpTransport(verify=_tls(), client=_build_session)


@cache
def _tls() -> ssl.SSLContext:
    """One a process: loading the authorities takes tens of milliseconds."""
    tls = ssl.create_default_context()  # the system's authorities, and those that come with us
    tls.load_verify_locations(certifi.where())
    return tls


def _build_session() -> aiohttp.ClientSession:
    # Left to itself the transport takes aiohttp's default of 100 connections.
    connector = aiohttp.TCPConnector(limit=0, ssl=_tls())
    # One client serves calls with different keys: no cookie may pass between them.
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    )


async def post(
    client: Client, url: str, body: bytes, headers: dict[str, str], connect_seconds: float
) -> Response:
    """Send a request and give its response once its headers have come, the body unread."""
    # `pool` becomes aiohttp's limit on getting a connection, name lookup and TLS included.
    timeout = {"connect": connect_seconds, "pool": connect_seconds}
    request = httpx.Request(
        "POST",
        _parse(url),
        headers={**_HEADERS, **headers},
        content=body,
        extensions={"timeout": timeout},
    )
    return await client.handle_async_request(request)


@lru_cache(maxsize=1024)
def _parse(url: str) -> httpx.URL:
    return httpx.URL(url)


class Body:
    """What a response says, piece by piece; decoded if it was encoded though we asked for none."""

    def __init__(self, response: Response) -> None:
        stream = response.stream
        self._content: aiohttp.StreamReader | None = None
        if "content-encoding" not in response.headers and isinstance(stream, AiohttpResponseStream):
            # httpx would read the same, through five layers for each piece.
            self._content = stream._aiohttp_response.content  # noqa: SLF001 - has no other name
            self.read: Read = self._content.readany
            self._wake = asyncio.Event()
            self._content.on_eof(self._wake.set)
        else:
            pieces = response.aiter_bytes()
            self.read = lambda: anext(pieces, b"")

    async def gather(self, seconds: float) -> None:
        """Let pieces come for so long, or until the last is there."""
        if self._content is None or self._content.is_eof():
            return
        self._wake.clear()
        timer = asyncio.get_running_loop().call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()


def provider_error(error: Exception, *, answer_began: bool) -> ProviderError:
    """The error of ours for one of HTTP_ERRORS.

    The transport folds every failed connection into a connect timeout, so that the kind has
    to be read from aiohttp's error, which it keeps as the cause.
    """
    wrapped = error.__cause__ if isinstance(error, httpx.HTTPError) else None
    cause = wrapped or error
    words = str(cause) or type(cause).__name__
    if isinstance(error, httpx.DecodingError):
        return InvalidResponseError(f"the response cannot be decoded: {words}")
    if answer_began:
        return TruncatedError(f"the connection broke before the answer ended: {words}")
    if isinstance(cause, aiohttp.ConnectionTimeoutError):
        return ConnectTimeoutError("no connection within the time limit")
    if isinstance(cause, aiohttp.ClientResponseError):
        return InvalidResponseError(f"the response is not HTTP: {cause.message}")
    return UnreachableError(f"no connection: {words}")
