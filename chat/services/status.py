"""The state of the queue for operators: by model and lane, slots, pauses, workers, last errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import redis
from django.conf import settings
from django.utils import timezone

from aily.database.rows import Row, fetch_rows
from aily.observability.collector import Family, Reading
from aily.redis.errors import RedisUnavailable
from chat.models import Deployment, Lane, LLMModel, Status, Task
from chat.observability import gauges
from chat.observability.gauges import QueueGauges
from chat.services.pauses import Pause, pauses

#: Failed tasks shown, and of how many of the newest tasks that failed they are the last to end.
ERRORS = 10
RECENT_FAILED = 100
LANES = [lane.name.lower() for lane in Lane]

_WORKERS = """
SELECT w.id::text AS worker_id, w.hostname, w.pid, w.started_at, w.is_draining,
       w.lease_until < now() AS is_late,
       (SELECT count(*) FROM chat_task t WHERE t.status = 'running' AND t.worker_id = w.id) AS calls
  FROM chat_worker w WHERE NOT w.is_dead ORDER BY w.hostname, w.started_at
"""


class WorkerStatus(Row, frozen=True):
    """A worker process; `is_late`: its lease has run out, and it is not declared dead yet."""

    worker_id: str
    hostname: str
    pid: int
    started_at: datetime
    is_draining: bool
    is_late: bool
    calls: int


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """Tasks of one model that wait in one lane."""

    lane: str
    queued: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """One place where a model is called. `weight` 0: it takes no tasks. `breaker`: closed,
    half_open or open. `requests` and `tokens` are those of the last minute, where one of them is
    limited; figures from Redis are None while it is away."""

    name: str
    provider: str
    weight: int
    slots: int | None
    limit: int | None
    cap: int
    breaker: str | None
    pause_seconds: float | None
    requests: int | None
    requests_per_minute: int | None
    tokens: int | None
    tokens_per_minute: int | None


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model's queue. `slots` and `limit` (the calls allowed now) are None while Redis is away."""

    name: str
    provider: str
    is_enabled: bool
    running: int
    slots: int | None
    limit: int | None
    cap: int
    lanes: list[LaneStatus]
    deployments: list[DeploymentStatus]

    @property
    def queued(self) -> int:
        return sum(lane.queued for lane in self.lanes)

    @property
    def oldest_seconds(self) -> float:
        return max(lane.oldest_seconds for lane in self.lanes)


@dataclass(frozen=True, slots=True)
class TaskError:
    """How one of the last failed tasks ended."""

    task_id: str
    model: str
    code: str
    message: str
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """All of it at one moment. `pauses` is None while Redis is away."""

    at: datetime
    models: list[ModelStatus]
    pauses: list[Pause] | None
    workers: list[WorkerStatus]
    errors: list[TaskError]


class StatusReader:
    """Reads the state of the queue, as often as asked."""

    def __init__(self) -> None:
        self._gauges = QueueGauges(settings.REDIS_URL)

    def read(self) -> QueueStatus:
        """Raises django.db.Error."""
        values = {(reading.family, reading.labels): reading.value for reading in self._readings()}
        models = LLMModel.objects.with_deployments()
        return QueueStatus(
            at=timezone.now(),
            models=[_model_status(model, values) for model in models],
            pauses=_pauses(),
            workers=fetch_rows(WorkerStatus, _WORKERS, {}),
            errors=_errors(),
        )

    def _readings(self) -> Iterator[Reading]:
        yield from self._gauges.from_rows()
        try:
            yield from self._gauges.from_redis()
        except redis.RedisError:
            return


_Values = dict[tuple[Family, tuple[str, ...]], float]
_BREAKERS = ("closed", "half_open", "open")


def _model_status(model: LLMModel, values: _Values) -> ModelStatus:
    slots = values.get((gauges.SLOTS, (model.name,)))
    limit = values.get((gauges.LIMIT, (model.name,)))
    return ModelStatus(
        name=model.name,
        provider=model.provider.name,
        is_enabled=model.is_offered,
        running=int(values.get((gauges.RUNNING, (model.name,)), 0)),
        slots=None if slots is None else int(slots),
        limit=None if limit is None else int(limit),
        cap=int(values[gauges.CAP, (model.name,)]),
        lanes=[_lane_status(model.name, lane, values) for lane in LANES],
        deployments=[_deployment_status(row, values) for row in model.all_deployments()],
    )


def _deployment_status(row: Deployment, values: _Values) -> DeploymentStatus:
    def whole(family: Family, *more: str) -> int | None:
        value = values.get((family, (row.model.name, row.name, *more)))
        return None if value is None else int(value)

    breaker = whole(gauges.DEPLOYMENT_BREAKER)
    return DeploymentStatus(
        name=row.name,
        provider=row.provider.name,
        weight=0 if row.is_held else row.weight,
        slots=whole(gauges.DEPLOYMENT_SLOTS),
        limit=whole(gauges.DEPLOYMENT_LIMIT),
        cap=row.max_concurrency,
        breaker=None if breaker is None else _BREAKERS[breaker],
        pause_seconds=values.get((gauges.DEPLOYMENT_PAUSE, (row.model.name, row.name))),
        requests=whole(gauges.DEPLOYMENT_MINUTE, "requests"),
        requests_per_minute=row.requests_per_minute,
        tokens=whole(gauges.DEPLOYMENT_MINUTE, "tokens"),
        tokens_per_minute=row.tokens_per_minute,
    )


def _lane_status(model: str, lane: str, values: _Values) -> LaneStatus:
    return LaneStatus(
        lane,
        int(values.get((gauges.QUEUE_DEPTH, (model, lane)), 0)),
        round(values.get((gauges.QUEUE_AGE, (model, lane)), 0), 1),
    )


def _pauses() -> list[Pause] | None:
    try:
        return pauses()
    except RedisUnavailable:
        return None


def _errors() -> list[TaskError]:
    newest = Task.objects.filter(status=Status.FAILED).order_by("-id").values("pk")[:RECENT_FAILED]
    last = (
        Task.objects.filter(pk__in=newest)
        .select_related("model")
        .only("model__name", "error", "finished_at")
        .order_by("-finished_at")[:ERRORS]
    )
    return [
        TaskError(
            str(task.pk),
            task.model.name,
            str((task.error or {}).get("code", "")),
            str((task.error or {}).get("message", "")),
            task.finished_at,
        )
        for task in last
    ]
