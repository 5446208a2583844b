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
        async for one in _Follower(feed, task_id, after, text).frames(is_new=is_new):
            yield one
            if one.is_terminal:
                return


class _Follower:
    """Where one reader of a task stands."""

    def __init__(self, feed: Feed, task_id: str, after: EventId, text: bool) -> None:
        self.feed = feed
        self.task_id = task_id
        self.cursor = after
        self.text = text
        self.place: scheduler.Place | None = None
        self.is_closing = False

    async def frames(self, *, is_new: bool) -> AsyncGenerator[Followed]:
        row = None if is_new else await _row(self.task_id)
        while True:
            self.feed.caught_up()
            async for one in self.replay():
                yield one
            if row is not None and row.status not in ACTIVE:
                # Its worker, or whoever ended it, may be about to close the log itself.
                if row.last_event or self.is_closing:
                    for one in _from_row(row, self.cursor, self.text):
                        yield one
                    return
                self.is_closing = True
            async for one in self.live():
                yield one
            row = await _row(self.task_id)
            if row is not None and row.status == Status.QUEUED and await self.has_moved(row):
                yield self.queued()

    async def replay(self) -> AsyncGenerator[Followed]:
        """What the log has after the cursor."""
        while page := await eventlog.read(self.task_id, self.cursor):
            for event_id, frame in page:
                one = Followed(event_id, event_type(frame), frame)
                self.cursor = event_id
                if self.text or one.type not in TEXT_TYPES:
                    yield one

    async def live(self) -> AsyncGenerator[Followed]:
        """Frames as they come. Ends when one is missing, or none came for a while."""
        while news := await self.feed.next(self.check_after_seconds()):
            event_id, _, frame = news
            one = Followed(event_id, event_type(frame), frame)
            if event_id is not None:
                if event_id <= self.cursor:
                    continue
                is_gap = self.text and not event_id.follows(self.cursor)
                if is_gap and one.type != "task.snapshot":
                    return
                self.cursor = event_id
            yield one

    def check_after_seconds(self) -> float:
        """How long to wait for news before looking whether some were missed.

        Who waits in the queue is told how it moves: the further back, the more seldom.
        """
        if self.is_closing:
            return CLOSE_SECONDS
        check_seconds: float = settings.POSITION_CHECK_SECONDS
        if self.cursor != START:
            return check_seconds
        eta_seconds = (self.place.eta_seconds if self.place else None) or 0
        return min(max(eta_seconds / 10, PLACE_SECONDS), check_seconds)

    async def has_moved(self, row: Task) -> bool:
        before, self.place = self.place, await _place(row)
        return self.place is not None and self.place != before

    def queued(self) -> Followed:
        frame = TaskQueued(
            task_id=self.task_id,
            position=self.place.position if self.place else None,
            eta_seconds=self.place.eta_seconds if self.place else None,
        )
        return Followed(None, "task.queued", encode(frame))


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
