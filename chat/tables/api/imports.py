"""REST: files that become rows of tables."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.translation import get_language_from_request
from ninja import Query, Router, Status
from ninja.pagination import paginate

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotency_key, takes_idempotency_key
from aily.database.threads import in_database
from aily.problems import Conflict, NotFound, UnsupportedMediaType
from aily.rest.etags import if_match
from aily.rest.openapi import documented_responses
from aily.rest.pages import Page
from aily.rest.requests import no_body
from chat.exceptions import because
from chat.models import StoredFile
from chat.reasons import Reason
from chat.tables.api.downloads import attachment
from chat.tables.api.transfer_schemas import (
    ImportItem,
    ImportOut,
    ImportPatch,
    ImportStartIn,
    NewTableQuery,
    UploadQuery,
)
from chat.tables.changes import Author
from chat.tables.imports import control, creation
from chat.tables.imports.creation import NewImport
from chat.tables.imports.report import stream_csv
from chat.tables.models import Import, Table
from chat.tables.permissions import Access, get_table
from chat.tables.transfers.actors import ring_transfers
from chat.tables.undo import undo_batch

router = Router(tags=["tables"])

_CHUNK_BYTES = 65_536
#: What lists do not show.
_LARGE = ("preview", "columns", "mapping", "targets")
#: Any type but multipart is taken; generators of clients know bytes only as this one.
_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary"},
                "example": "SKU,Price\nA-1,12.50\n",
            }
        },
    }
}
_REPORT: dict[Any, Any] = {
    200: {
        "description": "A line for each cell that did not fit, in the language of the request.",
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": "line,field,value,reason\n7,Price,n/a,This is no number.\n",
            }
        },
    }
}


def _load(request: HttpRequest, import_id: UUID) -> Import:
    user = request.auth.user  # type: ignore[attr-defined]
    return _shown(control.load(user.pk, import_id))


def _shown(job: Import) -> Import:
    earlier = creation.duplicate_of(job)
    job.duplicate_of = earlier.pk if earlier is not None else None  # type: ignore[attr-defined]
    return job


# --- Upload -------------------------------------------------------------------------------------
@router.post(
    "/{int:table_id}/imports",
    response={201: ImportOut, 200: ImportOut},
    openapi_extra=_UPLOAD,
)
@takes_idempotency_key
def create_import(
    request: AuthenticatedRequest, table_id: int, query: Query[UploadQuery]
) -> Status[Import]:
    """Send a file for a table: CSV or TSV, JSONL (both also packed by gzip) or XLSX, as the body.

    It is inspected in the background; then its columns are mapped, and it is started. 200: it was
    sent before.
    """
    table = get_table(request.auth.user, table_id, Access.EDIT)
    return _create(request, table, query, "")


@router.post("/imports", response={201: ImportOut, 200: ImportOut}, openapi_extra=_UPLOAD)
@takes_idempotency_key
def create_table_import(
    request: AuthenticatedRequest, query: Query[NewTableQuery]
) -> Status[Import]:
    """Send a file, as the body, of which a new table is made when it is started."""
    return _create(request, None, query, query.name)


def _create(
    request: AuthenticatedRequest, table: Table | None, query: UploadQuery, name: str
) -> Status[Import]:
    if (request.content_type or "").startswith("multipart/"):
        raise UnsupportedMediaType("Send the bytes of the file as the body.", field="Content-Type")
    new = NewImport(
        owner_id=request.auth.user.pk,
        table=table,
        file_name=query.file_name,
        format=query.format,
        new_table=name,
        key=idempotency_key(request),
    )
    job, is_new = creation.create_import(new, _chunks(request))
    ring_transfers()
    return Status(201 if is_new else 200, _shown(job))


def _chunks(request: HttpRequest) -> Iterator[bytes]:
    """The body, which the server has on disk: 64 KiB of it are in memory at a time."""
    while chunk := request.read(_CHUNK_BYTES):
        yield chunk


# --- Imports ------------------------------------------------------------------------------------
@router.get("/imports", response=list[ImportItem], url_name="list_imports")
@paginate(Page)
def list_imports(request: AuthenticatedRequest) -> QuerySet[Import]:
    """Your imports, the newest first."""
    return Import.objects.filter(owner=request.auth.user).defer(*_LARGE).order_by("-id")


@router.get("/{int:table_id}/imports", response=list[ImportItem], url_name="list_table_imports")
@paginate(Page)
def list_table_imports(request: AuthenticatedRequest, table_id: int) -> QuerySet[Import]:
    """Your imports into a table, the newest first."""
    table = get_table(request.auth.user, table_id)
    own = Import.objects.filter(table=table, owner=request.auth.user)
    return own.defer(*_LARGE).order_by("-id")


@router.get("/imports/{uuid:import_id}", response=ImportOut, url_name="get_import")
def get_import(request: AuthenticatedRequest, import_id: UUID) -> Import:
    """An import: what was found in its file, how far it is, and what it has done."""
    return _load(request, import_id)


@router.patch("/imports/{uuid:import_id}", response=ImportOut)
@if_match(ImportOut, get_import)
def change_import(request: AuthenticatedRequest, import_id: UUID, payload: ImportPatch) -> Import:
    """Choose how the file is read, where its columns go, and what becomes of known rows."""
    job = _load(request, import_id)
    given = payload.dict(exclude_unset=True)
    is_inspected = bool(given.get("dialect"))
    job = control.choose(job, request.auth.user, given)
    if is_inspected:
        ring_transfers()
    return _shown(job)


@router.delete("/imports/{uuid:import_id}", response={204: None})
@if_match(ImportOut, get_import)
def delete_import(request: AuthenticatedRequest, import_id: UUID) -> Status[None]:
    """Delete an import that is not running, with its file. Rows that it has made stay."""
    control.delete(_load(request, import_id))
    return Status(204, None)


@router.get(
    "/imports/{uuid:import_id}/report.csv",
    url_name="import_report",
    openapi_extra=documented_responses(_REPORT),
)
async def get_import_report(
    request: AuthenticatedRequest, import_id: UUID
) -> StreamingHttpResponse:
    """Line, field, value and reason of each cell that did not fit, of 10,000 at the most.

    In English or Simplified Chinese, as Accept-Language asks.
    """
    file = await in_database(_load_report, request, import_id)
    language = get_language_from_request(request)
    name, media_type = f"import-{import_id}.csv", "text/csv; charset=utf-8"
    response = attachment(request, stream_csv(file, language), name, media_type)
    response.headers["Content-Language"] = language
    patch_vary_headers(response, ("Accept-Language", "Cookie"))
    return response


def _load_report(request: HttpRequest, import_id: UUID) -> StoredFile:
    file = _load(request, import_id).report_file
    if file is None:
        raise because(NotFound, Reason("no_report"))
    return file


# --- What can be done ---------------------------------------------------------------------------
@router.post("/imports/{uuid:import_id}:start", response=ImportOut)
def start_import(
    request: AuthenticatedRequest, import_id: UUID, payload: ImportStartIn = no_body(ImportStartIn)
) -> Import:
    """Begin to import. All rows appear at once, at its end. Harmless on one that runs."""
    job = control.start(_load(request, import_id), request.auth.user, payload.client)
    ring_transfers()
    return _shown(job)


@router.post("/imports/{uuid:import_id}:cancel", response=ImportOut)
def cancel_import(request: AuthenticatedRequest, import_id: UUID) -> Import:
    """Give an import up: nothing of it is left. Harmless on one that has ended."""
    return _shown(control.cancel(_load(request, import_id)))


@router.post("/imports/{uuid:import_id}:undo", response=ImportOut)
def undo_import(
    request: AuthenticatedRequest, import_id: UUID, payload: ImportStartIn = no_body(ImportStartIn)
) -> Import:
    """Take back all that an import did, but for what was changed since. For seven days."""
    job = _load(request, import_id)
    if job.table_id is None or job.undone_at is not None:
        raise because(Conflict, Reason("nothing_to_undo"), field="state")
    user = request.auth.user
    table = get_table(user, job.table_id, Access.EDIT)
    undo_batch(table, Author(user.pk, payload.client), job.pk)
    return _load(request, import_id)
