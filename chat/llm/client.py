"""The worker's side of a provider: one streamed call, from request to the last token."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from types import TracebackType
from typing import Self

import msgspec

from chat.llm.answer import Answer
from chat.llm.errors import ConnectTimeoutError, ProviderError, StaleConnectionError
from chat.llm.requests import completions, written
from chat.llm.transport.connections import Connections, Origin
from chat.llm.transport.deadlines import Deadlines
from chat.llm.transport.exchange import Exchange
from chat.llm.transport.holds import Holds
from chat.llm.transport.http1 import Connection
from chat.llm.types import (
    AnswerLimits,
    ChatRequest,
    Completion,
    Delta,
    Patience,
    TimeLimits,
    Upstream,
)


class ProviderClient:
    """Calls providers over one pool of connections. One a process, on one event loop."""

    def __init__(self) -> None:
        self._connections = Connections()
        self._holds = Holds()
        #: By provider: how many calls there were, which says whose turn it is of several keys.
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
        patience: Patience | None = None,
        answer_limits: AnswerLimits | None = None,
    ) -> Completion:
        """Make one call, without retries. `on_delta` is given what comes, as it comes or, with
        `patience`, somewhat later and more at a time. The provider's own limits replace `limits`.

        Raises ProviderError. Cancelling the caller closes the connection at once, which is how a
        provider learns to stop.
        """
        try:
            return await self._ask(upstream, request, limits, on_delta, patience, answer_limits)
        except ProviderError as error:
            error.hide(upstream.secrets)
            raise

    async def _ask(
        self,
        upstream: Upstream,
        request: ChatRequest,
        limits: TimeLimits,
        on_delta: Callable[[Delta], None],
        patience: Patience | None,
        answer_limits: AnswerLimits | None,
    ) -> Completion:
        if upstream.limits:
            limits = msgspec.structs.replace(limits, **dict(upstream.limits))
        deadlines = Deadlines(limits)
        api_key = self._next_key(upstream)
        target = completions(upstream, api_key)
        bytes_to_send = written(target, upstream, request)
        answer = Answer(request.model, api_key, answer_limits)

        def exchange() -> Exchange:
            return Exchange(
                answer,
                deadlines,
                on_delta,
                patience or Patience(),
                self._holds,
                self._connections.turns,
            )

        connection = self._connections.idle(target.origin)
        if connection is not None:
            # Its server may have given it up, and others that are kept may be as old: then the call
            # goes over a new one.
            with suppress(StaleConnectionError):
                await exchange().run(connection, bytes_to_send)
                return answer.completion()
        connection = await self._connect(target.origin, limits, deadlines)
        await exchange().run(connection, bytes_to_send)
        return answer.completion()

    def _next_key(self, upstream: Upstream) -> str | None:
        """One after the other, so that the limits a key has are shared out."""
        if not upstream.other_keys:
            return upstream.api_key
        keys = (upstream.api_key, *upstream.other_keys)
        return keys[next(self._calls[upstream.provider]) % len(keys)]

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
