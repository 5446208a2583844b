"""What a worker counts of its calls."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache

from aily.observability.metrics import batch_size
from chat import metrics
from chat.models import Lane
from chat.models.transitions import StartedTask
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


def observe_call(call: Call, seconds: float) -> None:
    """Count an ended call of `seconds`, its tokens, and what went wrong."""
    provider, model = call.pool.upstream.provider, call.pool.model
    completion, error = call.completion, call.error
    error_type = error.code if error else "" if completion else STOPPED
    metrics.call_seconds(provider, model, error_type).observe(seconds)
    if error is not None:
        metrics.provider_errors(model, error.code).inc()
    if call.first_token_at is not None:
        since = seconds - (time.time() - call.first_token_at.timestamp())
        metrics.first_chunk_seconds(provider, model).observe(max(since, 0.0))
    if completion is not None:
        usage = completion.usage
        metrics.call_tokens(provider, model, "input").observe(usage.prompt_tokens)
        metrics.call_tokens(provider, model, "output").observe(usage.completion_tokens)
