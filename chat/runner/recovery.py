"""The sweep: finds what a dead worker or a lost message left behind, and puts it right.

Every step is a conditional UPDATE or repeats without harm, so any number of sweeps may overlap.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from msgspec.structs import replace

from aily.concurrency.faults import note_fault
from aily.database.errors import is_outage
from aily.redis.clients import sync_redis
from aily.redis.errors import RedisUnavailable
from chat import accounting, delivery, eventlog, scheduler
from chat.eventlog.keys import worker_channel
from chat.events import TaskExpired, TaskFailed
from chat.models import LLMModel, Status, Task, Worker, flights, pools_of, transitions
from chat.models.flights import Successor
from chat.models.responses import (
    add_transcript_entries,
    streamed_responses,
    transcript_entry,
)
from chat.models.transitions import DivertedTask, EndedWithoutCall, RecoveredTask, tool_steps
from chat.models.transitions.tool_steps import LoopState, RunningCall
from chat.observability import metrics
from chat.runner import lease
from chat.runner.lease import Attempt
from chat.runner.tools import EXPIRED, TOOLS, UNKNOWN
from chat.scheduler import DeploymentKey

logger = logging.getLogger(__name__)

#: Queued tasks read in one query; the ready set is asked for all of them at once.
PAGE = 1000
#: Pages of tasks that one sweep diverts at the most.
DIVERT_PAGES = 50
#: A pause that is over sooner than this is no reason to go elsewhere.
DIVERT_SECONDS = 2.0


def sweep() -> set[str]:
    """Run all steps. Returns the pools that have new work.

    Raises django.db.Error or RedisUnavailable while either is away; the next sweep goes on. What
    else one step raises does not keep the others from being done.
    """
    pools: set[str] = set()
    for step in STEPS:
        try:
            pools |= step()
        except RedisUnavailable:
            raise
        except Exception as error:
            if is_outage(error):
                raise
            note_fault(f"sweep: {step.__name__}")
    return pools


def drop_dead_workers() -> set[str]:
    """`declare_dead` as a step of the sweep: there is new work only once tasks are recovered."""
    declare_dead()
    return set()


def declare_dead() -> int:
    """Take the lease from workers that did not renew it. Compare-and-set: it happens once."""
    if not lease.can_detect_dead_workers():
        return 0
    overdue = Worker.objects.filter(is_dead=False, lease_until__lt=Now())
    dead = [
        worker.pk
        for worker in overdue
        if Worker.objects.filter(pk=worker.pk, is_dead=False, lease_until__lt=Now()).update(
            is_dead=True
        )
    ]
    metrics.WORKERS_LOST.inc(len(dead))
    deployments = _all_deployment_keys() if dead else []
    for pk in dead:
        scheduler.drop_worker(str(pk), deployments)
    return len(dead)


def _all_deployment_keys() -> list[DeploymentKey]:
    models = LLMModel.objects.with_deployments()
    return [deployment.key for model in models for deployment in model.all_deployments()]


def recover() -> set[str]:
    """Queue the running tasks of dead workers again, or fail those that crashed too often."""
    recovered = transitions.recover(settings.TASK_MAX_CRASHES)
    return _recovered(recovered, transitions.WORKER_LOST)


def give_back(worker_id: UUID, attempts: Sequence[Attempt]) -> set[str]:
    """`recover` for attempts that by their rows run here, and have no call."""
    pairs = [(attempt.task_id, attempt.attempt) for attempt in attempts]
    stranded = transitions.recover_stranded(worker_id, pairs, settings.TASK_MAX_CRASHES)
    return _recovered(stranded, transitions.INTERNAL)


def fail_unstartable(task_ids: Sequence[str]) -> None:
    """End queued tasks that no worker can start."""
    eventlog.append_ends(
        [
            (task.owner_id, TaskFailed(str(task.id), task.event_id, transitions.INTERNAL))
            for task in transitions.fail_queued(task_ids)
        ],
        settings.EVENT_LOG_TTL_SECONDS,
    )


def _recovered(recovered: Sequence[RecoveredTask], error: dict[str, str]) -> set[str]:
    metrics.RECOVERED.inc(len(recovered))
    # How far the dead workers' logs went is not in the rows: the logs themselves know.
    last_events = eventlog.last_events([(str(task.id), task.attempt) for task in recovered])
    transitions.note_last_events(recovered, last_events)
    _keep_transcripts(recovered)
    eventlog.append_ends(
        [
            (task.owner_id, _crashed(task, last_event, error))
            for task, last_event in zip(recovered, last_events, strict=True)
            if task.status == Status.FAILED
        ],
        settings.EVENT_LOG_TTL_SECONDS,
    )
    return _enqueue([task for task in recovered if task.status == Status.QUEUED])


def _keep_transcripts(recovered: Sequence[RecoveredTask]) -> None:
    """Store what the lost attempts of responses have streamed, of which their rows have nothing."""
    attempts = {task.id: task.attempt for task in recovered}
    for task_id in streamed_responses(attempts):
        deltas = eventlog.read_deltas(str(task_id), attempts[task_id])
        if deltas is not None:
            add_transcript_entries([(task_id, transcript_entry(attempts[task_id], deltas))])


def _enqueue(tasks: Iterable[RecoveredTask | DivertedTask | Successor | LoopState]) -> set[str]:
    """Make these ready. Returns their pools."""
    by_pool: defaultdict[str, list[scheduler.Entry]] = defaultdict(list)
    tasks = list(tasks)
    pools = pools_of({task.model_id for task in tasks})
    for task in tasks:
        entry = scheduler.Entry(str(task.id), task.lane, task.owner_id, task.weight)
        by_pool[pools[task.model_id]].append(entry)
    for pool, entries in by_pool.items():
        scheduler.enqueue(pool, entries)
    return set(by_pool)


def _crashed(task: RecoveredTask, last_event: int, error: dict[str, str]) -> TaskFailed:
    event_id = f"{task.attempt}-{last_event + 1}"
    return TaskFailed(task_id=str(task.id), id=event_id, error=error)


def tend_tool_loops() -> set[str]:
    """Put right the tool loops that wait: calls of dead workers, questions that nobody has answered
    in time, tasks whose deadline has passed, calls that no worker has received a message about."""
    if not tool_steps.has_waiting():
        return set()
    _expire_waiting()
    pools = go_on(_end_lost_calls())
    return pools | {TOOLS} if tool_steps.has_queued_calls() else pools


def _end_lost_calls() -> list[LoopState]:
    from chat.toolloop.budgets import within_budgets

    overdue = [replace(EXPIRED, id=call_id) for call_id in tool_steps.overdue_calls()]
    changed = within_budgets(lambda: tool_steps.recover_calls(UNKNOWN)[0])
    return changed + within_budgets(lambda: tool_steps.reject_calls(overdue, is_overdue=True))


def go_on(changed: Sequence[LoopState]) -> set[str]:
    """Publish what has become of the calls of these tasks, and queue those that are ready.

    Returns their pools.
    """
    if not changed:
        return set()
    # Imported here: a process without tools loads none of this.
    from chat.toolloop import events

    try:
        events.publish([task.id for task in changed])
        events.publish_failures([task.id for task in changed if task.status == Status.FAILED])
    finally:
        pools = _enqueue([task for task in changed if task.is_ready])
    return pools


def announce_questions() -> int:
    """Announce tool calls that wait for approval to their users. Returns how many deliveries."""
    if not delivery.has_questions():
        return 0
    with transaction.atomic():
        task_ids, deliveries = delivery.announce_questions()
        if task_ids:
            accounting.free_while_waiting(task_ids)
    if task_ids:
        # Imported here: a process without tools loads none of this.
        from chat.toolloop import events

        try:
            # The worker that has stored the question may have died before it published it.
            events.publish(task_ids)
        except RedisUnavailable as error:
            logger.warning("asking users: Redis is away (%s)", error)
    return deliveries


def _expire_waiting() -> None:
    with transaction.atomic():
        expired = transitions.expire_waiting()
        running = tool_steps.cancel_calls([task.id for task in expired])
    stop_calls(running)
    eventlog.append_ends(
        [(task.owner_id, TaskExpired(task_id=str(task.id), id=task.event_id)) for task in expired],
        settings.EVENT_LOG_TTL_SECONDS,
    )


def stop_calls(running: Sequence[RunningCall]) -> None:
    """Inform the workers that make calls of tasks that have ended. Raises RedisUnavailable."""
    for call in running:
        sync_redis().publish(worker_channel(str(call.worker_id)), str(call.task_id))


def expire() -> set[str]:
    """End queued tasks whose deadline has passed, without a call."""
    expired, successors = flights.expire()
    expired += flights.expire_followers()
    eventlog.append_ends(
        [(task.owner_id, TaskExpired(task_id=str(task.id), id=task.event_id)) for task in expired],
        settings.EVENT_LOG_TTL_SECONDS,
    )
    return _enqueue(successors)


def divert() -> set[str]:
    """Let fallback models take over what waits for a model none of whose deployments can be called:
    it is paused or disabled, or they are, or their circuit breakers are open."""
    return _divert(_blocked_models())


def _divert(blocked: Sequence[int]) -> set[str]:
    pools: set[str] = set()
    for _ in range(DIVERT_PAGES if blocked else 0):
        diverted = transitions.divert(blocked)
        pools |= _move(diverted)
        if len(diverted) < PAGE:
            break
    return pools


def _blocked_models() -> list[int]:
    """The models of which no deployment can be called for a while."""
    models = list(LLMModel.objects.with_deployments())
    deployments = {model.pk: model.all_deployments() for model in models}
    keys = [deployment.key for of_model in deployments.values() for deployment in of_model]
    paused, opened = scheduler.blocks(keys)
    long = {key for key, pause in paused.items() if pause.seconds_left > DIVERT_SECONDS}
    return [
        model.pk
        for model in models
        if model.paused_at is not None
        or not model.is_offered
        or all(
            deployment.is_held or deployment.key in long or deployment.key in opened
            for deployment in deployments[model.pk]
        )
    ]


def end_disabled() -> set[str]:
    """End what waits for a disabled model. Tasks with a fallback that is not disabled go over to
    it, even if they have to wait there as well."""
    may_be_disabled = Q(is_enabled=False) | Q(provider__is_enabled=False)
    models = LLMModel.objects.with_deployments().filter(may_be_disabled)
    disabled = [model.pk for model in models if not model.is_offered]
    if not disabled:
        return set()
    pools = _divert(disabled)
    for _ in range(DIVERT_PAGES):
        failed = transitions.fail_disabled()
        _end_waiting(failed)
        if len(failed) < PAGE:
            break
    return pools


def _end_waiting(failed: Sequence[EndedWithoutCall]) -> None:
    by_pool: defaultdict[str, list[str]] = defaultdict(list)
    pools = pools_of({task.model_id for task in failed})
    for task in failed:
        by_pool[pools[task.model_id]].append(str(task.id))
    for pool, ids in by_pool.items():
        scheduler.remove(pool, ids)
    error = transitions.MODEL_DISABLED
    eventlog.append_ends(
        [(task.owner_id, TaskFailed(str(task.id), task.event_id, error)) for task in failed],
        settings.EVENT_LOG_TTL_SECONDS,
    )


def _move(diverted: Sequence[DivertedTask]) -> set[str]:
    leaving: defaultdict[str, list[str]] = defaultdict(list)
    pools = pools_of({task.old_model_id for task in diverted})
    for task in diverted:
        leaving[pools[task.old_model_id]].append(str(task.id))
    for pool, ids in leaving.items():
        scheduler.remove(pool, ids)
    return _enqueue(diverted)


def end_stranded() -> set[str]:
    """End followers whose leader ended without them, as one that crashed too often does."""
    outcomes = flights.end_stranded()
    ids = [follower.id for outcome in outcomes for follower in outcome.followers]
    ended = Task.objects.defer("messages", "params").filter(pk__in=ids)
    eventlog.publish_ends(
        [
            (task.owner_id, task.terminal_event(f"{task.attempt}-{task.last_event}"))
            for task in ended
        ]
    )
    return _enqueue(outcome.successor for outcome in outcomes if outcome.successor)


def requeue_missing() -> set[str]:
    """Put queued tasks that are due but not in the ready set back into it.

    One that was claimed a moment ago is missing as well. Putting it back is harmless: the second
    worker to claim it starts nothing, and keeps the slot if it is the one that runs it.
    """
    due = Q(not_before=None) | Q(not_before__lte=Now())
    pools: set[str] = set()
    queued = (
        Task.objects.filter(due, status=Status.QUEUED, leader=None)
        .only("id", "lane", "owner_id", "model_id", "weight")
        .order_by("id")
    )
    page = list(queued[:PAGE])
    while page:
        pools |= _enqueue_missing(page)
        page = list(queued.filter(pk__gt=page[-1].pk)[:PAGE])
    return pools


def _enqueue_missing(tasks: Sequence[Task]) -> set[str]:
    by_pool: defaultdict[str, dict[str, scheduler.Entry]] = defaultdict(dict)
    pools = pools_of({task.model_id for task in tasks})
    for task in tasks:
        entry = scheduler.Entry(str(task.pk), task.lane, task.owner_id, task.weight)
        by_pool[pools[task.model_id]][entry.task_id] = entry
    found = set()
    for pool, entries in by_pool.items():
        missing = scheduler.missing(pool, list(entries))
        if missing:
            scheduler.enqueue(pool, [entries[task_id] for task_id in missing])
            found.add(pool)
    return found


#: Of a sweep, in their order.
STEPS: Sequence[Callable[[], set[str]]] = (
    drop_dead_workers,
    recover,
    tend_tool_loops,
    expire,
    divert,
    end_disabled,
    end_stranded,
    requeue_missing,
)
