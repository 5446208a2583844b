"""REST: rows by filter and order, what is computed of groups of them, their order, and undo."""

# Annotations stay objects here: ninja looks them up.

from typing import cast
from uuid import UUID

from django.http import HttpResponse
from ninja import Router, Status
from pydantic import JsonValue

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from accounts.models import User
from aily.problems import InvalidRequest
from aily.rest.requests import no_body
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables import undo
from chat.tables.api.authors import author_of
from chat.tables.api.row_pages import rows_response
from chat.tables.api.view_schemas import (
    AggregateIn,
    AggregateOut,
    MoveIn,
    MoveOut,
    QueryIn,
    QueryOut,
    RedoIn,
    UndoIn,
    UndoneOut,
)
from chat.tables.api.views import shown_group
from chat.tables.fields import live_fields
from chat.tables.index_uses import note_uses
from chat.tables.models import Field
from chat.tables.permissions import Access, get_table
from chat.tables.positions import Target, move_rows
from chat.tables.queries.aggregates import aggregate
from chat.tables.queries.catalogue import operands_of
from chat.tables.queries.execution import bounded_query
from chat.tables.queries.pages import page_of_ids
from chat.tables.rows.reading import RowJson
from chat.tables.showing import shown_rows
from chat.tables.view_queries import ViewParts, compile_parts

router = Router(tags=["tables"])


@router.post("/{int:table_id}/rows:query", response=QueryOut)
def query_rows(request: AuthenticatedRequest, table_id: int, payload: QueryIn) -> HttpResponse:
    """Rows by filter and order, a page at a time. A page goes on after the last row of the one
    before: it repeats and skips nothing that has not changed, however deep it is."""
    head, items = page_of_rows(request.auth.user, table_id, payload)
    return rows_response(head, "items", items, ())


def page_of_rows(
    user: User, table_id: int, payload: QueryIn
) -> tuple[dict[str, object], list[RowJson]]:
    """What a page says beside its rows, and the rows. Raises Problem."""
    with bounded_query():
        table = get_table(user, table_id)
        fields = live_fields(table.pk)
        shown = _wanted(fields, payload.fields)
        parts = ViewParts(
            cast("JsonValue", payload.filter),
            cast("JsonValue", payload.sorts),
            collation=payload.collation,
        )
        query = compile_parts(table.pk, operands_of(fields, user), parts).query
        found = page_of_ids(query, payload.limit, payload.cursor, payload.count)
        items = shown_rows(table.pk, shown, found.ids)
    note_uses(table, parts)
    head: dict[str, object] = {
        "rev": table.rev,
        "next": found.next,
        "count": found.count,
        "is_capped": found.is_capped,
    }
    return head, [row for row in items if row is not None]


def _wanted(fields: list[Field], keys: list[str] | None) -> list[Field]:
    """The fields of these keys. Raises InvalidRequest."""
    if keys is None:
        return fields
    known = {field.key: field for field in fields}
    for index, key in enumerate(keys):
        if key not in known:
            raise because(InvalidRequest, Reason("no_such_field"), field=f"fields.{index}")
    return [known[key] for key in dict.fromkeys(keys)]


@router.post("/{int:table_id}:aggregate", response=AggregateOut)
def aggregate_rows(
    request: AuthenticatedRequest, table_id: int, payload: AggregateIn
) -> dict[str, object]:
    """Groups of rows, with their counts and what is computed of each. Without `groups`: of all
    rows as one."""
    with bounded_query():
        table = get_table(request.auth.user, table_id)
        parts = ViewParts(
            cast("JsonValue", payload.filter),
            None,
            cast("JsonValue", payload.groups),
            cast("JsonValue", payload.aggregates),
            payload.collation,
        )
        operands = operands_of(live_fields(table.pk), request.auth.user)
        found = compile_parts(table.pk, operands, parts)
        groups, has_more = aggregate(found.query, found.groups, found.aggregates)
    shown = [shown_group(group, list(found.aggregates)) for group in groups]
    return {"groups": shown, "has_more": has_more}


@router.post("/{int:table_id}/rows:move", response=MoveOut)
@idempotent(MoveOut)
def reorder_rows(
    request: AuthenticatedRequest, table_id: int, payload: MoveIn
) -> Status[dict[str, int]]:
    """Move rows to a place in the order by hand, which views without sorts have."""
    table = get_table(request.auth.user, table_id, Access.EDIT)
    author = author_of(request, payload.client)
    target = Target(payload.before, payload.after)
    return Status(200, {"rev": move_rows(table, author, payload.rows, target)})


@router.post("/{int:table_id}:undo", response=UndoneOut)
@idempotent(UndoneOut)
def undo_step(
    request: AuthenticatedRequest, table_id: int, payload: UndoIn = no_body(UndoIn)
) -> Status[undo.Undone]:
    """Take back the newest step that you made in this tab; or one change, or an import.

    A cell that somebody else has changed since stays as it is.
    """
    table = get_table(request.auth.user, table_id, Access.EDIT)
    author = author_of(request, payload.client)
    if payload.batch is not None:
        return Status(200, undo.undo_batch(table, author, _uuid(payload.batch)))
    if payload.change is not None:
        return Status(200, undo.undo_change(table, author, payload.change))
    return Status(200, undo.undo(table, author))


@router.post("/{int:table_id}:redo", response=UndoneOut)
@idempotent(UndoneOut)
def redo_step(
    request: AuthenticatedRequest, table_id: int, payload: RedoIn = no_body(RedoIn)
) -> Status[undo.Undone]:
    """Do again what was undone last in this tab, unless it has changed something else since."""
    table = get_table(request.auth.user, table_id, Access.EDIT)
    author = author_of(request, payload.client)
    return Status(200, undo.redo(table, author))


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise because(InvalidRequest, Reason("no_such_batch"), field="batch") from None
