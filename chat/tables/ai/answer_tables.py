"""The PostgreSQL table of an AI field's answers: one row a cell, with its provenance.

A cell that was never filled has no row. Rows of the table that are deleted keep their answers until
`purge` deletes them: taking the deletion back brings them back as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from aily.database.rows import execute
from chat.tables.ddl import column_type
from chat.tables.models import AiField, Field
from chat.tables.names import answers_table, column, rows_table, statement

#: Outputs that an AI field has had, deleted ones included.
MAX_OUTPUTS_EVER = 200
#: Answers of deleted rows are deleted after so long.
KEPT_DAYS = 8

_CREATE = """
CREATE TABLE {table} (
  row_id bigint PRIMARY KEY,
  state text NOT NULL,
  digest bytea, config bytea,
  run uuid, task uuid, last_task uuid,
  model bigint, served_from text, attempts integer,
  tokens_in bigint NOT NULL DEFAULT 0, tokens_out bigint NOT NULL DEFAULT 0,
  cost numeric NOT NULL DEFAULT 0, currency text NOT NULL DEFAULT '',
  at timestamptz, error jsonb,
  edited_at timestamptz, edited_by bigint,
  thumb smallint, verdict smallint, note text, reviewed_by bigint, reviewed_at timestamptz
) WITH (fillfactor = 90)
"""
_ADD = "ALTER TABLE {table} ADD COLUMN {column} {type}"
_PURGE = """
DELETE FROM {answers} a WHERE NOT EXISTS (SELECT FROM {rows} t WHERE t.id = a.row_id)
   AND coalesce(greatest(a.at, a.edited_at), '-infinity') < now() - make_interval(days => %s)
"""


def create(ai_field: AiField, outputs: Sequence[Field]) -> None:
    """Create the table with the columns of these outputs."""
    execute(statement(_CREATE, table=answers_table(ai_field.pk)))
    for output in outputs:
        add_output(ai_field, output)


def add_output(ai_field: AiField, output: Field) -> None:
    parts: dict[str, sql.Composable] = {
        "table": answers_table(ai_field.pk),
        "column": column(output.column),
        "type": column_type(output.kind),
    }
    execute(statement(_ADD, **parts))


def purge(ai_field: AiField) -> int:
    """Delete old answers of rows that are not there any more. Returns how many."""
    parts = {"answers": answers_table(ai_field.pk), "rows": rows_table(ai_field.table_id)}
    return execute(statement(_PURGE, **parts), [KEPT_DAYS])
