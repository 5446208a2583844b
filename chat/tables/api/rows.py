"""REST: the rows of tables."""

# Annotations stay objects here: decorated endpoints lose the module to look names up in.

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Status

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from aily.problems import NotFound, PreconditionFailed
from aily.rest.etags import FIELD as IF_MATCH
from aily.rest.etags import matches, takes_if_match
from aily.rest.rendering import JsonRenderer
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.api.authors import author_of
from chat.tables.api.fields import ClientQuery
from chat.tables.api.row_pages import rows_response
from chat.tables.api.row_schemas import (
    BatchIn,
    BatchOut,
    RowIn,
    RowPatch,
    RowsOut,
    RowsQuery,
    TableRowOut,
)
from chat.tables.exceptions import CellConflict
from chat.tables.fields import live_fields
from chat.tables.models import Table
from chat.tables.permissions import Access, get_table
from chat.tables.rows.batch import Batch, BatchResult, apply_batch
from chat.tables.rows.operations import Create, Delete, Operation, Outcome, Update
from chat.tables.rows.reading import RowJson, ids_after, load_rows
from chat.tables.showing import shown_rows
from chat.tables.values import MAX_ROW_ID

router = Router(tags=["tables"])


def _read(table: Table, row_id: int) -> RowJson:
    row = shown_rows(table.pk, live_fields(table.pk), [row_id])[0] if row_id <= MAX_ROW_ID else None
    if row is None:
        raise because(NotFound, Reason.of("no_such_row", id=row_id))
    return row


# --- Many rows ----------------------------------------------------------------------------------
@router.post("/{int:table_id}/rows:batch", response=BatchOut)
@idempotent(BatchOut)
def write_rows(
    request: AuthenticatedRequest, table_id: int, payload: BatchIn
) -> Status[BatchResult]:
    """Create, update, upsert and delete up to 1,000 rows, all or nothing or each for itself."""
    table = get_table(request.auth.user, table_id, Access.EDIT)
    operations = [operation.operation() for operation in payload.operations]
    batch = Batch(operations, payload.atomic, payload.key)
    return Status(200, apply_batch(table, author_of(request, payload.client), batch))


@router.get("/{int:table_id}/rows", response=RowsOut, url_name="get_rows")
def get_rows(
    request: AuthenticatedRequest, table_id: int, wanted: Query[RowsQuery]
) -> HttpResponse:
    """Rows by their ids, where those that do not exist are left out; or all in the order of ids, a
    page at a time."""
    table = get_table(request.auth.user, table_id)
    ids, following = list(dict.fromkeys(wanted.ids)), None
    if not ids:
        ids = ids_after(table.pk, wanted.after, wanted.limit)
        following = ids[-1] if len(ids) == wanted.limit else None
    rows = shown_rows(table.pk, live_fields(table.pk), ids)
    there = [row for row in rows if row is not None]
    return rows_response({"rev": table.rev, "next": following}, "rows", there)


# --- One row ------------------------------------------------------------------------------------
@router.post("/{int:table_id}/rows", response={201: TableRowOut})
@idempotent(TableRowOut)
def create_row(request: AuthenticatedRequest, table_id: int, payload: RowIn) -> Status[RowJson]:
    """Add a row."""
    table = get_table(request.auth.user, table_id, Access.EDIT)
    outcome = _apply(request, table, Create(payload.values), payload.client)
    return Status(201, _read(table, outcome.row_id or 0))


@router.get("/{int:table_id}/rows/{int:row_id}", response=TableRowOut, url_name="get_row")
def get_row(request: AuthenticatedRequest, table_id: int, row_id: int) -> RowJson:
    """A row."""
    return _read(get_table(request.auth.user, table_id), row_id)


@router.patch("/{int:table_id}/rows/{int:row_id}", response=TableRowOut)
@takes_if_match
def edit_row(
    request: AuthenticatedRequest, table_id: int, row_id: int, payload: RowPatch
) -> RowJson:
    """Set cells of a row.

    Of cells that others have changed since you saw them (`was`) the answer is 409 with their
    present values; the other cells are set all the same.
    """
    table = get_table(request.auth.user, table_id, Access.EDIT)
    operation = Update(row_id, payload.values, payload.was, payload.version)
    with _matched(request, table, row_id):
        outcome = _apply(request, table, operation, payload.client)
    row = _read(table, row_id)
    if outcome.conflicts:
        raise CellConflict(outcome.conflicts, row)
    return row


@router.delete("/{int:table_id}/rows/{int:row_id}", response={204: None})
@takes_if_match
def delete_row(
    request: AuthenticatedRequest, table_id: int, row_id: int, query: Query[ClientQuery]
) -> Status[None]:
    """Delete a row."""
    table = get_table(request.auth.user, table_id, Access.EDIT)
    with _matched(request, table, row_id):
        _apply(request, table, Delete(row_id), query.client)
    return Status(204, None)


def _apply(
    request: AuthenticatedRequest, table: Table, operation: Operation, client: str
) -> Outcome:
    """Carry out one operation. Raises its problem, if it has one."""
    batch = Batch([operation], is_atomic=False, is_single=True)
    [outcome] = apply_batch(table, author_of(request, client), batch).outcomes
    if outcome.problem is not None:
        raise outcome.problem
    return outcome


@contextmanager
def _matched(request: HttpRequest, table: Table, row_id: int) -> Iterator[None]:
    """Write a row in a transaction that has locked it as it is in If-Match, if there is that.

    Raises NotFound and PreconditionFailed.
    """
    if row_id > MAX_ROW_ID:
        raise because(NotFound, Reason.of("no_such_row", id=row_id))
    if IF_MATCH not in request.headers:
        yield
        return
    with transaction.atomic():
        load_rows(table.pk, [], [row_id], is_locked=True)
        shown = TableRowOut.model_validate(_read(table, row_id)).model_dump()
        body = JsonRenderer().render(request, shown, response_status=200)
        if not matches(request, body.encode()):
            raise PreconditionFailed("This was changed since it was read.", field=IF_MATCH)
        yield
