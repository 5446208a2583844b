"""Deleting old tasks, and vectors before them. Only ended tasks are deleted; conversations keep
their messages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from chat.models import Run, Task
from chat.models.ids import first_id
from chat.models.runs import ENDED_RUNS
from chat.models.task_states import ACTIVE
from chat.models.vectors import delete_older

#: Rows removed in one transaction: bounds how long it holds locks and how much WAL it writes.
BATCH = 1000
#: For how long one run of the schedule deletes: it has a thread of a worker meanwhile.
SCHEDULED_SECONDS = 20.0


def ended_before(cutoff: datetime) -> QuerySet[Task]:
    """Tasks that ended before `cutoff` and are in the ledger, which outlives them."""
    ended: QuerySet[Task] = Task.objects.exclude(status__in=ACTIVE)
    # A row of a run keeps its task, which has its result.
    # A batch that has ended has its results in its files.
    runs = Run.objects.exclude(kind="batch", state__in=ENDED_RUNS)
    kept = Exists(runs.filter(pk=OuterRef("run_id")))
    ended = ended.filter(Q(run_id=None) | ~kept)
    # A task that ended before was made before. Ids begin with the time, so no younger row is read.
    return ended.filter(pk__lt=first_id(cutoff), finished_at__lt=cutoff, needs_settling=False)


def purge_scheduled() -> int:
    """Delete tasks that ended more than TASK_RETENTION_DAYS ago, as many as SCHEDULED_SECONDS
    allow: the rest is for the next time. Returns how many."""
    if not settings.TASK_RETENTION_DAYS:
        return 0
    deadline = time.monotonic() + SCHEDULED_SECONDS
    deleted = 0
    for count in purge(timezone.now() - timedelta(days=settings.TASK_RETENTION_DAYS)):
        deleted += count
        if time.monotonic() > deadline:
            break
    return deleted


def purge(cutoff: datetime) -> Iterator[int]:
    """Delete tasks that ended before `cutoff`, a batch a transaction; gives each batch's size.

    Can be stopped and started again at any time.
    """
    while True:
        ids = list(ended_before(cutoff).order_by("id").values_list("pk", flat=True)[:BATCH])
        if not ids:
            return
        ended_before(cutoff).filter(pk__in=ids).delete()
        yield len(ids)


def purge_vectors() -> int:
    """Delete vectors stored more than EMBEDDINGS_KEPT_SECONDS ago; their tasks stay. Returns how
    many, as `purge_scheduled`."""
    before = timezone.now() - timedelta(seconds=settings.EMBEDDINGS_KEPT_SECONDS)
    deadline = time.monotonic() + SCHEDULED_SECONDS
    deleted = 0
    while count := delete_older(before):
        deleted += count
        if time.monotonic() > deadline:
            break
    return deleted
