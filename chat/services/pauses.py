"""Pauses of models and providers: what staff see of them, begin and end.

One that staff begin is a column of the row, so that no server can lose it; tasks are accepted and
held. Those that begin by themselves are in Redis: of a model whose provider said 429, and of a
provider that fails.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.db import transaction
from django.utils import timezone

from chat import actors, scheduler
from chat.models import LLMModel, Provider, pools_of, transitions
from chat.scheduler import Block, Entry

logger = logging.getLogger(__name__)

Kind = Literal["model", "provider"]
Cause = Literal["staff", "retry_after", "breaker"]
Pausable = LLMModel | Provider


@dataclass(frozen=True, slots=True)
class Pause:
    """`cause` retry_after: a model's provider said 429; breaker: a provider fails, for the
    `opened`-th time in a row; staff: they have paused it.

    `seconds_left` is 0 where a task may find out, or does, whether the provider is back; it and
    `until` are None where staff end the pause.
    """

    kind: Kind
    name: str
    cause: Cause
    until: datetime | None = None
    seconds_left: float | None = None
    opened: int = 0


def pauses() -> list[Pause]:
    """All at this moment, providers first. Raises RedisUnavailable."""
    models = LLMModel.objects.only("name", "provider_id", "paused_at")
    providers = Provider.objects.only("name", "paused_at")
    pools = {model.pool: model.name for model in models}
    names = {str(provider.pk): provider.name for provider in providers}
    paused, opened = scheduler.blocks(pools, names)
    return [
        *(Pause("provider", row.name, "staff") for row in providers if row.paused_at),
        *(_pause("provider", names[pk], "breaker", block) for pk, block in opened.items()),
        *(Pause("model", row.name, "staff") for row in models if row.paused_at),
        *(_pause("model", pools[pool], "retry_after", block) for pool, block in paused.items()),
    ]


def _pause(kind: Kind, name: str, cause: Cause, block: Block) -> Pause:
    seconds = round(block.seconds_left, 1)
    until = timezone.now() + timedelta(seconds=seconds)
    return Pause(kind, name, cause, until, seconds, block.opened)


def pause(row: Pausable) -> bool:
    """Have a model, or all models of a provider, start no task until the pause is lifted. Tasks are
    accepted and held; calls that run go on. False when staff had paused it already."""
    was_changed = _set_paused(row, is_paused=True)
    if was_changed:
        logger.warning("%s %s was paused by staff", row._meta.verbose_name, row.name)  # noqa: SLF001
    return was_changed


def _set_paused(row: Pausable, *, is_paused: bool) -> bool:
    with transaction.atomic():
        locked = _lock(row)
        if (locked.paused_at is not None) == is_paused:
            return False
        locked.paused_at = timezone.now() if is_paused else None
        locked.save(update_fields=["paused_at"])
    row.paused_at = locked.paused_at
    return True


def _lock(row: Pausable) -> Pausable:
    """The row as it is now, locked."""
    if isinstance(row, LLMModel):
        model: LLMModel = LLMModel.objects.select_for_update(no_key=True).get(pk=row.pk)
        return model
    provider: Provider = Provider.objects.select_for_update(no_key=True).get(pk=row.pk)
    return provider


def lift_model(model: LLMModel) -> bool:
    """Let a model be called again at once. False when it was not paused.

    Raises RedisUnavailable; the pause by staff has ended then all the same.
    """
    was_paused = _set_paused(model, is_paused=False)
    was_paused |= scheduler.lift_pause(model.pool)
    if was_paused:
        logger.warning("the pause of model %s was lifted by hand", model.name)
    _start_retries([model.pk])
    return was_paused


def lift_provider(provider: Provider) -> bool:
    """Let a provider be called again. False when it was neither paused nor its breaker open.

    Raises RedisUnavailable; the pause by staff has ended then all the same.
    """
    was_paused = _set_paused(provider, is_paused=False)
    if was_paused:
        logger.warning("the pause of provider %s was lifted by hand", provider.name)
    return reset_breaker(provider) or was_paused


def reset_breaker(provider: Provider) -> bool:
    """Close a provider's breaker, and leave a pause by staff as it is. False when it was closed.

    Raises RedisUnavailable.
    """
    models = list(provider.models.only("provider_id"))
    was_open = scheduler.close_breaker(str(provider.pk), [model.pool for model in models])
    if was_open:
        logger.warning("the breaker of provider %s was closed by hand", provider.name)
    _start_retries([model.pk for model in models])
    return was_open


def _start_retries(model_ids: Sequence[int]) -> None:
    """Let tasks of these models that wait for their next attempt make it now: most wait because of
    the pause."""
    by_pool: defaultdict[str, list[Entry]] = defaultdict(list)
    pools = pools_of(model_ids)
    for task in transitions.clear_not_before(model_ids):
        entry = Entry(str(task.id), task.lane, task.owner_id, task.weight)
        by_pool[pools[task.model_id]].append(entry)
    for pool, entries in by_pool.items():
        _, must_ring = scheduler.enqueue(pool, entries)
        if must_ring:
            actors.ring(pool)
