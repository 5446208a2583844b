"""Tasks whose calls are not over: whether there are any, and their ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from aily.database.rows import Row, execute, fetch_column, fetch_rows
from chat.models.transitions.tool_steps.locked_calls import to_json


class RunningCall(Row, frozen=True):
    """A call that a worker makes for a task that has ended; `worker_id` stops it."""

    task_id: UUID
    worker_id: UUID


_HAS_WAITING = """
SELECT EXISTS (SELECT FROM chat_task WHERE status IN ('calling_tools', 'requires_action'))
"""
_HAS_QUEUED = "SELECT EXISTS (SELECT FROM chat_toolcall WHERE state = 'queued')"
_FAIL_READY = """
UPDATE chat_task t SET status = 'failed', finished_at = now(), last_event = last_event + 1,
       error = v.error
  FROM json_to_recordset(%(errors)s) AS v(id uuid, error jsonb)
 WHERE t.id = v.id AND t.status = 'queued'
"""
_LOCK_LOOPS = """
SELECT id FROM chat_task WHERE id = ANY(%(task_ids)s) AND tools IS NOT NULL ORDER BY id FOR UPDATE
"""
_CANCEL_CALLS = """
WITH open AS (SELECT id, state, worker_id FROM chat_toolcall
               WHERE task_id = ANY(%(task_ids)s)
                 AND state IN ('requires_action', 'queued', 'running')
               ORDER BY id FOR UPDATE)
UPDATE chat_toolcall c SET state = 'cancelled', finished_at = now(), worker_id = NULL,
       request_state = NULL
  FROM open WHERE open.id = c.id
RETURNING c.task_id, coalesce(open.worker_id, '00000000-0000-0000-0000-000000000000') AS worker_id
"""
_NO_WORKER = UUID(int=0)


def has_waiting() -> bool:
    """Whether any task waits for tools, or for its user."""
    [found] = fetch_column(bool, _HAS_WAITING)
    return found


def has_queued_calls() -> bool:
    """Whether any call waits for a worker."""
    [found] = fetch_column(bool, _HAS_QUEUED)
    return found


def fail_ready(errors: Mapping[UUID, Mapping[str, str]]) -> None:
    """queued → failed, for tasks that became ready in the caller's transaction."""
    rows = [{"id": task_id, "error": error} for task_id, error in errors.items()]
    execute(_FAIL_READY, {"errors": to_json(rows)})


def lock_loops(task_ids: Sequence[UUID]) -> bool:
    """Lock those of these tasks that have tools. Returns whether there are any."""
    return bool(fetch_column(UUID, _LOCK_LOOPS, {"task_ids": list(task_ids)}))


def cancel_calls(task_ids: Sequence[UUID]) -> list[RunningCall]:
    """Cancel the open calls of tasks that end in the caller's transaction. Returns those that are
    being made."""
    if not task_ids:
        return []
    cancelled = fetch_rows(RunningCall, _CANCEL_CALLS, {"task_ids": list(task_ids)})
    return [call for call in cancelled if call.worker_id != _NO_WORKER]
