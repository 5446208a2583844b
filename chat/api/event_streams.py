"""A task's events as a server-sent event stream (text/event-stream)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, ExitStack, aclosing, suppress

from django.http import HttpRequest, StreamingHttpResponse

from accounts.authentication import AuthenticatedRequest
from accounts.lost_access import lost_access
from aily.problems import InvalidRequest
from aily.rest.json_input import one_line
from aily.web.connections import connections
from aily.web.shutdown import shutdown_event
from chat.events import START, EventId
from chat.exceptions import because
from chat.reasons import Reason
from chat.services.follow import follow
from chat.services.pieces import Followed

#: A comment this often keeps proxies from closing a stream on which nothing happens.
SSE_KEEP_ALIVE_SECONDS = 15


def open_connection(request: AuthenticatedRequest) -> ExitStack:
    """Count one more connection of the user, until the stack is closed. Raises LimitReached."""
    connection = ExitStack()
    connection.enter_context(connections().opened(request.auth.user.pk))
    return connection


def cursor_of(request: HttpRequest, after: str | None) -> EventId:
    """The last event that the client has seen. Raises InvalidRequest."""
    last_event_id = request.headers.get("Last-Event-ID")
    field, value = ("Last-Event-ID", last_event_id) if last_event_id else ("query.after", after)
    if not value:
        return START
    try:
        return EventId.parse(value)
    except ValueError:
        raise because(InvalidRequest, Reason("event_id"), field=field) from None


class _EventStream(StreamingHttpResponse):
    """A response that ends its events when it is closed, even if the client reads none of them, and
    then closes its place among the user's connections.

    Django ends the events when the response is freed, which may be late.
    """

    def __init__(self, events: AsyncGenerator[bytes], connection: ExitStack) -> None:
        super().__init__(events, content_type="text/event-stream")
        self._events = events
        self._connection = connection
        self._loop = asyncio.get_running_loop()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._connection:
            async with aclosing(self._events):
                async for event in self._events:
                    yield event

    def close(self) -> None:
        """May be called on any thread, also for a response that was never sent."""
        super().close()
        with suppress(RuntimeError):  # the loop is closed, and its connections with it
            self._loop.call_soon_threadsafe(self._connection.close)


def event_stream(
    request: AuthenticatedRequest,
    task_id: str,
    after: EventId,
    connection: ExitStack,
    *,
    is_new: bool = False,
) -> StreamingHttpResponse:
    events = _server_sent_events(request, task_id, after, is_new)
    response = _EventStream(events, connection)
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    response["Location"] = f"/api/llmchat/tasks/{task_id}"
    return response


async def _server_sent_events(
    request: AuthenticatedRequest, task_id: str, after: EventId, is_new: bool
) -> AsyncGenerator[bytes]:
    owner_id = request.auth.user.pk
    async with AsyncExitStack() as open_stream:
        frames = follow(task_id, owner_id, after, is_new=is_new)
        await open_stream.enter_async_context(aclosing(frames))
        lost = await open_stream.enter_async_context(lost_access(request))
        coming = asyncio.ensure_future(anext(frames, None))
        stopping = asyncio.ensure_future(shutdown_event().wait())
        losing = asyncio.ensure_future(lost.wait())
        try:
            while True:
                await asyncio.wait(
                    [coming, stopping, losing],
                    timeout=SSE_KEEP_ALIVE_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if stopping.done() or losing.done():
                    # Between two events: the client goes on elsewhere after the last one's id, if
                    # it still may.
                    return
                if not coming.done():
                    yield b": keep-alive\n\n"
                    continue
                followed = coming.result()
                if followed is None:
                    return
                yield server_sent_event(followed)
                coming = asyncio.ensure_future(anext(frames, None))
        finally:
            for waiting in (stopping, losing, coming):
                waiting.cancel()
            await asyncio.wait([coming])


def server_sent_event(followed: Followed) -> bytes:
    """One event of a stream; a client that resumes gives back its id."""
    event_id = f"id: {followed.event_id}\n" if followed.event_id else ""
    head = f"{event_id}event: {followed.type}\n".encode()
    return head + b"data: " + one_line(followed.frame) + b"\n\n"
