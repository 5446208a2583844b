"""One step of an import, by the worker that has its lease."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import cast

from django.utils import timezone

from accounts.models import User
from aily.concurrency.faults import note_fault
from aily.database.errors import is_outage
from aily.problems import Problem
from chat.reasons import Reason
from chat.runs.announcing import publish
from chat.runs.reading.records import FileError
from chat.tables.imports.applying import KEPT, apply
from chat.tables.imports.control import fail
from chat.tables.imports.inspecting import inspect
from chat.tables.imports.loading import Loader, TooManyBadRowsError
from chat.tables.imports.report import Report
from chat.tables.models import Import, TransferState
from chat.tables.permissions import Access, get_table
from chat.tables.transfers.failures import UNEXPECTED, Failure
from chat.tables.transfers.leases import Lease, LeaseLostError

logger = logging.getLogger(__name__)


def work_on(lease: Lease) -> None:
    """Inspect the file, or import it. Raises django.db.Error while PostgreSQL is away: then the
    step begins again."""
    job = Import.objects.filter(pk=lease.transfer_id).first()
    if job is None:
        return
    try:
        _step(job, lease)
    finally:
        # Of its end, or of the step that begins again.
        publish([job.pk])


def _step(job: Import, lease: Lease) -> None:
    try:
        if job.state == TransferState.INSPECTING:
            inspect(job, lease)
        elif job.state == TransferState.RUNNING:
            _run(job, lease)
    except LeaseLostError:
        logger.info("import %s: cancelled, or taken over by another worker", job.pk)
    except Exception as error:
        if is_outage(error):
            raise
        note_fault("imports")
        _fail_unexpectedly(job, lease)


def _run(job: Import, lease: Lease) -> None:
    report = Report()
    try:
        # Access may have been taken back since it was started.
        get_table(User.objects.get(pk=job.owner_id), cast("int", job.table_id), Access.EDIT)
        loader = Loader(job, lease)
        report = loader.report
        apply(job, lease, loader.load())
    except TooManyBadRowsError:
        why = Reason.of("bad_rows", count=report.bad_rows)
        _fail(job, lease, Failure(why.name, str(why), why.as_params()), report)
    except (FileError, Problem) as error:
        _fail(job, lease, Failure.of(error), report)


def _fail(job: Import, lease: Lease, failure: Failure, report: Report) -> None:
    file = report.store(job.owner_id, str(job.pk), _report_end())
    fail(job, lease.token, failure, report_file=file, bad_rows=report.bad_rows)


def _report_end() -> datetime:
    return timezone.now() + KEPT


def _fail_unexpectedly(job: Import, lease: Lease) -> None:
    if job.state == TransferState.INSPECTING:
        own = Import.objects.filter(pk=job.pk, lease=lease.token)
        own.update(**UNEXPECTED.fields())
    else:
        fail(job, lease.token, UNEXPECTED)
