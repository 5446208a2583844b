"""Pauses of models, their deployments and providers: what staff see of them, begin and end.

One that staff begin is a column of the row, so that no server can lose it; tasks are accepted and
held. Those that begin by themselves are in Redis: of a deployment whose provider said 429, and of
one that fails.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from django.db import transaction
from django.utils import timezone

from chat import actors, scheduler
from chat.models import Deployment, LLMModel, Provider, pools_of, transitions
from chat.scheduler import Block, DeploymentKey, Entry

logger = logging.getLogger(__name__)

Kind = Literal["model", "provider", "deployment"]
Cause = Literal["staff", "retry_after", "breaker"]
Pausable = LLMModel | Provider | Deployment


@dataclass(frozen=True, slots=True)
class Pause:
    """`cause` retry_after: a provider said 429; breaker: one fails, for the `opened`-th time in a
    row; staff: they have paused it.

    `name` of a deployment is <model>@<deployment>. `seconds_left` is 0 where a task may find out,
    or does, whether the provider is back; it and `until` are None where staff end the pause.
    """

    kind: Kind
    name: str
    cause: Cause
    until: datetime | None = None
    seconds_left: float | None = None
    opened: int = 0


def pauses() -> list[Pause]:
    """All pauses at this moment, providers first. The pause of a model's only deployment is listed
    as that of the model (429) or of its provider (breaker). Raises RedisUnavailable."""
    models = list(LLMModel.objects.with_deployments())
    providers = Provider.objects.only("name", "paused_at")
    of_models = {model.pk: model.all_deployments() for model in models}
    rows = {row.key: row for of_model in of_models.values() for row in of_model}
    several = {pk for pk, of_model in of_models.items() if len(of_model) > 1}
    paused, opened = scheduler.blocks(rows)
    failing: dict[str, Block] = {}
    for key, block in opened.items():
        name = rows[key].provider.name
        if rows[key].model_id not in several:
            failing[name] = max(
                failing.get(name, block), block, key=lambda open_: open_.seconds_left
            )
    return [
        *(Pause("provider", row.name, "staff") for row in providers if row.paused_at),
        *(_pause("provider", name, "breaker", block) for name, block in failing.items()),
        *(Pause("model", row.name, "staff") for row in models if row.paused_at),
        *(
            _pause("model", rows[key].model.name, "retry_after", block)
            for key, block in paused.items()
            if rows[key].model_id not in several
        ),
        *(Pause("deployment", str(row), "staff") for row in rows.values() if row.paused_at),
        *(
            _pause("deployment", str(rows[key]), cause, block)
            for cause, blocked in _causes(opened, paused)
            for key, block in blocked.items()
            if rows[key].model_id in several
        ),
    ]


_Blocks = Mapping[DeploymentKey, Block]


def _causes(opened: _Blocks, paused: _Blocks) -> list[tuple[Cause, _Blocks]]:
    return [("breaker", opened), ("retry_after", paused)]


def _seconds_left(block: Block) -> float:
    return block.seconds_left


def _pause(kind: Kind, name: str, cause: Cause, block: Block) -> Pause:
    seconds = round(block.seconds_left, 1)
    until = timezone.now() + timedelta(seconds=seconds)
    return Pause(kind, name, cause, until, seconds, block.opened)


def find_deployment(name: str) -> Deployment | None:
    """The deployment of this name, <model>@<deployment>; the model's own is named after its
    provider."""
    model_name, _, own_name = name.rpartition("@")
    model = LLMModel.objects.with_deployments().filter(name=model_name).first()
    rows = model.all_deployments() if model else []
    return next((row for row in rows if row.name == own_name), None)


def pause(row: Pausable) -> bool:
    """Have a deployment, a model, or all models of a provider take no task until the pause is
    lifted. Tasks are accepted and held, or go to other deployments; calls that run go on.

    False when staff had paused it already.
    """
    was_changed = _set_paused(row, is_paused=True)
    if was_changed:
        logger.warning("%s %s was paused by staff", row._meta.verbose_name, row)  # noqa: SLF001
    return was_changed


def _set_paused(row: Pausable, *, is_paused: bool) -> bool:
    # The model's own deployment has no row but the model's.
    stored: Pausable = row
    field = "paused_at"
    if isinstance(row, Deployment) and not row.pk:
        stored, field = row.model, "own_paused_at"
    with transaction.atomic():
        locked = _lock(stored)
        if (getattr(locked, field) is not None) == is_paused:
            return False
        paused_at = timezone.now() if is_paused else None
        setattr(locked, field, paused_at)
        locked.save(update_fields=[field])
    setattr(stored, field, paused_at)
    row.paused_at = paused_at
    return True


def _lock(row: Pausable) -> Pausable:
    """The row as it is now, locked."""
    kinds: dict[type[Pausable], Any] = {
        kind: kind._default_manager  # noqa: SLF001 - documented, although its name is private
        for kind in (LLMModel, Provider, Deployment)
    }
    locked: Pausable = kinds[type(row)].select_for_update(no_key=True).get(pk=row.pk)
    return locked


def lift_model(model: LLMModel) -> bool:
    """Let a model be called again at once, at all deployments that staff have not paused. False
    when it was not paused.

    Raises RedisUnavailable; the pause by staff has ended then all the same.
    """
    was_paused = _set_paused(model, is_paused=False)
    lifted = [scheduler.lift_pause(row.key) for row in model.all_deployments()]
    was_paused |= any(lifted)
    if was_paused:
        logger.warning("the pause of model %s was lifted by hand", model.name)
    _start_retries([model.pk])
    return was_paused


def lift_deployment(row: Deployment) -> bool:
    """Let a deployment be called again at once, whatever kept it from that. False when nothing did.

    Raises RedisUnavailable; the pause by staff has ended then all the same.
    """
    was_paused = _set_paused(row, is_paused=False)
    was_paused |= scheduler.lift_pause(row.key)
    was_paused |= scheduler.close_breaker(row.key)
    if was_paused:
        logger.warning("the pause of deployment %s was lifted by hand", row)
    _start_retries([row.model_id])
    return was_paused


def lift_provider(provider: Provider) -> bool:
    """Let a provider be called again. False when neither it was paused nor a breaker of it open.

    Raises RedisUnavailable; the pause by staff has ended then all the same.
    """
    was_paused = _set_paused(provider, is_paused=False)
    if was_paused:
        logger.warning("the pause of provider %s was lifted by hand", provider.name)
    return reset_breaker(provider) or was_paused


def reset_breaker(provider: Provider) -> bool:
    """Close the breakers of all of a provider's deployments, and leave a pause by staff as it is.
    False when they were closed.

    Raises RedisUnavailable.
    """
    rows = [model.own_deployment for model in provider.models.select_related("provider")]
    rows += provider.deployments.all()
    closed = [scheduler.close_breaker(row.key) for row in rows]
    was_open = any(closed)
    if was_open:
        logger.warning("the breaker of provider %s was closed by hand", provider.name)
    _start_retries([row.model_id for row in rows])
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
