"""Metrics of tasks and calls, counted by the processes. Gauges of the queue: gauges.py.

The names of calls of a model follow OpenTelemetry's conventions for generative AI. Cardinality is
bounded by models, providers and their error codes; users and tasks are no labels.
"""

from __future__ import annotations

import time
from collections import Counter as Count
from collections.abc import Iterable
from functools import cache
from uuid import UUID

from prometheus_client import Counter, Gauge, Histogram

from aily.observability.metrics import FAST, SLOW

_TOKEN_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
_OPERATION = "chat"

# --- Tasks --------------------------------------------------------------------------------------
_submitted = Counter("aily_tasks_submitted_total", "Tasks that were accepted.", ["model", "lane"])
RENDERINGS = Counter(
    "aily_renderings_total",
    "Prompts that were rendered, or checked for an author, in a rendering process.",
    ["outcome"],
)
_queue_seconds = Histogram(
    "aily_task_queue_duration_seconds",
    "From acceptance to the first start.",
    ["model", "lane"],
    buckets=SLOW,
)
_task_seconds = Histogram(
    "aily_task_duration_seconds",
    "From acceptance to the end, counted when a task is settled.",
    ["model", "status"],
    buckets=SLOW,
)
_retries = Counter(
    "aily_task_retries_total", "Attempts that sent their task back to the queue.", ["model"]
)
_structured_answers = Counter(
    "aily_structured_answers_total",
    "Whole answers that were checked against a JSON Schema: fits, repair or invalid.",
    ["model", "outcome"],
)
RECOVERED = Counter("aily_tasks_recovered_total", "Tasks taken from dead workers.")
WORKERS_LOST = Counter("aily_workers_lost_total", "Workers that were declared dead.")
_dropped_requests = Counter(
    "aily_dropped_requests_total",
    "Requests of /v1 that lost their client while they waited, and what became of them.",
    ["outcome"],
)
REQUESTS_DROPPED = _dropped_requests.labels("dropped")
REQUESTS_FOUND_AGAIN = _dropped_requests.labels("found_again")
REQUESTS_CANCELLED = _dropped_requests.labels("cancelled")
_tokens = Counter("aily_tokens_total", "Tokens in the ledger.", ["model", "type"])
_cost = Counter("aily_cost_total", "Money in the ledger.", ["model", "currency"])

_run_rows = Counter(
    "aily_run_rows_total", "Rows of runs whose task has ended; pending: fed again.", ["state"]
)

# --- Calls --------------------------------------------------------------------------------------
_GEN_AI = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"]
_call_seconds = Histogram(
    "gen_ai_client_operation_duration_seconds",
    "Calls of a provider, failed ones included.",
    [*_GEN_AI, "error_type"],
    buckets=SLOW,
)
_first_chunk_seconds = Histogram(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "From the start of a call to the first text.",
    _GEN_AI,
    buckets=SLOW,
)
_call_tokens = Histogram(
    "gen_ai_client_token_usage",
    "Tokens of a call, as the provider counted them.",
    [*_GEN_AI, "gen_ai_token_type"],
    buckets=_TOKEN_BUCKETS,
)
_provider_errors = Counter(
    "aily_provider_errors_total", "Calls that failed by the provider's fault.", ["model", "code"]
)
_deployment_calls = Counter(
    "aily_deployment_calls_total", "Calls that have ended.", ["model", "deployment", "outcome"]
)
CALLS_RUNNING = Gauge(
    "aily_worker_calls_running", "Calls that run now.", multiprocess_mode="livesum"
)
CALLS_CAPACITY = Gauge(
    "aily_worker_calls_capacity", "WORKER_MAX_CALLS of all workers.", multiprocess_mode="livesum"
)

# --- Tools --------------------------------------------------------------------------------------
_tool_calls = Counter(
    "aily_tool_calls_total",
    "Calls of tools by how they ended: answered, or a code of an error.",
    ["server", "tool", "outcome"],
)
_tool_call_seconds = Histogram(
    "aily_tool_call_duration_seconds",
    "Calls of tools, failed ones included; without waiting for a slot.",
    ["server"],
    buckets=SLOW,
)

# --- Events -------------------------------------------------------------------------------------
APPEND_SECONDS = Histogram(
    "aily_event_append_duration_seconds", "Appending a batch to the event logs.", buckets=FAST
)
RELAY_LAG = Histogram(
    "aily_relay_lag_seconds",
    "From the provider's chunk to the web process that relays it, one frame in sixteen.",
    buckets=FAST,
)
FEEDS_LOST = Counter("aily_hub_feeds_lost_total", "Readers that were sent to the log instead.")
FRAMES_SENT = Counter("aily_websocket_frames_sent_total", "Frames sent to WebSocket clients.")

# --- Deliveries ---------------------------------------------------------------------------------
_deliveries = Counter(
    "aily_deliveries_total", "Attempts to deliver webhooks and mails.", ["kind", "outcome"]
)
_delivery_seconds = Histogram(
    "aily_delivery_duration_seconds", "One attempt to deliver.", ["kind"], buckets=FAST
)


def count_run_rows(states: Iterable[str]) -> None:
    for state, rows in Count(states).items():
        _run_rows.labels(state).inc(rows)


@cache
def queue_seconds(model: str, lane: str) -> Histogram:
    return _queue_seconds.labels(model, lane)


@cache
def task_seconds(model: str, status: str) -> Histogram:
    return _task_seconds.labels(model, status)


@cache
def retries(model: str) -> Counter:
    return _retries.labels(model)


@cache
def structured_answers(model: str, outcome: str) -> Counter:
    return _structured_answers.labels(model, outcome)


@cache
def call_seconds(provider: str, model: str, error_type: str) -> Histogram:
    return _call_seconds.labels(_OPERATION, provider, model, error_type)


@cache
def first_chunk_seconds(provider: str, model: str) -> Histogram:
    return _first_chunk_seconds.labels(_OPERATION, provider, model)


@cache
def call_tokens(provider: str, model: str, token_type: str) -> Histogram:
    return _call_tokens.labels(_OPERATION, provider, model, token_type)


@cache
def provider_errors(model: str, code: str) -> Counter:
    return _provider_errors.labels(model, code)


@cache
def deployment_calls(model: str, deployment: str, outcome: str) -> Counter:
    """`outcome`: answered, throttled (429), failed or stopped."""
    return _deployment_calls.labels(model, deployment, outcome)


@cache
def tool_calls(server: str, tool: str, outcome: str) -> Counter:
    return _tool_calls.labels(server, tool, outcome)


@cache
def tool_call_seconds(server: str) -> Histogram:
    return _tool_call_seconds.labels(server)


@cache
def deliveries(kind: str, outcome: str) -> Counter:
    return _deliveries.labels(kind, outcome)


@cache
def delivery_seconds(kind: str) -> Histogram:
    return _delivery_seconds.labels(kind)


#: Errors of a provider that an alert watches by model.
_WATCHED_ERRORS = ("provider_auth", "provider_balance", "provider_overloaded")


def create_model_series(models: Iterable[str]) -> None:
    """Begin the series that alerts watch by model at 0, as in aily/observability/metrics.py."""
    for model in models:
        retries(model)
        task_seconds(model, "failed")
        for code in _WATCHED_ERRORS:
            provider_errors(model, code)


def create_delivery_series() -> None:
    for kind in ("webhook", "email"):
        for outcome in ("delivered", "retried", "failed"):
            deliveries(kind, outcome)


def count_submitted(accepted: Iterable[tuple[str, str]]) -> None:
    """Count accepted tasks by (model, lane)."""
    for (model, lane), number in Count(accepted).items():
        _submitted.labels(model, lane).inc(number)


def count_used(
    model: str, *, prompt: int, cached: int, completion: int, money: float, currency: str
) -> None:
    """Count the sums of entries of the ledger."""
    for kind, tokens in (("prompt", prompt), ("cached", cached), ("completion", completion)):
        if tokens:
            _tokens_of(model, kind).inc(tokens)
    if money:
        _cost_of(model, currency).inc(money)


@cache
def _tokens_of(model: str, kind: str) -> Counter:
    return _tokens.labels(model, kind)


@cache
def _cost_of(model: str, currency: str) -> Counter:
    return _cost.labels(model, currency)


def seconds_since(task_id: UUID) -> float:
    """Seconds since the task was accepted: its id begins with the milliseconds."""
    return max(time.time() - (task_id.int >> 80) / 1000, 0.0)
