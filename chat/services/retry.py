"""Asking again: a new task from one that has ended."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from chat import accounting
from chat.models import Task
from chat.models.ids import tagged_id
from chat.models.tasks import ACTIVE
from chat.services.submit import enqueue


def retry_many(task_ids: Sequence[UUID]) -> int:
    """Submit the prompts of ended tasks again, as new tasks. Returns how many were.

    The old ones stay as they are: what has ended never changes. Conversations are left out, as
    their question and answer would be there twice; so are those that their owners' budgets refuse.
    """
    ended = Task.objects.filter(pk__in=task_ids).exclude(status__in=ACTIVE)
    tasks = [
        Task(
            id=tagged_id(),
            owner_id=task.owner_id,
            api_key_id=task.api_key_id,
            scene_id=task.scene_id,
            scene_version_id=task.scene_version_id,
            model=task.model,
            lane=task.lane,
            messages=task.messages,
            params=task.params,
            metadata={**task.metadata, "retry_of": str(task.pk)},
            needs_settling=True,
        )
        for task in ended.select_related("model").defer("text", "reasoning", "tool_calls")
    ]
    found = accounting.in_force(tasks)
    with transaction.atomic():
        refused = accounting.reserve(tasks, found)
        allowed = [task for task in tasks if task.pk not in refused]
        Task.objects.bulk_create(allowed)
    enqueue(allowed)
    return len(allowed)
