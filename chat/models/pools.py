"""The names of pools by model id, from a copy that each process keeps."""

from __future__ import annotations

import time
from collections.abc import Collection

from aily.database.threads import in_database
from chat.models.providers import LLMModel, pool_name

#: How long a process uses its copy. Models seldom move to another provider: a task that is put into
#: the pool which its model has just left, the sweep puts into the new one.
COPY_SECONDS = 1.0

_copied_at = float("-inf")
_copy: dict[int, str] = {}


def pools_of(model_ids: Collection[int]) -> dict[int, str]:
    """The pool of each model. One query at the most, none while this process's copy is fresh."""
    known = _known(model_ids)
    return _read() if known is None else known


async def apools_of(model_ids: Collection[int]) -> dict[int, str]:
    """`pools_of` for an event loop."""
    known = _known(model_ids)
    return await in_database(_read) if known is None else known


def _known(model_ids: Collection[int]) -> dict[int, str] | None:
    is_fresh = time.monotonic() - _copied_at < COPY_SECONDS
    return _copy if is_fresh and all(model_id in _copy for model_id in model_ids) else None


def _read() -> dict[int, str]:
    """All models' pools: there are few."""
    global _copied_at, _copy
    read_at = time.monotonic()
    rows = LLMModel.objects.order_by().values_list("pk", "provider_id")
    _copy = {pk: pool_name(provider_id, pk) for pk, provider_id in rows}
    _copied_at = read_at
    return _copy
