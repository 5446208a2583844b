"""Calls under the lock of their task's row, which is taken before the locks of the calls: so the
events of a task are numbered without gaps."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from aily.database.rows import Row, execute, fetch_rows
from chat.models.tool_calls import CallState

#: Calls that one statement recovers from dead workers, or expires.
PAGE = 500


class EndedCall(msgspec.Struct, frozen=True):
    """How a call has ended."""

    id: UUID
    state: CallState
    text: str
    is_error: bool = False
    error_code: str = ""
    result_bytes: int = 0
    reason: str = ""
    decided_by_id: int | None = None
    is_decided: bool = False


class LoopState(Row, frozen=True):
    """A task whose tool calls have changed, with what its entry in the ready set is made of."""

    id: UUID
    owner_id: int
    model_id: int
    lane: int
    weight: float
    attempt: int
    status: str
    run_id: UUID | None

    @property
    def is_ready(self) -> bool:
        return self.status == "queued"


class OpenCall(Row, frozen=True):
    """A call that has not ended, its row locked, with the last event of its task."""

    id: UUID
    task_id: UUID
    last_event: int


# The tasks' rows first, in one order, then the calls'. Only claims and recovery from dead workers
# lock calls alone; neither ends a call.
LOCK_TASKS = """
SELECT id FROM chat_task
 WHERE id IN (SELECT task_id FROM chat_toolcall WHERE id = ANY(%(call_ids)s))
   AND status IN ('calling_tools', 'requires_action')
 ORDER BY id FOR NO KEY UPDATE
"""
RUNNING_CALLS = """
SELECT c.id, c.task_id, t.last_event FROM chat_toolcall c JOIN chat_task t ON t.id = c.task_id
 WHERE c.id = ANY(%(call_ids)s) AND c.task_id = ANY(%(task_ids)s)
   AND c.state = 'running' AND c.worker_id = %(worker_id)s
 ORDER BY c.task_id, c.step, c.place FOR UPDATE OF c
"""
_CALLS_IN_STATE = """
SELECT c.id, c.task_id, t.last_event FROM chat_toolcall c JOIN chat_task t ON t.id = c.task_id
 WHERE c.id = ANY(%(call_ids)s) AND c.task_id = ANY(%(task_ids)s) AND c.state = %(state)s
   AND (%(asked)s::int IS NULL OR coalesce(json_array_length(c.questions), 0) = %(asked)s)
   AND (NOT %(is_overdue)s OR c.expires_at <= now())
 ORDER BY c.task_id, c.step, c.place FOR UPDATE OF c
"""
_END_CALLS = """
UPDATE chat_toolcall c SET state = v.state, text = v.text, is_error = v.is_error,
       error_code = v.error_code, result_bytes = v.result_bytes, reason = v.reason,
       finished_at = now(), result_event = v.event, worker_id = NULL, request_state = NULL,
       decided_at = CASE WHEN v.is_decided THEN now() ELSE c.decided_at END,
       decided_by_id = coalesce(v.decided_by_id, c.decided_by_id)
  FROM json_to_recordset(%(calls)s)
    AS v(id uuid, state text, text text, is_error bool, error_code text, result_bytes bigint,
         reason text, event int, is_decided bool, decided_by_id bigint)
 WHERE c.id = v.id
"""
#: The status that a task's calls give it. Once none is open, its next step begins.
_ADVANCE = """
UPDATE chat_task t SET last_event = v.last_event,
       status = CASE
         WHEN EXISTS (SELECT FROM chat_toolcall c WHERE c.task_id = t.id
                         AND c.state = 'requires_action') THEN 'requires_action'
         WHEN EXISTS (SELECT FROM chat_toolcall c WHERE c.task_id = t.id
                         AND c.state IN ('queued', 'running')) THEN 'calling_tools'
         ELSE 'queued' END
  FROM json_to_recordset(%(tasks)s) AS v(id uuid, last_event int)
 WHERE t.id = v.id AND t.status IN ('calling_tools', 'requires_action')
RETURNING t.id, t.owner_id, t.model_id, t.lane, t.weight, t.attempt, t.status, t.run_id
"""


def calls_in_state(
    call_ids: Sequence[UUID],
    task_ids: Sequence[UUID],
    state: CallState,
    *,
    asked: int | None = None,
    is_overdue: bool = False,
) -> list[OpenCall]:
    """Lock and return those of the calls that are in `state` and have asked `asked` questions."""
    params = {
        "call_ids": list(call_ids),
        "task_ids": list(task_ids),
        "state": state.value,
        "asked": asked,
        "is_overdue": is_overdue,
    }
    return fetch_rows(OpenCall, _CALLS_IN_STATE, params)


def store_ends(found: Sequence[OpenCall], ended: dict[UUID, EndedCall]) -> list[LoopState]:
    """Store the ends of calls whose tasks are locked, each with the number of its event."""
    last_events: dict[UUID, int] = {}
    rows = []
    for call in found:
        event = last_events[call.task_id] = last_events.get(call.task_id, call.last_event) + 1
        rows.append({**msgspec.structs.asdict(ended[call.id]), "event": event})
    if not rows:
        return []
    execute(_END_CALLS, {"calls": to_json(rows)})
    return advance(last_events)


def advance(last_events: dict[UUID, int]) -> list[LoopState]:
    tasks = [{"id": pk, "last_event": n} for pk, n in last_events.items()]
    return fetch_rows(LoopState, _ADVANCE, {"tasks": to_json(tasks)})


def to_json(rows: Sequence[dict[str, object]]) -> str:
    return msgspec.json.encode(rows, enc_hook=str).decode()
