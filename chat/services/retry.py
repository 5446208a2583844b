"""Asking again: a new task from one that has ended."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from accounts.permissions import PermissionSet, permission_sets
from chat import accounting
from chat.models import Task
from chat.models.ids import tagged_id
from chat.models.tasks import ACTIVE
from chat.services.submit import USE_MODEL, USE_SCENE, enqueue


def retry_many(task_ids: Sequence[UUID]) -> int:
    """Submit the prompts of ended tasks again, as new tasks. Returns how many were.

    The old ones stay as they are: what has ended never changes. Conversations are left out, as
    their question and answer would be there twice; so is what the owners could not submit any more:
    where they were shut out, may not use the scene or model now, or have too small a budget.
    """
    ended = _still_allowed(Task.objects.filter(pk__in=task_ids).exclude(status__in=ACTIVE))
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
        for task in ended
    ]
    found = accounting.in_force(tasks)
    with transaction.atomic():
        refused = accounting.reserve(tasks, found)
        allowed = [task for task in tasks if task.pk not in refused]
        Task.objects.bulk_create(allowed)
    enqueue(allowed)
    return len(allowed)


def _still_allowed(ended: QuerySet[Task]) -> list[Task]:
    """Those whose owners may use their scene and model."""
    related = ("model", "scene", "scene_version")
    tasks = list(
        ended.filter(owner__is_active=True)
        .select_related(*related)
        .defer("text", "reasoning", "tool_calls")
    )
    held = permission_sets({task.owner_id for task in tasks})
    return [task for task in tasks if _may_use(held[task.owner_id], task)]


def _may_use(permissions: PermissionSet, task: Task) -> bool:
    scene, version, model = task.scene, task.scene_version, task.model
    if scene is not None and scene.is_restricted and not permissions.allows(USE_SCENE, scene):
        return False
    # A scene's own models come with the scene.
    comes_with_scene = version is not None and (
        version.model_id == model.pk or model.name in version.fallback_models
    )
    return not model.is_restricted or comes_with_scene or permissions.allows(USE_MODEL, model)
