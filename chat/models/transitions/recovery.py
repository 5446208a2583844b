"""Recovery: running tasks without a call are queued again, or fail after too many crashes."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from psycopg.types.json import Jsonb

from aily.database.rows import Row, execute, fetch_rows
from chat.models.transitions.earlier_attempts import with_this_attempt
from chat.models.transitions.task_errors import INTERNAL, WORKER_LOST


class RecoveredTask(Row, frozen=True):
    """A running task that no worker calls a provider for: queued again, or failed."""

    id: UUID
    owner_id: int
    model_id: int
    lane: int
    weight: float
    attempt: int
    status: str
    crashes: int


#: When the worker died, and whether there was any text, is not known.
_APPENDED = with_this_attempt(
    "task", first_text_at="NULL::timestamptz", outcome="%(error)s::jsonb ->> 'code'"
)

_RECOVER = """
UPDATE chat_task task SET crashes = crashes + 1, worker_id = NULL,
       status = CASE WHEN crashes + 1 > %(max_crashes)s THEN 'failed' ELSE 'queued' END,
       finished_at = CASE WHEN crashes + 1 > %(max_crashes)s THEN now() END,
       error = CASE WHEN crashes + 1 > %(max_crashes)s THEN %(error)s END,
       earlier_attempts = CASE WHEN crashes + 1 > %(max_crashes)s THEN earlier_attempts
                               ELSE {appended} END
 WHERE id IN (SELECT t.id FROM chat_task t {source}
               ORDER BY t.id LIMIT 1000 FOR UPDATE OF t SKIP LOCKED)
RETURNING id, owner_id, model_id, lane, weight, attempt, status, crashes
"""
_RECOVER_OF_DEAD = _RECOVER.format(
    appended=_APPENDED,
    source="""JOIN chat_worker w ON w.id = t.worker_id
               WHERE t.status = 'running' AND w.is_dead""",
)
_RECOVER_STRANDED = _RECOVER.format(
    appended=_APPENDED,
    source="""JOIN unnest(%(task_ids)s::uuid[], %(attempts)s::int[]) AS v(id, attempt)
                 ON v.id = t.id AND v.attempt = t.attempt
               WHERE t.status = 'running' AND t.worker_id = %(worker_id)s""",
)

_NOTE_LAST_EVENTS = """
UPDATE chat_task t SET last_event = v.last_event + CASE WHEN t.status = 'failed' THEN 1 ELSE 0 END
  FROM unnest(%(task_ids)s::uuid[], %(attempts)s::int[], %(last_events)s::int[])
    AS v(id, attempt, last_event)
 WHERE t.id = v.id AND t.attempt = v.attempt AND t.status IN ('queued', 'failed')
"""


def recover(max_crashes: int) -> list[RecoveredTask]:
    """Take running tasks from workers declared dead, 1,000 at most."""
    params = {"max_crashes": max_crashes, "error": Jsonb(WORKER_LOST)}
    return fetch_rows(RecoveredTask, _RECOVER_OF_DEAD, params)


def recover_stranded(
    worker_id: UUID, attempts: Sequence[tuple[str, int]], max_crashes: int
) -> list[RecoveredTask]:
    """Take running tasks from a worker that has no call of these attempts, (task id, attempt)."""
    params = {
        "worker_id": worker_id,
        "task_ids": [task_id for task_id, _ in attempts],
        "attempts": [attempt for _, attempt in attempts],
        "max_crashes": max_crashes,
        "error": Jsonb(INTERNAL),
    }
    return fetch_rows(RecoveredTask, _RECOVER_STRANDED, params)


def note_last_events(recovered: Sequence[RecoveredTask], last_events: Sequence[int]) -> None:
    """Store the last event of each recovered task's log, so that its terminal event comes next."""
    if recovered:
        params = {
            "task_ids": [task.id for task in recovered],
            "attempts": [task.attempt for task in recovered],
            "last_events": list(last_events),
        }
        execute(_NOTE_LAST_EVENTS, params)
