"""REST: submitting, reading and cancelling tasks."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from collections.abc import Iterable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from ninja import Query, Router, Schema, Status
from ninja.pagination import LimitOffsetPagination, paginate
from pydantic import Field

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotency_key, takes_idempotency_key
from accounts.lost_access import lost_access
from aily.concurrency.batching import Batcher
from aily.concurrency.loops import per_loop
from aily.concurrency.signals import Signal
from aily.database.replica import may_read_replica
from aily.database.threads import in_database
from aily.problems import NotFound, Unauthenticated
from aily.redis.errors import RedisUnavailable
from aily.rest.openapi import documented_responses
from aily.rest.pages import Page, PageContent
from aily.web.interruptions import Interruption
from chat import scheduler
from chat.api.event_streams import cursor_of, event_stream, open_connection
from chat.api.task_lists import TaskFilter, listed, with_called
from chat.api.task_schemas import TaskAccepted, TaskItem, TaskOut
from chat.api.tool_call_schemas import load_calls
from chat.events import START
from chat.exceptions import because
from chat.models import Lane, Task, TaskKind, paused_models
from chat.models.ids import ais_own
from chat.models.task_states import Status as TaskStatus
from chat.models.tasks import TaskQuerySet
from chat.models.vectors import load_vectors
from chat.reasons import Reason
from chat.services.cancel import cancel
from chat.services.follow import check_owner, has_nothing_after
from chat.services.submission import CompositeRequest, SceneRequest
from chat.services.submit import Accepted, Submission, submit
from chat.services.waiting import Ends, ends_of

router = Router(tags=["tasks"])

#: Of a task's own resource, before its id.
_TASK_PATH = "/api/llmchat/tasks/"


def _readable(owner_id: int) -> TaskQuerySet:
    return _shown(Task.objects.owned_by(owner_id))


def _shown(tasks: TaskQuerySet) -> TaskQuerySet:
    tasks = tasks.select_related("scene", "model__provider").defer("messages", "params")
    return with_called(tasks)


async def load_task(owner_id: int, task_id: UUID) -> Task:
    """Return a task of this owner with its place. Reads of the same moment share a query.

    Raises NotFound.
    """
    task = await _loads().submit((owner_id, task_id)) if await ais_own(task_id) else None
    if task is None:
        raise because(NotFound, Reason("no_such_task"), field="task_id")
    if task.kind == TaskKind.EMBEDDINGS and task.status == TaskStatus.SUCCEEDED:
        # Not with the rows of others: they may be megabytes.
        task.loaded_vectors = await in_database(load_vectors, task.pk)
    return task


@per_loop
def _loads() -> Batcher[tuple[int, UUID], Task | None]:
    async def handle(wanted: list[tuple[int, UUID]]) -> Sequence[Task | None]:
        return await in_database(_load, wanted)

    # Texts may be large: few at a time.
    return Batcher(handle, max_size=16, max_batches=2)


def _load(wanted: Sequence[tuple[int, UUID]]) -> list[Task | None]:
    owners, ids = zip(*wanted, strict=True)
    found = _shown(Task.objects.filter(owner_id__in=set(owners), pk__in=ids))
    by_id = {(task.owner_id, task.pk): task for task in found}
    _add_places(list(by_id.values()))
    _add_tool_calls(by_id.values())
    return [by_id.get(key) for key in wanted]


def _add_tool_calls(tasks: Iterable[Task]) -> None:
    """Tasks without tools cost no query."""
    with_tools = {task.pk: task for task in tasks if task.tools is not None}
    for task_id, calls in load_calls(with_tools).items() if with_tools else ():
        with_tools[task_id].loaded_tool_calls = calls


def _add_places(tasks: Sequence[Task]) -> None:
    queued = [task for task in tasks if task.status == TaskStatus.QUEUED]
    if not queued:
        return
    # Best effort: without Redis the tasks are shown without their places.
    with suppress(*RedisUnavailable):
        paused = paused_models()
        waiting = [(task.model.pool, str(task.leader_id or task.pk)) for task in queued]
        for task, place in zip(queued, scheduler.places_of(waiting), strict=True):
            if task.model_id in paused:
                place = scheduler.held_by_staff(place)
            found = scheduler.later(place, scheduler.Place.of_retry(task.not_before))
            if found is not None:
                task.position, task.eta_seconds = found.position, found.eta_seconds
                task.waiting_for = found.waiting_for


class _TaskPage(Page):
    """A page of tasks with their places in the queue, which cost one round trip."""

    def paginate_queryset(
        self,
        queryset: QuerySet[Model],
        pagination: LimitOffsetPagination.Input,
        request: HttpRequest,
        **params: object,
    ) -> PageContent:
        page = super().paginate_queryset(queryset, pagination, request, **params)
        _add_places(page["items"])
        return page


# --- Submitting ---------------------------------------------------------------------------------
def composite(scene: str, body: SceneRequest) -> CompositeRequest:
    """A request to run a scene, as one of any kind."""
    given = {name: getattr(body, name) for name in body.model_fields_set}
    return CompositeRequest.model_construct(scene=scene, **given)


async def _submit(request: AuthenticatedRequest, body: CompositeRequest, lane: Lane) -> Accepted:
    submission = Submission(
        owner_id=request.auth.user.pk,
        request=body,
        default_lane=Lane.named(request.auth.lane, lane),
        idempotency_key=idempotency_key(request),
        api_key_id=request.auth.api_key.pk if request.auth.api_key else None,
    )
    return await submit(submission)


async def _answer(
    request: AuthenticatedRequest, response: HttpResponse, body: CompositeRequest, sync: bool | None
) -> Status[Accepted] | Status[Task]:
    if not must_wait(sync):
        accepted = await _submit(request, body, Lane.NORMAL)
        response["Location"] = task_path(accepted.task_id)
        return Status(202, accepted)
    owner_id = request.auth.user.pk
    async with ends_of(owner_id) as ends:
        accepted = await _submit(request, body, Lane.INTERACTIVE)
        response["Location"] = task_path(accepted.task_id)
        async with lost_access(request) as lost:
            has_ended = await ends_in_time(ends, accepted, lost)
    if not has_ended:
        response["Retry-After"] = "1"
    task = await load_task(owner_id, UUID(accepted.task_id))
    return Status(200 if has_ended else 202, task)


def must_wait(sync: bool | None) -> bool:
    """Whether a submit waits for its result: by its parameter `sync`, else by the setting."""
    return sync if sync is not None else not settings.LLM_API_ASYNC_DEFAULT


def task_path(task_id: str) -> str:
    return _TASK_PATH + task_id


async def ends_in_time(ends: Ends, accepted: Accepted, lost: Signal) -> bool:
    """Wait for the task's end, up to the limit or until this process is to stop.

    Raises Unauthenticated when the access of the request is taken away meanwhile.
    """
    end = await ends.end_of(
        accepted.task_id,
        is_new=accepted.waits_alone,
        timeout_seconds=settings.SYNC_WAIT_SECONDS,
        interruptions={Interruption.ACCESS_LOST: lost},
    )
    if end is Interruption.ACCESS_LOST:
        raise Unauthenticated("This access was taken away, or has ended.")
    return not isinstance(end, Interruption)


_RESPONSES = {200: TaskOut, 202: TaskAccepted | TaskOut}
_LOCATION = {"headers": {"Location": {"$ref": "#/components/headers/Location"}}}
_LOCATED: dict[Any, Any] = {200: _LOCATION, 202: _LOCATION}
_EVENTS = {
    "schema": {
        "description": "Server-sent events, as in chat/PROTOCOL.md: all of them as a text, or one.",
        # Generated clients read a text; what reads event by event, an object.
        "anyOf": [
            {"type": "string"},
            {
                "title": "ServerSentEvent",
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
                "required": ["event", "data"],
            },
        ],
    },
    "example": 'id: 1-1\nevent: task.started\ndata: {"type": "task.started", "id": "1-1"}\n\n',
}
_STREAM: dict[Any, Any] = {200: {**_LOCATION, "content": {"text/event-stream": _EVENTS}}}

_STREAM_OR_END: dict[Any, Any] = {
    **_STREAM,
    204: {**_LOCATION, "description": "The task has ended, and the cursor is its last event."},
}


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
) -> Status[Accepted] | Status[Task]:
    """Run a scene. Answers 202 once the task is committed, or waits for its result."""
    return await _answer(request, response, composite(scene, body), wait.sync)


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
) -> Status[Accepted] | Status[Task]:
    """Run a scene, messages or both, within a conversation or not."""
    return await _answer(request, response, body, wait.sync)


# --- Streams ------------------------------------------------------------------------------------
async def _stream(request: AuthenticatedRequest, body: CompositeRequest) -> StreamingHttpResponse:
    with open_connection(request) as connection:
        accepted = await _submit(request, body, Lane.INTERACTIVE)
        return event_stream(
            request, accepted.task_id, START, connection.pop_all(), is_new=accepted.waits_alone
        )


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
    return await _stream(request, composite(scene, body))


@router.post(
    "/request/stream", url_name="stream_request", openapi_extra=documented_responses(_STREAM, 404)
)
@takes_idempotency_key
async def stream_request(
    request: AuthenticatedRequest, body: CompositeRequest
) -> StreamingHttpResponse:
    """Run a composite request and stream the task's events (text/event-stream)."""
    return await _stream(request, body)


@router.get(
    "/tasks/{uuid:task_id}/events",
    operation_id="stream_task_events",
    url_name="task_events",
    openapi_extra=documented_responses(_STREAM_OR_END),
)
async def task_events(
    request: AuthenticatedRequest, task_id: UUID, resume: Query[Resume]
) -> StreamingHttpResponse | HttpResponse:
    """A task's events after a cursor, then live to the end (text/event-stream).

    Answers 204 when the cursor is the terminal event: a browser's EventSource then stops.
    """
    with open_connection(request) as connection:
        await check_owner(request.auth.user.pk, task_id)
        after = cursor_of(request, resume.after)
        if after != START and await has_nothing_after(task_id, after):
            location = {"Location": task_path(str(task_id))}
            return HttpResponse(status=HTTPStatus.NO_CONTENT, headers=location)
        return event_stream(request, str(task_id), after, connection.pop_all())


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
    return await load_task(request.auth.user.pk, task_id)


@router.post("/tasks/{uuid:task_id}/cancel", response=TaskOut, url_name="cancel_task")
async def cancel_task(request: AuthenticatedRequest, task_id: UUID) -> Task:
    """Stop a task for good; what it has answered so far is kept. Harmless on an ended one."""
    await cancel(request.auth.user.pk, task_id)
    return await load_task(request.auth.user.pk, task_id)
