"""After the end: whoever is to hear of an ended task hears of it, at least once.

The flag on the row is the outbox: it is set when the task is accepted, and taken away in the same
transaction that stores what follows from the end.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from chat.models import Task
from chat.models.tasks import ACTIVE

#: Tasks settled in one transaction.
BATCH = 200


def settle() -> int:
    """Settle all ended tasks that need it. Returns how many there were.

    Any number of these may run at once: each takes tasks that no other has.
    """
    total = 0
    while count := _settle_batch():
        total += count
    return total


def _settle_batch() -> int:
    with transaction.atomic():
        unsettled = Task.objects.filter(needs_settling=True).exclude(status__in=ACTIVE)
        tasks: Sequence[Task] = list(
            unsettled.select_for_update(skip_locked=True).order_by("id")[:BATCH]
        )
        Task.objects.filter(pk__in=[task.pk for task in tasks]).update(needs_settling=False)
    return len(tasks)
