"""Feeding: pending rows become tasks while the window has room for them.

A row is marked open, with the id that its task will have, before the task is submitted: wherever a
process dies, the next one submits what was marked and is not there, under the same id and key. So
no row is paid for twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import transaction
from pydantic import ValidationError

from aily.database.rows import Row, execute, fetch_column, fetch_rows
from aily.database.threads import release_connections
from aily.problems import (
    IdempotencyMismatch,
    LimitReached,
    Problem,
    Unavailable,
    Unexpected,
)
from chat.models import Lane, LLMModel, Run, RunRow, RunState, Status
from chat.models.ids import tagged_id
from chat.runs.kinds import Prepared, kind_of
from chat.runs.leases import Lease
from chat.services.output_formats import NeedsSchemaCheckError
from chat.services.rendering import check_schema_now, render_now
from chat.services.repeats import find_by_key
from chat.services.submission import TaskRequest
from chat.services.submit import Accepted, NeedsRenderingError, Submission, submit_many
from chat.services.validation import invalid_request_of

#: Rows that become tasks by one batch of submits. More would hold the interpreter for longer, which
#: the worker's calls need as well.
PAGE = 50
#: Between two pages. A page of 50 rows takes 0.07 s.
MAX_REST_SECONDS = 0.2
#: Least and most tasks of a run in the queue or running; in between twice its model's cap. They are
#: more than run at once, as there is room for others only once ends are settled, every second.
MIN_WINDOW = 500
#: Rows of a page whose prompt is much work, rendered in other processes: each may take seconds, and
#: the lease must not run out meanwhile.
MAX_HEAVY_ROWS = 5

#: Before a row is looked at again that something else has to end for.
WAIT_SECONDS = 1.0

#: Refusals of rows that are simply fed later.
_PASSING = (LimitReached, Unavailable, NeedsRenderingError, NeedsSchemaCheckError)

#: Tasks of open rows that have not ended.
_UNFINISHED = """
SELECT count(*) FROM chat_runrow r JOIN chat_task t ON t.id = r.task_id
 WHERE r.run_id = %(run_id)s AND r.state = 'open'
   AND t.status IN ('queued', 'running', 'calling_tools', 'requires_action')
"""
_PICK = """
SELECT number, coalesce(payload, 'null')::text AS payload, key, generation + 1 AS generation
  FROM chat_runrow
 WHERE run_id = %(run_id)s AND state = 'pending' AND (not_before IS NULL OR not_before <= now())
       {condition}
 ORDER BY number LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
"""
_PICK_NEXT = _PICK.format(condition="")
_PICK_THESE = _PICK.format(condition="AND number = ANY(%(numbers)s)")
_OPEN = """
UPDATE chat_runrow r SET state = 'open', task_id = v.task_id, generation = r.generation + 1,
       not_before = NULL, error = NULL, ended_at = NULL
  FROM unnest(%(numbers)s::int[], %(task_ids)s::uuid[]) AS v(number, task_id)
 WHERE r.run_id = %(run_id)s AND r.number = v.number AND r.state = 'pending'
"""
_STORE_PAYLOADS = """
UPDATE chat_runrow r SET payload = v.payload, payload_bytes = octet_length(v.payload::text)
  FROM json_to_recordset(%(payloads)s) AS v(number int, payload jsonb)
 WHERE r.run_id = %(run_id)s AND r.number = v.number
"""
_SKIP = """
WITH skipped AS (
  UPDATE chat_runrow r SET state = 'skipped', error = v.error, ended_at = now()
    FROM json_to_recordset(%(skipped)s) AS v(number int, error jsonb)
   WHERE r.run_id = %(run_id)s AND r.number = v.number AND r.state = 'pending' RETURNING 1)
UPDATE chat_run SET pending = pending - n, skipped = skipped + n
  FROM (SELECT count(*) AS n FROM skipped) counted WHERE id = %(run_id)s
"""
_WAIT = """
UPDATE chat_runrow SET not_before = now() + make_interval(secs => %(seconds)s)
 WHERE run_id = %(run_id)s AND number = ANY(%(numbers)s) AND state = 'pending'
"""
_LOCK_RUN = """
SELECT id FROM chat_run
 WHERE id = %(run_id)s AND fed_by = %(token)s AND state = ANY(%(states)s) FOR NO KEY UPDATE
"""
_COUNT_OPEN = """
UPDATE chat_run SET open = open + %(rows)s, pending = pending - %(rows)s WHERE id = %(run_id)s
"""
_PUT_BACK = """
WITH back AS (
  UPDATE chat_runrow SET state = 'pending', task_id = NULL
   WHERE run_id = %(run_id)s AND task_id = ANY(%(task_ids)s) AND state = 'open' RETURNING 1)
UPDATE chat_run SET open = open - n, pending = pending + n
  FROM (SELECT count(*) AS n FROM back) counted WHERE id = %(run_id)s
"""
_FAIL = """
WITH wrong AS (
  UPDATE chat_runrow r SET state = 'failed', task_id = NULL, ended_at = now(), error = v.error
    FROM json_to_recordset(%(errors)s) AS v(task_id uuid, error jsonb)
   WHERE r.run_id = %(run_id)s AND r.task_id = v.task_id AND r.state = 'open'
  RETURNING r.error->>'code' AS code)
UPDATE chat_run SET open = open - n, failed = failed + n, failing_streak = failing_streak + n,
       failing_code = coalesce(code, failing_code)
  FROM (SELECT count(*) AS n, max(code) AS code FROM wrong) counted WHERE id = %(run_id)s
"""
_RELINK = """
UPDATE chat_runrow SET task_id = %(made)s
 WHERE run_id = %(run_id)s AND task_id = %(meant)s AND state = 'open'
"""
_LOST = """
SELECT r.number, coalesce(r.payload, 'null')::text AS payload, r.key, r.generation, r.task_id
  FROM chat_runrow r LEFT JOIN chat_task t ON t.id = r.task_id
 WHERE r.run_id = %(run_id)s AND r.state = 'open' AND t.id IS NULL
 ORDER BY r.number LIMIT %(limit)s
"""


class _Picked(Row, frozen=True):
    number: int
    #: JSON.
    payload: str
    key: str
    generation: int


class _Lost(Row, frozen=True):
    number: int
    payload: str
    key: str
    generation: int
    task_id: UUID


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A row that is marked open, and the id that its task gets."""

    row: RunRow
    task_id: UUID

    @property
    def idempotency_key(self) -> str:
        return f"run:{self.row.run_id}:{self.row.number}:{self.row.generation}"


@dataclass(slots=True)
class Fed:
    """What came of feeding a page."""

    accepted: int = 0
    #: There is no room for more at the moment.
    must_wait: bool = False
    #: Why no row can be fed before a person does something.
    obstacle: Problem | None = None
    errors: list[dict[str, object]] = field(default_factory=list)
    back: list[UUID] = field(default_factory=list)


def feed(run: Run, lease: Lease, most: int | None = None) -> Problem | None:
    """Feed rows until the window is full, none is pending, or something is in the way: that is
    returned if it does not pass by itself. `most`: so many at the most. Raises LeaseLostError."""
    room = window_of(run) - _count_unfinished(run)
    if most is not None:
        room = min(room, most)
    began = time.monotonic()
    while room > 0:
        limit = affordable(run, min(room, PAGE))
        if limit <= 0:
            return None
        try:
            rows = take(run, lease, limit)
        except Problem as obstacle:
            return obstacle
        if not rows:
            return None
        fed = submit_rows(run, rows)
        if fed.obstacle is not None or fed.must_wait:
            return fed.obstacle
        room -= fed.accepted
        run.refresh_from_db()
        if run.state != RunState.RUNNING:
            return None
        if room > 0 and run.pending:
            rest(time.monotonic() - began)
            began = time.monotonic()
    return None


def rest(page_seconds: float) -> None:
    """Let the calls of this process go on, after a page that took so long: feeding has half of the
    interpreter's time at the most."""
    release_connections()
    time.sleep(min(page_seconds, MAX_REST_SECONDS))


def window_of(run: Run) -> int:
    """How many tasks of the run may be in the queue or running; the owner's runs share it."""
    limit = min(settings.RUN_WINDOW, max(MIN_WINDOW, 2 * cap_of(run.model_id)))
    if run.max_open:
        limit = min(limit, run.max_open)
    running = Run.objects.filter(owner=run.owner_id, state=RunState.RUNNING).count()
    return max(limit // max(running, 1), 1)


def cap_of(model_id: int | None) -> int:
    """Calls at once of all deployments of a model; 0 where there is none."""
    models = LLMModel.objects.with_deployments().filter(pk=model_id or 0)
    return sum(row.max_concurrency for model in models for row in model.all_deployments())


def affordable(run: Run, rows: int) -> int:
    """How many of `rows` may be fed before `max_cost` is reached by what is spent and in flight."""
    if run.max_cost is None:
        return rows
    left = run.max_cost - run.cost
    if left <= 0:
        return 0
    average = run.cost / run.ended_rows if run.ended_rows and run.cost else run.row_cost
    if not average:
        return rows
    fitting = int((left - average * run.open) // average)
    # The last of the money is spent row by row: what an average says of one row is not certain.
    return min(rows, fitting) if fitting > 0 else int(run.open == 0)


def _count_unfinished(run: Run) -> int:
    [count] = fetch_column(int, _UNFINISHED, {"run_id": run.pk})
    return count


# --- Marking ------------------------------------------------------------------------------------
def take(
    run: Run,
    lease: Lease,
    limit: int,
    *,
    numbers: Sequence[int] | None = None,
    states: Sequence[RunState] = (RunState.RUNNING,),
) -> list[OpenRow]:
    """Mark pending rows as open: the next ones, or these `numbers`. None if the run is in no state
    of `states` any more. Raises LeaseLostError, or Problem if no row of the run can be asked."""
    params = {
        "run_id": run.pk,
        "token": lease.token,
        "limit": limit,
        "numbers": list(numbers or ()),
        "states": [state.value for state in states],
    }
    while True:
        with transaction.atomic():
            lease.renew()
            if not fetch_column(UUID, _LOCK_RUN, params):
                return []
            picked = fetch_rows(_Picked, _PICK_NEXT if numbers is None else _PICK_THESE, params)
            if not picked:
                return []
            prepared = kind_of(run).prepare(run, [_row(run, found) for found in picked])
            opened = _open(run, prepared)
        # A page of which all rows were skipped is followed by the next one.
        if opened or prepared.waiting or numbers is not None:
            return opened


def _open(run: Run, prepared: Prepared) -> list[OpenRow]:
    """Mark rows as open, or skipped, or to be looked at later, in the transaction that has locked
    them."""
    if prepared.skipped:
        skipped = [{"number": number, "error": why} for number, why in prepared.skipped.items()]
        encoded = msgspec.json.encode(skipped).decode()
        execute(_SKIP, {"run_id": run.pk, "skipped": encoded})
    if prepared.waiting:
        waiting = {"run_id": run.pk, "numbers": prepared.waiting, "seconds": WAIT_SECONDS}
        execute(_WAIT, waiting)
    rows = prepared.rows
    if not rows:
        return []
    if prepared.payloads:
        payloads = [
            {"number": number, "payload": msgspec.Raw(payload.encode())}
            for number, payload in prepared.payloads.items()
        ]
        encoded = msgspec.json.encode(payloads).decode()
        execute(_STORE_PAYLOADS, {"run_id": run.pk, "payloads": encoded})
    task_ids = [tagged_id() for _ in rows]
    numbers = [row.number for row in rows]
    execute(_OPEN, {"run_id": run.pk, "numbers": numbers, "task_ids": task_ids})
    execute(_COUNT_OPEN, {"run_id": run.pk, "rows": len(rows)})
    return [OpenRow(row, task_id) for row, task_id in zip(rows, task_ids, strict=True)]


def _row(run: Run, found: _Picked | _Lost) -> RunRow:
    return RunRow(
        run_id=run.pk,
        number=found.number,
        key=found.key,
        payload=msgspec.json.decode(found.payload),
        generation=found.generation,
    )


def submit_lost(run: Run, lease: Lease) -> None:
    """Submit open rows whose task is not there: the process that marked them has died."""
    while lost := fetch_rows(_Lost, _LOST, {"run_id": run.pk, "limit": PAGE}):
        lease.renew()
        fed = submit_rows(run, [OpenRow(_row(run, found), found.task_id) for found in lost])
        if not fed.accepted and not fed.errors:
            return


# --- Submitting ---------------------------------------------------------------------------------
def submit_rows(run: Run, rows: Sequence[OpenRow], lane: Lane | None = None) -> Fed:
    """Submit rows that are marked open. What is refused is pending again, or failed."""
    fed = Fed()
    asked: list[OpenRow] = []
    submissions: list[Submission] = []
    for row in rows:
        try:
            request = kind_of(run).request_of(run, row.row)
        except (Problem, ValidationError) as error:
            _refuse(run, fed, row, as_problem(error))
        else:
            asked.append(row)
            submissions.append(_submission(run, row, request, lane))
    outcomes = _submit(submissions)
    for row, outcome in zip(asked, outcomes, strict=True):
        if isinstance(outcome, Accepted):
            fed.accepted += 1
            if outcome.task_id != str(row.task_id):
                # Another process has submitted the row meanwhile.
                params = {"run_id": run.pk, "meant": row.task_id, "made": outcome.task_id}
                execute(_RELINK, params)
        else:
            _refuse(run, fed, row, outcome)
    _store_refused(run, fed)
    return fed


def _submission(run: Run, row: OpenRow, request: TaskRequest, lane: Lane | None) -> Submission:
    # The run's lane, whatever a row says: a run goes behind people.
    chosen = (lane or Lane(run.lane)).name.lower()
    return Submission(
        owner_id=run.owner_id,
        request=request.model_copy(update={"lane": chosen}),
        idempotency_key=row.idempotency_key,
        api_key_id=run.api_key_id,
        run_id=run.pk,
        task_id=row.task_id,
        deadline_at=run.deadline_at,
        is_version_pinned=run.scene_version is not None,
        shares_with_owner=run.shares_equal_rows,
    )


def _submit(submissions: Sequence[Submission]) -> list[Accepted | Exception]:
    """`submit_many`; prompts that are much work are rendered first, some of them."""
    outcomes = submit_many(submissions) if submissions else []
    _reuse_mismatched(submissions, outcomes)
    heavy = 0
    for place, outcome in enumerate(outcomes):
        if heavy >= MAX_HEAVY_ROWS:
            break
        if isinstance(outcome, NeedsRenderingError | NeedsSchemaCheckError):
            heavy += 1
            outcomes[place] = _submit_heavy(submissions[place], outcome)
    return outcomes


def _reuse_mismatched(
    submissions: Sequence[Submission], outcomes: list[Accepted | Exception]
) -> None:
    """A row whose key has made a task has that task, even if its options were changed since."""
    keys = {
        submission.owned_key: place
        for place, submission in enumerate(submissions)
        if submission.owned_key and isinstance(outcomes[place], IdempotencyMismatch)
    }
    for key, earlier in find_by_key(keys).items():
        outcomes[keys[key]] = Accepted(str(earlier.task_id), Status.QUEUED, is_new=False)


def _submit_heavy(
    submission: Submission, needed: NeedsRenderingError | NeedsSchemaCheckError
) -> Accepted | Exception:
    try:
        if isinstance(needed, NeedsSchemaCheckError):
            check_schema_now(needed.schema, submission.owner_id)
        else:
            variables = submission.request.variables
            rendered = render_now(needed.version, variables, submission.owner_id)
            submission = replace(submission, rendered=rendered)
    except Problem as problem:
        return problem
    [outcome] = submit_many([submission])
    return outcome


def as_problem(error: Exception) -> Problem:
    """The error of a row that cannot be sent."""
    if isinstance(error, Problem):
        return error
    if not isinstance(error, ValidationError):
        return Unexpected("Something went wrong here. It has been logged.")
    return invalid_request_of(error)


def _refuse(run: Run, fed: Fed, row: OpenRow, refusal: Exception) -> None:
    """Decide about a row that has no task: it waits, it fails, or all of the run waits."""
    if isinstance(refusal, _PASSING):
        fed.must_wait = True
        fed.back.append(row.task_id)
    elif kind_of(run).refuses_all(run, row.row, refusal):
        fed.obstacle = fed.obstacle or refusal  # type: ignore[assignment]
        fed.back.append(row.task_id)
    else:
        error = kind_of(run).error_of(run, as_problem(refusal))
        fed.errors.append({"task_id": row.task_id, "error": error})


def _store_refused(run: Run, fed: Fed) -> None:
    if fed.errors:
        errors = msgspec.json.encode(fed.errors, enc_hook=str).decode()
        execute(_FAIL, {"run_id": run.pk, "errors": errors})
    if fed.back:
        execute(_PUT_BACK, {"run_id": run.pk, "task_ids": fed.back})
