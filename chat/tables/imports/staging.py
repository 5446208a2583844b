"""The PostgreSQL table in which an import's rows wait until all of them are checked."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from psycopg import sql

from aily.database.rows import execute
from chat.tables.ddl import column_type
from chat.tables.models import Field, Kind
from chat.tables.names import SCHEMA, column, ids_sequence, joined, links_table, statement

_CREATE = """
CREATE TABLE {staging} (
  line bigint NOT NULL, row_id bigint NOT NULL DEFAULT nextval({sequence}),
  is_known boolean NOT NULL DEFAULT false, {columns})
"""
_LINKED = """
(SELECT array_agg(l.other_id ORDER BY l.pos) FROM {links} AS l WHERE l.row_id = t.id)
"""


def staging_table(import_id: UUID) -> sql.Identifier:
    return sql.Identifier(SCHEMA, f"i{import_id.hex}")


def undo_table(import_id: UUID) -> sql.Identifier:
    """What an import has written, and what was there before."""
    return sql.Identifier(SCHEMA, f"u{import_id.hex}")


def new_column(field: Field) -> sql.Identifier:
    """The column of a field's new values."""
    return column(f"c{field.pk}")


def old_column(field: Field) -> sql.Identifier:
    """The column of the values that a known row had before."""
    return column(f"w{field.pk}")


def present_value(field: Field) -> sql.Composable:
    """What the row `t` has in a field now; of a link the ids of the linked rows, in their order."""
    if field.kind != Kind.LINK:
        return sql.SQL("t.{}").format(column(field.column))
    return sql.SQL(_LINKED).format(links=links_table(field.pk))


def _type_of(field: Field) -> sql.SQL:
    """Of the columns of a field's values. Of a link they are the ids of the linked rows."""
    return sql.SQL("bigint[]") if field.kind == Kind.LINK else column_type(field.kind)


def create_staging(
    import_id: UUID, table_id: int, fields: Sequence[Field], *, keeps_old: bool
) -> None:
    """Create the table, empty, in place of one that a worker left behind. `keeps_old`: rows that
    are known will be changed, and what they had is kept."""
    drop(staging_table(import_id))
    names = (new_column, old_column) if keeps_old else (new_column,)
    columns = [
        sql.SQL("{} {}").format(name(field), _type_of(field)) for field in fields for name in names
    ]
    sequence = sql.SQL("{}::regclass").format(sql.Literal(ids_sequence(table_id)))
    execute(
        statement(
            _CREATE,
            staging=staging_table(import_id),
            sequence=sequence,
            columns=joined([*columns]),
        )
    )


def drop(*tables: sql.Identifier) -> None:
    execute(statement("DROP TABLE IF EXISTS {tables}", tables=joined([*tables])))
