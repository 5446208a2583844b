"""Submitting: rows that are marked open become tasks; what is refused waits again, or fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import msgspec
from pydantic import ValidationError

from aily.database.rows import execute
from aily.problems import (
    IdempotencyMismatch,
    LimitReached,
    Problem,
    Unavailable,
    Unexpected,
)
from chat.models import Lane, Run, Status
from chat.runs.kinds import kind_of
from chat.runs.marking import OpenRow
from chat.services.output_formats import NeedsSchemaCheckError
from chat.services.rendering import check_schema_now, render_now
from chat.services.repeats import find_by_key
from chat.services.submission import TaskRequest
from chat.services.submit import Accepted, NeedsRenderingError, Submission, submit_many
from chat.services.validation import invalid_request_of

#: Rows of a page whose prompt is much work, rendered in other processes: each may take seconds, and
#: the lease must not run out meanwhile.
MAX_HEAVY_ROWS = 5

#: Refusals of rows that are simply fed later.
_PASSING = (LimitReached, Unavailable, NeedsRenderingError, NeedsSchemaCheckError)

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
