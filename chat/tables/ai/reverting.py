"""Taking a whole run back: its cells are what they were before it."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone
from psycopg import sql

from aily.database.long_transactions import long_transaction
from aily.database.rows import Row, fetch_rows
from aily.problems import Conflict
from chat.exceptions import because
from chat.models import RunState
from chat.models.runs import ENDED_RUNS
from chat.reasons import Reason
from chat.tables.changes import Author, Changed, record
from chat.tables.live import MAX_ROWS_OF_CHANGE
from chat.tables.models import AiRun, ChangeKind, Field, Table
from chat.tables.names import answers_table, column, joined, statement
from chat.tables.rows.answers import COLUMNS

_REVERT = """
WITH mine AS MATERIALIZED (
  SELECT a.* FROM {answers} a WHERE a.run = %(run_id)s AND a.edited_at IS NULL
   ORDER BY a.row_id FOR UPDATE),
before AS MATERIALIZED (
  SELECT DISTINCT ON (v.row_id) v.row_id, v.cell FROM tables_cellversion v
    JOIN mine m ON m.row_id = v.row_id
   WHERE v.ai_field_id = %(ai_field_id)s AND v.by_run = %(run_id)s AND v.reason = 'replaced'
   ORDER BY v.row_id, v.id),
kept AS (
  INSERT INTO tables_cellversion (ai_field_id, row_id, reason, by_user_id, by_run, cell, created_at)
  SELECT %(ai_field_id)s, row_id, 'reverted', %(user_id)s, %(run_id)s, to_jsonb(mine), now()
    FROM mine),
emptied AS (
  DELETE FROM {answers} a USING mine m
   WHERE a.row_id = m.row_id AND NOT EXISTS (SELECT FROM before b WHERE b.row_id = m.row_id)),
restored AS (
  UPDATE {answers} a SET ({columns}) = ROW({values})
    FROM before b, jsonb_populate_record(NULL::{answers}, b.cell) AS old
   WHERE a.row_id = b.row_id)
SELECT (SELECT count(*) FROM mine) AS rows,
       ARRAY(SELECT row_id FROM mine ORDER BY row_id LIMIT %(limit)s) AS row_ids
"""


class _Reverted(Row, frozen=True):
    """How many cells were given back, and the rows of the first of them."""

    rows: int
    row_ids: list[int]


def undo(table: Table, author: Author, batch: UUID) -> int | None:
    """`revert` for the undo of tables: the revision, or None where `batch` is no run of the table,
    or nothing of it is left. Raises Conflict until it has ended."""
    found = AiRun.objects.select_related("run", "table").filter(pk=batch, table=table).first()
    if found is None or author.user_id is None or not revert(found, author.user_id, author.client):
        return None
    table.refresh_from_db(fields=["rev"])
    return table.rev


def revert(ai_run: AiRun, user_id: int, client: str = "") -> int:
    """Give the cells that the run has filled what they held before, but for those that were edited
    or filled again since. Returns how many those were. Raises Conflict until the run has ended."""
    if ai_run.run.state not in (*ENDED_RUNS, RunState.PAUSED, RunState.READY):
        raise because(Conflict, Reason("end_run"), field="state")
    outputs = list(Field.objects.filter(ai_field=ai_run.ai_field_id).order_by("id"))
    names = [column(name) for name in (*COLUMNS, *(output.column for output in outputs))]
    parts: dict[str, sql.Composable] = {
        "answers": answers_table(ai_run.ai_field_id),
        "columns": joined([*names]),
        "values": joined([sql.SQL("old.{}").format(name) for name in names]),
    }
    params = {
        "run_id": ai_run.pk,
        "ai_field_id": ai_run.ai_field_id,
        "user_id": user_id,
        "limit": MAX_ROWS_OF_CHANGE + 1,
    }
    with long_transaction():
        [reverted] = fetch_rows(_Reverted, statement(_REVERT, **parts), params)
        AiRun.objects.filter(pk=ai_run.pk).update(reverted_at=timezone.now())
        if reverted.rows:
            changed = Changed(
                ChangeKind.REVERT,
                row_ids=reverted.row_ids,
                field_ids=[output.pk for output in outputs],
                rows=reverted.rows,
            )
            record(ai_run.table, Author(user_id, client, ai_run.pk), changed)
    return reverted.rows
