"""REST: submitting, watching and cancelling tasks."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import reverse
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field

from accounts.access import lost_access
from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotency_key, takes_idempotency_key
from aily.database import in_database
from aily.draining import draining
from aily.openapi import answers, example
from aily.problems import InvalidRequest, NotFound, Unauthenticated
from aily.redis import RedisAway
from aily.replica import may_read_replica
from aily.rest import Moment, Page
from chat import scheduler
from chat.events import START, EventId
from chat.models import Lane, Task
from chat.models.ids import is_own
from chat.models.tasks import ACTIVE, TaskQuerySet
from chat.models.tasks import Status as TaskStatus
from chat.services.cancel import cancel
from chat.services.follow import Followed, check_owner, follow
from chat.services.submission import CompositeRequest, LaneName, SceneRequest
from chat.services.submit import Accepted, Submission, submit

router = Router(tags=["tasks"])

#: A comment this often keeps proxies from closing a stream on which nothing happens.
SSE_KEEP_ALIVE_SECONDS = 15


class WaitingFor(Schema):
    model_config = example(kind="pause", until="2026-11-29T15:00:00Z")

    kind: Literal["pause", "breaker", "retry"] = Field(
        description="pause: the provider said that there are too many calls. breaker: it fails, "
        "and is left alone. retry: the task's own next attempt."
    )
    until: datetime | None = Field(description="About when; null: until a probe has ended.")


_WAITING_FOR = "What keeps it beside its turn; null when nothing does."


class TaskAccepted(Schema):
    model_config = example(
        task_id="0198c0de-9c33-7000-8000-0123456789ab",
        status="queued",
        position=3,
        eta_seconds=1.5,
        waiting_for=None,
        history_from=None,
    )

    task_id: UUID
    status: str
    position: int | None = Field(description="1 is next; null when it is not waiting.")
    eta_seconds: float | None = Field(
        description="Until it starts, `waiting_for` included; null when that is not known."
    )
    waiting_for: WaitingFor | None = Field(None, description=_WAITING_FOR)
    history_from: UUID | None = Field(
        None,
        description="The first message of the conversation that the model is sent; null: all are.",
    )


class Result(Schema):
    model_config = example(
        text="The main point is this.", reasoning="", finish_reason="stop", tool_calls=[]
    )

    text: str
    reasoning: str
    finish_reason: str | None
    tool_calls: list[dict[str, Any]]


class Timings(Schema):
    created_at: datetime
    started_at: datetime | None
    first_token_at: datetime | None
    finished_at: datetime | None


class TaskOut(Schema):
    model_config = example(
        task_id="0198c0de-9c33-7000-8000-0123456789ab",
        status="succeeded",
        attempt=1,
        scene="summarize",
        model="deepseek-flash",
        is_simulated=False,
        lane="normal",
        conversation_id=None,
        history_from=None,
        position=None,
        eta_seconds=None,
        waiting_for=None,
        usage={"prompt_tokens": 400, "completion_tokens": 80, "total_tokens": 480},
        error=None,
        served_from="provider",
        metadata={"order": "4711"},
    )

    task_id: UUID = Field(alias="pk")
    status: Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]
    attempt: int
    scene: str | None
    model: str = Field(alias="model.name")
    is_simulated: bool = Field(alias="model.provider.is_simulated")
    lane: LaneName
    conversation_id: UUID | None
    history_from: UUID | None = Field(
        description="The first message of the conversation that the model was sent, where older "
        "ones were left out, as it has grown too long; null: all were sent."
    )
    position: int | None
    eta_seconds: float | None
    waiting_for: WaitingFor | None = Field(None, description=_WAITING_FOR)
    result: Result | None = Field(description="Null until there is any text.")
    usage: dict[str, Any] | None
    error: dict[str, Any] | None
    served_from: Literal["provider", "flight", "cache"] = Field(
        description="Where the answer comes from: a call of its own, the call of an equal request "
        "at the same moment, or the cache. The last two cost nothing."
    )
    metadata: dict[str, Any]
    timings: Timings

    @staticmethod
    def resolve_scene(task: Task) -> str | None:
        return task.scene.slug if task.scene else None

    @staticmethod
    def resolve_lane(task: Task) -> str:
        return Lane(task.lane).name.lower()

    @staticmethod
    def resolve_result(task: Task) -> dict[str, Any] | None:
        has_any = task.text or task.reasoning or task.status == TaskStatus.SUCCEEDED
        return task.result() if has_any else None

    @staticmethod
    def resolve_usage(task: Task) -> dict[str, Any] | None:
        return task.usage or None

    @staticmethod
    def resolve_timings(task: Task) -> Task:
        return task


class TaskFilter(Schema):
    status: Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"] | None = (
        None
    )
    active: bool | None = Field(None, description="True: queued or running. False: ended.")
    scene: str | None = Field(None, max_length=50)
    conversation_id: UUID | None = None
    lane: LaneName | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    ordering: Literal["created_at", "-created_at"] = "-created_at"

    def apply(self, tasks: TaskQuerySet) -> TaskQuerySet:
        wanted: dict[str, Any] = {
            "status": self.status,
            "scene__slug": self.scene,
            "conversation_id": self.conversation_id,
            "lane": Lane[self.lane.upper()] if self.lane else None,
            "created_at__gte": self.created_after,
            "created_at__lt": self.created_before,
        }
        tasks = tasks.filter(**{name: value for name, value in wanted.items() if value is not None})
        if self.active is None:
            return tasks
        return tasks.filter(status__in=ACTIVE) if self.active else tasks.exclude(status__in=ACTIVE)


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
    openapi_extra=answers(_LOCATED),
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
    openapi_extra=answers(_LOCATED, 404),
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
    "/prompts/{slug:scene}/stream", url_name="stream_prompt", openapi_extra=answers(_STREAM)
)
@takes_idempotency_key
async def stream_prompt(
    request: AuthenticatedRequest, scene: str, body: SceneRequest
) -> StreamingHttpResponse:
    """Run a scene and stream the task's events (text/event-stream)."""
    accepted = await _submit(request, _composite(scene, body), Lane.INTERACTIVE)
    return _event_stream(request, accepted.task_id, START, is_new=accepted.waits_alone)


@router.post("/request/stream", url_name="stream_request", openapi_extra=answers(_STREAM, 404))
@takes_idempotency_key
async def stream_request(
    request: AuthenticatedRequest, body: CompositeRequest
) -> StreamingHttpResponse:
    """Run a composite request and stream the task's events (text/event-stream)."""
    accepted = await _submit(request, body, Lane.INTERACTIVE)
    return _event_stream(request, accepted.task_id, START, is_new=accepted.waits_alone)


@router.get("/tasks/{uuid:task_id}/events", url_name="task_events", openapi_extra=answers(_STREAM))
async def task_events(
    request: AuthenticatedRequest, task_id: UUID, resume: Query[Resume]
) -> StreamingHttpResponse:
    """A task's events after a cursor, then live to the end (text/event-stream)."""
    await check_owner(request.auth.user.pk, task_id)
    return _event_stream(request, str(task_id), _cursor(request, resume.after))


def _cursor(request: HttpRequest, after: str | None) -> EventId:
    last_event_id = request.headers.get("Last-Event-ID")
    field, value = ("Last-Event-ID", last_event_id) if last_event_id else ("query.after", after)
    if not value:
        return START
    try:
        return EventId.parse(value)
    except ValueError:
        raise InvalidRequest('An event id looks like "2-17".', field=field) from None


def _event_stream(
    request: AuthenticatedRequest, task_id: str, after: EventId, *, is_new: bool = False
) -> StreamingHttpResponse:
    response = StreamingHttpResponse(
        _server_sent_events(request, task_id, after, is_new), content_type="text/event-stream"
    )
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    response["Location"] = reverse("api-1:get_task", args=[task_id])
    return response


async def _server_sent_events(
    request: AuthenticatedRequest, task_id: str, after: EventId, is_new: bool
) -> AsyncGenerator[bytes]:
    frames = follow(task_id, request.auth.user.pk, after, is_new=is_new)
    async with aclosing(frames), lost_access(request) as lost:
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
    return f"{event_id}event: {one.type}\n".encode() + b"data: " + one.frame + b"\n\n"


# --- Tasks --------------------------------------------------------------------------------------
@router.get("/tasks", response=list[TaskOut], url_name="list_tasks")
@may_read_replica
@paginate(_TaskPage)
def list_tasks(request: AuthenticatedRequest, filters: Query[TaskFilter]) -> TaskQuerySet:
    """Your tasks."""
    # Ids begin with the time, and have the indexes.
    by_id = filters.ordering.replace("created_at", "id")
    return filters.apply(_readable(request.auth.user.pk)).order_by(by_id)


@router.get("/tasks/{uuid:task_id}", response=TaskOut, url_name="get_task")
async def get_task(request: AuthenticatedRequest, task_id: UUID) -> Task:
    """One of your tasks, with its place in the queue or its result."""
    return await in_database(_load, request.auth.user.pk, task_id)


@router.post("/tasks/{uuid:task_id}/cancel", response=TaskOut, url_name="cancel_task")
async def cancel_task(request: AuthenticatedRequest, task_id: UUID) -> Task:
    """Stop a task for good; what it has answered so far is kept. Harmless on an ended one."""
    await cancel(request.auth.user.pk, task_id)
    return await in_database(_load, request.auth.user.pk, task_id)
