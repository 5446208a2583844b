"""Gauges of the queue, read from PostgreSQL and Redis by the exporter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from aily.database.rows import Row
from aily.monitoring.services import client, query
from aily.observability.collector import Family, Reading
from chat.models import Lane
from chat.models.llm_models import deployment_name, pool_name
from chat.models.tools import tool_server_key
from chat.scheduler.keys import DeploymentKey, deployment_keys, pool_keys
from chat.scheduler.load import MINUTE_FIELDS, slots_in_use, used_of_minute

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
PAUSED = Family(
    "aily_pool_paused", "1 while all deployments are paused by a Retry-After.", ("model",)
)
BY_STAFF = Family(
    "aily_pool_paused_by_staff",
    "1 while staff have paused the model, or all of its deployments.",
    ("model",),
)
PAUSE = Family("aily_pool_pause_seconds", "Seconds until the pause ends.", ("model",))
OPEN = Family(
    "aily_provider_breaker_seconds", "Seconds until the breaker is half open.", ("provider",)
)
BREAKER = Family(
    "aily_provider_breaker_state",
    "0 closed, 1 half open, 2 open: the worst of its deployments.",
    ("provider",),
)
_DEPLOYMENT = ("model", "deployment")
DEPLOYMENT_SLOTS = Family("aily_deployment_slots_in_use", "Slots in use.", _DEPLOYMENT)
DEPLOYMENT_CAP = Family("aily_deployment_cap", "Calls at once that it is set to.", _DEPLOYMENT)
DEPLOYMENT_LIMIT = Family(
    "aily_deployment_limit", "Calls at once allowed at the moment.", _DEPLOYMENT
)
DEPLOYMENT_WEIGHT = Family(
    "aily_deployment_weight", "Its weight; 0 while it takes no tasks.", _DEPLOYMENT
)
DEPLOYMENT_PAUSE = Family(
    "aily_deployment_pause_seconds", "Seconds until its pause after a 429 ends.", _DEPLOYMENT
)
DEPLOYMENT_BREAKER = Family(
    "aily_deployment_breaker_state", "0 closed, 1 half open, 2 open.", _DEPLOYMENT
)
DEPLOYMENT_MINUTE = Family(
    "aily_deployment_minute",
    "Requests and tokens of the last minute, where one of them is limited.",
    (*_DEPLOYMENT, "type"),
)
DEPLOYMENT_MINUTE_LIMIT = Family(
    "aily_deployment_minute_limit", "Requests and tokens that a minute may have.",
    (*_DEPLOYMENT, "type"),
)  # fmt: skip

TOOL_SLOTS = Family("aily_tool_slots_in_use", "Calls of its tools that run.", ("server",))
TOOL_CALLS = Family(
    "aily_tool_calls_open",
    "Tool calls that have not ended: they wait for approval, for their user's input, or for a "
    "worker, or they are made.",
    ("state",),
)
TOOL_CALLS_AGE = Family(
    "aily_tool_calls_oldest_age_seconds",
    "How long ago the step of the oldest of them was stored.",
    ("state",),
)
TOOL_CAP = Family("aily_tool_slots_cap", "Calls at once that it is set to.", ("server",))

_DEPLOYMENTS = """
SELECT m.id AS model_id, m.name AS model, NULL::bigint AS id, p.name, p.id AS provider_id,
       p.name AS provider, m.max_concurrency, m.requests_per_minute, m.tokens_per_minute,
       CASE WHEN m.own_paused_at IS NULL AND p.paused_at IS NULL AND p.is_enabled
            THEN m.weight ELSE 0 END AS weight, m.paused_at IS NOT NULL AS is_model_paused,
       m.weight = 0 OR m.own_paused_at IS NOT NULL OR p.paused_at IS NOT NULL AS is_paused
  FROM chat_llmmodel m JOIN chat_provider p ON p.id = m.provider_id
 UNION ALL
SELECT m.id, m.name, d.id, d.name, p.id, p.name, d.max_concurrency, d.requests_per_minute,
       d.tokens_per_minute,
       CASE WHEN d.paused_at IS NULL AND p.paused_at IS NULL AND p.is_enabled
            THEN d.weight ELSE 0 END, m.paused_at IS NOT NULL,
       d.weight = 0 OR d.paused_at IS NOT NULL OR p.paused_at IS NOT NULL
  FROM chat_deployment d JOIN chat_provider p ON p.id = d.provider_id
  JOIN chat_llmmodel m ON m.id = d.model_id
 ORDER BY model_id, id NULLS FIRST
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
   AND NOT status IN ('calling_tools', 'requires_action')
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
_TOOL_SERVERS = "SELECT id, name, max_concurrent_calls FROM chat_toolserver ORDER BY name"
# By the indexes of open calls. A step's calls are its age: a call has no time of its own.
_TOOL_CALLS = """
SELECT CASE c.state WHEN 'requires_action'
         THEN CASE WHEN c.questions IS NULL THEN 'approval' ELSE 'input' END
         ELSE c.state END AS state,
       count(*) AS calls, extract(epoch FROM now() - min(s.created_at))::float AS age_seconds
  FROM chat_toolcall c JOIN chat_toolstep s ON s.task_id = c.task_id AND s.number = c.step
 WHERE c.state = 'requires_action' OR c.state = 'queued' OR c.state = 'running' GROUP BY 1
"""
_CALL_STATES = ("approval", "input", "queued", "running")
_RUN_STATES = ("validating", "ready", "scheduled", "running", "paused", "finishing")


class _Deployment(Row, frozen=True):
    """A deployment of a model; `id` None: its own. `is_paused` by staff."""

    model_id: int
    model: str
    id: int | None
    name: str
    provider_id: int
    provider: str
    max_concurrency: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    weight: int
    is_model_paused: bool
    is_paused: bool

    @property
    def key(self) -> DeploymentKey:
        return pool_name(self.model_id), deployment_name(self.id, self.provider_id)


@dataclass(frozen=True, slots=True)
class _Model:
    name: str
    deployments: list[_Deployment]

    @property
    def cap(self) -> int:
        """The sum of the caps of deployments that take tasks; of all if none does."""
        caps = [row.max_concurrency for row in self.deployments if row.weight]
        return sum(caps or [row.max_concurrency for row in self.deployments])

    @property
    def is_paused(self) -> bool:
        return self.deployments[0].is_model_paused or all(row.is_paused for row in self.deployments)


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


class _ToolServer(Row, frozen=True):
    id: int
    name: str
    max_concurrent_calls: int


class _ToolCalls(Row, frozen=True):
    state: str
    calls: int
    age_seconds: float


class QueueGauges:
    """Reads PostgreSQL and Redis; keeps the models, for readings while PostgreSQL is away."""

    def __init__(self, redis_url: str) -> None:
        # redis-py types the replies of the sync and the async client as one union.
        self._redis: Any = client(redis_url)
        self._models: dict[int, _Model] = {}
        self._tool_servers: list[_ToolServer] = []

    def from_rows(self) -> Iterator[Reading]:
        """Raises django.db.Error."""
        deployments = query(_Deployment, _DEPLOYMENTS)
        self._models = {
            pk: _Model(of_model[0].model, of_model)
            for pk, of_model in ((pk, list(found)) for pk, found in groupby(deployments, _model_id))
        }
        for model in self._models.values():
            yield Reading(CAP, model.cap, (model.name,))
            yield Reading(BY_STAFF, int(model.is_paused), (model.name,))
            for deployment in model.deployments:
                yield from _settings_of(deployment)
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
        self._tool_servers = query(_ToolServer, _TOOL_SERVERS)
        for server in self._tool_servers:
            yield Reading(TOOL_CAP, server.max_concurrent_calls, (server.name,))
        calls = {row.state: row for row in query(_ToolCalls, _TOOL_CALLS)}
        for state in _CALL_STATES:
            open_calls = calls.get(state) or _ToolCalls(state, 0, 0.0)
            yield Reading(TOOL_CALLS, open_calls.calls, (state,))
            yield Reading(TOOL_CALLS_AGE, open_calls.age_seconds, (state,))

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
        models, tool_servers = dict(self._models), list(self._tool_servers)
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        for pk, model in models.items():
            pipe.hmget(pool_keys(pool_name(pk)).stats, ["in_use", "cap"])
            for row in model.deployments:
                keys = deployment_keys(row.key)
                pipe.hmget(keys.limit, ["limit", "paused_until"])
                pipe.hget(keys.breaker, "open_until")
                pipe.hvals(keys.in_use)
                pipe.hmget(keys.minute, MINUTE_FIELDS)
        for server in tool_servers:
            pipe.hvals(deployment_keys(tool_server_key(server.id)).in_use)
        (seconds, micros), *replies = pipe.execute()
        now, rest = seconds + micros / 1e6, iter(replies)
        open_until: dict[str, float | None] = {}
        for model in models.values():
            in_use, limit = next(rest)
            yield Reading(SLOTS, int(in_use or 0), (model.name,))
            yield Reading(LIMIT, int(limit or model.cap), (model.name,))
            states = [_State.of(next(rest), next(rest), next(rest), next(rest), now)
                      for _row in model.deployments]  # fmt: skip
            left = min(state.pause_seconds for state in states)
            yield Reading(PAUSED, int(left > 0), (model.name,))
            yield Reading(PAUSE, left, (model.name,))
            for row, state in zip(model.deployments, states, strict=True):
                yield from state.readings(row)
                until = (open_until.get(row.provider), state.open_until)
                found = [moment for moment in until if moment is not None]
                open_until[row.provider] = max(found, default=None)
        for provider, latest in open_until.items():
            yield Reading(BREAKER, _breaker_state(latest, now), (provider,))
            yield Reading(OPEN, max((latest or 0.0) - now, 0.0), (provider,))
        for server in tool_servers:
            yield Reading(TOOL_SLOTS, slots_in_use(next(rest)), (server.name,))


@dataclass(frozen=True, slots=True)
class _State:
    """The state of a deployment in Redis."""

    limit: int | None
    pause_seconds: float
    open_until: float | None
    breaker: int
    in_use: int
    requests: int
    tokens: int

    @classmethod
    def of(
        cls,
        limit: list[bytes | None],
        open_until: bytes | None,
        in_use: list[bytes],
        minute: list[bytes | None],
        now: float,
    ) -> _State:
        until = None if open_until is None else float(open_until)
        requests, tokens = used_of_minute(minute, now)
        return cls(
            None if limit[0] is None else int(float(limit[0])),
            max(float(limit[1] or 0) - now, 0.0),
            until,
            _breaker_state(until, now),
            slots_in_use(in_use),
            requests,
            tokens,
        )

    def readings(self, row: _Deployment) -> Iterator[Reading]:
        labels = (row.model, row.name)
        cap = row.max_concurrency
        yield Reading(DEPLOYMENT_SLOTS, self.in_use, labels)
        yield Reading(DEPLOYMENT_LIMIT, min(self.limit or cap, cap), labels)
        yield Reading(DEPLOYMENT_PAUSE, self.pause_seconds, labels)
        yield Reading(DEPLOYMENT_BREAKER, self.breaker, labels)
        if row.requests_per_minute or row.tokens_per_minute:
            yield Reading(DEPLOYMENT_MINUTE, self.requests, (*labels, "requests"))
            yield Reading(DEPLOYMENT_MINUTE, self.tokens, (*labels, "tokens"))


def _breaker_state(open_until: float | None, now: float) -> int:
    return 0 if open_until is None else 2 if open_until > now else 1


def _settings_of(row: _Deployment) -> Iterator[Reading]:
    labels = (row.model, row.name)
    yield Reading(DEPLOYMENT_CAP, row.max_concurrency, labels)
    yield Reading(DEPLOYMENT_WEIGHT, row.weight, labels)
    limits = (("requests", row.requests_per_minute), ("tokens", row.tokens_per_minute))
    for kind, limit in limits:
        if limit is not None:
            yield Reading(DEPLOYMENT_MINUTE_LIMIT, limit, (*labels, kind))


def _model_id(row: _Deployment) -> int:
    return row.model_id
