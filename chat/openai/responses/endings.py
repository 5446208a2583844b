"""How a response ended, by its task."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from aily.concurrency.batching import Batcher
from aily.concurrency.loops import per_loop
from aily.database.outages import AWAY
from aily.database.threads import in_database
from chat.events import AnyEvent, TaskCancelled, TaskCompleted, TaskFailed
from chat.models import Status, Task
from chat.openai.responses.objects import Ending, usage_object

#: Why an answer stopped early, by the provider's finish reason.
_INCOMPLETE = {
    **dict.fromkeys(
        (
            *("length", "max_tokens", "max_output_tokens", "model_length"),
            "model_context_window_exceeded",
        ),
        "max_output_tokens",
    ),
    "content_filter": "content_filter",
}
#: OpenAI's codes of what went wrong, by the code of a task's error; all others are server_error.
_ERROR_CODES = {
    "provider_rate_limited": "rate_limit_exceeded",
    "provider_bad_request": "invalid_prompt",
}
_EXPIRED = Ending(
    "failed",
    error={
        "code": "server_error",
        "message": "Its deadline passed before the answer was whole.",
    },
)


def ending_of_task(task: Task) -> Ending:
    """Return the ending of a response by the row of its ended task."""
    match task.status:
        case Status.SUCCEEDED:
            at = int(task.finished_at.timestamp()) if task.finished_at else None
            return _of_answer(task.finish_reason, task.usage, at)
        case Status.FAILED:
            return _of_failure(task.error)
        case Status.CANCELLED:
            return Ending("cancelled")
        case _:
            return _EXPIRED


async def ending_of_event(end: AnyEvent, *, is_stored: bool) -> Ending:
    """Return the ending of a response by its task's last event. A stored response ends at the time
    in its row, as for later readers."""
    match end:
        case TaskCompleted():
            at = await _finished_at(end.task_id) if is_stored else int(time.time())
            return _of_answer(end.result.get("finish_reason"), end.usage, at)
        case TaskFailed():
            return _of_failure(end.error)
        case TaskCancelled():
            return Ending("cancelled")
        case _:
            return _EXPIRED


def _of_answer(
    finish_reason: str | None, usage: Mapping[str, Any], completed_at: int | None
) -> Ending:
    reason = _INCOMPLETE.get((finish_reason or "").lower())
    if reason is not None:
        return Ending("incomplete", incomplete_reason=reason, usage=usage_object(usage))
    return Ending("completed", usage=usage_object(usage), completed_at=completed_at)


def _of_failure(error: Mapping[str, Any] | None) -> Ending:
    error = error or {}
    code = _ERROR_CODES.get(str(error.get("code")), "server_error")
    message = str(error.get("message") or "The request failed.")
    return Ending("failed", error={"code": code, "message": message})


async def _finished_at(task_id: str) -> int:
    """In seconds. Look-ups of the same moment share a query."""
    try:
        return await _finish_times().submit(task_id)
    except AWAY:
        return int(time.time())


@per_loop
def _finish_times() -> Batcher[str, int]:
    async def handle(task_ids: list[str]) -> Sequence[int]:
        return await in_database(_read_finish_times, task_ids)

    return Batcher(handle)


def _read_finish_times(task_ids: list[str]) -> list[int]:
    rows = Task.objects.filter(pk__in=set(task_ids)).values_list("pk", "finished_at")
    found = {str(pk): int(at.timestamp()) for pk, at in rows if at is not None}
    now = int(time.time())
    return [found.get(task_id, now) for task_id in task_ids]
