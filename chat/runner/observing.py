"""Metrics and spans of a worker's calls."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from aily.observability import tracing
from aily.observability.metrics import batch_size
from chat.llm.errors import RateLimitError
from chat.models import Lane, Status, TaskKind
from chat.models.transitions import StartedTask
from chat.observability import metrics
from chat.observability.tracing import traceparent_of
from chat.runner.attempt import NextStep
from chat.runner.call import Call
from chat.runner.pools import Pool

#: `error_type` of a call that neither answered nor failed: cancelled, expired, handed back.
STOPPED = "stopped"


def observe_start(pool: Pool, started: Sequence[StartedTask]) -> None:
    """Count how long tasks that start for the first time have waited."""
    batch_size("claim").observe(len(started))
    for task in started:
        if task.attempt == 1:
            waited = metrics.seconds_since(task.id)
            metrics.queue_seconds(pool.model, _lane_name(task.lane)).observe(waited)


@cache
def _lane_name(lane: int) -> str:
    return Lane(lane).name.lower()


async def trace_wait(call: Call) -> str:
    """Record how long the task has waited as a span that is over.

    Returns the traceparent of the task; empty while traces are off.
    """
    parent = await traceparent_of(call.task_id)
    if parent and call.task.attempt == 1:
        began_at = time.time() - metrics.seconds_since(call.task.id)
        with tracing.span("queue", kind="consumer", parent=parent, began_at=began_at) as span:
            span.set_attribute("aily.task.id", call.task_id)
    return parent


def trace_call(call: Call, parent: str) -> AbstractContextManager[Any]:
    """Around the call of a provider, by OpenTelemetry's conventions for generative AI."""
    operation = call.task.kind
    return tracing.span(
        f"{operation} {call.pool.model}",
        kind="client",
        parent=parent,
        gen_ai__operation__name=operation,
        gen_ai__provider__name=call.deployment.upstream.provider,
        gen_ai__request__model=call.pool.model,
    )


def count_end(call: Call, step: NextStep) -> None:
    """Count a stored end of an attempt: retries, and answers that were checked against a schema."""
    model, state = call.pool.model, call.state
    if state.has_output:
        metrics.structured_answers(model, "fits").inc()
    elif state.misfit is not None:
        metrics.structured_answers(model, "repair" if step.repair else "invalid").inc()
    elif step.status is Status.QUEUED:
        metrics.retries(model).inc()


def observe_call(call: Call, seconds: float, span: Any) -> None:
    """Count an ended call of `seconds`, its tokens, and what went wrong; also on its span."""
    provider, model = call.deployment.upstream.provider, call.pool.model
    completion, error = call.state.completion, call.state.error
    error_type = error.code if error else "" if completion else STOPPED
    metrics.call_seconds(provider, model, error_type).observe(seconds)
    metrics.deployment_calls(model, call.deployment.name, _outcome(call)).inc()
    if error is not None:
        metrics.provider_errors(model, error.code).inc()
    if call.state.first_token_at is not None:
        since = seconds - (time.time() - call.state.first_token_at.timestamp())
        metrics.first_chunk_seconds(provider, model).observe(max(since, 0.0))
    if completion is not None:
        usage = completion.usage
        metrics.call_tokens(provider, model, "input").observe(usage.prompt_tokens)
        if call.task.kind == TaskKind.CHAT:
            metrics.call_tokens(provider, model, "output").observe(usage.completion_tokens)
    if span is not None:
        if completion is not None:
            span.set_attribute("gen_ai.usage.input_tokens", completion.usage.prompt_tokens)
            span.set_attribute("gen_ai.usage.output_tokens", completion.usage.completion_tokens)
        elif error_type:
            span.set_attribute("error.type", error_type)


def _outcome(call: Call) -> str:
    if call.was_answered:
        return "answered"
    if isinstance(call.state.error, RateLimitError):
        return "throttled"
    return "failed" if call.state.error else "stopped"
