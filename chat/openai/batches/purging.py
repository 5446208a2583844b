"""Deletes what ended batches need no longer: their rows, as all of them are lines of files."""

from __future__ import annotations

from chat.models import Run, RunRow
from chat.models.runs import ENDED_RUNS
from chat.runs.retention import delete_rows

#: Batches whose rows are deleted in one turn.
PAGE = 100


def purge_rows() -> int:
    """Delete the rows of ended batches. Returns of how many."""
    rows = RunRow.objects.filter(run__kind="batch", run__state__in=ENDED_RUNS)
    ended = Run.objects.filter(kind="batch", state__in=ENDED_RUNS, total__gt=0)
    run_ids = [
        run_id
        for run_id in ended.order_by("-id").values_list("pk", flat=True)[:PAGE]
        if rows.filter(run=run_id).exists()
    ]
    for run_id in run_ids:
        delete_rows(run_id)
    return len(run_ids)
