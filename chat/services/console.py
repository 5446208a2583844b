"""What staff sees at a glance: the queue, slots, failures, providers, and spending.

Pages ask every few seconds. So each query has a bound, and a process answers from a copy that is at
most COPY_SECONDS old.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.utils import timezone

from aily.database.rows import Row, fetch_rows
from aily.redis.errors import RedisUnavailable
from chat.models import Deployment, Lane, LLMModel, Provider
from chat.models.ids import first_id
from chat.scheduler import (
    Block,
    DeploymentKey,
    DeploymentLoad,
    blocks,
    deployment_loads,
    ready_counts,
)

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
    """`queued` has a count for each lane. Without Redis, `in_use` and `limit` are None.

    `held_by`: model, provider or deployments, whichever of these staff have paused so that nothing
    starts; empty: none.
    """

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
    held_by: str


@dataclass(frozen=True, slots=True)
class DeploymentHealth:
    """A deployment of a model that has several, or whose minute is limited. `id` 0: the own one.

    `weight` 0: it takes no tasks. `breaker` as of ProviderHealth, which ends with `seconds_left`;
    `requests` and `tokens` are those of the last minute. Without Redis `in_use` and `limit` are
    None.
    """

    id: int
    model_id: int
    model: str
    name: str
    provider: str
    weight: int
    is_paused: bool
    in_use: int | None
    limit: int | None
    cap: int
    breaker: str
    seconds_left: float
    paused_seconds: float
    requests: int
    requests_per_minute: int | None
    tokens: int
    tokens_per_minute: int | None


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """`breaker`: closed, open, half_open (a task may find out whether the provider is back), or
    unknown while Redis is away; the worst of its deployments. `is_held`: staff have paused it."""

    id: int
    name: str
    is_enabled: bool
    breaker: str
    seconds_left: float
    opened: int
    is_held: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`failures`: codes of tasks accepted in the last hour that failed."""

    models: Sequence[ModelLoad]
    deployments: Sequence[DeploymentHealth]
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


@dataclass(frozen=True, slots=True)
class _Queue:
    """The part that Redis has; empty while Redis is away."""

    is_known: bool = False
    ready: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    loads: Mapping[DeploymentKey, DeploymentLoad] = field(default_factory=dict)
    paused: Mapping[DeploymentKey, Block] = field(default_factory=dict)
    opened: Mapping[DeploymentKey, Block] = field(default_factory=dict)

    @classmethod
    def read(cls, pools: Sequence[str], keys: Sequence[DeploymentKey]) -> _Queue:
        try:
            paused, opened = blocks(keys)
            return cls(True, ready_counts(pools), deployment_loads(keys), paused, opened)
        except RedisUnavailable:
            return cls()

    def breaker(self, keys: Sequence[DeploymentKey]) -> tuple[str, Block]:
        """The worst breaker of these deployments."""
        opened = [self.opened[key] for key in keys if key in self.opened]
        worst = max(opened, key=lambda block: block.seconds_left, default=None)
        if not self.is_known:
            return "unknown", Block(0.0)
        if worst is None:
            return "closed", Block(0.0)
        return ("open" if worst.seconds_left > 0 else "half_open"), worst


def _read() -> Snapshot:
    models = list(LLMModel.objects.with_deployments().order_by("name")[:MAX_MODELS])
    providers = list(Provider.objects.order_by("name")[:MAX_MODELS])
    rows = {model.pk: model.all_deployments() for model in models}
    every = [row for of_model in rows.values() for row in of_model]
    queued = {(row.model_id, row.lane): row for row in _fetch_queued()}
    queue = _Queue.read([model.pool for model in models], [row.key for row in every])
    [workers] = fetch_rows(_Count, _WORKERS)
    [runs] = fetch_rows(_Count, _RUNS)
    shown = [
        row
        for row in every
        if len(rows[row.model_id]) > 1 or row.requests_per_minute or row.tokens_per_minute
    ]
    return Snapshot(
        models=[_model(model, rows[model.pk], queued, queue) for model in models],
        deployments=[_deployment(row, queue) for row in shown[:MAX_MODELS]],
        providers=[_provider(provider, every, queue) for provider in providers],
        failures=_failures(),
        workers=workers.tasks,
        runs=runs.tasks,
        has_redis=queue.is_known,
    )


def _fetch_queued() -> list[_Queued]:
    return fetch_rows(_Queued, _QUEUED, {"limit": MAX_ROWS})


def _failures() -> dict[str, int]:
    since = first_id(timezone.now() - timedelta(hours=1))
    params = {"since": since, "limit": MAX_ROWS, "codes": MAX_CODES}
    return {row.code: row.tasks for row in fetch_rows(_Failed, _FAILED, params)}


def _model(
    model: LLMModel,
    deployments: Sequence[Deployment],
    queued: Mapping[tuple[int, int], _Queued],
    queue: _Queue,
) -> ModelLoad:
    rows = [queued.get((model.pk, lane)) for lane in Lane]
    counts = [0 if row is None else row.tasks for row in rows]
    if queue.is_known:
        # Rows include tasks that wait for a retry; the ready set includes those beyond MAX_ROWS.
        counts = [max(pair) for pair in zip(counts, queue.ready[model.pool], strict=True)]
    called = [row for row in deployments if row.weight] or deployments
    cap = sum(row.max_concurrency for row in called)
    loads = [queue.loads.get(row.key) for row in called]
    limits = [
        row.max_concurrency if load is None or load.limit is None else load.limit
        for row, load in zip(called, loads, strict=True)
    ]
    is_limited = any(load is not None and load.limit is not None for load in loads)
    pauses = [queue.paused[row.key].seconds_left for row in called if row.key in queue.paused]
    return ModelLoad(
        id=model.pk,
        name=model.name,
        provider=model.provider.name,
        is_enabled=model.is_offered,
        queued=counts,
        oldest_seconds=round(max((row.oldest_seconds for row in rows if row), default=0.0), 1),
        in_use=sum(queue.loads[row.key].in_use for row in deployments) if queue.is_known else None,
        limit=sum(limits) if is_limited else None,
        cap=cap,
        # It waits as long as all of its deployments do.
        paused_seconds=round(min(pauses), 1) if len(pauses) == len(called) else 0.0,
        held_by=_held_by(model),
    )


def _held_by(model: LLMModel) -> str:
    """Whose pause by staff keeps all of the model's tasks: its providers', if several do."""
    if all(row.provider.paused_at is not None for row in model.all_deployments()):
        return "provider"
    if model.paused_at is not None:
        return "model"
    return "deployments" if model.is_paused else ""


def _deployment(row: Deployment, queue: _Queue) -> DeploymentHealth:
    breaker, block = queue.breaker([row.key])
    load = queue.loads.get(row.key)
    pause = queue.paused.get(row.key)
    return DeploymentHealth(
        id=row.pk or 0,
        model_id=row.model_id,
        model=row.model.name,
        name=row.name,
        provider=row.provider.name,
        weight=0 if row.is_held else row.weight,
        is_paused=row.paused_at is not None,
        in_use=load.in_use if load else None,
        limit=load.limit if load else None,
        cap=row.max_concurrency,
        breaker=breaker,
        seconds_left=round(block.seconds_left, 1),
        paused_seconds=0.0 if pause is None else round(pause.seconds_left, 1),
        requests=load.requests if load else 0,
        requests_per_minute=row.requests_per_minute,
        tokens=load.tokens if load else 0,
        tokens_per_minute=row.tokens_per_minute,
    )


def _provider(
    provider: Provider, deployments: Sequence[Deployment], queue: _Queue
) -> ProviderHealth:
    own = [row.key for row in deployments if row.provider_id == provider.pk]
    breaker, block = queue.breaker(own)
    return ProviderHealth(
        id=provider.pk,
        name=provider.name,
        is_enabled=provider.is_enabled,
        breaker=breaker,
        seconds_left=round(block.seconds_left, 1),
        opened=block.opened,
        is_held=provider.paused_at is not None,
    )
