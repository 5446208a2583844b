"""Following a task: everything in its log after a cursor, then whatever comes, to the end.

The one reader behind WebSocket, SSE and `?sync=true`. Its whole state is a cursor, so that a slow
client costs no memory; the row stands in for a log that is gone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from aily.batching import Batcher
from aily.database import in_database
from aily.loops import per_loop
from aily.problems import NotFound
from aily.redis import RedisAway
from chat import eventlog, scheduler
from chat.eventlog import Feed, get_hub
from chat.events import (
    START,
    TERMINAL_TYPES,
    TEXT_TYPES,
    Event,
    EventId,
    TaskCancelled,
    TaskCompleted,
    TaskExpired,
    TaskFailed,
    TaskQueued,
    TaskSnapshot,
    encode,
    event_type,
)
from chat.models import Status, Task
from chat.models.tasks import ACTIVE

#: How long a follower of an ended task waits for the log's own end before it takes the row's.
CLOSE_SECONDS = 2.0
#: How often a waiting task's place is looked up at the most.
PLACE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Followed:
    """One frame for a reader; `event_id` is None for frames without a place in the log."""

    event_id: EventId | None
    type: str
    frame: bytes

    @property
    def is_terminal(self) -> bool:
        return self.type in TERMINAL_TYPES


async def follow(
    task_id: str,
    owner_id: int,
    after: EventId = START,
    *,
    text: bool = True,
    is_new: bool = False,
) -> AsyncGenerator[Followed]:
    """Give the task's frames after `after`, in order and each once, and end with the terminal one.

    Without `text`, only life-cycle frames; their ids then show gaps. Nothing at all is given when
    `after` is the terminal event already. `is_new` saves the look at the row of a task that was
    accepted a moment ago. The caller must have checked that the task is the owner's, and close the
    generator (`contextlib.aclosing`).
    """
    async with get_hub().task_feed(task_id, owner_id, text=text) as feed:
        cursor = after
        row = None if is_new else await _row(task_id)
        is_closing = False
        place: scheduler.Place | None = None
        while True:
            feed.caught_up()
            async for one in _replay(task_id, cursor):
                cursor = one.event_id or cursor
                if text or one.type not in TEXT_TYPES:
                    yield one
                if one.is_terminal:
                    return
            if row is not None and row.status not in ACTIVE:
                # Its worker, or whoever ended it, may be about to close the log itself.
                if row.last_event or is_closing:
                    for one in _from_row(row, cursor, text):
                        yield one
                    return
                is_closing = True
            timeout_seconds = CLOSE_SECONDS if is_closing else _check_after(cursor, place)
            async for one in _live(feed, cursor, text, timeout_seconds):
                cursor = one.event_id or cursor
                yield one
                if one.is_terminal:
                    return
            row = await _row(task_id)
            if row is not None and row.status == Status.QUEUED:
                before, place = place, await _place(row)
                if place is not None and place != before:
                    yield _queued(task_id, place)


def _check_after(cursor: EventId, place: scheduler.Place | None) -> float:
    """Seconds to wait for news. Who waits in the queue is told how it moves: the further back,
    the more seldom."""
    if cursor != START:
        return settings.POSITION_CHECK_SECONDS
    eta_seconds = (place.eta_seconds if place else None) or 0
    return min(max(eta_seconds / 10, PLACE_SECONDS), settings.POSITION_CHECK_SECONDS)


def _queued(task_id: str, place: scheduler.Place) -> Followed:
    frame = TaskQueued(task_id=task_id, position=place.position, eta_seconds=place.eta_seconds)
    return Followed(None, "task.queued", encode(frame))


async def _replay(task_id: str, cursor: EventId) -> AsyncGenerator[Followed]:
    while page := await eventlog.read(task_id, cursor):
        for event_id, frame in page:
            yield Followed(event_id, event_type(frame), frame)
        cursor = page[-1][0]


async def _live(
    feed: Feed, cursor: EventId, text: bool, timeout_seconds: float
) -> AsyncGenerator[Followed]:
    """Frames as they come. Ends when one is missing, or none came for `timeout_seconds`."""
    while news := await feed.next(timeout_seconds):
        event_id, _, frame = news
        one = Followed(event_id, event_type(frame), frame)
        if event_id is not None:
            if event_id <= cursor:
                continue
            if text and not event_id.follows(cursor) and one.type != "task.snapshot":
                return
            cursor = event_id
        yield one


# --- The place ----------------------------------------------------------------------------------
@per_loop
def _places() -> Batcher[tuple[str, str], scheduler.Place | None]:
    return Batcher(scheduler.places)


async def _place(task: Task) -> scheduler.Place | None:
    try:
        return await _places().submit((str(task.model_id), str(task.pk)))
    except RedisAway:
        return None


# --- The row ------------------------------------------------------------------------------------
@per_loop
def _rows() -> Batcher[str, Task | None]:
    async def handle(task_ids: list[str]) -> Sequence[Task | None]:
        return await in_database(_load, task_ids)

    return Batcher(handle, max_batches=2)


def _load(task_ids: list[str]) -> list[Task | None]:
    by_id = {
        str(task.pk): task for task in Task.objects.defer("messages").filter(pk__in=set(task_ids))
    }
    return [by_id.get(task_id) for task_id in task_ids]


async def _row(task_id: str) -> Task | None:
    return await _rows().submit(task_id)


async def owned_task(owner_id: int, task_id: UUID) -> Task:
    """An owner's task. Raises NotFound, for somebody else's as well."""
    task = await _row(str(task_id))
    if task is None or task.owner_id != owner_id:
        raise NotFound("There is no such task.", field="task_id")
    return task


def _from_row(task: Task, cursor: EventId, text: bool) -> list[Followed]:
    """The end as the row has it: for a log that expired, was lost, or never got its last event."""
    end = EventId(task.attempt, max(task.last_event, 1))
    if task.last_event and cursor == end:
        return []
    events: list[Event] = []
    if cursor >= end:
        end = EventId(cursor.attempt, cursor.n + 1)
    partial = task.status != Status.SUCCEEDED and (task.text or task.reasoning)
    if text and partial and end.n > 1:
        before = EventId(end.attempt, end.n - 1)
        if cursor < before:
            events.append(
                TaskSnapshot(
                    task_id=str(task.pk), id=str(before), text=task.text, reasoning=task.reasoning
                )
            )
    events.append(terminal_event(task, str(end)))
    return [
        Followed(EventId.parse(event.id), event_type(frame), frame)
        for event, frame in ((event, encode(event)) for event in events)
    ]


def terminal_event(task: Task, event_id: str) -> Event:
    """The event that an ended task's log ends with."""
    task_id = str(task.pk)
    match task.status:
        case Status.SUCCEEDED:
            return TaskCompleted(
                task_id=task_id, id=event_id, result=task.result(), usage=task.usage
            )
        case Status.FAILED:
            return TaskFailed(task_id=task_id, id=event_id, error=task.error or {})
        case Status.CANCELLED:
            return TaskCancelled(task_id=task_id, id=event_id)
        case _:
            return TaskExpired(task_id=task_id, id=event_id)
