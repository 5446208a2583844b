"""The names of pools by model id, and which staff have paused, from a copy of each process."""

from __future__ import annotations

import time
from collections.abc import Collection

from django.db.models import Q

from aily.database.threads import in_database
from chat.models.providers import LLMModel, pool_name

#: How long a process uses its copy. Models seldom move to another provider: a task that is put into
#: the pool which its model has just left, the sweep puts into the new one.
COPY_SECONDS = 1.0

_copied_at = float("-inf")
_copy: dict[int, str] = {}
_paused: frozenset[int] = frozenset()


def pools_of(model_ids: Collection[int]) -> dict[int, str]:
    """The pool of each model. One query at the most, none while this process's copy is fresh."""
    known = _known(model_ids)
    return _read() if known is None else known


async def apools_of(model_ids: Collection[int]) -> dict[int, str]:
    """`pools_of` for an event loop."""
    known = _known(model_ids)
    return await in_database(_read) if known is None else known


def paused_models() -> frozenset[int]:
    """The models that staff have paused, themselves or their provider, as of the copy that the last
    `pools_of` was answered from."""
    return _paused


def forget_copy() -> None:
    """Have the next `pools_of` of this process read the database."""
    global _copied_at
    _copied_at = float("-inf")


def _known(model_ids: Collection[int]) -> dict[int, str] | None:
    is_fresh = time.monotonic() - _copied_at < COPY_SECONDS
    return _copy if is_fresh and all(model_id in _copy for model_id in model_ids) else None


def _read() -> dict[int, str]:
    """All models' pools: there are few."""
    global _copied_at, _copy, _paused
    read_at = time.monotonic()
    is_paused = Q(paused_at__isnull=False) | Q(provider__paused_at__isnull=False)
    models = LLMModel.objects.order_by().annotate(is_held=is_paused)
    rows = list(models.values_list("pk", "provider_id", "is_held"))
    _copy = {pk: pool_name(provider_id, pk) for pk, provider_id, _ in rows}
    _paused = frozenset(pk for pk, _, is_held in rows if is_held)
    _copied_at = read_at
    return _copy
