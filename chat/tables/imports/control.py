"""What the owner of an import can do: choose, start, cancel, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from django.db import DatabaseError, transaction
from django.utils import timezone

from accounts.models import User
from aily.database.rows import fetch_column
from aily.problems import Conflict, InvalidRequest, NotFound
from chat.exceptions import because
from chat.models import StoredFile
from chat.models.files import delete_file
from chat.models.ids import is_own
from chat.reasons import Reason
from chat.runs.announcing import publish
from chat.tables import ddl
from chat.tables.exceptions import TableBusy
from chat.tables.fields import NewField, add_fields
from chat.tables.imports import announcing
from chat.tables.imports.inspecting import KEPT
from chat.tables.imports.mapping import (
    Mapped,
    check_mapping,
    fields_to_create,
    targets_of,
)
from chat.tables.imports.staging import drop, staging_table, undo_table
from chat.tables.models import Field, Import, ImportMode, Kind, Table, TransferState
from chat.tables.models.transfers import ENDED_TRANSFERS
from chat.tables.permissions import Access, get_table
from chat.tables.tables import create_table
from chat.tables.transfers.failures import Failure

#: Kinds whose values can identify a row.
KEY_KINDS = (
    *(Kind.TEXT, Kind.INTEGER, Kind.NUMBER, Kind.DATE, Kind.DATETIME, Kind.URL, Kind.EMAIL),
)
#: What is read anew with another dialect or mapping.
_OPEN = (TransferState.READY, TransferState.FAILED)


def load(owner_id: int, import_id: Any) -> Import:
    """One of the owner's imports. Raises NotFound."""
    found = Import.objects.filter(pk=import_id, owner=owner_id) if is_own(import_id) else None
    if found is None or (job := found.first()) is None:
        raise because(NotFound, Reason("no_such_import"))
    return job


# --- Choosing -----------------------------------------------------------------------------------
def choose(job: Import, user: User, given: Mapping[str, Any]) -> Import:
    """Change how the file is read, where its columns go, and what becomes of its rows.

    Another dialect has it inspected again. Raises Conflict and InvalidRequest.
    """
    _require_open(job)
    given = dict(given)
    dialect = given.pop("dialect", None)
    options = dict(job.options)
    if dialect:
        _check_dialect(job, dialect)
        chosen = {**job.options.get("chosen", {}), **dialect}
        options["chosen"] = chosen
        given |= {"state": TransferState.INSPECTING, "reason": "", "message": ""}
        given["reason_params"] = None
    if (mapping := given.get("mapping")) is not None:
        check_mapping(job, mapping, user)
        # Otherwise it follows what is found in the file with another dialect.
        options["is_mapped"] = True
    given["options"] = options
    if "key_field" in given:
        given["key_field_id"] = _key_id(job, given.pop("key_field"))
    if "new_table" in given and not job.new_table:
        raise because(InvalidRequest, Reason("table_there"), field="new_table")
    if not Import.objects.filter(pk=job.pk, state=job.state).update(**given):
        raise because(Conflict, Reason("import_changed"), field="state")
    job.refresh_from_db()
    return job


def _require_open(job: Import) -> None:
    if job.state not in _OPEN or job.file_id is None:
        message = f"An import that is {job.state} cannot be changed."
        raise Conflict(message, field="state", params={"rule": "import_state"})


def _check_dialect(job: Import, dialect: Mapping[str, object]) -> None:
    for name in dialect:
        if name == "sheet" and job.format != "xlsx":
            raise because(InvalidRequest, Reason("only_workbook_sheets"), field="dialect.sheet")
        if name in ("delimiter", "quote", "encoding") and job.format == "xlsx":
            raise because(InvalidRequest, Reason("workbook_setting"), field=f"dialect.{name}")
        if name in ("delimiter", "quote", "has_header") and job.format == "jsonl":
            raise because(InvalidRequest, Reason("jsonl_setting"), field=f"dialect.{name}")


def _key_id(job: Import, key: str | None) -> int | None:
    if key is None:
        return None
    number = key.removeprefix("f")
    fields = Field.objects.filter(table=job.table_id, deleted_at=None, ai_field=None)
    is_number = number.isascii() and number.isdecimal() and len(number) <= 18
    field = fields.filter(pk=int(number)).first() if is_number else None
    if job.table_id is None or field is None:
        raise because(InvalidRequest, Reason("no_such_field"), field="key_field")
    if field.kind not in KEY_KINDS:
        raise because(InvalidRequest, Reason.of("no_key_kind", kind=field.kind), field="key_field")
    return field.pk


# --- Starting -----------------------------------------------------------------------------------
def start(job: Import, user: User, client: str = "") -> Import:
    """ready → running. Creates the table, or the fields, that the mapping names.

    Raises Conflict, InvalidRequest, TableFull and TableBusy.
    """
    if job.state == TransferState.RUNNING:
        return job
    _require_open(job)
    mapping = cast("list[Mapped]", job.mapping)
    _check_start(job, mapping, user)
    new = fields_to_create(mapping)
    if job.new_table:
        _start_with_table(job, mapping, new, user)
    else:
        table = get_table(user, cast("int", job.table_id), Access.EDIT)
        _start_in_table(job, table, mapping, new, user, client)
    job.refresh_from_db()
    return job


def _check_start(job: Import, mapping: Sequence[Mapped], user: User) -> None:
    if not job.columns:
        raise because(Conflict, Reason("import_unreadable"), field="dialect")
    check_mapping(job, mapping, user)
    if not any(mapping):
        raise because(InvalidRequest, Reason("nothing_mapped"), field="mapping")
    if job.mode == ImportMode.APPEND:
        return
    if job.new_table or job.key_field_id is None:
        raise because(InvalidRequest, Reason("key_missing"), field="key_field")
    if {"field": f"f{job.key_field_id}"} not in mapping:
        raise because(InvalidRequest, Reason("key_unmapped"), field="key_field")


def _start_with_table(
    job: Import, mapping: Sequence[Mapped], new: Sequence[NewField], user: User
) -> None:
    with transaction.atomic():
        table = create_table(user, job.new_table, new)
        created = list(Field.objects.filter(table=table).order_by("position"))
        _set_running(job, targets_of(mapping, created), table=table)


def _start_in_table(
    job: Import,
    table: Table,
    mapping: Sequence[Mapped],
    new: Sequence[NewField],
    user: User,
    client: str,
) -> None:
    if not new:
        with transaction.atomic():
            _share_table(table.pk)
            # A field may have been deleted since.
            check_mapping(job, mapping, user)
            _set_running(job, targets_of(mapping, []))
        return

    def begin(table: Table) -> None:
        check_mapping(job, mapping, user)
        created = add_fields(table, new, user, client)
        ids = [field.pk for field in created]
        _set_running(job, targets_of(mapping, created), created_fields=ids)

    ddl.change_schema(table.pk, begin)


def _share_table(table_id: int) -> None:
    """Lock the table's row as writers do: the fields stay as they are until the commit."""
    ddl.bound_waits()
    lock = "SELECT id FROM tables_table WHERE id = %s AND deleted_at IS NULL FOR KEY SHARE"
    if not fetch_column(int, lock, [table_id]):
        raise because(NotFound, Reason("no_such_table"))


def _refuse_changing_kinds(targets: Sequence[int | None]) -> None:
    """The kind of a field is changed row by row, while people go on: not while files do."""
    ids = [target for target in targets if target is not None]
    changing = Field.objects.filter(pk__in=ids, retype__state="running").first()
    if changing is not None:
        raise TableBusy(f"The kind of {changing.name!r} is being changed.")


def _set_running(job: Import, targets: Sequence[int | None], **fields: Any) -> None:
    fields |= {
        "state": TransferState.RUNNING,
        "reason": "",
        "message": "",
        "reason_params": None,
        "targets": list(targets),
        "started_at": timezone.now(),
        "ended_at": None,
        "done": 0,
        "bad_rows": 0,
        "report_file": None,
    }
    _refuse_changing_kinds(targets)
    old_report = job.report_file_id
    if not Import.objects.filter(pk=job.pk, state__in=_OPEN).update(**fields):
        raise because(Conflict, Reason("import_changed"), field="state")
    # Not purged while it is read.
    files = [file_id for file_id in (job.file_id, job.sheet_file_id) if file_id is not None]
    StoredFile.objects.filter(pk__in=files).update(expires_at=None)
    if old_report is not None:
        StoredFile.objects.filter(pk=old_report).update(expires_at=timezone.now())


# --- Ending -------------------------------------------------------------------------------------
def fail(job: Import, token: Any, failure: Failure, **fields: Any) -> bool:
    """running → failed: nothing of it is left in the table. It may be changed, and started again.

    Returns whether it was this worker's.
    """
    own = Import.objects.filter(pk=job.pk, lease=token, state=TransferState.RUNNING)
    with transaction.atomic():
        if not own.update(**failure.fields(), ended_at=timezone.now(), **fields):
            return False
        job.refresh_from_db()
        announcing.create_webhooks(job)
    clean_up(job)
    return True


def cancel(job: Import) -> Import:
    """Give an import up. Harmless on one that has ended; Conflict while its rows are written."""
    if job.state in ENDED_TRANSFERS:
        return job
    try:
        with transaction.atomic():
            ddl.bound_waits()
            unended = Import.objects.exclude(state__in=ENDED_TRANSFERS).filter(pk=job.pk)
            is_cancelled = unended.update(state=TransferState.CANCELLED, ended_at=timezone.now())
            job.refresh_from_db()
            if is_cancelled:
                announcing.create_webhooks(job)
    except DatabaseError as error:
        if not ddl.is_locked_out(error):
            raise
        writing = Reason("import_writing")
        raise because(Conflict, writing, field="state", retry_after_seconds=2) from None
    if is_cancelled:
        publish([job.pk])
        clean_up(job)
        job.refresh_from_db()
    return job


def clean_up(job: Import) -> None:
    """Delete what an import that came to nothing has created: rows waiting, fields, the table.

    Repeatable: what others hold is left for the next purge.
    """
    drop(staging_table(job.pk))
    if job.new_table and job.table_id is not None:
        table_id = job.table_id
        Import.objects.filter(pk=job.pk).update(table=None)
        try:
            with transaction.atomic():
                Table.objects.get(pk=table_id).delete()
        except DatabaseError as error:
            Import.objects.filter(pk=job.pk).update(table=table_id)
            if not ddl.is_locked_out(error):
                raise
    elif job.created_fields:
        _drop_fields(job)
    files = [file_id for file_id in (job.file_id, job.sheet_file_id) if file_id is not None]
    StoredFile.objects.filter(pk__in=files).update(expires_at=timezone.now() + KEPT)


def _drop_fields(job: Import) -> None:
    def remove(table: Table) -> None:
        for field in Field.objects.filter(pk__in=job.created_fields, table=table):
            if field.is_stored:
                ddl.drop_column(table.pk, field.column)
            field.delete()
        Import.objects.filter(pk=job.pk).update(created_fields=[])

    try:
        ddl.change_schema(cast("int", job.table_id), remove)
    except (Conflict, NotFound):
        return


def delete(job: Import) -> None:
    """Delete an import that is not running, its files and what would undo it."""
    if job.state == TransferState.RUNNING:
        raise because(Conflict, Reason("cancel_import"), field="state")
    if not Import.objects.filter(pk=job.pk, state=job.state).delete()[0]:
        raise because(Conflict, Reason("import_changed"), field="state")
    drop(staging_table(job.pk), undo_table(job.pk))
    for file_id in (job.file_id, job.sheet_file_id, job.report_file_id):
        if file_id is not None:
            delete_file(file_id)
