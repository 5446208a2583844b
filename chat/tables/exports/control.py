"""What the owner of an export can do: begin, cancel, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from accounts.owner_lock import lock_owner
from aily.database.outages import require_disk_room
from aily.problems import Conflict, LimitReached, NotFound
from chat.exceptions import because
from chat.models.files import delete_file
from chat.models.ids import is_own
from chat.reasons import Reason
from chat.runs.announcing import publish
from chat.tables.exports.selection import selection_of
from chat.tables.models import Export, Table, TransferState, View
from chat.tables.models.transfers import ENDED_TRANSFERS


def begin(
    owner: User, table: Table, view: View | None, form: str, options: Mapping[str, Any]
) -> Export:
    """Make an export for a worker to write. Raises InvalidRequest, LimitReached and StorageFull."""
    job = Export(
        table=table,
        view=view,
        owner=owner,
        format=form,
        options=dict(options),
        started_at=timezone.now(),
    )
    # What it names must be there.
    selection_of(job, owner)
    with transaction.atomic():
        lock_owner(owner.pk)
        _check_room(owner.pk)
        job.save(force_insert=True)
    return job


def load(owner_id: int, export_id: Any) -> Export:
    """One of the owner's exports. Raises NotFound."""
    own = Export.objects.select_related("file")
    found = own.filter(pk=export_id, owner=owner_id) if is_own(export_id) else None
    if found is None or (job := found.first()) is None:
        raise no_export()
    return job


def no_export() -> NotFound:
    return because(NotFound, Reason("no_such_export"))


def cancel(job: Export) -> Export:
    """Give an export up. Harmless on one that has ended."""
    unended = Export.objects.exclude(state__in=ENDED_TRANSFERS).filter(pk=job.pk)
    unended.update(state=TransferState.CANCELLED, ended_at=timezone.now())
    publish([job.pk])
    job.refresh_from_db()
    return job


def delete(job: Export) -> None:
    """Delete an export that has ended, and its file."""
    if job.state not in ENDED_TRANSFERS:
        raise because(Conflict, Reason("cancel_export"), field="state")
    Export.objects.filter(pk=job.pk).delete()
    if job.file_id is not None:
        delete_file(job.file_id)


def _check_room(owner_id: int) -> None:
    require_disk_room()
    limit: int = settings.EXPORTS_MAX_PER_USER
    unended = Export.objects.filter(owner=owner_id).exclude(state__in=ENDED_TRANSFERS)
    if unended.count() >= limit:
        raise LimitReached(
            f"At most {limit} of your exports may be under way.",
            limit_name="exports_max_per_user",
            limit=limit,
            retry_after_seconds=10,
        )
