"""Retrying: a new task with the prompt of one that has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from accounts.access.permissions import PermissionSet, permission_sets
from chat import accounting
from chat.accounting import BudgetsInForce
from chat.models import Status, Task
from chat.models.conversations import ask_again
from chat.models.ids import tagged_id
from chat.models.insertion import insert_tasks
from chat.models.task_states import ACTIVE
from chat.services.restrictions import USE_MODEL, USE_SCENE
from chat.services.submit.enqueue import make_ready

#: Of the prompts that are in memory at once.
MAX_BYTES = 16_777_216


def retry_many(task_ids: Sequence[UUID]) -> int:
    """Submit the prompts of ended tasks again, as new tasks. Returns how many were.

    The ended tasks do not change. A question of a conversation that was not answered becomes the
    new task's, so that it is there once. There is no new task if the question has gone to another
    one already, or the conversation is answering. Nor is there one that its owner could not submit
    now: a disabled user or model, a scene or model that the owner may not use, or too small a
    budget.
    """
    ended = Task.objects.filter(pk__in=task_ids).exclude(status__in=ACTIVE)
    sizes = list(ended.values_list("pk", "prompt_bytes"))
    return sum(_retry(Task.objects.filter(pk__in=group)) for group in _groups(sizes))


def _groups(sizes: Sequence[tuple[UUID, int]]) -> Iterator[list[UUID]]:
    """The ids in groups whose prompts have no more than MAX_BYTES together, or one each."""
    group: list[UUID] = []
    room = MAX_BYTES
    for task_id, size in sizes:
        if group and size > room:
            yield group
            group, room = [], MAX_BYTES
        group.append(task_id)
        room -= size
    if group:
        yield group


def _retry(found: QuerySet[Task]) -> int:
    ended = _still_allowed(found)
    pairs = [(task, _copy(task)) for task in ended]
    budgets = accounting.in_force([new for _, new in pairs])
    submitted = _submit([new for _, new in pairs if new.conversation_id is None], budgets)
    for task, new in pairs:
        if new.conversation_id is not None:
            submitted += _ask_again(task, new, budgets)
    make_ready(submitted)
    return len(submitted)


def _copy(task: Task) -> Task:
    """A new task like the ended one. Where that was answered, it is outside the conversation, which
    keeps the answer it has."""
    is_unanswered = task.status != Status.SUCCEEDED
    return Task(
        id=tagged_id(),
        owner_id=task.owner_id,
        api_key_id=task.api_key_id,
        scene_id=task.scene_id,
        scene_version_id=task.scene_version_id,
        conversation_id=task.conversation_id if is_unanswered else None,
        kind=task.kind,
        model=task.model,
        lane=task.lane,
        messages=task.messages,
        prompt_bytes=task.prompt_bytes,
        history_from=task.history_from,
        params=task.params,
        tools=task.tools,
        response_format=task.response_format,
        metadata={**task.metadata, "retry_of": str(task.pk)},
        needs_settling=True,
    )


def _submit(tasks: Sequence[Task], budgets: BudgetsInForce) -> list[Task]:
    with transaction.atomic():
        refused = accounting.reserve(tasks, budgets)
        allowed = [task for task in tasks if task.pk not in refused]
        insert_tasks(allowed)
    return allowed


def _ask_again(task: Task, new: Task, budgets: BudgetsInForce) -> Iterable[Task]:
    """`_submit` in a conversation. Of several at the same moment, one finds the question; a task of
    another question is refused by the constraint of one active task a conversation."""
    try:
        with transaction.atomic():
            submitted = _submit([new], budgets)
            if submitted and task.conversation_id:
                ask_again(task.conversation_id, task.pk, new.pk)
            return submitted
    except IntegrityError:
        return []


def _still_allowed(ended: QuerySet[Task]) -> list[Task]:
    """The tasks whose owners may use their scene and model, as far as that is enabled."""
    related = ("model__provider", "scene", "scene_version")
    tasks = list(
        ended.filter(owner__is_active=True)
        .select_related(*related)
        .defer("text", "reasoning", "tool_calls", "logprobs")
    )
    held = permission_sets({task.owner_id for task in tasks})
    return [task for task in tasks if _may_use(held[task.owner_id], task)]


def _may_use(permissions: PermissionSet, task: Task) -> bool:
    scene, version, model = task.scene, task.scene_version, task.model
    if not model.is_offered or model.capability != task.kind:
        return False
    if scene is not None and scene.is_restricted and not permissions.allows(USE_SCENE, scene):
        return False
    # A scene's own models come with the scene.
    comes_with_scene = version is not None and (
        version.model_id == model.pk or model.name in version.fallback_models
    )
    return not model.is_restricted or comes_with_scene or permissions.allows(USE_MODEL, model)
