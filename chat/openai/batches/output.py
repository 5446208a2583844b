"""Writes the output file and the error file of a batch, once all of its rows have ended.

The rows are read in their order, a page at a time. Files are found only when both are whole; if the
process dies, the next one writes them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from aily.database.rows import fetch_rows
from chat.models import Batch, Run, Task
from chat.models.files import FileWriter
from chat.openai.batches.outcomes import EndedRow, line_of
from chat.openai.files.store import BATCH_FILES_KEPT, OUTPUT

#: Rows read at once, and bytes of their texts after which a page ends early.
PAGE = 200
PAGE_BYTES = 4_194_304
_ROWS = """
SELECT number, key, state, payload, error, task_id
  FROM (
  SELECT r.number, r.key, r.state, coalesce(r.payload, '{}')::text AS payload,
         r.error::text AS error, r.task_id,
         sum(r.payload_bytes + coalesce(octet_length(t.text), 0)
             + coalesce(octet_length(t.reasoning), 0)) OVER (ORDER BY r.number) AS size,
         row_number() OVER (ORDER BY r.number) AS place
    FROM (SELECT * FROM chat_runrow WHERE run_id = %(run_id)s AND number > %(after)s
           ORDER BY number LIMIT %(limit)s) r
    LEFT JOIN chat_task t ON t.id = r.task_id) page
 WHERE place = 1 OR size <= %(bytes)s
 ORDER BY number
"""


def write_files(run: Run, batch: Batch, between: Callable[[], None]) -> None:
    """Write both files, and link them. `between` is called after each row."""
    output = FileWriter(run.owner_id, f"{batch}_output.jsonl")
    errors = FileWriter(run.owner_id, f"{batch}_error.jsonl")
    tokens = {"cached_tokens": 0, "reasoning_tokens": 0}
    try:
        for row, task in _rows(run.pk):
            for name in tokens:
                tokens[name] += int((task.usage or {}).get(name) or 0) if task else 0
            has_succeeded, pieces = line_of(batch, row, task)
            for piece in pieces:
                (output if has_succeeded else errors).write(piece)
            between()
        output.flush()
        errors.flush()
        _link(batch, output, errors, tokens)
    except BaseException:
        output.discard()
        errors.discard()
        raise


def _rows(run_id: UUID) -> Iterator[tuple[EndedRow, Task | None]]:
    after = 0
    while True:
        params = {"run_id": run_id, "after": after, "limit": PAGE, "bytes": PAGE_BYTES}
        rows = fetch_rows(EndedRow, _ROWS, params)
        if not rows:
            return
        tasks = Task.objects.defer("messages", "params", "metadata").in_bulk(
            [row.task_id for row in rows if row.task_id is not None]
        )
        for row in rows:
            yield row, tasks.get(row.task_id) if row.task_id is not None else None
        after = rows[-1].number


def _link(batch: Batch, output: FileWriter, errors: FileWriter, tokens: dict[str, int]) -> None:
    seconds = batch.output_expires_seconds
    kept = timedelta(seconds=seconds) if seconds else BATCH_FILES_KEPT
    now = timezone.now()
    with transaction.atomic():
        linked = Batch.objects.filter(pk=batch.pk, written_at=None).update(
            output_file_id=output.file_id,
            error_file_id=errors.file_id,
            written_at=now,
            **tokens,
        )
        for writer in (output, errors):
            if linked and writer.file_id is not None:
                writer.publish(OUTPUT, now + kept)
    if not linked:
        # Another process was faster.
        output.discard()
        errors.discard()
