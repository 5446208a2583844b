"""REST: tables."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from django.db.models import Model, QuerySet
from django.http import HttpRequest
from ninja import Query, Router, Status
from ninja.pagination import LimitOffsetPagination, paginate

from accounts.access.permissions import permissions_of, require_permission
from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from accounts.models import User
from aily.database.replica import may_read_replica
from aily.problems import NotFound
from aily.rest.etags import if_match
from aily.rest.pages import Page, PageContent, ordered
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables import tables
from chat.tables.api.schemas import (
    TableFilter,
    TableIn,
    TableItem,
    TableOut,
    TablePatch,
    shown,
)
from chat.tables.fields import NewField, live_fields
from chat.tables.models import Table
from chat.tables.permissions import (
    Access,
    accesses,
    require_access,
    visible_tables,
)
from chat.tables.permissions import get_table as find_table

router = Router(tags=["tables"])


class TablePage(Page):
    """A page of tables, each with what the caller may do with it."""

    def paginate_queryset(
        self,
        queryset: QuerySet[Model],
        pagination: LimitOffsetPagination.Input,
        request: HttpRequest,
        **params: object,
    ) -> PageContent:
        page = super().paginate_queryset(queryset, pagination, request, **params)
        user: User = request.auth.user  # type: ignore[attr-defined]
        held = permissions_of(user)
        for table in page["items"]:
            table.access = accesses(user, table, held)
        return page


def show(user: User, table: Table) -> Table:
    return shown(table, live_fields(table.pk), accesses(user, table))


@router.get("", response=list[TableItem], url_name="list_tables")
@may_read_replica
@paginate(TablePage)
def list_tables(request: AuthenticatedRequest, filters: Query[TableFilter]) -> QuerySet[Table]:
    """The tables that you may read."""
    tables = visible_tables(request.auth.user).select_related("owner")
    tables = tables.filter(deleted_at__isnull=not filters.is_deleted)
    if filters.search:
        tables = tables.filter(name__icontains=filters.search)
    return ordered(tables, filters.ordering)


@router.post("", response={201: TableOut})
@idempotent(TableOut)
def create_table(request: AuthenticatedRequest, payload: TableIn) -> Status[Table]:
    """Make a table, with its first fields."""
    user = request.auth.user
    new = [NewField(field.name, field.kind, field.options) for field in payload.fields]
    table = tables.create_table(user, payload.name, new, payload.description)
    return Status(201, show(user, table))


@router.get("/{int:table_id}", response=TableOut, url_name="get_table")
def get_table(request: AuthenticatedRequest, table_id: int) -> Table:
    """A table with its fields, also one in the trash."""
    user = request.auth.user
    table: Table | None = Table.objects.select_related("owner").filter(pk=table_id).first()
    if table is None:
        raise because(NotFound, Reason("no_such_table"))
    require_access(user, table, Access.READ)
    return show(user, table)


@router.patch("/{int:table_id}", response=TableOut)
@if_match(TableOut, get_table)
def edit_table(request: AuthenticatedRequest, table_id: int, payload: TablePatch) -> Table:
    """Change a table's name or description, or, as staff, how many rows it may have."""
    user = request.auth.user
    table = find_table(user, table_id, Access.EDIT)
    given = payload.dict(exclude_unset=True)
    if "max_rows" in given:
        # Without an object: that one is the owner is not enough.
        require_permission(user, Access.EDIT.value)
    return show(user, tables.change_table(table, given))


@router.delete("/{int:table_id}", response={204: None})
@if_match(TableOut, get_table)
def delete_table(request: AuthenticatedRequest, table_id: int) -> Status[None]:
    """Move a table to the trash, where it stays for some days."""
    tables.delete_table(find_table(request.auth.user, table_id, Access.OWN))
    return Status(204, None)


@router.post("/{int:table_id}:restore", response=TableOut)
def restore_table(request: AuthenticatedRequest, table_id: int) -> Table:
    """Take a table out of the trash. Harmless on one that is not in it."""
    user = request.auth.user
    table = get_table(request, table_id)
    require_access(user, table, Access.OWN)
    return show(user, tables.restore_table(table))
