"""Steps of tool loops and their calls. All of it happens under the lock of the task's row, which is
taken before those of its calls, so that the events of a task are numbered without gaps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from django.db import transaction

from aily.database.rows import Row, execute, fetch_column, fetch_rows
from chat.models.tool_calls import CallState, InputQuestion

#: Calls that one statement takes from dead workers, or expires.
PAGE = 500
#: An idempotent call whose worker died is begun again, so often in all.
MAX_RUNS = 5


class NewCall(msgspec.Struct, frozen=True):
    """A call of a new step. `result_event`: it has ended already, as it cannot be made."""

    id: UUID
    place: int
    call_id: str
    name: str
    arguments: str
    state: str
    called_event: int
    tool_id: int | None = None
    server: str = ""
    is_idempotent: bool = False
    price: str = "0"
    currency: str = ""
    expires_at: datetime | None = None
    asked_event: int = 0
    result_event: int = 0
    text: str = ""
    error_code: str = ""


class NewStep(msgspec.Struct, frozen=True):
    """An answer of the model that asks for tool calls."""

    number: int
    attempt: int
    text: str
    reasoning: str
    usage: dict[str, int]
    model_seconds: float
    created_at: datetime
    calls: Sequence[NewCall]

    @property
    def last_event(self) -> int:
        """n of the last event of its calls."""
        return max(
            max(call.called_event, call.asked_event, call.result_event) for call in self.calls
        )

    def has(self, state: CallState) -> bool:
        return any(call.state == state for call in self.calls)


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


class AskingCall(msgspec.Struct, frozen=True):
    """A call that goes on once its user has answered the last of its questions."""

    id: UUID
    questions: Sequence[InputQuestion]
    request_state: str | None


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


_INSERT_STEPS = """
INSERT INTO chat_toolstep (task_id, number, attempt, text, reasoning, usage, model_seconds,
                           created_at, needs_announcing)
SELECT task_id, number, attempt, text, reasoning, usage, model_seconds, created_at, needs_announcing
  FROM json_to_recordset(%(steps)s)
    AS v(task_id uuid, number int, attempt int, text text, reasoning text, usage jsonb,
         model_seconds float, created_at timestamptz, needs_announcing bool)
"""
_INSERT_CALLS = """
INSERT INTO chat_toolcall (id, task_id, step, place, call_id, name, tool_id, server, arguments,
       is_idempotent, price, currency, state, runs, expires_at, reason, text, is_error, error_code,
       result_bytes, finished_at, called_event, asked_event, decided_event, result_event, attempt)
SELECT id, task_id, step, place, call_id, name, tool_id, server, arguments, is_idempotent, price,
       currency, state, 0, expires_at, '', text, error_code <> '', error_code, octet_length(text),
       CASE WHEN result_event > 0 THEN now() END, called_event, asked_event, 0, result_event,
       attempt
  FROM json_to_recordset(%(calls)s)
    AS v(id uuid, task_id uuid, step int, place int, call_id text, name text, tool_id bigint,
         server text, arguments text, is_idempotent bool, price numeric, currency text, state text,
         expires_at timestamptz, text text, error_code text, called_event int, asked_event int,
         result_event int, attempt int)
"""

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


class _OpenCall(Row, frozen=True):
    id: UUID
    task_id: UUID
    last_event: int


# The tasks' rows first, in one order, then the calls'. Only claims, and what takes calls from dead
# workers, lock calls alone; neither ends a call.
_LOCK_TASKS = """
SELECT id FROM chat_task
 WHERE id IN (SELECT task_id FROM chat_toolcall WHERE id = ANY(%(call_ids)s))
   AND status IN ('calling_tools', 'requires_action')
 ORDER BY id FOR NO KEY UPDATE
"""
_RUNNING_CALLS = """
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
_APPROVE = """
UPDATE chat_toolcall SET state = 'queued', edited_arguments = %(edited_arguments)s,
       decided_at = now(), decided_by_id = %(decided_by_id)s, decided_event = %(event)s
 WHERE id = %(call_id)s
"""
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
_OVERDUE = """
SELECT id FROM chat_toolcall WHERE state = 'requires_action' AND expires_at <= now()
 ORDER BY expires_at LIMIT %(limit)s
"""


# --- New steps ----------------------------------------------------------------------------------
def store_steps(steps: Iterable[tuple[UUID, NewStep]]) -> None:
    """Insert steps and their calls, in the transaction that ends the attempts which gave them."""
    rows: list[dict[str, object]] = []
    calls: list[dict[str, object]] = []
    for task_id, step in steps:
        own = {"task_id": task_id, "attempt": step.attempt}
        asks = step.has(CallState.REQUIRES_ACTION)
        columns = msgspec.structs.asdict(step)
        rows.append({**columns, **own, "calls": None, "needs_announcing": asks})
        calls += [
            {**msgspec.structs.asdict(call), **own, "step": step.number} for call in step.calls
        ]
    if rows:
        execute(_INSERT_STEPS, {"steps": _json(rows)})
        execute(_INSERT_CALLS, {"calls": _json(calls)})


# --- Calls that a worker makes ------------------------------------------------------------------
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
        task_ids = fetch_column(UUID, _LOCK_TASKS, {"call_ids": list(by_id)})
        params = {"call_ids": list(by_id), "task_ids": task_ids, "worker_id": worker_id}
        return _store_ends(fetch_rows(_OpenCall, _RUNNING_CALLS, params), by_id)


def _store_ends(found: Sequence[_OpenCall], ended: dict[UUID, EndedCall]) -> list[LoopState]:
    """Store the ends of calls whose tasks are locked, each with the number of its event."""
    last_events: dict[UUID, int] = {}
    rows = []
    for call in found:
        event = last_events[call.task_id] = last_events.get(call.task_id, call.last_event) + 1
        rows.append({**msgspec.structs.asdict(ended[call.id]), "event": event})
    if not rows:
        return []
    execute(_END_CALLS, {"calls": _json(rows)})
    return _advance(last_events)


def _advance(last_events: dict[UUID, int]) -> list[LoopState]:
    tasks = [{"id": pk, "last_event": n} for pk, n in last_events.items()]
    return fetch_rows(LoopState, _ADVANCE, {"tasks": _json(tasks)})


# --- Questions in the middle of a call ----------------------------------------------------------
def ask_user(worker_id: UUID, asking: AskingCall, unasked: EndedCall) -> list[LoopState]:
    """running → requires_action, for a call that this worker makes and whose tool asks its user.
    Returns its task, as `end_calls` does.

    Users of /v1/responses cannot be asked: there the call ends as `unasked`.
    """
    with transaction.atomic():
        task_ids = fetch_column(UUID, _LOCK_TASKS, {"call_ids": [asking.id]})
        params = {"call_ids": [asking.id], "task_ids": task_ids, "worker_id": worker_id}
        found = fetch_rows(_OpenCall, _RUNNING_CALLS, params)
        if not found:
            return []
        task_id, event = found[0].task_id, found[0].last_event + 1
        [is_response] = fetch_column(bool, _IS_RESPONSE, {"task_id": task_id})
        if is_response:
            return _store_ends(found, {asking.id: unasked})
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
        return _advance({task_id: event})


def answer_question(
    call_id: UUID, questions: Sequence[InputQuestion], *, decided_by_id: int
) -> LoopState | None:
    """requires_action → queued, with the answer to the last of its questions. None if the call, or
    its task, is in another state, or has asked something else since."""
    with transaction.atomic():
        task_ids = fetch_column(UUID, _LOCK_TASKS, {"call_ids": [call_id]})
        found = _in_state([call_id], task_ids, CallState.REQUIRES_ACTION, asked=len(questions))
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
        [task] = _advance({found[0].task_id: event})
        return task


# --- Approval -----------------------------------------------------------------------------------
def approve_call(
    call_id: UUID, *, decided_by_id: int, edited_arguments: str | None
) -> LoopState | None:
    """requires_action → queued. None if the call, or its task, is in another state."""
    with transaction.atomic():
        task_ids = fetch_column(UUID, _LOCK_TASKS, {"call_ids": [call_id]})
        # A call that asks in its middle was approved before, and is to be answered.
        found = _in_state([call_id], task_ids, CallState.REQUIRES_ACTION, asked=0)
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
        [task] = _advance({found[0].task_id: event})
        return task


def reject_calls(ended: Sequence[EndedCall], *, is_overdue: bool = False) -> list[LoopState]:
    """requires_action → rejected, for calls that wait for approval or, if `is_overdue`, for any
    answer that has not come in time. Calls in another state are left as they are."""
    by_id = {call.id: call for call in ended}
    with transaction.atomic():
        task_ids = fetch_column(UUID, _LOCK_TASKS, {"call_ids": list(by_id)})
        found = _in_state(
            list(by_id),
            task_ids,
            CallState.REQUIRES_ACTION,
            asked=None if is_overdue else 0,
            is_overdue=is_overdue,
        )
        return _store_ends(found, by_id)


def overdue_calls() -> list[UUID]:
    """Calls whose user has not decided in time, `PAGE` at most."""
    return fetch_column(UUID, _OVERDUE, {"limit": PAGE})


def _in_state(
    call_ids: Sequence[UUID],
    task_ids: Sequence[UUID],
    state: CallState,
    *,
    asked: int | None = None,
    is_overdue: bool = False,
) -> list[_OpenCall]:
    """Those of these calls that are in a state. `asked`: and have asked so many questions."""
    params = {
        "call_ids": list(call_ids),
        "task_ids": list(task_ids),
        "state": state.value,
        "asked": asked,
        "is_overdue": is_overdue,
    }
    return fetch_rows(_OpenCall, _CALLS_IN_STATE, params)


# --- Recovery -----------------------------------------------------------------------------------
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
    """Those of these calls that are by their rows not this worker's to make any more."""
    params = {"worker_id": worker_id, "known": " ".join(map(str, known))}
    return fetch_column(UUID, _TAKEN, params) if known else []


def stranded_calls(worker_id: UUID, known: Sequence[UUID]) -> list[UUID]:
    """Calls that by their rows this worker makes, and are none of `known`; `PAGE` at most."""
    params = {"worker_id": worker_id, "known": " ".join(map(str, known)), "limit": PAGE}
    return fetch_column(UUID, _STRANDED, params)


def recover_stranded_calls(
    worker_id: UUID, call_ids: Sequence[UUID], unknown: EndedCall
) -> tuple[list[LoopState], bool]:
    """`recover_calls` for calls that by their rows a worker makes, which knows nothing of them."""
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
        task_ids = fetch_column(UUID, _LOCK_TASKS, {"call_ids": list(by_id)})
        found = _in_state(list(by_id), task_ids, CallState.RUNNING)
        return _store_ends(found, by_id), bool(repeated)


_HAS_WAITING = """
SELECT EXISTS (SELECT FROM chat_task WHERE status IN ('calling_tools', 'requires_action'))
"""
_HAS_QUEUED = "SELECT EXISTS (SELECT FROM chat_toolcall WHERE state = 'queued')"


def has_waiting() -> bool:
    """Whether any task waits for tools, or for its user."""
    [found] = fetch_column(bool, _HAS_WAITING)
    return found


def has_queued_calls() -> bool:
    """Whether any call waits for a worker."""
    [found] = fetch_column(bool, _HAS_QUEUED)
    return found


_FAIL_READY = """
UPDATE chat_task t SET status = 'failed', finished_at = now(), last_event = last_event + 1,
       error = v.error
  FROM json_to_recordset(%(errors)s) AS v(id uuid, error jsonb)
 WHERE t.id = v.id AND t.status = 'queued'
"""


def fail_ready(errors: Mapping[UUID, Mapping[str, str]]) -> None:
    """queued → failed, for tasks that became ready in the caller's transaction."""
    rows = [{"id": task_id, "error": error} for task_id, error in errors.items()]
    execute(_FAIL_READY, {"errors": _json(rows)})


# --- Ends of tasks ------------------------------------------------------------------------------
_LOCK_LOOPS = """
SELECT id FROM chat_task WHERE id = ANY(%(task_ids)s) AND tools IS NOT NULL ORDER BY id FOR UPDATE
"""


def lock_loops(task_ids: Sequence[UUID]) -> bool:
    """Lock those of these tasks that have tools. Returns whether there are any."""
    return bool(fetch_column(UUID, _LOCK_LOOPS, {"task_ids": list(task_ids)}))


class RunningCall(Row, frozen=True):
    """A call that a worker makes for a task that has ended; `worker_id` stops it."""

    task_id: UUID
    worker_id: UUID


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


def cancel_calls(task_ids: Sequence[UUID]) -> list[RunningCall]:
    """Cancel the open calls of tasks that end in the caller's transaction. Returns those that are
    being made."""
    if not task_ids:
        return []
    cancelled = fetch_rows(RunningCall, _CANCEL_CALLS, {"task_ids": list(task_ids)})
    return [call for call in cancelled if call.worker_id != _NO_WORKER]


def _json(rows: Sequence[dict[str, object]]) -> str:
    return msgspec.json.encode(rows, enc_hook=str).decode()
