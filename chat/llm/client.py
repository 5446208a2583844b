"""Client of a provider: one streamed call, from the request to the last token."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from types import TracebackType
from typing import Self

import msgspec

from chat.llm.errors import ConnectTimeoutError, ProviderError, StaleConnectionError
from chat.llm.requests import completions, encode_request
from chat.llm.stream_state import StreamState
from chat.llm.transport.connections import Connections, Origin
from chat.llm.transport.deadlines import Deadlines
from chat.llm.transport.delay_queue import DelayQueue
from chat.llm.transport.exchange import Exchange
from chat.llm.transport.http1 import Connection
from chat.llm.types import (
    AnswerLimits,
    ChatRequest,
    Completion,
    Delta,
    ReadDelay,
    TimeLimits,
    Upstream,
)


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

    async def _ask(
        self,
        upstream: Upstream,
        request: ChatRequest,
        limits: TimeLimits,
        on_delta: Callable[[Delta], None],
        read_delay: ReadDelay | None,
        answer_limits: AnswerLimits | None,
    ) -> Completion:
        if upstream.limits:
            limits = msgspec.structs.replace(limits, **dict(upstream.limits))
        deadlines = Deadlines(limits)
        api_key = self._next_key(upstream)
        target = completions(upstream, api_key)
        bytes_to_send = encode_request(target, upstream, request)
        state = StreamState(request.model, api_key, answer_limits)

        def exchange() -> Exchange:
            return Exchange(
                state,
                deadlines,
                on_delta,
                read_delay or ReadDelay(),
                self._delay_queue,
                self._connections.steps,
            )

        connection = self._connections.idle(target.origin)
        if connection is not None:
            # The server may have closed it, and other kept connections may be as old: on failure
            # the call goes over a new one.
            with suppress(StaleConnectionError):
                await exchange().run(connection, bytes_to_send)
                return state.completion()
        connection = await self._connect(target.origin, limits, deadlines)
        await exchange().run(connection, bytes_to_send)
        return state.completion()

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
