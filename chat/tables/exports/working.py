"""One step of an export, by the worker that has its lease."""

from __future__ import annotations

import logging
import re
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from aily.concurrency.faults import note_fault
from aily.database.errors import is_outage
from aily.database.long_transactions import long_transaction
from aily.problems import Problem
from chat.models.files import FileWriter
from chat.runs.announcing import publish
from chat.runs.reading.records import FileError
from chat.tables.exports.selection import Selection, selection_of
from chat.tables.exports.writing import written_file
from chat.tables.models import Export, TransferState
from chat.tables.permissions import Access, get_table
from chat.tables.queries.pages import count_rows
from chat.tables.transfers.failures import UNEXPECTED, Failure
from chat.tables.transfers.lease_renewal import LeaseRenewal, renewed
from chat.tables.transfers.leases import Lease, LeaseLostError

logger = logging.getLogger(__name__)

PURPOSE = "table_export"
#: What no file system takes in a name.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]+')


def work_on(lease: Lease) -> None:
    """Write the file: running → done or failed. Raises django.db.Error while PostgreSQL is away."""
    job = Export.objects.select_related("table", "view").filter(pk=lease.transfer_id).first()
    if job is None:
        return
    try:
        with renewed(lease) as renewal:
            _write(job, lease, renewal)
    except LeaseLostError:
        logger.info("export %s: cancelled, or taken over by another worker", job.pk)
    except (FileError, Problem) as error:
        _fail(lease, Failure.of(error))
    except Exception as error:
        if is_outage(error):
            raise
        note_fault("exports")
        _fail(lease, UNEXPECTED)
    finally:
        # Of its end, or of the step that begins again.
        publish([job.pk])


def _write(job: Export, lease: Lease, renewal: LeaseRenewal) -> None:
    # Access may have been taken back since it was asked for.
    owner = User.objects.get(pk=job.owner_id)
    get_table(owner, job.table_id, Access.READ)
    rows = 0

    def between(done: int) -> None:
        nonlocal rows
        rows = done
        renewal.check(done)

    selection = selection_of(job, owner)
    _count(job, lease, selection)
    writer = FileWriter(job.owner_id, _file_name(job))
    try:
        options = job.options
        with written_file(
            selection,
            job.format,
            between,
            is_safe=bool(options.get("spreadsheet", True)),
            has_bom=bool(options.get("bom", False)),
        ) as pieces:
            for piece in pieces:
                renewal.check(rows)
                writer.write(piece)
        writer.flush()
        _end(lease, writer, rows)
    except BaseException:
        writer.discard()
        raise


def _count(job: Export, lease: Lease, selection: Selection) -> None:
    """Note how many rows there are, for those who watch. The file has those of a moment later."""
    with long_transaction():
        total = count_rows(selection.query, "exact")
    Export.objects.filter(pk=job.pk, lease=lease.token).update(total=total)
    publish([job.pk])


def _file_name(job: Export) -> str:
    parts = [job.table.name, *([job.view.name] if job.view is not None else [])]
    stem = _UNSAFE.sub(" ", " - ".join(parts)).strip(" .")[:150] or "table"
    return f"{stem}.{job.format}"


def _end(lease: Lease, writer: FileWriter, rows: int) -> None:
    now = timezone.now()
    with transaction.atomic():
        file = writer.publish(PURPOSE, now + timedelta(hours=settings.EXPORT_KEPT_HOURS))
        own = Export.objects.filter(
            pk=lease.transfer_id, lease=lease.token, state=TransferState.RUNNING
        )
        if not own.update(state=TransferState.DONE, file=file, ended_at=now, done=rows, total=rows):
            raise LeaseLostError


def _fail(lease: Lease, failure: Failure) -> None:
    own = Export.objects.filter(
        pk=lease.transfer_id, lease=lease.token, state=TransferState.RUNNING
    )
    own.update(**failure.fields(), ended_at=timezone.now())
