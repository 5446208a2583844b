"""Undoing an import as a whole: its rows are deleted, and the cells that it changed get back what
they had.

What somebody has changed since stays: a row with another version, a cell with another value.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.utils import timezone
from psycopg import sql

from aily.database.long_transactions import long_transaction
from aily.database.rows import execute, fetch_column
from aily.problems import Conflict
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.changes import Author, Changed, record
from chat.tables.imports.staging import drop, new_column, old_column, present_value, undo_table
from chat.tables.models import Change, ChangeKind, Field, Import, Table, TransferState
from chat.tables.names import column, joined, links_table, rows_table, statement

_IS_KEPT = "SELECT to_regclass(%s) IS NOT NULL"
_DELETE = """
DELETE FROM {table} AS t USING {undo} AS u
 WHERE NOT u.is_known AND t.id = u.row_id AND t.version = 1
"""
_RESTORE = """
UPDATE {table} AS t SET {assigned}, version = t.version + 1, updated_at = now()
  FROM {undo} AS u WHERE u.is_known AND t.id = u.row_id AND ({changed})
"""
_RESTORE_LINKS = """
WITH mine AS MATERIALIZED (
  SELECT u.row_id, u.{old} AS others FROM {undo} AS u JOIN {table} AS t ON t.id = u.row_id
   WHERE u.is_known AND {present} IS NOT DISTINCT FROM u.{new}
     AND u.{new} IS DISTINCT FROM u.{old}),
cleared AS (
  DELETE FROM {links} AS l USING mine WHERE l.row_id = mine.row_id RETURNING l.row_id)
INSERT INTO {links} (row_id, other_id, pos)
SELECT mine.row_id, other.id, other.place - 1
  FROM mine CROSS JOIN LATERAL unnest(mine.others) WITH ORDINALITY AS other(id, place)
 -- The pairs of now are deleted before the first one is written.
 WHERE (SELECT count(*) FROM cleared) >= 0
"""


def undo_import(table: Table, author: Author, import_id: UUID) -> int | None:
    """Undo an import of this table. Returns the table's revision; None if there is no such import,
    or it cannot be undone any more. Raises Conflict, and django.db.Error."""
    with long_transaction():
        done = Import.objects.select_for_update(of=("self",)).filter(
            pk=import_id, table=table, state=TransferState.DONE, undone_at=None
        )
        job = done.first()
        if job is None or not _is_kept(import_id):
            return None
        fields = _fields(job)
        deleted = execute(
            statement(_DELETE, table=rows_table(table.pk), undo=undo_table(import_id))
        )
        restored = _restore(table, import_id, fields) if job.updated_rows else 0
        drop(undo_table(import_id))
        now = timezone.now()
        Import.objects.filter(pk=import_id).update(undone_at=now)
        Change.objects.filter(table=table, batch=import_id).update(undone_at=now)
        return record(
            table,
            author,
            Changed(ChangeKind.REVERT, added=-deleted, rows=deleted + restored),
        )


def _is_kept(import_id: UUID) -> bool:
    [is_kept] = fetch_column(bool, _IS_KEPT, [f"tables.u{import_id.hex}"])
    return is_kept


def _fields(job: Import) -> list[Field]:
    """The fields that it has filled and that are still what they were."""
    ids = [target for target in job.targets if target is not None]
    fields = list(Field.objects.filter(pk__in=ids))
    retyped = [field for field in fields if field.retype and field.column != field.key]
    if retyped or any((field.retype or {}).get("state") == "running" for field in fields):
        raise because(Conflict, Reason("kind_changed_since"))
    return fields


def _restore(table: Table, import_id: UUID, fields: Sequence[Field]) -> int:
    assigned = [_back(field) for field in fields if field.is_stored]
    changed = [
        sql.SQL(
            "({present} IS NOT DISTINCT FROM u.{new} AND u.{new} IS DISTINCT FROM u.{old})"
        ).format(present=present_value(field), new=new_column(field), old=old_column(field))
        for field in fields
    ]
    restored = execute(
        statement(
            _RESTORE,
            table=rows_table(table.pk),
            undo=undo_table(import_id),
            assigned=joined([*assigned]),
            changed=sql.SQL(" OR ").join(changed),
        )
    )
    # After the rows: their links are compared to find out whether a row has changed since.
    for field in fields:
        if not field.is_stored:
            _restore_links(table, import_id, field)
    return restored


def _restore_links(table: Table, import_id: UUID, field: Field) -> None:
    execute(
        statement(
            _RESTORE_LINKS,
            table=rows_table(table.pk),
            undo=undo_table(import_id),
            links=links_table(field.pk),
            present=present_value(field),
            new=new_column(field),
            old=old_column(field),
        )
    )


def _back(field: Field) -> sql.Composed:
    """The old value, unless somebody has changed the cell since."""
    template = """
{present} = CASE WHEN t.{present} IS NOT DISTINCT FROM u.{new} THEN u.{old} ELSE t.{present} END
"""
    return sql.SQL(template).format(
        present=column(field.column), new=new_column(field), old=old_column(field)
    )
