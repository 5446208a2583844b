"""Follows an import for the user whose it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial

from accounts.models import User
from chat.frames import ImportSubscribe
from chat.tables.frames import ImportProgress
from chat.tables.imports.control import load
from chat.tables.models import Import
from chat.tables.transfers import progress


def progress_of(job: Import) -> ImportProgress:
    return ImportProgress(
        import_id=str(job.pk),
        table=job.table_id,
        state=job.state,
        reason=job.reason or None,
        message=job.message or None,
        params=job.reason_params,
        total=job.total,
        done=job.done,
        created_rows=job.created_rows,
        updated_rows=job.updated_rows,
        skipped_rows=job.skipped_rows,
        bad_rows=job.bad_rows,
    )


def follow(user: User, frame: ImportSubscribe) -> AsyncGenerator[ImportProgress]:
    """Answer a frame that subscribes to an import."""
    return progress.follow(frame.import_id, partial(load, user.pk, frame.import_id), progress_of)
