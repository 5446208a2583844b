"""What staff sees at a glance: the queue, slots, failures, providers, and spending.

Pages ask every few seconds. So each query has a bound, and a process answers from a copy that is at
most COPY_SECONDS old.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from aily.database.rows import Row, fetch_rows
from aily.redis.errors import RedisUnavailable
from chat.models import Lane, LLMModel, Provider
from chat.models.ids import first_id
from chat.scheduler import Block, blocks
from chat.scheduler.load import PoolLoad, pool_loads

COPY_SECONDS = 2.0
#: Rows that are counted, of waiting tasks (the oldest) and of failed ones (the newest).
MAX_ROWS = 10_000
#: Models and providers that are shown.
MAX_MODELS = 200
MAX_CODES = 20

_QUEUED = """
SELECT model_id, lane, count(*) AS tasks,
       greatest(extract(epoch FROM now() - min(created_at)), 0)::float AS oldest_seconds
  FROM (SELECT model_id, lane, created_at FROM chat_task
         WHERE status = 'queued' ORDER BY id LIMIT %(limit)s) queued
 GROUP BY 1, 2
"""
_FAILED = """
SELECT coalesce(error->>'code', '') AS code, count(*) AS tasks
  FROM (SELECT error FROM chat_task
         WHERE status = 'failed' AND id >= %(since)s ORDER BY id DESC LIMIT %(limit)s) failed
 GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %(codes)s
"""
_RUNS = """
SELECT count(*) AS tasks FROM chat_run
 WHERE state NOT IN ('done', 'cancelled', 'failed', 'expired') AND state <> 'ready'
"""
_WORKERS = "SELECT count(*) AS tasks FROM chat_worker WHERE NOT is_dead AND lease_until > now()"


class _Queued(Row, frozen=True):
    model_id: int
    lane: int
    tasks: int
    oldest_seconds: float


class _Failed(Row, frozen=True):
    code: str
    tasks: int


class _Count(Row, frozen=True):
    tasks: int


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """`queued` has a count for each lane. Without Redis, `in_use` and `limit` are None."""

    id: int
    name: str
    provider: str
    is_enabled: bool
    queued: Sequence[int]
    oldest_seconds: float
    in_use: int | None
    limit: int | None
    cap: int
    paused_seconds: float


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """`breaker`: closed, open, half_open (a task may find out whether the provider is back), or
    unknown while Redis is away."""

    id: int
    name: str
    is_enabled: bool
    breaker: str
    seconds_left: float
    opened: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`failures`: codes of tasks accepted in the last hour that failed."""

    models: Sequence[ModelLoad]
    providers: Sequence[ProviderHealth]
    failures: Mapping[str, int]
    workers: int
    #: Runs that are under way or paused.
    runs: int
    has_redis: bool


_lock = threading.Lock()
_copy: tuple[float, Snapshot] | None = None


def snapshot() -> Snapshot:
    """Return the state of this moment, at most COPY_SECONDS old. Raises django.db.Error."""
    global _copy
    with _lock:
        if _copy is None or time.monotonic() - _copy[0] >= COPY_SECONDS:
            read = _read()
            _copy = (time.monotonic(), read)
        return _copy[1]


def _read() -> Snapshot:
    models = list(LLMModel.objects.select_related("provider").order_by("name")[:MAX_MODELS])
    providers = list(Provider.objects.order_by("name")[:MAX_MODELS])
    queued = {(row.model_id, row.lane): row for row in _fetch_queued()}
    loads: dict[str, PoolLoad] = {}
    paused: dict[str, Block] = {}
    opened: dict[str, Block] | None = None
    try:
        loads = pool_loads([model.pool for model in models])
        paused, opened = blocks(
            [model.pool for model in models], [str(provider.pk) for provider in providers]
        )
    except RedisUnavailable:
        opened = None
    [workers] = fetch_rows(_Count, _WORKERS)
    [runs] = fetch_rows(_Count, _RUNS)
    return Snapshot(
        models=[
            _model(model, queued, loads.get(model.pool), paused.get(model.pool)) for model in models
        ],
        providers=[_provider(provider, opened) for provider in providers],
        failures=_failures(),
        workers=workers.tasks,
        runs=runs.tasks,
        has_redis=opened is not None,
    )


def _fetch_queued() -> list[_Queued]:
    return fetch_rows(_Queued, _QUEUED, {"limit": MAX_ROWS})


def _failures() -> dict[str, int]:
    since = first_id(timezone.now() - timedelta(hours=1))
    params = {"since": since, "limit": MAX_ROWS, "codes": MAX_CODES}
    return {row.code: row.tasks for row in fetch_rows(_Failed, _FAILED, params)}


def _model(
    model: LLMModel,
    queued: Mapping[tuple[int, int], _Queued],
    load: PoolLoad | None,
    pause: Block | None,
) -> ModelLoad:
    rows = [queued.get((model.pk, lane)) for lane in Lane]
    counts = [0 if row is None else row.tasks for row in rows]
    if load is not None:
        # Rows know tasks that wait for a retry as well; the ready set knows those beyond MAX_ROWS.
        counts = [max(pair) for pair in zip(counts, load.ready, strict=True)]
    return ModelLoad(
        id=model.pk,
        name=model.name,
        provider=model.provider.name,
        is_enabled=model.is_enabled and model.provider.is_enabled,
        queued=counts,
        oldest_seconds=round(max((row.oldest_seconds for row in rows if row), default=0.0), 1),
        in_use=None if load is None else load.in_use,
        limit=None if load is None else load.limit,
        cap=model.max_concurrency,
        paused_seconds=0.0 if pause is None else round(pause.seconds_left, 1),
    )


def _provider(provider: Provider, opened: Mapping[str, Block] | None) -> ProviderHealth:
    block = None if opened is None else opened.get(str(provider.pk))
    if opened is None:
        breaker = "unknown"
    elif block is None:
        breaker = "closed"
    else:
        breaker = "open" if block.seconds_left > 0 else "half_open"
    return ProviderHealth(
        id=provider.pk,
        name=provider.name,
        is_enabled=provider.is_enabled,
        breaker=breaker,
        seconds_left=0.0 if block is None else round(block.seconds_left, 1),
        opened=0 if block is None else block.opened,
    )
