"""Writing answers by hand: a cell that a person has edited is theirs until they ask for another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from psycopg import sql

from aily.database.rows import execute
from chat.tables.ddl import column_type
from chat.tables.models import Field
from chat.tables.names import answers_table, column, statement
from chat.tables.values import Cell, to_json

_WRITE = """
WITH given AS MATERIALIZED (
  SELECT v.* FROM json_to_recordset(%(cells)s) AS v(row_id bigint {types}) ORDER BY v.row_id),
old AS MATERIALIZED (
  SELECT a.* FROM {answers} a JOIN given g ON g.row_id = a.row_id ORDER BY a.row_id FOR UPDATE OF a),
versions AS (
  INSERT INTO tables_cellversion (ai_field_id, row_id, reason, by_user_id, cell, created_at)
  SELECT %(ai_field_id)s, o.row_id, 'edited', %(user_id)s, to_jsonb(o), now() FROM old o
   WHERE o.at IS NOT NULL OR o.edited_at IS NOT NULL)
INSERT INTO {answers} AS a (row_id, state, edited_at, edited_by {columns})
SELECT row_id, 'edited', now(), %(user_id)s {given} FROM given
ON CONFLICT (row_id) DO UPDATE SET
       state = 'edited', edited_at = excluded.edited_at, edited_by = excluded.edited_by,
       error = NULL {updates}
"""


def write(
    user_id: int, fields: Mapping[int, Field], cells: Mapping[int, Mapping[int, Cell]]
) -> None:
    """Write cells of outputs, by row and field, in the caller's transaction.

    One statement for each AI field and set of its outputs that is written together.
    """
    groups: dict[tuple[int, ...], dict[int, Mapping[int, Cell]]] = {}
    for row_id, values in cells.items():
        by_filler: dict[int, dict[int, Cell]] = {}
        for field_id, cell in values.items():
            filler = fields[field_id].ai_field_id
            if filler is not None:
                by_filler.setdefault(filler, {})[field_id] = cell
        for written in by_filler.values():
            groups.setdefault(tuple(sorted(written)), {})[row_id] = written
    for field_ids, rows in groups.items():
        _write(user_id, [fields[field_id] for field_id in field_ids], rows)


def _write(
    user_id: int, outputs: Sequence[Field], rows: Mapping[int, Mapping[int, Cell]]
) -> None:
    columns = [column(output.column) for output in outputs]
    types = [
        sql.SQL(", {} {}").format(column(output.column), column_type(output.kind))
        for output in outputs
    ]
    ai_field_id = outputs[0].ai_field_id
    assert ai_field_id is not None
    cells = [
        {"row_id": row_id, **{output.column: to_json(values[output.pk]) for output in outputs}}
        for row_id, values in rows.items()
    ]
    write = statement(
        _WRITE,
        answers=answers_table(ai_field_id),
        types=sql.SQL("").join(types),
        columns=_each(", {}", columns),
        given=_each(", {}", columns),
        updates=_each(", {0} = excluded.{0}", columns),
    )
    encoded = msgspec.json.encode(cells, enc_hook=str).decode()
    params = {"cells": encoded, "ai_field_id": ai_field_id, "user_id": user_id}
    execute(write, params)


def _each(template: str, columns: Sequence[sql.Identifier]) -> sql.Composable:
    return sql.SQL("").join(sql.SQL(template).format(each) for each in columns)  # type: ignore[arg-type]
