"""The statements that write rows: one for all rows of a batch, whatever each of them changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
from psycopg import sql

from aily.database.rows import execute, fetch_column
from chat.tables.ddl import column_type
from chat.tables.names import column, ids_sequence, joined, rows_table, statement
from chat.tables.values import Cell

#: A column to write, by its name: the kind of its field.
Columns = Mapping[str, str]
#: By column, and `id`.
Values = Mapping[str, Cell]

_NEW_IDS = "SELECT nextval(%s::regclass) FROM generate_series(1, %s)"
_INSERT = """
INSERT INTO {table} (id, pos{columns}) SELECT id, coalesce(pos, id){columns}
  FROM json_to_recordset(%s::json) AS new(id bigint, pos double precision{types})
"""
_UPDATE = """
UPDATE {table} AS present SET {assigned}, version = version + 1, updated_at = now()
  FROM json_to_recordset(%s::json) AS new(id bigint{types}) WHERE present.id = new.id
"""
_TOUCH = "UPDATE {table} SET version = version + 1, updated_at = now() WHERE id = ANY(%s)"


def new_ids(table_id: int, count: int) -> list[int]:
    """Take ids of rows that will be inserted."""
    return fetch_column(int, _NEW_IDS, [ids_sequence(table_id), count]) if count else []


def insert_rows(table_id: int, columns: Columns, rows: Sequence[Values]) -> None:
    """Insert rows: `id`, `pos` if they have their place, and these columns."""
    insert = statement(
        _INSERT,
        table=rows_table(table_id),
        columns=sql.SQL("").join(sql.SQL(", {}").format(column(name)) for name in columns),
        types=_types(columns),
    )
    execute(insert, [_encode(rows)])


def update_rows(table_id: int, columns: Columns, rows: Sequence[Values]) -> None:
    """Set these columns of rows, each of which must name all of them."""
    if not columns:
        touch = statement(_TOUCH, table=rows_table(table_id))
        execute(touch, [[row["id"] for row in rows]])
        return
    assigned = joined([
        sql.SQL("{column} = new.{column}").format(column=column(name)) for name in columns
    ])  # fmt: skip
    update = statement(
        _UPDATE, table=rows_table(table_id), assigned=assigned, types=_types(columns)
    )
    execute(update, [_encode(rows)])


def delete_rows(table_id: int, ids: Collection[int]) -> None:
    delete = "DELETE FROM {table} WHERE id = ANY(%s)"
    execute(statement(delete, table=rows_table(table_id)), [list(ids)])


def _types(columns: Columns) -> sql.Composed:
    return sql.SQL("").join(
        sql.SQL(", {} {}").format(column(name), column_type(kind)) for name, kind in columns.items()
    )


def _encode(rows: Sequence[Values]) -> str:
    """Encode rows as JSON. A Decimal becomes a text, which PostgreSQL reads as the exact number."""
    return msgspec.json.encode(rows).decode()
