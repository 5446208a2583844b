"""Cells that AI fields fill: reading what they hold, and writing them by hand. A cell that a person
has edited is theirs until they ask for another answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import cast

import msgspec
from psycopg import sql

from aily.database.rows import execute, fetch_tuples
from chat.tables.ddl import column_type
from chat.tables.models import Field
from chat.tables.names import answers_table, column, for_each, joined, statement
from chat.tables.values import Cell, database_reader, to_json

_WRITE = """
WITH given AS MATERIALIZED (
  SELECT v.* FROM json_to_recordset(%(cells)s) AS v(row_id bigint {types}) ORDER BY v.row_id),
old AS MATERIALIZED (
  SELECT a.* FROM {answers} a JOIN given g ON g.row_id = a.row_id
   ORDER BY a.row_id FOR UPDATE OF a),
versions AS (
  INSERT INTO tables_cellversion (ai_field_id, row_id, reason, by_user_id, cell, created_at)
  SELECT %(ai_field_id)s, o.row_id, 'edited', %(user_id)s, to_jsonb(o), now() FROM old o
   WHERE o.at IS NOT NULL OR o.edited_at IS NOT NULL)
INSERT INTO {answers} AS a (row_id, state, edited_at, edited_by {columns})
SELECT row_id, 'edited', now(), %(user_id)s {given} FROM given
 -- The old rows are read before the first one is written.
 WHERE (SELECT count(*) FROM old) >= 0
ON CONFLICT (row_id) DO UPDATE SET
       state = 'edited', edited_at = excluded.edited_at, edited_by = excluded.edited_by,
       error = NULL {updates}
"""


#: Columns of `a<id>` besides the outputs and `row_id`.
COLUMNS = (
    *("state", "digest", "config", "run", "task", "last_task", "model", "served_from", "attempts"),
    *("tokens_in", "tokens_out", "cost", "currency", "at", "error", "edited_at", "edited_by"),
    *("thumb", "verdict", "note", "reviewed_by", "reviewed_at"),
)
#: The newest version of a cell is the one that was just replaced: an edit. Where the one before is
#: an answer of the same values, that edit was undone.
_RESTORE = """
UPDATE {answers} a SET ({columns}) = ROW({values})
  FROM (SELECT row_id, cell, reason, row_number() OVER newest_first AS age,
               lag(cell->>'edited_at') OVER newest_first AS was_edited_at
          FROM tables_cellversion
         WHERE ai_field_id = %(ai_field_id)s AND row_id = ANY(%(row_ids)s)
        WINDOW newest_first AS (PARTITION BY row_id ORDER BY id DESC)) v,
       jsonb_populate_record(NULL::{answers}, v.cell) AS old
 WHERE a.row_id = v.row_id AND v.age = 2 AND v.was_edited_at IS NOT NULL
   AND v.reason = 'edited' AND old.edited_at IS NULL
   AND ROW({outputs}) IS NOT DISTINCT FROM ROW({old})
"""

#: Cells by the ids of their fields, by row.
Cells = Mapping[int, Mapping[int, Cell]]


def load_answers(fields: Iterable[Field], row_ids: Collection[int]) -> dict[int, dict[int, Cell]]:
    """What these rows hold in outputs of AI fields, by row and field. A query an AI field."""
    by_filler: defaultdict[int, list[Field]] = defaultdict(list)
    for field in fields:
        if field.ai_field_id is not None:
            by_filler[field.ai_field_id].append(field)
    found: defaultdict[int, dict[int, Cell]] = defaultdict(dict)
    for filler, outputs in by_filler.items():
        read = statement(
            "SELECT row_id{columns} FROM {answers} WHERE row_id = ANY(%s)",
            answers=answers_table(filler),
            columns=for_each(", {}", [column(output.column) for output in outputs]),
        )
        readers = [(output.pk, database_reader(output)) for output in outputs]
        for row_id, *values in fetch_tuples(read, [list(row_ids)]):
            for (pk, reader), value in zip(readers, values, strict=True):
                found[cast("int", row_id)][pk] = reader(value)
    return found


def write_answers(user_id: int | None, fields: Mapping[int, Field], cells: Cells) -> None:
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


def _write(user_id: int | None, outputs: Sequence[Field], rows: Cells) -> None:
    columns = [column(output.column) for output in outputs]
    types = [
        sql.SQL(", {} {}").format(column(output.column), column_type(output.kind))
        for output in outputs
    ]
    ai_field_id = cast("int", outputs[0].ai_field_id)
    cells = [
        {"row_id": row_id, **{output.column: to_json(values[output.pk]) for output in outputs}}
        for row_id, values in rows.items()
    ]
    write = statement(
        _WRITE,
        answers=answers_table(ai_field_id),
        types=sql.SQL("").join(types),
        columns=for_each(", {}", columns),
        given=for_each(", {}", columns),
        updates=for_each(", {0} = excluded.{0}", columns),
    )
    encoded = msgspec.json.encode(cells, enc_hook=str).decode()
    params = {"cells": encoded, "ai_field_id": ai_field_id, "user_id": user_id}
    execute(write, params)
    _restore(ai_field_id, list(rows))


def _restore(ai_field_id: int, row_ids: Sequence[int]) -> None:
    """Have cells that hold an answer of before again be that answer: an edit of it was undone."""
    outputs = Field.objects.filter(ai_field=ai_field_id).order_by("id")
    names = [column(name) for name in outputs.values_list("column", flat=True)]
    restored = [*map(column, COLUMNS), *names]
    restore = statement(
        _RESTORE,
        answers=answers_table(ai_field_id),
        columns=joined([*restored]),
        values=joined([sql.SQL("old.{}").format(name) for name in restored]),
        outputs=joined([sql.SQL("a.{}").format(name) for name in names]),
        old=joined([sql.SQL("old.{}").format(name) for name in names]),
    )
    execute(restore, {"ai_field_id": ai_field_id, "row_ids": list(row_ids)})
