"""Stage `enqueue`: make committed tasks ready, ring the workers, send events of kept answers."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence

from django.utils import timezone

from aily.concurrency.faults import note_fault, surviving
from aily.redis.errors import RedisUnavailable
from chat import actors, eventlog, scheduler
from chat.accounting.tokens import expected_tokens
from chat.models import Lane, ServedFrom, Status, Task
from chat.observability import metrics
from chat.observability.tracing import remember as remember_traces
from chat.services.submit.pending import PendingSubmission, new_tasks

logger = logging.getLogger(__name__)


def enqueue_tasks(batch: Sequence[PendingSubmission]) -> None:
    """Queue the batch's tasks and set their places. Raises nothing: they are accepted."""
    accepted = [pending for pending in batch if pending.refusal is None]
    tasks = new_tasks(batch)
    with surviving("counting submits"):
        metrics.count_submitted((task.model.name, Lane(task.lane).name.lower()) for task in tasks)
    with surviving("tracing submits"):
        remember_traces(
            (str(pending.task.pk), pending.submission.traceparent) for pending in accepted
        )
    places = make_ready([pending.task for pending in accepted])
    for pending in accepted:
        pending.place = places.get(str(pending.task.pk), pending.place)
    with surviving("announcing kept answers"):
        _announce_answered(tasks)


def make_ready(tasks: Sequence[Task]) -> dict[str, scheduler.Place]:
    """Make committed tasks ready and ring; those that wait for another's answer stay as they are.

    While Redis is away they wait for the sweep. A repeated request may bring a task that waits for
    its next attempt: that goes on waiting.
    """
    by_pool: defaultdict[str, list[scheduler.Entry]] = defaultdict(list)
    held = {task.model.pool for task in tasks if task.model.is_paused}
    now = timezone.now()
    for task in tasks:
        is_due = task.not_before is None or task.not_before <= now
        if task.status == Status.QUEUED and task.leader_id is None and is_due:
            by_pool[task.model.pool].append(_entry(task))
    places: dict[str, scheduler.Place] = {}
    try:
        for pool, entries in by_pool.items():
            found, must_ring = scheduler.enqueue(pool, entries)
            if pool in held:
                found = [scheduler.held_by_staff(place) for place in found]
            places |= {entry.task_id: place for entry, place in zip(entries, found, strict=True)}
            if must_ring:
                actors.ring(pool)
    except RedisUnavailable as error:
        logger.warning("accepted %d tasks, but Redis is away: %s", len(tasks), error)
    except Exception:  # noqa: BLE001 - logged; they are accepted, and the sweep makes them ready
        note_fault("queueing")
    return places


def _entry(task: Task) -> scheduler.Entry:
    tokens = None
    # The prompt of a repeated request's task is not read for this: its calls count as others do.
    if "messages" in vars(task) and task.model.counts_tokens:
        tokens = expected_tokens(task)
    return scheduler.Entry(str(task.pk), task.lane, task.owner_id, task.weight, tokens)


def _announce_answered(tasks: Sequence[Task]) -> None:
    """Send the owners' sockets the end of tasks that were answered when they were accepted.

    A follower of one of them reads the end in its row.
    """
    answered = [task for task in tasks if task.served_from == ServedFrom.CACHE]
    try:
        eventlog.publish_ends(
            [(task.owner_id, task.terminal_event(f"0-{task.last_event}")) for task in answered]
        )
    except RedisUnavailable as error:
        logger.warning("answered %d tasks, but Redis is away: %s", len(answered), error)
