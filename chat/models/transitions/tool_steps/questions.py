"""Calls that ask their user something before they end."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec
from django.db import transaction

from aily.database.rows import execute, fetch_column, fetch_rows
from chat.models.tool_calls import CallState, InputQuestion
from chat.models.transitions.tool_steps.locked_calls import (
    LOCK_TASKS,
    RUNNING_CALLS,
    EndedCall,
    LoopState,
    OpenCall,
    advance,
    calls_in_state,
    store_ends,
)


class AskingCall(msgspec.Struct, frozen=True):
    """A call that goes on once its user has answered the last of its questions."""

    id: UUID
    questions: Sequence[InputQuestion]
    request_state: str | None


# What is asked costs no run: a call that goes on is no repetition.
_ASK = """
UPDATE chat_toolcall SET state = 'requires_action', worker_id = NULL, runs = runs - 1,
       questions = %(questions)s, request_state = %(request_state)s, expires_at = %(expires_at)s
 WHERE id = %(call_id)s
"""
_ANNOUNCE = """
UPDATE chat_toolstep s SET needs_announcing = true FROM chat_toolcall c
 WHERE c.id = %(call_id)s AND s.task_id = c.task_id AND s.number = c.step
"""
_IS_RESPONSE = "SELECT EXISTS (SELECT FROM chat_response WHERE task_id = %(task_id)s)"
_ANSWER = """
UPDATE chat_toolcall SET state = 'queued', questions = %(questions)s, decided_at = now(),
       decided_by_id = %(decided_by_id)s
 WHERE id = %(call_id)s
"""


def ask_user(worker_id: UUID, asking: AskingCall, unasked: EndedCall) -> list[LoopState]:
    """running → requires_action, for a call that this worker makes and whose tool asks its user.
    Returns its task, as `end_calls` does.

    Users of /v1/responses cannot be asked: there the call ends as `unasked`.
    """
    with transaction.atomic():
        task_ids = fetch_column(UUID, LOCK_TASKS, {"call_ids": [asking.id]})
        params = {"call_ids": [asking.id], "task_ids": task_ids, "worker_id": worker_id}
        found = fetch_rows(OpenCall, RUNNING_CALLS, params)
        if not found:
            return []
        task_id, event = found[0].task_id, found[0].last_event + 1
        [is_response] = fetch_column(bool, _IS_RESPONSE, {"task_id": task_id})
        if is_response:
            return store_ends(found, {asking.id: unasked})
        *before, last = asking.questions
        questions = [*before, msgspec.structs.replace(last, asked_event=event)]
        row = {
            "call_id": asking.id,
            "questions": msgspec.json.encode(questions).decode(),
            "request_state": asking.request_state,
            "expires_at": last.deadline,
        }
        execute(_ASK, row)
        execute(_ANNOUNCE, {"call_id": asking.id})
        return advance({task_id: event})


def answer_question(
    call_id: UUID, questions: Sequence[InputQuestion], *, decided_by_id: int
) -> LoopState | None:
    """requires_action → queued, with the answer to the last of its questions. None if the call, or
    its task, is in another state, or has asked something else since."""
    with transaction.atomic():
        task_ids = fetch_column(UUID, LOCK_TASKS, {"call_ids": [call_id]})
        found = calls_in_state([call_id], task_ids, CallState.REQUIRES_ACTION, asked=len(questions))
        if not found:
            return None
        event = found[0].last_event + 1
        *before, last = questions
        answered = [*before, msgspec.structs.replace(last, answered_event=event)]
        row = {
            "call_id": call_id,
            "questions": msgspec.json.encode(answered).decode(),
            "decided_by_id": decided_by_id,
        }
        execute(_ANSWER, row)
        [task] = advance({found[0].task_id: event})
        return task
