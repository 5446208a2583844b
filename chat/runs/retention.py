"""Deleting runs: by their owner, or when they are old. Their tasks go with the next purge."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from aily.database.rows import execute
from chat.models import Run, StoredFile
from chat.models.ids import first_id
from chat.models.runs import ENDED_RUNS

#: Rows deleted by one statement.
PAGE = 5_000
#: For how long one turn of the schedule deletes.
SCHEDULED_SECONDS = 20.0

_DELETE_ROWS = """
DELETE FROM chat_runrow WHERE run_id = %(run_id)s AND number IN (
  SELECT number FROM chat_runrow WHERE run_id = %(run_id)s LIMIT %(limit)s)
"""


def delete_rows(run_id: UUID) -> None:
    """Delete the rows of a run, a page a statement, and its file, which only its rows need."""
    while execute(_DELETE_ROWS, {"run_id": run_id, "limit": PAGE}):
        pass
    files = Run.objects.filter(pk=run_id, kind="run", input_file__isnull=False)
    for file_id in files.values_list("input_file", flat=True):
        if file_id is not None:
            StoredFile.objects.filter(pk=file_id).delete()


def delete_run(run_id: UUID) -> None:
    """Delete a run that has ended: it may be stopped and repeated."""
    delete_rows(run_id)
    Run.objects.filter(pk=run_id, state__in=ENDED_RUNS).delete()


def purge_scheduled() -> int:
    """Delete runs that ended more than RUN_RETENTION_DAYS ago, as many as SCHEDULED_SECONDS allow.
    Returns how many."""
    if not settings.RUN_RETENTION_DAYS:
        return 0
    deadline = time.monotonic() + SCHEDULED_SECONDS
    deleted = 0
    for run_id in _ended_before(timezone.now() - timedelta(days=settings.RUN_RETENTION_DAYS)):
        delete_run(run_id)
        deleted += 1
        if time.monotonic() > deadline:
            break
    return deleted


def _ended_before(cutoff: datetime) -> list[UUID]:
    old = Run.objects.filter(state__in=ENDED_RUNS, pk__lt=first_id(cutoff), ended_at__lt=cutoff)
    return list(old.order_by("id").values_list("pk", flat=True)[:1000])
