"""Responses of server-sent events, bounded in memory, ended when access is lost."""

from __future__ import annotations

import asyncio
import logging
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, aclosing, contextmanager, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aily.concurrency.jobs import Jobs
from aily.concurrency.signals import Signal
from aily.web.interruptions import Interruption, interruption_of

__all__ = ["EventStreamResponse", "Interruption"]

logger = logging.getLogger(__name__)

#: A comment this often keeps proxies from closing a stream on which nothing happens.
KEEP_ALIVE_SECONDS = 15.0
_KEEP_ALIVE = b": keep-alive\n\n"
_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


class EventStreamResponse(Response):
    """Sends `events`, each a whole server-sent event in bytes, as fast as the client reads them.

    The next event is asked for once the one before is sent, so a client that does not read holds
    one event. `events` is closed at the end in any case. `lost_access` gives the signal that is set
    when the caller may read no more. `on_interruption` is called with the reason if the stream ends
    early; the bytes it returns are sent as the last event, unless the client is gone. `resources`
    is closed at the very end.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes],
        lost_access: AbstractAsyncContextManager[Signal],
        *,
        on_interruption: Callable[[Interruption], bytes] | None = None,
        resources: ExitStack | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status_code = 200
        self.background = None
        self._events = events
        self._lost_access = lost_access
        self._on_interruption = on_interruption
        self._resources = resources or ExitStack()
        self._sending = asyncio.Lock()
        self._sent_at = 0.0
        self.init_headers({**_HEADERS, **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._resources:
            async with aclosing(self._events), self._lost_access as lost:
                # By ASGI 2.4 `send` raises OSError once the client is gone.
                with suppress(OSError):
                    await self._send_all(receive, send, lost)

    async def _send_all(self, receive: Receive, send: Send, lost: Signal) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        sending = asyncio.ensure_future(self._send_events(send))
        try:
            async with interruption_of(receive, lost) as interruption:
                with self._kept_alive(send):
                    waited: list[asyncio.Future[Any]] = [sending, interruption]
                    await asyncio.wait(waited, return_when=FIRST_COMPLETED)
        finally:
            sending.cancel()
            await asyncio.wait([sending])
        reason = None
        if not _has_returned(sending):
            reason = interruption.result() if _has_returned(interruption) else Interruption.FAILED
        last = b"" if reason is None else self._interrupted(reason, sending)
        if reason is not Interruption.DISCONNECTED:
            await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _send_events(self, send: Send) -> None:
        async for event in self._events:
            await self._send(send, event)

    async def _send(self, send: Send, event: bytes) -> None:
        async with self._sending:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        self._sent_at = asyncio.get_running_loop().time()

    @contextmanager
    def _kept_alive(self, send: Send) -> Iterator[None]:
        """Send a comment whenever nothing was sent for a while. A timer: most streams end before,
        and need no task for it."""
        loop = asyncio.get_running_loop()
        self._sent_at = loop.time()
        comments = Jobs("sending a comment")
        timer: asyncio.TimerHandle

        def check() -> None:
            nonlocal timer
            # A client that does not read what it has needs no sign of life.
            if self._sending.locked():
                self._sent_at = loop.time()
            if loop.time() - self._sent_at >= KEEP_ALIVE_SECONDS:
                comments.spawn(self._send_comment(send))
                self._sent_at = loop.time()
            timer = loop.call_at(self._sent_at + KEEP_ALIVE_SECONDS, check)

        timer = loop.call_later(KEEP_ALIVE_SECONDS, check)
        try:
            yield
        finally:
            timer.cancel()
            comments.cancel()

    async def _send_comment(self, send: Send) -> None:
        with suppress(OSError):
            await self._send(send, _KEEP_ALIVE)

    def _interrupted(self, reason: Interruption, sending: asyncio.Future[None]) -> bytes:
        if reason is Interruption.FAILED:
            logger.error("a stream of events failed", exc_info=sending.exception())
        return self._on_interruption(reason) if self._on_interruption is not None else b""


def _has_returned(future: asyncio.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
