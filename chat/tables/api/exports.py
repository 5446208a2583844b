"""REST: rows of tables as files."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from ninja import Router, Status
from ninja.pagination import paginate

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from aily.database.threads import in_database
from aily.problems import Conflict, InvalidRequest, NotFound
from aily.rest.etags import if_match
from aily.rest.openapi import documented_responses
from aily.rest.pages import Page
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables import stored_views
from chat.tables.api.downloads import download
from chat.tables.api.transfer_schemas import ExportIn, ExportOut
from chat.tables.exports import control
from chat.tables.models import Export, TransferState
from chat.tables.permissions import Access, get_table, require_access
from chat.tables.transfers.actors import ring_transfers

router = Router(tags=["tables"])

_MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_FILE: dict[Any, Any] = {
    200: {
        "description": "The file.",
        "content": {
            "text/csv": {"schema": {"type": "string"}, "example": "SKU,Price\nA-1,12.50\n"},
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"SKU": "A-1", "Price": 12.5}\n',
            },
            _MEDIA_TYPES["xlsx"]: {
                "schema": {"type": "string", "format": "binary"},
                "example": "PK...",
            },
        },
    }
}


def _load(request: HttpRequest, export_id: UUID) -> Export:
    return control.load(request.auth.user.pk, export_id)  # type: ignore[attr-defined]


def _load_readable(request: AuthenticatedRequest, export_id: UUID) -> Export:
    """An export of a table that the user may read still: its file has what is in there."""
    job = control.load(request.auth.user.pk, export_id)
    require_access(request.auth.user, job.table, Access.READ, control.no_export())
    return job


@router.post("/{int:table_id}/exports", response={202: ExportOut})
@idempotent(ExportOut)
def create_export(
    request: AuthenticatedRequest, table_id: int, payload: ExportIn
) -> Status[Export]:
    """Write the rows of a view, or of the table, into a file, in the background."""
    user = request.auth.user
    table = get_table(user, table_id)
    options = payload.dict(exclude={"format", "view"})
    view = None
    if payload.view is not None:
        view = stored_views.find_view(user, payload.view)
        if view.table_id != table.pk:
            raise because(InvalidRequest, Reason("other_table_view"), field="view")
        if payload.filter is not None or payload.sorts:
            raise because(InvalidRequest, Reason("view_or_filter"), field="filter")
    job = control.begin(user, table, view, payload.format, options)
    ring_transfers()
    return Status(202, job)


@router.get("/{int:table_id}/exports", response=list[ExportOut], url_name="list_exports")
@paginate(Page)
def list_exports(request: AuthenticatedRequest, table_id: int) -> QuerySet[Export]:
    """Your exports of a table, the newest first."""
    table = get_table(request.auth.user, table_id)
    own = Export.objects.filter(table=table, owner=request.auth.user)
    return own.select_related("file").order_by("-id")


@router.get("/exports/{uuid:export_id}", response=ExportOut, url_name="get_export")
def get_export(request: AuthenticatedRequest, export_id: UUID) -> Export:
    """An export: how far it is, and its file."""
    return _load(request, export_id)


@router.get(
    "/exports/{uuid:export_id}/file",
    url_name="export_file",
    openapi_extra=documented_responses(_FILE),
)
async def get_export_file(request: AuthenticatedRequest, export_id: UUID) -> StreamingHttpResponse:
    """The file of an export that is done, until it expires. Streamed."""
    job = await in_database(_load_readable, request, export_id)
    if job.state != TransferState.DONE:
        reason = Reason.of("export_state", state=job.state)
        raise because(Conflict, reason, field="state", retry_after_seconds=1)
    file = job.file
    if file is None or (file.expires_at is not None and file.expires_at < timezone.now()):
        raise because(NotFound, Reason("export_expired"))
    return download(request, file.pk, file.name, _MEDIA_TYPES[job.format])


@router.post("/exports/{uuid:export_id}:cancel", response=ExportOut)
def cancel_export(request: AuthenticatedRequest, export_id: UUID) -> Export:
    """Give an export up. Harmless on one that has ended."""
    return control.cancel(_load(request, export_id))


@router.delete("/exports/{uuid:export_id}", response={204: None})
@if_match(ExportOut, get_export)
def delete_export(request: AuthenticatedRequest, export_id: UUID) -> Status[None]:
    """Delete an export that has ended, and its file."""
    control.delete(_load(request, export_id))
    return Status(204, None)
