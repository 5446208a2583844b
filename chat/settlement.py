"""After the end: what a task used is entered in the ledger, and whoever is to hear of it hears.

The flag on the row is the outbox: it is set when the task is accepted, and taken away in the same
transaction that stores what follows from the end.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.db import transaction
from django.utils import timezone

from aily.concurrency.faults import note_fault
from aily.database.errors import is_outage
from aily.database.statements import fetch_all
from aily.observability.metrics import batch_size
from chat import accounting, delivery
from chat.models.ended import EndedTask

logger = logging.getLogger(__name__)

#: Tasks settled in one transaction.
BATCH = 1000
#: Tasks of a batch that are settled as well as can be. Where more cannot be settled something else
#: is wrong, and they wait until that is put right.
MAX_BARE = 10
#: For how long a worker may take to store the partial answer of a cancelled task.
PARTIAL_WAIT = timedelta(seconds=30)

#: All in one value of JSON: as rows of a cursor they cost eight times as much to take in.
_TAKE = """
WITH taken AS (
  UPDATE chat_task SET needs_settling = false
   WHERE id IN (SELECT id FROM chat_task
                 WHERE needs_settling AND status NOT IN ('queued', 'running') AND {which}
                 ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED)
  RETURNING id, owner_id, api_key_id, model_id, scene_id, status, {usage} AS usage,
            created_at, started_at, coalesce(finished_at, now()) AS finished_at)
SELECT coalesce(json_agg(taken ORDER BY id), '[]')::text FROM taken
"""
#: A cancelled task only once its worker has stored how far the answer had come.
_COMPLETE = "(status <> 'cancelled' OR last_event > 0 OR finished_at <= %(since)s)"
_OF_CONVERSATION = "conversation_id = %(conversation)s"
_THESE = "id = ANY(%(ids)s)"
_DUE = """
SELECT id FROM chat_task
 WHERE needs_settling AND status NOT IN ('queued', 'running') AND {which} ORDER BY id LIMIT %(most)s
"""
_decoder = msgspec.json.Decoder(list[EndedTask])


class Settled(NamedTuple):
    """How many tasks were settled, and how many webhooks and mails they call for."""

    tasks: int = 0
    deliveries: int = 0

    def plus(self, other: Settled) -> Settled:
        return Settled(self.tasks + other.tasks, self.deliveries + other.deliveries)


def settle() -> Settled:
    """Settle all ended tasks that need it.

    Any number of these may run at once: each takes tasks that no other has.
    """
    return _settle(_COMPLETE, {"since": timezone.now() - PARTIAL_WAIT})


def settle_conversation(conversation_id: UUID) -> None:
    """Settle the ended tasks of a conversation now, as their rows are about to go."""
    _settle(_OF_CONVERSATION, {"conversation": conversation_id})


def _settle(which: str, params: dict[str, Any]) -> Settled:
    total = Settled()
    while True:
        settled = _settle_some(which, {"most": BATCH, **params})
        total = total.plus(settled)
        if settled.tasks < BATCH:
            return total


def _settle_some(which: str, params: dict[str, Any]) -> Settled:
    """Raises django.db.Error while the database is away."""
    try:
        return _settle_batch(which, params)
    except Exception as error:
        if is_outage(error):
            raise
        note_fault("settling")
    settled, failed = _settle_these([row[0] for row in fetch_all(_DUE.format(which=which), params)])
    if len(failed) > MAX_BARE:
        logger.error("%d tasks cannot be settled: the fault is hardly theirs", len(failed))
        return settled
    for task_id in failed:
        settled = settled.plus(_settle_barely(task_id))
    return settled


def _settle_these(ids: Sequence[UUID]) -> tuple[Settled, list[UUID]]:
    """Settle them by halves, so that a task that cannot be settled keeps back no other. Returns
    those as well."""
    settled, failed = Settled(), list[UUID]()
    for half in filter(None, (ids[: len(ids) // 2], ids[len(ids) // 2 :])):
        try:
            settled = settled.plus(_settle_batch(_THESE, {"ids": half, "most": len(half)}))
        except Exception as error:
            if is_outage(error):
                raise
            note_fault("settling")
            if len(half) == 1:
                failed += half
                continue
            more, also_failed = _settle_these(half)
            settled, failed = settled.plus(more), failed + also_failed
    return settled, failed


def _settle_barely(task_id: UUID) -> Settled:
    """As much as can be done: without the usage that the provider gave, without telling anybody;
    else the task is left out of the ledger, for somebody to look at."""
    params = {"ids": [task_id], "most": 1}
    for may_tell in (True, False):
        try:
            settled = _settle_batch(_THESE, params, usage="'{}'::jsonb", may_tell=may_tell)
        except Exception as error:
            if is_outage(error):
                raise
            note_fault("settling")
        else:
            logger.error("task %s: settled without its usage; told: %s", task_id, may_tell)
            return settled
    fetch_all(_TAKE.format(which=_THESE, usage="'{}'::jsonb"), params)
    logger.error("task %s: it cannot be settled, and is in no ledger", task_id)
    return Settled(1)


def _settle_batch(
    which: str, params: dict[str, Any], *, usage: str = "usage", may_tell: bool = True
) -> Settled:
    with transaction.atomic():
        [[taken]] = fetch_all(_TAKE.format(which=which, usage=usage), params)
        tasks = _decoder.decode(taken)
        if not tasks:
            return Settled()
        batch_size("settle").observe(len(tasks))
        deliveries = delivery.store(tasks) if may_tell else 0
        # Last, as submits wait for the budgets that this locks. Who is mailed of one owns some of
        # these tasks, so that the locks of delivery are held already: never the other way round.
        for notice in accounting.settle(tasks):
            deliveries += delivery.budget_near_end(
                notice.user_id,
                key=notice.key,
                budget=notice.budget,
                spent=notice.spent,
                limit=notice.limit,
            )
    return Settled(len(tasks), deliveries)
