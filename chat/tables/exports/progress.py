"""Follows an export for the user whose it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial

from accounts.models import User
from chat.frames import ExportSubscribe
from chat.tables.exports.control import load
from chat.tables.frames import ExportProgress
from chat.tables.models import Export
from chat.tables.transfers import progress


def progress_of(job: Export) -> ExportProgress:
    return ExportProgress(
        export_id=str(job.pk),
        table=job.table_id,
        state=job.state,
        reason=job.reason or None,
        message=job.message or None,
        params=job.reason_params,
        total=job.total,
        done=job.done,
    )


def follow(user: User, frame: ExportSubscribe) -> AsyncGenerator[ExportProgress]:
    """Answer a frame that subscribes to an export."""
    return progress.follow(frame.export_id, partial(load, user.pk, frame.export_id), progress_of)
