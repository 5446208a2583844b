"""Pauses of models and open circuit breakers of providers: staff see them, and end them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.utils import timezone

from chat import actors, scheduler
from chat.models import LLMModel, Provider, pools_of, transitions
from chat.scheduler import Block, Entry

logger = logging.getLogger(__name__)

Kind = Literal["model", "provider"]


@dataclass(frozen=True, slots=True)
class Pause:
    """`kind` model: the provider answered 429; provider: its breaker is open, for the `opened`-th
    time in a row.

    `seconds_left` is 0 once a task may probe, or probes, whether the provider works again.
    """

    kind: Kind
    name: str
    until: datetime
    seconds_left: float
    opened: int


def pauses() -> list[Pause]:
    """Return all of this moment, providers first. Raises RedisUnavailable."""
    models = {model.pool: model.name for model in LLMModel.objects.only("name", "provider_id")}
    providers = {str(pk): name for pk, name in Provider.objects.values_list("pk", "name")}
    paused, opened = scheduler.blocks(models, providers)
    return [_pause("provider", providers[pk], block) for pk, block in opened.items()] + [
        _pause("model", models[pool], block) for pool, block in paused.items()
    ]


def _pause(kind: Kind, name: str, block: Block) -> Pause:
    seconds = round(block.seconds_left, 1)
    return Pause(kind, name, timezone.now() + timedelta(seconds=seconds), seconds, block.opened)


def lift_model(model: LLMModel) -> bool:
    """Let a model be called again at once. False when it was not paused.

    Raises RedisUnavailable.
    """
    was_paused = scheduler.lift_pause(model.pool)
    if was_paused:
        logger.warning("the pause of model %s was lifted by hand", model.name)
    _start_retries([model.pk])
    return was_paused


def lift_provider(provider: Provider) -> bool:
    """Let a provider be called again. False when its breaker was closed.

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
