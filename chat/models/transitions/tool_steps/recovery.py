"""Calls of workers that died, or that lost track of them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec
from django.db import transaction

from aily.database.rows import Row, execute, fetch_column, fetch_rows
from chat.models.tool_calls import CallState
from chat.models.transitions.tool_steps.locked_calls import (
    LOCK_TASKS,
    PAGE,
    EndedCall,
    LoopState,
    calls_in_state,
    store_ends,
)

#: Runs of an idempotent call, in all: it is repeated when its worker dies.
MAX_RUNS = 5

_CALLS_OF_DEAD = """
SELECT c.id, c.is_idempotent AND c.runs < %(max_runs)s AS may_repeat
  FROM chat_toolcall c JOIN chat_worker w ON w.id = c.worker_id
 WHERE c.state = 'running' AND w.is_dead ORDER BY c.id LIMIT %(limit)s
"""
_TAKEN = """
SELECT id FROM chat_toolcall
 WHERE id = ANY(string_to_array(%(known)s, ' ')::uuid[])
   AND (state <> 'running' OR worker_id IS DISTINCT FROM %(worker_id)s)
"""
_STRANDED = """
SELECT id FROM chat_toolcall
 WHERE state = 'running' AND worker_id = %(worker_id)s
   AND NOT (id = ANY(string_to_array(%(known)s, ' ')::uuid[])) ORDER BY id LIMIT %(limit)s
"""
_STRANDED_CALLS = """
SELECT id, is_idempotent AND runs < %(max_runs)s AS may_repeat FROM chat_toolcall
 WHERE state = 'running' AND worker_id = %(worker_id)s AND id = ANY(%(call_ids)s) ORDER BY id
"""
_REPEAT = """
UPDATE chat_toolcall SET state = 'queued', worker_id = NULL
 WHERE id = ANY(%(call_ids)s) AND state = 'running' AND {condition}
"""
_OF_DEAD = "EXISTS (SELECT FROM chat_worker w WHERE w.id = worker_id AND w.is_dead)"
_OF_WORKER = "worker_id = %(worker_id)s"


class _LostCall(Row, frozen=True):
    id: UUID
    may_repeat: bool


def recover_calls(unknown: EndedCall) -> tuple[list[LoopState], bool]:
    """Take running calls from workers declared dead: they are made again if they are idempotent,
    else they end as `unknown`, a template.

    Returns the tasks of the latter, and whether there are calls to be made again.
    """
    params = {"max_runs": MAX_RUNS, "limit": PAGE}
    lost = fetch_rows(_LostCall, _CALLS_OF_DEAD, params)
    return _recover(lost, unknown, _OF_DEAD, {})


def taken_calls(worker_id: UUID, known: Sequence[UUID]) -> list[UUID]:
    """Return the calls that other workers have taken over, or that have ended, by their rows."""
    params = {"worker_id": worker_id, "known": " ".join(map(str, known))}
    return fetch_column(UUID, _TAKEN, params) if known else []


def stranded_calls(worker_id: UUID, known: Sequence[UUID]) -> list[UUID]:
    """Calls that this worker makes by their rows, but that are not in `known`; `PAGE` at most."""
    params = {"worker_id": worker_id, "known": " ".join(map(str, known)), "limit": PAGE}
    return fetch_column(UUID, _STRANDED, params)


def recover_stranded_calls(
    worker_id: UUID, call_ids: Sequence[UUID], unknown: EndedCall
) -> tuple[list[LoopState], bool]:
    """`recover_calls` for calls that a worker makes by their rows, but does not run."""
    own: dict[str, object] = {"worker_id": worker_id}
    params = {"max_runs": MAX_RUNS, "call_ids": list(call_ids), **own}
    lost = fetch_rows(_LostCall, _STRANDED_CALLS, params)
    return _recover(lost, unknown, _OF_WORKER, own)


def _recover(
    lost: Sequence[_LostCall], unknown: EndedCall, condition: str, params: dict[str, object]
) -> tuple[list[LoopState], bool]:
    repeated = [call.id for call in lost if call.may_repeat]
    if repeated:
        execute(_REPEAT.format(condition=condition), {"call_ids": repeated, **params})
    by_id = {
        call.id: msgspec.structs.replace(unknown, id=call.id)
        for call in lost
        if not call.may_repeat
    }
    if not by_id:
        return [], bool(repeated)
    with transaction.atomic():
        task_ids = fetch_column(UUID, LOCK_TASKS, {"call_ids": list(by_id)})
        found = calls_in_state(list(by_id), task_ids, CallState.RUNNING)
        return store_ends(found, by_id), bool(repeated)
