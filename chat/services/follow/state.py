"""What a follower needs to know of its task's row. Looks of the same moment share a query."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from aily.concurrency.batching import Batcher, Pace
from aily.concurrency.loops import per_loop
from aily.database.rows import Row, fetch_rows
from aily.database.threads import in_database
from aily.problems import NotFound
from chat.eventlog import Source
from chat.events import START, EventId
from chat.exceptions import because
from chat.models import Task
from chat.models.ids import ais_own
from chat.models.task_states import ACTIVE
from chat.reasons import Reason

#: Rechecks of a tenth of a second share a query; an event that comes meanwhile waits for it.
_RECHECK_PACE = Pace(min_seconds=0.1, max_seconds=0.1)
_MAX_RECHECKS = 1000


class TaskState(NamedTuple):
    """The state of a task by its row; `ended` is the row itself once it has ended.

    A task that shares another one's call has that one as `source`, and `model_id`, `attempt` and
    `not_before` are the source's: they say what becomes of the call. Of the source's events, those
    before `source_limit` are this task's as well.
    """

    owner_id: int
    model_id: int
    status: str
    attempt: int
    not_before: datetime | None
    ended: Task | None = None
    source: Source | None = None
    source_limit: EventId = START


async def load_state(task_id: str) -> TaskState | None:
    """Return the task's state, None when there is no such task. Raises django.db.Error."""
    return await _states().submit(task_id)


async def recheck_state(task_id: str) -> TaskState | None:
    """`load_state` a little later: for a follower that only checks if it missed something.

    Thousands of silent followers would otherwise run a query each.
    """
    return await _rechecks().submit(task_id)


async def load_ended(task_id: str) -> Task | None:
    """Return an ended task with its text. Raises django.db.Error."""
    return await _ended_tasks().submit(task_id)


async def check_owner(owner_id: int, task_id: UUID) -> None:
    """Raise NotFound unless there is such a task and it is the owner's."""
    state = await load_state(str(task_id)) if await ais_own(task_id) else None
    if state is None or state.owner_id != owner_id:
        raise because(NotFound, Reason("no_such_task"), field="task_id")


async def has_nothing_after(task_id: UUID, after: EventId) -> bool:
    """True if the task has ended and `after` is its terminal event, or lies behind that."""
    state = await load_state(str(task_id))
    ended = state.ended if state is not None else None
    # Without a number the id of the end is not known: the reader is sent the end once more.
    return (
        ended is not None
        and ended.last_event > 0
        and after >= EventId(ended.attempt, ended.last_event)
    )


@per_loop
def _states() -> Batcher[str, TaskState | None]:
    async def handle(task_ids: list[str]) -> Sequence[TaskState | None]:
        return await in_database(_load_states, task_ids)

    return Batcher(handle, max_batches=2)


@per_loop
def _rechecks() -> Batcher[str, TaskState | None]:
    async def handle(task_ids: list[str]) -> Sequence[TaskState | None]:
        return await in_database(_load_states, task_ids)

    return Batcher(handle, max_size=_MAX_RECHECKS, pace=_RECHECK_PACE)


@per_loop
def _ended_tasks() -> Batcher[str, Task | None]:
    async def handle(task_ids: list[str]) -> Sequence[Task | None]:
        return await in_database(_load_ended, task_ids)

    # Texts may be large: few at a time.
    return Batcher(handle, max_size=16, max_batches=2)


def _load_ended(task_ids: list[str]) -> list[Task | None]:
    found = Task.objects.defer("messages", "params", "metadata").in_bulk(task_ids)
    by_id = {str(pk): task for pk, task in found.items()}
    return [by_id.get(task_id) for task_id in task_ids]


#: Columns of any size, which `load_ended` reads.
_LARGE = (
    *("messages", "params", "response_format", "metadata", "text", "reasoning", "tool_calls"),
    *("repair", "logprobs"),
)


class _Row(Row, frozen=True):
    """What `_STATES` reads of a task, and of the task whose call it shares."""

    id: UUID
    owner_id: int
    model_id: int
    status: str
    attempt: int
    not_before: datetime | None
    leader_id: UUID | None
    leader_owner_id: int | None
    leader_model_id: int | None
    leader_attempt: int | None
    leader_not_before: datetime | None


#: A statement of its own: the ORM takes five times as long to write it and to read its rows.
_STATES = """
SELECT task.id, task.owner_id, task.model_id, task.status, task.attempt, task.not_before,
       task.leader_id, leader.owner_id AS leader_owner_id, leader.model_id AS leader_model_id,
       leader.attempt AS leader_attempt, leader.not_before AS leader_not_before
  FROM chat_task task LEFT JOIN chat_task leader ON leader.id = task.leader_id
 WHERE task.id = ANY(%s)
"""


def _load_states(task_ids: list[str]) -> list[TaskState | None]:
    """Run one light query for all, and another for those that have ended."""
    rows = fetch_rows(_Row, _STATES, [[UUID(task_id) for task_id in set(task_ids)]])
    ended = [row.id for row in rows if row.status not in ACTIVE]
    tasks = Task.objects.defer(*_LARGE).in_bulk(ended) if ended else {}
    by_id = {str(row.id): _state(row, tasks.get(row.id)) for row in rows}
    return [by_id.get(task_id) for task_id in task_ids]


def _state(row: _Row, ended: Task | None) -> TaskState:
    if row.leader_id is None or row.leader_owner_id is None or row.leader_model_id is None:
        return TaskState(row.owner_id, row.model_id, row.status, row.attempt, row.not_before, ended)
    attempt = row.leader_attempt or 0
    if ended is not None:
        source_limit = EventId(ended.attempt, ended.last_event)
    else:
        # Attempts that begin later make the follower look again: this task may have ended by then.
        source_limit = EventId(attempt + 1, 0)
    return TaskState(
        row.owner_id,
        row.leader_model_id,
        row.status,
        attempt,
        row.leader_not_before,
        ended,
        Source(str(row.leader_id), row.leader_owner_id),
        source_limit,
    )
