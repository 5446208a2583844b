"""Cancels tasks. The row decides; then the worker is informed, and closes the log."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import transaction

from aily.concurrency.faults import note_fault
from aily.database.threads import in_database
from aily.problems import NotFound
from aily.redis.clients import sync_redis
from aily.redis.errors import RedisUnavailable
from chat import actors, eventlog, scheduler
from chat.eventlog.keys import worker_channel
from chat.events import TaskCancelled
from chat.exceptions import because
from chat.models import Status, Task, flights, pools_of
from chat.models.flights import Successor
from chat.models.ids import is_own
from chat.models.transitions import (
    CancelledCall,
    EndedWithoutCall,
    cancel_queued,
    cancel_running,
    tool_steps,
)
from chat.models.transitions import cancel_waiting as cancel_waiting_for_tools
from chat.models.transitions.tool_steps import RunningCall
from chat.reasons import Reason
from chat.runner import recovery

logger = logging.getLogger(__name__)

#: How long a caller waits for the worker to store the partial answer and close the log.
CLOSE_WAIT_SECONDS = 1.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Tasks that were cancelled, and followers that take the place of cancelled leaders."""

    waiting: Sequence[EndedWithoutCall]
    running: Sequence[CancelledCall]
    successors: Sequence[Successor]
    #: Tool calls that are being made for such tasks.
    tool_calls: Sequence[RunningCall] = ()


async def cancel(owner_id: int, task_id: UUID) -> Task:
    """Cancel an owner's task for good; a task that has ended stays as it is.

    Returns the task after its worker, if it had one, stored how far the answer had come (waited
    for one second at most). Raises NotFound.
    """
    task = await cancel_row(owner_id, task_id)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CLOSE_WAIT_SECONDS
    while task.status == Status.CANCELLED and not task.last_event and loop.time() < deadline:
        await asyncio.sleep(_POLL_SECONDS)
        task = await in_database(Task.objects.get, pk=task_id)
    return task


async def cancel_row(owner_id: int, task_id: UUID) -> Task:
    """`cancel` that returns as soon as the row is updated, and its worker is informed."""
    return await in_database(_cancel_owned, owner_id, task_id)


def _cancel_owned(owner_id: int, task_id: UUID) -> Task:
    if not is_own(task_id) or not Task.objects.owned_by(owner_id).filter(pk=task_id).exists():
        raise because(NotFound, Reason("no_such_task"), field="task_id")
    cancel_many([task_id])
    return Task.objects.get(pk=task_id)


def cancel_many(task_ids: Sequence[UUID], *, is_quiet: bool = False) -> int:
    """Cancel those that have not ended. Returns how many were. `is_quiet`: they are rows of a
    run."""
    waiting = flights.leave(task_ids, Status.CANCELLED)
    with transaction.atomic():
        # They change between more states than two: one that is looked for in each could slip by.
        has_tools = tool_steps.lock_loops(task_ids)
        waiting += cancel_queued(task_ids)
        running = cancel_running(task_ids)
        # A retry may have sent one back to the queue between the two.
        waiting += cancel_queued(task_ids)
        waiting += cancel_waiting_for_tools(task_ids) if has_tools else []
        tool_calls = tool_steps.cancel_calls([task.id for task in waiting if task.has_tools])
        ended = [*(task.id for task in waiting), *(call.id for call in running)]
        successors = flights.promote(ended)
    announce_cancelled(Cancelled(waiting, running, successors, tool_calls), is_quiet=is_quiet)
    return len(waiting) + len(running)


def cancel_waiting(task_ids: Sequence[UUID]) -> Cancelled:
    """Cancel those that are queued, in the caller's transaction; `announce_cancelled` is to be
    called after its commit."""
    waiting = flights.leave(task_ids, Status.CANCELLED) + cancel_queued(task_ids)
    return Cancelled(waiting, [], flights.promote([task.id for task in waiting]))


def announce_cancelled(cancelled: Cancelled, *, is_quiet: bool = False) -> None:
    """Inform workers and readers of committed cancels. Raises nothing."""
    try:
        _publish(cancelled.waiting, cancelled.running, is_quiet=is_quiet)
        recovery.stop_calls(cancelled.tool_calls)
        _enqueue(cancelled.successors)
    except RedisUnavailable as error:
        # Workers notice when they renew their lease, followers when they next read the row.
        logger.warning("cancelled, but Redis is away: %s", error)
    except Exception:  # noqa: BLE001 - logged; the rows are what counts, as above
        note_fault("cancelling")


def _enqueue(successors: Sequence[Successor]) -> None:
    """Make tasks ready that were followers of a cancelled one, and now lead."""
    pools = pools_of({task.model_id for task in successors})
    for task in successors:
        pool = pools[task.model_id]
        entry = scheduler.Entry(str(task.id), task.lane, task.owner_id, task.weight)
        _, must_ring = scheduler.enqueue(pool, [entry])
        if must_ring:
            actors.ring(pool)


def _publish(
    waiting: Sequence[EndedWithoutCall], running: Sequence[CancelledCall], *, is_quiet: bool
) -> None:
    """Inform the workers of running tasks, and end the logs of waiting ones."""
    for call in running:
        sync_redis().publish(worker_channel(str(call.worker_id)), str(call.id))
    by_pool: defaultdict[str, list[str]] = defaultdict(list)
    pools = pools_of({ended.model_id for ended in waiting})
    for ended in waiting:
        by_pool[pools[ended.model_id]].append(str(ended.id))
    for pool, ids in by_pool.items():
        scheduler.remove(pool, ids)
    eventlog.append_ends(
        [
            (ended.owner_id, TaskCancelled(task_id=str(ended.id), id=ended.event_id))
            for ended in waiting
        ],
        settings.EVENT_LOG_TTL_SECONDS,
        is_quiet=is_quiet,
    )
