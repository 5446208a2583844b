"""Settlement: ended tasks are entered in the ledger, and their webhooks and mails are made.

The flag on the row is the outbox: it is set when the task is accepted, and cleared in the
transaction that stores all that follows from the end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import msgspec
from django.db import transaction
from django.utils import timezone

from aily.concurrency.faults import note_fault
from aily.database.errors import is_outage
from aily.database.rows import fetch_column
from aily.observability.metrics import batch_size
from chat import accounting, delivery
from chat.models.ended import EndedTask
from chat.models.metadata import LABELS

logger = logging.getLogger(__name__)

#: Tasks settled in one transaction.
BATCH = 1000
#: Tasks of a batch that are settled without usage or deliveries. If more of them cannot be settled
#: the fault is hardly theirs: they wait until it is mended.
MAX_REDUCED = 10
#: How long a worker may take to store the partial answer of a cancelled task.
PARTIAL_WAIT = timedelta(seconds=30)

#: All tasks in one JSON value: as rows of a cursor they would cost eight times as much to read.
_TAKE = """
WITH taken AS (
  UPDATE chat_task SET needs_settling = false
   WHERE id IN (SELECT id FROM chat_task
                 WHERE needs_settling AND {condition}
                   AND status NOT IN ('queued', 'running', 'calling_tools', 'requires_action')
                 ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
  RETURNING id, owner_id, api_key_id, model_id, scene_id, deployment, webhook_id, run_id, status,
            {usage} AS usage,
            created_at, started_at, coalesce(finished_at, now()) AS finished_at,
            coalesce(attempt > (repair ->> 'attempt')::int AND usage = repair -> 'usage', false)
              AS is_partly_counted,
            tools IS NOT NULL AS has_tools,
            {labels} AS labels)
SELECT coalesce(json_agg(taken ORDER BY id), '[]')::text FROM taken
"""
_DUE = """
SELECT id FROM chat_task
 WHERE needs_settling AND {condition}
   AND status NOT IN ('queued', 'running', 'calling_tools', 'requires_action')
 ORDER BY id LIMIT %(limit)s
"""
#: A cancelled task is due once its worker has stored the partial answer.
_COMPLETE = "(status <> 'cancelled' OR last_event > 0 OR finished_at <= %(since)s)"
_OF_CONVERSATION = "conversation_id = %(conversation_id)s"
_OF_IDS = "id = ANY(%(task_ids)s)"
_STORED_USAGE = "usage"
_NO_USAGE = "'{}'::jsonb"
_decoder = msgspec.json.Decoder(list[EndedTask])

_Params = Mapping[str, object]

#: What takes the results of tasks that are rows of runs, in the transaction that settles them.
Collector = Callable[[Sequence[EndedTask]], None]
_collectors: list[Collector] = []


def register_collector(collector: Collector) -> None:
    """Have ended tasks of runs passed to `collector` once their ledger is closed."""
    _collectors.append(collector)


class Settled(NamedTuple):
    """How many tasks were settled, and how many webhooks and mails were made for them."""

    tasks: int = 0
    deliveries: int = 0

    def plus(self, other: Settled) -> Settled:
        return Settled(self.tasks + other.tasks, self.deliveries + other.deliveries)


def settle_ended_tasks() -> Settled:
    """Settle all ended tasks that need it.

    Several processes may do so at once: each takes tasks that no other has locked.
    """
    return _settle_all(_COMPLETE, {"since": timezone.now() - PARTIAL_WAIT})


def settle_conversation(conversation_id: UUID) -> None:
    """Settle the ended tasks of a conversation now, as their rows are about to be deleted."""
    _settle_all(_OF_CONVERSATION, {"conversation_id": conversation_id})


def _settle_all(condition: str, params: _Params) -> Settled:
    total = Settled()
    while True:
        settled = _settle_some(condition, {"limit": BATCH, **params})
        total = total.plus(settled)
        if settled.tasks < BATCH:
            return total


def _settle_some(condition: str, params: _Params) -> Settled:
    """Settle a batch, as far as its tasks can be settled. Raises django.db.Error in an outage."""
    try:
        return _settle_batch(condition, params)
    except Exception as error:
        if is_outage(error):
            raise
        note_fault("settling")
    due = fetch_column(UUID, _DUE.format(condition=condition), params)
    settled, failed = _settle_by_halves(due)
    if len(failed) > MAX_REDUCED:
        logger.error("%d tasks cannot be settled: the fault is hardly theirs", len(failed))
        return settled
    for task_id in failed:
        settled = settled.plus(_settle_reduced(task_id))
    return settled


def _settle_by_halves(task_ids: Sequence[UUID]) -> tuple[Settled, list[UUID]]:
    """Settle what can be settled, so that one bad task keeps back no other. Returns the ids of the
    tasks that failed as well."""
    middle = len(task_ids) // 2
    settled, failed = Settled(), list[UUID]()
    for half in filter(None, (task_ids[:middle], task_ids[middle:])):
        try:
            settled = settled.plus(_settle_batch(_OF_IDS, {"task_ids": half, "limit": len(half)}))
        except Exception as error:
            if is_outage(error):
                raise
            note_fault("settling")
            if len(half) == 1:
                failed += half
                continue
            more, also_failed = _settle_by_halves(half)
            settled, failed = settled.plus(more), failed + also_failed
    return settled, failed


def _settle_reduced(task_id: UUID) -> Settled:
    """Settle a task without the provider's usage, and if need be without deliveries; if that fails
    too, leave it out of the ledger and log it as an error."""
    params = {"task_ids": [task_id], "limit": 1}
    for has_deliveries in (True, False):
        try:
            settled = _settle_batch(_OF_IDS, params, usage=_NO_USAGE, has_deliveries=has_deliveries)
        except Exception as error:
            if is_outage(error):
                raise
            note_fault("settling")
        else:
            logger.error(
                "task %s: settled without its usage; deliveries: %s", task_id, has_deliveries
            )
            return settled
    _take(_OF_IDS, params, _NO_USAGE)
    logger.error("task %s: it cannot be settled, and is in no ledger", task_id)
    return Settled(1)


def _settle_batch(
    condition: str, params: _Params, *, usage: str = _STORED_USAGE, has_deliveries: bool = True
) -> Settled:
    with transaction.atomic():
        tasks = _decoder.decode(_take(condition, params, usage))
        if not tasks:
            return Settled()
        batch_size("settle").observe(len(tasks))
        # The run announces the ends of its tasks.
        alone = [task for task in tasks if task.run_id is None]
        deliveries = delivery.create_deliveries(alone) if has_deliveries else 0
        # Last, as submits wait for the budgets that this locks. A mail about a budget goes to an
        # owner of these tasks, whose preferences `create_deliveries` has locked: always in this
        # order.
        for notice in accounting.close_ledger(tasks):
            deliveries += delivery.budget_near_end(
                notice.user_id,
                key=notice.key,
                budget=notice.budget,
                spent=notice.spent,
                limit=notice.limit,
            )
        if len(alone) < len(tasks):
            of_runs = [task for task in tasks if task.run_id is not None]
            for collect in _collectors:
                collect(of_runs)
    return Settled(len(tasks), deliveries)


def _take(condition: str, params: _Params, usage: str) -> str:
    """Clear the flag of the tasks; returns them as JSON."""
    statement = _TAKE.format(condition=condition, usage=usage, labels=LABELS)
    [taken] = fetch_column(str, statement, params)
    return taken
