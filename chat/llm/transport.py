"""The one module that knows the HTTP library: httpx over aiohttp's connections.

httpx's own pool scans every connection for every request, which costs more CPU at a thousand
concurrent calls than the calls themselves; aiohttp's does not.
"""

from __future__ import annotations

import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy

import aiohttp
import certifi
import httpx
from httpx_aiohttp import AiohttpTransport

from chat.llm.errors import (
    ConnectTimeoutError,
    InvalidResponseError,
    ProviderError,
    TruncatedError,
    UnreachableError,
)

Client = httpx.AsyncClient
Response = httpx.Response
# InvalidURL stands outside of httpx's own tree, and the transport lets some of aiohttp's through.
HTTP_ERRORS = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError)


def build_client() -> Client:
    """A client without limits of its own: how many calls may run is the scheduler's decision."""
    tls = ssl.create_default_context()  # the system's authorities, and those that come with us
    tls.load_verify_locations(certifi.where())
    transport = AiohttpTransport(verify=tls, client=lambda: _build_session(tls))
    return httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        # One client serves calls with different keys: no cookie may pass between them.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        # Compression would hold events back until a block is full.
        headers={"user-agent": "aily", "accept-encoding": "identity"},
    )


def _build_session(tls: ssl.SSLContext) -> aiohttp.ClientSession:
    # Left to itself the transport takes aiohttp's default of 100 connections.
    connector = aiohttp.TCPConnector(limit=0, ssl=tls)
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    )


async def post(
    client: Client, url: str, body: bytes, headers: dict[str, str], connect_seconds: float
) -> Response:
    """Send a request and give its response once its headers have come, the body unread."""
    # `pool` becomes aiohttp's limit on getting a connection, name lookup and TLS included.
    timeout = httpx.Timeout(None, connect=connect_seconds, pool=connect_seconds)
    request = client.build_request("POST", url, content=body, headers=headers, timeout=timeout)
    return await client.send(request, stream=True)


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
