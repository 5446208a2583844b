"""Drops what was deleted long ago: tables and fields in the trash, and old changes of the log."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone

from aily.database.rows import execute
from aily.problems import NotFound
from chat.tables import ddl
from chat.tables.exceptions import TableBusy
from chat.tables.fields import drop_field
from chat.tables.models import Field, Table

#: Changes deleted by one statement, and for how long one turn deletes.
CHANGES_PAGE = 5_000
SCHEDULED_SECONDS = 20.0

_DELETE_CHANGES = """
DELETE FROM tables_change WHERE id IN (
  SELECT id FROM tables_change WHERE created_at < %s ORDER BY created_at LIMIT %s)
"""


def _cutoff() -> datetime:
    """What was deleted before this time is dropped."""
    return timezone.now() - timedelta(days=settings.TABLE_TRASH_DAYS)


def purge(limit: int = 100) -> int:
    """Drop tables and fields that were deleted TABLE_TRASH_DAYS ago, each in a transaction.

    Returns how many. Those that others hold are left for the next time.
    """
    dropped = 0
    for table in Table.objects.filter(deleted_at__lt=_cutoff())[:limit]:
        dropped += _drop_table(table)
    fields = Field.objects.filter(deleted_at__lt=_cutoff(), table__deleted_at=None)
    for field in fields[:limit]:
        dropped += _drop_field(field)
    return dropped


def _drop_table(table: Table) -> int:
    try:
        with transaction.atomic():
            table.delete()
    except DatabaseError as error:
        if not ddl.is_locked_out(error):
            raise
        return 0
    return 1


def _drop_field(field: Field) -> int:
    try:
        ddl.change_schema(field.table_id, lambda _: drop_field(field))
    except (TableBusy, NotFound):
        return 0
    return 1


# --- The log ------------------------------------------------------------------------------------
def purge_changes() -> int:
    """Delete changes older than TABLE_CHANGES_DAYS, as many as SCHEDULED_SECONDS allow."""
    before = timezone.now() - timedelta(days=settings.TABLE_CHANGES_DAYS)
    deadline = time.monotonic() + SCHEDULED_SECONDS
    deleted = 0
    while count := execute(_DELETE_CHANGES, [before, CHANGES_PAGE]):
        deleted += count
        if time.monotonic() > deadline:
            break
    return deleted
