"""Responses of server-sent events, bounded in memory, ended when access is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, aclosing, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aily.web.interruptions import Interruption
from aily.web.shutdown import shutdown_event

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
    one event. `events` is closed at the end in any case. `lost_access` gives the event that is set
    when the caller may read no more. `on_interruption` is called with the reason if the stream ends
    early; the bytes it returns are sent as the last event, unless the client is gone. `resources`
    is closed at the very end.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes],
        lost_access: AbstractAsyncContextManager[asyncio.Event],
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

    async def _send_all(self, receive: Receive, send: Send, lost: asyncio.Event) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        sending = asyncio.ensure_future(self._send_events(send))
        watches = {
            asyncio.ensure_future(disconnected(receive)): Interruption.DISCONNECTED,
            asyncio.ensure_future(lost.wait()): Interruption.ACCESS_LOST,
            asyncio.ensure_future(shutdown_event().wait()): Interruption.SHUTDOWN,
        }
        keep_alive = asyncio.ensure_future(self._keep_alive(send))
        try:
            await asyncio.wait([sending, *watches], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in (sending, keep_alive, *watches):
                future.cancel()
            await asyncio.wait([sending, keep_alive])
        reasons = (reason for watch, reason in watches.items() if _has_returned(watch))
        reason = None if _has_returned(sending) else next(reasons, Interruption.FAILED)
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

    async def _keep_alive(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        self._sent_at = loop.time()
        while True:
            await asyncio.sleep(max(self._sent_at + KEEP_ALIVE_SECONDS - loop.time(), 0.001))
            is_silent = loop.time() - self._sent_at >= KEEP_ALIVE_SECONDS
            # A client that does not read what it has needs no sign of life.
            if is_silent and not self._sending.locked():
                await self._send(send, _KEEP_ALIVE)
            elif is_silent:
                self._sent_at = loop.time()

    def _interrupted(self, reason: Interruption, sending: asyncio.Future[None]) -> bytes:
        if reason is Interruption.FAILED:
            logger.error("a stream of events failed", exc_info=sending.exception())
        return self._on_interruption(reason) if self._on_interruption is not None else b""


def _has_returned(future: asyncio.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


async def disconnected(receive: Receive) -> None:
    """Return when the client has closed its connection. Its body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
