"""How an attempt ended, as the row stores it and as its followers are sent it."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from django.utils import timezone

from chat.eventlog import TaskLog
from chat.events import Event, TaskCompleted, TaskExpired, TaskFailed
from chat.models import ServedFrom, Status
from chat.models.tasks import FINISH_REASON_CHARS
from chat.models.transitions import INTERNAL, AttemptResult, StartedTask
from chat.runner.attempt import AttemptState, NextStep

REQUEST_ID_CHARS = 200


def attempt_result(
    task: StartedTask, state: AttemptState, log: TaskLog, step: NextStep
) -> AttemptResult:
    """The row's new values. The log's text must have been flushed."""
    completion, backoff = state.completion, step.backoff_seconds
    return AttemptResult(
        id=task.id,
        attempt=task.attempt,
        status=step.status,
        # The end of the task takes the next place; a new attempt counts its own from 1.
        last_event=log.last_event + (step.status is not Status.QUEUED),
        text=log.text,
        reasoning=log.reasoning,
        finish_reason=completion.finish_reason[:FINISH_REASON_CHARS] if completion else "",
        tool_calls=[msgspec.to_builtins(call) for call in completion.tool_calls]
        if completion
        else (),
        usage=msgspec.to_builtins(completion.usage) if completion else None,
        error=step.error,
        upstream_request_id=(completion.request_id or "")[:REQUEST_ID_CHARS] if completion else "",
        first_token_at=state.first_token_at,
        not_before=timezone.now() + timedelta(seconds=backoff) if backoff else None,
        failures=1 if state.error and not step.moves_on else 0,
        falls_back=step.falls_back,
        may_lead=bool(task.flight_key),
        in_conversation=task.in_conversation,
    )


def broken_result(task: StartedTask, log: TaskLog) -> AttemptResult:
    """A result that can be stored whatever the provider has sent."""
    return AttemptResult(
        id=task.id,
        attempt=task.attempt,
        status=Status.FAILED,
        last_event=log.last_event + 1,
        error=INTERNAL,
        may_lead=bool(task.flight_key),
        in_conversation=task.in_conversation,
    )


def terminal_event(
    result: AttemptResult, event_id: str, served_from: ServedFrom = ServedFrom.PROVIDER
) -> Event:
    task_id = str(result.id)
    if result.status is Status.SUCCEEDED:
        return TaskCompleted(
            task_id=task_id,
            id=event_id,
            result={
                "text": result.text,
                "reasoning": result.reasoning,
                "finish_reason": result.finish_reason,
                "tool_calls": result.tool_calls,
            },
            usage=result.usage or {},
            served_from=served_from,
        )
    if result.status is Status.EXPIRED:
        return TaskExpired(task_id=task_id, id=event_id)
    return TaskFailed(task_id=task_id, id=event_id, error=result.error or {})
