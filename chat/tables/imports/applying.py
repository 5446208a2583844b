"""Applying: in one transaction, the rows that were loaded become rows of the table.

The import's end, its counts and its webhooks are part of it: a worker that dies has done all of it
or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from django.utils import timezone
from psycopg import sql
from pydantic import JsonValue

from aily.database.long_transactions import long_transaction
from aily.database.rows import execute, fetch_column
from chat.models import StoredFile
from chat.tables.changes import Author, Changed, record
from chat.tables.imports import announcing
from chat.tables.imports.loading import Loaded
from chat.tables.imports.staging import (
    drop,
    new_column,
    old_column,
    present_value,
    staging_table,
    undo_table,
)
from chat.tables.models import ChangeKind, Field, Import, ImportMode, Table, TransferState
from chat.tables.names import column, joined, links_table, rows_table, statement
from chat.tables.rows.batch import lock_key
from chat.tables.transfers.leases import Lease, LeaseLostError

#: How long the report, and what undoes an import, are kept.
KEPT = timedelta(days=7)
#: Changed rows that are announced by their ids; of more, readers load all they show.
MAX_ANNOUNCED = 1_000

_LOCK_TABLE = "SELECT id FROM tables_table WHERE id = %s AND deleted_at IS NULL FOR KEY SHARE"
#: Of rows with the same key the last one counts, as if they came one after the other; of those
#: that are only added, the first.
_DROP_REPEATED = """
DELETE FROM {staging} AS s USING (
  SELECT row_id, row_number() OVER (PARTITION BY {key} ORDER BY row_id {order}) AS place
    FROM {staging}) AS ranked
 WHERE s.row_id = ranked.row_id AND ranked.place > 1
"""
_MATCH = """
UPDATE {staging} AS s SET is_known = true, row_id = t.id{old}
  FROM (SELECT s.row_id, min(t.id) AS id FROM {staging} AS s
          JOIN {table} AS t ON t.{column} = s.{key} GROUP BY s.row_id) AS found,
       {table} AS t
 WHERE s.row_id = found.row_id AND t.id = found.id
"""
_LOCK_KNOWN = """
SELECT count(*) FROM (SELECT t.id FROM {table} AS t JOIN {staging} AS s ON s.row_id = t.id
  WHERE s.is_known ORDER BY t.id FOR NO KEY UPDATE OF t) AS locked
"""
_UPDATE = """
UPDATE {table} AS t SET {assigned}, version = t.version + 1, updated_at = now()
  FROM {staging} AS s WHERE s.is_known AND t.id = s.row_id AND ({differs})
"""
_INSERT = """
INSERT INTO {table} (id, pos{columns})
SELECT row_id, row_id{values} FROM {staging} WHERE NOT is_known ORDER BY row_id
"""
#: Pairs of rows that are new or whose links differ.
_CLEAR_LINKS = """
DELETE FROM {links} AS l USING {staging} AS s
 WHERE s.is_known AND l.row_id = s.row_id AND s.{new} IS DISTINCT FROM s.{old}
"""
_ADD_LINKS = """
INSERT INTO {links} (row_id, other_id, pos)
SELECT s.row_id, other.id, other.place - 1
  FROM {staging} AS s CROSS JOIN LATERAL unnest(s.{new}) WITH ORDINALITY AS other(id, place)
 WHERE NOT s.is_known OR {changed}
"""
_KEEP_UNDO = """
CREATE TABLE {undo} AS SELECT row_id, is_known{columns} FROM {staging}
"""
_ROW_IDS = "SELECT row_id FROM {staging} ORDER BY row_id LIMIT %s"


@dataclass(slots=True)
class _Counts:
    created: int = 0
    updated: int = 0
    skipped: int = 0


def apply(job: Import, lease: Lease, loaded: Loaded) -> None:
    """running → done. Raises LeaseLostError, TableFull, NotFound, and django.db.Error."""
    with long_transaction():
        _lock(job, lease)
        table = Table.objects.get(pk=cast("int", job.table_id))
        work = _Work(job, table, loaded)
        counts = work.write()
        work.add_choices()
        changed = work.changed_rows()
        is_named = len(changed) <= MAX_ANNOUNCED
        done = Changed(
            ChangeKind.IMPORT,
            row_ids=changed if is_named else (),
            # Without fields: there are new rows.
            field_ids=[field.pk for field in loaded.fields] if not counts.created else (),
            added=counts.created,
            changes_schema=work.adds_choices,
            rows=counts.created + counts.updated,
        )
        if job.new_table:
            drop(staging_table(job.pk))
        else:
            work.keep_undo()
        _end(job, loaded, counts)
        record(table, Author(job.owner_id, batch=job.pk), done)


def _lock(job: Import, lease: Lease) -> None:
    """Lock the import, which no other worker may have, and its table as writers do."""
    own = Import.objects.select_for_update().filter(
        pk=job.pk, lease=lease.token, state=TransferState.RUNNING
    )
    if not own.exists():
        raise LeaseLostError
    execute(_LOCK_TABLE, [job.table_id])
    if job.key_field is not None and job.mode != ImportMode.APPEND:
        lock_key(job.key_field)


class _Work:
    """The statements of one import."""

    def __init__(self, job: Import, table: Table, loaded: Loaded) -> None:
        self._job = job
        self._table = rows_table(table.pk)
        self._staging = staging_table(job.pk)
        self._fields = loaded.fields
        #: Those with a column, and the others.
        self._stored = [field for field in loaded.fields if field.is_stored]
        self._links = [field for field in loaded.fields if not field.is_stored]
        self._choices = loaded.choices
        self.adds_choices = any(known.added for known in loaded.choices.values())

    def write(self) -> _Counts:
        counts = _Counts()
        if self._job.mode != ImportMode.APPEND:
            self._match(counts)
        if self._job.mode == ImportMode.UPSERT:
            counts.updated += self._update()
        counts.created = self._insert()
        for field in self._links:
            self._write_links(field)
        return counts

    def _match(self, counts: _Counts) -> None:
        """Find the rows whose key is in the table."""
        key = next(field for field in self._fields if field.pk == self._job.key_field_id)
        is_upsert = self._job.mode == ImportMode.UPSERT
        repeated = self._run(
            _DROP_REPEATED,
            key=new_column(key),
            order=sql.SQL("DESC" if is_upsert else "ASC"),
        )
        old = sql.SQL("").join(
            sql.SQL(", {} = {}").format(old_column(field), present_value(field))
            for field in (self._fields if is_upsert else ())
        )
        known = self._run(_MATCH, key=new_column(key), column=column(key.column), old=old)
        if is_upsert:
            counts.updated += repeated
            self._run(_LOCK_KNOWN)
        else:
            counts.skipped += repeated + known

    def _update(self) -> int:
        assigned = [
            sql.SQL("{} = s.{}").format(column(field.column), new_column(field))
            for field in self._stored
        ]
        differs = sql.SQL(" OR ").join(
            sql.SQL("{} IS DISTINCT FROM s.{}").format(present_value(field), new_column(field))
            for field in self._fields
        )
        return self._run(_UPDATE, assigned=joined([*assigned]), differs=differs)

    def _insert(self) -> int:
        return self._run(
            _INSERT,
            columns=_listed([column(field.column) for field in self._stored]),
            values=_listed([new_column(field) for field in self._stored]),
        )

    def _write_links(self, field: Field) -> None:
        """Give the rows their links, in place of those that they have."""
        is_upsert = self._job.mode == ImportMode.UPSERT
        names = {"links": links_table(field.pk), "new": new_column(field)}
        changed: sql.Composable = sql.SQL("false")
        if is_upsert:
            old = old_column(field)
            self._run(_CLEAR_LINKS, old=old, **names)
            changed = sql.SQL("s.{} IS DISTINCT FROM s.{}").format(names["new"], old)
        self._run(_ADD_LINKS, changed=changed, **names)

    def add_choices(self) -> None:
        """Add to selects the choices that the file has brought."""
        for field_id, known in self._choices.items():
            if not known.added:
                continue
            field = Field.objects.select_for_update().get(pk=field_id)
            present = cast("list[JsonValue]", field.options.get("choices", []))
            field.options = {
                **field.options,
                "choices": [*present, *cast("list[JsonValue]", known.added)],
                "next_id": known.next_id,
            }
            field.save(update_fields=["options", "updated_at"])

    def changed_rows(self) -> list[int]:
        """The ids of all rows of the import, MAX_ANNOUNCED + 1 at most."""
        read = statement(_ROW_IDS, staging=self._staging)
        return fetch_column(int, read, [MAX_ANNOUNCED + 1])

    def keep_undo(self) -> None:
        """Keep what was written and what was there before, of rows that were known."""
        is_upsert = self._job.mode == ImportMode.UPSERT
        columns = [
            sql.SQL("CASE WHEN is_known THEN {name} END AS {name}").format(name=name(field))
            for field in (self._fields if is_upsert else ())
            for name in (new_column, old_column)
        ]
        drop(undo_table(self._job.pk))
        if self._job.mode == ImportMode.SKIP:
            self._run("DELETE FROM {staging} WHERE is_known")
        self._run(_KEEP_UNDO, undo=undo_table(self._job.pk), columns=_listed([*columns]))
        drop(self._staging)

    def _run(self, template: str, **parts: sql.Composable) -> int:
        return execute(statement(template, table=self._table, staging=self._staging, **parts))


def _listed(parts: Sequence[sql.Composable]) -> sql.Composed:
    """The parts, each with a comma before it."""
    return sql.SQL("").join(sql.SQL(", {}").format(part) for part in parts)


def _end(job: Import, loaded: Loaded, counts: _Counts) -> None:
    now = timezone.now()
    report = loaded.report.store(job.owner_id, str(job.pk), now + KEPT)
    job.state, job.reason, job.message, job.reason_params = TransferState.DONE, "", "", None
    job.ended_at, job.report_file = now, report
    job.total = job.done = loaded.read_rows
    job.created_rows, job.updated_rows = counts.created, counts.updated
    job.skipped_rows, job.bad_rows = counts.skipped, loaded.report.bad_rows
    # They are not needed any more, and purged with other files that have expired.
    files = [file_id for file_id in (job.file_id, job.sheet_file_id) if file_id is not None]
    StoredFile.objects.filter(pk__in=files).update(expires_at=now)
    job.save(
        update_fields=[
            *("state", "reason", "message", "reason_params", "ended_at", "report_file"),
            *("total", "done", "created_rows", "updated_rows", "skipped_rows", "bad_rows"),
        ]
    )
    announcing.create_webhooks(job)
