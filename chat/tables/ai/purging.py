"""Deletes what AI fields need no longer: fields in the trash with their runs, answers of rows that
are not there any more, and old versions of cells."""

from __future__ import annotations

import time
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone

from aily.concurrency.faults import note_fault
from aily.database.errors import is_outage
from aily.database.rows import execute
from chat.runs.retention import delete_run
from chat.tables.ai import answer_tables
from chat.tables.models import AiField, AiRun

#: For how long one turn deletes, and how many AI fields it checks.
SECONDS = 20.0
MAX_FIELDS = 1_000
PAGE = 5_000

_DELETE_VERSIONS = """
DELETE FROM tables_cellversion WHERE id IN (
  SELECT id FROM tables_cellversion WHERE created_at < %s ORDER BY id LIMIT %s)
"""


def purge() -> None:
    """Delete for SECONDS at the most; the next turn goes on."""
    deadline = time.monotonic() + SECONDS
    old = timezone.now() - timedelta(days=settings.TABLE_TRASH_DAYS)
    for ai_field in AiField.objects.filter(deleted_at__lt=old)[:MAX_FIELDS]:
        _drop(ai_field)
        if time.monotonic() > deadline:
            return
    _delete_versions(deadline)
    # Others each time: there may be more than one turn can check.
    for ai_field in AiField.objects.filter(deleted_at=None).order_by("?")[:MAX_FIELDS]:
        _delete_orphans(ai_field)
        if time.monotonic() > deadline:
            return


def _drop(ai_field: AiField) -> None:
    for run_id in AiRun.objects.filter(ai_field=ai_field).values_list("run_id", flat=True):
        delete_run(run_id)
    with transaction.atomic():
        ai_field.delete()


def _delete_versions(deadline: float) -> None:
    """Versions are kept as long as the log of changes."""
    if not settings.TABLE_CHANGES_DAYS:
        return
    before = timezone.now() - timedelta(days=settings.TABLE_CHANGES_DAYS)
    while execute(_DELETE_VERSIONS, [before, PAGE]) and time.monotonic() < deadline:
        pass


def _delete_orphans(ai_field: AiField) -> None:
    try:
        answer_tables.purge(ai_field)
    except DatabaseError as error:
        if is_outage(error):
            raise
        note_fault("answers of deleted rows")
