"""Tasks as clients of MCP read them: results of tools, states, and tasks of the tasks extension."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings

from chat.events import (
    Event,
    TaskCancelled,
    TaskCompleted,
    TaskExpired,
    TaskFailed,
)
from chat.models import Status, Task
from chat.models.task_states import ACTIVE

#: Key of a result's `_meta` with the id of its task.
TASK_ID_META = "aily/task_id"
#: How often a client of the tasks extension should poll a task.
POLL_MILLISECONDS = 1_000
_DAY_MILLISECONDS = 86_400_000

Result = dict[str, Any]


def error_result(message: str, task_id: str | None = None) -> Result:
    """A result that says what went wrong, so that the model can do better."""
    return _with_task_id(_result(message, is_error=True), task_id)


def unfinished_result(task_id: str, reason: str) -> Result:
    """The result of a call that was not waited for any longer. Its task goes on."""
    message = f"{reason} The task goes on: call get_task with task_id {task_id}."
    return error_result(message, task_id)


def result_of(end: Event, *, objects_only: bool) -> Result:
    """The result of a tool by its task's end.

    `objects_only`: for revisions whose structured results are objects.
    """
    match end:
        case TaskCompleted():
            result = _result(end.result.get("text") or "")
            if "output" in end.result:
                output = end.result["output"]
                if isinstance(output, dict) or not objects_only:
                    result["structuredContent"] = output
            return _with_task_id(result, end.task_id)
        case TaskFailed():
            message = str(end.error.get("message") or "The task has failed.")
            return error_result(message, end.task_id)
        case TaskCancelled():
            return error_result("The task was cancelled.", end.task_id)
        case TaskExpired():
            return error_result("The task's deadline passed before its answer.", end.task_id)
        case _:
            raise TypeError(f"{end} is no end of a task")


def state_result(task: Task) -> Result:
    """The result of aily's own tools."""
    state = {
        "task_id": str(task.pk),
        "status": task.status,
        "position": getattr(task, "position", None),
        "eta_seconds": getattr(task, "eta_seconds", None),
        "text": task.text or None,
        "error": task.error or None,
    }
    return object_result(state)


def object_result(content: dict[str, Any]) -> Result:
    """A result that is an object, also as text."""
    result = _result(json.dumps(content, ensure_ascii=False))
    return {**result, "structuredContent": content}


def _result(text: str, *, is_error: bool = False) -> Result:
    content = [{"type": "text", "text": text}]
    return {"content": content, "isError": is_error, "resultType": "complete"}


def _with_task_id(result: Result, task_id: str | None) -> Result:
    return result if task_id is None else {**result, "_meta": {TASK_ID_META: task_id}}


# --- The tasks extension ------------------------------------------------------------------------
def created_task(task: Task) -> Result:
    """The result of a call that became a task. How it stands, its client has to ask for."""
    return {**_task(task), "resultType": "task"}


def task_state(task: Task) -> Result:
    """The answer to `tasks/get`."""
    state = {**_task(task), "resultType": "complete"}
    if state["status"] == "completed":
        state["result"] = result_of(task.terminal_event("0-0"), objects_only=False)
    return state


def _task(task: Task) -> Result:
    updated_at = task.finished_at or task.started_at or task.created_at
    state: Result = {
        "taskId": str(task.pk),
        "status": _status(task),
        "createdAt": task.created_at.isoformat(),
        "lastUpdatedAt": updated_at.isoformat(),
        "ttlMs": int(settings.TASK_RETENTION_DAYS * _DAY_MILLISECONDS) or None,
        "pollIntervalMs": POLL_MILLISECONDS,
    }
    if message := _status_message(task):
        state["statusMessage"] = message
    return state


def _status(task: Task) -> str:
    """A failure of a tool is a result: `failed` would mean that the protocol has failed."""
    if task.status == Status.REQUIRES_ACTION:
        return "input_required"
    if task.status in ACTIVE:
        return "working"
    return "cancelled" if task.status == Status.CANCELLED else "completed"


def _status_message(task: Task) -> str:
    if task.status == Status.RUNNING:
        return "Running."
    if task.status == Status.CALLING_TOOLS:
        return "Waiting for tools."
    if task.status == Status.REQUIRES_ACTION:
        return "Waiting for the user's answer to a tool call."
    if task.status == Status.QUEUED:
        return waiting_message(getattr(task, "position", None), getattr(task, "eta_seconds", None))
    return ""


def waiting_message(position: int | None, eta_seconds: float | None) -> str:
    """How a waiting task stands, in words."""
    message = "Waiting" if position is None else f"Waiting at place {position}"
    return f"{message}." if eta_seconds is None else f"{message}, about {eta_seconds:.0f} s."
