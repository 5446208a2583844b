"""Answers of tasks become cells, in the transaction that settles the tasks.

A statement an AI field and batch. An answer that is not the newest, or whose cell a person has
edited since it was asked for, becomes a version of the cell. So does what it replaces.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial
from uuid import UUID

import msgspec
from django.db import DatabaseError, transaction
from psycopg import sql

from aily.concurrency.faults import note_fault, surviving
from aily.database.errors import is_outage
from aily.database.rows import Row, fetch_column, fetch_rows
from aily.problems import Problem
from chat.models import RowState
from chat.models.task_states import REFUSAL
from chat.reasons import Reason
from chat.runs.kinds import RowResult
from chat.runs.results import fail_results
from chat.tables.ai.outputs import MisfitError, Output, outputs_of, read_answer
from chat.tables.changes import Author, Changed, record
from chat.tables.ddl import column_type
from chat.tables.models import AiRun, ChangeKind, Field
from chat.tables.names import answers_table, column, for_each, rows_table, statement

#: Finish reasons of answers that are none.
_REFUSALS = (REFUSAL, "content_filter")
#: Row states that say nothing of the cell.
_SILENT = (RowState.PENDING, RowState.CANCELLED)

_ANSWERS = """
SELECT r.number, r.key::bigint AS row_id, r.state, r.error::text AS error,
       r.prompt_tokens AS tokens_in, r.completion_tokens AS tokens_out, r.cost,
       encode(substring(sha256(convert_to(r.payload::text, 'UTF8')) from 1 for 16), 'hex')
         AS digest,
       t.id AS task, t.text, t.finish_reason,
       t.tool_calls <> '[]' AS has_tool_calls, t.model_id AS model, t.served_from,
       t.attempt AS attempts
  FROM chat_runrow r JOIN chat_task t ON t.id = r.task_id
 WHERE r.run_id = %(run_id)s AND r.number = ANY(%(numbers)s)
"""
_STORE = """
WITH given AS MATERIALIZED (
  SELECT v.* FROM json_to_recordset(%(cells)s) AS v(row_id bigint, digest text, task uuid,
         model bigint, served_from text, attempts int, tokens_in bigint,
         tokens_out bigint, cost numeric {output_types})
    JOIN {rows} t ON t.id = v.row_id ORDER BY v.row_id),
old AS MATERIALIZED (
  SELECT a.* FROM {answers} a JOIN given g ON g.row_id = a.row_id
   ORDER BY a.row_id FOR UPDATE OF a),
stored AS (
  INSERT INTO {answers} AS a (row_id, state, digest, config, run, task, last_task, model,
         served_from, attempts, tokens_in, tokens_out, cost, currency, at {outputs})
  SELECT row_id, 'done', decode(digest, 'hex'), %(config)s, %(run_id)s, task, task, model,
         served_from, attempts, tokens_in, tokens_out, cost, %(currency)s, now() {given_outputs}
    -- The old rows are read before the first one is written.
    FROM given WHERE (SELECT count(*) FROM old) >= 0
  ON CONFLICT (row_id) DO UPDATE SET
         state = 'done', digest = excluded.digest, config = excluded.config, run = excluded.run,
         task = excluded.task, last_task = excluded.last_task, model = excluded.model,
         served_from = excluded.served_from, attempts = excluded.attempts,
         tokens_in = excluded.tokens_in, tokens_out = excluded.tokens_out, cost = excluded.cost,
         currency = excluded.currency, at = excluded.at, error = NULL, edited_at = NULL,
         edited_by = NULL, thumb = NULL, verdict = NULL, note = NULL, reviewed_by = NULL,
         reviewed_at = NULL {updates}
   WHERE (a.last_task IS NULL OR a.last_task <= excluded.task)
     AND (a.edited_at IS NULL OR a.edited_at < %(overwritable)s)
  RETURNING a.row_id),
versions AS (
  INSERT INTO tables_cellversion (ai_field_id, row_id, reason, by_run, cell, created_at)
  SELECT %(ai_field_id)s, o.row_id, 'replaced', %(run_id)s, to_jsonb(o), now()
    FROM old o JOIN stored s ON s.row_id = o.row_id
   WHERE o.at IS NOT NULL OR o.edited_at IS NOT NULL
  UNION ALL
  SELECT %(ai_field_id)s, g.row_id, 'late', %(run_id)s,
         to_jsonb(g) || jsonb_build_object('run', %(run_id)s, 'at', now()), now()
    FROM given g WHERE NOT EXISTS (SELECT FROM stored s WHERE s.row_id = g.row_id))
SELECT row_id FROM stored
"""
_FAIL = """
INSERT INTO {answers} AS a (row_id, state, last_task, error)
SELECT v.row_id, 'failed', v.task, v.error
  FROM json_to_recordset(%(cells)s)
    AS v(row_id bigint, task uuid, error jsonb)
  JOIN {rows} t ON t.id = v.row_id ORDER BY v.row_id
ON CONFLICT (row_id) DO UPDATE SET
       state = 'failed', last_task = excluded.last_task, error = excluded.error
 WHERE (a.last_task IS NULL OR a.last_task <= excluded.last_task) AND a.edited_at IS NULL
RETURNING a.row_id
"""


class _Answered(Row, frozen=True):
    """A row of a run with the answer of its task, as far as it has one."""

    number: int
    row_id: int
    state: str
    #: JSON.
    error: str | None
    tokens_in: int
    tokens_out: int
    cost: Decimal
    digest: str
    task: UUID
    text: str
    finish_reason: str
    has_tool_calls: bool
    model: int
    served_from: str
    attempts: int


def store(results: Sequence[RowResult]) -> None:
    """Sink of the engine: store the answers of these rows, whichever runs they are of."""
    by_run: defaultdict[UUID, list[int]] = defaultdict(list)
    for result in results:
        if result.state not in _SILENT:
            by_run[result.run_id].append(result.number)
    ai_runs = AiRun.objects.select_related("ai_field", "table", "config", "run")
    for ai_run in ai_runs.filter(pk__in=by_run):
        _store_safely(ai_run, by_run[ai_run.pk])


def _store_safely(ai_run: AiRun, numbers: Sequence[int]) -> None:
    """Store the answers; where their cells cannot be, as a field was dropped in this moment, have
    the rows failed: others are settled by the same transaction."""
    try:
        with transaction.atomic():
            _store(ai_run, numbers)
    except DatabaseError as error:
        if is_outage(error):
            raise
        note_fault("storing answers in a table")
        wrong = {"code": "not_stored", "message": "The answer could not be stored in its cell."}
        fail_results(ai_run.pk, dict.fromkeys(numbers, wrong))


def _store(ai_run: AiRun, numbers: Sequence[int]) -> None:
    params = {"run_id": ai_run.pk, "numbers": list(numbers)}
    outputs = outputs_of(ai_run)
    answered, failed = [], []
    misfits: dict[int, dict[str, object]] = {}
    for row in fetch_rows(_Answered, _ANSWERS, params):
        if row.state != RowState.SUCCEEDED:
            error = msgspec.json.decode(row.error) if row.error else {"code": row.state}
            failed.append(_failure(row, error))
            continue
        try:
            answered.append((row, _values(row, outputs)))
        except MisfitError as misfit:
            misfits[row.number] = misfit.as_error(row.text)
            failed.append(_failure(row, misfits[row.number]))
    if misfits:
        fail_results(ai_run.pk, misfits)
    if ai_run.comparison_id is not None:
        return
    changed = [*_insert(ai_run, outputs, answered), *_fail(ai_run, failed)]
    if changed:
        transaction.on_commit(partial(_announce, ai_run, changed, outputs))


def _values(row: _Answered, outputs: Sequence[Output]) -> dict[str, object]:
    """What the answer has for each output's column. Raises MisfitError."""
    if row.finish_reason in _REFUSALS:
        raise MisfitError("refused", Reason.of("answer_refused", reason=row.finish_reason))
    if row.has_tool_calls:
        raise MisfitError("output_invalid", Reason.of("answer_tool_call"))
    return read_answer(row.text, outputs)


def _failure(row: _Answered, error: Mapping[str, object]) -> dict[str, object]:
    return {
        "row_id": row.row_id,
        "task": row.task,
        "error": {**error, "task": str(row.task)},
    }


# --- Statements ---------------------------------------------------------------------------------
def _insert(
    ai_run: AiRun,
    outputs: Sequence[Output],
    answered: Sequence[tuple[_Answered, Mapping[str, object]]],
) -> list[int]:
    """Store answers. Returns the ids of the rows whose cells changed."""
    if not answered:
        return []
    cells = [
        {**_provenance(row), **{output.column: values[output.column] for output in outputs}}
        for row, values in answered
    ]
    params = {
        "cells": msgspec.json.encode(cells, enc_hook=str).decode(),
        "config": bytes(ai_run.config.digest),
        "run_id": ai_run.pk,
        "ai_field_id": ai_run.ai_field_id,
        "currency": ai_run.run.currency,
        # Cells that were edited before, if the run was asked to fill these as well.
        "overwritable": ai_run.run.created_at if ai_run.overwrites_edited else None,
    }
    return fetch_column(int, _store_statement(ai_run, [o.field for o in outputs]), params)


def _provenance(row: _Answered) -> dict[str, object]:
    return {
        "row_id": row.row_id,
        "digest": row.digest,
        "task": row.task,
        "model": row.model,
        "served_from": row.served_from,
        "attempts": row.attempts,
        "tokens_in": row.tokens_in,
        "tokens_out": row.tokens_out,
        "cost": row.cost,
    }


def _store_statement(ai_run: AiRun, outputs: Sequence[Field]) -> str:
    columns = [column(output.column) for output in outputs]
    typed = [(column(output.column), column_type(output.kind)) for output in outputs]
    return statement(
        _STORE,
        rows=rows_table(ai_run.table_id),
        answers=answers_table(ai_run.ai_field_id),
        outputs=for_each(", {}", columns),
        given_outputs=for_each(", {}", columns),
        updates=for_each(", {0} = excluded.{0}", columns),
        output_types=sql.SQL("").join(sql.SQL(", {} {}").format(*pair) for pair in typed),
    )


def _fail(ai_run: AiRun, failed: Sequence[Mapping[str, object]]) -> list[int]:
    """Have cells say why they have no new answer; what they held stays."""
    if not failed:
        return []
    parts = {
        "rows": rows_table(ai_run.table_id),
        "answers": answers_table(ai_run.ai_field_id),
    }
    cells = msgspec.json.encode(list(failed), enc_hook=str).decode()
    return fetch_column(int, statement(_FAIL, **parts), {"cells": cells})


# --- Telling ------------------------------------------------------------------------------------
def _announce(ai_run: AiRun, row_ids: Sequence[int], outputs: Sequence[Output]) -> None:
    """Raise the table's revision in a transaction of its own: people who write to the table would
    wait for the settling otherwise."""
    with surviving("announcing answers in a table"):
        try:
            changed = Changed(
                ChangeKind.RUN,
                row_ids=sorted(row_ids),
                field_ids=[output.field.pk for output in outputs],
            )
            with transaction.atomic():
                record(ai_run.table, Author(ai_run.run.owner_id, batch=ai_run.pk), changed)
        except Problem:
            return  # the table is in the trash by now
