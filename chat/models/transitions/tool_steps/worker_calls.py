"""Calls that a worker makes: claimed, put back, ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from django.db import transaction

from aily.database.rows import Row, execute, fetch_column, fetch_rows
from chat.models.transitions.tool_steps.locked_calls import (
    LOCK_TASKS,
    RUNNING_CALLS,
    EndedCall,
    LoopState,
    OpenCall,
    store_ends,
)


class ClaimedCall(Row, frozen=True):
    """A call that this worker is about to make."""

    id: UUID
    task_id: UUID
    tool_id: int
    name: str
    arguments: str
    owner_id: int
    step: int
    #: By its user, who has approved it or answered its question. An automatic call is not.
    is_approved: bool
    #: JSON: what it has asked its user so far.
    questions: str | None
    request_state: str | None
    #: Of its result, as the model is sent it; None: the setting's.
    max_result_bytes: int | None


_CLAIM = """
WITH claimed AS (
  UPDATE chat_toolcall c SET state = 'running', worker_id = %(worker_id)s, runs = runs + 1,
         started_at = now()
   WHERE id IN (SELECT id FROM chat_toolcall
                 WHERE state = 'queued' AND server <> ALL(%(full)s)
                 ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
     AND EXISTS (SELECT FROM chat_worker w WHERE w.id = %(worker_id)s AND NOT w.is_dead)
  RETURNING id, task_id, tool_id, name, coalesce(edited_arguments, arguments) AS arguments, step,
            decided_at IS NOT NULL AS is_approved, questions::text AS questions, request_state)
SELECT c.*, t.owner_id, (t.tools ->> 'max_result_bytes')::int AS max_result_bytes
  FROM claimed c JOIN chat_task t ON t.id = c.task_id
"""
_PUT_BACK = """
UPDATE chat_toolcall SET state = 'queued', worker_id = NULL, runs = runs - 1, started_at = NULL
 WHERE id = ANY(%(call_ids)s) AND state = 'running' AND worker_id = %(worker_id)s
"""


def claim_calls(worker_id: UUID, limit: int, full: Collection[str]) -> list[ClaimedCall]:
    """queued → running, for calls of servers other than those that are `full`, the oldest first."""
    params = {"worker_id": worker_id, "limit": limit, "full": list(full)}
    return fetch_rows(ClaimedCall, _CLAIM, params)


def put_back_calls(worker_id: UUID, call_ids: Sequence[UUID]) -> None:
    """running → queued, for calls that were claimed and not begun."""
    execute(_PUT_BACK, {"worker_id": worker_id, "call_ids": list(call_ids)})


def end_calls(worker_id: UUID, ended: Sequence[EndedCall]) -> list[LoopState]:
    """running → an end, for calls that this worker makes. Returns their tasks as they are now.

    Calls that were cancelled, or taken from this worker, are left as they are.
    """
    by_id = {call.id: call for call in ended}
    with transaction.atomic():
        task_ids = fetch_column(UUID, LOCK_TASKS, {"call_ids": list(by_id)})
        params = {"call_ids": list(by_id), "task_ids": task_ids, "worker_id": worker_id}
        return store_ends(fetch_rows(OpenCall, RUNNING_CALLS, params), by_id)
