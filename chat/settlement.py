"""After the end: what a task used is entered in the ledger, and whoever is to hear of it hears.

The flag on the row is the outbox: it is set when the task is accepted, and taken away in the same
transaction that stores what follows from the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from aily.observability.metrics import batch_size
from chat import accounting, delivery
from chat.models import Status, Task
from chat.models.tasks import ACTIVE

#: Tasks settled in one transaction.
BATCH = 200
#: For how long a worker may take to store the partial answer of a cancelled task.
PARTIAL_WAIT = timedelta(seconds=30)
_LARGE = ("messages", "params", "metadata", "text", "reasoning", "tool_calls", "error")


def settle() -> int:
    """Settle all ended tasks that need it. Returns how many there were.

    Any number of these may run at once: each takes tasks that no other has.
    """
    since = timezone.now() - PARTIAL_WAIT
    # A cancelled task only once its worker has stored how far the answer had come.
    is_incomplete = Q(status=Status.CANCELLED, last_event=0, finished_at__gt=since)
    return _settle(_unsettled().exclude(is_incomplete))


def settle_conversation(conversation_id: UUID) -> None:
    """Settle the ended tasks of a conversation now, as their rows are about to go."""
    _settle(_unsettled().filter(conversation_id=conversation_id))


def _unsettled() -> QuerySet[Task]:
    """Ended tasks, without their texts."""
    ended: QuerySet[Task] = Task.objects.filter(needs_settling=True).exclude(status__in=ACTIVE)
    return ended.defer(*_LARGE)


def _settle(unsettled: QuerySet[Task]) -> int:
    total = 0
    while count := _settle_batch(unsettled):
        total += count
    return total


def _settle_batch(unsettled: QuerySet[Task]) -> int:
    with transaction.atomic():
        tasks: Sequence[Task] = list(
            unsettled.select_for_update(skip_locked=True).order_by("id")[:BATCH]
        )
        Task.objects.filter(pk__in=[task.pk for task in tasks]).update(needs_settling=False)
        if tasks:
            batch_size("settle").observe(len(tasks))
        delivery.store(tasks)
        # Last, as submits wait for the budgets that this locks. Who is mailed of one owns some of
        # these tasks, so that the locks of delivery are held already: never the other way round.
        for notice in accounting.settle(tasks):
            delivery.budget_near_end(
                notice.user_id,
                key=notice.key,
                budget=notice.budget,
                spent=notice.spent,
                limit=notice.limit,
            )
    return len(tasks)
