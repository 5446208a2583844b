"""Posts webhooks: one new connection each, to an address that was checked a moment before.

httpcore, httpx's own engine, lets the network backend be replaced: the address that was checked is
the one connected to, and TLS is still verified against the URL's name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import httpcore

from chat.delivery import addresses
from chat.llm.transport.connections import tls_context
from chat.reasons import Reason, ReasonError

#: Bound from the look-up of the name to the response's headers.
TIMEOUT_SECONDS = 15
#: The response's body is not used; reading its beginning lets a small response end properly.
BODY_BYTES = 1024
BODY_SECONDS = 1

Headers = list[tuple[bytes | str, bytes | str]]


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    #: Names in lower case.
    headers: dict[str, str]


class RequestFailedError(ReasonError):
    """There was no response; the reason says why."""


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects only to addresses that `addresses.resolve` has accepted."""

    def __init__(self) -> None:
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = httpcore.ConnectError("the name has no address")
        for address in await addresses.resolve(host, port):
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)


class WebhookClient:
    """HTTP client for webhooks, on one event loop. Keeps no connection between requests."""

    def __init__(self, max_connections: int) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls_context(),
            max_connections=max_connections,
            # A connection that is kept would outlive the check of its address.
            max_keepalive_connections=0,
            network_backend=_CheckedBackend(),
        )

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Response:
        """Send a request; no redirect is followed. Raises UnsafeURLError or RequestFailedError."""
        parsed = addresses.parse_url(url)
        target = httpcore.URL(
            scheme=parsed.raw_scheme,
            host=parsed.raw_host,
            port=addresses.port_of(parsed),
            target=parsed.raw_path,
        )
        all_headers: Headers = [
            ("host", parsed.netloc),
            ("user-agent", "aily"),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            *headers.items(),
        ]
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._post(target, all_headers, body)
        except TimeoutError as error:
            raise RequestFailedError(Reason.of("no_response", seconds=TIMEOUT_SECONDS)) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            reason = Reason.of("connection_failed", detail=str(error) or type(error).__name__)
            raise RequestFailedError(reason) from error
        except OSError as error:
            raise RequestFailedError(Reason.of("unresolved_name", host=parsed.host)) from error

    async def _post(self, url: httpcore.URL, headers: Headers, body: bytes) -> Response:
        async with self._pool.stream("POST", url, headers=headers, content=body) as response:
            with suppress(TimeoutError, httpcore.NetworkError, httpcore.ProtocolError):
                async with asyncio.timeout(BODY_SECONDS):
                    await _read_some(response)
            named = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in response.headers
            }
            return Response(response.status, named)


async def _read_some(response: httpcore.Response) -> None:
    read_bytes = 0
    async for chunk in response.aiter_stream():
        read_bytes += len(chunk)
        if read_bytes >= BODY_BYTES:
            return
