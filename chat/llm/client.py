"""The worker's side of a provider: one streamed call, from request to the last token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from typing import NamedTuple, Self

import httpx
import msgspec

from chat.llm.answer import Answer
from chat.llm.connections import Connections, Origin
from chat.llm.deadlines import Deadlines
from chat.llm.errors import (
    AuthError,
    BadRequestError,
    ConnectTimeoutError,
    ProviderError,
    StaleConnectionError,
    UnreachableError,
)
from chat.llm.exchange import Exchange
from chat.llm.holds import Holds
from chat.llm.http1 import Connection
from chat.llm.turns import Turns
from chat.llm.types import (
    AnswerLimits,
    ChatRequest,
    Completion,
    Delta,
    Patience,
    TimeLimits,
    Upstream,
)

_PORTS = {"http": 80, "https": 443}


class ProviderClient:
    """Calls providers over one pool of connections. One a process, on one event loop."""

    def __init__(self) -> None:
        self._connections = Connections()
        self._holds = Holds()
        self._turns = Turns()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection that waits for a call."""
        await self._connections.aclose()

    async def ask(
        self,
        upstream: Upstream,
        request: ChatRequest,
        limits: TimeLimits,
        on_delta: Callable[[Delta], None],
        patience: Patience | None = None,
        answer_limits: AnswerLimits | None = None,
    ) -> Completion:
        """Make one call, without retries. `on_delta` is given what comes, as it comes or, with
        `patience`, somewhat later and more at a time.

        Raises ProviderError. Cancelling the caller closes the connection at once, which is how a
        provider learns to stop.
        """
        deadlines = Deadlines(limits)
        address = _address(upstream.base_url, upstream.api_key)
        written = _written(address, upstream.provider, request)
        answer = Answer(request.model, upstream.api_key, answer_limits)

        def exchange() -> Exchange:
            return Exchange(
                answer, deadlines, on_delta, patience or Patience(), self._holds, self._turns
            )

        try:
            connection = self._connections.idle(address.origin)
            if connection is not None:
                # Its server may have given it up, and others that are kept may be as old: then the
                # call goes over a new one.
                with suppress(StaleConnectionError):
                    await exchange().run(connection, written)
                    return answer.completion()
            connection = await self._connect(address.origin, limits, deadlines)
            await exchange().run(connection, written)
            return answer.completion()
        except ProviderError as error:
            error.hide((upstream.api_key or "",))
            raise

    async def _connect(
        self, origin: Origin, limits: TimeLimits, deadlines: Deadlines
    ) -> Connection:
        """A new one. Raises UnreachableError or one of the timeouts."""
        left = deadlines.seconds_left
        try:
            async with asyncio.timeout(min(limits.connect_seconds, left)):
                return await self._connections.connect(origin)
        except TimeoutError:
            error: ProviderError = (
                deadlines.passed()
                if left <= limits.connect_seconds
                else ConnectTimeoutError("no connection within the time limit")
            )
            raise error from None


class _Address(NamedTuple):
    """Where a provider's completions are, and the head of a request up to what each call adds."""

    origin: Origin
    head: bytes


@lru_cache(maxsize=1024)
def _address(base_url: str, api_key: str | None) -> _Address:
    """Raises UnreachableError or AuthError where the URL or the key cannot be used."""
    try:
        url = httpx.URL(base_url.rstrip("/") + "/chat/completions")
    except httpx.InvalidURL as error:
        raise UnreachableError(f"no connection: {error}") from error
    port = url.port or _PORTS.get(url.scheme)
    if port is None or not url.host:
        raise UnreachableError("no connection: the URL is neither http: nor https:")
    if api_key and not (api_key.isascii() and api_key.isprintable()):
        raise AuthError("the API key holds characters that no header can carry")
    lines = [
        b"POST " + url.raw_path + b" HTTP/1.1",
        b"host: " + url.netloc,
        b"user-agent: aily",
        b"accept: text/event-stream",
        # Compression would hold events back until a block is full.
        b"accept-encoding: identity",
        b"content-type: application/json",
        *([b"authorization: Bearer " + api_key.encode()] if api_key else []),
    ]
    origin = Origin(url.raw_host.decode("ascii"), port, url.scheme == "https")
    return _Address(origin, b"\r\n".join(lines))


def _written(address: _Address, provider: str, request: ChatRequest) -> bytes:
    """The whole request. Raises BadRequestError."""
    try:
        body = msgspec.json.encode(request.body(provider))
    except (TypeError, ValueError) as error:
        raise BadRequestError(f"the request cannot be written as JSON: {error}") from error
    trace = f"\r\ntraceparent: {request.traceparent}" if request.traceparent else ""
    end = f"{trace}\r\ncontent-length: {len(body)}\r\n\r\n"
    return address.head + end.encode() + body
