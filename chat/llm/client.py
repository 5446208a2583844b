"""Client of a provider: one call, from the request to the last token or vector."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from chat.llm.embeddings import max_response_bytes, read_vectors
from chat.llm.errors import ConnectTimeoutError, ProviderError, StaleConnectionError
from chat.llm.requests import Target, completions, embeddings, encode_request
from chat.llm.stream_state import StreamState
from chat.llm.transport.connections import Connections, Origin
from chat.llm.transport.deadlines import Deadlines
from chat.llm.transport.delay_queue import DelayQueue
from chat.llm.transport.exchange import Exchange
from chat.llm.transport.http1 import Connection
from chat.llm.transport.whole_response import WholeResponse
from chat.llm.types import (
    AnswerLimits,
    ChatRequest,
    Completion,
    Delta,
    Embeddings,
    EmbeddingsRequest,
    ReadDelay,
    TimeLimits,
    Upstream,
)

T = TypeVar("T")


class ProviderClient:
    """Calls providers over one pool of connections. One a process, on one event loop."""

    def __init__(self) -> None:
        self._connections = Connections()
        self._delay_queue = DelayQueue()
        #: Number of calls by provider: it selects the next of several API keys.
        self._calls: defaultdict[str, Iterator[int]] = defaultdict(count)

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
        read_delay: ReadDelay | None = None,
        answer_limits: AnswerLimits | None = None,
    ) -> Completion:
        """Make one call, without retries. `on_delta` gets the text as it comes; with `read_delay`
        later and in larger pieces. Limits of the provider replace those in `limits`.

        Raises ProviderError. Cancelling closes the connection at once, by which the provider
        notices that it can stop.
        """
        try:
            return await self._ask(upstream, request, limits, on_delta, read_delay, answer_limits)
        except ProviderError as error:
            error.hide(upstream.secrets)
            raise

    async def embed(
        self,
        upstream: Upstream,
        request: EmbeddingsRequest,
        count: int,
        limits: TimeLimits,
        max_vector_bytes: int,
    ) -> Embeddings:
        """Make one call for the vectors of `count` inputs, without retries.

        Raises ProviderError, and ResultTooLargeError for more bytes of vectors than allowed.
        """
        try:
            return await self._embed(upstream, request, count, limits, max_vector_bytes)
        except ProviderError as error:
            error.hide(upstream.secrets)
            raise

    async def _ask(
        self,
        upstream: Upstream,
        request: ChatRequest,
        limits: TimeLimits,
        on_delta: Callable[[Delta], None],
        read_delay: ReadDelay | None,
        answer_limits: AnswerLimits | None,
    ) -> Completion:
        limits = _limits_of(upstream, limits)
        deadlines = Deadlines(limits)
        api_key = self._next_key(upstream)
        target = completions(upstream, api_key)
        bytes_to_send = encode_request(target, upstream, request)
        state = StreamState(
            request.model, api_key, answer_limits, wants_logprobs=request.wants_logprobs
        )

        async def send(connection: Connection) -> None:
            exchange = Exchange(
                state,
                deadlines,
                on_delta,
                read_delay or ReadDelay(),
                self._delay_queue,
                self._connections.steps,
            )
            await exchange.run(connection, bytes_to_send)

        await self._send(target, limits, deadlines, send)
        return state.completion()

    async def _embed(
        self,
        upstream: Upstream,
        request: EmbeddingsRequest,
        count: int,
        limits: TimeLimits,
        max_vector_bytes: int,
    ) -> Embeddings:
        limits = _limits_of(upstream, limits)
        deadlines = Deadlines(limits)
        api_key = self._next_key(upstream)
        target = embeddings(upstream, api_key)
        bytes_to_send = encode_request(target, upstream, request)

        async def send(connection: Connection) -> WholeResponse:
            response = WholeResponse(max_response_bytes(max_vector_bytes))
            await response.run(connection, bytes_to_send, deadlines)
            return response

        response = await self._send(target, limits, deadlines, send)
        content = await response.content(api_key)
        vectors, usage = await read_vectors(content, count, max_vector_bytes, api_key)
        return Embeddings(vectors, usage, response.request_id)

    async def _send(
        self,
        target: Target,
        limits: TimeLimits,
        deadlines: Deadlines,
        send: Callable[[Connection], Awaitable[T]],
    ) -> T:
        """Make the exchange `send` over a kept connection, or over a new one."""
        connection = self._connections.idle(target.origin)
        if connection is not None:
            try:
                return await send(connection)
            except StaleConnectionError:
                # The server may have closed it, and other kept connections may be as old: the
                # call goes over a new one.
                pass
        connection = await self._connect(target.origin, limits, deadlines)
        return await send(connection)

    def _next_key(self, upstream: Upstream) -> str | None:
        """Use the keys in turn, so that the rate limits of all are used."""
        if not upstream.other_keys:
            return upstream.api_key
        keys = (upstream.api_key, *upstream.other_keys)
        return keys[next(self._calls[upstream.provider]) % len(keys)]

    async def _connect(
        self, origin: Origin, limits: TimeLimits, deadlines: Deadlines
    ) -> Connection:
        """Open a connection. Raises UnreachableError or a ProviderTimeoutError."""
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


def _limits_of(upstream: Upstream, limits: TimeLimits) -> TimeLimits:
    """The provider's own limits in place of the general ones."""
    if not upstream.limits:
        return limits
    return msgspec.structs.replace(limits, **dict(upstream.limits))
