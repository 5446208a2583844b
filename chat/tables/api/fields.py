"""REST: the fields of tables."""

# Annotations stay objects here: decorated endpoints lose the module to look names up in.

from ninja import Query, Router, Schema, Status
from pydantic import Field as Described

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from aily.problems import NotFound
from aily.rest.etags import if_match
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables import fields, retyping
from chat.tables.actors import ring_converter
from chat.tables.ai.fields import restore_ai_field
from chat.tables.api.authors import author_of
from chat.tables.api.schemas import FieldIn, FieldOut, FieldPatch
from chat.tables.models import Field
from chat.tables.permissions import Access, get_table, require_access

router = Router(tags=["tables"])


class FieldFilter(Schema):
    is_deleted: bool = Described(False, description="True: those in the trash.")


class ClientQuery(Schema):
    client: str = Described("", max_length=64, description="Your own name for this tab.")


def _find(request: AuthenticatedRequest, field_id: int, access: Access) -> Field:
    row = Field.objects.select_related("table").filter(pk=field_id).first()
    missing = because(NotFound, Reason("no_such_field"))
    if row is None or row.table.deleted_at is not None:
        raise missing
    require_access(request.auth.user, row.table, access, missing)
    return row


@router.get("/{int:table_id}/fields", response=list[FieldOut], url_name="list_fields")
def list_fields(
    request: AuthenticatedRequest, table_id: int, filters: Query[FieldFilter]
) -> list[Field]:
    """The fields of a table in their order; or those in the trash, the newest first."""
    table = get_table(request.auth.user, table_id)
    if not filters.is_deleted:
        return fields.live_fields(table.pk)
    deleted = Field.objects.filter(table=table, deleted_at__isnull=False)
    return list(deleted.order_by("-deleted_at", "-id")[: fields.MAX_FIELDS])


@router.post("/{int:table_id}/fields", response={201: FieldOut})
@idempotent(FieldOut)
def create_field(request: AuthenticatedRequest, table_id: int, payload: FieldIn) -> Status[Field]:
    """Add a field, empty in all rows. That takes no time, however many there are."""
    user = request.auth.user
    table = get_table(user, table_id, Access.EDIT)
    new = fields.NewField(payload.name, payload.kind, payload.options)
    client = author_of(request, payload.client).client
    return Status(201, fields.add_field(table.pk, new, user, client))


@router.get("/fields/{int:field_id}", response=FieldOut, url_name="get_field")
def get_field(request: AuthenticatedRequest, field_id: int) -> Field:
    """A field, also one in the trash."""
    return _find(request, field_id, Access.READ)


@router.patch("/fields/{int:field_id}", response=FieldOut)
@if_match(FieldOut, get_field)
def edit_field(request: AuthenticatedRequest, field_id: int, payload: FieldPatch) -> Field:
    """Change name, kind, options or place of a field."""
    row = _find(request, field_id, Access.EDIT)
    author = author_of(request, payload.client)
    patch = fields.FieldPatch(payload.name, payload.options, payload.position)
    if payload.kind is None or payload.kind == row.kind:
        return fields.change_field(row, patch, author)
    changed = retyping.change_kind(row, payload.kind, payload.options or {}, author)
    if payload.name is not None or payload.position is not None:
        patch = fields.FieldPatch(payload.name, position=payload.position)
        changed = fields.change_field(row, patch, author)
    if changed.is_retyping:
        ring_converter()
    return changed


@router.delete("/fields/{int:field_id}", response={204: None})
@if_match(FieldOut, get_field)
def delete_field(
    request: AuthenticatedRequest, field_id: int, query: Query[ClientQuery]
) -> Status[None]:
    """Move a field to the trash, with its cells, which stay there for some days."""
    row = _find(request, field_id, Access.EDIT)
    fields.delete_field(row, author_of(request, query.client))
    return Status(204, None)


@router.post("/fields/{int:field_id}:restore", response=FieldOut)
def restore_field(request: AuthenticatedRequest, field_id: int, query: Query[ClientQuery]) -> Field:
    """Take a field out of the trash, with its cells. Harmless on one that is not in it.

    An output comes with its AI field, and with the outputs that were deleted with that.
    """
    row = _find(request, field_id, Access.EDIT)
    author = author_of(request, query.client)
    if row.ai_field is not None:
        restore_ai_field(row.ai_field, request.auth.user, author.client)
    return fields.restore_field(row, author)
