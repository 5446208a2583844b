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
        version = task.scene_version
        if version is None or not (version.single_flight or version.cache_ttl_seconds):
            continue
        if task.tools is not None:
            # What tools answer depends on the moment, and may on the user.
            continue
        if not version.is_published:
            # Who tries a draft wants an answer of its own.
            continue
        if budgets.of(task):
            # Sent on, so that it is part of what makes requests the same.
            accounting.bound_completion(task)
        task.flight_key = _digest(task)
        task.may_follow = version.single_flight
        if version.cache_ttl_seconds:
            cacheable.append(task)
    answers = answer_cache.get({(task.flight_key, task.model_id) for task in cacheable})
    for task in cacheable:
        if answer := answers.get((task.flight_key, task.model_id)):
            _answer(task, answer)


def _digest(task: Task) -> str:
    """SHA-256, as 64 hex digits, of all that decides what which provider is asked.

    The scene's version is part of it: staff allow sharing for one version, and the answers kept
    for it are not those of the next. Keys of objects are sorted, as the database sorts them too.
    """
    model = task.model
    upstream = [model.pk, model.upstream_name, model.provider.base_url, task.fallbacks]
    asked = [task.scene_version_id, upstream, task.messages, task.params]
    if task.response_format is not None:
        # In its own order, in which models write.
        asked.append(msgspec.json.encode(task.response_format).decode())
    return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()


def _answer(task: Task, answer: answer_cache.CachedAnswer) -> None:
    task.text, task.reasoning = answer.text, answer.reasoning
    task.finish_reason, task.usage = answer.finish_reason, answer.usage
    task.status, task.served_from = Status.SUCCEEDED, ServedFrom.CACHE
    task.may_follow = False
    task.last_event = 1
    task.finished_at = timezone.now()
