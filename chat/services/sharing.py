"""Equal requests: for scenes that let them share a call or a kept answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from django.utils import timezone

from chat import accounting, answer_cache
from chat.accounting import BudgetsInForce
from chat.models import ServedFrom, Status, Task


def prepare(tasks: Sequence[Task], budgets: BudgetsInForce) -> None:
    """Mark tasks that may share, and give them kept answers, before they are stored.

    A task that is answered by this has ended without having started.
    """
    cacheable: list[Task] = []
    for task in tasks:
        if not (_is_shared_by_scene(task) or task.shares_with_owner):
            continue
        if task.tools is not None:
            # What tools answer depends on the moment, and may on the user.
            continue
        if budgets.of(task):
            # Sent on, so that it is part of what makes requests the same.
            accounting.bound_completion(task)
        version = task.scene_version
        if version is not None and _is_shared_by_scene(task):
            task.flight_key = _digest(task)
            task.may_follow = version.single_flight or task.shares_with_owner
        else:
            task.flight_key = _digest(task, task.owner_id)
            task.may_follow = True
        if task.shares_with_owner or (version is not None and version.cache_ttl_seconds):
            cacheable.append(task)
    answers = answer_cache.get({(task.flight_key, task.model_id) for task in cacheable})
    for task in cacheable:
        if answer := answers.get((task.flight_key, task.model_id)):
            _answer(task, answer)


def count_answered(tasks: Sequence[Task]) -> int:
    """How many of these tasks, which nobody stores, a kept answer would be given to. At most two
    queries, and one round trip to the cache."""
    shared = [task for task in tasks if _is_shared_by_scene(task) or task.shares_with_owner]
    if shared:
        prepare(shared, accounting.in_force(shared))
    return sum(task.status == Status.SUCCEEDED for task in shared)


def _is_shared_by_scene(task: Task) -> bool:
    """Whether the scene lets requests of all users share. Who tries a draft wants an answer of its
    own."""
    version = task.scene_version
    return (
        version is not None
        and bool(version.single_flight or version.cache_ttl_seconds)
        and version.is_published
    )


def _digest(task: Task, owner_id: int | None = None) -> str:
    """SHA-256, as 64 hex digits, of all that decides what which provider is asked, and of the
    owner where only this one's requests are shared.

    The scene's version is part of it: staff allow sharing for one version, and the answers kept
    for it are not those of the next. Keys of objects are sorted, as the database sorts them too.
    """
    model = task.model
    upstream = [model.pk, model.upstream_name, model.provider.base_url, task.fallbacks]
    asked = [task.scene_version_id, upstream, task.messages, task.params]
    if task.response_format is not None:
        # In its own order, in which models write.
        asked.append(msgspec.json.encode(task.response_format).decode())
    if owner_id is not None:
        asked.append(owner_id)
    return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()


def _answer(task: Task, answer: answer_cache.CachedAnswer) -> None:
    task.text, task.reasoning = answer.text, answer.reasoning
    task.finish_reason, task.usage = answer.finish_reason, answer.usage
    task.status, task.served_from = Status.SUCCEEDED, ServedFrom.CACHE
    task.may_follow = False
    task.last_event = 1
    task.finished_at = timezone.now()
