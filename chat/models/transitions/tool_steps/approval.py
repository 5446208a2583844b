"""Approving and rejecting calls."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from aily.database.rows import execute, fetch_column
from chat.models.tool_calls import CallState
from chat.models.transitions.tool_steps.locked_calls import (
    LOCK_TASKS,
    PAGE,
    EndedCall,
    LoopState,
    advance,
    calls_in_state,
    store_ends,
)

_APPROVE = """
UPDATE chat_toolcall SET state = 'queued', edited_arguments = %(edited_arguments)s,
       decided_at = now(), decided_by_id = %(decided_by_id)s, decided_event = %(event)s
 WHERE id = %(call_id)s
"""
_OVERDUE = """
SELECT id FROM chat_toolcall WHERE state = 'requires_action' AND expires_at <= now()
 ORDER BY expires_at LIMIT %(limit)s
"""


def approve_call(
    call_id: UUID, *, decided_by_id: int, edited_arguments: str | None
) -> LoopState | None:
    """requires_action → queued. None if the call, or its task, is in another state."""
    with transaction.atomic():
        task_ids = fetch_column(UUID, LOCK_TASKS, {"call_ids": [call_id]})
        # A call that asks in its middle was approved before, and is to be answered.
        found = calls_in_state([call_id], task_ids, CallState.REQUIRES_ACTION, asked=0)
        if not found:
            return None
        event = found[0].last_event + 1
        params = {
            "call_id": call_id,
            "edited_arguments": edited_arguments,
            "decided_by_id": decided_by_id,
            "event": event,
        }
        execute(_APPROVE, params)
        [task] = advance({found[0].task_id: event})
        return task


def reject_calls(ended: Sequence[EndedCall], *, is_overdue: bool = False) -> list[LoopState]:
    """requires_action → rejected, for calls that wait for approval or, if `is_overdue`, for any
    answer that has not come in time. Calls in another state are left as they are."""
    by_id = {call.id: call for call in ended}
    with transaction.atomic():
        task_ids = fetch_column(UUID, LOCK_TASKS, {"call_ids": list(by_id)})
        found = calls_in_state(
            list(by_id),
            task_ids,
            CallState.REQUIRES_ACTION,
            asked=None if is_overdue else 0,
            is_overdue=is_overdue,
        )
        return store_ends(found, by_id)


def overdue_calls() -> list[UUID]:
    """Calls whose user has not decided in time, `PAGE` at most."""
    return fetch_column(UUID, _OVERDUE, {"limit": PAGE})
