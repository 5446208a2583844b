"""REST: views of tables, and the snapshots of their rows that one scrolls through."""

# Annotations stay objects here: ninja looks them up.

from django.http import HttpResponse
from ninja import Query, Router, Status
from pydantic import JsonValue

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from accounts.models import User
from aily.rest.etags import if_match
from aily.rest.requests import no_body
from chat.tables import snapshots, stored_views
from chat.tables.api.row_pages import rows_response
from chat.tables.api.view_schemas import (
    OpenIn,
    PlaceQuery,
    SnapshotChangesOut,
    SnapshotOut,
    SnapshotRows,
    ViewIn,
    ViewOut,
    ViewPatch,
)
from chat.tables.models import View
from chat.tables.permissions import get_table
from chat.tables.queries.aggregates import Aggregate, Group
from chat.tables.rows.reading import RowJson
from chat.tables.showing import shown_rows

router = Router(tags=["tables"])


def _shown(user: User, view: View) -> View:
    view.is_own = stored_views.may_change(user, view)  # type: ignore[attr-defined]
    return view


# --- Views --------------------------------------------------------------------------------------
@router.get("/{int:table_id}/views", response=list[ViewOut], url_name="list_views")
def list_views(request: AuthenticatedRequest, table_id: int) -> list[View]:
    """Your own views of a table, and those that are shared with all of its readers."""
    user = request.auth.user
    table = get_table(user, table_id)
    views = stored_views.visible_views(user, table)[: stored_views.MAX_VIEWS]
    for view in views:
        view.table = table
    return [_shown(user, view) for view in views]


@router.post("/{int:table_id}/views", response={201: ViewOut})
@idempotent(ViewOut)
def create_view(request: AuthenticatedRequest, table_id: int, payload: ViewIn) -> Status[View]:
    """Store a view, for yourself or for all who may read the table."""
    user = request.auth.user
    table = get_table(user, table_id)
    view = stored_views.create_view(user, table, payload.dict(exclude_unset=True))
    return Status(201, _shown(user, view))


@router.get("/views/{int:view_id}", response=ViewOut, url_name="get_view")
def get_view(request: AuthenticatedRequest, view_id: int) -> View:
    """A view."""
    return _shown(request.auth.user, stored_views.find_view(request.auth.user, view_id))


@router.patch("/views/{int:view_id}", response=ViewOut)
@if_match(ViewOut, get_view)
def edit_view(request: AuthenticatedRequest, view_id: int, payload: ViewPatch) -> View:
    """Change parts of a view."""
    user = request.auth.user
    view = stored_views.find_view(user, view_id)
    return _shown(user, stored_views.change_view(user, view, payload.dict(exclude_unset=True)))


@router.delete("/views/{int:view_id}", response={204: None})
@if_match(ViewOut, get_view)
def delete_view(request: AuthenticatedRequest, view_id: int) -> Status[None]:
    """Delete a view. The rows stay."""
    view = stored_views.find_view(request.auth.user, view_id)
    stored_views.require_change(request.auth.user, view)
    view.delete()
    return Status(204, None)


# --- Snapshots ----------------------------------------------------------------------------------
@router.post("/views/{int:view_id}:open", response=SnapshotOut)
def open_view(
    request: AuthenticatedRequest, view_id: int, payload: OpenIn = no_body(OpenIn)
) -> HttpResponse:
    """Take a snapshot of a view's rows, to read any place of it. It is kept for ten minutes after
    its last use.

    Parts that are given take the place of those that are stored, for this snapshot.
    """
    user = request.auth.user
    view = stored_views.find_view(user, view_id)
    given = payload.dict(exclude_unset=True, exclude={"n"})
    return _open(user, view, given, payload.n)


@router.post("/{int:table_id}:open", response=SnapshotOut)
def open_table(
    request: AuthenticatedRequest, table_id: int, payload: OpenIn = no_body(OpenIn)
) -> HttpResponse:
    """Take a snapshot of a table's rows without a stored view, to read any place of it."""
    user = request.auth.user
    table = get_table(user, table_id)
    given = payload.dict(exclude_unset=True, exclude={"n"})
    return _open(user, View(table=table, owner=user), given, payload.n)


def _open(user: User, view: View, given: dict[str, JsonValue], number: int) -> HttpResponse:
    snapshot = snapshots.open_view(user, view, given)
    items: list[RowJson | None] = []
    if number:
        page = snapshots.read_page(user, snapshot.id, 0, number)
        items = shown_rows(page.table.pk, page.fields, page.ids)
    head = {
        "id": snapshot.id,
        "table": snapshot.table.pk,
        "rev": snapshot.rev,
        "schema_rev": snapshot.table.schema_rev,
        "count": snapshot.count,
        "groups": [shown_group(group, snapshot.aggregates) for group in snapshot.groups],
        "has_more_groups": snapshot.has_more_groups,
        "ignored": snapshot.ignored,
    }
    return rows_response(head, "items", items, ())


def shown_group(group: Group, aggregates: list[Aggregate]) -> dict[str, object]:
    computed = zip(aggregates, group.values, strict=True)
    return {
        "values": group.keys,
        "count": group.count,
        "aggregates": {aggregate.field: value for aggregate, value in computed},
    }


@router.get("/snapshots/{snapshot_id}/rows", response=SnapshotRows, url_name="snapshot_rows")
def read_snapshot(
    request: AuthenticatedRequest, snapshot_id: str, place: Query[PlaceQuery]
) -> HttpResponse:
    """Rows of a snapshot from any place on, as they are now."""
    page = snapshots.read_page(request.auth.user, snapshot_id, place.from_, place.n)
    items = shown_rows(page.table.pk, page.fields, page.ids)
    head = {"rev": page.table.rev, "count": page.count}
    return rows_response(head, "items", items, page.outside)


@router.get(
    "/snapshots/{snapshot_id}/changes", response=SnapshotChangesOut, url_name="snapshot_changes"
)
def snapshot_changes(request: AuthenticatedRequest, snapshot_id: str) -> snapshots.SnapshotChanges:
    """How many rows have entered and left the view since the snapshot was taken."""
    return snapshots.changes_since(request.auth.user, snapshot_id)
