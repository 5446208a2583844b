"""Deletes what ended batches need no longer: their rows, as all of them are lines of files."""

from __future__ import annotations

from django.db.models import Exists, OuterRef

from chat.models import Run, RunRow
from chat.models.runs import ENDED_RUNS
from chat.runs.retention import delete_rows

#: Batches whose rows are deleted in one turn.
PAGE = 100


def purge_rows() -> int:
    """Delete the rows of ended batches. Returns of how many."""
    ended = Run.objects.filter(kind="batch", state__in=ENDED_RUNS)
    with_rows = ended.filter(Exists(RunRow.objects.filter(run=OuterRef("pk"))))
    run_ids = list(with_rows.order_by("id").values_list("pk", flat=True)[:PAGE])
    for run_id in run_ids:
        delete_rows(run_id)
    return len(run_ids)
