"""REST: submitting, watching and cancelling tasks."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing, suppress
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import reverse
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotency_key, takes_idempotency_key
from accounts.lost_access import lost_access
from aily.database.replica import may_read_replica
from aily.database.threads import in_database
from aily.problems import InvalidRequest, NotFound, Unauthenticated
from aily.redis.clients import RedisAway
from aily.rest.json_input import one_line
from aily.rest.openapi import documented_responses
from aily.rest.pages import Page
from aily.web.connections import connections
from aily.web.shutdown import draining
from chat import scheduler
from chat.api.task_schemas import TaskAccepted, TaskFilter, TaskItem, TaskOut, listed
from chat.events import START, EventId
from chat.models import Lane, Task
from chat.models.ids import is_own
from chat.models.tasks import Status as TaskStatus
from chat.models.tasks import TaskQuerySet
from chat.services.cancel import cancel
from chat.services.follow import check_owner, follow
from chat.services.pieces import Followed
from chat.services.submission import CompositeRequest, SceneRequest
from chat.services.submit import Accepted, Submission, submit

router = Router(tags=["tasks"])

#: A comment this often keeps proxies from closing a stream on which nothing happens.
SSE_KEEP_ALIVE_SECONDS = 15


def _readable(owner_id: int) -> TaskQuerySet:
    tasks: TaskQuerySet = Task.objects.owned_by(owner_id)
    return tasks.select_related("scene", "model__provider").defer("messages", "params")


def _load(owner_id: int, task_id: UUID) -> Task:
    task: Task | None = _readable(owner_id).filter(pk=task_id).first() if is_own(task_id) else None
    if task is None:
        raise NotFound("There is no such task.", field="task_id")
    _add_places([task])
    return task


def _add_places(tasks: Sequence[Task]) -> None:
    queued = [task for task in tasks if task.status == TaskStatus.QUEUED]
    if not queued:
        return
    # The place is a courtesy: without Redis the tasks are still what was asked for.
    with suppress(*RedisAway):
        waiting = [(task.model.pool, str(task.leader_id or task.pk)) for task in queued]
        for task, place in zip(queued, scheduler.places_of(waiting), strict=True):
            found = scheduler.later(place, scheduler.Place.of_retry(task.not_before))
            if found is not None:
                task.position, task.eta_seconds = found.position, found.eta_seconds
                task.waiting_for = found.waiting_for


class _TaskPage(Page):
    """With the places of those that wait: one round trip a page."""

    def paginate_queryset(self, *args: Any, **kwargs: Any) -> Any:
        page = super().paginate_queryset(*args, **kwargs)
        _add_places(page["items"])
        return page


# --- Submitting ---------------------------------------------------------------------------------
def _composite(scene: str, body: SceneRequest) -> CompositeRequest:
    given = {name: getattr(body, name) for name in body.model_fields_set}
    return CompositeRequest.model_construct(scene=scene, **given)


async def _submit(request: AuthenticatedRequest, body: CompositeRequest, lane: Lane) -> Accepted:
    submission = Submission(
        owner_id=request.auth.user.pk,
        request=body,
        default_lane=lane,
        idempotency_key=idempotency_key(request),
        api_key_id=request.auth.api_key.pk if request.auth.api_key else None,
    )
    return await submit(submission)


async def _answer(
    request: AuthenticatedRequest, response: HttpResponse, body: CompositeRequest, sync: bool | None
) -> Status[Any]:
    must_wait = sync if sync is not None else not settings.LLM_API_ASYNC_DEFAULT
    lane = Lane.INTERACTIVE if must_wait else Lane.NORMAL
    accepted = await _submit(request, body, lane)
    response["Location"] = reverse("api-1:get_task", args=[accepted.task_id])
    if not must_wait:
        return Status(202, accepted)
    owner_id, task_id = request.auth.user.pk, UUID(accepted.task_id)
    if not await _ends_in_time(request, accepted):
        response["Retry-After"] = "1"
        return Status(202, await in_database(_load, owner_id, task_id))
    return Status(200, await in_database(_load, owner_id, task_id))


async def _ends_in_time(request: AuthenticatedRequest, accepted: Accepted) -> bool:
    """Wait for the task's end, up to the limit or until this process is to stop.

    Raises Unauthenticated when the access of the request is taken away meanwhile.
    """
    async with lost_access(request) as lost:
        ending = asyncio.ensure_future(_wait_for_end(accepted, request.auth.user.pk))
        stopping = asyncio.ensure_future(draining().wait())
        losing = asyncio.ensure_future(lost.wait())
        try:
            await asyncio.wait(
                [ending, stopping, losing],
                timeout=settings.SYNC_WAIT_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if lost.is_set():
                raise Unauthenticated("This access was taken away, or has ended.")
            if not ending.done():
                return False
            ending.result()
            return True
        finally:
            for waiting in (stopping, losing, ending):
                waiting.cancel()
            await asyncio.wait([ending])


async def _wait_for_end(accepted: Accepted, owner_id: int) -> None:
    frames = follow(accepted.task_id, owner_id, text=False, is_new=accepted.waits_alone)
    async with aclosing(frames):
        async for _ in frames:
            pass


_RESPONSES: dict[Any, Any] = {200: TaskOut, 202: TaskAccepted | TaskOut}
_LOCATION = {"headers": {"Location": {"$ref": "#/components/headers/Location"}}}
_LOCATED: dict[Any, Any] = {200: _LOCATION, 202: _LOCATION}
_EVENTS = {
    "schema": {
        "type": "object",
        "description": "A server-sent event, as in chat/PROTOCOL.md.",
        "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
    },
    "example": 'id: 1-1\nevent: task.started\ndata: {"type": "task.started", "id": "1-1"}\n\n',
}
_STREAM: dict[Any, Any] = {200: {**_LOCATION, "content": {"text/event-stream": _EVENTS}}}


class Wait(Schema):
    sync: bool | None = Field(
        None, description="True: wait for the result, up to SYNC_WAIT_SECONDS."
    )


class Resume(Schema):
    after: str | None = Field(None, description="The last event id seen; Last-Event-ID wins.")


@router.post(
    "/prompts/{slug:scene}/api",
    response=_RESPONSES,
    url_name="submit_prompt",
    openapi_extra=documented_responses(_LOCATED),
)
@takes_idempotency_key
async def submit_prompt(
    request: AuthenticatedRequest,
    response: HttpResponse,
    scene: str,
    body: SceneRequest,
    wait: Query[Wait],
) -> Status[Any]:
    """Run a scene. Answers 202 once the task is committed, or waits for its result."""
    return await _answer(request, response, _composite(scene, body), wait.sync)


@router.post(
    "/request",
    response=_RESPONSES,
    url_name="submit_request",
    openapi_extra=documented_responses(_LOCATED, 404),
)
@takes_idempotency_key
async def submit_request(
    request: AuthenticatedRequest,
    response: HttpResponse,
    body: CompositeRequest,
    wait: Query[Wait],
) -> Status[Any]:
    """Run a scene, messages or both, within a conversation or not."""
    return await _answer(request, response, body, wait.sync)


# --- Streams ------------------------------------------------------------------------------------
@router.post(
    "/prompts/{slug:scene}/stream",
    url_name="stream_prompt",
    openapi_extra=documented_responses(_STREAM),
)
@takes_idempotency_key
async def stream_prompt(
    request: AuthenticatedRequest, scene: str, body: SceneRequest
) -> StreamingHttpResponse:
    """Run a scene and stream the task's events (text/event-stream)."""
    with _place(request) as place:
        accepted = await _submit(request, _composite(scene, body), Lane.INTERACTIVE)
        return _event_stream(
            request, accepted.task_id, START, place.pop_all(), is_new=accepted.waits_alone
        )


@router.post(
    "/request/stream", url_name="stream_request", openapi_extra=documented_responses(_STREAM, 404)
)
@takes_idempotency_key
async def stream_request(
    request: AuthenticatedRequest, body: CompositeRequest
) -> StreamingHttpResponse:
    """Run a composite request and stream the task's events (text/event-stream)."""
    with _place(request) as place:
        accepted = await _submit(request, body, Lane.INTERACTIVE)
        return _event_stream(
            request, accepted.task_id, START, place.pop_all(), is_new=accepted.waits_alone
        )


@router.get(
    "/tasks/{uuid:task_id}/events",
    url_name="task_events",
    openapi_extra=documented_responses(_STREAM),
)
async def task_events(
    request: AuthenticatedRequest, task_id: UUID, resume: Query[Resume]
) -> StreamingHttpResponse:
    """A task's events after a cursor, then live to the end (text/event-stream)."""
    with _place(request) as place:
        await check_owner(request.auth.user.pk, task_id)
        after = _cursor(request, resume.after)
        return _event_stream(request, str(task_id), after, place.pop_all())


def _place(request: AuthenticatedRequest) -> ExitStack:
    """One of the user's connections. Raises LimitReached."""
    place = ExitStack()
    place.enter_context(connections().opened(request.auth.user.pk))
    return place


def _cursor(request: HttpRequest, after: str | None) -> EventId:
    last_event_id = request.headers.get("Last-Event-ID")
    field, value = ("Last-Event-ID", last_event_id) if last_event_id else ("query.after", after)
    if not value:
        return START
    try:
        return EventId.parse(value)
    except ValueError:
        raise InvalidRequest('An event id looks like "2-17".', field=field) from None


class _EventStream(StreamingHttpResponse):
    """Ends what it streams when it is closed, even before a client that does not read, and gives
    back its place among the user's connections.

    Django leaves the first to the freeing of the response, which may come late.
    """

    def __init__(self, events: AsyncGenerator[bytes], place: ExitStack) -> None:
        super().__init__(events, content_type="text/event-stream")
        self._events = events
        self._place = place
        self._loop = asyncio.get_running_loop()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._place:
            async with aclosing(self._events):
                async for event in self._events:
                    yield event

    def close(self) -> None:
        """On any thread; of one that was never sent as well."""
        super().close()
        with suppress(RuntimeError):  # the loop is closed, and its connections with it
            self._loop.call_soon_threadsafe(self._place.close)


def _event_stream(
    request: AuthenticatedRequest,
    task_id: str,
    after: EventId,
    place: ExitStack,
    *,
    is_new: bool = False,
) -> StreamingHttpResponse:
    events = _server_sent_events(request, task_id, after, is_new)
    response = _EventStream(events, place)
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    response["Location"] = reverse("api-1:get_task", args=[task_id])
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
        stopping = asyncio.ensure_future(draining().wait())
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
                one = coming.result()
                if one is None:
                    return
                yield _server_sent_event(one)
                coming = asyncio.ensure_future(anext(frames, None))
        finally:
            for waiting in (stopping, losing, coming):
                waiting.cancel()
            await asyncio.wait([coming])


def _server_sent_event(one: Followed) -> bytes:
    event_id = f"id: {one.event_id}\n" if one.event_id else ""
    return f"{event_id}event: {one.type}\n".encode() + b"data: " + one_line(one.frame) + b"\n\n"


# --- Tasks --------------------------------------------------------------------------------------
@router.get("/tasks", response=list[TaskItem], url_name="list_tasks")
@may_read_replica
@paginate(_TaskPage)
def list_tasks(request: AuthenticatedRequest, filters: Query[TaskFilter]) -> TaskQuerySet:
    """Your tasks, without their results: those are in the tasks themselves."""
    # Ids begin with the time, and have the indexes.
    by_id = filters.ordering.replace("created_at", "id")
    return listed(filters.apply(_readable(request.auth.user.pk))).order_by(by_id)


@router.get("/tasks/{uuid:task_id}", response=TaskOut, url_name="get_task")
async def get_task(request: AuthenticatedRequest, task_id: UUID) -> Task:
    """One of your tasks, with its place in the queue or its result."""
    return await in_database(_load, request.auth.user.pk, task_id)


@router.post("/tasks/{uuid:task_id}/cancel", response=TaskOut, url_name="cancel_task")
async def cancel_task(request: AuthenticatedRequest, task_id: UUID) -> Task:
    """Stop a task for good; what it has answered so far is kept. Harmless on an ended one."""
    await cancel(request.auth.user.pk, task_id)
    return await in_database(_load, request.auth.user.pk, task_id)
