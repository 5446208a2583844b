"""Gauges of the queue, read from PostgreSQL and Redis by the exporter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aily.database.rows import Row
from aily.monitoring.services import client, query
from aily.observability.collector import Family, Reading
from chat.models import Lane
from chat.models.providers import pool_name
from chat.scheduler.keys import pool_keys, provider_keys

QUEUE_DEPTH = Family("aily_queue_depth", "Tasks that wait.", ("model", "lane"))
QUEUE_AGE = Family(
    "aily_queue_oldest_age_seconds",
    "How long the oldest waiting task has waited.",
    ("model", "lane"),
)
RUNNING = Family("aily_tasks_running", "Tasks that run.", ("model",))
WORKERS = Family("aily_workers_alive", "Worker processes whose lease runs.")
UNSETTLED = Family("aily_settlement_backlog", "Ended tasks that are not settled yet.")
UNSETTLED_AGE = Family(
    "aily_settlement_oldest_age_seconds", "How long ago the oldest of them ended."
)
PENDING = Family("aily_deliveries_pending", "Webhooks and mails to be sent.", ("kind",))
OVERDUE = Family(
    "aily_deliveries_oldest_due_age_seconds", "How long the longest due has been due.", ("kind",)
)
RUNS = Family("aily_runs", "Runs that have not ended.", ("state",))
RUN_ROWS = Family("aily_run_rows_pending", "Rows of these that wait to be fed.", ("state",))
SLOTS = Family("aily_leases_in_use", "Slots in use.", ("model",))
CAP = Family("aily_leases_cap", "Calls at once that the model is set to.", ("model",))
LIMIT = Family("aily_leases_limit", "Calls at once allowed at the moment.", ("model",))
PAUSED = Family("aily_pool_paused", "1 while the model is paused by a Retry-After.", ("model",))
BY_STAFF = Family(
    "aily_pool_paused_by_staff", "1 while staff have paused the model or its provider.", ("model",)
)
PAUSE = Family("aily_pool_pause_seconds", "Seconds until the pause ends.", ("model",))
OPEN = Family(
    "aily_provider_breaker_seconds", "Seconds until the breaker is half open.", ("provider",)
)
BREAKER = Family("aily_provider_breaker_state", "0 closed, 1 half open, 2 open.", ("provider",))

_MODELS = """
SELECT m.id, m.name, m.max_concurrency, m.provider_id, p.name AS provider,
       m.paused_at IS NOT NULL OR p.paused_at IS NOT NULL AS is_paused
  FROM chat_llmmodel m JOIN chat_provider p ON p.id = m.provider_id
"""
_QUEUED = """
SELECT model_id, lane, count(*) AS tasks,
       extract(epoch FROM now() - min(created_at))::float AS age_seconds
  FROM chat_task WHERE status = 'queued' GROUP BY 1, 2
"""
_RUNNING = """
SELECT model_id, count(*) AS tasks FROM chat_task WHERE status = 'running' GROUP BY 1
"""
_WORKERS = "SELECT count(*) AS workers FROM chat_worker WHERE NOT is_dead AND lease_until > now()"
_UNSETTLED = """
SELECT count(*) AS tasks,
       coalesce(extract(epoch FROM now() - min(finished_at)), 0)::float AS age_seconds
  FROM chat_task WHERE needs_settling AND NOT status IN ('queued', 'running')
"""
_DELIVERIES = """
SELECT kind, count(*) AS deliveries,
       greatest(extract(epoch FROM now() - min(next_attempt_at)), 0)::float AS overdue_seconds
  FROM chat_delivery WHERE state = 'pending' GROUP BY 1
"""
_KINDS = ("webhook", "email")
_RUNS = """
SELECT state, count(*) AS runs, coalesce(sum(pending), 0)::bigint AS pending FROM chat_run
 WHERE state NOT IN ('done', 'cancelled', 'failed', 'expired') GROUP BY 1
"""
_RUN_STATES = ("validating", "ready", "scheduled", "running", "paused", "finishing")


class _Model(Row, frozen=True):
    id: int
    name: str
    max_concurrency: int
    provider_id: int
    provider: str
    is_paused: bool


class _Queued(Row, frozen=True):
    model_id: int
    lane: int
    tasks: int
    age_seconds: float


class _Running(Row, frozen=True):
    model_id: int
    tasks: int


class _Workers(Row, frozen=True):
    workers: int


class _Unsettled(Row, frozen=True):
    tasks: int
    age_seconds: float


class _Pending(Row, frozen=True):
    kind: str
    deliveries: int
    overdue_seconds: float


class _Runs(Row, frozen=True):
    state: str
    runs: int
    pending: int


class QueueGauges:
    """Reads PostgreSQL and Redis; keeps the models, for readings while PostgreSQL is away."""

    def __init__(self, redis_url: str) -> None:
        # redis-py types the replies of the sync and the async client as one union.
        self._redis: Any = client(redis_url)
        self._models: dict[int, _Model] = {}

    def from_rows(self) -> Iterator[Reading]:
        """Raises django.db.Error."""
        self._models = {model.id: model for model in query(_Model, _MODELS)}
        for model in self._models.values():
            yield Reading(CAP, model.max_concurrency, (model.name,))
            yield Reading(BY_STAFF, int(model.is_paused), (model.name,))
        yield from self._queued()
        running = {row.model_id: row.tasks for row in query(_Running, _RUNNING)}
        for pk, model in self._models.items():
            yield Reading(RUNNING, running.get(pk, 0), (model.name,))
        [alive] = query(_Workers, _WORKERS)
        yield Reading(WORKERS, alive.workers)
        [unsettled] = query(_Unsettled, _UNSETTLED)
        yield Reading(UNSETTLED, unsettled.tasks)
        yield Reading(UNSETTLED_AGE, unsettled.age_seconds)
        pending = {row.kind: row for row in query(_Pending, _DELIVERIES)}
        for kind in _KINDS:
            row = pending.get(kind) or _Pending(kind, 0, 0.0)
            yield Reading(PENDING, row.deliveries, (kind,))
            yield Reading(OVERDUE, row.overdue_seconds, (kind,))
        runs = {row.state: row for row in query(_Runs, _RUNS)}
        for state in _RUN_STATES:
            found = runs.get(state) or _Runs(state, 0, 0)
            yield Reading(RUNS, found.runs, (state,))
            yield Reading(RUN_ROWS, found.pending, (state,))

    def _queued(self) -> Iterator[Reading]:
        queued = {(row.model_id, row.lane): row for row in query(_Queued, _QUEUED)}
        for pk, model in self._models.items():
            for lane in Lane:
                row = queued.get((pk, lane)) or _Queued(pk, lane, 0, 0.0)
                labels = (model.name, lane.name.lower())
                yield Reading(QUEUE_DEPTH, row.tasks, labels)
                yield Reading(QUEUE_AGE, row.age_seconds, labels)

    def from_redis(self) -> Iterator[Reading]:
        """Gauges of what chat/scheduler/lua keeps in Redis. Raises redis.RedisError."""
        models = dict(self._models)
        providers = {str(model.provider_id): model.provider for model in models.values()}
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        for provider in providers:
            pipe.hget(provider_keys(provider).breaker, "open_until")
        for pk, model in models.items():
            keys = pool_keys(pool_name(model.provider_id, pk))
            pipe.hmget(keys.stats, ["in_use", "cap"])
            pipe.hget(keys.limit, "paused_until")
        (seconds, micros), *replies = pipe.execute()
        now = seconds + micros / 1e6
        for provider, open_until in zip(providers.values(), replies, strict=False):
            state = 0 if open_until is None else 2 if float(open_until) > now else 1
            yield Reading(BREAKER, state, (provider,))
            yield Reading(OPEN, max(float(open_until or 0) - now, 0.0), (provider,))
        rest = iter(replies[len(providers) :])
        for model, (in_use, limit), paused_until in zip(models.values(), rest, rest, strict=True):
            yield Reading(SLOTS, int(in_use or 0), (model.name,))
            yield Reading(LIMIT, int(limit or model.max_concurrency), (model.name,))
            left = max(float(paused_until or 0) - now, 0.0)
            yield Reading(PAUSED, int(left > 0), (model.name,))
            yield Reading(PAUSE, left, (model.name,))
