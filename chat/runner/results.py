"""How an attempt ended, as the row stores it and as its followers are sent it."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from django.utils import timezone
from msgspec import UNSET

from chat.eventlog import TaskLog
from chat.events import FRAME_BYTES, Event, TaskCompleted, TaskExpired, TaskFailed
from chat.models import ServedFrom, Status
from chat.models.responses import TranscriptEntry
from chat.models.task_states import FINISH_REASON_CHARS
from chat.models.transitions import INTERNAL, AttemptResult, StartedTask
from chat.runner.attempt import NextStep
from chat.runner.call import Call
from chat.vectors import Vectors

REQUEST_ID_CHARS = 200
#: Larger vectors are not sent with the end, but read from their table: each event is copied to all
#: of the owner's sockets, and kept in Redis. One vector of 4,096 numbers, as a search asks for it.
MAX_SENT_VECTOR_BYTES = 16_384


def attempt_result(call: Call, step: NextStep) -> AttemptResult:
    """The row's new values. The log's text must have been flushed."""
    task, state, log = call.task, call.state, call.log
    completion, backoff = state.completion, step.backoff_seconds
    text, reasoning = log.text, log.reasoning
    if call.is_withheld and step.status.is_terminal:
        text, reasoning = call.text_and_reasoning
    return AttemptResult(
        id=task.id,
        attempt=task.attempt,
        status=step.status,
        last_event=_last_event(log, step),
        text=text,
        reasoning=reasoning,
        finish_reason=completion.finish_reason[:FINISH_REASON_CHARS]
        if completion and state.misfit is None
        else "",
        tool_calls=[msgspec.to_builtins(call) for call in completion.tool_calls]
        if completion
        else (),
        usage=_usage(call),
        repair=step.repair,
        error=step.error,
        upstream_request_id=(completion.request_id or "")[:REQUEST_ID_CHARS] if completion else "",
        first_token_at=state.first_token_at,
        not_before=timezone.now() + timedelta(seconds=backoff) if backoff else None,
        failures=1 if state.error and not step.moves_on else 0,
        falls_back=step.falls_back,
        may_lead=bool(task.flight_key),
        has_output=state.has_output,
        in_conversation=task.in_conversation,
        vectors=state.vectors,
        transcript=transcript_of(call, (text, reasoning), step.status),
        logprobs=log.logprobs if step.status is Status.SUCCEEDED else (),
        step=step.tools,
        is_step=step.tools is not None,
    )


def _last_event(log: TaskLog, step: NextStep) -> int:
    """The end of the task takes the next place; a new attempt counts its own from 1."""
    if step.tools is not None:
        return step.tools.last_event
    return log.last_event + step.status.is_terminal


def transcript_of(call: Call, stored: tuple[str, str], status: Status) -> TranscriptEntry | None:
    """How the attempt was streamed, if a response keeps that. `stored` are text and reasoning as
    its row has them then."""
    task, log = call.task, call.log
    if not task.keeps_transcript:
        return None
    sent = (log.text, log.reasoning)
    # The row has them only until another attempt begins.
    if not status.is_terminal or stored != sent:
        return TranscriptEntry(task.attempt, log.cuts, *sent)
    return TranscriptEntry(task.attempt, log.cuts)


def _usage(call: Call) -> dict[str, int] | None:
    """Sum up the usage of this call, of the call that it repairs, and of the earlier steps of its
    tool loop. None: the row keeps its own."""
    completion = call.state.completion
    if completion is None:
        return None
    usage: dict[str, int]
    if call.structured is not None:
        usage = call.structured.usage_with(completion.usage)
    else:
        usage = msgspec.to_builtins(completion.usage)
    if call.loop is None:
        return usage
    before = call.loop.turns.usage
    return {name: count + before.get(name, 0) for name, count in usage.items()}


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
        answer: dict[str, object] = {
            "text": result.text,
            "reasoning": result.reasoning,
            "finish_reason": result.finish_reason,
            "tool_calls": result.tool_calls,
        }
        if result.logprobs:
            answer["logprobs"] = result.logprobs
        if result.has_output:
            # A larger one is in no frame.
            is_short = len(result.text) <= FRAME_BYTES
            answer["output"] = msgspec.json.decode(result.text) if is_short else None
        return TaskCompleted(
            task_id=task_id,
            id=event_id,
            result=answer if result.vectors is None else _vectors_of(result.vectors),
            usage=result.usage or {},
            served_from=served_from,
            is_truncated=UNSET if result.vectors is None or _has_room(result.vectors) else True,
        )
    if result.status is Status.EXPIRED:
        return TaskExpired(task_id=task_id, id=event_id)
    return TaskFailed(task_id=task_id, id=event_id, error=result.error or {})


def _vectors_of(vectors: Vectors) -> dict[str, object]:
    sent = vectors.in_base64() if _has_room(vectors) else None
    return {"dimensions": vectors.dimensions, "embeddings": sent}


def _has_room(vectors: Vectors) -> bool:
    return len(vectors.floats) <= MAX_SENT_VECTOR_BYTES
