"""The queue as PostgreSQL and Redis know it, for the exporter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aily.monitoring.services import client, query
from aily.observability.collector import Family, Reading
from chat.models import Lane

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
LEASES = Family("aily_leases_in_use", "Calls that hold a lease.", ("model",))
CAP = Family("aily_leases_cap", "Calls at once that the model is set to.", ("model",))
LIMIT = Family("aily_leases_limit", "Calls at once allowed at the moment.", ("model",))
PAUSED = Family("aily_pool_paused", "1 while a provider's Retry-After holds.", ("model",))
PAUSE = Family(
    "aily_pool_pause_seconds", "How long a provider's Retry-After holds yet.", ("model",)
)
OPEN = Family(
    "aily_provider_breaker_seconds", "How long a provider is left alone yet.", ("provider",)
)
BREAKER = Family("aily_provider_breaker_state", "0 closed, 1 half open, 2 open.", ("provider",))

_MODELS = """
SELECT m.id, m.name, m.max_concurrency, p.name
  FROM chat_llmmodel m JOIN chat_provider p ON p.id = m.provider_id
"""
_QUEUED = """
SELECT model_id, lane, count(*), extract(epoch FROM now() - min(created_at))
  FROM chat_task WHERE status = 'queued' GROUP BY 1, 2
"""
_RUNNING = "SELECT model_id, count(*) FROM chat_task WHERE status = 'running' GROUP BY 1"
_WORKERS = "SELECT count(*) FROM chat_worker WHERE NOT is_dead AND lease_until > now()"
_UNSETTLED = """
SELECT count(*), coalesce(extract(epoch FROM now() - min(finished_at)), 0)
  FROM chat_task WHERE needs_settling AND NOT status IN ('queued', 'running')
"""
_DELIVERIES = """
SELECT kind, count(*), greatest(extract(epoch FROM now() - min(next_attempt_at)), 0)
  FROM chat_delivery WHERE state = 'pending' GROUP BY 1
"""
_KINDS = ("webhook", "email")


@dataclass(frozen=True, slots=True)
class _Model:
    name: str
    cap: int
    provider: str


class QueueGauges:
    """Asks the rows and Redis; the models are known from the rows, also while these are away."""

    def __init__(self, redis_url: str) -> None:
        self._redis: Any = client(redis_url)
        self._models: dict[int, _Model] = {}

    def from_rows(self) -> Iterator[Reading]:
        """Raises django.db.Error."""
        self._models = {pk: _Model(*rest) for pk, *rest in query(_MODELS)}
        for model in self._models.values():
            yield Reading(CAP, model.cap, (model.name,))
        yield from self._queued()
        running = dict(query(_RUNNING))
        for pk, model in self._models.items():
            yield Reading(RUNNING, running.get(pk, 0), (model.name,))
        yield Reading(WORKERS, query(_WORKERS)[0][0])
        [(count, age)] = query(_UNSETTLED)
        yield Reading(UNSETTLED, count)
        yield Reading(UNSETTLED_AGE, float(age))
        pending = {kind: values for kind, *values in query(_DELIVERIES)}
        for kind in _KINDS:
            count, age = pending.get(kind, (0, 0))
            yield Reading(PENDING, count, (kind,))
            yield Reading(OVERDUE, float(age or 0), (kind,))

    def _queued(self) -> Iterator[Reading]:
        queued = {(pk, lane): values for pk, lane, *values in query(_QUEUED)}
        for pk, model in self._models.items():
            for lane in Lane:
                count, age = queued.get((pk, lane), (0, 0))
                labels = (model.name, lane.name.lower())
                yield Reading(QUEUE_DEPTH, count, labels)
                yield Reading(QUEUE_AGE, float(age), labels)

    def from_redis(self) -> Iterator[Reading]:
        """What chat/scheduler/lua keeps there. Raises redis.RedisError."""
        models = dict(self._models)
        providers = sorted({model.provider for model in models.values()})
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        for provider in providers:
            pipe.hget(f"aily:breaker:{provider}", "open_until")
        for pk in models:
            pipe.hmget(f"aily:stats:{pk}", ["in_use", "cap"])
            pipe.hget(f"aily:limit:{pk}", "paused_until")
        (seconds, micros), *replies = pipe.execute()
        now = seconds + micros / 1e6
        for provider, open_until in zip(providers, replies, strict=False):
            state = 0 if open_until is None else 2 if float(open_until) > now else 1
            yield Reading(BREAKER, state, (provider,))
            yield Reading(OPEN, max(float(open_until or 0) - now, 0.0), (provider,))
        rest = iter(replies[len(providers) :])
        for model, (in_use, limit), paused_until in zip(models.values(), rest, rest, strict=True):
            yield Reading(LEASES, int(in_use or 0), (model.name,))
            yield Reading(LIMIT, int(limit or model.cap), (model.name,))
            left = max(float(paused_until or 0) - now, 0.0)
            yield Reading(PAUSED, int(left > 0), (model.name,))
            yield Reading(PAUSE, left, (model.name,))
